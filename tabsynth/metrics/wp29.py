"""The three risks of opinion 05/2014 (WP 216) as games: guesses about training rows, the same about holdout rows.

Each game says what an attacker who holds the synthetic table asserts, and when the assertion is right. How often it is
right about training rows, less how often about holdout rows, is what the table gives away about those it was made
from. The games are defined, from the opinion's own words, in docs/evaluation.md.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from tabsynth import _check
from tabsynth.conversion import to_axis
from tabsynth.metrics.attribute import Asked, by_nearest
from tabsynth.metrics.coding import Codes, Floats, binned
from tabsynth.metrics.costs import neighbours, passes
from tabsynth.metrics.estimate import Estimate, NotApplicable, NotMeasured, check_level, difference
from tabsynth.metrics.evidence import Evidence, Tier
from tabsynth.metrics.neighbours import nearest, place
from tabsynth.metrics.sides import FEWEST, sides


@dataclass(frozen=True, slots=True)
class SinglingOut:
    """Share of training rows that a guess isolates, less the same share of holdout rows.

    Every synthetic row is a guess: there is a person in the table with these categories and numbers like these (in the
    same of `bins` quantile bins of the synthetic rows), and nobody else. It is right about a row that lies in the cell
    while no known row does. Rows that are alone in their cell are asked about; both sides are alone among the same
    known rows, training rows apart from those asked about.
    """

    bins: int = 5
    queries: int = 5000
    level: float = 0.95
    name: ClassVar[str] = "singling_out"
    tier: ClassVar[Tier] = "privacy"

    def __post_init__(self) -> None:
        """Check the settings."""
        _check.at_least("bins", self.bins, 2)
        _check.at_least("queries", self.queries, FEWEST)
        check_level(self.level)

    def __call__(self, evidence: Evidence, rng: np.random.Generator) -> Estimate:
        """Measure; NotMeasured as the membership attacks, NotApplicable where hardly a row is alone in its cell."""
        drawn = sides(evidence, self.queries, rng)
        cells = self._cells(evidence, (drawn.members, drawn.others, drawn.known, drawn.rows))
        members, others, known, guesses = cells
        alone = tuple(side[~np.isin(side, known)] for side in (members, others))
        sizes = len(alone[0]), len(alone[1])
        if min(sizes) < FEWEST:
            raise NotApplicable(f"Fewer than {FEWEST} rows of a side are alone in their cell; nobody stands out.")
        hits = int(np.isin(alone[0], guesses).sum()), int(np.isin(alone[1], guesses).sum())
        return _told(difference(hits, sizes, self.level), hits, sizes, "isolated")

    def _cells(self, evidence: Evidence, frames: tuple[pd.DataFrame, ...]) -> list[Codes]:
        """Return the number of the cell that each row of each frame lies in."""
        numbers = []
        for column in evidence.columns:
            parts = [frame[column.name] for frame in frames]
            if column.numeric:
                edges = _edges(to_axis(evidence.rows[column.name], column), self.bins)
                values = [to_axis(part, column) for part in parts]
                coded = [np.where(np.isnan(v), -1, np.searchsorted(edges, v, "right")) for v in values]
            else:
                coded = list(binned(column, evidence.rows[column.name], *parts))
            numbers.append(np.concatenate(coded))
        _, cell = np.unique(np.stack(numbers, axis=1), axis=0, return_inverse=True)
        return np.split(cell.reshape(-1), np.cumsum([len(frame) for frame in frames])[:-1])


@dataclass(frozen=True, slots=True)
class Linkability:
    """Share of pairs of training rows whose halves are put together rightly, less the same share of holdout pairs.

    Two persons stand in two databases, which share no column: for every pair of rows the columns are divided at random.
    The attacker says which record of the one belongs to which of the other, by whether the rows so put together lie
    nearer to synthetic rows (the sum of both distances to the closest one), a coin where they lie equally near. Anyone
    is right more often than half of the time, as far as columns depend on one another; that is in both shares.
    """

    queries: int = 5000
    level: float = 0.95
    name: ClassVar[str] = "linkability"
    tier: ClassVar[Tier] = "privacy"

    def __post_init__(self) -> None:
        """Check the settings."""
        _check.at_least("queries", self.queries, 2 * FEWEST)
        check_level(self.level)

    def cost(self, evidence: Evidence) -> dict[Hashable, float]:
        """Return the seconds that it takes: two rows of each pair, put together in two ways."""
        return {self.name: 2 * _searched(evidence, self.queries)}

    def __call__(self, evidence: Evidence, rng: np.random.Generator) -> Estimate:
        """Measure; NotMeasured as the membership attacks, NotApplicable to a table of one column."""
        if len(evidence.columns) < 2:
            raise NotApplicable("The table has one column; there is nothing to link.")
        drawn = sides(evidence, self.queries, rng)
        sizes = len(drawn.members) // 2, len(drawn.others) // 2
        if min(sizes) < FEWEST:
            raise NotMeasured(f"It needs {FEWEST} pairs of holdout rows and twice as many of training rows.")
        placed = [place(frame, drawn.known, drawn.columns) for frame in (drawn.members, drawn.others)]
        # one list of pairs: members first
        first = np.concatenate([side[: 2 * size : 2] for side, size in zip(placed, sizes, strict=True)])
        second = np.concatenate([side[1 : 2 * size : 2] for side, size in zip(placed, sizes, strict=True)])
        left = _halves(len(first), len(drawn.columns), rng)
        points = place(drawn.rows, drawn.known, drawn.columns)
        swapped = np.where(left, first, second), np.where(left, second, first)
        apart, crossed = (
            sum(nearest(np.ascontiguousarray(part), points, k=1)[:, 0].astype(np.float64) for part in both)
            for both in ((first, second), swapped)
        )
        right = np.where(apart == crossed, rng.random(len(first)) < 0.5, apart < crossed)
        hits = int(right[: sizes[0]].sum()), int(right[sizes[0] :].sum())
        return _told(difference(hits, sizes, self.level), hits, sizes, "linked")


@dataclass(frozen=True, slots=True)
class Inference:
    """Share of training rows of which a value is deduced from all others, less the same share of holdout rows.

    Of every row one column, drawn at random, is the secret; the attacker asserts the value that the synthetic row
    nearest in the other columns holds. When that is right is as in `attribute_inference`, which asks the same of the
    columns that are declared sensitive, by more attacks.
    """

    queries: int = 5000
    level: float = 0.95
    name: ClassVar[str] = "inference"
    tier: ClassVar[Tier] = "privacy"

    def __post_init__(self) -> None:
        """Check the settings."""
        _check.at_least("queries", self.queries, FEWEST)
        check_level(self.level)

    def cost(self, evidence: Evidence) -> dict[Hashable, float]:
        """Return the seconds that it takes: one search for every row that is asked about."""
        return {self.name: _searched(evidence, self.queries)}

    def __call__(self, evidence: Evidence, rng: np.random.Generator) -> Estimate:
        """Measure; NotMeasured without a holdout or with few rows to ask, NotApplicable to a table of one column."""
        if len(evidence.columns) < 2:
            raise NotApplicable("The table has one column; there is nothing to deduce it from.")
        asked = Asked(evidence, self.queries, rng)
        secret = [rng.integers(len(evidence.columns), size=len(side)) for side in asked.sides]
        hits, sizes = np.zeros(2, dtype=int), np.zeros(2, dtype=int)
        for at, column in enumerate(evidence.columns):
            which = tuple(asked.asked(column, side) & (secret[side] == at) for side in (0, 1))
            right = asked.guess(column, by_nearest, which, rng)
            hits += [int(part.sum()) for part in right]
            sizes += [len(part) for part in right]
        if min(sizes) < FEWEST:
            raise NotMeasured(f"It needs {FEWEST} holdout rows to ask about, with values that are not the commonest.")
        both = (int(hits[0]), int(hits[1])), (int(sizes[0]), int(sizes[1]))
        return _told(difference(*both, self.level), *both, "deduced")


def _searched(evidence: Evidence, queries: int) -> float:
    """Return the seconds of looking once for the synthetic row nearest to each row of both sides."""
    if evidence.holdout is None:
        return 0.0
    asked = min(queries, len(evidence.train)) + min(queries, len(evidence.holdout))
    width, rows = len(evidence.columns), len(evidence.rows)
    return neighbours(asked, rows, width) + passes(len(evidence.train) + len(evidence.holdout) + rows, width)


def _halves(pairs: int, width: int, rng: np.random.Generator) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Return for every pair which columns stand in the first database: half of them, rounded down."""
    return np.asarray(rng.random((pairs, width)).argsort(axis=1) < width // 2)


def _edges(values: Floats, bins: int) -> Floats:
    """Return the inner edges of quantile bins."""
    known = values[~np.isnan(values)]
    return np.unique(np.quantile(known, np.linspace(0, 1, bins + 1)[1:-1])) if len(known) else np.empty(0)


def _told(found: Estimate, hits: tuple[int, int], sizes: tuple[int, int], what: str) -> Estimate:
    """Return an estimate that says both shares."""
    shares = f"{hits[0] / sizes[0]:.1%} of {sizes[0]} training rows and {hits[1] / sizes[1]:.1%} of {sizes[1]} holdout"
    unit = shares.replace("rows", "pairs") + " pairs" if what == "linked" else shares + " rows"
    return Estimate(found.value, found.low, found.high, f"{what}: {unit}")
