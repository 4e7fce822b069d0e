"""Membership by shadow models: the synthesizer is fitted anew, with and without every attacked row.

What a row's presence does to the synthetic rows around it is then known, and the table under attack is held against it
row by row (LiRA, 2112.03570; its offline form looks at the fits without the row alone). Every attacked row is in half
of the shadows, drawn anew for each, whether it is a member or not: were nothing learned of single rows, members and
others would score alike.

Shadows are fitted to private rows and nothing is charged for it, so that these numbers stay inside, as all numbers of
an uncharged gate do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabsynth import _check
from tabsynth.errors import InputError
from tabsynth.metrics.coding import Floats
from tabsynth.metrics.estimate import Estimate, NotApplicable, NotMeasured, check_level
from tabsynth.metrics.evidence import Evidence, Retrain, Tier
from tabsynth.metrics.membership import Allowance, Attacked, area, attacked, best_advantage, fewest_at, unmeasurable
from tabsynth.metrics.neighbours import nearest, place
from tabsynth.metrics.roc import Scores, advantage, strongest, tpr_at
from tabsynth.metrics.sides import FEWEST, sides

Mask = NDArray[np.bool_]

SIGNALS = ("nearest", "density")
FLOOR = 1e-3  # of a distance, and of a spread, which are compared on a log scale
INSIDE = "shadow models were trained on private rows without a charge: an inside figure, never to be released"


@dataclass(frozen=True, slots=True)
class _Shadows:
    """What the three share: `shadows` fits, and at most `queries` rows of either side under attack.

    NotApplicable where no synthesizer came with the evidence. The strongest of four attacks counts (two signals, with
    and without the fits that saw the row), its interval corrected (Bonferroni) for their number.
    """

    shadows: int = 8
    queries: int = 2000
    level: float = 0.95
    tier: ClassVar[Tier] = "privacy"

    def __post_init__(self) -> None:
        """Check the settings."""
        _check.at_least("queries", self.queries, FEWEST)
        check_level(self.level)
        check_shadows(self.shadows)

    def _scores(self, evidence: Evidence, rng: np.random.Generator) -> tuple[dict[str, Scores], float, str]:
        """Return the scores of the four attacks, the level of each, and a note."""
        found, note = shadow_scores(evidence, self.shadows, self.queries, rng)
        return found, 1 - (1 - self.level) / len(found), note


@dataclass(frozen=True, slots=True)
class ShadowAUC(_Shadows):
    """Area under the ROC curve of the strongest shadow-model attack; 0.5 is guessing, the interval DeLong's."""

    name: ClassVar[str] = "shadow_auc"

    def allowed(self, budget: Allowance) -> float:
        """Return the most that any attack can score against what a ledger's charges allow."""
        return budget.auc()

    def __call__(self, evidence: Evidence, rng: np.random.Generator) -> Estimate:
        """Measure; NotMeasured without a holdout that is apart from the training rows, or with one of few rows."""
        found, level, note = self._scores(evidence, rng)
        return strongest({name: area(*scores, level) for name, scores in found.items()}, note)


@dataclass(frozen=True, slots=True)
class ShadowTPR(_Shadows):
    """Share of training rows that the strongest shadow-model attack finds at `fpr` wrong accusations of holdout rows.

    The interval is that of `membership_tpr`; below 1% it takes 20 / `fpr` holdout rows.
    """

    fpr: float = 0.01

    def __post_init__(self) -> None:
        """Check the settings."""
        _Shadows.__post_init__(self)
        _check.within("fpr", self.fpr, 1e-6, 0.5)

    @property
    def name(self) -> str:
        """Return `shadow_tpr`, with its false positive rate where that is not 1%."""
        return f"shadow_tpr{'' if self.fpr == 0.01 else f'_at_{self.fpr:g}'}"

    def allowed(self, budget: Allowance) -> float:
        """Return the most that any attack can score against what a ledger's charges allow."""
        return budget.tpr_at_fpr(self.fpr)

    def __call__(self, evidence: Evidence, rng: np.random.Generator) -> Estimate:
        """Measure; NotMeasured as the AUC, and below the number of holdout rows that the rate takes."""
        needed = fewest_at(self.fpr)
        if self.fpr < 0.01 and evidence.retrain is not None and min(len(evidence.unseen()), self.queries) < needed:
            raise NotMeasured(unmeasurable(self.fpr))
        found, level, note = self._scores(evidence, rng)
        return strongest({name: tpr_at(self.fpr, *scores, level, rng) for name, scores in found.items()}, note)


@dataclass(frozen=True, slots=True)
class ShadowAdvantage(_Shadows):
    """Largest difference of true and false positive rate that the strongest shadow-model attack reaches."""

    name: ClassVar[str] = "shadow_advantage"

    def allowed(self, budget: Allowance) -> float:
        """Return the most that any attack can score against what a ledger's charges allow."""
        return best_advantage(budget)

    def __call__(self, evidence: Evidence, rng: np.random.Generator) -> Estimate:
        """Measure; NotMeasured as the AUC."""
        found, level, note = self._scores(evidence, rng)
        return strongest({name: advantage(*scores, level) for name, scores in found.items()}, note)


def shadow_panel(
    evidence: Evidence, rng: np.random.Generator, *, shadows: int = 8, queries: int = 20_000, level: float = 0.95
) -> tuple[Attacked, ...]:
    """Return every shadow-model attack with AUC, TPR at 1% and 0.1% FPR and advantage, as `membership.panel` does.

    TPR at 0.1% is None, not measurable, below 20,000 non-members.
    """
    found, _ = shadow_scores(evidence, shadows, queries, rng)
    return tuple(attacked(name, *scores, level, rng) for name, scores in found.items())


def shadow_scores(
    evidence: Evidence, shadows: int, queries: int, rng: np.random.Generator
) -> tuple[dict[str, Scores], str]:
    """Return the scores of every attack for members and non-members, and a note; fitted once for all who ask."""
    if evidence.retrain is None:
        raise NotApplicable("No synthesizer came with the rows, so that there is none to fit shadow models with.")
    retrain = evidence.retrain
    return evidence.once(
        ("shadows", shadows, queries), lambda: _attack(evidence, retrain, check_shadows(shadows), queries, rng)
    )


def check_shadows(shadows: int) -> int:
    """Return the number of shadows; raise InputError unless every row can be in half of them."""
    _check.at_least("shadows", shadows, 4)
    if shadows % 2:
        raise InputError(f"shadows must be even, so that every row is in half of them; got {shadows}.")
    return shadows


def _attack(
    evidence: Evidence, retrain: Retrain, shadows: int, queries: int, rng: np.random.Generator
) -> tuple[dict[str, Scores], str]:
    """Fit the shadows and score every attacked row."""
    drawn = sides(evidence, queries, rng)
    pool, members = drawn.attacked, len(drawn.members)
    inside = rng.random((shadows, len(pool))).argsort(axis=0) < shadows // 2
    asked = place(pool, drawn.known, drawn.columns)

    def signals(rows: pd.DataFrame) -> Floats:
        """Return how near the synthetic rows come: the closest one, and the fifth."""
        near = nearest(asked, place(rows, drawn.known, drawn.columns), k=5)[:, [0, 4]].astype(np.float64)
        return -np.log(near + FLOOR)

    fits = []
    for number in range(shadows):
        chosen = pool.iloc[np.flatnonzero(inside[number])].reset_index(drop=True)
        made = Evidence(evidence.schema, evidence.train, None, retrain(chosen, number))  # in canonical form
        fits.append(signals(made.rows.iloc[: len(evidence.rows)]))
    scores = compared(signals(evidence.rows), np.stack(fits), inside)
    found = {name: (values[:members], values[members:]) for name, values in scores.items()}
    note = (
        f"{members} training rows against {len(pool) - members} holdout rows, strongest of {len(found)} attacks, "
        f"{shadows} shadow models of {len(pool) // 2} rows; {INSIDE}"
    )
    return found, note


def compared(target: Floats, fits: Floats, inside: Mask) -> dict[str, Floats]:
    """Return each attack's scores: `target` [rows, signals] against `fits` [shadows, rows, signals].

    Offline: how far a row's signal lies above what the shadows without it have. LiRA: the log ratio of its likelihoods
    under the normal laws of the shadows with it and without it; one spread for all rows, since few fits say little of
    a row's own.
    """
    found: dict[str, Floats] = {}
    for at, signal in enumerate(SIGNALS):
        values = fits[:, :, at]
        means, spreads = [], []
        for side in (inside, ~inside):
            count = side.sum(axis=0)
            mean = np.where(side, values, 0).sum(axis=0) / count
            rest = np.where(side, (values - mean) ** 2, 0).sum() / np.maximum(count - 1, 1).sum()
            means.append(mean)
            spreads.append(max(float(np.sqrt(rest)), FLOOR))
        score = target[:, at]
        found[f"offline, {signal}"] = score - means[1]
        laws = [
            -np.log(spread) - ((score - mean) / spread) ** 2 / 2 for mean, spread in zip(means, spreads, strict=True)
        ]
        found[f"LiRA, {signal}"] = laws[0] - laws[1]
    return found
