"""Tables in memory that are no pandas frames: those of polars and of pyarrow."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from tabsynth.errors import TableError
from tabsynth.files import check_names, without_index
from tabsynth.sources.base import BATCH_ROWS, Source, as_simple, simple

LABEL = "table"


class InMemory(Source):
    """An Arrow table; its batches are views of it wherever the types allow."""

    def __init__(self, table: pa.Table) -> None:
        check_names(LABEL, table.column_names)
        table = table.select(without_index(table.column_names))
        self.label, self.schema = LABEL, simple(table.schema)
        self._table = table

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Cut the table into batches."""
        for batch in self._table.to_batches(max_chunksize=BATCH_ROWS):
            try:
                yield as_simple(batch, self.schema, self.label)
            except (pa.ArrowException, UnicodeDecodeError):
                raise TableError(f"{self.label}: not a readable table.") from None


def from_memory(given: Any) -> InMemory | None:
    """Return the source of a table in memory; None when `given` is none.

    A reader of batches is read to its end, as it can be read only once; so is a lazy frame.
    """
    if isinstance(given, pa.RecordBatch):
        return InMemory(pa.Table.from_batches([given]))
    if isinstance(given, pa.RecordBatchReader):
        return InMemory(read_all(given))
    if is_polars(given):
        return InMemory((given.collect() if hasattr(given, "collect") else given).to_arrow())
    return InMemory(given) if isinstance(given, pa.Table) else None


def is_polars(given: Any) -> bool:
    """Whether this is a frame of polars, which is not imported to find out."""
    polars = sys.modules.get("polars")
    return polars is not None and isinstance(given, polars.DataFrame | polars.LazyFrame)


def read_all(reader: pa.RecordBatchReader) -> pa.Table:
    """Read a reader of batches to its end; raise TableError when it fails."""
    try:
        return reader.read_all()
    except Exception:  # of whatever the reader reads; it may quote a value
        raise TableError(f"{LABEL}: the reader of batches failed on the way.") from None
