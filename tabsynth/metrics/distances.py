"""Distances of single columns beside those of the default policy: Wasserstein, Jensen-Shannon, missing shares.

Like those in `fidelity`, each is taken to the holdout, or to the training rows where there is none, and its interval
covers the sampling of both tables by the delta method.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from tabsynth.canonical import code_places, to_axis
from tabsynth.metrics.coding import Codes, Floats
from tabsynth.metrics.estimate import Estimate, NotApplicable
from tabsynth.metrics.evidence import Evidence
from tabsynth.metrics.fidelity import Distance, OfColumns, cells_of, total_variation
from tabsynth.schema import Column


@dataclass(frozen=True, slots=True)
class Wasserstein(OfColumns):
    """Wasserstein-1 distance of numeric and datetime columns, as a share of the range of the training values.

    How far values must be moved on average to turn one column into the other: unlike `ks` it sees how far, so that a
    tail in the wrong place counts by its distance. Missing values are left out (`missing` is about them). Above 1 it
    counts as 1, and so it does when one table alone has no value.
    """

    stem: ClassVar[str] = "wasserstein"

    def __call__(self, evidence: Evidence, rng: np.random.Generator) -> Estimate:
        """Measure; NotApplicable without a numeric column."""
        columns = [column for column in evidence.columns if column.numeric]
        if not columns:
            raise NotApplicable("The table has no numeric or datetime column.")
        frames = (evidence.rows, evidence.reference, evidence.train)
        return self._estimate({c.name: wasserstein(*(to_axis(frame[c.name], c) for frame in frames)) for c in columns})


@dataclass(frozen=True, slots=True)
class JensenShannon(OfColumns):
    """Jensen-Shannon distance of one-way marginals: the square root of the divergence in bits, between 0 and 1.

    Cells as in `tvd1`. It weighs a cell that one table lacks more than `tvd1` does (Lin 1991; Endres and Schindelin
    2003).
    """

    stem: ClassVar[str] = "jensen_shannon"

    def __call__(self, evidence: Evidence, rng: np.random.Generator) -> Estimate:
        """Measure."""
        names = [column.name for column in evidence.columns]
        return self._estimate({n: jensen_shannon(*c) for n, c in zip(names, cells_of(evidence), strict=True)})


@dataclass(frozen=True, slots=True)
class Missing(OfColumns):
    """Difference of the shares of missing values, over the columns where any value is missing.

    A code among numbers, such as "refused", is one more way to be missing, with a share of its own: the distance is the
    total variation between a number, a gap and each of the codes.
    """

    stem: ClassVar[str] = "missing"

    def __call__(self, evidence: Evidence, rng: np.random.Generator) -> Estimate:
        """Measure; NotApplicable where no value is missing in any table, nor may be by the schema."""
        frames = (evidence.rows, evidence.reference, evidence.train)
        gaps = {column.name: [_gaps(frame[column.name], column) for frame in frames] for column in evidence.columns}
        known = [name for name, gap in gaps.items() if any(one.any() for one in gap)]
        # where only the synthetic rows have gaps, their ceiling, real rows against real ones, is a distance of 0
        known = known or [column.name for column in evidence.columns if column.nullable is not False]
        if not known:
            raise NotApplicable("No value is missing in any table.")
        return self._estimate({name: total_variation(*gaps[name][:2]) for name in known})


def wasserstein(rows: Floats, real: Floats, train: Floats) -> Distance:
    """Return the Wasserstein-1 distance of two samples of an axis, as a share of the range of `train`, at most 1.

    >>> wasserstein(np.array([0.0, 1.0]), np.array([0.0, 0.0, np.nan]), np.array([0.0, 10.0]))[0]
    0.05
    """
    known, present, scale = rows[~np.isnan(rows)], real[~np.isnan(real)], train[~np.isnan(train)]
    nothing = np.zeros(len(rows)), np.zeros(len(real))
    if not len(known) or not len(present):
        return float(len(known) != len(present)), *nothing
    grid = np.unique(np.concatenate([known, present]))
    gap = np.searchsorted(np.sort(known), grid, "right") / len(known)
    gap -= np.searchsorted(np.sort(present), grid, "right") / len(present)
    unit = float(np.ptp(scale)) if len(scale) else 0.0
    unit = unit or float(grid[-1] - grid[0]) or 1.0  # of a constant column every shift is a whole one
    widths = np.diff(grid) / unit
    distance = float(np.abs(gap[:-1]) @ widths)
    if distance >= 1:
        return 1.0, *nothing
    # a row moves the distribution function by one step, from its value on
    after = np.append(np.cumsum((np.sign(gap[:-1]) * widths)[::-1])[::-1], 0.0)
    return distance, _spread(after, grid, rows), -_spread(after, grid, real)


def jensen_shannon(rows: Codes, real: Codes) -> Distance:
    """Return the Jensen-Shannon distance of two samples of cell numbers, in bits.

    >>> jensen_shannon(np.array([0, 0]), np.array([1, 1]))[0]
    1.0
    """
    size = max(int(rows.max()), int(real.max())) + 1
    shares = [np.bincount(cells, minlength=size) / len(cells) for cells in (rows, real)]
    middle = (shares[0] + shares[1]) / 2
    # log2 of a share over the middle; a cell without rows adds nothing
    logs = [np.log2(np.divide(p, middle, out=np.ones(size), where=p > 0)) / 2 for p in shares]
    divergence = float(sum(p @ log for p, log in zip(shares, logs, strict=True)))
    distance = float(np.sqrt(min(max(divergence, 0.0), 1.0)))
    if distance == 0:
        return 0.0, np.zeros(len(rows)), np.zeros(len(real))
    return distance, logs[0][rows] / (2 * distance), logs[1][real] / (2 * distance)


def _gaps(series: pd.Series, column: Column) -> Codes:
    """Return 0 for a value, 1 for a gap, and from 2 on for each of the column's codes."""
    places = code_places(series, column) + 2
    return np.asarray(np.where(places > 1, places, series.isna().to_numpy(dtype=bool)), dtype=np.int64)


def _spread(after: Floats, grid: Floats, values: Floats) -> Floats:
    """Return each row's influence on a mean over the known values; a missing value has none."""
    known = ~np.isnan(values)
    found = np.zeros(len(values), dtype=np.float64)
    found[known] = after[np.searchsorted(grid, values[known])]
    found[known] -= found[known].mean()
    found *= len(values) / float(known.sum())
    return found
