"""The classifier two-sample test: whether a model can tell synthetic rows from real ones."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from tabsynth import _check
from tabsynth.metrics.coding import Codes, Floats, features, learnable
from tabsynth.metrics.costs import boosting
from tabsynth.metrics.estimate import Estimate, NotMeasured, auc, check_level, from_influence
from tabsynth.metrics.evidence import Evidence, Tier

FEWEST = 20  # rows of each table


@dataclass(frozen=True, slots=True)
class C2ST:
    """AUC of gradient boosting that tells synthetic rows from real ones: 0.5 is what real rows score, 1 is no likeness.

    As many rows of either table, at most `most` of each; every row is scored by a model that did not see it (cross-
    fitting in `folds`). Fewer rows teach the model less, so a smaller `most` finds less: the note says how many there
    were. Real rows are the holdout's, or the training rows where there is none; rows copied from the training rows then
    score below 0.5, since a row and its copy take each other's place. The interval is DeLong's, over the scored rows;
    it does not cover the training (Lopez-Paz and Oquab 2017).
    """

    most: int = 10_000
    folds: int = 3
    level: float = 0.95
    name: ClassVar[str] = "c2st"
    tier: ClassVar[Tier] = "fidelity"

    def __post_init__(self) -> None:
        """Check the settings."""
        _check.at_least("most", self.most, FEWEST)
        _check.at_least("folds", self.folds, 2)
        check_level(self.level)

    def cost(self, evidence: Evidence) -> dict[Hashable, float]:
        """Return the seconds that it takes: a model for each fold."""
        size = min(len(evidence.rows), len(evidence.reference), self.most)
        learned = 2 * size * (self.folds - 1) // self.folds
        return {self.name: self.folds * boosting(learned, len(evidence.columns), guessed=2 * size // self.folds)}

    def __call__(self, evidence: Evidence, rng: np.random.Generator) -> Estimate:
        """Measure; NotMeasured with fewer than 20 rows of a table."""
        size = min(len(evidence.rows), len(evidence.reference), self.most)
        if size < FEWEST:
            raise NotMeasured(f"It needs at least {FEWEST} rows of each table.")
        picked = [
            features(frame.iloc[rng.permutation(len(frame))[:size]], evidence.columns)
            for frame in (evidence.rows, evidence.reference)
        ]
        fold = np.concatenate([rng.permutation(size) % self.folds for _ in picked])
        matrix, synthetic = np.concatenate(picked), np.repeat([1, 0], size)
        return self._score(matrix, synthetic, fold, int(rng.integers(2**31)))

    def _score(self, matrix: Floats, synthetic: Codes, fold: Codes, seed: int) -> Estimate:
        """Return the mean over folds of the AUC in a fold under the model of the others."""
        found = []
        for k in range(self.folds):
            out = fold == k
            model = HistGradientBoostingClassifier(max_iter=100, early_stopping=False, random_state=seed)
            with threadpool_limits(limits=1):  # threads that spin for one another are slower on a busy machine
                model.fit(learnable(matrix[~out]), synthetic[~out])
                scores = model.predict_proba(matrix[out])[:, 1]
            truth = synthetic[out] == 1
            found.append(auc(scores[truth], scores[~truth]))
        area = float(np.mean([one[0] for one in found]))
        influences = [np.concatenate([one[side] for one in found]) for side in (1, 2)]
        return from_influence(area, influences, self.level, (0.0, 1.0), f"{len(matrix) // 2} rows of each table")
