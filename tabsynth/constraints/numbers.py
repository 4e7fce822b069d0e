"""Rules between numbers: order, sum, and one that is 1 where the others are 0."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabsynth.constraints.rule import CONTRADICTS, Columns, Described, Domain, Mask, Values, listed, numbers_of, wrong

TIMES = ("datetime", "duration")
TRUE: tuple[Domain, ...] = (frozenset({"True"}), (1, 1))
FALSE: tuple[Domain, ...] = (frozenset({"False"}), (0, 0))


@dataclass(frozen=True, slots=True)
class Inequality:
    """One number, or one moment, is at most another; with `strict`, less than it.

    >>> Inequality("admitted", "discharged").words
    "'admitted' <= 'discharged'"
    """

    low: str
    high: str
    strict: bool = False

    kind: ClassVar[str] = "inequality"

    @property
    def over(self) -> Values:
        """The smaller column and the larger one."""
        return (self.low, self.high)

    @property
    def words(self) -> str:
        """The rule in a few words."""
        return f"{self.low!r} {'<' if self.strict else '<='} {self.high!r}"

    def check(self, columns: Columns) -> None:
        """Raise SchemaError unless both columns are numbers, both datetimes, or both durations."""
        kinds = {columns[name].kind if columns[name].kind in TIMES else "number" for name in self.over}
        if len(kinds) > 1 or not all(columns[name].numeric for name in self.over):
            raise wrong(self, "both columns must be numbers, or both datetimes, or both durations")
        _refuse_codes(self, columns)

    def narrowed(self, domains: Mapping[str, Domain], columns: Columns) -> dict[str, Domain]:
        """Return bounds that leave the other column room."""
        low, high = _bounds(domains, self.low), _bounds(domains, self.high)
        step = max(columns[self.low].step, columns[self.high].step) if self.strict else 0.0
        below, above = (low[0], min(low[1], high[1] - step)), (max(high[0], low[0] + step), high[1])
        if below[0] > below[1] or above[0] > above[1] or (self.strict and low[0] >= high[1]):
            raise wrong(self, CONTRADICTS)
        return _finite({self.low: below, self.high: above})

    def broken(self, frame: pd.DataFrame, columns: Columns) -> Mask:
        """Return which rows have the larger value on the wrong side."""
        low, high = _without_zone(frame[self.low]), _without_zone(frame[self.high])
        wrong_side = (low >= high) if self.strict else (low > high)
        return np.asarray(wrong_side.fillna(False), dtype=bool)

    def to_dict(self) -> dict[str, Any]:
        """Return the rule as plain JSON values."""
        return {"kind": self.kind, "low": self.low, "high": self.high} | ({"strict": True} if self.strict else {})


@dataclass(frozen=True, slots=True)
class Sum:
    """A number is the sum of others, to half a step of its precision.

    >>> Sum(("a", "b"), "all").words
    "'all' = 'a' + 'b'"
    """

    parts: Values
    total: str

    kind: ClassVar[str] = "sum"

    @property
    def over(self) -> Values:
        """The parts, and the total at the end."""
        return (*self.parts, self.total)

    @property
    def words(self) -> str:
        """The rule in a few words."""
        return f"{self.total!r} = {' + '.join(map(repr, self.parts))}"

    def check(self, columns: Columns) -> None:
        """Raise SchemaError unless all columns are numbers, two or more of them parts."""
        if len(self.parts) < 2:
            raise wrong(self, "two or more parts are needed")
        for name in self.over:
            if columns[name].kind not in ("integer", "float"):
                raise wrong(self, f"column {name!r} must be an integer or a float")
        _refuse_codes(self, columns)

    def narrowed(self, domains: Mapping[str, Domain], columns: Columns) -> dict[str, Domain]:
        """Return the bounds of the total that its parts can reach, and of each part what the others leave of it."""
        low, high = _bounds(domains, self.total)
        slack = _slack(columns[self.total])
        ends = {name: _bounds(domains, name) for name in self.parts}
        least, most = (sum(pair[side] for pair in ends.values()) for side in (0, 1))
        if least > high + slack or most < low - slack:
            raise wrong(self, CONTRADICTS)
        found: dict[str, Domain] = {self.total: (min(max(low, least), high), max(min(high, most), low))}
        slack += 1e-9 * max(abs(low), abs(high), 1.0)  # as far off as a row may be that does not break the rule
        for name, (first, last) in ends.items() if math.isfinite(most - least) else ():
            others = least - first, most - last
            found[name] = (max(first, low - slack - others[1]), min(last, high + slack - others[0]))
        return _finite(found)

    def broken(self, frame: pd.DataFrame, columns: Columns) -> Mask:
        """Return which rows miss their sum by more than half a step."""
        total = numbers_of(frame[self.total])
        missed = np.abs(total - self._sum(frame))
        return np.asarray(missed > _slack(columns[self.total]) + 1e-9 * np.maximum(np.abs(total), 1.0))

    def derive(self, frame: pd.DataFrame, columns: Columns) -> pd.Series:
        """Return the total as its parts have it, where nothing is missing; left alone where it passes its bounds."""
        column, old = columns[self.total], frame[self.total]
        total = self._sum(frame)
        low, high = column.bounds or (-np.inf, np.inf)
        if column.step:
            decimals = round(-np.log10(column.step))
            total = np.round(total, decimals)
        settled = (total >= low) & (total <= high) & ~old.isna().to_numpy(dtype=bool)
        return pd.Series(np.where(settled, total, numbers_of(old)), index=old.index, name=old.name).astype(old.dtype)

    def _sum(self, frame: pd.DataFrame) -> NDArray[np.float64]:
        return np.asarray(sum((numbers_of(frame[name]) for name in self.parts), np.zeros(len(frame))))

    def to_dict(self) -> dict[str, Any]:
        """Return the rule as plain JSON values."""
        return {"kind": self.kind, "parts": list(self.parts), "total": self.total}


@dataclass(frozen=True, slots=True)
class OneHot:
    """Exactly one of several columns, boolean or 0 and 1, is true.

    >>> OneHot(("a", "b")).broken(pd.DataFrame({"a": [1, 1, 0], "b": [0, 1, 0]}), {}).tolist()
    [False, True, True]
    """

    columns: Values

    kind: ClassVar[str] = "one_hot"

    @property
    def over(self) -> Values:
        """The columns of the group."""
        return self.columns

    @property
    def words(self) -> str:
        """The rule in a few words."""
        return f"exactly one of {listed(self.columns)}"

    def check(self, columns: Columns) -> None:
        """Raise SchemaError unless two or more columns are boolean, or integers from 0 to 1."""
        if len(self.columns) < 2:
            raise wrong(self, "two or more columns are needed")
        for name in self.columns:
            column = columns[name]
            if column.kind != "boolean" and not (column.kind == "integer" and column.bounds == (0, 1)):
                raise wrong(self, f"column {name!r} must be boolean, or an integer with bounds [0, 1]")

    def narrowed(self, domains: Mapping[str, Domain], columns: Columns) -> dict[str, Domain]:
        """Return nothing smaller, but see that one column may be true and no two must be."""
        left = [domains.get(name) for name in self.columns]
        if sum(one in TRUE for one in left) > 1 or all(one in FALSE for one in left):
            raise wrong(self, CONTRADICTS)
        return {}

    def broken(self, frame: pd.DataFrame, columns: Columns) -> Mask:
        """Return which rows have none or several."""
        ones = sum((numbers_of(frame[name]) for name in self.columns), np.zeros(len(frame)))
        return np.asarray((ones != 1) & ~np.isnan(ones))

    def to_dict(self) -> dict[str, Any]:
        """Return the rule as plain JSON values."""
        return {"kind": self.kind, "columns": list(self.columns)}


def _refuse_codes(rule: Inequality | Sum, columns: Columns) -> None:
    """Raise SchemaError where a column holds codes beside its numbers."""
    for name in rule.over:
        if columns[name].codes is not None:
            raise wrong(rule, f"column {name!r} holds codes, which no rule between numbers knows")


def _slack(column: Described) -> float:
    """Return how far a sum may be off: half of the column's step."""
    return column.step / 2


def _bounds(domains: Mapping[str, Domain], name: str) -> tuple[float, float]:
    """Return a column's bounds, infinite where nothing is declared."""
    found = domains.get(name)
    return found if isinstance(found, tuple) else (-math.inf, math.inf)


def _finite(domains: dict[str, Domain]) -> dict[str, Domain]:
    """Return the domains that say something: both bounds finite."""
    return {name: pair for name, pair in domains.items() if all(map(math.isfinite, map(float, pair)))}


def _without_zone(series: pd.Series) -> pd.Series:
    """Return moments as in UTC, by which those of different zones are compared, and anything else as it is."""
    return pd.Series(series.dt.tz_convert(None)) if isinstance(series.dtype, pd.DatetimeTZDtype) else series
