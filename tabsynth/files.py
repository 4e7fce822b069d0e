"""Tables as files: CSV (also gzip) and Parquet in, Parquet and CSV out, as untyped as they come.

Files are read in batches, so that a table may be larger than memory. Reading here knows nothing of a schema; it only
promises that a file which cannot be read is refused with its name and the rule, and that no message quotes a line.
"""

from __future__ import annotations

import datetime
import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet

from tabsynth.cells import text_of
from tabsynth.errors import InputError, TableError

TSV_ENDINGS = (".tsv", ".tsv.gz")
CSV_ENDINGS = (".csv", ".csv.gz", *TSV_ENDINGS, ".txt")
PARQUET_ENDINGS = (".parquet", ".pq")
CHUNK = 250_000  # rows that are held at once, about, while a table is read
ROW_NAMES = "Unnamed: 0"
_INDEX = re.compile(r"__index_level_\d+__")
BLOCK = 2**24  # bytes of a CSV file that become one batch
DELIMITERS = {",": ",", ";": ";", "\t": "\\t", "|": "|"}  # the usual ones, and how a command line has them
NUMBER = re.compile(r"\s*[+-]?(\d+[.,]?\d*|[.,]\d+)([eE][+-]?\d+)?\s*")


# of objects, a subclass before its parents; numbers are one, as equal ones have the same text in every type
SORTS: tuple[type | tuple[type, ...], ...] = (
    (bool, np.bool_),
    (datetime.timedelta, np.timedelta64),
    (int, float, Decimal, np.number),
    datetime.datetime,
    datetime.date,
)


@dataclass(frozen=True, eq=False, slots=True)
class RawTable:
    """A table, or some rows of one, before its schema is applied; CSV columns are text."""

    label: str
    columns: pa.Table


class RawSource(Protocol):
    """A table that can be read in batches, as often as one likes."""

    @property
    def label(self) -> str:
        """What messages call it."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its columns, each of them once."""
        ...

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield its rows from the first to the last; raise TableError when they cannot be read any further."""
        ...


@dataclass(frozen=True, eq=False, slots=True)
class Opened:
    """A file or a frame as a `RawSource`."""

    label: str
    names: tuple[str, ...]
    start: Callable[[], Iterator[pa.RecordBatch]]

    def batches(self) -> Iterator[pa.RecordBatch]:
        """See `RawSource`."""
        with _refusing(self.label):
            yield from self.start()


def open_raw(source: Path | str | pd.DataFrame, *, delimiter: str | None = None) -> Opened:
    r"""Open a file or take a frame; raise TableError naming the file and the rule that it breaks.

    Unless `delimiter` is given, a comma stands between the fields of a CSV file, or a tab where it ends in .tsv; the
    two signs \t are a tab.
    """
    if isinstance(source, pd.DataFrame):
        columns = _from_frame(source)
        return Opened("table", tuple(columns.column_names), lambda: iter(columns.to_batches()))
    if not isinstance(source, str | Path):
        raise InputError(f"A table must be a path or a DataFrame; got {type(source).__name__}.")
    path = Path(source)
    delimiter = _usual_delimiter(path) if delimiter is None else delimiter.replace("\\t", "\t")
    if len(delimiter) != 1 or not delimiter.isascii() or delimiter in '\r\n"':
        raise InputError(f"delimiter must be one ASCII character and no quote or line break; got {delimiter!r}.")
    label = str(path)
    if path.is_dir():
        raise TableError(f"{label}: is a folder; a CSV or Parquet file was expected.")
    with _refusing(label):
        opened = _open_parquet(path) if is_parquet(path) else _open_csv(path, delimiter)
    check_names(label, opened.names)
    if not is_parquet(path):
        _check_header(label, opened.names, delimiter)
    return opened


def read_raw(source: Path | str | pd.DataFrame, *, delimiter: str | None = None) -> RawTable:
    """Read all of a file, or take a frame; raise TableError naming the file and the rule that it breaks."""
    opened = open_raw(source, delimiter=delimiter)
    (whole,) = chunks(opened, rows=None)
    return whole


def chunks(source: RawSource, rows: int | None = CHUNK) -> Iterator[RawTable]:
    """Yield a source's rows in parts of `rows` to twice as many, the last one of fewer, or all in one; never none.

    Raises TableError when a column changes its type from one batch to another.
    """
    held: list[pa.RecordBatch] = []
    schema, found, parts = None, 0, 0
    for batch in source.batches():
        schema = batch.schema if schema is None else schema
        for name, before, now in zip(source.names, schema.types, batch.schema.types, strict=True):
            if now != before:
                raise TableError(f"{source.label}: column {name!r} changes its type from {before} to {now} on the way.")
        for start in range(0, batch.num_rows, rows or batch.num_rows):
            held.append(batch.slice(start, rows))
            found += held[-1].num_rows
            if rows is not None and found >= rows:
                yield RawTable(source.label, pa.Table.from_batches(held))
                held, found, parts = [], 0, parts + 1
    if held or parts == 0:
        columns = schema or pa.schema([(name, pa.string()) for name in source.names])
        yield RawTable(source.label, pa.Table.from_batches(held, columns))


def write_frame(frame: pd.DataFrame, path: Path | str) -> None:
    """Write a frame as Parquet, CSV or, for .tsv, with tabs, by the ending; raise InputError for any other ending."""
    require_ending(path)
    if is_parquet(path):
        frame.to_parquet(path, index=False)
    else:
        frame.to_csv(path, index=False, sep=_usual_delimiter(Path(path)))


def require_ending(path: Path | str) -> None:
    """Raise InputError unless a frame can be written to a file of this ending."""
    if not str(path).endswith(endings := CSV_ENDINGS + PARQUET_ENDINGS):
        raise InputError(f"{path}: the ending must be one of {', '.join(endings)}.")


def is_parquet(path: Path | str) -> bool:
    """Whether the ending says Parquet."""
    return str(path).endswith(PARQUET_ENDINGS)


def file_digest(path: Path | str) -> bytes:
    """Return the SHA-256 of a file's bytes; private until it is keyed."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _usual_delimiter(path: Path) -> str:
    return "\t" if path.name.endswith(TSV_ENDINGS) else ","


def _open_parquet(path: Path) -> Opened:
    names = without_index(pa_parquet.ParquetFile(path).schema_arrow.names)

    def start() -> Iterator[pa.RecordBatch]:
        with pa_parquet.ParquetFile(path) as file:
            yield from file.iter_batches(CHUNK, columns=list(names))

    return Opened(str(path), names, start)


def without_index(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of columns without those that pandas gives to an index that has none: they number rows.

    >>> without_index(["age", "__index_level_0__"])
    ('age',)
    """
    return tuple(name for name in names if not _INDEX.fullmatch(name))


def _open_csv(path: Path, delimiter: str) -> Opened:
    """Read every column as text, so that each kind is converted, and each rule checked, column by column."""
    if path.stat().st_size == 0:
        raise TableError(f"{path}: the file is empty.")
    parse = pa_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    # Only one thread knows the number of a row that is wrong, and it is no slower
    blocks = pa_csv.ReadOptions(block_size=BLOCK, use_threads=False)
    with pa_csv.open_csv(path, read_options=blocks, parse_options=parse) as first:
        own = first.schema.names
    names = _with_row_names(own)
    convert = pa_csv.ConvertOptions(column_types=dict.fromkeys(own, pa.string()), strings_can_be_null=False)

    def start() -> Iterator[pa.RecordBatch]:
        with pa_csv.open_csv(path, read_options=blocks, parse_options=parse, convert_options=convert) as reader:
            yield from (batch.rename_columns(list(names)) for batch in reader)

    return Opened(str(path), names, start)


def _with_row_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of a CSV file's columns; R and pandas write names of rows first, and pandas reads them so."""
    return (ROW_NAMES, *names[1:]) if len(names) > 1 and not names[0] else tuple(names)


@contextmanager
def _refusing(label: str) -> Iterator[None]:
    """Turn what goes wrong with a file into the rule it breaks: Arrow quotes the offending line."""
    try:
        yield
    except FileNotFoundError:
        raise TableError(f"{label}: no such file.") from None
    except PermissionError:
        raise TableError(f"{label}: cannot be read (permission denied).") from None
    except UnicodeDecodeError:
        raise TableError(f"{label}: not UTF-8 text.") from None
    except (pa.ArrowInvalid, pa.ArrowTypeError, OSError) as error:
        raise TableError(f"{label}: {_arrow_rule(str(error))}.") from None


def _from_frame(frame: pd.DataFrame) -> pa.Table:
    """Turn a frame into Arrow columns; columns of mixed objects become text."""
    if frame.columns.nlevels > 1:
        raise TableError("table: its columns have names of several levels; give each one name, a text.")
    names = [str(name) for name in frame.columns]
    check_names("table", names)
    return pa.table([_from_series(frame.iloc[:, i]) for i in range(len(names))], names=names)


def _from_series(series: pd.Series) -> pa.Array:
    """Return a column as Arrow's, or each value's own text where Arrow would settle one type by looking at all rows."""
    named = series.cat.categories if isinstance(series.dtype, pd.CategoricalDtype) else series
    periods = isinstance(series.dtype, pd.PeriodDtype | pd.IntervalDtype)  # in Arrow mere numbers
    if not periods and (named.dtype != object or len(_sorts(named.dropna())) < 2):
        with suppress(pa.ArrowException, UnicodeEncodeError, OverflowError):
            return pa.array(series, from_pandas=True)
    try:
        text = [None if gone else text_of(value) for value, gone in zip(series, series.isna(), strict=True)]
        return pa.array(text, pa.string())
    except UnicodeError:
        raise TableError(f"table: column {str(series.name)!r}: a value is not text that UTF-8 can write.") from None


def _sorts(values: pd.Series | pd.Index) -> set[object]:
    """Return which sorts of objects there are; one alone is what Arrow reads without changing any."""
    found = set(map(type, values))
    sorts: set[object] = {next((sort for sort in SORTS if issubclass(one, sort)), one) for one in found}
    if datetime.datetime in sorts:  # those with a zone and those without
        sorts = sorts - {datetime.datetime} | {getattr(value, "tzinfo", None) is None for value in values}
    return sorts


def check_names(label: str, names: Sequence[str]) -> None:
    """Raise TableError for a column without a name, or for two with the same.

    By place, not by name: in a file without a header the first line holds private values.
    """
    first: dict[str, int] = {}
    for place, name in enumerate(names, start=1):
        if not name.strip():
            raise TableError(f"{label}: column {place} has no name.")
        if name in first:
            raise TableError(f"{label}: columns {first[name]} and {place} have the same name.")
        first[name] = place


def _check_header(label: str, names: Sequence[str], delimiter: str) -> None:
    """Raise TableError for a CSV file cut by the wrong sign, or whose first line seems to be a row of numbers."""
    inside = [shown for sign, shown in DELIMITERS.items() if sign != delimiter and sign in names[0]]
    if len(names) == 1 and inside:
        raise TableError(
            f"{label}: has one column, whose name holds '{inside[0]}'. If that stands between the fields, "
            f"give --delimiter '{inside[0]}' (in Python, delimiter=); else rename the column."
        )
    counted = [[str(place + start) for place in range(len(names))] for start in (0, 1)]  # as pandas names columns
    numbers = all(NUMBER.fullmatch(name) for name in names if name != ROW_NAMES)
    if numbers and (len(names) < 3 or list(names) not in counted):
        raise TableError(f"{label}: every name in its first line is a number; add a line with the columns' names.")


def _arrow_rule(message: str) -> str:
    """Name the rule behind an Arrow error without quoting the file."""
    if "Expected" in message and "columns" in message:
        row = re.search(r"Row #(\d+)", message)
        where = f" (row {row[1]}, the header being row 1)" if row else ""
        return f"a line has more or fewer fields than the header{where}; --delimiter says what stands between fields"
    if "Empty CSV" in message:
        return "the file holds no complete line"
    if "UTF8" in message or "UTF-8" in message:
        return "not UTF-8 text"
    if "Parquet" in message:
        return "not a readable Parquet file"
    if "zlib" in message or "gzip" in message.lower() or "compressed" in message.lower():
        return "not a readable gzip file, or cut off"
    return "not a readable table"
