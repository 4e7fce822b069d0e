"""Whether models of synthetic and of real rows lean on the same columns."""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, ClassVar, get_args

import numpy as np
import pandas as pd
from scipy import stats

from tabsynth import _check
from tabsynth.metrics.coding import Floats
from tabsynth.metrics.costs import training
from tabsynth.metrics.estimate import Estimate, NotApplicable, check_level
from tabsynth.metrics.evidence import Evidence, Tier
from tabsynth.metrics.prediction import Learner, Learning, Task

FEWEST_COLUMNS = 3


@dataclass(frozen=True, slots=True)
class ImportanceAgreement:
    """Rank correlation of the columns' permutation importances in the synthetic and in the training table.

    What an analyst would read off either table alone: a model is trained on one random half of it, and a column's
    importance is the AUC or R² on the other half that is lost when its values are shuffled there (Breiman 2001). Each
    of `repeats` halves both tables anew, at most `most` rows of each; the interval (Student's t) has the variance
    between them, which for halves is that of the whole table. Columns of no importance have random ranks, so real rows
    do not agree with themselves wholly: read it beside its ceiling.
    """

    most: int = 10_000
    repeats: int = 5
    level: float = 0.95
    learner: Learner = "boosting"
    name: ClassVar[str] = "importance_agreement"
    tier: ClassVar[Tier] = "utility"

    def __post_init__(self) -> None:
        """Check the settings."""
        _check.at_least("most", self.most, 1)
        _check.at_least("repeats", self.repeats, 2)
        _check.one_of("learner", self.learner, get_args(Learner))
        check_level(self.level)

    def cost(self, evidence: Evidence) -> dict[Hashable, float]:
        """Return the seconds that it takes: models of halves, and a guess for every column that is shuffled."""
        halves = [min(len(frame), self.most) // 2 for frame in (evidence.rows, evidence.train)]
        asked = (len(evidence.columns) + 1) * max(halves)
        return {self.name: self.repeats * training(evidence, halves, self.learner, asked)}

    def __call__(self, evidence: Evidence, rng: np.random.Generator) -> Estimate:
        """Measure; NotApplicable without a target or with fewer than three columns besides it."""
        learning, found = Learning(self.learner, self.most), []
        for _ in range(self.repeats):
            sides = ((evidence.rows, "synthetic table"), (evidence.train, "training table"))
            found.append(rank_correlation(*(_halved(evidence, frame, which, learning, rng) for frame, which in sides)))
        value = float(np.mean(found))
        # a repeat halves the same rows, which no average over repeats makes more, so the error is that of one
        half = float(stats.t.ppf(0.5 + self.level / 2, self.repeats - 1)) * float(np.std(found, ddof=1))
        note = f"mean of {self.repeats} random halves of each table"
        if max(len(evidence.rows), len(evidence.train)) > self.most:
            note += f", of {self.most} rows at most, which makes the interval wider"
        return Estimate(value, max(-1.0, value - half), min(1.0, value + half), note)


def importances(task: Task, model: Any, rng: np.random.Generator) -> Floats:
    """Return how much of the score on the tested rows is lost when a column is shuffled there, for each feature."""
    whole = task.judge(task.guess(model, task.matrix))[0]
    lost = []
    for place in range(len(task.features)):
        matrix = task.matrix
        matrix[:, place] = rng.permutation(matrix[:, place])
        lost.append(whole - task.judge(task.guess(model, matrix))[0])
    return np.array(lost)


def _halved(
    evidence: Evidence, frame: pd.DataFrame, which: str, learning: Learning, rng: np.random.Generator
) -> Floats:
    """Return the importances in one half of a table to a model of the other half."""
    order = rng.permutation(len(frame))[: learning.most]
    half = len(order) // 2
    task = Task(evidence, frame.iloc[order[:half]], which)
    if len(task.features) < FEWEST_COLUMNS:
        raise NotApplicable(f"The table has fewer than {FEWEST_COLUMNS} columns besides the target.")
    task.check("auc")
    model = task.learn(frame.iloc[order[half:]], which.removesuffix(" table"), learning, rng)
    return importances(task, model, rng)


def rank_correlation(a: Floats, b: Floats) -> float:
    """Return Spearman's correlation; 0 where one side is constant.

    >>> rank_correlation(np.array([1.0, 2.0, 9.0]), np.array([0.1, 0.2, 0.3]))
    1.0
    """
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    found = float(np.corrcoef(stats.rankdata(a), stats.rankdata(b))[0, 1])
    return 0.0 if math.isnan(found) else round(min(max(found, -1.0), 1.0), 12)
