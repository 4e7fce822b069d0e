"""Synthetic rows as tables of other libraries than pandas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from tabsynth.canonical import as_dates, numbered
from tabsynth.columns import Column
from tabsynth.frame_kinds import FrameKind, require_kind
from tabsynth.schema import Schema
from tabsynth.table import plain


def handed_out(frame: pd.DataFrame, schema: Schema, kind: FrameKind) -> Any:
    """Return canonical rows as a table of the library `kind`; those of pandas as they are.

    A polars frame or a pyarrow table has everyday types: text, booleans, whole numbers, numbers, dates and moments.
    """
    require_kind(kind)
    if kind == "pandas":
        return frame
    table = arrow_of(frame, schema)
    plain_text = [
        pa.field(field.name, field.type.value_type if pa.types.is_dictionary(field.type) else field.type)
        for field in table.schema
    ]
    table = table.cast(pa.schema(plain_text))
    if kind == "pyarrow":
        return table
    import polars

    return polars.from_arrow(table)


def arrow_of(frame: pd.DataFrame, schema: Schema, before: int = 0, rows: int | None = None) -> pa.Table:
    """Return canonical rows as an Arrow table, in the types that `table.write_rows` writes, text with its dictionary.

    The rows come after `before` others, of `rows` in all: numbered identifiers and groups go on from theirs; those of a
    provider are as they were made.
    """
    columns = [column for column in schema if column.name in frame]
    arrays = [_array(frame[column.name], column, schema, before, rows) for column in columns]
    table = pa.table(arrays, names=[column.name for column in columns])
    return table.replace_schema_metadata(_pandas_types(frame.iloc[:0], columns))


def _pandas_types(empty: pd.DataFrame, columns: list[Column]) -> Any:
    """Return the note by which pandas reads whole numbers and booleans with missing values as what they are."""
    formed = {column.name: as_dates(empty[column.name], column) for column in columns}
    plain_types: dict[str, Any] = {"integer": "int64", "boolean": "bool"}
    for column in columns:
        if column.kind in plain_types and not column.nullable and column.codes is None:
            formed[column.name] = formed[column.name].astype(plain_types[column.kind])
    return pa.Table.from_pandas(pd.DataFrame(formed), preserve_index=False).schema.metadata


def _array(series: pd.Series, column: Column, schema: Schema, before: int, rows: int | None) -> pa.Array:
    if isinstance(series.dtype, pd.CategoricalDtype):
        codes = series.cat.codes.to_numpy().astype(np.int32)
        levels = pa.array(list(series.cat.categories), pa.string())
        return pa.DictionaryArray.from_arrays(pa.array(codes, mask=codes < 0), levels)
    if not column.modelled and column.provider is None and rows is not None:
        fresh = numbered(column, len(series), before, rows)
        return pa.array(fresh, pa.int64() if column.kind == "integer" else pa.string())
    if column.kind in ("datetime", "duration") or column.codes is not None:
        return pa.array(as_dates(series, column), from_pandas=True)
    return pa.array(plain(series.to_frame(), schema)[column.name], from_pandas=True)
