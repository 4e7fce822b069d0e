"""Rows that could not be real: values outside the domain, broken rules, broken dependencies, too many duplicates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import permutations
from typing import ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabsynth import _check
from tabsynth.conversion import to_axis
from tabsynth.errors import InputError
from tabsynth.metrics.coding import Codes, Floats, fingerprints
from tabsynth.metrics.estimate import Estimate, NotApplicable, check_level, clopper_pearson, from_influence
from tabsynth.metrics.evidence import Evidence, Tier
from tabsynth.schema import Column

Mask = NDArray[np.bool_]

MOST_LEVELS = 1000  # of a column that may settle another, or be settled
PER_LEVEL = 5  # training rows: fewer would settle anything by chance
COMMONEST = 0.95  # share of the commonest value above which nothing is said by settling it


@dataclass(frozen=True, slots=True)
class _ShareOfRows:
    """What the shares of synthetic rows here have in common."""

    level: float = 0.95
    tier: ClassVar[Tier] = "fidelity"

    def __post_init__(self) -> None:
        """Check the settings."""
        check_level(self.level)

    def _share(self, wrong: Mapping[str, Mask]) -> Estimate:
        """Return the share of rows with any fault, naming the fault that most rows have."""
        hits = np.logical_or.reduce(list(wrong.values()))
        worst = max(wrong, key=lambda what: int(wrong[what].sum()))
        note = f"most of them by {worst}" if hits.any() else ""
        count, rows = int(hits.sum()), len(hits)
        return Estimate(count / rows, *clopper_pearson(count, rows, self.level), note)


@dataclass(frozen=True, slots=True)
class OutOfDomain(_ShareOfRows):
    """Share of synthetic rows with a value outside its column's domain.

    The declared categories and bounds, and a missing value where none may be missing; of a fact that is not declared,
    what the training rows hold. That a sample goes beyond the training rows is no fault, so with `declared` such a fact
    is judged by what no real row comes near: a category that neither real table has, where the holdout has none that
    the training rows lack, and a number further outside of theirs than all of them lie apart. Exact (Clopper-Pearson)
    interval, as for the two shares below.
    """

    declared: bool = False
    name: ClassVar[str] = "out_of_domain"

    def __post_init__(self) -> None:
        """Check the settings."""
        _ShareOfRows.__post_init__(self)
        if not isinstance(self.declared, bool):
            raise InputError(f"declared must be true or false; got {self.declared!r}.")

    def __call__(self, evidence: Evidence, rng: np.random.Generator) -> Estimate:
        """Measure; NotApplicable when declared facts are asked for, and nothing tells of any other domain either."""
        find = _impossible if self.declared else _outside_of_training
        found = {column.name: find(evidence, column) for column in evidence.columns}
        outside = {f"column {name!r}": rows for name, rows in found.items() if rows is not None}
        if not outside and not evidence.unread:
            raise NotApplicable("No domain is declared.")
        for name, rows in evidence.unread.items():
            own = f"column {name!r}, of which {int(rows.sum())} values are none of its kind"
            outside[own] = rows | outside.pop(f"column {name!r}", False)
        return self._share(outside)


@dataclass(frozen=True, slots=True)
class BrokenConstraints(_ShareOfRows):
    """Share of synthetic rows that break a constraint of the schema."""

    name: ClassVar[str] = "broken_constraints"

    def __call__(self, evidence: Evidence, rng: np.random.Generator) -> Estimate:
        """Measure; NotApplicable where the schema declares none."""
        broken = {rule.words: mask for rule, mask in evidence.schema.broken(evidence.rows)}
        if not broken:
            raise NotApplicable("The schema declares no constraint.")
        return self._share(broken)


@dataclass(frozen=True, slots=True)
class BrokenDependencies(_ShareOfRows):
    """Share of synthetic rows that break a functional dependency: one column's value settles another's.

    Dependencies are those without an exception in the training rows and the holdout, between columns of at most 1,000
    values, where the settling one has at least five training rows a value and the settled one is not nearly constant.
    A value that the training rows have once or never settles nothing. Missing is a value.
    """

    name: ClassVar[str] = "broken_dependencies"

    def __call__(self, evidence: Evidence, rng: np.random.Generator) -> Estimate:
        """Measure; NotApplicable where no column settles another."""
        found = dependencies(evidence)
        if not found:
            raise NotApplicable("No column settles another.")
        return self._share({f"{a!r}, which settles {b!r}": mask for (a, b), mask in found.items()})


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Share of rows that have an equal in their own table, synthetic less real, in as many rows of both.

    The share grows with the size of a table, so the larger of the two is cut to the size of the smaller one, and both
    to `most`; the interval is that of the rows that were looked at.
    """

    most: int = 100_000
    level: float = 0.95
    name: ClassVar[str] = "duplicates"
    tier: ClassVar[Tier] = "fidelity"

    def __post_init__(self) -> None:
        """Check the settings."""
        _check.at_least("most", self.most, 2)
        check_level(self.level)

    def __call__(self, evidence: Evidence, rng: np.random.Generator) -> Estimate:
        """Measure."""
        size = min(len(evidence.rows), len(evidence.reference), self.most)
        shares = []
        for frame in (evidence.rows, evidence.reference):
            picked = fingerprints(frame, evidence.columns)[rng.permutation(len(frame))[:size]]
            shares.append(duplicated(picked))
        (synthetic, in_rows), (real, in_real) = shares
        note = f"{size} rows of each table; {synthetic:.3g} of the synthetic ones, {real:.3g} of the real ones"
        return from_influence(synthetic - real, (in_rows, -in_real), self.level, (-1.0, 1.0), note)


def dependencies(evidence: Evidence) -> dict[tuple[str, str], Mask]:
    """Return, for each pair of columns of which one settles the other, the synthetic rows that break it."""
    train, rows = evidence.train, evidence.rows
    checked = train if evidence.holdout is None else evidence.holdout
    coded = {}
    for column in evidence.columns:
        parts = _factorized(train[column.name], checked[column.name], rows[column.name])
        if 2 <= len(np.unique(parts[0])) <= MOST_LEVELS:
            coded[column.name] = parts
    found = {}
    for a, b in permutations(coded, 2):
        settled = _settled(coded[a][0], coded[b][0])
        if settled is not None and not _breaks(settled, coded[a][1], coded[b][1]).any():
            found[a, b] = _breaks(settled, coded[a][2], coded[b][2])
    return found


def duplicated(prints: NDArray[np.uint64]) -> tuple[float, Floats]:
    """Return the share of rows that have an equal, and its influence at every row.

    Without one row of a pair the other is alone too, so the influence of a row is twice as large in a pair. These are
    jackknife influences: their variance is never too small on average (Efron and Stein 1981), and up to twice the true
    one where most equals come in pairs.

    >>> duplicated(np.array([7, 7, 8, 9], dtype=np.uint64))[0]
    0.5
    """
    _, place, counts = np.unique(prints, return_inverse=True, return_counts=True)
    size = counts[place]
    share = float((size > 1).mean())
    return share, np.where(size == 1, 0.0, np.where(size == 2, 2.0, 1.0)) - share


def _outside_of_training(evidence: Evidence, column: Column) -> Mask:
    """Return which values lie outside a column's domain, undeclared facts being those of the training rows."""
    return _outside(evidence.rows[column.name], evidence.train[column.name], column)


def _impossible(evidence: Evidence, column: Column) -> Mask | None:
    """Return which values break a declared fact, or lie where no real row comes near; None where nothing is known."""
    rows = evidence.rows[column.name]
    if evidence.drafted:  # its facts were read from the training rows
        column = replace(column, nullable=None, bounds=None, categories=None)
    declared = column.nullable is not None or column.bounds is not None or column.categories is not None
    found = [_outside(rows, rows, column)] if declared else []
    if column.bounds is None and column.categories is None and (far := _far(evidence, column)) is not None:
        found.append(far)
    return np.logical_or.reduce(found) if found else None


def _far(evidence: Evidence, column: Column) -> Mask | None:
    """Return which values of an undeclared domain no real row comes near; None where real rows do not tell."""
    rows, train = evidence.rows[column.name], evidence.train[column.name]
    if column.numeric:
        real = [to_axis(train, column), to_axis(evidence.reference[column.name], column)]
        low = min(np.nanmin(part, initial=np.inf) for part in real)
        high = max(np.nanmax(part, initial=-np.inf) for part in real)
        values, width = to_axis(rows, column), high - low
        return np.asarray((values < low - width) | (values > high + width)) if width >= 0 else None
    if column.kind != "categorical" or evidence.holdout is None:
        return None
    known = train.dropna().unique()
    if not evidence.holdout[column.name].dropna().isin(known).all():
        return None  # values go on beyond those that were seen
    return np.asarray(rows.notna() & ~rows.isin(known), dtype=np.bool_)


def _outside(series: pd.Series, train: pd.Series, column: Column) -> Mask:
    """Return which values lie outside a column's domain."""
    missing = series.isna().to_numpy()
    nullable = bool(train.isna().any()) if column.nullable is None else column.nullable
    if column.numeric:
        values, known = to_axis(series, column), to_axis(train, column)
        low, high = column.bounds or (np.nanmin(known, initial=np.inf), np.nanmax(known, initial=-np.inf))
        outside = (values < low) | (values > high)
    else:
        levels = column.levels or tuple(train.dropna().unique())
        outside = ~series.astype(str).isin(levels).to_numpy()
    return np.asarray(np.where(missing, not nullable, outside), dtype=np.bool_)


def _factorized(*parts: pd.Series) -> tuple[Codes, ...]:
    """Return values of any kind as numbers that the parts share; missing is a number too."""
    found, _ = pd.factorize(pd.concat(parts, ignore_index=True), use_na_sentinel=False)
    ends = np.cumsum([len(part) for part in parts])[:-1]
    return tuple(np.split(np.asarray(found, dtype=np.int64), ends))


def _settled(a: Codes, b: Codes) -> Codes | None:
    """Return the value of `b` that each value of `a` settles (-1 for none), or None unless it settles all."""
    counts = np.bincount(a)
    if len(a) < PER_LEVEL * np.count_nonzero(counts) or np.bincount(b).max() > COMMONEST * len(b):
        return None
    settled = np.full(len(counts), -1, dtype=np.int64)
    settled[a] = b  # of several values one is kept, and the others then differ from it
    if (settled[a] != b).any():
        return None
    settled[counts < 2] = -1
    return settled


def _breaks(settled: Codes, a: Codes, b: Codes) -> Mask:
    """Return which rows have another value than the settled one."""
    known = np.append(settled, np.full(max(0, int(a.max()) + 1 - len(settled)), -1))[a]
    return np.asarray((known >= 0) & (known != b), dtype=np.bool_)
