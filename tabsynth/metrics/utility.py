"""Utility: models trained and tested on synthetic and on real rows, in every combination.

TSTR trains on synthetic rows and tests on real ones; TRTR, TRTS and training on both stand beside it. Each takes
gradient boosting, a linear model (logistic or ridge regression) or a random forest. The score is the area under the
ROC curve for a categorical or boolean target (macro average of one class against the rest, over the ten most frequent),
or its F1 or calibration error, and R² for a numeric one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import ClassVar, get_args

import numpy as np
import pandas as pd

from tabsynth import _check
from tabsynth.metrics.coding import Floats
from tabsynth.metrics.costs import training
from tabsynth.metrics.estimate import Estimate, NotApplicable, check_level, from_influence
from tabsynth.metrics.evidence import Evidence, Tier
from tabsynth.metrics.prediction import Learner, Learning, Score, Scoring, Task, among_repeats

SKILL = 0.05  # real rows must surely have more, or there is nothing to compare with


@dataclass(frozen=True, slots=True)
class _Trained:
    """What metrics that train share: how many rows at `most` are trained on, the model, and how often.

    One repeat trains once on the rows as they are, and the interval covers the choice of tested rows only (DeLong's
    variance for an AUC). More repeats train on rows drawn with replacement, and the interval covers the training too.
    """

    most: int = 20_000
    level: float = 0.95
    learner: Learner = "boosting"
    repeats: int = 1
    tier: ClassVar[Tier] = "utility"

    def __post_init__(self) -> None:
        """Check the settings."""
        _check.at_least("most", self.most, 1)
        check_level(self.level)
        _check.one_of("learner", self.learner, get_args(Learner))
        _check.at_least("repeats", self.repeats, 1)

    @property
    def learning(self) -> Learning:
        """How each model is trained."""
        return Learning(self.learner, self.most, redraw=self.repeats > 1)

    def _seconds(self, evidence: Evidence, *trained: int, tested: int) -> float:
        """Return the seconds of models trained on these numbers of rows, `most` at most, in every repeat."""
        sizes = [min(size, self.most) for size in trained]
        return self.repeats * training(evidence, sizes, self.learner, tested)

    def _repeated(self, once: Callable[[], Score]) -> tuple[float, Floats, Floats]:
        """Return the mean score over the repeats, its influence at tested rows, and what the repeats add."""
        found = [once() for _ in range(self.repeats)]
        scores = [score for score, _ in found]
        return float(np.mean(scores)), np.mean([influence for _, influence in found], axis=0), among_repeats(scores)

    def _trained(self, *frames: pd.DataFrame) -> str:
        """Say what a reader must know of the training."""
        told = "" if self.learner == "boosting" else f"; {self.learner} model"
        if self.repeats > 1:
            told += f"; mean of {self.repeats} trainings on rows drawn with replacement"
        if max(map(len, frames)) > self.most:
            told += f"; models trained on {self.most} rows drawn at random"
        return told


@dataclass(frozen=True, slots=True)
class _Scored(_Trained):
    """A score of models trained on some rows and tested on others."""

    scoring: Scoring = "auc"
    stem: ClassVar[str]
    which: ClassVar[str]

    def __post_init__(self) -> None:
        """Check the settings."""
        _Trained.__post_init__(self)
        _check.one_of("scoring", self.scoring, get_args(Scoring))

    @property
    def name(self) -> str:
        """Return the stem, with the model and the score where they are not the usual ones."""
        parts = [self.stem, *([self.learner] if self.learner != "boosting" else [])]
        return "_".join(parts + ([self.scoring] if self.scoring != "auc" else []))

    def cost(self, evidence: Evidence) -> dict[Hashable, float]:
        """Return the seconds that it takes."""
        tested = evidence.rows if isinstance(self, TRTS) else evidence.reference
        return {self.name: self._seconds(evidence, len(self._learned_from(evidence)), tested=len(tested))}

    def _learned_from(self, evidence: Evidence) -> pd.DataFrame:
        """Return the rows that are trained on."""
        raise NotImplementedError

    def _task(self, evidence: Evidence) -> Task:
        """Return the task with the rows that are tested on."""
        return Task(evidence)

    def __call__(self, evidence: Evidence, rng: np.random.Generator) -> Estimate:
        """Measure; NotApplicable without a target, NotMeasured without a holdout or with one class to learn from."""
        task, frame = self._task(evidence), self._learned_from(evidence)
        score, influence, repeats = self._repeated(
            lambda: task.score(frame, self.which, self.learning, rng, self.scoring)
        )
        note = f"{task.scale(self.scoring)}{self._trained(frame)}"
        return from_influence(score, (influence, repeats), self.level, task.range, note)


@dataclass(frozen=True, slots=True)
class TSTR(_Scored):
    """Score on the holdout of a model trained on the synthetic rows."""

    stem: ClassVar[str] = "tstr"
    which: ClassVar[str] = "synthetic"

    def _learned_from(self, evidence: Evidence) -> pd.DataFrame:
        return evidence.rows


@dataclass(frozen=True, slots=True)
class TRTR(_Scored):
    """Score on the holdout of a model trained on the training rows: what real rows are worth."""

    stem: ClassVar[str] = "trtr"
    which: ClassVar[str] = "training"

    def _learned_from(self, evidence: Evidence) -> pd.DataFrame:
        return evidence.train


@dataclass(frozen=True, slots=True)
class TRTS(_Scored):
    """Score on the synthetic rows of a model trained on the training rows: whether they obey what real rows teach.

    Far above `trtr` the synthetic rows are easier than real ones: their target has lost its noise.
    """

    stem: ClassVar[str] = "trts"
    which: ClassVar[str] = "training"

    def _learned_from(self, evidence: Evidence) -> pd.DataFrame:
        return evidence.train

    def _task(self, evidence: Evidence) -> Task:
        return Task(evidence, evidence.rows, "synthetic table")


@dataclass(frozen=True, slots=True)
class TrainOnBoth(_Scored):
    """Score on the holdout of a model trained on training and synthetic rows together.

    Read it beside `trtr`: above, synthetic rows add to real ones. Of more rows than `most`, real and synthetic ones are
    drawn alike.
    """

    stem: ClassVar[str] = "train_on_both"
    which: ClassVar[str] = "joined"

    def _learned_from(self, evidence: Evidence) -> pd.DataFrame:
        return pd.concat([evidence.train, evidence.rows], ignore_index=True)


@dataclass(frozen=True, slots=True)
class TSTRRatio(_Trained):
    """Share of the predictive skill of real rows that synthetic rows keep: 1 is all of it, 0 none.

    Skill is how far the AUC is above 0.5, times two, or R²; scores as in `tstr`, for models trained on synthetic and on
    real rows. Both are tested on the same holdout rows, which the interval of the ratio allows for.
    """

    @property
    def name(self) -> str:
        """Return `tstr_ratio`, with the model where it is not the usual one."""
        return "tstr_ratio" if self.learner == "boosting" else f"tstr_ratio_{self.learner}"

    def cost(self, evidence: Evidence) -> dict[Hashable, float]:
        """Return the seconds that it takes."""
        sizes, tested = (len(evidence.rows), len(evidence.train)), len(evidence.reference)
        return {self.name: self._seconds(evidence, *sizes, tested=tested)}

    def __call__(self, evidence: Evidence, rng: np.random.Generator) -> Estimate:
        """Measure; as `tstr`, and NotApplicable when real rows do not surely predict the target."""
        task = Task(evidence)
        synthetic, in_synthetic, of_synthetic = self._repeated(
            lambda: task.score(evidence.rows, "synthetic", self.learning, rng)
        )
        real, in_real, of_real = self._repeated(lambda: task.score(evidence.train, "training", self.learning, rng))
        skill = task.skill(real)
        if task.skill(from_influence(real, (in_real,), self.level, task.range).low) < SKILL:
            raise NotApplicable("Real rows do not surely predict the target either, so there is no skill to keep.")
        ratio = task.skill(synthetic) / skill
        # the tested rows are the same ones, the trained ones are not
        influences = (in_synthetic - ratio * in_real, of_synthetic, -ratio * of_real)
        scaled = [task.slope * influence / skill for influence in influences]
        note = f"{task.scale()} {synthetic:.3f} from synthetic rows, {real:.3f} from real ones"
        note += self._trained(evidence.rows, evidence.train)
        return from_influence(ratio, scaled, self.level, (-np.inf, np.inf), note)
