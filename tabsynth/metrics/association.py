"""How strongly pairs of columns go together, and how much the synthetic table changes it.

Four measures, each for its own kinds of columns: Pearson's and Spearman's correlation of numeric ones, Cramer's V of
categorical and boolean ones, and the correlation ratio of a numeric column given a categorical one. Every coefficient
comes with its influence at each row, so that a difference has an interval by the delta method.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations, product
from typing import ClassVar, Literal, get_args

import numpy as np
import pandas as pd

from tabsynth import _check
from tabsynth.conversion import to_axis
from tabsynth.metrics.coding import Codes, Floats, codes
from tabsynth.metrics.estimate import Estimate, NotApplicable, check_level
from tabsynth.metrics.evidence import Evidence, Tier
from tabsynth.metrics.fidelity import LARGEST, Distance, drawn, mean_of
from tabsynth.schema import Column

Measure = Literal["pearson", "spearman", "cramers_v", "correlation_ratio"]
# a coefficient and its influence at every row; rows with a missing number in one of the two columns have none
Coefficient = tuple[float, Floats]
Pair = tuple[Column, Column]
KINDS = {"pearson": "numeric columns", "spearman": "numeric columns", "cramers_v": "categorical columns"}


@dataclass(frozen=True, slots=True)
class Association:
    """Mean absolute difference of a measure of association over pairs of columns, or that of the worst pair.

    Numbers: rows in which both are known. Categories: missing is one more category. A constant column goes with none,
    so its coefficients are 0. Above `pairs` pairs, that many are drawn, and the interval of a mean is as much wider;
    the worst pair is then the worst of those drawn.
    """

    measure: Measure = "pearson"
    over: Literal["mean", "worst"] = "mean"
    pairs: int = 500
    level: float = 0.95
    tier: ClassVar[Tier] = "fidelity"

    def __post_init__(self) -> None:
        """Check the settings."""
        _check.one_of("measure", self.measure, get_args(Measure))
        _check.one_of("over", self.over, ("mean", "worst"))
        _check.at_least("pairs", self.pairs, 1)
        check_level(self.level)

    @property
    def name(self) -> str:
        """Return `association_` and the measure, ending in `_worst` for the worst pair."""
        return f"association_{self.measure}{'_worst' if self.over == 'worst' else ''}"

    def __call__(self, evidence: Evidence, rng: np.random.Generator) -> Estimate:
        """Measure; NotApplicable without a pair of columns that the measure is for."""
        every = list(pairs_for(self.measure, evidence.columns))
        if not every:
            kinds = KINDS.get(self.measure, "columns, one numeric and one categorical")
            raise NotApplicable(f"The table has no pair of {kinds}.")
        pairs = drawn(every, self.pairs)
        found = (_difference(self.measure, evidence, pair) for pair in pairs)
        what = "pairs of columns"
        if self.over == "mean":
            return mean_of(found, self.level, of=len(every), what=what, bounds=(0.0, 2.0))
        (a, b), worst = max(zip(pairs, found, strict=True), key=lambda one: one[1][0])
        some = f"; {len(pairs)} of {len(every)} {what} were looked at" if len(pairs) < len(every) else ""
        return mean_of([worst], self.level, f"columns {a.name!r} and {b.name!r}{some}", bounds=(0.0, 2.0))


def matrix(measure: Measure, frame: pd.DataFrame, columns: tuple[Column, ...]) -> pd.DataFrame:
    """Return every coefficient of a measure over canonical rows: rows and columns named, NaN where it is not defined.

    The correlation ratio has categorical columns as rows and numeric ones as columns; the other three are symmetric,
    with ones on the diagonal.
    """
    pairs = list(pairs_for(measure, columns))
    first = [c.name for c in columns if c.numeric == (measure in ("pearson", "spearman"))]
    second = [c.name for c in columns if c.numeric] if measure == "correlation_ratio" else first
    found = pd.DataFrame(np.nan, index=pd.Index(first), columns=pd.Index(second))
    for a, b in pairs:
        found.loc[a.name, b.name] = value = coefficient(measure, frame, (a, b))[0]
        if measure != "correlation_ratio":
            found.loc[b.name, a.name] = value
    if measure != "correlation_ratio":
        for name in first:
            found.loc[name, name] = 1.0
    return found


def pairs_for(measure: Measure, columns: tuple[Column, ...]) -> Iterator[Pair]:
    """Yield the pairs of columns that a measure is for; of the correlation ratio the categorical column is first."""
    numeric = [column for column in columns if column.numeric]
    other = [column for column in columns if not column.numeric]
    if measure == "correlation_ratio":
        return product(other, numeric)
    return combinations(other if measure == "cramers_v" else numeric, 2)


def coefficient(measure: Measure, frame: pd.DataFrame, pair: Pair) -> Coefficient:
    """Return a measure of association of two columns of canonical rows, and its influence at every row."""
    a, b = (to_axis(frame[c.name], c) if c.numeric else codes(frame[c.name], c).astype(np.float64) + 1 for c in pair)
    known = ~(np.isnan(a) | np.isnan(b))
    influence = np.zeros(len(frame))
    if not known.any():
        return 0.0, influence
    value, influence[known] = MEASURES[measure](a[known], b[known])
    return value, influence * (len(frame) / float(known.sum()))


def pearson(a: Floats, b: Floats) -> Coefficient:
    """Return the product-moment correlation.

    >>> round(pearson(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.0]))[0], 6)
    1.0
    """
    a, b = _standard(a), _standard(b)
    if not a.any() or not b.any():
        return 0.0, np.zeros(len(a))
    value = float(np.clip((a * b).mean(), -1, 1))
    return value, a * b - value * (a * a + b * b) / 2


def spearman(a: Floats, b: Floats) -> Coefficient:
    """Return the correlation of ranks, ties sharing the middle of theirs; its influence knows that ranks are estimated.

    >>> round(spearman(np.array([1.0, 2.0, 9.0]), np.array([2.0, 3.0, 4.0]))[0], 6)
    1.0
    """
    i, j = _numbered(a), _numbered(b)
    u, v = _ranks(i) - 0.5, _ranks(j) - 0.5
    spread_u, spread_v = float((u * u).mean()), float((v * v).mean())
    if spread_u == 0 or spread_v == 0:
        return 0.0, np.zeros(len(a))
    scale = math.sqrt(spread_u * spread_v)
    value = float(np.clip((u * v).mean() / scale, -1, 1))
    covariance = u * v + _lifted(i, v) + _lifted(j, u)
    of_u, of_v = u * u + 2 * _lifted(i, u), v * v + 2 * _lifted(j, v)
    influence = covariance / scale - value / 2 * (of_u / spread_u + of_v / spread_v)
    return value, influence - influence.mean()


def cramers_v(a: Floats, b: Floats) -> Coefficient:
    """Return Cramer's V, without correction: of independent columns it is about sqrt(cells / rows), not 0.

    >>> cramers_v(np.array([0.0, 0.0, 1.0, 1.0]), np.array([5.0, 5.0, 7.0, 7.0]))[0]
    1.0
    """
    i, j = _numbered(a), _numbered(b)
    shape = int(i.max()) + 1, int(j.max()) + 1
    if min(shape) < 2:
        return 0.0, np.zeros(len(a))
    # only cells in use are counted: two columns of ten thousand categories make no table of a hundred million
    used, cell = _in_use(i * shape[1] + j)
    row, column = used // shape[1], used % shape[1]
    share = np.bincount(cell) / len(a)
    of_row, of_column = np.bincount(i) / len(a), np.bincount(j) / len(a)
    term = share * share / (of_row[row] * of_column[column])
    phi2, scale = float(term.sum()) - 1, min(shape) - 1
    value = math.sqrt(min(max(phi2 / scale, 0.0), 1.0))
    if value == 0:
        return 0.0, np.zeros(len(a))
    by_row, by_column = (np.bincount(at, weights=term)[at] for at in (row, column))
    influence = 2 * term / share - by_row / of_row[row] - by_column / of_column[column]
    return value, influence[cell] / (2 * value * scale)


def correlation_ratio(groups: Floats, values: Floats) -> Coefficient:
    """Return the square root of the share of a number's variance that lies between groups.

    >>> round(correlation_ratio(np.array([0.0, 0.0, 1.0, 1.0]), np.array([1.0, 1.0, 3.0, 3.0]))[0], 6)
    1.0
    """
    values = _standard(values)
    group = _numbered(groups)
    sizes = np.bincount(group)
    if len(sizes) < 2 or not values.any():
        return 0.0, np.zeros(len(values))
    middle = (np.bincount(group, weights=values) / sizes)[group]
    share = float(np.clip((middle * middle).mean(), 0, 1))
    if share == 0:
        return 0.0, np.zeros(len(values))
    influence = 2 * middle * values - middle * middle - share * values * values
    return math.sqrt(share), influence / (2 * math.sqrt(share))


def _difference(measure: Measure, evidence: Evidence, pair: Pair) -> Distance:
    """Return how far a coefficient is from the real one."""
    rows, in_rows = coefficient(measure, evidence.rows, pair)
    real, in_real = coefficient(measure, evidence.reference, pair)
    sign = math.copysign(1, rows - real)
    return abs(rows - real), sign * in_rows, -sign * in_real


MEASURES: dict[str, Callable[[Floats, Floats], Coefficient]] = {
    "pearson": pearson,
    "spearman": spearman,
    "cramers_v": cramers_v,
    "correlation_ratio": correlation_ratio,
}


def _standard(values: Floats) -> Floats:
    """Return the values with mean 0 and variance 1; zeros for a constant."""
    largest = float(np.abs(values).max())
    values = values / (largest or 1.0)  # squares of huge numbers would overflow
    values = values - values.mean()
    spread = float(values.std())
    return values / spread if spread > 1e-12 else np.zeros(len(values))


def _numbered(values: Floats) -> Codes:
    """Return values as numbers from 0 without gaps, in their order."""
    whole = values.astype(np.int64)
    if values.min() < 0 or (whole != values).any():
        return np.asarray(np.unique(values, return_inverse=True)[1], dtype=np.int64)
    return _in_use(whole)[1]


def _in_use(numbers: Codes) -> tuple[Codes, Codes]:
    """Return the different numbers from 0 in order, and each number's place among them."""
    if int(numbers.max()) >= LARGEST:
        found, places = np.unique(numbers, return_inverse=True)
        return found, np.asarray(places, dtype=np.int64)
    used = np.bincount(numbers) > 0  # no sorting: a table of a million rows has many pairs of columns
    return np.flatnonzero(used), (np.cumsum(used) - 1)[numbers]


def _ranks(numbers: Codes) -> Floats:
    """Return the share of values below each, ties counting half; values as `_numbered` has them."""
    sizes = np.bincount(numbers)
    below = np.cumsum(sizes) - sizes / 2
    return np.asarray(below[numbers] / len(numbers), dtype=np.float64)


def _lifted(numbers: Codes, other: Floats) -> Floats:
    """Return how much one more row at each value lifts the mean product of ranks and `other`, by its rank alone."""
    mass = np.bincount(numbers, weights=other) / len(numbers)
    above = np.cumsum(mass[::-1])[::-1] - mass / 2  # rows above count whole, equal ones half
    return np.asarray(above[numbers], dtype=np.float64)
