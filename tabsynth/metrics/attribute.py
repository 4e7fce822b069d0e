"""Attribute inference: whether the synthetic table tells more of a person's secret when that person was trained on.

An attacker who knows all other columns of a row guesses the secret one from the synthetic table. Often the guess is
right, for anyone: that is what the population teaches, and no leak. Guesses about training rows that are right more
often than the same guesses about holdout rows are one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from tabsynth import _check
from tabsynth.errors import InputError
from tabsynth.metrics.coding import Floats
from tabsynth.metrics.costs import boosting, neighbours, passes
from tabsynth.metrics.estimate import Estimate, NotApplicable, NotMeasured, check_level, difference
from tabsynth.metrics.evidence import Evidence, Tier
from tabsynth.metrics.neighbours import MISSING, Points, closest, place
from tabsynth.metrics.roc import strongest
from tabsynth.metrics.sides import FEWEST, separate
from tabsynth.schema import Column

Truths = NDArray[np.bool_]
Guesser = Callable[[Points, Points, Floats, bool, int], Floats]  # asked, known columns of rows, secrets, numeric, seed

TOLERANCE = 0.05  # a number is guessed when it is right up to so large a share of the synthetic rows
LEARNED = 20_000  # synthetic rows that boosting is trained on
CLASSES = 10  # that boosting tells apart: the most frequent ones
ENOUGH = 100  # rows of either side with a value that is not the commonest, for a question about these alone


@dataclass(frozen=True, slots=True)
class AttributeInference:
    """Share of training rows whose secret is guessed, less the same share of holdout rows.

    The secret columns are `columns`, or unless given those that the schema calls sensitive, and the target. For each,
    `attacks` guess from all other columns: `nearest` takes the value of the closest synthetic row, `boosting` learns
    it from the synthetic rows. A number is guessed when it is within 5% of the ranks of the synthetic rows; of other
    columns only the rows that do not hold the synthetic table's commonest value are asked, since that one is guessed
    by anyone; where either side has fewer than 100 of them, all rows with a value are. The interval is Newcombe's,
    corrected (Bonferroni) for the number of columns and attacks, so that it holds for the strongest. At most `queries`
    rows of each side are asked.
    """

    columns: Sequence[str] = ()
    attacks: Sequence[str] = ("nearest", "boosting")
    queries: int = 5000
    level: float = 0.95
    name: ClassVar[str] = "attribute_inference"
    tier: ClassVar[Tier] = "privacy"

    def __post_init__(self) -> None:
        """Check the settings, and keep lists as tuples."""
        _check.at_least("queries", self.queries, FEWEST)
        check_level(self.level)
        for setting in ("columns", "attacks"):
            given = getattr(self, setting)
            if isinstance(given, str) or len(set(given)) < len(given):
                raise InputError(f"{setting} must be a list of names without repetitions; got {given!r}.")
            object.__setattr__(self, setting, tuple(given))
        if not self.attacks:
            raise InputError(f"attacks must name one of {', '.join(GUESSERS)}.")
        for name in self.attacks:
            _check.one_of("attacks", name, GUESSERS)

    def cost(self, evidence: Evidence) -> dict[Hashable, float]:
        """Return the seconds that it takes: every attack for every secret."""
        if evidence.holdout is None:
            return {}
        asked = min(self.queries, len(evidence.train)) + min(self.queries, len(evidence.holdout))
        width, learned = len(evidence.columns), min(len(evidence.rows), LEARNED)
        parts = [passes(len(evidence.train) + len(evidence.holdout) + len(evidence.rows), width)]
        for column in secret_columns(evidence, self.columns):
            classes = 1 if not evidence.in_classes(column) else min(evidence.train[column.name].nunique(), CLASSES)
            each = {
                "nearest": neighbours(asked, len(evidence.rows), width),
                "boosting": boosting(learned, width, classes if classes > 2 else 1, asked) / 2,  # fifty trees
            }
            parts += [each[attack] for attack in self.attacks]
        return {self.name: sum(parts)}

    def __call__(self, evidence: Evidence, rng: np.random.Generator) -> Estimate:
        """Measure; NotApplicable without a secret column, NotMeasured without a holdout or with few rows to ask."""
        secrets = secret_columns(evidence, self.columns)
        real = (evidence.train, evidence.unseen())
        if all(frame[column.name].nunique() < 2 for column in secrets for frame in real):
            raise NotApplicable("Every secret column has a single value in the real rows; there is nothing to guess.")
        asked = Asked(evidence, self.queries, rng)
        whom = {column: asked.of_interest(column) for column in secrets}
        measured = [column for column, sides in whom.items() if min(map(np.sum, sides)) >= FEWEST]
        if not measured:
            raise NotMeasured(f"It needs {FEWEST} rows of either side with a known secret.")
        level = 1 - (1 - self.level) / (len(measured) * len(self.attacks))
        found, told = {}, {}
        for column in measured:
            for name in self.attacks:
                right = asked.guess(column, GUESSERS[name], whom[column], rng)
                hits, sizes = (int(right[0].sum()), int(right[1].sum())), (len(right[0]), len(right[1]))
                what = f"{name}, column {column.name!r}"
                found[what] = difference(hits, sizes, level)
                told[what] = f"{hits[0] / sizes[0]:.1%} of {sizes[0]} against {hits[1] / sizes[1]:.1%} of {sizes[1]}"
        best = max(found, key=lambda what: found[what].value)
        skipped = len(secrets) - len(measured)
        note = f"guessed right {told[best]}, strongest of {len(found)} attacks"
        return strongest(found, note + (f", {skipped} columns with too few rows to ask left out" if skipped else ""))


class Asked:
    """Rows of both sides that an attacker asks about, beside the synthetic rows that the answers come from.

    Everything is placed on the scale of the synthetic rows, which knows nothing of which side a row is on.
    """

    def __init__(self, evidence: Evidence, most: int, rng: np.random.Generator) -> None:
        separate(evidence)
        frames = evidence.train, evidence.unseen()
        drawn = [frame.iloc[rng.permutation(len(frame))[:most]] for frame in frames]
        self.columns = evidence.columns
        self.numeric = {column.name for column in self.columns if not evidence.in_classes(column)}
        self.sides = tuple(place(frame, evidence.rows, self.columns) for frame in drawn)
        points = place(evidence.rows, evidence.rows, self.columns)
        self.points = points[rng.permutation(len(points))]  # so that the first of equally near rows is any of them
        self.gaps = tuple(
            np.stack([frame[column.name].isna().to_numpy(dtype=bool) for column in self.columns], axis=1)
            for frame in drawn
        )

    def known(self, column: Column, side: int) -> Truths:
        """Say in which rows of a side the value is not missing."""
        return np.asarray(~self.gaps[side][:, self.columns.index(column)])

    def asked(self, column: Column, side: int) -> Truths:
        """Say which rows of a side are asked about: the value is known and not the synthetic table's commonest one."""
        known, at = self.known(column, side), self.columns.index(column)
        if column.name in self.numeric:
            return known
        values, counts = np.unique(self.points[:, at], return_counts=True)
        return np.asarray(known & (self.sides[side][:, at] != values[counts.argmax()]))

    def of_interest(self, column: Column) -> tuple[Truths, Truths]:
        """Return whom to ask about on each side: rows as in `asked`, or all with a known value where those are few."""
        rare = self.asked(column, 0), self.asked(column, 1)
        return rare if min(map(np.sum, rare)) >= ENOUGH else (self.known(column, 0), self.known(column, 1))

    def guess(
        self, column: Column, guesser: Guesser, asked: tuple[Truths, ...], rng: np.random.Generator
    ) -> tuple[Truths, ...]:
        """Return for each side which of the rows asked about are guessed right."""
        at = self.columns.index(column)
        queries = np.concatenate([side[which] for side, which in zip(self.sides, asked, strict=True)])
        others = np.arange(len(self.columns)) != at
        shown, seed = np.ascontiguousarray(self.points[:, others]), int(rng.integers(2**31))
        numeric = column.name in self.numeric
        guessed = guesser(
            np.ascontiguousarray(queries[:, others]), shown, self.points[:, at].astype(np.float64), numeric, seed
        )
        apart = np.abs(guessed - queries[:, at])
        right = apart <= TOLERANCE if numeric else apart == 0
        return tuple(np.split(right, [int(asked[0].sum())]))


def secret_columns(evidence: Evidence, named: Sequence[str] = ()) -> tuple[Column, ...]:
    """Return the columns that are secret; NotApplicable when there are none, InputError for an unknown name."""
    modelled = {column.name: column for column in evidence.columns}
    if unknown := [name for name in named if name not in modelled]:
        raise InputError(f"No column {unknown[0]!r} to infer. There are: {', '.join(modelled)}.")
    chosen = tuple(modelled[name] for name in named) or tuple(
        column for column in evidence.columns if {"sensitive", "target"} & set(column.roles)
    )
    if not chosen:
        raise NotApplicable("No column is declared sensitive, none is the target, and none is named.")
    if len(modelled) < 2:
        raise NotApplicable("The table has no column besides the secret one.")
    return chosen


def by_nearest(asked: Points, shown: Points, secrets: Floats, numeric: bool, seed: int) -> Floats:
    """Guess the secret of the synthetic row that is closest in the other columns."""
    return np.asarray(secrets[closest(asked, np.ascontiguousarray(shown.T))])


def by_boosting(asked: Points, shown: Points, secrets: Floats, numeric: bool, seed: int) -> Floats:
    """Guess what gradient boosting has learned from the synthetic rows; a class of the rarer ones is never guessed."""
    shown, secrets = shown[:LEARNED], secrets[:LEARNED]
    if numeric and (known := secrets < MISSING).any():
        shown, secrets = shown[known], secrets[known]
    settings: dict[str, Any] = {"max_iter": 50, "min_samples_leaf": 5, "early_stopping": False, "random_state": seed}
    if not numeric:
        values, counts = np.unique(secrets, return_counts=True)
        frequent = np.isin(secrets, values[np.argsort(-counts, kind="stable")[:CLASSES]])
        shown, secrets = shown[frequent], secrets[frequent]
    values, places = np.unique(secrets, return_inverse=True)
    if len(values) < 2:
        return np.full(len(asked), secrets[0])
    with threadpool_limits(limits=1):
        if numeric:
            return np.asarray(HistGradientBoostingRegressor(**settings).fit(shown, secrets).predict(asked), np.float64)
        # by their places, since classes of integers are ranks here, and a classifier takes no fractions
        return np.asarray(values[HistGradientBoostingClassifier(**settings).fit(shown, places).predict(asked)])


GUESSERS: dict[str, Guesser] = {"nearest": by_nearest, "boosting": by_boosting}
