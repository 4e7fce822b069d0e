"""What a synthesizer and a sampler are: settings that fit, and a fitted thing that samples.

A synthesizer is a frozen dataclass of settings; every field is public. Its `fit` returns a sampler, which holds nothing
that was not declared or paid for, never sees the table again, and can be written down as plain values and arrays.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabsynth import _check
from tabsynth.constraints import Constraint, Seen
from tabsynth.encoding.conditions import Allowed, Condition, allowed_of, conditions_of, implied
from tabsynth.encoding.encoder import Encoder
from tabsynth.encoding.partial import Partial, partial_rows
from tabsynth.errors import InputError
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.schema import Schema
from tabsynth.synthesizers.accepting import Rules, accepted, settled
from tabsynth.synthesizers.completing import completed, matched
from tabsynth.synthesizers.filling import filled_in
from tabsynth.synthesizers.predicting import predicted
from tabsynth.synthesizers.sharing import in_shares
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

    def draw_partial(self, partial: Partial, rng: np.random.Generator) -> pd.DataFrame:
        """Return one row of the model for each partial row, with its known cells' tokens; here, by drawing many.

        Raises ModelError when known cells are not met after a bounded number of rows.
        """
        return matched(self.draw, Encoder(self.schema), partial, rng)

    def tempered(self, temperature: float) -> Sampler:
        """Return a sampler that is bolder (above 1) or surer (below 1) than the model; raise InputError where none can.

        Its rows depart from the model's distribution.
        """
        raise InputError("temperature: only `rows` can be sampled at another temperature than the model's.")

    def predict(self, partial: Partial, target: int) -> NDArray[np.float64]:
        """Return the probability of each value of a column given the other cells, (rows, values), where that is known.

        Raises InputError where the family knows no probabilities.
        """
        raise InputError(f"{type(self).__name__} cannot tell how probable a value is; `marginals` and `rows` can.")

    def sample(
        self,
        rows: int | None,
        rng: np.random.Generator,
        given: Mapping[str, Any] | pd.DataFrame | None = None,
        *,
        shares: Mapping[str, Mapping[Any, float]] | None = None,
        temperature: float = 1.0,
        seen: Seen | None = None,
    ) -> pd.DataFrame:
        """Return `rows` synthetic rows that keep the schema's constraints; the same `rng` state gives the same rows.

        `given` are conditions on columns, such as `{"income": ">50K", "age": (30, 40)}`; see `conditions_of`. Rows
        then follow the model's distribution given the conditions. Or a frame of partial rows: one row comes out for
        each, with its cells, and the rest given them; missing cells are free. `shares`, such as `{"ill": {True: 0.3}}`,
        say which part of the rows has a value of one column; the others keep the model's other values in its
        proportions. With another `temperature` than 1 rows of `rows` depart from its distribution. Where rows had to be
        drawn again, `attrs` of the frame has the share that was good as "acceptance". Rows in `seen` have been taken
        before: where rows must be unique, none is like them.

        Raises InputError unless `rows` is a whole number of at least 1 and what is asked for can be met; ModelError
        when hardly any row that the model draws keeps the constraints or meets the conditions.
        """
        if temperature != 1:
            return self.tempered(temperature).sample(rows, rng, given, shares=shares, seen=seen)
        if isinstance(given, pd.DataFrame):
            if shares or (rows is not None and rows != len(given)):
                raise InputError("Partial rows give one row for each: leave out shares, and any other number of rows.")
            return self._completed(partial_rows(given, self.schema), rng)
        if rows is None:
            raise InputError("rows is needed: how many rows are to be sampled?")
        _check.at_least("rows", rows, 1)
        if shares:
            return in_shares(self._sample, rows, rng, self.schema, given or {}, shares=shares, seen=seen)
        return self._sample(rows, conditions_of(given, self.schema), rng, seen)

    def require_room(self, rows: int, given: Mapping[str, Any] | None = None) -> None:
        """Raise InputError when so many rows cannot all be different where the schema says that they are."""
        Rules(self.schema, self.schema.constraints, conditions_of(given, self.schema)).refuse_small(rows)

    def impute(
        self, frame: pd.DataFrame, rng: np.random.Generator, columns: Collection[str] | None = None
    ) -> pd.DataFrame:
        """Return a table with its missing cells drawn from the model given the rest of their row, none left missing.

        With `columns` only those of these columns are; what is missing elsewhere says nothing and stays missing. All
        other cells, and columns that are not modelled, stay as they are, in their dtypes. This is a use of the model on
        whoever's rows these are: it charges nothing, learns nothing, and the result is as private as they are.

        Raises InputError for a column that the schema or the frame does not know, for cells that break a constraint or
        have probability 0; ModelError when a row is hardly ever completed well. No message quotes a value.
        """
        if unknown := [str(name) for name in frame.columns if str(name) not in self.schema.names]:
            raise InputError(f"The schema does not know column {unknown[0]!r}; it has {', '.join(self.schema.names)}.")
        names = [name for name in frame.columns if self.schema[str(name)].modelled]
        asked = frozenset(map(str, names if columns is None else columns))
        if unknown := sorted(asked - set(map(str, names))):
            raise InputError(
                f"Columns to fill in are modelled ones of the table: {', '.join(map(str, names))}; got {unknown[0]!r}."
            )
        known = partial_rows(frame[names], self.schema, filled=True, asked=asked)
        return filled_in(frame, self._completed(known, rng), known, self.schema)

    def predict_proba(self, frame: pd.DataFrame, target: str) -> pd.DataFrame:
        """Return the probability of each value of `target` given all other cells of a row, exact under the model.

        The target is a categorical or boolean column, or one of at most ten integers. One column for each value, named
        as text, in order; the frame's index. Cells that are missing count as missing, where their column may be; a
        column `target` in the frame is not read. Values that a constraint rules out have probability 0. It charges
        nothing, and is as private as the rows.

        Raises InputError for a target of amounts, a column that is absent, and a cell that cannot be.
        """
        return predicted(self.predict, frame, self.schema, target)

    def _rules(self, conditions: tuple[Condition, ...] = ()) -> Rules:
        """Return what rows have to keep."""
        if self._settled is None:
            self._settled = settled(self.schema, self.draw)
        return Rules(self.schema, self._settled, conditions)

    def _free(self, rules: Rules) -> set[str]:
        """Return what is derived afterwards: it may not be conditioned on before, unless it stays as it was drawn."""
        return {name for name, rule in rules.derived.items() if rule not in self.keeps}

    def _sample(
        self, rows: int, conditions: tuple[Condition, ...], rng: np.random.Generator, seen: Seen | None = None
    ) -> pd.DataFrame:
        if not conditions and not self.schema.constraints:
            return self.draw(rows, rng)
        rules = self._rules(conditions)
        free = self._free(rules)
        direct = [one for one in conditions if one.column.name not in free]
        if any(one.column.name in free or one.column.after is not None for one in conditions):
            follows = implied(conditions, rules.constraints, self.schema)
            direct += [one for one in follows if one.column.name not in free]
        allowed = allowed_of(direct, self.schema)
        draw = partial(self.draw_given, allowed=allowed) if allowed else self.draw
        return accepted(draw, rows, rng, rules, seen)

    def _completed(self, known: Partial, rng: np.random.Generator) -> pd.DataFrame:
        rules = self._rules()
        return completed(self.draw_partial, known, rng, rules, self._free(rules))


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
