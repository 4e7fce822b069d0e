"""Two sides of every privacy number: rows that were trained on, and rows of the same population that never were.

What holds for both is what the population teaches anyone; only the difference is a leak. Without a holdout nothing is
measured.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabsynth.metrics.coding import fingerprints
from tabsynth.metrics.estimate import NotMeasured, difference
from tabsynth.metrics.evidence import Evidence
from tabsynth.schema import Column

FEWEST = 30  # rows of a side
OVERLAP = 0.05  # share of holdout rows found among the training rows, beyond what training rows repeat one another


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

    In two samples of one population, a holdout row stands among the training rows as often as a training row stands
    among the other training rows. A clear excess means that the holdout was cut from the training rows, and every
    comparison with it would call a copy safe.
    """
    train = fingerprints(evidence.train, evidence.columns)
    holdout = fingerprints(evidence.unseen(), evidence.columns)
    _, where, counts = np.unique(train, return_inverse=True, return_counts=True)
    shared, repeated = int(np.isin(holdout, train).sum()), int((counts[where] > 1).sum())
    excess = difference((shared, repeated), (len(holdout), len(train)), 0.999)
    if excess.low > OVERLAP:
        raise NotMeasured(
            "The holdout shares rows with the training table; it must hold rows that were never trained on."
        )
    return train, holdout
