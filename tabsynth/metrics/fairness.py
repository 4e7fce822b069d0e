"""Whether a model of synthetic rows treats groups more unequally than one of real rows does."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from tabsynth import _check
from tabsynth.metrics.coding import codes
from tabsynth.metrics.costs import training
from tabsynth.metrics.estimate import Estimate, NotApplicable, NotMeasured, check_level, from_influence
from tabsynth.metrics.evidence import Evidence, Tier
from tabsynth.metrics.prediction import FEWEST, Learner, Learning, Score, Task, one_against_rest

Gap = Literal["auc", "positive_rate"]


@dataclass(frozen=True, slots=True)
class SubgroupGap:
    """Gap between groups under a model of synthetic rows, less the same gap under a model of real rows.

    The groups are the values of `column` (unless given, the first sensitive column that is categorical or boolean); the
    gap is the largest less the smallest of their AUCs, or of the shares of rows that the model picks when it picks as
    many as are of the target's rarer class. 0: synthetic rows change nothing; above 0 they make groups more unequal.
    Groups count that have ten holdout rows inside and outside the class. Both models are tested on the same holdout
    rows, which the interval allows for; it does not cover the training, nor the choice of the extreme groups.
    """

    column: str = ""
    gap: Gap = "auc"
    most: int = 20_000
    level: float = 0.95
    learner: Learner = "boosting"
    tier: ClassVar[Tier] = "utility"

    def __post_init__(self) -> None:
        """Check the settings."""
        _check.one_of("gap", self.gap, get_args(Gap))
        _check.at_least("most", self.most, 1)
        _check.one_of("learner", self.learner, get_args(Learner))
        check_level(self.level)

    @property
    def name(self) -> str:
        """Return `subgroup_gap`, with the gap unless it is of AUCs, and the column where it is given."""
        parts = ["subgroup_gap", *(["positive_rate"] if self.gap != "auc" else []), *filter(None, [self.column])]
        return "_".join(parts)

    def cost(self, evidence: Evidence) -> dict[Hashable, float]:
        """Return the seconds that it takes."""
        sizes = [min(len(frame), self.most) for frame in (evidence.rows, evidence.train)]
        return {self.name: training(evidence, sizes, self.learner, len(evidence.reference))}

    def __call__(self, evidence: Evidence, rng: np.random.Generator) -> Estimate:
        """Measure; NotApplicable without two classes or such a column, NotMeasured with fewer than two groups."""
        task = Task(evidence)
        if len(task.classes) != 2:
            raise NotApplicable("Groups are compared on a target of two classes.")
        task.check("auc")
        column = self._column(evidence, task)
        groups = self._groups(task, codes(task.test[column], evidence.schema[column]))
        gaps = []
        for frame, which in ((evidence.rows, "synthetic"), (evidence.train, "training")):
            model = task.learn(frame, which, Learning(self.learner, self.most), rng)
            gaps.append(self._gap(task.guess(model, task.matrix)[:, 1], task.labels(task.test) == 1, groups))
        (synthetic, in_synthetic), (real, in_real) = gaps
        note = f"column {column!r}, {len(groups)} groups; gap {synthetic:.3f} from synthetic rows, {real:.3f} from real"
        if max(len(evidence.rows), len(evidence.train)) > self.most:
            note += f"; models trained on {self.most} rows drawn at random"
        return from_influence(synthetic - real, (in_synthetic - in_real,), self.level, (-1.0, 1.0), note)

    def _column(self, evidence: Evidence, task: Task) -> str:
        """Return the name of the column whose values are the groups."""
        known = {column.name: column for column in task.features if not column.numeric}
        if self.column:
            if self.column not in known:
                raise NotApplicable(f"No categorical or boolean column {self.column!r} besides the target.")
            return self.column
        sensitive = [name for name in evidence.schema.with_role("sensitive") if name in known]
        if not sensitive:
            raise NotApplicable("No categorical or boolean column is declared sensitive.")
        return sensitive[0]

    @staticmethod
    def _groups(task: Task, found: NDArray[np.int64]) -> list[NDArray[np.bool_]]:
        """Return the rows of each group that is large enough."""
        inside = task.labels(task.test) == 1
        groups = [found == code for code in np.unique(found)]
        kept = [group for group in groups if min((group & inside).sum(), (group & ~inside).sum()) >= FEWEST]
        if len(kept) < 2:
            raise NotMeasured(f"Two groups need at least {FEWEST} holdout rows of each target class.")
        return kept

    def _gap(self, scores: NDArray[np.float64], inside: NDArray[np.bool_], groups: list[NDArray[np.bool_]]) -> Score:
        """Return the largest less the smallest value of a group, and its influence at every holdout row."""
        found = []
        for group in groups:
            if self.gap == "auc":
                value, own = one_against_rest(scores[group], inside[group])
            else:
                picked = (scores[group] > np.quantile(scores, 1 - inside.mean())).astype(np.float64)
                value, own = float(picked.mean()), picked - picked.mean()
            influence = np.zeros(len(scores))
            influence[group] = own / group.mean()
            found.append((value, influence))
        first, last = max(found, key=lambda one: one[0]), min(found, key=lambda one: one[0])
        return first[0] - last[0], first[1] - last[1]
