"""Frames of pandas, polars and pyarrow: which one it is, which types rows go out in, and a frame cast to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa

from tabsynth import _check
from tabsynth.canonical import as_text
from tabsynth.columns import Column
from tabsynth.columns.reading import code_text
from tabsynth.errors import InputError
from tabsynth.schema import Schema
from tabsynth.sources.frames import is_polars, read_all

FrameKind = Literal["pandas", "polars", "pyarrow"]
KINDS = ("pandas", "polars", "pyarrow")


def require_kind(kind: str) -> None:
    """Raise InputError unless `kind` is a kind of frame that rows can be handed out as, and its library is there."""
    _check.one_of("as_", kind, KINDS)
    if kind == "polars":
        try:
            import polars  # noqa: F401
        except ImportError:
            raise InputError('as_="polars" needs the package polars: pip install "tabsynth[polars]"') from None


def in_memory(given: Any) -> Any:
    """Return a frame as a pandas or polars frame or a pyarrow table, whichever it is closest to; None for all else."""
    if is_polars(given):
        return given.collect() if hasattr(given, "collect") else given
    if isinstance(given, pa.RecordBatch):
        return pa.Table.from_batches([given])
    if isinstance(given, pa.RecordBatchReader):
        return read_all(given)
    return given if isinstance(given, pd.DataFrame | pa.Table) else None


def as_given(given: Any) -> Any:
    """Return what rows are asked for by: partial rows of any library as a pandas frame, conditions as they are.

    Raises InputError for anything else.
    """
    frame = None if isinstance(given, Mapping) else in_memory(given)
    if frame is None and given is not None and not isinstance(given, Mapping):
        raise InputError(
            "given: conditions are a mapping such as {'age': (30, 40)}, partial rows a frame of pandas or polars, or a "
            f"pyarrow table; got {type(given).__name__}."
        )
    return given if frame is None else to_pandas(frame)


def kind_of(frame: Any) -> FrameKind:
    """Return which library a frame of `in_memory` belongs to."""
    return "polars" if is_polars(frame) else "pyarrow" if isinstance(frame, pa.Table) else "pandas"


def names_of(frame: Any) -> list[Any]:
    """Return the names of a frame's columns."""
    return list(frame.column_names if isinstance(frame, pa.Table) else frame.columns)


def with_column(frame: Any, name: str, values: Any) -> Any:
    """Return a frame with one more column, or with this one in its place, in the type that the values have.

    They are an array, a list or a column of any of the libraries. Raises InputError where no column is made of them.
    """
    if isinstance(frame, pd.DataFrame):
        own = isinstance(values, pd.Series | np.ndarray | list | tuple)
        column = values if own else _arrow(name, values).to_pandas()
        return frame.assign(**{name: column.array if isinstance(column, pd.Series) else np.asarray(column)})
    column = _arrow(name, values)
    if not isinstance(frame, pa.Table):
        import polars

        return frame.with_columns(polars.Series(name, column))
    place = frame.column_names.index(name) if name in frame.column_names else None
    return frame.append_column(name, column) if place is None else frame.set_column(place, name, column)


def _arrow(name: str, values: Any) -> pa.Array | pa.ChunkedArray:
    """Return a column of any library, an array or a list as one of Arrow."""
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return values
    try:
        return values.to_arrow() if hasattr(values, "to_arrow") else pa.array(values, from_pandas=True)
    except (pa.ArrowException, TypeError, OverflowError):
        raise InputError(f"Column {name!r}: its values are not of one type.") from None


def to_pandas(frame: Any) -> pd.DataFrame:
    """Return a frame of `in_memory` as one of pandas, numbered from 0; decimals as floats, times to the microsecond."""
    if isinstance(frame, pd.DataFrame):
        return frame
    table = frame if isinstance(frame, pa.Table) else frame.to_arrow()
    kinds = [_of_python(kind) for kind in table.schema.types]
    simple = table.cast(pa.schema(zip(table.column_names, kinds, strict=True)), safe=False)
    found: pd.DataFrame = simple.to_pandas(date_as_object=False)
    return found


def _of_python(kind: pa.DataType) -> pa.DataType:
    """Return the type that pandas holds, where a value of Python's own would be in its place."""
    if pa.types.is_decimal(kind):
        return pa.float64()
    return pa.time64("us") if pa.types.is_time64(kind) else kind


def changed(frame: Any, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Any:
    """Return a frame of any library as `change` makes it of one of pandas, in its own types where values allow it.

    Columns in which nothing changes are left alone.
    """
    if isinstance(frame, pd.DataFrame):
        return change(frame)
    before = to_pandas(frame)
    after = change(before)
    types = dict(frame.schema) if is_polars(frame) else frame_types(frame)
    for name in map(str, after):
        frame = frame if after[name].equals(before[name]) else with_column(frame, name, after[name])
    return alike(frame, types)


def frame_types(frame: Any) -> dict[str, Any]:
    """Return each column's type, of the categories that a categorical one of pandas carries those that it holds.

    Others may be private values, and no row can have them.
    """
    if isinstance(frame, pa.Table):
        return dict(zip(frame.column_names, frame.schema.types, strict=True))
    if isinstance(frame, pd.DataFrame):
        places = enumerate(map(str, frame.columns))
        return {name: _frame_type(frame.iloc[:, place]) for place, name in places}
    import polars

    return {name: polars.Categorical() if kind == polars.Enum else kind for name, kind in frame.schema.items()}


def _frame_type(series: pd.Series) -> Any:
    if isinstance(series.dtype, pd.CategoricalDtype):
        return series.cat.remove_unused_categories().dtype
    return str(series.dtype)


def worded(frame: Any, schema: Schema) -> tuple[str, ...]:
    """Name the columns of moments and durations that a frame holds as texts."""
    timed = {column.name for column in schema if column.kind in ("datetime", "duration")}
    places = [(place, str(name)) for place, name in enumerate(names_of(frame)) if str(name) in timed]
    if isinstance(frame, pd.DataFrame):
        return tuple(name for place, name in places if pd.api.types.infer_dtype(frame.iloc[:, place]) == "string")
    texts = (frame if isinstance(frame, pa.Table) else frame.head(1).to_arrow()).schema
    return tuple(name for _, name in places if _is_text(texts.field(name).type))


def _is_text(kind: pa.DataType) -> bool:
    inner = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(inner) or pa.types.is_large_string(inner) or pa.types.is_string_view(inner))


def in_words(frame: Any, schema: Schema, names: Sequence[str]) -> Any:
    """Return rows with these moments and durations as texts in their declared format."""
    for name in names:
        one = frame[[name]] if isinstance(frame, pd.DataFrame) else frame.select([name])
        texts = as_text(to_pandas(one)[name], schema[name])
        frame = with_column(frame, name, texts)
    return frame


def declared_types(schema: Schema, kind: FrameKind) -> dict[str, Any]:
    """Return each column's type as the completed schema alone says it; what it leaves as it is handed out is absent.

    Under a budget rows go out in these. A frame's own types follow its rows: in pandas one missing cell makes float64
    of int64, and so tells whether it was there.
    """
    return {column.name: _declared(column) for column in schema} if kind == "pandas" else {}


def _declared(column: Column) -> str | None:
    """Return the type of pandas for a column, None for one that the canonical form has already."""
    nullable = column.modelled and column.nullable is not False
    if any(isinstance(code, str) for code in column.codes or ()):
        return "object"
    if column.kind == "integer" or (column.unit is not None and column.decimals in (None, 0)):
        return "Int64" if nullable else "int64"
    if column.kind == "boolean":
        return "boolean" if nullable else "bool"
    return "str" if column.kind in ("categorical", "text") else None


def alike(frame: Any, types: Mapping[str, Any]) -> Any:
    """Cast columns to the types that `frame_types` or `declared_types` returned, where their values allow it.

    A type for whole numbers of pandas has no place for the missing values that were modelled; such a column stays.
    """
    cast = {"pandas": _cast_pandas, "polars": _cast_polars, "pyarrow": _cast_arrow}[kind_of(frame)]
    for name in names_of(frame):
        kind = types.get(str(name))
        try:
            frame = frame if kind is None else cast(frame, name, kind)
        except (TypeError, ValueError, pa.ArrowException):
            continue
    return frame


def _cast_pandas(frame: pd.DataFrame, name: str, kind: Any) -> pd.DataFrame:
    if isinstance(kind, pd.CategoricalDtype):
        levels = {code_text(level) if isinstance(level, float) else str(level): level for level in kind.categories}
        values = frame[name].astype(object)
        known = set(values.dropna()) <= set(levels)
        frame[name] = pd.Categorical(values.map(levels), dtype=kind) if known else values.astype("category")
    else:
        frame[name] = frame[name].astype(kind)
    return frame


def _cast_polars(frame: Any, name: str, kind: Any) -> Any:
    import polars

    column = polars.col(name)
    if kind == polars.Time and frame.schema[name] == polars.Duration:  # since midnight
        column = column.dt.total_nanoseconds()
    try:
        return frame.with_columns(column.cast(kind))
    except polars.exceptions.PolarsError:
        return frame


def _cast_arrow(frame: pa.Table, name: str, kind: pa.DataType) -> pa.Table:
    column = frame.column(name)
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type).dictionary_encode()
    if pa.types.is_decimal(kind) and pa.types.is_integer(column.type):
        column = column.cast(pa.decimal128(38, kind.scale))  # Arrow asks for room for the largest integer
    if pa.types.is_time(kind) and pa.types.is_duration(column.type):  # since midnight
        column = column.cast(pa.duration("us")).cast(pa.int64()).cast(pa.time64("us"))
    return frame.set_column(frame.column_names.index(name), name, column.cast(kind))
