"""Fidelity: how far the synthetic table's marginals are from real ones, in distances between 0 and 1.

Every distance is taken to the holdout, or to the training rows where there is none. The interval covers the sampling of
both tables by the delta method: it is where the same distance would fall on other draws of the same sizes. Distances
between samples do not reach 0, so they are read beside their ceiling, what real rows score.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar, Literal, TypeVar

import numpy as np

from tabsynth import _check
from tabsynth.conversion import to_axis
from tabsynth.metrics.coding import Codes, Floats, binned
from tabsynth.metrics.estimate import Estimate, NotApplicable, check_level, from_influence
from tabsynth.metrics.evidence import Evidence, Tier

LARGEST = 1 << 20  # cells of a table of counts; above it only the cells in use are counted
SEED = 0  # of the draw of pairs: not from `rng`, which is another one for the ceiling

Item = TypeVar("Item")

# a distance, its influence at every synthetic row and at every real row
Distance = tuple[float, Floats, Floats]


@dataclass(frozen=True, slots=True)
class OfColumns:
    """What the distances of single columns share: whether the mean over columns is taken or the worst column."""

    over: Literal["mean", "worst"] = "mean"
    level: float = 0.95
    stem: ClassVar[str]
    tier: ClassVar[Tier] = "fidelity"

    def __post_init__(self) -> None:
        """Check the settings."""
        _check.one_of("over", self.over, ("mean", "worst"))
        check_level(self.level)

    @property
    def name(self) -> str:
        """Return the metric's name, ending in `_worst` for the worst column."""
        return self.stem if self.over == "mean" else f"{self.stem}_worst"

    def _estimate(self, found: Mapping[str, Distance]) -> Estimate:
        """Return the mean over columns, or the worst column with its name."""
        if self.over == "mean":
            return mean_of(list(found.values()), self.level)
        worst = max(found, key=lambda name: found[name][0])
        return mean_of([found[worst]], self.level, f"column {worst!r}")


@dataclass(frozen=True, slots=True)
class KS(OfColumns):
    """Kolmogorov-Smirnov distance of numeric and datetime columns: the mean over columns, or the worst column.

    The largest difference between two distribution functions, missing values standing below all others; the real line
    has no bins here, so spikes and shifts inside a bin show too.
    """

    stem: ClassVar[str] = "ks"

    def __call__(self, evidence: Evidence, rng: np.random.Generator) -> Estimate:
        """Measure; NotApplicable without a numeric column."""
        columns = [column for column in evidence.columns if column.numeric]
        if not columns:
            raise NotApplicable("The table has no numeric or datetime column.")
        frames = (evidence.rows, evidence.reference)
        return self._estimate({c.name: ks(*(to_axis(frame[c.name], c) for frame in frames)) for c in columns})


@dataclass(frozen=True, slots=True)
class TVD1(OfColumns):
    """Total variation distance of one-way marginals: the mean over columns, or the worst column.

    Numeric columns are cut at the 20-quantiles of the training rows; missing is a cell of its own.
    """

    stem: ClassVar[str] = "tvd1"

    def __call__(self, evidence: Evidence, rng: np.random.Generator) -> Estimate:
        """Measure."""
        names = [column.name for column in evidence.columns]
        return self._estimate({n: total_variation(*c) for n, c in zip(names, cells_of(evidence), strict=True)})


@dataclass(frozen=True, slots=True)
class TVD2:
    """Total variation distance of pairwise marginals, averaged over pairs of columns.

    Cells as in `tvd1`. The distance of a pair is the largest error of any count query on the two columns. Above `pairs`
    pairs, that many are drawn, and the interval is as much wider.
    """

    pairs: int = 150
    level: float = 0.95
    name: ClassVar[str] = "tvd2"
    tier: ClassVar[Tier] = "fidelity"

    def __post_init__(self) -> None:
        """Check the settings."""
        _check.at_least("pairs", self.pairs, 1)
        check_level(self.level)

    def __call__(self, evidence: Evidence, rng: np.random.Generator) -> Estimate:
        """Measure; NotApplicable with a single column."""
        cells = cells_of(evidence)
        if len(cells) < 2:
            raise NotApplicable("The table has a single column, hence no pair.")
        pairs = drawn(list(combinations(range(len(cells)), 2)), self.pairs)
        distances = (total_variation(*joint(cells[a], cells[b])) for a, b in pairs)
        return mean_of(distances, self.level, of=math.comb(len(cells), 2), what="pairs of columns")


@dataclass(frozen=True, slots=True)
class TVD3:
    """Total variation distance of three-way marginals, averaged over triples of columns.

    Cells as in `tvd1`. Numeric columns have 20 of them, so most cells of a triple are thinly filled in both tables and
    the distance has a high floor: read it beside its ceiling. Above `triples` triples, that many are drawn, and the
    interval is as much wider.
    """

    triples: int = 150
    level: float = 0.95
    name: ClassVar[str] = "tvd3"
    tier: ClassVar[Tier] = "fidelity"

    def __post_init__(self) -> None:
        """Check the settings."""
        _check.at_least("triples", self.triples, 1)
        check_level(self.level)

    def __call__(self, evidence: Evidence, rng: np.random.Generator) -> Estimate:
        """Measure; NotApplicable with fewer than three columns."""
        cells = cells_of(evidence)
        if len(cells) < 3:
            raise NotApplicable("The table has fewer than three columns, hence no triple.")
        triples = drawn(list(combinations(range(len(cells)), 3)), self.triples)
        distances = (total_variation(*joint(joint(cells[a], cells[b]), cells[c])) for a, b, c in triples)
        return mean_of(distances, self.level, of=math.comb(len(cells), 3), what="triples of columns")


def ks(rows: Floats, real: Floats) -> Distance:
    """Return the Kolmogorov-Smirnov distance of two samples of an axis, missing (NaN) standing below everything.

    >>> ks(np.array([1.0, 2.0]), np.array([2.0, np.nan]))[0]
    0.5
    """
    rows, real = (np.where(np.isnan(values), -np.inf, values) for values in (rows, real))
    grid = np.unique(np.concatenate([rows, real]))
    below_rows = np.searchsorted(np.sort(rows), grid, "right") / len(rows)
    below_real = np.searchsorted(np.sort(real), grid, "right") / len(real)
    at = int(np.abs(below_rows - below_real).argmax())
    sign = 1.0 if below_rows[at] >= below_real[at] else -1.0
    gap = abs(float(below_rows[at] - below_real[at]))
    return gap, sign * (rows <= grid[at]), -sign * (real <= grid[at])


def total_variation(rows: Codes, real: Codes) -> Distance:
    """Return the total variation distance of two samples of cell numbers: half the summed differences of shares.

    >>> total_variation(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1]))[0]
    0.25
    """
    size = max(int(rows.max()), int(real.max())) + 1
    gap = np.bincount(rows, minlength=size) / len(rows) - np.bincount(real, minlength=size) / len(real)
    sign = np.sign(gap) / 2
    return float(np.abs(gap).sum() / 2), sign[rows], -sign[real]


def joint(first: Sequence[Codes], second: Sequence[Codes]) -> tuple[Codes, Codes]:
    """Return the cells of two columns together, for synthetic and real rows."""
    width = 1 + max(int(cells.max()) for cells in second)
    rows, real = (a * width + b for a, b in zip(first, second, strict=True))
    if max(int(rows.max()), int(real.max())) < LARGEST:
        return rows, real
    _, cells = np.unique(np.concatenate([rows, real]), return_inverse=True)
    return cells[: len(rows)], cells[len(rows) :]


def cells_of(evidence: Evidence) -> list[tuple[Codes, ...]]:
    """Return, for each column, the cells of the synthetic and of the real rows."""
    rows, real, train = evidence.rows, evidence.reference, evidence.train
    return [binned(c, train[c.name], rows[c.name], real[c.name]) for c in evidence.columns]


def drawn(items: list[Item], most: int) -> list[Item]:
    """Return the items, or `most` of them drawn where there are more: the same ones for a table and for its ceiling."""
    if len(items) <= most:
        return items
    return [items[i] for i in np.random.default_rng(SEED).choice(len(items), most, replace=False)]


def mean_of(
    distances: Iterable[Distance],
    level: float,
    note: str = "",
    *,
    of: int = 0,
    what: str = "",
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Estimate:
    """Return the mean of distances over the same rows, with its interval, cut at `bounds`.

    Where the distances are a random part of `of` ones, the interval allows for that too (with the correction for a
    finite population), and the note says how many of `what` were drawn and the standard error that it costs.
    """
    found, rows, real = [], np.zeros(1), np.zeros(1)
    for distance, in_rows, in_real in distances:  # summed as they come: influences of many pairs fill no memory
        found.append(distance)
        rows, real = rows + in_rows, real + in_real
    values = np.array(found)
    influences = [rows / len(values), real / len(values)]
    if of > len(values):
        influences.append((values - values.mean()) * math.sqrt(1 - len(values) / of))
        cost = float(influences[-1].std() / math.sqrt(len(values)))
        told = f"{len(values)} of {of} {what}, drawn at random, which costs a standard error of {cost:.2g}"
        note = f"{note}; {told}" if note else told
    return from_influence(float(values.mean()), influences, level, bounds, note)
