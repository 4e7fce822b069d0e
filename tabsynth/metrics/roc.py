"""What an attack's scores are worth: its true positive rate, its advantage, its curve, each with an interval."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from scipy import stats

from tabsynth.metrics.coding import Floats
from tabsynth.metrics.estimate import Estimate, check_level, clopper_pearson

Scores = tuple[Floats, Floats]  # of members, of non-members: higher means "this row was in the training table"


def tpr_at(fpr: float, members: Floats, others: Floats, level: float, rng: np.random.Generator) -> Estimate:
    """Return the share of members above the threshold that a share `fpr` of non-members passes; ties fall at random."""
    ranked = np.concatenate([members, others])
    order = np.lexsort((rng.random(len(ranked)), ranked))
    place_of = np.empty(len(order), dtype=np.int64)
    place_of[order] = np.arange(len(order))
    above, thresholds = place_of[: len(members)], np.sort(place_of[len(members) :])[::-1]

    def hits(passed: int) -> int:
        """Count the members above the threshold that `passed` non-members pass."""
        return int((above > thresholds[passed]).sum()) if passed < len(thresholds) else len(above)

    half = 1 - (1 - level) / 2
    passed = stats.binom.ppf([(1 - half) / 2, 1 - (1 - half) / 2], len(others), fpr).astype(int)
    low = clopper_pearson(hits(passed[0] - 1) if passed[0] else 0, len(members), half)[0]
    high = clopper_pearson(hits(passed[1]), len(members), half)[1]
    value = hits(int(fpr * len(others))) / len(members)
    return Estimate(value, min(low, value), max(high, value))


def advantage(members: Floats, others: Floats, level: float) -> Estimate:
    """Return the largest difference of true and false positive rate over all thresholds.

    The interval adds, on both sides, how far the two empirical distributions may lie from the true ones anywhere
    (Dvoretzky, Kiefer and Wolfowitz 1956 with Massart's constant, half of the error each), so that it holds although
    the threshold was chosen on the same rows. For the same reason the value leans upwards by a part of its interval.

    >>> advantage(np.array([2.0, 3.0]), np.array([0.0, 2.0]), 0.95).value
    0.5
    """
    rates = roc(members, others)
    value = float((rates[1] - rates[0]).max())
    tail = (1 - check_level(level)) / 2
    half = sum(math.sqrt(math.log(2 / tail) / (2 * len(scores))) for scores in (members, others))
    return Estimate(value, max(0.0, value - half), min(1.0, value + half))


def roc(members: Floats, others: Floats) -> tuple[Floats, Floats]:
    """Return false and true positive rates at every threshold, from (0, 0) to (1, 1); ties are passed together.

    >>> [rates.tolist() for rates in roc(np.array([2.0, 3.0]), np.array([0.0, 2.0]))]
    [[0.0, 0.0, 0.5, 1.0], [0.0, 0.5, 1.0, 1.0]]
    """
    thresholds = np.unique(np.concatenate([members, others]))[::-1]
    rates = []
    for scores in (others, members):
        passed = len(scores) - np.searchsorted(np.sort(scores), thresholds, "left")
        rates.append(np.concatenate([[0.0], passed / len(scores)]))
    return rates[0], rates[1]


def strongest(found: Mapping[str, Estimate], note: str) -> Estimate:
    """Return the largest of simultaneous estimates; when all their intervals hold, its own holds the largest truth."""
    name = max(found, key=lambda name: found[name].value)
    ends = [max(estimate.low for estimate in found.values()), max(estimate.high for estimate in found.values())]
    return Estimate(found[name].value, ends[0], ends[1], f"{note} ({name})")
