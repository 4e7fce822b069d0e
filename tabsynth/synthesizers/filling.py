"""Missing cells of a user's own table, written into it as the rest of the table is written."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabsynth.canonical import as_text, everyday
from tabsynth.conversion import TRUE
from tabsynth.encoding.partial import Partial
from tabsynth.schema import Column, Schema


def filled_in(frame: pd.DataFrame, drawn: pd.DataFrame, partial: Partial, schema: Schema) -> pd.DataFrame:
    """Return the frame with its free cells from drawn canonical rows; every known cell stays as it is.

    Text stays text: moments and durations in the schema's format, truth values in the words that the column uses.
    """
    found = frame.copy()
    for place, name in enumerate(partial.names):
        free = partial.fresh[:, place]
        own = next((column for column in frame.columns if str(column) == name), None)
        if own is not None and free.any():
            found[own] = _column(frame[own], drawn[name], free, schema[name])
    return found


def _column(old: pd.Series, drawn: pd.Series, free: NDArray[np.bool_], column: Column) -> pd.Series:
    """Return one column with its free cells drawn."""
    if isinstance(old.dtype, pd.CategoricalDtype):
        text = drawn.astype(object).astype(str)
        words = {str(value): value for value in old.cat.categories}
        new = [words.get(value, value) for value in text[free]]
        more = [value for value in dict.fromkeys(new) if value not in set(old.cat.categories)]
        result = old.cat.add_categories(more)
        result[free] = np.array(new, object)
        return result
    if column.numeric and not _is_text(old):
        values = old.astype("Float64") if column.kind == "integer" and old.dtype == object else old
        return _numbers(values, drawn, free, column)
    result = old.astype(object)
    texts = _texts(old, drawn, free, column) if _is_text(old) else drawn.astype(object)[free]
    result[free] = np.array(list(texts), object)
    try:
        return result.astype(old.dtype)
    except (TypeError, ValueError):
        return result  # a dtype that has no place for a declared value


def _numbers(old: pd.Series, drawn: pd.Series, free: NDArray[np.bool_], column: Column) -> pd.Series:
    """Return numbers, moments or durations in the column's dtype; numbers that only gaps had made floats are whole."""
    if pd.api.types.is_timedelta64_dtype(old.dtype):
        return old.where(~free, pd.Series(drawn.to_numpy(), index=old.index).astype(old.dtype))
    values = drawn.to_numpy() if column.kind == "datetime" else everyday(drawn, column).to_numpy(dtype=float)
    result = old.copy()
    if pd.api.types.is_datetime64_any_dtype(old.dtype):
        moments = pd.Series(pd.DatetimeIndex(values), index=old.index)
        zone = getattr(old.dtype, "tz", None)
        moments = moments if zone is None else moments.dt.tz_localize("UTC").dt.tz_convert(zone)
        return old.where(~free, moments.astype(old.dtype))
    result[free] = values[free]
    whole = column.kind == "integer" and pd.api.types.is_float_dtype(result.dtype)
    return result.astype("int64") if whole and bool((result % 1 == 0).all()) else result


def _is_text(old: pd.Series) -> bool:
    """Whether a column holds text, in whatever dtype."""
    if pd.api.types.is_string_dtype(old.dtype) and old.dtype != object:
        return True
    return bool(old.dtype == object and old.dropna().map(lambda value: isinstance(value, str)).any())


def _texts(old: pd.Series, drawn: pd.Series, free: NDArray[np.bool_], column: Column) -> list[str]:
    """Return drawn values as a column of text would have them."""
    new = drawn[free]
    if column.kind in ("datetime", "duration"):
        return list(map(str, as_text(new, column)))
    if column.kind == "float" and column.decimals is not None:
        return [f"{value:.{column.decimals}f}" for value in new]
    if column.kind != "boolean":
        return [str(value) for value in new]
    words = {"True": "True", "False": "False"}
    for word in old[~free].dropna().astype(str).unique():
        words[str(word.strip().lower() in TRUE)] = word
    return [words[str(bool(value))] for value in new]
