"""Conditions on a row's values: what may be asked for, which rows meet it, and what it leaves of a column's tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabsynth.canonical import code_places, to_axis
from tabsynth.constraints import Constraint, domains_of, narrowed
from tabsynth.constraints.rule import Columns
from tabsynth.constraints.together import ROUNDS
from tabsynth.encoding.codec import Codec
from tabsynth.encoding.distances import Distance, by_itself
from tabsynth.errors import InputError, SchemaError
from tabsynth.schema import Column, Schema

MOST_NAMED = 20  # values in a message


@dataclass(frozen=True, eq=False, slots=True)
class Allowed:
    """What a condition leaves of each of a column's tokens.

    `share` (tokens,) is the part of a token's values that meet it, and `start` and `end` (tokens,) the places within
    the bin between which they lie. `open` is the condition itself, where only the decoded value says whether it is met.
    """

    share: NDArray[np.float64]
    start: NDArray[np.float64]
    end: NDArray[np.float64]
    open: Condition | None = None

    def offsets(self, tokens: NDArray[np.int32], uniform: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return places within bins that meet the condition, from uniform places in [0, 1)."""
        places = self.start[tokens] + uniform * (self.end - self.start)[tokens]
        return places.astype(np.float32)


def offsets_of(
    tokens: NDArray[np.int32], allowed: Mapping[int, Allowed], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return uniform places within bins for rows of tokens, those of columns with a condition where it is met."""
    offsets = rng.random(tokens.shape, dtype=np.float32)
    for column, part in allowed.items():
        offsets[:, column] = part.offsets(tokens[:, column], offsets[:, column])
    return offsets


@dataclass(frozen=True, slots=True)
class Condition:
    """One column's values are among `values`, or in the range `span` with both ends, or missing where `missing`."""

    column: Column
    values: frozenset[str] = frozenset()
    span: tuple[float, float] | None = None
    missing: bool = False

    def holds(self, frame: pd.DataFrame) -> NDArray[np.bool_]:
        """Return which canonical rows meet the condition, shape (rows,)."""
        series = frame[self.column.name]
        absent = series.isna().to_numpy(dtype=bool)
        if self.span is not None:
            axis, slack = to_axis(series, self.column), self.column.step * 1e-6
            found = (axis >= self.span[0] - slack) & (axis <= self.span[1] + slack)
        else:
            found = _texts(series, self.column).isin(self.values).to_numpy(dtype=bool)
        return np.asarray(np.where(absent, self.missing, found))

    def allowed(self) -> Allowed:
        """Return what the condition leaves of the column's tokens; of its values' one bin if it has distances."""
        codec = Codec(by_itself(self.column))
        start, end = np.zeros(codec.size), np.ones(codec.size)
        if self.span is not None:
            start, end = codec.portion(*self.span)
        elif self.column.kind == "text":
            end = np.zeros(codec.size)
        elif not self.column.numeric:
            levels = self.column.levels or ()
            end = np.array([level in self.values for level in levels] + [False] * (codec.size - codec.values), float)
        else:
            end = np.zeros(codec.size)
            end[codec.bins : codec.values] = [text in self.values for text in self.column.code_texts]
        if self.column.nullable:
            start[-1], end[-1] = 0.0, self.missing
        return Allowed(end - start, start, end)


def allowed_of(conditions: Sequence[Condition], schema: Schema) -> dict[str, Allowed]:
    """Return what conditions leave of each of their columns' tokens, in a completed schema.

    Of a column of distances it may be more than what meets the condition: as much as can be told from what is asked of
    the column that they are from.
    """
    found = {one.column.name: one for one in conditions}
    return {
        name: one.allowed()
        if one.column.after is None
        else _allowed_far(one, found.get(one.column.after), schema[one.column.after])
        for name, one in found.items()
    }


def _allowed_far(one: Condition, below: Condition | None, low: Column) -> Allowed:
    """Return what is left of distances whose sum with a smaller value may meet the condition."""
    far = Distance(low, one.column)
    codec = far.codec
    start, end = np.zeros(codec.size), np.full(codec.size, one.span is not None, np.float64)
    if one.span is not None and below is not None and below.span is not None:
        parts = [codec.portion(*ends) for ends in far.reaching(below.span, one.span)]
        empty = [part[0] >= part[1] for part in parts]
        start = np.min([np.where(none, 1.0, part[0]) for none, part in zip(empty, parts, strict=True)], axis=0)
        end = np.max([np.where(none, 0.0, part[1]) for none, part in zip(empty, parts, strict=True)], axis=0)
        whole = end > start if one.column.rhythm is not None else np.zeros(codec.size, np.bool_)
        whole[: far.alone] = True  # a model may draw these too
        start, end = np.where(whole, 0.0, start), np.where(whole, 1.0, np.maximum(end, start))
    if one.column.nullable:
        start[-1], end[-1] = 0.0, one.missing
    return Allowed(end - start, start, end, None if one.missing else one)


def conditions_of(given: Mapping[str, Any] | None, schema: Schema) -> tuple[Condition, ...]:
    """Read conditions on columns of a completed schema.

    For a category or a truth value: it, or a list of some; for a number or a moment: it, or a pair of the smallest and
    the largest, either of which may be None; None for missing. Raises InputError for what is unknown, what no row can
    meet and what contradicts the schema's constraints.
    """
    found = tuple(_condition(name, value, schema) for name, value in (given or {}).items())
    domains = domains_of(schema.columns)
    for one in found:
        if not one.missing:
            domains[one.column.name] = one.span or one.values
    try:
        if found:
            narrowed(_silenced(schema.constraints, found), domains, {column.name: column for column in schema})
    except SchemaError as error:
        raise InputError(f"The conditions contradict a constraint. {error}") from None
    return found


def implied(
    conditions: Sequence[Condition], constraints: Sequence[Constraint], schema: Schema
) -> tuple[Condition, ...]:
    """Return conditions on other columns that every row meets which meets these and keeps the constraints.

    A rule says nothing of a row in which one of its columns is missing. So a column that may be missing is left that
    as well, and hands nothing on. Raises InputError where no row is left.
    """
    columns, declared = {column.name: column for column in schema}, domains_of(schema.columns)
    asked = {one.column.name: one for one in conditions}
    there = {name for name, one in asked.items() if not one.missing}
    nullable = {column.name for column in schema.modelled if column.nullable} - there
    left = declared | {name: asked[name].span or asked[name].values for name in there}
    for _ in range(ROUNDS):
        before = dict(left)
        for rule in _silenced(constraints, conditions):
            gaps = nullable & set(rule.over)
            if len(gaps) < 2:
                found = _narrowed(rule, left, columns, sure=not gaps)
                left |= {name: domain for name, domain in found.items() if not gaps or name in gaps}
        if left == before:
            break
    smaller = [name for name in left if name not in asked and left[name] != declared.get(name)]
    return tuple(_within(columns[name], left[name]) for name in smaller)


def _narrowed(rule: Constraint, domains: Mapping[str, Any], columns: Columns, *, sure: bool) -> dict[str, Any]:
    """Return what a rule leaves; nothing smaller where it leaves none but need not be kept, as a value may be missing.

    Raises InputError where it must be kept.
    """
    try:
        return rule.narrowed(domains, columns)
    except SchemaError as error:
        if sure:
            raise InputError(f"The conditions contradict a constraint. {error}") from None
        return {}


def _within(column: Column, domain: tuple[float, float] | frozenset[str]) -> Condition:
    """Return the condition that a value is in a domain, however floats round, or missing where it may be."""
    if isinstance(domain, frozenset):
        return Condition(column, domain, missing=bool(column.nullable))
    low, high = domain
    slack = column.step / 1000 or 1e-9 * max(abs(low), abs(high), 1.0)
    return Condition(column, span=(low - slack, high + slack), missing=bool(column.nullable))


def given_from_texts(texts: Sequence[str], schema: Schema) -> dict[str, Any]:
    """Read conditions of a command line: `column=value`, `number=low..high`, `category=one|another`, `column=`.

    Either end of a range may be left out; nothing after the sign means missing. Raises InputError for a text without a
    sign, for one that does not begin with a column's name, and for two on one column.

    >>> schema = Schema((Column("income", "categorical", categories=("<=50K", ">50K")), Column("age", "integer")))
    >>> given_from_texts(["income=>50K", "age=30..40"], schema)
    {'income': '>50K', 'age': ('30', '40')}
    """
    found: dict[str, Any] = {}
    for text in texts:
        names = [name for name in schema.names if text.startswith(f"{name}=")]
        if not names:
            known = ", ".join(column.name for column in schema.modelled)
            raise InputError(f"A condition is COLUMN=VALUE; got {text!r}. Columns: {known}.")
        name = max(names, key=len)
        if name in found:
            raise InputError(
                f"Column {name!r} has two conditions; one can be a range (low..high) or several values (a|b)."
            )
        found[name] = _from_text(schema[name], text[len(name) + 1 :])
    return found


def _from_text(column: Column, text: str) -> Any:
    """Return what stands after the sign as `conditions_of` takes it."""
    if text == "":
        return None
    if column.numeric:
        low, dots, high = text.partition("..")
        return (low or None, high or None) if dots else text
    values = text.split("|")
    return text if len(values) == 1 or text in (column.levels or ()) else values


def _silenced(constraints: Sequence[Constraint], conditions: Sequence[Condition]) -> list[Constraint]:
    """Return the constraints that say something of rows in which what the conditions ask for is missing."""
    missing = {one.column.name for one in conditions if one.missing}
    return [rule for rule in constraints if not missing & set(rule.over)]


def _condition(name: str, value: Any, schema: Schema) -> Condition:
    """Read one column's condition."""
    if name not in schema.names or not schema[name].modelled:
        names = ", ".join(column.name for column in schema.modelled)
        raise InputError(f"A condition needs a column that is modelled; got {name!r}. There are: {names}.")
    column = schema[name]
    if _is_missing(value):
        found = Condition(column, missing=True)
    elif isinstance(value, str | int | float) and str(value) in column.code_texts:
        found = Condition(column, frozenset({str(value)}))
    elif column.kind == "text":
        raise InputError(f"Column {name!r}: a condition on free text can only be that it is missing (None).")
    elif column.numeric:
        found = Condition(column, span=_span(column, value))
    else:
        several = list(value) if isinstance(value, list | tuple | set | frozenset) else [value]
        texts = frozenset(_text(column, one) for one in several if not _is_missing(one))
        found = Condition(column, texts, missing=any(map(_is_missing, several)))
    if found.missing and not column.nullable:
        raise InputError(f"Column {name!r} is never missing: the condition has probability 0.")
    if not found.allowed().share.any():
        raise InputError(
            f"No value of column {name!r} meets {value!r}: the condition has probability 0.{_hint(column)}"
        )
    return found


def _hint(column: Column) -> str:
    """Return what a column can be asked for."""
    if column.bounds is None:
        return ""
    low, high = column.to_dict()["bounds"]
    return f" Its bounds are [{low}, {high}]" + ("; ask for a range." if column.step == 0 else ".")


def _span(column: Column, value: Any) -> tuple[float, float]:
    """Return a range on the axis, both ends in it."""
    if isinstance(value, list | set | frozenset) or (isinstance(value, tuple) and len(value) != 2):
        raise InputError(f"Column {column.name!r}: a condition is a value or a pair (low, high); got {value!r}.")
    low, high = value if isinstance(value, tuple) else (value, value)
    least = -np.inf if low is None else _place(column, low)
    most = np.inf if high is None else _place(column, high)
    if not least <= most:
        raise InputError(f"Column {column.name!r}: the smaller end of a range comes first; got {value!r}.")
    return least, most


def _place(column: Column, value: Any) -> float:
    """Return a value's place on the axis; a moment may be written in the column's own format."""
    if column.kind == "datetime" and isinstance(value, str):
        with suppress(ValueError):
            value = datetime.strptime(value.strip(), column.read_format)
    try:
        return column.axis_value(value)
    except SchemaError as error:
        raise InputError(f"{error}{_forms(column)}") from None


def _forms(column: Column) -> str:
    """Say how a moment or a duration is written."""
    if column.kind == "datetime":
        example = datetime(1999, 12, 31, 23, 59).strftime(column.read_format)
        return f" Write it in its format, such as {example}, or in ISO form, such as 1999-12-31 or 1999-12-31T23:59."
    if column.kind == "duration":
        return f" Write it as 1:30:00, PT1H30M, or a number of its unit, {column.unit or 's'}."
    return ""


def _text(column: Column, value: Any) -> str:
    """Return a category or a truth value as the schema has it."""
    levels = column.levels or ()
    text = str(value).capitalize() if column.kind == "boolean" else str(value)
    if text not in levels:
        shown = ", ".join(levels[:MOST_NAMED]) + (", ..." if len(levels) > MOST_NAMED else "")
        raise InputError(f"Column {column.name!r}: {value!r} is not one of its values: {shown}.")
    return text


def _texts(series: pd.Series, column: Column) -> pd.Series:
    """Return categories, truth values or codes as texts; numbers beside codes are none."""
    if not column.numeric:
        return series.astype(object).astype(str)
    return pd.Series(np.array([*column.code_texts, ""], dtype=object)[code_places(series, column)])


def _is_missing(value: Any) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and bool(np.isnan(value)))
