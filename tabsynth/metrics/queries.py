"""The error of count queries that an analyst would ask of the table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabsynth import _check
from tabsynth.conversion import to_axis
from tabsynth.metrics.coding import Floats, codes
from tabsynth.metrics.estimate import Estimate, check_level, from_influence
from tabsynth.metrics.evidence import Evidence, Tier
from tabsynth.metrics.fidelity import SEED
from tabsynth.schema import Column

FLOOR = 0.01  # share of rows; below it a relative error is taken of this share

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Range:
    """One condition on one column: between two values of the axis, or among a set of category numbers."""

    column: Column
    low: float = 0.0
    high: float = 0.0
    among: frozenset[int] = frozenset()

    def holds(self, frame: pd.DataFrame) -> Mask:
        """Return which canonical rows fulfil the condition; a missing number fulfils none."""
        series = frame[self.column.name]
        if self.column.numeric:
            values = to_axis(series, self.column)
            return np.asarray((values >= self.low) & (values <= self.high), dtype=np.bool_)
        return np.isin(codes(series, self.column), list(self.among))


@dataclass(frozen=True, slots=True)
class QueryError:
    """Mean absolute error of random count queries, as a share of the rows.

    Each of `queries` asks how many rows fulfil one condition on each of one, two or three columns: a range between two
    training rows' values, or a set of about half of the categories (missing is one). The queries are the same ones for
    the table and its ceiling. The interval covers the sampling of both tables and of the queries; the note gives the
    median error relative to the true count (of at least 1% of the rows).
    """

    queries: int = 500
    level: float = 0.95
    name: ClassVar[str] = "query_error"
    tier: ClassVar[Tier] = "fidelity"

    def __post_init__(self) -> None:
        """Check the settings."""
        _check.at_least("queries", self.queries, 2)
        check_level(self.level)

    def __call__(self, evidence: Evidence, rng: np.random.Generator) -> Estimate:
        """Measure."""
        own = np.random.default_rng(SEED)
        errors, counts = np.zeros(self.queries), np.zeros(self.queries)
        in_rows, in_real = np.zeros(len(evidence.rows)), np.zeros(len(evidence.reference))
        for i in range(self.queries):
            query = random_query(evidence.train, evidence.columns, own)
            rows, real = (answer(query, frame) for frame in (evidence.rows, evidence.reference))
            gap, counts[i] = float(rows.mean() - real.mean()), float(real.mean())
            errors[i] = abs(gap)
            in_rows += np.sign(gap) / self.queries * rows
            in_real -= np.sign(gap) / self.queries * real
        relative = float(np.median(errors / np.maximum(counts, FLOOR)))
        note = f"{self.queries} queries; median error relative to the count {relative:.2g}"
        return from_influence(float(errors.mean()), (in_rows, in_real, errors), self.level, (0.0, 1.0), note)


def random_query(train: pd.DataFrame, columns: Sequence[Column], rng: np.random.Generator) -> tuple[Range, ...]:
    """Return a condition on each of one to three columns, drawn at random."""
    width = int(rng.integers(1, min(3, len(columns)) + 1))
    picked = [columns[i] for i in rng.choice(len(columns), width, replace=False)]
    return tuple(_condition(train[column.name], column, rng) for column in picked)


def answer(query: Sequence[Range], frame: pd.DataFrame) -> Floats:
    """Return 1.0 for each row that fulfils every condition, else 0.0; the mean is the query's answer."""
    inside = np.ones(len(frame), dtype=np.bool_)
    for condition in query:
        inside &= condition.holds(frame)
    return inside.astype(np.float64)


def _condition(train: pd.Series, column: Column, rng: np.random.Generator) -> Range:
    """Return a range between two training values, or about half of the categories."""
    if column.numeric:
        known = to_axis(train, column)
        known = known[~np.isnan(known)]
        low, high = np.sort(rng.choice(known, 2)) if len(known) else (0.0, 0.0)
        return Range(column, float(low), float(high))
    found = np.unique(codes(train, column))
    chosen = found[rng.random(len(found)) < 0.5]
    return Range(column, among=frozenset(map(int, chosen if len(chosen) else found[:1])))
