"""A folder of Parquet files as one table: what a database exports, and what large samples are written as."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from tabsynth.errors import TableError
from tabsynth.files import PARQUET_ENDINGS, file_digest, open_raw
from tabsynth.sources.base import Source, as_simple, simple


class Folder(Source):
    """The Parquet files of a folder, one after the other by name; those whose names begin with . or _ are no part."""

    def __init__(self, path: Path) -> None:
        self.label = str(path)
        self._parts = _parquet_files(path)
        names = {open_raw(part).names for part in self._parts}
        if len(names) > 1:
            raise TableError(f"{path}: its Parquet files have different columns.")
        first = next(open_raw(self._parts[0]).batches(), None)
        text = pa.schema([(name, pa.string()) for name in names.pop()])
        self.schema = text if first is None else simple(first.schema)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Read file by file, some rows at a time."""
        for part in self._parts:
            for batch in open_raw(part).batches():
                if simple(batch.schema) != self.schema:
                    raise TableError(f"{self.label}: its Parquet files have columns of different types.")
                yield as_simple(batch, self.schema, self.label)

    def digest(self) -> bytes:
        """Return the digest of the files' bytes in the order of their names, without reading them as tables."""
        return hashlib.sha256(b"".join(file_digest(part) for part in self._parts)).digest()


def _parquet_files(folder: Path) -> list[Path]:
    try:
        found = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith((".", "_"))]
    except OSError as error:
        raise TableError(f"{folder}: cannot be read ({error.strerror}).") from None
    shards = sorted(path for path in found if path.name.endswith(PARQUET_ENDINGS))
    if not shards:
        raise TableError(f"{folder}: is a folder without Parquet files.")
    return shards
