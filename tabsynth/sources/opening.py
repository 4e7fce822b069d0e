"""From what a caller gives to the source that it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Union, cast

import pandas as pd
import pyarrow as pa

from tabsynth.errors import InputError
from tabsynth.files import RawSource, open_raw
from tabsynth.sources.address import is_address, read_address
from tabsynth.sources.base import Source
from tabsynth.sources.databases import open_database
from tabsynth.sources.folder import Folder
from tabsynth.sources.frames import from_memory

if TYPE_CHECKING:
    import polars as pl

Readable = Union[
    RawSource, Path, str, pd.DataFrame, pa.Table, pa.RecordBatch, pa.RecordBatchReader, "pl.DataFrame", "pl.LazyFrame"
]


def open_source(given: Readable, *, delimiter: str | None = None) -> RawSource:
    """Return the source that `given` is: a file, a folder of Parquet files, a database's URL, a frame, or a source.

    Only what says which columns there are is read. `delimiter` stands between the fields of a CSV file: unless given a
    comma, or a tab where the name ends in .tsv.

    Raises TableError naming the source and the rule that it breaks, InputError for anything else.
    """
    if isinstance(given, str) and is_address(given):
        return open_database(read_address(given))
    if isinstance(given, str | Path) and Path(given).is_dir():
        return Folder(Path(given))
    if isinstance(given, str | Path | pd.DataFrame):
        return open_raw(given, delimiter=delimiter)
    found = from_memory(given) or (given if hasattr(given, "batches") else None)
    if found is None:
        raise InputError(f"A table must be a path or a frame of pandas, polars or pyarrow; got {type(given).__name__}.")
    return cast("RawSource", found)


def home(given: Readable) -> Path | None:
    """Return the path beside which the private companions of a table lie, its ledger above all; None without one.

    That is the file or the folder itself, and DATABASE.TABLE for a table in a database that is a file.
    """
    if isinstance(given, str) and is_address(given):
        return read_address(given).home
    return Path(given) if isinstance(given, str | Path) else None


def file_name(given: Readable) -> str | None:
    """Return the name of a file or a folder without the way to it; None for all else."""
    return None if is_address(given) or not isinstance(given, str | Path) else Path(given).name


def is_there(given: str | Path) -> bool:
    """Whether there is such a file or folder; a database is asked when it is opened."""
    return is_address(given) or Path(given).exists()


def identity(given: Readable) -> Path | bytes:
    """Return what a ledger commits to: a file, or the digest of what is none, for which all of it is read."""
    if isinstance(given, str | Path) and not is_address(given) and not Path(given).is_dir():
        return Path(given)
    source = open_source(given)
    if not isinstance(source, Source):
        raise InputError("A table in memory has no place where a ledger could be kept.")
    return source.digest()
