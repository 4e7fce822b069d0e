"""`independent`: every column drawn from its own noisy marginal, no dependence between columns.

The trivial baseline that a gate needs, and what a model that learned nothing about pairs looks like.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabsynth import _check
from tabsynth.encoding.encoder import Encoder
from tabsynth.errors import InputError
from tabsynth.privacy.discovery import discover
from tabsynth.privacy.feasibility import refuse_hopeless
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.marginals import measure_for_the_rest
from tabsynth.privacy.noise import Secret
from tabsynth.privacy.units import bound_contributions
from tabsynth.schema import Schema
from tabsynth.synthesizers.base import Arrays, Progress, Sampler, silent
from tabsynth.table import Table


class IndependentSampler(Sampler):
    """Draws each column by itself from its distribution over tokens."""

    def __init__(self, schema: Schema, distributions: Sequence[NDArray[np.float64]]):
        self.schema = schema
        self._encoder = Encoder(schema)
        self._distributions = tuple(distributions)

    def draw(self, rows: int, rng: np.random.Generator) -> pd.DataFrame:
        """Return rows whose columns do not depend on one another."""
        columns = [rng.choice(len(p), size=rows, p=p) for p in self._distributions]
        return self._encoder.decode(np.stack(columns, axis=1).astype(np.int32), rng)

    def state(self) -> tuple[dict[str, Any], Arrays]:
        """Return one distribution per column."""
        return {}, {f"column.{place}": p for place, p in enumerate(self._distributions)}

    @classmethod
    def from_state(cls, schema: Schema, values: Mapping[str, Any], arrays: Arrays) -> Self:
        """Return the sampler with these distributions."""
        return cls(schema, [arrays[f"column.{place}"] for place in range(len(schema.modelled))])


@dataclass(frozen=True, slots=True)
class Independent:
    """Noisy one-way marginals.

    `discovery` is the share of the budget for domains and bins; the marginals take the rest, evenly.

    Raises InputError naming the setting that is out of range.
    """

    bins: int = 32
    discovery: float = 0.3

    name: ClassVar[str] = "independent"
    sampler: ClassVar[type[Sampler]] = IndependentSampler

    def __post_init__(self) -> None:
        """Check every setting before a row is read."""
        _check.at_least("bins", self.bins, 1)
        _check.positive("discovery", self.discovery)
        if self.discovery >= 1:
            raise InputError("discovery must be less than 1, for the marginals take the rest.")

    def fit(self, table: Table, ledger: Ledger, secret: Secret, progress: Progress = silent) -> Sampler:
        """Measure every column's marginal; see `Synthesizer.fit`.

        Raises ModelError, before anything is charged, when noise would drown the declared number of rows.
        """
        refuse_hopeless(table.schema, ledger, 1 - self.discovery, self.discovery)
        table = bound_contributions(table, secret)
        known = discover(table, ledger, secret, share=self.discovery, bins=self.bins)
        encoder = Encoder(known.schema)
        tokens = encoder.encode(table.private).tokens
        marginals = measure_for_the_rest(
            tokens,
            encoder.sizes,
            [(place,) for place in range(len(encoder.sizes))],
            rows_per_unit=table.schema.unit.rows,
            ledger=ledger,
            secret=secret,
            why="every column's marginal",
        )
        progress(1, 1, {})
        return IndependentSampler(known.schema, [marginal.probabilities() for marginal in marginals])
