"""The mixing curve: what a model learns from real rows of which a growing share is replaced by synthetic ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from tabsynth import _check
from tabsynth.errors import InputError
from tabsynth.metrics.coding import Floats
from tabsynth.metrics.estimate import Estimate, from_influence
from tabsynth.metrics.evidence import Evidence
from tabsynth.metrics.prediction import Learner, Learning, Score, Task, among_repeats, average_precision

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, slots=True)
class MixingPoint:
    """The score on the holdout at one share of synthetic rows; `rare` is of the rarest scored class alone.

    `rare` is an average precision, which says more of a rare class than an AUC, and another number than the overall one
    where there are two classes. It is None for a numeric target.
    """

    share: float
    overall: Estimate
    rare: Estimate | None

    def to_dict(self) -> dict[str, Any]:
        """Return the point as plain JSON values, each estimate as value, low and high."""
        ends = {"overall": self.overall, "rare": self.rare}
        plain = {key: one and {"value": one.value, "low": one.low, "high": one.high} for key, one in ends.items()}
        return {"share": self.share, **plain}


def mixing_curve(
    evidence: Evidence,
    rng: np.random.Generator,
    *,
    shares: Sequence[float] = SHARES,
    most: int = 10_000,
    repeats: int = 3,
    learner: Learner = "boosting",
    level: float = 0.95,
) -> tuple[MixingPoint, ...]:
    """Return the score on the holdout of models trained on mixtures of the same size, one point a share.

    A mixture has as many rows as the smaller of the two tables, `most` at most, of which the share is drawn from the
    synthetic rows and the rest from the training rows, anew in each of `repeats`. Scores are AUC or R², as in `tstr`,
    and the average precision of the rarest class; the note of each estimate names its score. The intervals cover the
    holdout's rows and, from two repeats on, the draw of the mixture. Raises as `tstr` does.
    """
    _check.at_least("most", most, 2)
    _check.at_least("repeats", repeats, 1)
    if not all(0 <= share <= 1 for share in shares):
        raise InputError("shares must lie between 0 and 1.")
    task = Task(evidence)
    task.check("auc")
    size = min(len(evidence.train), len(evidence.rows), most)
    points = []
    for share in shares:
        found = [_scores(task, _mixture(evidence, share, size, rng), learner, rng) for _ in range(repeats)]
        overall, *rare = zip(*found, strict=True)
        alone = _estimate(rare[0], task, level, "average precision") if rare else None
        points.append(MixingPoint(float(share), _estimate(overall, task, level, task.scale()), alone))
    return tuple(points)


def _mixture(evidence: Evidence, share: float, size: int, rng: np.random.Generator) -> pd.DataFrame:
    """Return `size` rows drawn with replacement, of which `share` are synthetic."""
    synthetic = round(share * size)
    parts = ((evidence.rows, synthetic), (evidence.train, size - synthetic))
    return pd.concat([frame.iloc[rng.choice(len(frame), count)] for frame, count in parts], ignore_index=True)


def _scores(task: Task, frame: pd.DataFrame, learner: Learner, rng: np.random.Generator) -> list[Score]:
    """Return the overall score and, for classes, that of the rarest scored one."""
    guessed = task.guess(task.learn(frame, "mixed", Learning(learner, len(frame)), rng), task.matrix)
    overall = task.judge(guessed)
    if task.numeric:
        return [overall]
    rarest = task.scored[-1]  # classes are in the order of their frequency
    return [overall, average_precision(guessed[:, rarest], task.labels(task.test) == rarest)]


def _estimate(scores: Sequence[Score], task: Task, level: float, note: str) -> Estimate:
    """Return the mean over repeats."""
    values = [value for value, _ in scores]
    influence: Floats = np.mean([one for _, one in scores], axis=0)
    return from_influence(float(np.mean(values)), (influence, among_repeats(values)), level, task.range, note)
