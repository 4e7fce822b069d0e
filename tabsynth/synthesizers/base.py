"""What a synthesizer and a sampler are: settings with a `fit`, and the fitted model that samples.

A synthesizer is a frozen dataclass of settings; every field is public. Its `fit` returns a sampler, which holds nothing
that was not declared or paid for, never sees the table again, and can be saved as plain values and arrays.
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

        Rows may break constraints: `sample` takes care of those.
        """

    @abstractmethod
    def state(self) -> tuple[dict[str, Any], Arrays]:
        """Return everything the sampler holds besides its schema: JSON values and named arrays."""

    @classmethod
    @abstractmethod
    def from_state(cls, schema: Schema, values: Mapping[str, Any], arrays: Arrays) -> Self:
        """Return the sampler that `state` described."""

    def draw_given(self, rows: int, rng: np.random.Generator, allowed: Mapping[str, Allowed]) -> pd.DataFrame:
        """Return rows of the model that meet the conditions as far as this family can manage; by default not at all.

        For each column with a condition, `allowed` says which of its tokens the condition leaves. `sample` throws away
        rows that do not meet it, and a family that can draw from its distribution given the conditions loses none.
        """
        return self.draw(rows, rng)

    def draw_partial(self, partial: Partial, rng: np.random.Generator) -> pd.DataFrame:
        """Return one row for each partial row, with the tokens of its known cells; by default found by drawing many.

        Raises ModelError when a bounded number of rows holds none with the known cells.
        """
        return matched(self.draw, Encoder(self.schema), partial, rng)

    def tempered(self, temperature: float) -> Sampler:
        """Return a sampler whose rows are more varied (above 1) or more typical (below 1) than the model's own.

        Raises InputError for a family that cannot do this.
        """
        raise InputError("temperature: only `rows` can be sampled at another temperature than the model's.")

    def predict(self, partial: Partial, target: int) -> NDArray[np.float64]:
        """Return the probability of each value of a column given the other cells, shape (rows, values).

        Raises InputError for a family that cannot compute it.
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

        `given` holds conditions on columns, such as `{"income": ">50K", "age": (30, 40)}`, see `conditions_of`; rows
        then follow the model's distribution given the conditions. Or it is a frame of partial rows: each is completed
        to one row, its missing cells drawn given its other cells. `shares`, such as `{"ill": {True: 0.3}}`, fix the
        share of rows that have a value of one column; its other values keep the model's proportions. A `temperature`
        other than 1 (`rows` only) makes rows more varied or more typical than the model. Where rows had to be drawn
        again, `attrs["acceptance"]` of the frame is the share of drawn rows that were good. `seen` holds unique rows
        that were handed out before and must not come again.

        Raises InputError unless `rows` is a whole number of at least 1 and what is asked for is possible; ModelError
        when hardly any row that the model draws keeps the constraints and meets the conditions.
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
        """Raise InputError when the schema wants unique rows and there cannot be so many."""
        Rules(self.schema, self.schema.constraints, conditions_of(given, self.schema)).refuse_small(rows)

    def impute(
        self, frame: pd.DataFrame, rng: np.random.Generator, columns: Collection[str] | None = None
    ) -> pd.DataFrame:
        """Return a table with its missing cells drawn from the model given the rest of their row, none left missing.

        With `columns` only these are filled in; cells that are missing in other columns stay missing and are not
        conditioned on. All other cells, and columns that are not modelled, stay as they are, in their dtypes. The model
        is only applied to the rows: nothing is charged or learned, and the result is as private as the rows are.

        Raises InputError for a column that the schema or the frame does not have, and for cells that break a constraint
        or have probability 0; ModelError when a row cannot be completed in many tries. No message quotes a value.
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

        The target is a categorical or boolean column, or one of at most ten integers. The result has one column for
        each value, named as text, in order, and the frame's index. A missing cell counts as the value "missing", where
        its column may have one; a column `target` in the frame is not read. Values that a constraint rules out have
        probability 0. Nothing is charged, and the result is as private as the rows.

        Raises InputError for any other target, for a column that is absent, and for a cell that is impossible.
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
