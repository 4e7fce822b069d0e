"""Rows of which some cells are known: what a user has of them, as tokens, and the drawn rest beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabsynth.conversion import convert
from tabsynth.encoding.codec import Codec
from tabsynth.encoding.encoder import Encoder
from tabsynth.errors import InputError, TableError
from tabsynth.files import read_raw
from tabsynth.schema import OTHER, Column, Schema


@dataclass(frozen=True, eq=False, slots=True)
class Partial:
    """Rows with known and free cells.

    `known` (rows, columns) says which cells of the modelled columns are known, and `tokens` (rows, columns) what they
    are, 0 where they are free. `cells` holds the columns that were given, canonical, missing where free. With `filled`
    no free cell of those columns may come out missing.
    """

    cells: pd.DataFrame
    known: NDArray[np.bool_]
    tokens: NDArray[np.int32]
    names: tuple[str, ...]
    filled: bool = False

    def __len__(self) -> int:
        return len(self.known)

    @property
    def fresh(self) -> NDArray[np.bool_]:
        """Which cells must come out as values, not missing, shape (rows, columns)."""
        given = np.array([name in self.cells for name in self.names])
        return np.asarray(~self.known & given & self.filled)

    def take(self, rows: NDArray[np.int64]) -> Partial:
        """Return these rows only, as often as they are named."""
        cells = self.cells.iloc[rows].reset_index(drop=True)
        return replace(self, cells=cells, known=self.known[rows], tokens=self.tokens[rows])

    def patterns(self) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.int64]]]:
        """Yield each set of known columns, (columns,), with the rows that have it."""
        found, which = np.unique(self.known, axis=0, return_inverse=True)
        which = which.reshape(-1)
        for place, pattern in enumerate(found):
            yield pattern, np.flatnonzero(which == place)

    def pasted(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return drawn canonical rows with the known cells as they were given."""
        fresh = {}
        for place, name in enumerate(self.names):
            known = self.known[:, place]
            if name in self.cells and known.any():
                kept = self.cells[name]
                if isinstance(
                    dtype := frame[name].dtype, pd.CategoricalDtype
                ):  # a rare value may be known as one of the others
                    codes = np.where(known, self.tokens[:, place], frame[name].cat.codes)
                    fresh[name] = pd.Series(pd.Categorical.from_codes(codes, dtype=dtype))
                else:
                    fresh[name] = frame[name].where(~known, kept.astype(frame[name].dtype))
        return frame.assign(**fresh)

    def met(self, frame: pd.DataFrame) -> NDArray[np.bool_]:
        """Return which drawn rows have a value wherever one is asked for, shape (rows,)."""
        asked = self.fresh
        missing = [frame[name].isna().to_numpy(dtype=bool) & asked[:, place] for place, name in enumerate(self.names)]
        return np.asarray(~np.any(missing, axis=0))


def partial_rows(frame: pd.DataFrame, schema: Schema, *, filled: bool = False) -> Partial:
    """Read rows of some modelled columns; missing cells are free.

    With `filled`, numbers beyond the bounds count as the nearest bin and a value that was never seen as one of the
    others, where the schema has such. Raises InputError for an empty frame, a column that is not modelled or of free
    text, and a value that does not fit its column; no message quotes a value.
    """
    encoder = Encoder(schema)
    names = [str(name) for name in frame.columns]
    if unknown := [name for name in names if name not in encoder.names]:
        known = ", ".join(encoder.names)
        raise InputError(f"A row can be given in columns that are modelled; got {unknown[0]!r}. There are: {known}.")
    if texts := [name for name in names if schema[name].kind == "text"]:
        raise InputError(f"Column {texts[0]!r}: nothing can be drawn given free text; leave the column out.")
    if not len(frame) or not names:
        raise InputError("A frame of partial rows needs at least one row and one column.")
    raw = read_raw(frame.reset_index(drop=True))
    series = {
        name: convert(raw, replace(schema[name], nullable=True), schema.missing, check_domain=not filled)
        for name in names
    }
    shape = (len(frame), len(encoder.names))
    mask, tokens = np.zeros(shape, bool), np.zeros(shape, np.int32)
    for name, values in series.items():
        place = encoder.names.index(name)
        present = ~values.isna().to_numpy(dtype=bool)
        mask[:, place] = present
        tokens[present, place] = _tokens(encoder.codecs[place], values[present])
    return Partial(pd.DataFrame(series), mask, tokens, encoder.names, filled)


def _tokens(codec: Codec, values: pd.Series) -> NDArray[np.int32]:
    """Return the tokens of values that are all there; raise TableError where one has none."""
    if not codec.column.numeric and not _listed(values, codec.column):
        raise TableError(f"table: column {codec.column.name!r}: a value is not among the declared categories.")
    return codec.tokens(values)


def _listed(values: pd.Series, column: Column) -> bool:
    levels = column.levels or ()
    return OTHER in levels or bool(values.astype(object).astype(str).isin(levels).all())
