"""The prediction task of a table: what is learned from rows, by which model, and how well it does on other rows."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from tabsynth.conversion import to_axis
from tabsynth.metrics.coding import Codes, Floats, codes, features, learnable
from tabsynth.metrics.estimate import NotApplicable, NotMeasured, auc
from tabsynth.metrics.evidence import Evidence
from tabsynth.schema import Column

CLASSES = 10  # of a categorical target; rarer ones are one class that is not scored
FEWEST = 10  # tested rows inside and outside a class, to score it
CONFIDENCES = 10  # bins of the calibration error
LARGEST = 1e30  # of a feature, for models whose numbers are short or squared

Learner = Literal["boosting", "linear", "forest"]
Scoring = Literal["auc", "f1", "calibration"]
Mask = NDArray[np.bool_]

# a score on the tested rows and its influence at every one of them
Score = tuple[float, Floats]


@dataclass(frozen=True, slots=True)
class Learning:
    """How a model is trained: which one, on at most `most` rows; `redraw` draws as many of them with replacement."""

    learner: Learner = "boosting"
    most: int = 20_000
    redraw: bool = False


class Task:
    """The prediction task of a table: its target, its features, and the rows it is tested on (else the holdout)."""

    def __init__(self, evidence: Evidence, test: pd.DataFrame | None = None, tested: str = "holdout") -> None:
        name = evidence.schema.target
        if name is None:
            raise NotApplicable("No target is declared.")
        self.target = evidence.schema[name]
        self.features = tuple(column for column in evidence.columns if column.name != name)
        if not self.features:
            raise NotApplicable("The table has no column besides the target.")
        if evidence.train[name].nunique() < 2:
            raise NotApplicable("The target has a single value in the training table; there is nothing to predict.")
        frame = evidence.unseen() if test is None else test
        self.tested = tested
        self.test = frame.loc[frame[name].notna()]
        self.numeric = not evidence.in_classes(self.target)
        self.classes = () if self.numeric else self._frequent(evidence.train)

    @property
    def range(self) -> tuple[float, float]:
        """The least and greatest score there can be."""
        return (-np.inf, 1.0) if self.numeric else (0.0, 1.0)

    @property
    def slope(self) -> float:
        """How much skill a unit of R² or AUC is worth."""
        return 1.0 if self.numeric else 2.0

    def scale(self, scoring: Scoring = "auc") -> str:
        """Return the name of the score."""
        return "R²" if self.numeric else {"auc": "AUC", "f1": "F1", "calibration": "calibration error"}[scoring]

    def skill(self, score: float) -> float:
        """Return R² or AUC on a scale where knowing nothing is 0 and knowing all is 1."""
        return score if self.numeric else 2 * score - 1

    def score(
        self,
        frame: pd.DataFrame,
        which: str,
        learning: Learning,
        rng: np.random.Generator,
        scoring: Scoring = "auc",
    ) -> Score:
        """Train on `frame`, called `which` in messages, and score on the tested rows."""
        self.check(scoring)
        return self.judge(self.guess(self.learn(frame, which, learning, rng), self.matrix), scoring)

    def check(self, scoring: Scoring) -> None:
        """Raise unless the tested rows allow the score."""
        if self.numeric:
            if scoring != "auc":
                raise NotApplicable(f"A numeric target has R² as its score, not {scoring}.")
            values = self._values(self.test)
            if len(values) < FEWEST or np.ptp(values) == 0:
                raise NotMeasured(
                    f"The {self.tested} needs at least {FEWEST} known target values that are not all equal."
                )
        elif len(self.scored) < 2:
            raise NotMeasured(f"The {self.tested} needs at least {FEWEST} rows of each of two target classes.")

    @property
    def scored(self) -> list[int]:
        """The places of the classes that have enough tested rows."""
        truth = self.labels(self.test)
        return [k for k in range(len(self.classes)) if FEWEST <= (truth == k).sum() <= len(truth) - FEWEST]

    @property
    def matrix(self) -> Floats:
        """The features of the tested rows."""
        return features(self.test, self.features)

    def learn(self, frame: pd.DataFrame, which: str, learning: Learning, rng: np.random.Generator) -> Any:
        """Return a trained model; raise NotMeasured where there is nothing to learn."""
        frame = frame.loc[frame[self.target.name].notna()]
        if learning.redraw and len(frame):
            frame = frame.iloc[rng.choice(len(frame), min(len(frame), learning.most))]
        elif len(frame) > learning.most:
            frame = frame.iloc[rng.choice(len(frame), learning.most, replace=False)]
        seed = int(rng.integers(2**31))
        learned = self._learned(frame, which)
        model = untrained(learning.learner, self.features, seed, numeric=self.numeric)
        with threadpool_limits(limits=1):  # threads that spin for one another are slower on a busy machine
            return _quietly(model.fit, learnable(features(frame, self.features)), learned)

    def guess(self, model: Any, matrix: Floats) -> Floats:
        """Return a model's guesses: values [rows], or probabilities [rows, classes], the last of all rarer classes."""
        with threadpool_limits(limits=1):
            if self.numeric:
                return np.asarray(_quietly(model.predict, matrix), dtype=np.float64)
            known = _quietly(model.predict_proba, matrix)
        # a class that was never seen gets one score everywhere, hence an AUC of 0.5
        found = np.zeros((len(matrix), len(self.classes) + 1))
        for place, label in enumerate(model.classes_):
            found[:, int(label)] = known[:, place]
        return found

    def judge(self, guessed: Floats, scoring: Scoring = "auc") -> Score:
        """Return the score of guesses at the tested rows."""
        if self.numeric:
            return r2(guessed, self._values(self.test) / self._unit)
        truth = self.labels(self.test)
        if scoring == "calibration":
            return calibration_error(guessed, truth)
        if scoring == "f1":
            each = [f1(guessed.argmax(axis=1) == k, truth == k) for k in self.scored]
        else:
            each = [one_against_rest(guessed[:, k], truth == k) for k in self.scored]
        return float(np.mean([value for value, _ in each])), np.mean([influence for _, influence in each], axis=0)

    def labels(self, frame: pd.DataFrame) -> Codes:
        """Return the target as places in `classes`; the rarer ones share the place after the last."""
        found = self._codes(frame)
        labels = np.full(len(found), len(self.classes), dtype=np.int64)
        for place, code in enumerate(self.classes):
            labels[found == code] = place
        return labels

    def _codes(self, frame: pd.DataFrame) -> Codes:
        """Return the target of rows that have one as numbers of its classes: codes, or the integers themselves."""
        series = frame[self.target.name]
        return series.to_numpy(dtype=np.int64) if self.target.numeric else codes(series, self.target)

    def _frequent(self, frame: pd.DataFrame) -> tuple[int, ...]:
        """Return the numbers of the most frequent classes."""
        known = frame.loc[frame[self.target.name].notna()]
        found, counts = np.unique(self._codes(known), return_counts=True)
        return tuple(int(code) for code in found[np.argsort(-counts, kind="stable")][:CLASSES])

    def _learned(self, frame: pd.DataFrame, which: str) -> NDArray[Any]:
        """Return what a model learns to guess."""
        if not self.numeric:
            labels = self.labels(frame)
            if len(np.unique(labels)) < 2:
                raise NotMeasured(
                    f"The target has fewer than two classes in the {which} table; nothing can be learned."
                )
            return labels
        if not len(frame):
            raise NotMeasured(f"The target is missing in every row of the {which} table.")
        return np.clip(self._values(frame) / self._unit, -1e6, 1e6)

    def _values(self, frame: pd.DataFrame) -> Floats:
        """Return a numeric target on its axis."""
        return to_axis(frame[self.target.name], self.target)

    @property
    def _unit(self) -> float:
        """What a numeric target is divided by: R² knows no unit, and squares of huge numbers would overflow."""
        return float(np.abs(self._values(self.test)).max())


def untrained(learner: Learner, columns: Sequence[Column], seed: int, *, numeric: bool) -> Any:
    """Return a model with its preparation, which takes `features` of the columns."""
    if learner == "boosting":  # stopping is not early, since a random tenth of few rows is a poor judge
        kind = HistGradientBoostingRegressor if numeric else HistGradientBoostingClassifier
        return kind(max_iter=100, learning_rate=0.1, early_stopping=False, random_state=seed)
    clip = FunctionTransformer(np.clip, kw_args={"a_min": -LARGEST, "a_max": LARGEST})
    if learner == "forest":
        forest = RandomForestRegressor if numeric else RandomForestClassifier
        return make_pipeline(clip, forest(n_estimators=100, min_samples_leaf=5, n_jobs=1, random_state=seed))
    filled = make_pipeline(SimpleImputer(add_indicator=True, keep_empty_features=True), StandardScaler())
    parts = [
        ("numbers", filled, [i for i, column in enumerate(columns) if column.numeric]),
        (
            "categories",
            OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=50),
            [i for i, column in enumerate(columns) if not column.numeric],
        ),
    ]
    return make_pipeline(clip, ColumnTransformer(parts), Ridge() if numeric else LogisticRegression(max_iter=300))


def one_against_rest(scores: Floats, inside: Mask) -> Score:
    """Return the AUC of one class and its influence at every row."""
    area, above, below = auc(scores[inside], scores[~inside])
    influence = np.empty(len(scores))
    influence[inside], influence[~inside] = above / inside.mean(), below / (~inside).mean()
    return area, influence


def average_precision(scores: Floats, inside: Mask) -> Score:
    """Return the average precision of one class, and its influence at every row.

    The mean, over the rows of the class, of the share of the class among all rows that score at least as high; guessing
    scores the class's share of rows, so that unlike the AUC it is another number for either of two classes.

    >>> average_precision(np.array([3.0, 2.0, 1.0]), np.array([True, False, True]))[0].__round__(3)
    0.833
    """
    _, place = np.unique(scores, return_inverse=True)
    of_class = np.bincount(place, weights=inside) / len(scores)
    above_class = np.cumsum(of_class[::-1])[::-1]
    above = np.cumsum((np.bincount(place) / len(scores))[::-1])[::-1]
    precision, share = above_class / above, float(inside.mean())
    value = float(of_class @ precision) / share
    # a row of the class lifts the precision at its score and below, any other row lowers it
    lifted, lowered = np.cumsum(of_class / above), np.cumsum(of_class * above_class / above**2)
    influence = np.where(inside, (precision + lifted)[place] - value, 0.0) - lowered[place]
    return value, influence / share


def f1(guessed: Mask, inside: Mask) -> Score:
    """Return the harmonic mean of precision and recall of one class, and its influence at every row.

    >>> f1(np.array([True, True, False]), np.array([True, False, False]))[0].__round__(3)
    0.667
    """
    both = guessed.astype(np.float64) + inside
    value = float(2 * (guessed & inside).sum() / max(both.sum(), 1))
    return value, (2.0 * (guessed & inside) - value * both) / max(float(both.mean()), 1 / len(both))


def calibration_error(guessed: Floats, truth: Codes) -> Score:
    """Return the expected calibration error of probabilities [rows, classes], in ten bins of the likeliest class.

    How far confidence and the share of right guesses are apart, averaged over rows (Guo et al. 2017); less is better.
    """
    confidence, right = guessed.max(axis=1), guessed.argmax(axis=1) == truth
    place = np.minimum((confidence * CONFIDENCES).astype(np.int64), CONFIDENCES - 1)
    apart = confidence - right
    sums = np.bincount(place, weights=apart, minlength=CONFIDENCES)
    value = float(np.abs(sums).sum() / len(truth))
    return value, np.sign(sums)[place] * apart - value


def r2(guessed: Floats, truth: Floats) -> Score:
    """Return the share of the target's variance that is explained, and its influence at every row."""
    missed, spread = (truth - guessed) ** 2, (truth - truth.mean()) ** 2
    lost = missed.mean() / spread.mean()
    return float(1 - lost), (lost * spread - missed) / spread.mean()


def among_repeats(scores: Sequence[float]) -> Floats:
    """Return what, as one more sample of a delta method, adds the variance between repeats to an interval.

    Repeats redraw one table's rows, so their variance stands for that of the table itself and no average makes it less.
    It errs on the wide side, since redrawn rows teach less than fresh ones.
    """
    found = np.asarray(scores, dtype=np.float64)
    if len(found) < 2:
        return np.zeros(1)
    return np.asarray((found - found.mean()) * len(found) / math.sqrt(len(found) - 1), dtype=np.float64)


def _quietly(function: Any, *arguments: Any) -> Any:
    """Call a model; that it stopped early or met a new category is no news."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*arguments)
