"""`bootstrap`: training rows drawn with replacement. Not private in any way: a fake that every gate must refuse."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd

from tabsynth.encoding.encoder import Encoded, Encoder
from tabsynth.privacy.discovery import discover
from tabsynth.privacy.exact import exact
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.privacy.units import bound_contributions
from tabsynth.schema import Schema
from tabsynth.synthesizers.base import Arrays, Progress, Sampler, silent
from tabsynth.table import Table


class BootstrapSampler(Sampler):
    """Holds the training rows themselves."""

    def __init__(self, schema: Schema, rows: Encoded):
        self.schema = schema
        self._encoder = Encoder(schema)
        self._rows = rows

    def draw(self, rows: int, rng: np.random.Generator) -> pd.DataFrame:
        """Return training rows, drawn with replacement."""
        drawn = rng.integers(len(self._rows), size=rows)
        return self._encoder.decode(self._rows.tokens[drawn], rng, self._rows.offsets[drawn])

    def state(self) -> tuple[dict[str, Any], Arrays]:
        """Return the training rows, encoded."""
        return {}, {"tokens": self._rows.tokens, "offsets": self._rows.offsets}

    @classmethod
    def from_state(cls, schema: Schema, values: Mapping[str, Any], arrays: Arrays) -> Self:
        """Return the sampler with these rows."""
        return cls(schema, Encoded(arrays["tokens"], arrays["offsets"]))


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """Copies rows; under any budget its first charge raises BudgetExceeded."""

    name: ClassVar[str] = "bootstrap"
    sampler: ClassVar[type[Sampler]] = BootstrapSampler
    never_private: ClassVar[bool] = True

    def fit(self, table: Table, ledger: Ledger, secret: Secret, progress: Progress = silent) -> Sampler:
        """Keep the rows; see `Synthesizer.fit`."""
        why = "every training row, copied"
        kept = exact(lambda: bound_contributions(table, secret), ledger=ledger, why=why)
        known = discover(kept, ledger, secret)
        rows = Encoder(known.schema).encode(kept.private)
        ledger.close()
        progress(1, 1, {})
        return BootstrapSampler(known.schema, rows)
