"""Two numbers or moments of a row where one follows the other: the larger is known by its distance from the smaller.

Which pairs these are follows from what a schema declares. A rule of order alone would have to throw rows away, and of
moments some weeks apart in bins it would leave next to nothing of how far apart they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tabsynth.columns.times import UNITS
from tabsynth.constraints import Inequality, OneHot, Sum
from tabsynth.schema import Column, Schema

WIDER = 2.0  # times the larger column's span, beyond which that of the smaller one would blur it
Floats = NDArray[np.float64]


def pairs_of(schema: Schema) -> dict[str, str]:
    """Return which columns are to be known by their distance, and from which: the larger one's name, the smaller one's.

    Those of the schema's inequalities, the first one of each larger column, but for columns with bins of their own, in
    a sum or a one-hot group, of which no rule would leave a circle, and where the declared bounds say that a distance
    would tell less than the value (see `_is_told`).

    >>> columns = (Column("a", "integer"), Column("b", "integer"), Column("c", "integer"))
    >>> rules = Inequality("a", "b"), Inequality("b", "c"), Inequality("a", "c")
    >>> pairs_of(Schema(columns, constraints=rules))
    {'b': 'a', 'c': 'b'}
    """
    settled = {name for rule in schema.constraints if isinstance(rule, Sum | OneHot) for name in rule.over}
    found = {column.name: column.after for column in schema.modelled if column.after is not None}
    for rule in schema.constraints:
        if not isinstance(rule, Inequality) or rule.high in found or settled & set(rule.over):
            continue
        low, high = schema[rule.low], schema[rule.high]
        if high.bins is None and _is_told(low, high) and rule.high not in _before(rule.low, found):
            found[rule.high] = rule.low
    return found


def in_turn(columns: Iterable[Column], pairs: Mapping[str, str]) -> Iterator[Column]:
    """Yield the columns in their order, but each after the one that its distance is from."""
    known = {column.name: column for column in columns}
    for name in list(known):
        for each in reversed(_before(name, pairs)):
            if (column := known.pop(each, None)) is not None:
                yield column


def distance_of(low: Column, high: Column, *, strict: bool) -> Column:
    """Return the column of the distances, with the bounds that follow from the two columns' where these are known.

    That of two moments is a duration.

    >>> day, minute = Column("a", "datetime", bounds=(0, 86_400)), Column("b", "datetime", format="%H:%M")
    >>> distance_of(day, replace(minute, bounds=(0, 172_800)), strict=False).to_dict()
    {'name': 'b', 'kind': 'duration', 'nullable': False, 'bounds': [0, 2880], 'unit': 'min'}
    """
    finer = min(low, high, key=lambda column: column.step)
    if high.kind == "datetime":
        unit = next(unit for unit, width in UNITS.items() if width == finer.step)
        found = Column(high.name, "duration", unit=unit, nullable=high.nullable)
    elif high.kind == "duration":
        found = Column(high.name, "duration", unit=finer.unit or "s", decimals=finer.decimals, nullable=high.nullable)
    elif low.kind == high.kind == "integer":
        found = Column(high.name, "integer", nullable=high.nullable)
    else:
        decimals = None if finer.step == 0 else max(low.decimals or 0, high.decimals or 0)
        found = Column(high.name, "float", decimals=decimals, nullable=high.nullable)
    if low.bounds is None or high.bounds is None:
        return found
    least = max(high.bounds[0] - low.bounds[1], found.step if strict else 0.0)
    return replace(found, bounds=stepped(least, max(high.bounds[1] - low.bounds[0], least), found))


def stepped(low: float, high: float, column: Column) -> tuple[float, float]:
    """Return bounds moved outwards to whole steps of a column.

    >>> stepped(0.26, 1.33, Column("x", "float", decimals=1))
    (0.2, 1.4)
    """
    step, digits = column.step, column.digits
    if step == 0:
        return float(low), float(high)
    ends = np.floor(low / step + 1e-6) * step, np.ceil(high / step - 1e-6) * step
    return float(np.round(ends[0], digits or 0)), float(np.round(ends[1], digits or 0))


def is_strict(schema: Schema, low: str, high: str) -> bool:
    """Whether the schema says that two columns are never equal."""
    return any(isinstance(rule, Inequality) and rule.over == (low, high) and rule.strict for rule in schema.constraints)


def _is_told(low: Column, high: Column) -> bool:
    """Whether the distance tells more than the larger value itself, as far as the declared bounds say.

    It does not where every larger value is above every smaller one, nor where the smaller ones span far more: a visit
    in one of three years is known better by itself than by a date of birth and an age.
    """
    if low.bounds is None or high.bounds is None:
        return True
    spans = [column.bounds[1] - column.bounds[0] for column in (low, high) if column.bounds is not None]
    return low.bounds[1] > high.bounds[0] and spans[0] <= WIDER * spans[1]


def _before(name: str, pairs: Mapping[str, str]) -> list[str]:
    """Return a column and all that its distance depends on, the nearest first."""
    found = [name]
    while (below := pairs.get(found[-1])) is not None and below not in found:
        found.append(below)
    return found
