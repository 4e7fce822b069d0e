"""Utility: train on synthetic rows, test on real ones (TSTR), beside train on real, test on real (TRTR)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from tabsynth import _check
from tabsynth.metrics.coding import Codes, Floats, codes, features
from tabsynth.metrics.estimate import Estimate, NotApplicable, NotMeasured, auc, check_level, from_influence
from tabsynth.metrics.evidence import Evidence, Tier
from tabsynth.schema import Column
from tabsynth.table import to_axis

CLASSES = 10  # of a categorical target; rarer ones are one class that is not scored
FEWEST = 10  # holdout rows inside and outside a class, to score it
SKILL = 0.05  # real rows must surely have more, or there is nothing to compare with

# a score on the holdout and its influence at every holdout row
Score = tuple[float, Floats]


@dataclass(frozen=True, slots=True)
class TSTR:
    """Score on the holdout of gradient boosting trained on the synthetic rows.

    The area under the ROC curve for a categorical or boolean target (macro average of one class against the rest, over
    the ten most frequent), R² for a numeric one. At most `most` rows are trained on. The interval covers the choice of
    holdout rows (DeLong's variance for an AUC), not the training.
    """

    most: int = 20_000
    level: float = 0.95
    name: ClassVar[str] = "tstr"
    tier: ClassVar[Tier] = "utility"

    def __post_init__(self) -> None:
        """Check the settings."""
        _check.at_least("most", self.most, 1)
        check_level(self.level)

    def __call__(self, evidence: Evidence, rng: np.random.Generator) -> Estimate:
        """Measure; NotApplicable without a target, NotMeasured without a holdout or with one class to learn from."""
        task = Task(evidence)
        score, influence = task.score(evidence.rows, "synthetic", self.most, rng)
        return from_influence(
            score, (influence,), self.level, task.range, f"{task.scale}{_trained(evidence, self.most)}"
        )


@dataclass(frozen=True, slots=True)
class TSTRRatio:
    """Share of the predictive skill of real rows that synthetic rows keep: 1 is all of it, 0 none.

    Skill is how far the AUC is above 0.5, times two, or R²; scores as in `tstr`, for models trained on synthetic and on
    real rows. Both are tested on the same holdout rows, which the interval of the ratio allows for.
    """

    most: int = 20_000
    level: float = 0.95
    name: ClassVar[str] = "tstr_ratio"
    tier: ClassVar[Tier] = "utility"

    def __post_init__(self) -> None:
        """Check the settings."""
        _check.at_least("most", self.most, 1)
        check_level(self.level)

    def __call__(self, evidence: Evidence, rng: np.random.Generator) -> Estimate:
        """Measure; as `tstr`, and NotApplicable when real rows do not surely predict the target."""
        task = Task(evidence)
        synthetic, in_synthetic = task.score(evidence.rows, "synthetic", self.most, rng)
        real, in_real = task.score(evidence.train, "training", self.most, rng)
        skill = task.skill(real)
        if task.skill(from_influence(real, (in_real,), self.level, task.range).low) < SKILL:
            raise NotApplicable("Real rows do not surely predict the target either, so there is no skill to keep.")
        ratio = task.skill(synthetic) / skill
        influence = task.slope * (in_synthetic - ratio * in_real) / skill
        note = f"{task.scale} {synthetic:.3f} from synthetic rows, {real:.3f} from real ones"
        return from_influence(ratio, (influence,), self.level, (-np.inf, np.inf), note + _trained(evidence, self.most))


class Task:
    """The prediction task of a table: its target, its features, and the holdout rows it is scored on."""

    def __init__(self, evidence: Evidence) -> None:
        name = evidence.schema.target
        if name is None:
            raise NotApplicable("No target is declared.")
        self.target = evidence.schema[name]
        self.features = tuple(column for column in evidence.columns if column.name != name)
        if not self.features:
            raise NotApplicable("The table has no column besides the target.")
        self.test = evidence.unseen().loc[lambda frame: frame[name].notna()]
        self.classes = () if self.target.numeric else _frequent(evidence.train[name], self.target)

    @property
    def scale(self) -> str:
        """The name of the score."""
        return "R²" if self.target.numeric else "AUC"

    @property
    def range(self) -> tuple[float, float]:
        """The least and greatest score there can be."""
        return (-np.inf, 1.0) if self.target.numeric else (0.0, 1.0)

    @property
    def slope(self) -> float:
        """How much skill a unit of the score is worth."""
        return 1.0 if self.target.numeric else 2.0

    def skill(self, score: float) -> float:
        """Return the score on a scale where knowing nothing is 0 and knowing all is 1."""
        return score if self.target.numeric else 2 * score - 1

    def score(self, frame: pd.DataFrame, which: str, most: int, rng: np.random.Generator) -> Score:
        """Train on `frame` (at most `most` rows of it) and score on the holdout."""
        frame = frame.loc[frame[self.target.name].notna()]
        if len(frame) > most:
            frame = frame.iloc[rng.choice(len(frame), most, replace=False)]
        seed = int(rng.integers(2**31))
        with threadpool_limits(limits=1):  # threads that spin for one another are slower on a busy machine
            return self._r2(frame, which, seed) if self.target.numeric else self._auc(frame, which, seed)

    def _auc(self, frame: pd.DataFrame, which: str, seed: int) -> Score:
        """Return the macro one-against-rest AUC."""
        learned, truth = (self._labels(one) for one in (frame, self.test))
        scored = [k for k in range(len(self.classes)) if FEWEST <= (truth == k).sum() <= len(truth) - FEWEST]
        if not scored:
            raise NotMeasured(f"The holdout needs at least {FEWEST} rows of each of two target classes.")
        if len(np.unique(learned)) < 2:
            raise NotMeasured(f"The target has fewer than two classes in the {which} table; nothing can be learned.")
        model = _boosting(HistGradientBoostingClassifier, seed).fit(self._matrix(frame), learned)
        guessed = model.predict_proba(self._matrix(self.test))
        column = {int(label): guessed[:, i] for i, label in enumerate(model.classes_)}
        # a class that was never seen gets one score everywhere, hence an AUC of 0.5
        areas = [_one_against_rest(column.get(k, np.zeros(len(truth))), truth == k) for k in scored]
        return float(np.mean([area for area, _ in areas])), np.mean([influence for _, influence in areas], axis=0)

    def _r2(self, frame: pd.DataFrame, which: str, seed: int) -> Score:
        """Return the share of the target's variance that is explained."""
        learned, truth = (to_axis(one[self.target.name], self.target) for one in (frame, self.test))
        if len(truth) < FEWEST or np.ptp(truth) == 0:
            raise NotMeasured(f"The holdout needs at least {FEWEST} known target values that are not all equal.")
        if not len(learned):
            raise NotMeasured(f"The target is missing in every row of the {which} table.")
        # R² knows no unit, and squares of huge numbers would overflow
        unit = float(np.abs(truth).max())
        learned, truth = np.clip(learned / unit, -1e6, 1e6), truth / unit
        model = _boosting(HistGradientBoostingRegressor, seed).fit(self._matrix(frame), learned)
        missed = (truth - model.predict(self._matrix(self.test))) ** 2
        spread = (truth - truth.mean()) ** 2
        lost = missed.mean() / spread.mean()
        return float(1 - lost), (lost * spread - missed) / spread.mean()

    def _labels(self, frame: pd.DataFrame) -> Codes:
        """Return the target as places in `classes`; the rarer ones share the place after the last."""
        found = codes(frame[self.target.name], self.target)
        labels = np.full(len(found), len(self.classes), dtype=np.int64)
        for place, code in enumerate(self.classes):
            labels[found == code] = place
        return labels

    def _matrix(self, frame: pd.DataFrame) -> Floats:
        """Return the features as numbers, missing as NaN; trees can cut category numbers anywhere."""
        return features(frame, self.features)


def _frequent(series: pd.Series, column: Column) -> tuple[int, ...]:
    """Return the codes of the most frequent categories."""
    found, counts = np.unique(codes(series, column), return_counts=True)
    found, counts = found[found >= 0], counts[found >= 0]
    return tuple(int(code) for code in found[np.argsort(-counts, kind="stable")][:CLASSES])


def _boosting(kind: Any, seed: int) -> Any:
    """Return an untrained model; stopping is not early, since a random tenth of few rows is a poor judge."""
    return kind(max_iter=100, learning_rate=0.1, early_stopping=False, random_state=seed)


def _one_against_rest(scores: Floats, inside: np.ndarray[Any, np.dtype[np.bool_]]) -> Score:
    """Return the AUC of one class and its influence at every row."""
    area, above, below = auc(scores[inside], scores[~inside])
    influence = np.empty(len(scores))
    influence[inside], influence[~inside] = above / inside.mean(), below / (~inside).mean()
    return area, influence


def _trained(evidence: Evidence, most: int) -> str:
    """Say when training rows were sub-sampled."""
    return (
        f"; models trained on {most} rows drawn at random"
        if max(len(evidence.rows), len(evidence.train)) > most
        else ""
    )
