"""A table's modelled columns as one matrix of tokens, and back.

The encoder is built from a completed schema alone: it holds nothing that the schema does not, and its shape depends on
public facts only. Rows are encoded block by block, into memory maps where there are many (`mapped.room`).

A column that follows another one has tokens of its distance from it, where the schema says so (`distances`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabsynth.apart import in_turn
from tabsynth.canonical import from_axis, numbered, to_axis
from tabsynth.encoding.codec import Codec
from tabsynth.encoding.distances import Distance, quantiles
from tabsynth.files import CHUNK
from tabsynth.mapped import room
from tabsynth.schema import Schema


@dataclass(frozen=True, eq=False, slots=True)
class Encoded:
    """Rows as tokens (n, columns) int32 and places within bins (n, columns) float32 in [0, 1)."""

    tokens: NDArray[np.int32]
    offsets: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.tokens)


class Encoder:
    """Rows to tokens and back, for the modelled columns of a completed schema, in schema order.

    >>> from tabsynth.schema import Column
    >>> encoder = Encoder(Schema((Column("ill", "boolean"), Column("n", "integer", bounds=(0, 3), bins=(0, 1, 4)))))
    >>> encoder.sizes
    (2, 2)
    """

    def __init__(self, schema: Schema):
        self.schema = schema
        followers = {column.name: column.after for column in schema.modelled if column.after is not None}
        self.distances = {name: Distance(schema[low], schema[name]) for name, low in followers.items()}
        self.codecs = tuple(
            self.distances[column.name].codec if column.name in self.distances else Codec(column)
            for column in schema.modelled
        )
        self.turn = tuple(column.name for column in in_turn(schema.modelled, followers))
        self.sizes = tuple(codec.size for codec in self.codecs)
        self.names = tuple(codec.column.name for codec in self.codecs)

    @property
    def target(self) -> int | None:
        """The place of the column to predict, None when none was declared."""
        return None if self.schema.target is None else self.names.index(self.schema.target)

    def encode(self, frame: pd.DataFrame) -> Encoded:
        """Encode canonical rows; raise SchemaError naming the column whose domain a value leaves."""
        shape = len(frame), len(self.codecs)
        tokens, offsets = room(shape, np.int32), room(shape, np.float32)
        for rows in _blocks(len(frame)):
            for index, codec in enumerate(self.codecs):
                series = self._series(frame, codec.column.name, rows)
                found = codec.tokens(series)
                tokens[rows, index] = found
                offsets[rows, index] = codec.offsets(series, found)
        return Encoded(tokens, offsets)

    def tokens(self, frame: pd.DataFrame) -> NDArray[np.integer[Any]]:
        """Encode canonical rows for counting: the tokens alone, in the smallest type, column after column in memory.

        Raises what `encode` does.
        """
        smallest = np.min_scalar_type(max(self.sizes, default=1) - 1)
        tokens = room((len(frame), len(self.codecs)), smallest, "F")
        for index, codec in enumerate(self.codecs):
            for rows in _blocks(len(frame)):
                tokens[rows, index] = codec.tokens(self._series(frame, codec.column.name, rows))
        return tokens

    def reduced(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return canonical rows in which the columns of the codecs are what these encode: distances where they are."""
        whole = slice(None)
        return frame.assign(**{name: self._series(frame, name, whole).set_axis(frame.index) for name in self.distances})

    def pair(self, name: str) -> tuple[int, int]:
        """Return the places of the column that one of distances is from, and of that one."""
        return self.names.index(self.distances[name].low.name), self.names.index(name)

    def decode(
        self, tokens: NDArray[np.int32], rng: np.random.Generator, offsets: NDArray[np.float32] | None = None
    ) -> pd.DataFrame:
        """Decode rows, places within bins uniform unless given; identifiers and groups are numbered anew.

        Every value of the result lies in its column's declared domain.
        """
        if offsets is None:
            offsets = rng.random(tokens.shape, dtype=np.float32)
        found = self._decoded(tokens, offsets)
        series = {
            column.name: found[column.name] if column.name in found else numbered(column, len(tokens))
            for column in self.schema
        }
        return pd.DataFrame(series, copy=False)

    def renumbered(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return decoded rows, some of which were left out, with identifiers and groups numbered anew."""
        fresh = {column.name: numbered(column, len(frame)) for column in self.schema if not column.modelled}
        return frame.reset_index(drop=True).assign(**fresh)

    def _series(self, frame: pd.DataFrame, name: str, rows: slice) -> pd.Series:
        """Return what a column's codec encodes: its values, or how far they are from those of another column."""
        if (distance := self.distances.get(name)) is None:
            return frame[name].iloc[rows]
        return distance.series(frame[distance.low.name].iloc[rows], frame[name].iloc[rows])

    def _decoded(self, tokens: NDArray[np.int32], offsets: NDArray[np.float32]) -> dict[str, pd.Series]:
        """Return the canonical values of every modelled column, those that others follow before them."""
        found: dict[str, pd.Series] = {}
        might_be: dict[str, NDArray[np.float64]] = {}  # values of columns that others follow, none of them missing
        followed = {distance.low.name for distance in self.distances.values()}
        for name in self.turn:
            place = self.names.index(name)
            codec, within = self.codecs[place], offsets[:, place]
            found[name] = codec.decode(tokens[:, place], within)
            if (distance := self.distances.get(name)) is not None:
                low, maybe = to_axis(found[distance.low.name], distance.low), might_be[distance.low.name]
                typical = quantiles(codec, within, distance.alone)
                axis = distance.values(to_axis(found[name], codec.column), within, low, maybe, typical)
                found[name] = from_axis(axis, distance.high)
                if name in followed:
                    typical = distance.values(typical, within, maybe, maybe, typical)
                    might_be[name] = np.where(np.isnan(axis), typical, axis)
            elif name in followed:
                axis = to_axis(found[name], codec.column)
                might_be[name] = np.where(np.isnan(axis), quantiles(codec, within), axis)
        return found


def _blocks(rows: int) -> Iterator[slice]:
    """Cut rows into blocks whose values fit in memory beside one another."""
    return (slice(start, start + CHUNK) for start in range(0, rows, CHUNK))
