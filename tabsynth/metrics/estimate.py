"""Estimates that never travel without their error, and the intervals behind them.

Confidence intervals here are closed forms: Clopper-Pearson for a proportion, Newcombe's for a difference of two, and
the normal interval around a statistic whose influence on each row is known (the delta method). Bootstrapping is not
needed, and would push total variation distances upwards, since a resample is further from any table than its source.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from tabsynth.errors import InputError, TabsynthError

Floats = NDArray[np.float64]


class NotMeasured(TabsynthError):
    """The evidence does not allow this number: a check that asks for it fails, with this message as its reason."""


class NotApplicable(TabsynthError):
    """The question does not arise for this table, such as prediction without a target: a check says so."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its confidence interval; `note` says what a reader must know, such as sub-sampling.

    Raises InputError (a ValueError) unless `low <= value <= high`, so NaN cannot be built.

    >>> Estimate(0.5, 0.4, 0.6).high
    0.6
    """

    value: float
    low: float
    high: float
    note: str = ""

    def __post_init__(self) -> None:
        """Refuse NaN and an interval that does not hold its value."""
        if not self.low <= self.value <= self.high:
            raise InputError("An estimate needs numbers with low <= value <= high; NaN is not one.")


def quantile(level: float) -> float:
    """Return how many standard errors a two-sided normal interval at `level` reaches.

    >>> round(quantile(0.95), 2)
    1.96
    """
    return float(stats.norm.ppf(0.5 + check_level(level) / 2))


def check_level(level: float) -> float:
    """Return `level`; raise InputError unless it lies strictly between 0 and 1."""
    if not 0 < level < 1:
        raise InputError(f"level must lie strictly between 0 and 1; got {level!r}.")
    return level


def clopper_pearson(hits: int, trials: int, level: float) -> tuple[float, float]:
    """Return the exact interval of a proportion (Clopper and Pearson 1934).

    >>> [round(end, 4) for end in clopper_pearson(0, 100, 0.95)]
    [0.0, 0.0362]
    """
    tail = (1 - check_level(level)) / 2
    low = 0.0 if hits == 0 else float(stats.beta.ppf(tail, hits, trials - hits + 1))
    high = 1.0 if hits == trials else float(stats.beta.ppf(1 - tail, hits + 1, trials - hits))
    return low, high


def wilson(hits: int, trials: int, level: float) -> tuple[float, float]:
    """Return the score interval of a proportion (Wilson 1927)."""
    z, share = quantile(level), hits / trials
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    return max(0.0, centre - half), min(1.0, centre + half)


def difference(hits: tuple[int, int], trials: tuple[int, int], level: float) -> Estimate:
    """Return the difference of two independent proportions, first less second (Newcombe 1998, method 10).

    >>> found = difference((56, 48), (70, 80), 0.95)  # the paper's first example
    >>> round(found.low, 4), round(found.high, 4)
    (0.0524, 0.3339)
    """
    first, second = hits[0] / trials[0], hits[1] / trials[1]
    low1, high1 = wilson(hits[0], trials[0], level)
    low2, high2 = wilson(hits[1], trials[1], level)
    value = first - second
    below, above = math.hypot(first - low1, high2 - second), math.hypot(high1 - first, second - low2)
    return Estimate(value, value - below, value + above)


def from_influence(
    value: float, influences: Sequence[Floats], level: float, bounds: tuple[float, float], note: str = ""
) -> Estimate:
    """Return the normal interval of a statistic of independent samples, by the delta method.

    `influences` holds, for each sample, the statistic's influence at every row: the variance is the sum over samples of
    the influence's variance divided by the sample's size. The interval is cut at `bounds`.
    """
    error = math.sqrt(sum(float(np.var(influence)) / len(influence) for influence in influences))
    half = quantile(level) * error
    return Estimate(value, max(bounds[0], min(value, value - half)), min(bounds[1], max(value, value + half)), note)


def auc(positive: Floats, negative: Floats) -> tuple[float, Floats, Floats]:
    """Return the area under the ROC curve, and its influence at every positive and every negative.

    The area is the share of pairs in which the positive scores higher, ties counting half; the influences are the
    placements of DeLong, DeLong and Clarke-Pearson (1988), so `from_influence` gives DeLong's interval.

    >>> auc(np.array([2.0, 3.0]), np.array([1.0, 2.0]))[0]
    0.875
    """
    above = _placement(positive, negative)
    below = 1 - _placement(negative, positive)
    area = float(above.mean())
    return area, above - area, below - area


def _placement(scores: Floats, others: Floats) -> Floats:
    """Return, for each score, the share of `others` below it, ties counting half."""
    ordered = np.sort(others)
    ranks = np.searchsorted(ordered, scores, "left") + np.searchsorted(ordered, scores, "right")
    return np.asarray(ranks / (2 * len(others)), dtype=np.float64)
