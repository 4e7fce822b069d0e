"""Canonical columns on the real axis and back, and as tables and text files have them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from tabsynth.columns import DAY, Column
from tabsynth.columns.reading import code_text
from tabsynth.columns.times import UNITS, duration_text, zone_of


def to_axis(series: pd.Series, column: Column) -> NDArray[np.float64]:
    """Place a canonical numeric column on the real axis: shape (n,), NaN where missing, times in seconds."""
    if column.kind == "datetime":
        if isinstance(series.dtype, pd.DatetimeTZDtype):
            series = series.dt.tz_convert("UTC").dt.tz_localize(None)
        seconds = series.to_numpy().astype("datetime64[s]").astype(np.int64).astype(np.float64)
        return np.where(series.isna(), np.nan, seconds)
    if column.kind == "duration":
        return np.asarray(series.to_numpy().astype("timedelta64[us]") / np.timedelta64(1, "s"), np.float64)
    if column.codes is not None:
        series = pd.to_numeric(series.mask(code_places(series, column) >= 0))
    return series.to_numpy(dtype=np.float64, na_value=np.nan)


def code_places(series: pd.Series, column: Column) -> NDArray[np.int64]:
    """Return which of the column's codes each canonical value is, shape (n,); -1 for numbers and missing values.

    >>> code_places(pd.Series([7, "refused", None], dtype=object), Column("a", "integer", codes=("refused",))).tolist()
    [-1, 0, -1]
    """
    places = np.full(len(series), -1, np.int64)
    for place, code in enumerate(column.codes or ()):
        if isinstance(code, str) == (series.dtype == object) or not isinstance(code, str):
            places[(series == code).fillna(False).to_numpy(bool)] = place
    return places


def with_codes(series: pd.Series, places: NDArray[np.int64], column: Column) -> pd.Series:
    """Return canonical numbers with codes where `places` says which: objects as soon as a code may be a text."""
    if not any(isinstance(code, str) for code in column.codes or ()):
        values = np.array([*(column.codes or ()), 0.0], np.float64)
        coded = pd.Series(values[places], index=series.index).astype(series.dtype)
        return series.where(places < 0, coded)
    kind = int if column.kind == "integer" else float
    codes = np.array([*(code if isinstance(code, str) else kind(code) for code in column.codes or ()), None], object)
    numbers = series.astype(object)
    return numbers.where(numbers.notna(), None).where(places < 0, pd.Series(codes[places], index=series.index))


def from_axis(axis: NDArray[np.float64], column: Column) -> pd.Series:
    """Turn axis values back into the canonical form of a numeric column, the inverse of `to_axis`."""
    missing = np.isnan(axis)
    if column.kind == "datetime":
        moments = np.where(missing, 0, axis).astype(np.int64).astype("datetime64[s]")
        moments[missing] = np.datetime64("NaT")
        utc = pd.Series(moments, name=column.name)
        return utc if column.timezone is None else in_zone(utc.dt.tz_localize("UTC"), column.timezone)
    if column.kind == "duration":
        lengths = np.rint(np.where(missing, 0, axis) * 1e6).astype(np.int64).astype("timedelta64[us]")
        lengths[missing] = np.timedelta64("NaT")
        return pd.Series(lengths, name=column.name)
    numbers = pd.Series(axis, name=column.name, dtype="Int64" if column.kind == "integer" else "float64")
    return numbers if column.codes is None else with_codes(numbers, np.full(len(numbers), -1), column)


def in_zone(moments: pd.Series, timezone: str | None) -> pd.Series:
    """Return moments by the clocks of a zone, or without one as in UTC; those without a zone are taken to be in it.

    An hour that the clocks show twice is the first one; one that they skip is the moment after it.
    """
    here = moments.dt
    if here.tz is None and timezone is None:
        return moments
    if here.tz is None:
        first = np.ones(len(moments), np.bool_)
        return pd.Series(here.tz_localize(zone_of(str(timezone)), ambiguous=first, nonexistent="shift_forward"))
    return pd.Series(here.tz_convert(None if timezone is None else zone_of(timezone)))


def recast(series: pd.Series, column: Column) -> pd.Series:
    """Return moments, durations or numbers with codes of any dtype in canonical form.

    Raises TypeError or ValueError for anything else.
    """
    if column.codes is not None:
        places = code_places(series, column)
        numbers = pd.to_numeric(series.mask(places >= 0)).astype("Int64" if column.kind == "integer" else "float64")
        return with_codes(numbers, places, column)
    if column.kind == "duration":
        return pd.Series(pd.to_timedelta(series)).dt.as_unit("us")
    moments = pd.to_datetime(series, format="ISO8601", utc=isinstance(series.dtype, pd.DatetimeTZDtype))
    return in_zone(moments.dt.as_unit("s"), column.timezone)


def everyday(series: pd.Series, column: Column) -> pd.Series:
    """Return canonical durations of a declared unit as numbers of it, and all else as it is."""
    if column.kind != "duration" or column.unit is None:
        return series
    numbers = pd.Series(np.round(to_axis(series, column) / UNITS[column.unit], 6), name=series.name, index=series.index)
    whole = column.decimals in (None, 0)
    return numbers.astype("Int64" if series.isna().any() else "int64") if whole else numbers


def as_text(series: pd.Series, column: Column) -> pd.Series:
    """Return canonical moments and durations as a text file has them, in the declared format, and all else as it is."""
    if column.kind == "datetime":
        return _moments_text(series, column)
    if column.kind == "duration" and column.unit is None:
        lengths = series.to_numpy().astype("timedelta64[us]").astype(np.int64)
        texts = [duration_text(int(length), column.format or "clock") for length in lengths]
        return pd.Series(texts, name=series.name, index=series.index, dtype=object).where(series.notna(), None)
    return everyday(series, column)


def _moments_text(moments: pd.Series, column: Column) -> pd.Series:
    """Return moments in a column's format, an offset from UTC as %z or, with a colon, %:z; of no zone, UTC's."""
    form = column.time_format
    if "%z" not in column.read_format:
        return pd.Series(moments.dt.strftime(form))
    aware = moments if isinstance(moments.dtype, pd.DatetimeTZDtype) else moments.dt.tz_localize("UTC")
    texts = pd.Series(aware.dt.strftime(form.replace("%:z", "\x01%z")))  # Python knows %:z from 3.12 on
    return texts.str.replace("\x01(...)(..)", r"\1:\2", regex=True)


def as_dates(series: pd.Series, column: Column) -> pd.Series:
    """Return canonical moments of a column that counts in days as dates, and all else as it stands in a table."""
    if column.kind == "datetime" and column.step >= DAY:
        return series.astype(pd.ArrowDtype(pa.date32()))
    if series.dtype == object and column.codes is not None:
        return series.map(code_text, na_action="ignore")  # a column of a file has one type
    return everyday(series, column)


def numbered(column: Column, rows: int, before: int = 0, total: int | None = None) -> pd.Series:
    """Return fresh identifiers: whole numbers from 1, or the column's name and a number.

    They go on after `before` others, and are as wide as the last of `total` asks for (None: of these).

    >>> numbered(Column("who", "categorical", roles=("identifier",)), 2, before=9).tolist()
    ['who-10', 'who-11']
    """
    last = before + rows
    numbers = pd.Series(np.arange(before + 1, last + 1), name=column.name)
    if column.kind == "integer":
        return numbers.astype("Int64")
    width = len(str(last if total is None else total))
    return (f"{column.name}-" + numbers.astype("str").str.zfill(width)).rename(column.name)
