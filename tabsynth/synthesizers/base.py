"""What a synthesizer and a sampler are: settings that fit, and a fitted thing that samples.

A synthesizer is a frozen dataclass of settings; every field is public. Its `fit` returns a sampler, which holds nothing
that was not declared or paid for, never sees the table again, and can be written down as plain values and arrays.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabsynth import _check
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.schema import Schema
from tabsynth.table import Table

Arrays = dict[str, NDArray[Any]]
Progress = Callable[[int, int, Mapping[str, float]], None]  # steps done, steps in all, public figures


def silent(done: int, total: int, figures: Mapping[str, float]) -> None:
    """Report nothing."""


class Sampler(ABC):
    """A fitted model: post-processing of what the ledger paid for.

    A subclass sets `schema` (completed), draws rows and describes itself by plain JSON values and arrays.
    """

    schema: Schema
    unsaved: ClassVar[str | None] = None  # why a model of this kind cannot be written down, where that is so

    @abstractmethod
    def draw(self, rows: int, rng: np.random.Generator) -> pd.DataFrame:
        """Return `rows` canonical rows in schema order, every value in its declared domain."""

    @abstractmethod
    def state(self) -> tuple[dict[str, Any], Arrays]:
        """Return everything the sampler holds besides its schema: JSON values and named arrays."""

    @classmethod
    @abstractmethod
    def from_state(cls, schema: Schema, values: Mapping[str, Any], arrays: Arrays) -> Self:
        """Return the sampler that `state` described."""

    def sample(self, rows: int, rng: np.random.Generator) -> pd.DataFrame:
        """Return `rows` synthetic rows; the same `rng` state gives the same rows.

        Raises InputError unless `rows` is a whole number of at least 1.
        """
        _check.at_least("rows", rows, 1)
        return self.draw(rows, rng)


class Synthesizer(Protocol):
    """Settings of one family; registered under `tabsynth.synthesizers` by its name."""

    name: ClassVar[str]
    sampler: ClassVar[type[Sampler]]

    def fit(self, table: Table, ledger: Ledger, secret: Secret, progress: Progress = silent) -> Sampler:
        """Fit to the table within the ledger's budget and close the ledger.

        Formal guarantee: the sampler is a function of the answers of mechanisms that the ledger charged before they
        ran, of the schema and of the settings, and of nothing else.
        """
        ...
