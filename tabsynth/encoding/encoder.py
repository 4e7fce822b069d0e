"""A table's modelled columns as one matrix of tokens, and back.

The encoder is built from a completed schema alone: it holds nothing that the schema does not, and its shape depends on
public facts only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabsynth.encoding.codec import Codec
from tabsynth.schema import Column, Schema


@dataclass(frozen=True, eq=False, slots=True)
class Encoded:
    """Rows as tokens (n, columns) int32 and places within bins (n, columns) float32 in [0, 1)."""

    tokens: NDArray[np.int32]
    offsets: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.tokens)


class Encoder:
    """Rows to tokens and back, for the modelled columns of a completed schema, in schema order.

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
        tokens = np.empty((len(frame), len(self.codecs)), np.int32)
        offsets = np.empty((len(frame), len(self.codecs)), np.float32)
        for index, codec in enumerate(self.codecs):
            series = frame[codec.column.name]
            tokens[:, index] = codec.tokens(series)
            offsets[:, index] = codec.offsets(series, tokens[:, index])
        return Encoded(tokens, offsets)

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
            else _numbered(column, len(tokens))
            for column in self.schema
        }
        return pd.DataFrame(series, copy=False)

    def renumbered(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return decoded rows, some of which were left out, with identifiers and groups numbered anew."""
        fresh = {column.name: _numbered(column, len(frame)) for column in self.schema if not column.modelled}
        return frame.reset_index(drop=True).assign(**fresh)


def _numbered(column: Column, rows: int) -> pd.Series:
    """Return fresh identifiers: whole numbers from 1, or the column's name and a number."""
    numbers = pd.Series(np.arange(1, rows + 1), name=column.name)
    if column.kind == "integer":
        return numbers.astype("Int64")
    width = len(str(rows))
    return (f"{column.name}-" + numbers.astype("str").str.zfill(width)).rename(column.name)
