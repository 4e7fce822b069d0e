"""Whether synthetic rows lie where real ones do, and real rows where synthetic ones do, among nearest neighbours.

Distances are Gower's with ranks, as in `neighbours`, so that mixed tables need no embedding. Density and coverage are
those of Naeem et al. (2020). Alpha-precision and beta-recall ask what Alaa et al. (2022) ask, of level sets of the
distance to the k-th neighbour in the place of spheres around one centre, since the rows of a table have many modes.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numba
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabsynth import _check
from tabsynth.metrics.coding import Floats
from tabsynth.metrics.costs import balls
from tabsynth.metrics.estimate import Estimate, NotMeasured, check_level, from_influence
from tabsynth.metrics.evidence import Evidence, Tier
from tabsynth.metrics.neighbours import Points, nearest, place

Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _OfNeighbours:
    """What the four metrics share: `k` neighbours, and at most `most` rows of either table.

    Real rows are the holdout's, or the training rows where there is none. The interval is that of the rows that were
    looked at, so `most` makes it wider and moves no value; the note says how many there were.
    """

    k: int = 5
    most: int = 5_000
    level: float = 0.95
    tier: ClassVar[Tier] = "fidelity"

    def __post_init__(self) -> None:
        """Check the settings."""
        _check.at_least("k", self.k, 1)
        _check.at_least("most", self.most, 2)
        check_level(self.level)

    def cost(self, evidence: Evidence) -> dict[Hashable, float]:
        """Return the seconds that it takes."""
        size = min(len(evidence.rows), len(evidence.reference), self.most)
        return {type(self).__name__: balls(size, size, len(evidence.columns))}

    def _points(self, evidence: Evidence, rng: np.random.Generator) -> tuple[Points, Points]:
        """Return synthetic and real rows as points in random order, as many of either."""
        size = min(len(evidence.rows), len(evidence.reference), self.most)
        if size < 4 * self.k:
            raise NotMeasured(f"It needs at least {4 * self.k} rows of each table.")

        def points(frame: pd.DataFrame) -> Points:
            picked = frame.iloc[rng.permutation(len(frame))[:size]]
            return place(picked, evidence.train, evidence.columns)

        return points(evidence.rows), points(evidence.reference)


@dataclass(frozen=True, slots=True)
class Density(_OfNeighbours):
    """How many balls of real rows a synthetic row lies in, over the number that a real row does: 1 for real rows.

    The ball of a real row reaches to its k-th real neighbour. Below 1 synthetic rows lie where few real ones do; above
    1 they crowd where most real ones are.
    """

    name: ClassVar[str] = "density"

    def __call__(self, evidence: Evidence, rng: np.random.Generator) -> Estimate:
        """Measure; NotMeasured with fewer than 4 k rows of a table."""
        balls = count_in_balls(*self._points(evidence, rng), self.k)
        per_row, per_ball = balls.of_row / self.k, balls.of_ball / self.k
        note = f"{len(per_row)} rows of each table"
        return from_influence(float(per_row.mean()), (per_row, per_ball), self.level, (0.0, np.inf), note)


@dataclass(frozen=True, slots=True)
class Coverage(_OfNeighbours):
    """Share of real rows whose ball holds a synthetic row: about 1 - 2^-k for real rows, less where modes are lost.

    The ball of a real row reaches to its k-th real neighbour.
    """

    name: ClassVar[str] = "coverage"

    def __call__(self, evidence: Evidence, rng: np.random.Generator) -> Estimate:
        """Measure; NotMeasured with fewer than 4 k rows of a table."""
        balls = count_in_balls(*self._points(evidence, rng), self.k)
        covered = (balls.of_ball > 0).astype(np.float64)
        # without a synthetic row, the balls that it alone is in would be empty
        alone = balls.alone_in.astype(np.float64)
        note = f"{len(covered)} rows of each table"
        return from_influence(float(covered.mean()), (alone, covered), self.level, (0.0, 1.0), note)


@dataclass(frozen=True, slots=True)
class AlphaPrecision(_OfNeighbours):
    """Whether synthetic rows spread over the regions of real rows, from the densest to the thinnest, as real rows do.

    The region alpha holds the share alpha of real rows that are nearest to others; 1 - 2 ∫ |share of synthetic rows in
    it - alpha| d alpha is 1 when each region holds its share and 0 when synthetic rows all lie beyond the real ones, or
    all in the densest spot. Regions are drawn from one half of the real rows and measured on the other.
    """

    name: ClassVar[str] = "alpha_precision"

    def __call__(self, evidence: Evidence, rng: np.random.Generator) -> Estimate:
        """Measure; NotMeasured with fewer than 4 k rows of a table."""
        rows, real = self._points(evidence, rng)
        return _spread_alike(self, drawn_from=real, asked=rows)


@dataclass(frozen=True, slots=True)
class BetaRecall(_OfNeighbours):
    """Whether real rows spread over the regions of synthetic rows as synthetic rows do: `alpha_precision` turned round.

    A synthetic table that lost a mode leaves the real rows of that mode beyond its thinnest region.
    """

    name: ClassVar[str] = "beta_recall"

    def __call__(self, evidence: Evidence, rng: np.random.Generator) -> Estimate:
        """Measure; NotMeasured with fewer than 4 k rows of a table."""
        rows, real = self._points(evidence, rng)
        return _spread_alike(self, drawn_from=rows, asked=real)


class InBalls(NamedTuple):
    """How many balls each row lies in, how many rows each ball holds, and in how many balls each row lies alone."""

    of_row: Counts
    of_ball: Counts
    alone_in: Counts


def count_in_balls(rows: Points, real: Points, k: int) -> InBalls:
    """Count which rows lie in the balls of real rows that reach to their k-th real neighbour."""
    radii = nearest(real, real, k + 1)[:, k]  # the nearest one is the row itself
    found = InBalls(*(np.zeros(size, dtype=np.int64) for size in (len(rows), len(real), len(rows))))
    _count_in_balls(rows, real, radii, found)
    return found


def spread_gap(asked: Floats, own: Floats) -> tuple[float, Floats, Floats]:
    """Return the mean over `own` of how far two distribution functions are apart there, and its influences.

    >>> spread_gap(np.array([5.0, 5.0]), np.array([1.0, 2.0, 3.0, 4.0]))[0]
    0.625
    """
    grid = np.sort(own)
    gap = _share_below(asked, grid) - _share_below(own, grid)
    # how much of the gap's integral a row at each place adds: to every point from it on
    from_here = np.append(np.cumsum(np.sign(gap)[::-1])[::-1], 0) / len(grid)
    in_asked = from_here[np.searchsorted(grid, asked, "left")]
    in_own = np.abs(gap)[np.searchsorted(grid, own, "left")] - from_here[np.searchsorted(grid, own, "left")]
    return float(np.abs(gap).mean()), in_asked, in_own


def _spread_alike(settings: _OfNeighbours, drawn_from: Points, asked: Points) -> Estimate:
    """Return how alike two tables spread over the regions of one: 1 - 2 x the gap of the distances to neighbours."""
    half = len(drawn_from) // 2
    regions, own = drawn_from[:half], drawn_from[half:]
    far, own_far = (nearest(points, regions, settings.k)[:, -1].astype(np.float64) for points in (asked, own))
    gap, in_asked, in_own = spread_gap(far, own_far)
    note = f"{len(asked)} rows of each table"
    value = max(0.0, 1 - 2 * gap)
    return from_influence(value, (-2 * in_asked, -2 * in_own), settings.level, (0.0, 1.0), note)


def _share_below(values: Floats, grid: Floats) -> Floats:
    """Return the share of values at or below each point."""
    return np.asarray(np.searchsorted(np.sort(values), grid, "right") / len(values), dtype=np.float64)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator, unused-ignore]
def _count_in_balls(rows: Points, real: Points, radii: Points, found: InBalls) -> None:
    """Fill the three counts; distances are summed in the order of `nearest`, so that ties agree with the radii."""
    one = np.float32(1.0)
    for i in range(len(real)):
        last = -1
        for j in range(len(rows)):
            distance = np.float32(0.0)
            for c in range(rows.shape[1]):
                apart = abs(rows[j, c] - real[i, c])
                distance += apart if apart < one else one
                if distance > radii[i]:
                    break
            if distance <= radii[i]:
                found.of_row[j] += 1
                found.of_ball[i] += 1
                last = j
        if found.of_ball[i] == 1:
            found.alone_in[last] += 1
