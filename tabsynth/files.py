"""Tables as files: CSV (also gzip) and Parquet in, Parquet and CSV out, as untyped as they come.

Reading here knows nothing of a schema; it only promises that a file which cannot be read is refused with its name and
the rule, and that no message quotes a line of it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet

from tabsynth.errors import InputError, TableError

CSV_ENDINGS = (".csv", ".csv.gz", ".tsv", ".txt")
PARQUET_ENDINGS = (".parquet", ".pq")


@dataclass(frozen=True, eq=False, slots=True)
class RawTable:
    """A table before its schema is applied; CSV columns are text."""

    label: str
    columns: pa.Table


def read_raw(source: Path | str | pd.DataFrame, *, delimiter: str = ",") -> RawTable:
    """Read a file or take a frame; raise TableError naming the file and the rule that it breaks."""
    if isinstance(source, pd.DataFrame):
        return RawTable("table", _from_frame(source))
    if not isinstance(source, str | Path):
        raise InputError(f"A table must be a path or a DataFrame; got {type(source).__name__}.")
    if len(delimiter) != 1 or not delimiter.isascii() or delimiter in '\r\n"':
        raise InputError(f"delimiter must be one ASCII character and no quote or line break; got {delimiter!r}.")
    path = Path(source)
    label = str(path)
    if path.is_dir():
        raise TableError(f"{label}: is a folder; a CSV or Parquet file was expected.")
    try:
        columns = _read_parquet(path) if is_parquet(path) else _read_csv(path, delimiter)
    except FileNotFoundError:
        raise TableError(f"{label}: no such file.") from None
    except PermissionError:
        raise TableError(f"{label}: cannot be read (permission denied).") from None
    except UnicodeDecodeError:
        raise TableError(f"{label}: not UTF-8 text.") from None
    except (pa.ArrowInvalid, pa.ArrowTypeError, OSError) as error:
        # Arrow quotes the offending line, so its message stays inside.
        raise TableError(f"{label}: {_arrow_rule(str(error))}.") from None
    _check_names(label, columns.column_names)
    return RawTable(label, columns)


def write_frame(frame: pd.DataFrame, path: Path | str) -> None:
    """Write a frame as Parquet or CSV, by the file's ending; raise InputError for any other ending."""
    path = Path(path)
    if is_parquet(path):
        frame.to_parquet(path, index=False)
    elif path.name.endswith(CSV_ENDINGS):
        frame.to_csv(path, index=False)
    else:
        raise InputError(f"{path}: the ending must be one of {', '.join(CSV_ENDINGS + PARQUET_ENDINGS)}.")


def is_parquet(path: Path | str) -> bool:
    """Whether the ending says Parquet."""
    return str(path).endswith(PARQUET_ENDINGS)


def file_digest(path: Path | str) -> bytes:
    """Return the SHA-256 of a file's bytes; private until it is keyed."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _read_parquet(path: Path) -> pa.Table:
    return pa_parquet.read_table(path)


def _read_csv(path: Path, delimiter: str) -> pa.Table:
    """Read every column as text, so that each kind is converted, and each rule checked, column by column."""
    if path.stat().st_size == 0:
        raise TableError(f"{path}: the file is empty.")
    parse = pa_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    names = pa_csv.open_csv(path, parse_options=parse).schema.names
    convert = pa_csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False)
    return pa_csv.read_csv(path, parse_options=parse, convert_options=convert)


def _from_frame(frame: pd.DataFrame) -> pa.Table:
    """Turn a frame into Arrow columns; columns of mixed objects become text."""
    names = [str(name) for name in frame.columns]
    _check_names("table", names)
    return pa.table([_from_series(frame.iloc[:, i]) for i in range(len(names))], names=names)


def _from_series(series: pd.Series) -> pa.Array:
    try:
        return pa.array(series, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, UnicodeEncodeError, OverflowError):
        text = [None if missing else str(value) for value, missing in zip(series, series.isna(), strict=True)]
        return _text_array(text, str(series.name))


def _text_array(text: list[str | None], name: str) -> pa.Array:
    try:
        return pa.array(text, pa.string())
    except UnicodeEncodeError:
        raise TableError(f"table: column {name!r}: a value is not text that UTF-8 can write.") from None


def _check_names(label: str, names: list[str]) -> None:
    # By place, not by name: in a file without a header the first line holds private values.
    for place, name in enumerate(names):
        if not name.strip():
            raise TableError(f"{label}: column {place + 1} has no name.")
        if (first := names.index(name)) < place:
            raise TableError(f"{label}: columns {first + 1} and {place + 1} have the same name.")


def _arrow_rule(message: str) -> str:
    """Name the rule behind an Arrow error without quoting the file."""
    if "Expected" in message and "columns" in message:
        return "a line has more or fewer fields than the header"
    if "Empty CSV" in message:
        return "the file holds no complete line"
    if "UTF8" in message or "UTF-8" in message:
        return "not UTF-8 text"
    if "Parquet" in message:
        return "not a readable Parquet file"
    if "zlib" in message or "gzip" in message.lower() or "compressed" in message.lower():
        return "not a readable gzip file, or cut off"
    return "not a readable table"
