"""A table's modelled columns as one matrix of tokens, and back.

The encoder is built from a completed schema alone: it holds nothing that the schema does not, and its shape depends on
public facts only. Rows are encoded block by block, into memory maps where there are many (`mapped.room`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabsynth.canonical import numbered
from tabsynth.encoding.codec import Codec
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
        self.codecs = tuple(Codec(column) for column in schema.modelled)
        self.sizes = tuple(codec.size for codec in self.codecs)
        self.names = tuple(codec.column.name for codec in self.codecs)

    def encode(self, frame: pd.DataFrame) -> Encoded:
        """Encode canonical rows; raise SchemaError naming the column whose domain a value leaves."""
        shape = len(frame), len(self.codecs)
        tokens, offsets = room(shape, np.int32), room(shape, np.float32)
        for rows in _blocks(len(frame)):
            for index, codec in enumerate(self.codecs):
                series = frame[codec.column.name].iloc[rows]
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
                tokens[rows, index] = codec.tokens(frame[codec.column.name].iloc[rows])
        return tokens

    def decode(
        self, tokens: NDArray[np.int32], rng: np.random.Generator, offsets: NDArray[np.float32] | None = None
    ) -> pd.DataFrame:
        """Decode rows, places within bins uniform unless given; identifiers and groups are numbered anew.

        Every value of the result lies in its column's declared domain.
        """
        if offsets is None:
            offsets = rng.random(tokens.shape, dtype=np.float32)
        index = {name: place for place, name in enumerate(self.names)}
        series = {
            column.name: self.codecs[place].decode(tokens[:, place], offsets[:, place])
            if (place := index.get(column.name)) is not None
            else numbered(column, len(tokens))
            for column in self.schema
        }
        return pd.DataFrame(series, copy=False)

    def renumbered(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return decoded rows, some of which were left out, with identifiers and groups numbered anew."""
        fresh = {column.name: numbered(column, len(frame)) for column in self.schema if not column.modelled}
        return frame.reset_index(drop=True).assign(**fresh)


def _blocks(rows: int) -> Iterator[slice]:
    """Cut rows into blocks whose values fit in memory beside one another."""
    return (slice(start, start + CHUNK) for start in range(0, rows, CHUNK))
