"""What `marginals` fitted: a chain of conditional tables over codes, and each code's tokens.

The chain is the graphical model, exactly: rows are drawn from it column by column, and a row's probability is a product
of one entry per table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabsynth.constraints import Constraint
from tabsynth.encoding.conditions import Allowed, offsets_of
from tabsynth.encoding.domain import inside
from tabsynth.encoding.encoder import Encoder
from tabsynth.encoding.partial import Partial
from tabsynth.errors import InputError
from tabsynth.graphical.coarsening import Codes
from tabsynth.graphical.elimination import Conditional, log_probability, restricted
from tabsynth.graphical.sampling import sample_tokens
from tabsynth.schema import Schema
from tabsynth.synthesizers.base import Arrays, Sampler
from tabsynth.synthesizers.marginals_partial import completed_tokens, target_probabilities


@dataclass(frozen=True, eq=False, slots=True)
class Graphical:
    """A fitted graphical model: columns' codes drawn one after the other, and each code's tokens (codes, tokens).

    `keeps` are the constraints that its rows keep by themselves.
    """

    chain: tuple[Conditional, ...]
    codes: Codes
    within: tuple[NDArray[np.float64], ...]
    keeps: tuple[Constraint, ...] = ()


class MarginalsSampler(Sampler):
    """Draws codes column by column from conditional tables, and then each code's token."""

    def __init__(
        self,
        schema: Schema,
        chain: Sequence[Conditional],
        within: Sequence[NDArray[np.float64]],
        keeps: Sequence[Constraint] = (),
    ):
        self.schema, self.keeps = schema, tuple(keeps)
        self._encoder = Encoder(schema)
        self._chain = tuple(chain)
        self._within = tuple(within)

    def draw(self, rows: int, rng: np.random.Generator) -> pd.DataFrame:
        """Return rows of the graphical model; places within bins are uniform."""
        return self._encoder.decode(sample_tokens(self._chain, self._within, rows, rng), rng)

    def draw_given(self, rows: int, rng: np.random.Generator, allowed: Mapping[str, Allowed]) -> pd.DataFrame:
        """Return rows of the graphical model given the conditions, exactly: none has to be thrown away.

        Raises InputError when the conditions have probability 0.
        """
        left = {self._encoder.names.index(name): part for name, part in allowed.items()}
        masses = {column: self._within[column] * part.share for column, part in left.items()}
        weights = {column: mass.sum(axis=1) for column, mass in masses.items()}
        chain, log_mass = restricted(self._chain, weights, [len(table) for table in self._within])
        if np.isneginf(log_mass):
            raise InputError(f"The conditions on {', '.join(map(repr, allowed))} have probability 0 under the model.")
        within = list(self._within)
        for column, mass in masses.items():
            never = weights[column][:, None] == 0  # a code that is not drawn
            within[column] = np.where(never, 1 / mass.shape[1], mass / np.where(never, 1.0, weights[column][:, None]))
        tokens = sample_tokens(chain, within, rows, rng)
        return self._encoder.decode(tokens, rng, offsets_of(tokens, left, rng))

    def draw_partial(self, partial: Partial, rng: np.random.Generator) -> pd.DataFrame:
        """Return the rest of every row given its known cells, exactly.

        A known value that the model gives no probability is refused, or, where cells are filled in, left aside.
        Raises InputError for known cells of probability 0.
        """
        return self._encoder.decode(completed_tokens(self._chain, self._within, self._encoder, partial, rng), rng)

    def predict(self, partial: Partial, target: int) -> NDArray[np.float64]:
        """Return the probability of each value of the target given the other cells of full rows, (rows, values)."""
        return target_probabilities(self._chain, self._within, self._encoder, partial, target)

    def log_likelihood(self, frame: pd.DataFrame) -> NDArray[np.float64]:
        """Return the log of each row's probability in nats, shape (rows,), exact under the graphical model.

        A row counts as its cells: a number as its bin, wherever it lies within. Minus infinity stands for a row that
        cannot be drawn, such as one with a value outside of its column's domain.
        """
        known = inside(frame, self._encoder)
        tokens = self._encoder.encode(frame[known].reset_index(drop=True)).tokens
        codes = np.empty_like(tokens)
        found = np.full(len(frame), -np.inf)
        mass = np.zeros(len(tokens))
        with np.errstate(divide="ignore"):
            for column, within in enumerate(self._within):
                codes[:, column] = np.argmax(within > 0, axis=0)[tokens[:, column]]
                mass += np.log(within[codes[:, column], tokens[:, column]])
            found[known] = mass + log_probability(self._chain, codes)
        return found

    def state(self) -> tuple[dict[str, Any], Arrays]:
        """Return the chain of columns with their parents, and all tables."""
        links, tables = tables_state(self._chain, self._within)
        return {"chain": links, "keeps": [self.schema.constraints.index(rule) for rule in self.keeps]}, tables

    @classmethod
    def from_state(cls, schema: Schema, values: Mapping[str, Any], arrays: Arrays) -> Self:
        """Return the sampler with this chain and these tables."""
        chain, within = tables_from_state(values["chain"], arrays)
        return cls(schema, chain, within, [schema.constraints[place] for place in values.get("keeps", ())])


def tables_state(
    chain: Sequence[Conditional], within: Sequence[NDArray[np.float64]]
) -> tuple[list[dict[str, Any]], Arrays]:
    """Return a chain's columns with their parents as JSON values, and its tables and those within codes as arrays."""
    links = [{"column": link.column, "parents": list(link.parents)} for link in chain]
    tables: Arrays = {f"link.{place}": link.table for place, link in enumerate(chain)}
    return links, tables | {f"within.{column}": table for column, table in enumerate(within)}


def tables_from_state(
    links: Sequence[Mapping[str, Any]], arrays: Arrays
) -> tuple[list[Conditional], list[NDArray[np.float64]]]:
    """Return the chain and the tables within codes that `tables_state` described."""
    chain = [
        Conditional(int(link["column"]), tuple(map(int, link["parents"])), arrays[f"link.{place}"])
        for place, link in enumerate(links)
    ]
    return chain, [arrays[f"within.{column}"] for column in range(len(chain))]
