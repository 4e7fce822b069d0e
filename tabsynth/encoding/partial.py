"""Rows of which some cells are known: what a user has of them, as tokens, and the drawn rest beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabsynth.conversion import convert, from_axis, to_axis
from tabsynth.encoding.codec import Codec
from tabsynth.encoding.distances import Distance, on_grid
from tabsynth.encoding.encoder import Encoder
from tabsynth.errors import InputError, TableError
from tabsynth.files import read_raw
from tabsynth.schema import OTHER, Column, Schema

NEAR = 64  # of a column's span: how far a drawn value may be from a known one that no token tells


@dataclass(frozen=True, eq=False, slots=True)
class Partial:
    """Rows with known and free cells.

    `known` (rows, columns) says which cells of the modelled columns are known, and `tokens` (rows, columns) what they
    are, 0 where they are free. `cells` holds the columns that were given, canonical, missing where free. With `filled`
    no free cell of those columns, or of those in `asked` where it is said, may come out missing.

    Columns of `distances` have tokens of these, which say nothing where the value that they are from is free: such
    known cells are not conditioned on but looked for, and the free value stays as far from them as it was drawn.
    """

    cells: pd.DataFrame
    known: NDArray[np.bool_]
    tokens: NDArray[np.int32]
    names: tuple[str, ...]
    filled: bool = False
    asked: frozenset[str] | None = None
    distances: Mapping[str, Distance] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.known)

    @property
    def fresh(self) -> NDArray[np.bool_]:
        """Which cells must come out as values, not missing, shape (rows, columns)."""
        asked = self.cells.columns if self.asked is None else self.asked
        given = np.array([name in asked for name in self.names])
        return np.asarray(~self.known & given & self.filled)

    @property
    def loose(self) -> NDArray[np.bool_]:
        """Which known cells have no token, shape (rows, columns): the value that their distance is from is free."""
        found = np.zeros_like(self.known)
        for name, far in self.distances.items():
            low, high = self.names.index(far.low.name), self.names.index(name)
            found[:, high] = self.known[:, high] & ~self.known[:, low]
        return found

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

    def moved(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return drawn canonical rows whose free cells are as far from the known ones as they were drawn to be."""
        if not self.distances:
            return frame
        columns = {one.name: one for far in self.distances.values() for one in (far.low, far.high)}
        drawn = {name: to_axis(frame[name], column) for name, column in columns.items()}
        known = {name: self.known[:, self.names.index(name)].copy() for name in columns}
        axes = {
            name: np.where(known[name], to_axis(self.cells[name], column), drawn[name])
            if name in self.cells
            else drawn[name]
            for name, column in columns.items()
        }
        apart = {name: drawn[name] - drawn[far.low.name] for name, far in self.distances.items()}
        for name, far in reversed(list(self.distances.items())):
            low = far.low.name
            _move(axes, known, low, from_=name, to=on_grid(axes[name] - apart[name], far.low), column=far.low)
        for name, far in self.distances.items():
            low = far.low.name
            to = on_grid(axes[low] + apart[name], far.high, axes[low])
            _move(axes, known, name, from_=low, to=to, column=far.high)
        changed = {name: column for name, column in columns.items() if (axes[name] != drawn[name]).any()}
        return frame.assign(**{name: from_axis(axes[name], column) for name, column in changed.items()})

    def near(self, frame: pd.DataFrame) -> NDArray[np.bool_]:
        """Return which drawn rows have a value near the known one wherever no token says it, shape (rows,)."""
        loose, found = self.loose, np.ones(len(self), np.bool_)
        for name, far in self.distances.items():
            rows = loose[:, self.names.index(name)]
            if rows.any():
                low, high = far.high.bounds or (-np.inf, np.inf)
                off = np.abs(to_axis(frame[name], far.high) - to_axis(self.cells[name], far.high))
                found &= ~rows | (off <= (high - low) / NEAR)
        return found

    def met(self, frame: pd.DataFrame) -> NDArray[np.bool_]:
        """Return which drawn rows have a value wherever one is asked for, shape (rows,)."""
        asked = self.fresh
        missing = [frame[name].isna().to_numpy(dtype=bool) & asked[:, place] for place, name in enumerate(self.names)]
        return np.asarray(~np.any(missing, axis=0))


def _move(
    axes: dict[str, NDArray[np.float64]],
    known: dict[str, NDArray[np.bool_]],
    name: str,
    *,
    from_: str,
    to: NDArray[np.float64],
    column: Column,
) -> None:
    """Move free values of a column beside known ones, which they then are too, unless they would pass its bounds."""
    low, high = column.bounds or (-np.inf, np.inf)
    rows = known[from_] & ~known[name] & (to >= low) & (to <= high)
    axes[name] = np.where(rows, to, axes[name])
    known[name] |= rows


def partial_rows(
    frame: pd.DataFrame, schema: Schema, *, filled: bool = False, asked: frozenset[str] | None = None
) -> Partial:
    """Read rows of some modelled columns; missing cells are free.

    With `filled`, no cell of the columns `asked` for, all unless said, may come out missing; numbers beyond the bounds
    count as the nearest bin and a value that was never seen as one of the others, where the schema has such.
    Raises InputError for an empty frame, a column that is not modelled or of free text, and a value that does not fit
    its column; no message quotes a value.
    """
    encoder = Encoder(schema)
    names = [str(name) for name in frame.columns]
    if unknown := [name for name in names if name not in encoder.names]:
        known = ", ".join(encoder.names)
        raise InputError(f"Partial rows can have modelled columns only; got {unknown[0]!r}. There are: {known}.")
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
        far = encoder.distances.get(name)
        coded = values if far is None else far.series(series.get(far.low.name, _nothing(values)), values)
        present = ~coded.isna().to_numpy(dtype=bool)
        tokens[present, place] = _tokens(encoder.codecs[place], coded[present])
    distances = {name: encoder.distances[name] for name in encoder.turn if name in encoder.distances}
    return Partial(pd.DataFrame(series), mask, tokens, encoder.names, filled, asked, distances)


def _nothing(values: pd.Series) -> pd.Series:
    """Return as many missing values of the same kind."""
    return values.where(np.zeros(len(values), np.bool_))


def _tokens(codec: Codec, values: pd.Series) -> NDArray[np.int32]:
    """Return the tokens of values that are all there; raise TableError where one has none."""
    if not codec.column.numeric and not _listed(values, codec.column):
        raise TableError(f"table: column {codec.column.name!r}: a value is not among the declared categories.")
    return codec.tokens(values)


def _listed(values: pd.Series, column: Column) -> bool:
    levels = column.levels or ()
    return OTHER in levels or bool(values.astype(object).astype(str).isin(levels).all())
