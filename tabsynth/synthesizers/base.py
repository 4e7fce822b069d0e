"""What a synthesizer and a sampler are: settings that fit, and a fitted thing that samples.

A synthesizer is a frozen dataclass of settings; every field is public. Its `fit` returns a sampler, which holds nothing
that was not declared or paid for, never sees the table again, and can be written down as plain values and arrays.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabsynth import _check
from tabsynth.constraints import Constraint
from tabsynth.encoding.conditions import Allowed, conditions_of
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.schema import Schema
from tabsynth.synthesizers.accepting import Rules, accepted, settled
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

    keeps: tuple[Constraint, ...] = ()  # constraints that rows of `draw` keep by themselves
    _settled: tuple[Constraint, ...] | None = None

    @abstractmethod
    def draw(self, rows: int, rng: np.random.Generator) -> pd.DataFrame:
        """Return `rows` canonical rows in schema order, every value in its declared domain.

        Constraints need not be kept: `sample` sees to them.
        """

    @abstractmethod
    def state(self) -> tuple[dict[str, Any], Arrays]:
        """Return everything the sampler holds besides its schema: JSON values and named arrays."""

    @classmethod
    @abstractmethod
    def from_state(cls, schema: Schema, values: Mapping[str, Any], arrays: Arrays) -> Self:
        """Return the sampler that `state` described."""

    def draw_given(self, rows: int, rng: np.random.Generator, allowed: Mapping[str, Allowed]) -> pd.DataFrame:
        """Return rows of the model that meet the conditions as far as this family can see to it; here, not at all.

        `allowed` says for each column with a condition what it leaves of the column's tokens. Rows that do not meet it
        are thrown away by `sample`. A family that draws from its distribution given the conditions need not lose any.
        """
        return self.draw(rows, rng)

    def sample(self, rows: int, rng: np.random.Generator, given: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Return `rows` synthetic rows that keep the schema's constraints; the same `rng` state gives the same rows.

        `given` are conditions on columns, such as `{"income": ">50K", "age": (30, 40)}`; see `conditions_of`. Rows
        then follow the model's distribution given the conditions. Where rows had to be drawn again, `attrs` of the
        frame has the share that was good as "acceptance".

        Raises InputError unless `rows` is a whole number of at least 1 and `given` can be met; ModelError when hardly
        any row that the model draws keeps the constraints or meets the conditions.
        """
        _check.at_least("rows", rows, 1)
        conditions = conditions_of(given, self.schema)
        if not conditions and not self.schema.constraints:
            return self.draw(rows, rng)
        if self._settled is None:
            self._settled = settled(self.schema, self.draw)
        rules = Rules(self.schema, self._settled, conditions)
        # what is derived afterwards may not be conditioned on before, unless it stays as it was drawn
        free = {name for name, rule in rules.derived.items() if rule not in self.keeps}
        allowed = {one.column.name: one.allowed() for one in conditions if one.column.name not in free}
        draw = partial(self.draw_given, allowed=allowed) if allowed else self.draw
        return accepted(draw, rows, rng, rules)


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
