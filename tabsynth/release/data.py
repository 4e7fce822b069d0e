"""Synthetic rows as a Parquet file with real types, stamped with where they come from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import IO

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pa_parquet

from tabsynth.canonical import as_dates, recast
from tabsynth.errors import InputError
from tabsynth.schema import DAY, Column, Schema

PREFIX = "tabsynth."


def to_arrow(rows: pd.DataFrame, schema: Schema, stamp: Mapping[str, str]) -> pa.Table:
    """Return synthetic rows with the types their schema declares and `stamp` as key-value metadata.

    Categorical becomes a dictionary of strings in declared order, text strings, boolean bool, integer int64, float
    double (NaN is missing), datetime a date or, where the format has a time of day, a timestamp in milliseconds, of its
    zone if it has one. A duration is a duration in microseconds, or a number of its unit; numbers beside codes that are
    texts become strings. Raises InputError naming the column and the rule when rows and schema do not fit.
    """
    _check_names(rows, schema)
    columns = [schema[name] for name in rows.columns]
    arrays = [_typed(rows[column.name], column) for column in columns]
    types = [
        pa.field(column.name, array.type, nullable=column.nullable is not False)
        for column, array in zip(columns, arrays, strict=True)
    ]
    metadata = {PREFIX + key: value for key, value in stamp.items()}
    return pa.Table.from_arrays(arrays, schema=pa.schema(types, metadata=metadata))


def write_parquet(file: IO[bytes], table: pa.Table) -> None:
    """Write a stamped table."""
    pa_parquet.write_table(table, file, compression="zstd")


def read_stamp(path: Path) -> tuple[dict[str, str], int]:
    """Return the stamp of a Parquet file and its number of rows; raise InputError when it is not one of ours."""
    try:
        parquet = pa_parquet.read_metadata(path)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: not a readable Parquet file.") from error
    metadata = {key.decode(): value.decode() for key, value in (parquet.metadata or {}).items() if key.isascii()}
    stamp = {key.removeprefix(PREFIX): value for key, value in metadata.items() if key.startswith(PREFIX)}
    if "release_id" not in stamp:
        raise InputError(f"{path}: carries no release id; it was not written by a release.")
    return stamp, parquet.num_rows


def _check_names(rows: pd.DataFrame, schema: Schema) -> None:
    if not len(rows):
        raise InputError("A release needs at least one synthetic row.")
    if unknown := sorted(set(map(str, rows.columns)) - set(schema.names)):
        raise InputError(f"Synthetic column {unknown[0]!r} is not in the schema. Declared: {', '.join(schema.names)}.")
    if not rows.columns.is_unique:
        raise InputError("A synthetic column appears more than once.")
    if missing := [column.name for column in schema.modelled if column.name not in rows.columns]:
        raise InputError(f"Column {missing[0]!r} of the schema is missing from the synthetic rows.")


def _typed(series: pd.Series, column: Column) -> pa.Array:
    """Convert one column; what does not fit its kind or its declared domain is named, the value is not."""
    try:
        array = _converted(series, column)
    except (TypeError, ValueError, pa.ArrowException):
        raise InputError(f"Column {column.name!r}: the synthetic values are not all {column.kind}.") from None
    if array.null_count > int(series.isna().sum()):
        raise InputError(f"Column {column.name!r}: a synthetic value is outside the declared domain.")
    if column.nullable is False and array.null_count:
        raise InputError(f"Column {column.name!r}: synthetic values are missing in a column declared not nullable.")
    return array


def _converted(series: pd.Series, column: Column) -> pa.Array:
    if column.codes is not None or column.kind == "duration":
        return pa.array(as_dates(recast(series, column), column), from_pandas=True)
    match column.kind:
        case "categorical" | "text":
            return _dictionary(series, column)
        case "boolean":
            return pa.array(series.astype("boolean"), pa.bool_())
        case "integer":
            return pa.array(series.astype("Int64"), pa.int64())
        case "float":
            return pa.array(series.to_numpy(float, na_value=float("nan")), pa.float64(), from_pandas=True)
        case _:
            moments = pa.array(recast(series, column))
            return moments.cast(pa.date32() if column.step >= DAY else pa.timestamp("ms", column.timezone))


def _dictionary(series: pd.Series, column: Column) -> pa.Array:
    text = series.astype("string")
    if column.categories is None:
        return pa.array(text, pa.string())
    codes = pd.Index(column.categories).get_indexer(pd.Index(text))  # -1: missing, or not declared
    return pa.DictionaryArray.from_arrays(
        pa.array(codes, pa.int32(), mask=codes < 0), pa.array(column.categories, pa.string())
    )
