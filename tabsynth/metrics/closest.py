"""Distances to closest records, shown because readers expect them; they describe and prove no privacy.

A table can pass every such test and leak (2505.01524): the distance of a typical synthetic row says nothing of the few
training rows that were copied, and a threshold on it rewards noise. `descriptive` marks them: a policy whose only
privacy checks are descriptive passes nothing.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
from scipy import stats

from tabsynth import _check
from tabsynth.metrics.coding import Floats
from tabsynth.metrics.costs import neighbours
from tabsynth.metrics.estimate import Estimate, check_level
from tabsynth.metrics.evidence import Evidence, Tier
from tabsynth.metrics.neighbours import Points, nearest, place

KIND = "descriptive, no proof of privacy"


@dataclass(frozen=True, slots=True)
class DCR:
    """Median distance from a synthetic row to the closest training row, as a share of the columns (Gower).

    At most `queries` synthetic rows are measured. The interval is that of a median, from order statistics.
    """

    queries: int = 5000
    level: float = 0.95
    name: ClassVar[str] = "dcr"
    tier: ClassVar[Tier] = "privacy"
    descriptive: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the settings."""
        _check.at_least("queries", self.queries, 1)
        check_level(self.level)

    def cost(self, evidence: Evidence) -> dict[Hashable, float]:
        """Return the seconds that it takes."""
        points = len(evidence.train) + (0 if evidence.holdout is None else len(evidence.holdout))
        return {self.name: neighbours(min(self.queries, len(evidence.rows)), points, len(evidence.columns))}

    def __call__(self, evidence: Evidence, rng: np.random.Generator) -> Estimate:
        """Measure."""
        points = _queries(evidence, self.queries, rng)
        found = median(_distances(points, evidence, evidence.train, 1)[:, 0] / points.shape[1], self.level)
        beside = ""
        if evidence.holdout is not None:
            apart = _distances(points, evidence, evidence.holdout, 1)[:, 0] / points.shape[1]
            beside = f"; to the closest of {len(evidence.holdout)} holdout rows {np.median(apart):.3g}"
        return Estimate(found.value, found.low, found.high, f"{KIND}{beside}")


@dataclass(frozen=True, slots=True)
class NNDR:
    """Median ratio of the distances from a synthetic row to the closest and the second closest training row.

    Near 0 a synthetic row lies on one training row and far from the others. Two distances of zero have the ratio 1.
    Settings and interval as of DCR.
    """

    queries: int = 5000
    level: float = 0.95
    name: ClassVar[str] = "nndr"
    tier: ClassVar[Tier] = "privacy"
    descriptive: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the settings."""
        _check.at_least("queries", self.queries, 1)
        check_level(self.level)

    def cost(self, evidence: Evidence) -> dict[Hashable, float]:
        """Return the seconds that it takes."""
        points = len(evidence.train)
        return {self.name: neighbours(min(self.queries, len(evidence.rows)), points, len(evidence.columns))}

    def __call__(self, evidence: Evidence, rng: np.random.Generator) -> Estimate:
        """Measure."""
        near = _distances(_queries(evidence, self.queries, rng), evidence, evidence.train, 2)
        ratio = np.where(near[:, 1] > 0, near[:, 0] / np.maximum(near[:, 1], 1e-12), 1.0)
        found = median(ratio, self.level)
        return Estimate(found.value, found.low, found.high, KIND)


def median(values: Floats, level: float) -> Estimate:
    """Return the median with the interval between two order statistics that hold it at `level`, or at the range.

    >>> median(np.arange(11.0), 0.95)
    Estimate(value=5.0, low=1.0, high=9.0, note='')
    """
    ordered = np.sort(values)
    below = int(stats.binom.ppf((1 - check_level(level)) / 2, len(ordered), 0.5))
    first = max(below - 1, 0)
    value = float(np.median(ordered))
    return Estimate(value, float(ordered[first]), float(ordered[len(ordered) - 1 - first]))


def _queries(evidence: Evidence, most: int, rng: np.random.Generator) -> Points:
    """Place at most `most` synthetic rows on the scale of the training rows."""
    drawn = evidence.rows.iloc[rng.permutation(len(evidence.rows))[:most]]
    return place(drawn, evidence.train, evidence.columns)


def _distances(points: Points, evidence: Evidence, real: pd.DataFrame, k: int) -> Floats:
    """Return the distances to the `k` closest of some real rows."""
    return nearest(points, place(real, evidence.train, evidence.columns), k=k).astype(np.float64)
