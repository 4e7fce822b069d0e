"""Two sides of every privacy number: rows that were trained on, and rows of the same population that never were.

What holds for both is what the population teaches anyone; only the difference is a leak. Without a holdout nothing is
measured.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import binom

from tabsynth.metrics.coding import fingerprints
from tabsynth.metrics.estimate import NotMeasured
from tabsynth.metrics.evidence import Evidence
from tabsynth.schema import Column

FEWEST = 30  # rows of a side
ALARM = 0.001  # share of holdouts, apart from the training rows, that are refused for rows they share by chance


@dataclass(frozen=True, eq=False, slots=True)
class Sides:
    """Rows under attack, and rows that stand for what an attacker knows of the population.

    Members are training rows, others are holdout rows, and `known` are training rows apart from the members. Were the
    synthetic rows a draw from the population, members and others would be exchangeable, whatever `known` is: each row
    alone decides, with `known` and the synthetic rows, whether an attack on it succeeds, so successes are binomial.
    """

    members: pd.DataFrame
    others: pd.DataFrame
    known: pd.DataFrame
    rows: pd.DataFrame
    columns: tuple[Column, ...]

    @property
    def attacked(self) -> pd.DataFrame:
        """The members, then the others."""
        return pd.concat([self.members, self.others], ignore_index=True)


def sides(evidence: Evidence, most: int, rng: np.random.Generator) -> Sides:
    """Draw at most `most` members (half of the training rows at most) and at most `most` holdout rows.

    Raises NotMeasured without a holdout that is apart from the training rows, or with a side of few rows.
    """
    separate(evidence)
    holdout = evidence.unseen()
    members, others = min(most, len(evidence.train) // 2), min(most, len(holdout))
    if min(members, others) < FEWEST:
        raise NotMeasured(f"It needs at least {FEWEST} holdout rows and twice as many training rows.")
    order = rng.permutation(len(evidence.train))
    return Sides(
        evidence.train.iloc[order[:members]],
        holdout.iloc[rng.permutation(len(holdout))[:others]],
        evidence.train.iloc[order[members:]],
        evidence.rows,
        evidence.columns,
    )


def separate(evidence: Evidence) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return the fingerprints of training and holdout rows; raise NotMeasured when the two share rows.

    Rows on both sides that are equal are no proof: in two samples of one population, some are. But a holdout that was
    cut from the training rows has more of them than chance allows, and comparing with it calls a copy safe.
    """
    train = fingerprints(evidence.train, evidence.columns)
    holdout = fingerprints(evidence.unseen(), evidence.columns)
    if chance(train, holdout) < ALARM:
        raise NotMeasured(
            "The holdout shares rows with the training table; it must hold rows that were never trained on."
        )
    return train, holdout


def chance(train: NDArray[np.uint64], holdout: NDArray[np.uint64]) -> float:
    """Return how likely it is that two samples of one population share as many different rows as these do, at most.

    Given which rows are equal, who stands on which side is chance: k equal rows are on both sides with probability
    1 - f^k - (1 - f)^k, f being the holdout's share of all. The number of those on both sides has a tail below that of
    the binomial with the mean of these probabilities (Hoeffding 1956, "On the distribution of the number of successes
    in independent trials").

    >>> pairs = np.arange(20, dtype=np.uint64)
    >>> chance(np.arange(100, dtype=np.uint64), pairs[:10]) < 1e-5, chance(pairs, pairs + np.uint64(50))
    (True, 1.0)
    """
    _, where, size = np.unique(np.concatenate([train, holdout]), return_inverse=True, return_counts=True)
    trained = np.bincount(where[: len(train)], minlength=len(size))
    repeated = size > 1
    if not repeated.any():
        return 1.0
    share = len(holdout) / (len(train) + len(holdout))
    split = 1 - share ** size[repeated] - (1 - share) ** size[repeated]
    both = (trained[repeated] > 0) & (trained[repeated] < size[repeated])
    return float(binom.sf(both.sum() - 1, len(split), split.mean()))
