"""Mode collapse: whether rare categories, and rare combinations of two, still stand in the synthetic table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar

import numpy as np

from tabsynth import _check
from tabsynth.errors import InputError
from tabsynth.metrics.coding import Codes, Floats, binned
from tabsynth.metrics.estimate import Estimate, NotApplicable, check_level, from_influence
from tabsynth.metrics.evidence import Evidence, Tier
from tabsynth.metrics.fidelity import drawn, joint

# synthetic rows, real rows and training rows as cell numbers
Cells = tuple[Codes, Codes, Codes]


@dataclass(frozen=True, slots=True)
class _Rare:
    """What both coverages share.

    `rare` is the share of training rows below which a cell is rare, `fewest` the number of real rows (of the holdout,
    or of the training rows where there is none) from which on it is counted: fewer would say little of its share.
    """

    rare: float = 0.05
    fewest: int = 5
    level: float = 0.95
    tier: ClassVar[Tier] = "fidelity"

    def __post_init__(self) -> None:
        """Check the settings."""
        if not 0 < self.rare <= 1:
            raise InputError(f"rare must lie above 0 and be at most 1; got {self.rare!r}.")
        _check.at_least("fewest", self.fewest, 1)
        check_level(self.level)


@dataclass(frozen=True, slots=True)
class RareCategories(_Rare):
    """How much of the real share of rare categories the synthetic table has, at most all of it, averaged over them.

    Each category counts the same, however rare: 1 when none is under-represented, 0 when all are gone. By chance half
    of them are somewhat rarer in a fresh sample, so read it beside its ceiling. The interval covers the sampling of
    both tables by the delta method; the note says how many never appear.
    """

    name: ClassVar[str] = "rare_categories"

    def __call__(self, evidence: Evidence, rng: np.random.Generator) -> Estimate:
        """Measure; NotApplicable without a rare category."""
        return kept(list(_cells(evidence).values()), self, "categories")


@dataclass(frozen=True, slots=True)
class RarePairs(_Rare):
    """As `rare_categories`, for combinations of the values of two categorical columns.

    A table of the right categories in the wrong combinations shows here. Above `pairs` pairs of columns that many are
    drawn, the same ones for the table and its ceiling; the estimate is then about those.
    """

    rare: float = 0.02
    pairs: int = 150
    name: ClassVar[str] = "rare_pairs"

    def __post_init__(self) -> None:
        """Check the settings."""
        _Rare.__post_init__(self)
        _check.at_least("pairs", self.pairs, 1)

    def __call__(self, evidence: Evidence, rng: np.random.Generator) -> Estimate:
        """Measure; NotApplicable without a rare pair of categories."""
        cells = list(_cells(evidence).values())
        every = list(combinations(cells, 2))
        chosen = [_together(*pair) for pair in drawn(every, self.pairs)]
        some = f", in {len(chosen)} of {len(every)} pairs of columns" if len(chosen) < len(every) else ""
        return kept(chosen, self, f"pairs of categories{some}")


def kept(columns: Sequence[Cells], settings: _Rare, what: str) -> Estimate:
    """Return the mean of min(1, synthetic share / real share) over the rare cells of all columns."""
    found, in_rows, in_real = [], np.zeros(0), np.zeros(0)
    for rows, real, train in columns:
        values, of_rows, of_real = _column(rows, real, train, settings)
        found.append(values)
        in_rows = in_rows + of_rows if len(in_rows) else of_rows
        in_real = in_real + of_real if len(in_real) else of_real
    shares = np.concatenate(found) if found else np.zeros(0)
    if not len(shares):
        raise NotApplicable(f"There are no rare {what} of at least {settings.fewest} real rows.")
    note = f"{int((shares == 0).sum())} of {len(shares)} rare {what} never appear"
    influences = (in_rows / len(shares), in_real / len(shares))
    return from_influence(float(shares.mean()), influences, settings.level, (0.0, 1.0), note)


def _column(rows: Codes, real: Codes, train: Codes, settings: _Rare) -> tuple[Floats, Floats, Floats]:
    """Return how much is kept of each rare cell, and the summed influences at synthetic and at real rows."""
    size = 1 + max(int(cells.max()) for cells in (rows, real, train))
    counts = [np.bincount(cells, minlength=size) for cells in (rows, real, train)]
    rare = (counts[2] > 0) & (counts[2] < settings.rare * len(train)) & (counts[1] >= settings.fewest)
    share, truth = counts[0] / len(rows), counts[1] / len(real)
    ratio = np.divide(share, truth, out=np.ones(size), where=rare)
    short = rare & (ratio < 1)
    slope = np.divide(1.0, truth, out=np.zeros(size), where=short)
    return np.minimum(ratio, 1)[rare], slope[rows], -(slope * ratio)[real]


def _cells(evidence: Evidence) -> dict[str, Cells]:
    """Return the categorical and boolean columns as cell numbers; missing is a cell of its own."""
    frames = (evidence.rows, evidence.reference, evidence.train)
    found = {}
    for column in evidence.columns:
        if not column.numeric:
            rows, real, train = binned(column, evidence.train[column.name], *(frame[column.name] for frame in frames))
            found[column.name] = (rows, real, train)
    return found


def _together(first: Cells, second: Cells) -> Cells:
    """Return the cells of two columns together."""
    lengths = np.cumsum([len(cells) for cells in first])[:-1]
    whole = [np.concatenate(column) for column in (first, second)]
    cells, _ = joint([whole[0], whole[0][:1]], [whole[1], whole[1][:1]])
    rows, real, train = np.split(cells, lengths)
    return rows, real, train
