"""Replay: training rows that stand in the synthetic table as they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from tabsynth.errors import InputError
from tabsynth.metrics.coding import cell_hashes, fingerprints
from tabsynth.metrics.estimate import Estimate, NotApplicable, check_level, difference
from tabsynth.metrics.evidence import Evidence, Tier
from tabsynth.metrics.sides import FEWEST, separate


@dataclass(frozen=True, slots=True)
class ExactMatch:
    """Share of training rows that stand in the synthetic table, less the same share of holdout rows.

    Rows repeat by themselves in a table of few columns, and the holdout says how often: given the synthetic table, both
    counts are binomial, with one rate when it learned nothing about single rows (2606.16952). The interval of the
    difference is Newcombe's. Rows are compared bit by bit: a copy with noise is for the membership attacks to find.
    In a table of few different rows a copy cannot be told from a sample, here or by any attack on rows; what its counts
    give away is for a privacy budget to bound.
    """

    level: float = 0.95
    name: ClassVar[str] = "exact_match"
    tier: ClassVar[Tier] = "privacy"

    def __post_init__(self) -> None:
        """Check the settings."""
        check_level(self.level)

    def __call__(self, evidence: Evidence, rng: np.random.Generator) -> Estimate:
        """Measure; NotMeasured without a holdout that is apart from the training rows."""
        train, holdout = separate(evidence)
        rows = fingerprints(evidence.rows, evidence.columns)
        hits = int(np.isin(train, rows).sum()), int(np.isin(holdout, rows).sum())
        share = np.isin(rows, train).mean()
        found = difference(hits, (len(train), len(holdout)), self.level)
        note = (
            f"it holds {hits[0] / len(train):.2%} of training rows and {hits[1] / len(holdout):.2%} of holdout rows; "
            f"{share:.2%} of its rows equal a training row"
        )
        if share == 1 and hits[1] == len(holdout):
            note += "; of so few different rows a copy cannot be told from a sample"
        return Estimate(found.value, found.low, found.high, note)


@dataclass(frozen=True, slots=True)
class UniqueReplay:
    """Share of training rows that are unique and stand in the synthetic table, less what holdout rows would score.

    A row is unique when every other row of the training table or the holdout differs from it in more than `apart`
    columns (0: in any). These are the rows that describe one person, whom a replay gives away; rows with near equals
    stand in many a sample that learned nothing of them. Which rows are unique does not depend on which of them were
    trained on, so that a synthesizer that learned nothing about single rows hits both sides at one rate: the interval
    is Newcombe's of the two rates, times the share of training rows that are unique.
    """

    level: float = 0.95
    apart: Literal[0, 1] = 1
    name: ClassVar[str] = "unique_replay"
    tier: ClassVar[Tier] = "privacy"

    def __post_init__(self) -> None:
        """Check the settings."""
        check_level(self.level)
        if self.apart not in (0, 1):
            raise InputError(f"apart must be 0 or 1; got {self.apart!r}.")

    def __call__(self, evidence: Evidence, rng: np.random.Generator) -> Estimate:
        """Measure; NotMeasured as `exact_match`, NotApplicable where nearly every row repeats."""
        train, holdout = separate(evidence)
        rows = fingerprints(evidence.rows, evidence.columns)
        both = np.concatenate([train, holdout])
        unique = _alone(both)
        if self.apart:
            for cells in _cells(evidence):
                unique &= _alone(both - cells)
        sides = np.split(unique, [len(train)])
        found = [np.isin(prints[side], rows) for prints, side in zip((train, holdout), sides, strict=True)]
        sizes = len(found[0]), len(found[1])
        if min(sizes) < FEWEST:
            raise NotApplicable(f"Fewer than {FEWEST} rows of either side are unique; there is nobody to replay.")
        hits = int(found[0].sum()), int(found[1].sum())
        rate, share = difference(hits, sizes, self.level), sizes[0] / len(train)
        note = f"{hits[0]} of {sizes[0]} unique training rows and {hits[1]} of {sizes[1]} unique holdout rows"
        return Estimate(rate.value * share, rate.low * share, rate.high * share, note)


def _alone(prints: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Return which values occur once."""
    _, place, counts = np.unique(prints, return_inverse=True, return_counts=True)
    return np.asarray(counts[place] == 1)


def _cells(evidence: Evidence) -> Iterator[NDArray[np.uint64]]:
    """Yield each column's hashes, of the training rows and the holdout."""
    yield from np.concatenate(
        [cell_hashes(frame, evidence.columns) for frame in (evidence.train, evidence.unseen())], axis=1
    )
