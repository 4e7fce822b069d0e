"""What a source promises that is no single file, and what all of these share: few types, and a digest of the rows."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tabsynth.errors import TableError

BATCH_ROWS = 1 << 16  # rows of a batch, at most: some MB of a wide table
INTERVAL = pa.month_day_nano_interval()
PARTS = np.dtype([("months", "<i4"), ("days", "<i4"), ("nanoseconds", "<i8")])  # of each value, as Arrow lays it out


class Source(ABC):
    """A table that is read in batches, as untyped as it comes: a `files.RawSource` that can be told from others.

    `label` names it in messages: public, without a password and without the words of a query.
    """

    label: str
    schema: pa.Schema

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names in order: every one there, no two the same."""
        return tuple(self.schema.names)

    @abstractmethod
    def batches(self) -> Iterator[pa.RecordBatch]:
        """Read all rows from the start, at most BATCH_ROWS at a time; every call begins anew.

        Every batch has `schema`. Text may come with a dictionary, each batch with its own. A database promises no order
        of rows.

        Raises TableError naming the source and the rule that it breaks, at whichever batch breaks it.
        """

    def digest(self) -> bytes:
        """Return 32 bytes that tell these rows from others, in whatever order they come; private until keyed.

        All rows are read. Each is hashed by SHA-256, values at full precision; the digest is that of the sum of all,
        modulo 2^256, with the number of rows and the columns' names.
        """
        total = rows = 0
        for batch in self.batches():
            total += sum(int.from_bytes(hashlib.sha256(row).digest(), "big") for row in _row_bytes(batch))
            rows += batch.num_rows
        names = "\0".join(f"{len(name)}:{name}" for name in self.names)
        return hashlib.sha256(f"{rows}\0{total % (1 << 256):x}\0{names}".encode()).digest()


def simple(schema: pa.Schema) -> pa.Schema:
    """Return a schema without the variants of text that libraries have, and without what they wrote beside it."""
    return pa.schema([pa.field(field.name, _simple_type(field.type)) for field in schema])


def as_simple(batch: pa.RecordBatch, schema: pa.Schema, label: str = "table") -> pa.RecordBatch:
    """Return a batch in the types of `schema`, its columns in that order; raise Arrow's errors where it cannot be.

    Intervals become durations of days of 24 hours; raises TableError, naming `label` and the column, for months.
    """
    columns = []
    for field in schema:
        column = batch.column(field.name)
        if column.type == INTERVAL:
            column = _lengths(column, f"{label}: column {field.name!r}")
        columns.append(_cast(column, field.type))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _simple_type(kind: pa.DataType) -> pa.DataType:
    if kind in {pa.large_string(), pa.string_view()}:
        return pa.string()
    if pa.types.is_dictionary(kind):
        value = _simple_type(kind.value_type)
        return pa.dictionary(pa.int32(), value) if value == pa.string() else value
    return pa.duration("us") if kind == INTERVAL else kind


def _lengths(column: pa.Array, where: str) -> pa.Array:
    """Return intervals of months, days and nanoseconds as durations, where there are no months."""
    parts = np.frombuffer(column.buffers()[1], PARTS, len(column), column.offset * PARTS.itemsize)
    there = column.is_valid().to_numpy(zero_copy_only=False)
    if (parts["months"][there] != 0).any():
        raise TableError(f"{where}: an interval counts months or years, which have no fixed length.")
    lengths = parts["days"].astype(np.int64) * 86_400_000_000 + parts["nanoseconds"] // 1000
    return pa.array(lengths, pa.duration("us"), mask=~there)


def _cast(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if column.type == kind:
        return column
    if pa.types.is_dictionary(column.type) and pa.types.is_dictionary(kind):
        indices, values = column.indices.cast(pa.int32()), column.dictionary.cast(kind.value_type)
        return pa.DictionaryArray.from_arrays(indices, values)
    plain = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
    return plain.dictionary_encode() if pa.types.is_dictionary(kind) else plain.cast(kind)


def _row_bytes(batch: pa.RecordBatch) -> list[bytes]:
    """Return every row as bytes that no other row has: each value after its length, missing ones marked."""
    parts = []
    for column in batch.columns:
        values = _value_bytes(column)
        lengths = pc.binary_length(values).cast(pa.string()).cast(pa.binary())
        parts.append(pc.fill_null(pc.binary_join_element_wise(lengths, values, b":"), b"-"))
    return list(pc.binary_join_element_wise(*parts, b",").to_pylist())


def _value_bytes(column: pa.Array) -> pa.Array:
    """Return values as bytes: numbers and moments as the eight of their widest type, all else as text."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _value_bytes(column.dictionary_decode())
    for belongs, widest in WIDEST:
        if belongs(kind):
            return _eight(column.cast(widest, safe=False))
    try:
        return column.cast(pa.binary()) if pa.types.is_binary(kind) else column.cast(pa.string()).cast(pa.binary())
    except pa.ArrowNotImplementedError:  # lists, intervals and others of which no column kind is made
        return pa.array([None if value is None else repr(value).encode() for value in column.to_pylist()], pa.binary())


WIDEST = (
    (pa.types.is_integer, pa.int64()),
    (pa.types.is_floating, pa.float64()),
    (pa.types.is_timestamp, pa.timestamp("us")),
    (pa.types.is_date, pa.date64()),
)


def _eight(column: pa.Array) -> pa.Array:
    """Return 64-bit values as the eight bytes that they are."""
    return pa.Array.from_buffers(pa.binary(8), len(column), column.buffers(), offset=column.offset).cast(pa.binary())
