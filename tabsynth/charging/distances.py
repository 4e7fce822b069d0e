"""Distances between marginals from one noisy number a marginal.

With target counts fixed in advance (the synthetic rows' shares of a noisy number of holdout rows), the summed
difference between a table of counts and its target moves by at most 1 when a row comes or goes, and so does the largest
difference of cumulative counts. All of it is whole-number arithmetic, so that the bound is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tabsynth.charging.form import Coin, Take
from tabsynth.conversion import to_axis
from tabsynth.metrics.coding import Codes, Floats, binned
from tabsynth.metrics.estimate import Estimate, NotApplicable, NotMeasured, quantile
from tabsynth.metrics.evidence import Evidence
from tabsynth.metrics.fidelity import KS, TVD1, TVD2, joint, ks, total_variation
from tabsynth.metrics.sides import FEWEST
from tabsynth.privacy.reserve import Part
from tabsynth.schema import Column, Schema

DRAWS = 4  # of two samples, for the ceiling

Pair = tuple[NDArray[Any], NDArray[Any]]  # one marginal's synthetic and real values


@dataclass
class Distances:
    """`ks`, `tvd1` or `tvd2`: the mean (or the worst) over columns or pairs.

    Numeric columns are cut at the quantiles of the synthetic rows, which are public. The interval takes the widest that
    sampling can make it (a variance of 1/4 a row) and the noise.
    """

    metric: KS | TVD1 | TVD2
    holdout: int = 0  # as measured

    def parts(self, schema: Schema) -> tuple[Part, ...]:
        """Return two parts: the number of holdout rows, and one number a marginal."""
        numbers = self._marginals(schema.tabular)
        if not numbers:
            return ()
        return Part(self._why("rows"), 1, 0.2), Part(self._why("distances"), numbers, 0.8)

    def measure(self, evidence: Evidence, take: Take, coin: Coin, rng: np.random.Generator) -> Estimate:
        """Measure."""
        if not self._marginals(evidence.columns):
            raise NotApplicable("The table has no numeric or datetime column, or too few columns.")
        holdout = evidence.unseen()
        rows, spread = take(self._why("rows"), lambda: np.array([len(holdout)]))
        self.holdout = int(rows[0])
        if self.holdout < FEWEST:
            raise NotMeasured(f"It needs at least {FEWEST} holdout rows, as counted with noise.")
        measured = partial(self._distance, self.holdout)
        found, scale = take(
            self._why("distances"), lambda: np.array([measured(*pair) for pair in self._pairs(evidence, holdout, rng)])
        )
        values = found / (self.holdout * self._unit)
        noise = np.hypot(scale / self._unit, spread / 2) / self.holdout
        sampling = np.sqrt(0.25 / self.holdout + 0.25 / len(evidence.rows))
        count = len(values)
        level = 1 - (1 - self.metric.level) / (count if self._worst else 1)
        value = float(values.max() if self._worst else values.mean())
        if not self._worst:
            noise = np.hypot(scale / self._unit / np.sqrt(count), spread / 2) / self.holdout
        half = quantile(level) * float(np.hypot(noise, sampling))
        value = min(1.0, max(0.0, value))
        return Estimate(value, max(0.0, value - half), min(1.0, value + half), "from noisy counts")

    def ceiling(self, evidence: Evidence, rng: np.random.Generator) -> Estimate | None:
        """Return the mean distance of two samples of the synthetic rows, as many as there are and as many as held."""
        if not self.holdout:
            return None
        rows, scores = evidence.rows, []
        for _ in range(DRAWS):
            first, second = (rng.integers(len(rows), size=size) for size in (len(rows), self.holdout))
            samples = rows.iloc[first].reset_index(drop=True), rows.iloc[second].reset_index(drop=True)
            drawn = Evidence(evidence.schema, rows, samples[1], samples[0])
            exact: Callable[..., Any] = ks if isinstance(self.metric, KS) else total_variation
            found = [exact(*pair)[0] for pair in self._pairs(drawn, samples[1], rng)]
            scores.append(max(found) if self._worst else float(np.mean(found)))
        value = float(np.mean(scores))
        return Estimate(value, value, value)

    def _why(self, what: str) -> str:
        return f"gate: {what} of {self.metric.name!r}"

    @property
    def _worst(self) -> bool:
        return not isinstance(self.metric, TVD2) and self.metric.over == "worst"

    @property
    def _unit(self) -> int:
        """By how much a summed difference of counts overstates a distance of shares."""
        return 1 if isinstance(self.metric, KS) else 2

    def _marginals(self, columns: tuple[Column, ...]) -> int:
        if isinstance(self.metric, KS):
            return sum(column.numeric for column in columns)
        if isinstance(self.metric, TVD1):
            return len(columns)
        return min(self.metric.pairs, len(columns) * (len(columns) - 1) // 2)

    def _pairs(self, evidence: Evidence, real: Any, rng: np.random.Generator) -> list[Pair]:
        """Return the synthetic and the real values of every marginal: places on the axis, or cells."""
        rows, columns = evidence.rows, evidence.columns
        if isinstance(self.metric, KS):
            return [(to_axis(rows[c.name], c), to_axis(real[c.name], c)) for c in columns if c.numeric]
        cells: list[Any] = [binned(c, rows[c.name], rows[c.name], real[c.name]) for c in columns]
        if isinstance(self.metric, TVD1):
            return cells
        pairs = list(combinations(range(len(cells)), 2))
        if len(pairs) > self.metric.pairs:
            pairs = [pairs[place] for place in rng.choice(len(pairs), self.metric.pairs, replace=False)]
        return [joint(cells[a], cells[b]) for a, b in pairs]

    def _distance(self, size: int, rows: NDArray[Any], real: NDArray[Any]) -> int:
        return largest_gap(rows, real, size) if isinstance(self.metric, KS) else summed_gap(rows, real, size)


def summed_gap(rows: Codes, real: Codes, size: int) -> int:
    """Return the summed difference between the counts of `real` and those of `size` rows distributed as `rows`.

    One row more or less in `real` moves it by at most 1: the sum, times the number of `rows`, is a whole number that
    moves by at most that number, and is divided rounding down.

    >>> summed_gap(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1]), size=4)
    2
    """
    cells = max(int(rows.max(initial=0)), int(real.max(initial=0))) + 1
    given, found = (np.bincount(each, minlength=cells).astype(np.int64) for each in (rows, real))
    return int(np.abs(found * len(rows) - given * size).sum() // len(rows))


def largest_gap(rows: Floats, real: Floats, size: int) -> int:
    """Return the largest difference between cumulative counts of `real` and of `size` rows distributed as `rows`.

    Just below and at every value of `rows`, missing (NaN) standing below everything; one row moves it by at most 1.

    >>> largest_gap(np.array([1.0, 2.0]), np.array([2.0, np.nan]), size=2)
    1
    """
    rows, real = (np.sort(np.where(np.isnan(values), -np.inf, values)) for values in (rows, real))
    grid = np.unique(rows)
    gaps = [
        np.searchsorted(real, grid, side) * len(rows) - np.searchsorted(rows, grid, side) * size
        for side in ("left", "right")
    ]
    return int(np.abs(np.concatenate(gaps)).max() // len(rows))
