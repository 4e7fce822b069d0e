"""Raw columns in canonical form.

A value that breaks a rule of its column is refused by the rule; no message quotes it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tabsynth.canonical import as_text, from_axis, in_zone, to_axis, with_codes
from tabsynth.cells import text_of
from tabsynth.columns.times import UNITS, is_number, seconds_of
from tabsynth.errors import TableError
from tabsynth.files import RawTable
from tabsynth.schema import Column, Kind

__all__ = ["convert", "from_axis", "to_axis"]

NO_SIGN = r"[\x00-\x09\x0b-\x1f\x7f-\x9f\pZ]"  # controls and spaces of any width, but for the line feed
ALONE = (pa.types.is_string, pa.types.is_large_string, pa.types.is_integer, pa.types.is_null)  # Arrow writes each alone
WHOLE_SECOND = r"^([^.]*:\d\d:\d\d)([^\d.].*)?$"  # a moment without a fraction, and its offset
LONGEST = 2.0**53 / 1e6  # seconds that are exact to the microsecond
ISO = r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?)?(?:Z|[+-]\d\d:?\d\d)?"  # a moment as other tools write it
OFFSET = r"(?:Z|[T ].*[+-]\d\d:?\d\d)$"
TRUE = frozenset({"true", "t", "yes", "y", "1", "1.0"})
FALSE = frozenset({"false", "f", "no", "n", "0", "0.0"})


def convert(raw: RawTable, column: Column, missing: tuple[str, ...], *, check_domain: bool) -> pd.Series:
    """Turn one raw column into its canonical form; raise TableError naming the rule it breaks."""
    values = raw.columns.column(column.name)
    try:
        kind = "categorical" if "group" in column.roles else column.kind
        series = _with_codes(values, column, missing) if column.codes else CONVERT[kind](values, column, missing)
        if check_domain:
            _check_domain(series, column)
    except _BrokenRule as broken:
        raise TableError(f"{raw.label}: column {column.name!r}: {broken}.") from None
    except (pa.ArrowException, TypeError, ValueError, ArithmeticError):  # these quote the value
        raise TableError(f"{raw.label}: column {column.name!r}: a value cannot be read as {column.kind}.") from None
    return series.rename(column.name)


def salvaged(raw: RawTable, column: Column, missing: tuple[str, ...]) -> tuple[pd.Series, NDArray[np.bool_]]:
    """Return a raw column in canonical form, and which of its values could not be read: those are missing in it.

    For rows that another tool made, which are judged by what they hold, not by how it is spelled.
    """
    series, wrong = _read_in_part(raw, column, missing)
    odd = column.categories is not None and len(series.cat.categories) > len(column.categories)
    if odd or (column.kind == "datetime" and wrong.any()):
        return _read_in_part(_respelled(raw, column), column, missing)
    return series, wrong


def _read_in_part(raw: RawTable, column: Column, missing: tuple[str, ...]) -> tuple[pd.Series, NDArray[np.bool_]]:
    """Return what can be read of a raw column as it is spelled, and which of its values cannot be."""
    values = raw.columns.column(column.name)
    try:
        return convert(raw, column, missing, check_domain=False), np.zeros(len(values), np.bool_)
    except TableError:
        wrong = ~_readable(values, column, missing)
    left = pc.if_else(pa.array(wrong), pa.scalar(None, values.type), values)
    try:
        return convert(_with(raw, column, left), column, missing, check_domain=False), wrong
    except TableError:  # of another type throughout
        wrong = values.is_valid().to_numpy(zero_copy_only=False)
        nothing = pa.nulls(len(values), pa.string())
        return convert(_with(raw, column, nothing), column, missing, check_domain=False), wrong


def _with(raw: RawTable, column: Column, values: pa.Array | pa.ChunkedArray) -> RawTable:
    """Return a raw table with other values in one column."""
    place = raw.columns.column_names.index(column.name)
    return replace(raw, columns=raw.columns.set_column(place, column.name, values))


def _respelled(raw: RawTable, column: Column) -> RawTable:
    """Return a raw table with texts of one column as its schema would spell them, where they are the same values.

    Numbers among categories (1.0 for 1, as pandas writes whole numbers beside a gap), and moments in ISO form whatever
    the declared format, as far as that format can hold them.
    """
    values = raw.columns.column(column.name)
    if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        return raw
    encoded = _text(values).combine_chunks().dictionary_encode()
    found = pd.Series(encoded.dictionary.to_pylist(), dtype=object)
    spelled = _as_categories(found, column) if column.categories else _as_moments(found, column)
    return _with(raw, column, pa.array(spelled.where(spelled.notna(), found), pa.string()).take(encoded.indices))


def _as_categories(found: pd.Series, column: Column) -> pd.Series:
    """Return the declared category that each text is the number of, missing where it is one, or no number of one."""
    declared = pd.Series(column.categories, dtype=object)
    numbers = pd.to_numeric(declared, errors="coerce")
    alone = ~(numbers.isna() | numbers.duplicated(keep=False))
    known = dict(zip(numbers[alone], declared[alone], strict=True))
    asked = pd.to_numeric(found.mask(found.isin(declared)), errors="coerce")
    return pd.Series([known.get(number) for number in asked], dtype=object)


def _as_moments(found: pd.Series, column: Column) -> pd.Series:
    """Return texts in ISO form in the column's own format, missing where they follow it or it would lose a part."""
    odd = found[_moments(found, column).isna() & found.str.fullmatch(ISO).eq(True)]
    aware = odd.str.contains(OFFSET)
    plain = odd[~aware] if "%z" not in column.read_format else odd[:0]  # a moment of an unknown offset is another one
    parts = []
    for part, offset in ((plain, False), (odd[aware], True)):
        moments = pd.Series(pd.to_datetime(part, format="ISO8601", errors="coerce", utc=offset)).dt.as_unit("s")
        parts.append(in_zone(moments, column.timezone))
    texts = pd.concat([as_text(moments, column) for moments in parts])
    read = in_zone(_moments(texts, column), column.timezone)
    return pd.Series(texts.where(read.eq(pd.concat(parts))).reindex(found.index), dtype=object)


def _readable(values: pa.ChunkedArray, column: Column, missing: tuple[str, ...]) -> NDArray[np.bool_]:
    """Say which values of a column can be read as its kind, or are missing."""
    if not (
        pa.types.is_floating(values.type) or pa.types.is_string(values.type) or pa.types.is_large_string(values.type)
    ):
        return np.asarray(values.is_null().to_numpy(zero_copy_only=False))
    text = _without_missing(values.cast(pa.string()), missing).to_pandas()
    read = text.str.strip()
    if column.kind == "datetime":
        known = _moments(read, column).notna()
    elif column.kind == "boolean":
        known = read.str.lower().isin(TRUE | FALSE)
    else:
        numbers = pd.to_numeric(read, errors="coerce")
        known = np.isfinite(numbers)
        if column.kind == "integer":
            known &= (numbers == np.floor(numbers)) & (numbers.abs() < 2.0**53)
    return np.asarray(known | text.isna() | read.isin(column.code_texts), np.bool_)


class _BrokenRule(Exception):
    """A rule that a column breaks, in words that quote no value."""


def _categorical(values: pa.ChunkedArray, column: Column, missing: tuple[str, ...]) -> pd.Series:
    """Map values to categories as text; a declared category wins over a text that stands for a missing value."""
    encoded = _text(values).combine_chunks().dictionary_encode()
    found = np.array(encoded.dictionary.to_pylist(), dtype=object)
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    declared = column.categories or ()
    known, absent = set(declared), set(missing)
    extra = sorted(text for text in found if text not in known and text not in absent)
    position = {text: index for index, text in enumerate((*declared, *extra))}
    new_code = np.array([position.get(text, -1) for text in found] + [-1], np.int64)
    dtype = pd.CategoricalDtype([*declared, *extra], ordered=column.ordered)
    return pd.Series(pd.Categorical.from_codes(new_code[codes], dtype=dtype))


def _boolean(values: pa.ChunkedArray, column: Column, missing: tuple[str, ...]) -> pd.Series:
    if pa.types.is_boolean(values.type):
        return pd.Series(values.to_pandas(), dtype="boolean")
    text = _categorical(values, replace(column, kind="categorical", categories=None), missing)
    words = [str(word).lower() for word in text.cat.categories]
    if any(word not in TRUE | FALSE for word in words):
        raise _BrokenRule("a value is not a boolean (true/false, yes/no or 1/0)")
    truth = np.array([word in TRUE for word in words] + [False])
    codes = text.cat.codes.to_numpy()
    return pd.Series(pd.arrays.BooleanArray(truth[codes], codes < 0))


def _integer(values: pa.ChunkedArray, column: Column, missing: tuple[str, ...]) -> pd.Series:
    numbers = _numbers(values, missing)
    if not np.all((numbers == np.floor(numbers)) | np.isnan(numbers)):
        raise _BrokenRule("a value is not a whole number")
    if np.nanmax(np.abs(numbers), initial=0.0) >= 2.0**53:
        raise _BrokenRule("a value is too large for an exact whole number (2^53)")
    if pa.types.is_integer(values.type):
        return pd.Series(values.cast(pa.int64()).to_pandas(integer_object_nulls=False), dtype="Int64")
    return pd.Series(numbers).astype("Int64")


def _float(values: pa.ChunkedArray, column: Column, missing: tuple[str, ...]) -> pd.Series:
    return pd.Series(_numbers(values, missing))


def _with_codes(values: pa.ChunkedArray, column: Column, missing: tuple[str, ...]) -> pd.Series:
    """Read numbers beside the column's codes; a code wins over a text that stands for a missing value."""
    text = _text(values).combine_chunks()
    places = (
        pc.index_in(text, pa.array(column.code_texts)).fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    )
    rest = pc.if_else(pa.array(places >= 0), pa.scalar(None, pa.string()), text)
    numbers = CONVERT[column.kind](pa.chunked_array([rest]), column, missing)
    for place, code in enumerate(column.codes or ()):
        if not isinstance(code, str):  # 9999.00 is the code 9999 too
            places[(numbers == code).fillna(False).to_numpy(bool)] = place
    return with_codes(numbers.mask(places >= 0), places, column)


def _datetime(values: pa.ChunkedArray, column: Column, missing: tuple[str, ...]) -> pd.Series:
    if pa.types.is_duration(values.type) or pa.types.is_time(values.type):
        raise _BrokenRule("a duration or a time of day is no moment")
    if pa.types.is_temporal(values.type):
        aware = pa.types.is_timestamp(values.type) and values.type.tz is not None
        moments = pd.to_datetime(pd.Series(values.to_pandas()), utc=aware)
    else:
        text = _without_missing(_text(values), missing)
        moments = _moments(text.to_pandas(), column)
        if int(moments.isna().sum()) > text.null_count:
            raise _BrokenRule(f"a value does not follow the format {column.time_format!r}")
    return in_zone(pd.Series(moments).dt.as_unit("s"), column.timezone)


def _duration(values: pa.ChunkedArray, column: Column, missing: tuple[str, ...]) -> pd.Series:
    """Read durations to the microsecond: timedeltas, texts, or numbers where their unit is declared."""
    if pa.types.is_duration(values.type):
        return pd.Series(values.cast(pa.duration("us"), safe=False).to_pandas()).astype("timedelta64[us]")
    if pa.types.is_date(values.type) or pa.types.is_timestamp(values.type) or pa.types.is_boolean(values.type):
        raise _BrokenRule("a value is no duration")
    if pa.types.is_integer(values.type) or pa.types.is_floating(values.type) or pa.types.is_decimal(values.type):
        if column.unit is None:
            raise _BrokenRule("a number is a duration only where its unit is declared")
        return _from_seconds(_numbers(values, missing) * UNITS[column.unit], column)
    encoded = _without_missing(_text(values), missing).combine_chunks().dictionary_encode()
    found = encoded.dictionary.to_pylist()
    if column.unit is None and any(map(is_number, found)):
        raise _BrokenRule("a number is a duration only where its unit is declared")
    try:
        seconds = np.array([*(seconds_of(text, column.unit) for text in found), np.nan])
    except ValueError:
        raise _BrokenRule("a value is no duration (1:30:00, PT90M, 2 days, or a number of a declared unit)") from None
    return _from_seconds(seconds[encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)], column)


def _free_text(values: pa.ChunkedArray, column: Column, missing: tuple[str, ...]) -> pd.Series:
    """Read texts: lines end in a line feed, every other control and wide or narrow space is a plain space."""
    lines = pc.replace_substring(pc.replace_substring(_text(values), "\r\n", "\n"), "\r", "\n")
    text = pc.utf8_trim_whitespace(pc.replace_substring_regex(lines, NO_SIGN, " "))
    return pd.Series(_without_missing(text, missing).to_pandas(), dtype="str")


def _from_seconds(seconds: NDArray[np.float64], column: Column) -> pd.Series:
    if np.nanmax(np.abs(seconds), initial=0.0) > LONGEST:
        raise _BrokenRule("a value is longer than durations are exact (285 years)")
    return from_axis(seconds, column)


def _moments(texts: pd.Series, column: Column) -> pd.Series:
    """Return texts in the column's format as moments, those that do not follow it as missing."""
    form = column.read_format
    if ".%f" in form:  # Python leaves a fraction out where there is none
        texts = texts.str.replace(WHOLE_SECOND, r"\1.0\2", regex=True)
    return pd.Series(pd.to_datetime(texts, format=form, errors="coerce", utc="%z" in form))


CONVERT: dict[Kind, Callable[[pa.ChunkedArray, Column, tuple[str, ...]], pd.Series]] = {
    "categorical": _categorical,
    "boolean": _boolean,
    "integer": _integer,
    "float": _float,
    "datetime": _datetime,
    "duration": _duration,
    "text": _free_text,
}


def _numbers(values: pa.ChunkedArray, missing: tuple[str, ...]) -> NDArray[np.float64]:
    """Return finite float64 values, NaN where missing; there is one zero."""
    if pa.types.is_decimal(values.type):  # by way of text: Arrow's own way rounds by the scale of the whole column
        values = values.cast(pa.string())
    if pa.types.is_integer(values.type) or pa.types.is_boolean(values.type):
        numbers = values.cast(pa.float64(), safe=False).to_numpy()
    elif pa.types.is_floating(values.type):
        numbers = values.to_numpy().astype(np.float64)
    else:
        try:
            numbers = _without_missing(_text(values), missing).cast(pa.float64()).to_numpy()
        except pa.ArrowInvalid:
            raise _BrokenRule("a value is not a number") from None
    if np.isinf(numbers).any():
        raise _BrokenRule("a value is infinite")
    return np.asarray(numbers) + 0.0


def _text(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return values as trimmed text, each by itself: no row changes how another one is read."""
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if pa.types.is_duration(values.type):
        raise _BrokenRule("a value is a duration; declare the kind duration")
    if any(alone(values.type) for alone in ALONE):
        return pc.utf8_trim_whitespace(values.cast(pa.string()))
    if pa.types.is_floating(values.type):
        values = values.cast(pa.float64())
    encoded = values.combine_chunks().dictionary_encode()
    texts = pa.array([text_of(value) for value in encoded.dictionary.to_pylist()], pa.string())
    return pa.chunked_array([pc.utf8_trim_whitespace(texts.take(encoded.indices))])


def _without_missing(text: pa.ChunkedArray, missing: tuple[str, ...]) -> pa.ChunkedArray:
    return pc.if_else(pc.is_in(text, pa.array(missing, pa.string())), pa.scalar(None, pa.string()), text)


def _check_domain(series: pd.Series, column: Column) -> None:
    """Raise the first rule of the declared domain that a canonical column breaks."""
    if "group" in column.roles and series.isna().any():
        raise _BrokenRule("a value is missing, and every row needs its privacy unit")
    if column.nullable is False and series.isna().any():
        raise _BrokenRule("a value is missing, and the column is declared not nullable")
    if column.categories is not None and len(series.cat.categories) > len(column.categories):
        raise _BrokenRule("a value is not among the declared categories")
    if column.free_text and column.max_length is not None and (series.str.len() > column.max_length).any():
        raise _BrokenRule(f"a text is longer than max_length, {column.max_length} characters")
    if column.bounds is not None:
        axis = to_axis(series, column)
        low, high = column.bounds
        # a declared precision forgives what rounding to it would
        slack = column.step / 2 if column.kind == "float" else 0.0
        if np.nanmin(axis, initial=np.inf) < low - slack or np.nanmax(axis, initial=-np.inf) > high + slack:
            shown = column.to_dict()["bounds"]
            raise _BrokenRule(f"a value is outside the declared bounds [{shown[0]}, {shown[1]}]")
