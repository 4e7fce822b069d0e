"""Privacy: what the synthetic table gives away about the rows it was made from, against rows that it never saw.

Every number here compares training rows with holdout rows. What holds for both is what the population teaches anyone;
only the difference is a leak. Without a holdout nothing is measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from tabsynth import _check
from tabsynth.metrics.coding import Floats, fingerprints
from tabsynth.metrics.estimate import (
    Estimate,
    NotMeasured,
    auc,
    check_level,
    clopper_pearson,
    difference,
    from_influence,
)
from tabsynth.metrics.evidence import Evidence, Tier
from tabsynth.metrics.neighbours import nearest, place

Scores = tuple[Floats, Floats]  # of members, of non-members: higher means "this row was in the training table"

FEWEST = 30  # holdout rows
OVERLAP = 0.05  # share of holdout rows found among the training rows, beyond what training rows repeat one another
TRIES = ("distance", "calibrated distance", "density ratio")


class Allowance(Protocol):
    """What a privacy budget allows any attack on membership: a `Ledger` knows it."""

    def auc(self) -> float:
        """Return the largest area under the ROC curve."""

    def tpr_at_fpr(self, fpr: float) -> float:
        """Return the largest true positive rate at a false positive rate."""


@dataclass(frozen=True, slots=True)
class ExactMatch:
    """Share of training rows that stand in the synthetic table, less the same share of holdout rows.

    Rows repeat by themselves in a table of few columns, and the holdout says how often: given the synthetic table, both
    counts are binomial, with one rate when it learned nothing about single rows (2606.16952). The interval of the
    difference is Newcombe's. Rows are compared bit by bit: a copy with noise is for the membership attacks to find.
    In a table of few different rows a copy cannot be told from a sample, here or by any attack on rows; what its counts
    give away is for a privacy budget to bound.
    """

    level: float = 0.95
    name: ClassVar[str] = "exact_match"
    tier: ClassVar[Tier] = "privacy"

    def __post_init__(self) -> None:
        """Check the settings."""
        check_level(self.level)

    def __call__(self, evidence: Evidence, rng: np.random.Generator) -> Estimate:
        """Measure; NotMeasured without a holdout that is apart from the training rows."""
        train, holdout = separate(evidence)
        rows = fingerprints(evidence.rows, evidence.columns)
        hits = int(np.isin(train, rows).sum()), int(np.isin(holdout, rows).sum())
        share = np.isin(rows, train).mean()
        found = difference(hits, (len(train), len(holdout)), self.level)
        note = (
            f"it holds {hits[0] / len(train):.2%} of training rows and {hits[1] / len(holdout):.2%} of holdout rows; "
            f"{share:.2%} of its rows equal a training row"
        )
        return Estimate(found.value, found.low, found.high, note)


@dataclass(frozen=True, slots=True)
class MembershipAUC:
    """Area under the ROC curve of the strongest attack that tells training rows from holdout rows; 0.5 is guessing.

    The interval is DeLong's, corrected (Bonferroni) for the number of attacks, so that it holds for the strongest.
    At most `queries` members and `queries` non-members are attacked.
    """

    queries: int = 5000
    level: float = 0.95
    name: ClassVar[str] = "membership_auc"
    tier: ClassVar[Tier] = "privacy"

    def __post_init__(self) -> None:
        """Check the settings."""
        _check.at_least("queries", self.queries, FEWEST)
        check_level(self.level)

    def allowed(self, budget: Allowance) -> float:
        """Return the most that any attack can score against what a ledger's charges allow."""
        return budget.auc()

    def __call__(self, evidence: Evidence, rng: np.random.Generator) -> Estimate:
        """Measure; NotMeasured without a holdout that is apart from the training rows, or with one of few rows."""
        attacks, note = membership(evidence, self.queries, rng)
        level = 1 - (1 - self.level) / len(attacks)
        found = {}
        for name, (members, others) in attacks.items():
            area, in_members, in_others = auc(members, others)
            found[name] = from_influence(area, (in_members, in_others), level, (0.0, 1.0))
        return strongest(found, note)


@dataclass(frozen=True, slots=True)
class MembershipTPR:
    """Share of training rows that the strongest attack finds when it accuses `fpr` of the holdout rows wrongly.

    The number that matters to the most exposed rows: an attack that is sure of a few has an AUC near 0.5. Guessing
    scores `fpr`. The interval spends half its error on where the threshold of that false positive rate lies (order
    statistics of the non-members), half on the share above it (Clopper-Pearson), corrected for the number of attacks.
    """

    fpr: float = 0.01
    queries: int = 5000
    level: float = 0.95
    tier: ClassVar[Tier] = "privacy"

    def __post_init__(self) -> None:
        """Check the settings."""
        _check.within("fpr", self.fpr, 1e-6, 0.5)
        _check.at_least("queries", self.queries, FEWEST)
        check_level(self.level)

    def allowed(self, budget: Allowance) -> float:
        """Return the most that any attack can score against what a ledger's charges allow."""
        return budget.tpr_at_fpr(self.fpr)

    @property
    def name(self) -> str:
        """Return `membership_tpr`, with its false positive rate where that is not 1%."""
        return "membership_tpr" if self.fpr == 0.01 else f"membership_tpr_at_{self.fpr:g}"

    def __call__(self, evidence: Evidence, rng: np.random.Generator) -> Estimate:
        """Measure; NotMeasured as for the AUC, and below 20 / fpr holdout rows for an fpr under 1%."""
        needed = int(np.ceil(20 / self.fpr))
        if self.fpr < 0.01 and min(len(evidence.unseen()), self.queries) < needed:
            raise NotMeasured(f"A false positive rate of {self.fpr:g} needs {needed} holdout rows (and queries).")
        attacks, note = membership(evidence, self.queries, rng)
        level = 1 - (1 - self.level) / len(attacks)
        return strongest({name: tpr_at(self.fpr, *scores, level, rng) for name, scores in attacks.items()}, note)


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


def membership(evidence: Evidence, queries: int, rng: np.random.Generator) -> tuple[Mapping[str, Scores], str]:
    """Return the scores of every attack for members and non-members, and a note on how many there were.

    Members are at most half of the training rows, non-members the holdout, and the remaining training rows stand for
    what an attacker knows of the population. Were the synthetic rows a draw from the population, members and
    non-members would be exchangeable, whatever the remaining rows are. The attacks are distance to the closest
    synthetic row, the same less the distance to the closest reference row, and the log ratio of the distances to the
    fifth closest (a local density ratio, after DOMIAS, 2302.12580).
    """
    separate(evidence)
    holdout = evidence.unseen()
    members, others = min(queries, len(evidence.train) // 2), min(queries, len(holdout))
    if min(members, others) < FEWEST:
        raise NotMeasured(f"It needs at least {FEWEST} holdout rows and twice as many training rows.")
    order = rng.permutation(len(evidence.train))
    known = evidence.train.iloc[order[members:]]
    frames = evidence.train.iloc[order[:members]], holdout.iloc[rng.permutation(len(holdout))[:others]]
    # ranks among the known rows: a scale made from the members would give them away
    attacked = np.concatenate([place(frame, known, evidence.columns) for frame in frames])
    points, reference = (place(frame, known, evidence.columns) for frame in (evidence.rows, known))
    to_rows = nearest(attacked, points, k=5).astype(np.float64)
    # the reference is as large as the synthetic table where it can be, so that their distances compare
    to_reference = nearest(attacked, reference[: len(points)], k=5).astype(np.float64)
    scores = (
        -to_rows[:, 0],
        to_reference[:, 0] - to_rows[:, 0],
        np.log((to_reference[:, 4] + 1e-3) / (to_rows[:, 4] + 1e-3)),
    )
    note = f"{members} training rows against {others} holdout rows, strongest of {len(TRIES)} attacks"
    return {name: (score[:members], score[members:]) for name, score in zip(TRIES, scores, strict=True)}, note


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


def strongest(found: Mapping[str, Estimate], note: str) -> Estimate:
    """Return the largest of simultaneous estimates; when all their intervals hold, its own holds the largest truth."""
    name = max(found, key=lambda name: found[name].value)
    ends = [max(estimate.low for estimate in found.values()), max(estimate.high for estimate in found.values())]
    return Estimate(found[name].value, ends[0], ends[1], f"{note} ({name})")
