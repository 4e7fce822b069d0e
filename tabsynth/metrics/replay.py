"""Replay: training rows that stand in the synthetic table as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tabsynth.metrics.coding import fingerprints
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
        return Estimate(found.value, found.low, found.high, note)


@dataclass(frozen=True, slots=True)
class UniqueReplay:
    """Share of unique training rows that stand in the synthetic table, less the same share of unique holdout rows.

    A row is unique when no other row of the training table or the holdout equals it. These are the rows that describe
    one person, whom a replay gives away; among rows that repeat, a sample holds many without having learned any. Which
    rows are unique does not depend on which of them were trained on, so that a synthesizer that learned nothing about
    single rows hits both sides at one rate. The interval is Newcombe's, as of `exact_match`.
    """

    level: float = 0.95
    name: ClassVar[str] = "unique_replay"
    tier: ClassVar[Tier] = "privacy"

    def __post_init__(self) -> None:
        """Check the settings."""
        check_level(self.level)

    def __call__(self, evidence: Evidence, rng: np.random.Generator) -> Estimate:
        """Measure; NotMeasured as `exact_match`, NotApplicable where nearly every row repeats."""
        train, holdout = separate(evidence)
        rows = fingerprints(evidence.rows, evidence.columns)
        values, counts = np.unique(np.concatenate([train, holdout]), return_counts=True)
        unique = tuple(side[np.isin(side, values[counts == 1])] for side in (train, holdout))
        sizes = len(unique[0]), len(unique[1])
        if min(sizes) < FEWEST:
            raise NotApplicable(f"Fewer than {FEWEST} rows of either side are unique; there is nobody to replay.")
        hits = int(np.isin(unique[0], rows).sum()), int(np.isin(unique[1], rows).sum())
        found = difference(hits, sizes, self.level)
        note = f"{hits[0]} of {sizes[0]} unique training rows and {hits[1]} of {sizes[1]} unique holdout rows"
        return Estimate(found.value, found.low, found.high, note)
