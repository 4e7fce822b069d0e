"""`smote`: new rows between a training row and one of its nearest neighbours. Not private in any way.

SMOTE-NC (Chawla, Bowyer, Hall and Kegelmeyer 2002, section 6.1), for a whole table instead of a rare class. The model
is the training rows themselves with the numbers of their neighbours, so what it holds is what `bootstrap` holds, and
under any budget it is refused. Its rows lie on lines between training rows: whoever looks for such
lines can often tell which.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray

from tabsynth import _check
from tabsynth.conversion import from_axis, to_axis
from tabsynth.encoding.encoder import Encoded, Encoder
from tabsynth.privacy.discovery import discover
from tabsynth.privacy.exact import exact
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.privacy.units import bound_contributions
from tabsynth.schema import Schema
from tabsynth.synthesizers.base import Arrays, Progress, Sampler, silent
from tabsynth.table import Table

Numbers = NDArray[np.float64]
Tokens = NDArray[np.int32]
LEVELS = ("majority", "either")


class SmoteSampler(Sampler):
    """Holds the training rows, and which rows are near to which."""

    def __init__(self, schema: Schema, rows: Encoded, numbers: Numbers, neighbours: Tokens, levels: str):
        self.schema = schema
        self._encoder = Encoder(schema)
        self._rows = rows
        self._numbers = numbers  # (rows, numeric columns) on their axes, missing as NaN
        self._neighbours = neighbours  # (rows, k); a row of a class of its own is its own neighbour
        self._levels = levels

    def draw(self, rows: int, rng: np.random.Generator) -> pd.DataFrame:
        """Return rows, each between a training row and one of its neighbours."""
        base = rng.integers(len(self._numbers), size=rows)
        near = self._neighbours[base]
        other = near[np.arange(rows), rng.integers(near.shape[1], size=rows)]
        share = rng.random(rows)
        tokens, offsets = self._rows.tokens[base], self._rows.offsets[base]
        place = 0
        for column, codec in enumerate(self._encoder.codecs):
            if codec.column.numeric:
                axis = _between(self._numbers[base, place], self._numbers[other, place], share)
                low, high = codec.column.bounds or (-np.inf, np.inf)
                none = np.isnan(axis)  # missing, or a code
                series = from_axis(np.clip(_on_grid(axis, low, codec.column.step), low, high), codec.column)
                chosen = np.where(share < 0.5, tokens[:, column], self._rows.tokens[other, column])
                tokens[none, column] = chosen[none]
                tokens[~none, column] = codec.tokens(series[~none])
                offsets[:, column] = codec.offsets(series, tokens[:, column])
                place += 1
            elif codec.column.name == self.schema.target:
                continue  # a class has neighbours of its own class only
            elif self._levels == "majority":
                tokens[:, column] = _majority(self._rows.tokens[:, column], near)
            else:
                tokens[:, column] = np.where(share < 0.5, tokens[:, column], self._rows.tokens[other, column])
        return self._encoder.decode(tokens, rng, offsets)

    def state(self) -> tuple[dict[str, Any], Arrays]:
        """Return the training rows, encoded and as numbers, and their neighbours."""
        arrays: Arrays = {"numbers": self._numbers, "neighbours": self._neighbours}
        return {"levels": self._levels}, arrays | {"tokens": self._rows.tokens, "offsets": self._rows.offsets}

    @classmethod
    def from_state(cls, schema: Schema, values: Mapping[str, Any], arrays: Arrays) -> Self:
        """Return the sampler with these rows; raise ValueError when a neighbour is none of them."""
        rows, near = Encoded(arrays["tokens"], arrays["offsets"]), arrays["neighbours"]
        if near.min() < 0 or not len(near) == len(arrays["numbers"]) == len(rows) > near.max():
            raise ValueError("a neighbour is no row of the model")
        return cls(schema, rows, arrays["numbers"], arrays["neighbours"], str(values["levels"]))


def _between(left: Numbers, right: Numbers, share: Numbers) -> Numbers:
    """Return the value at `share` of the way from left to right; beside a missing one, the nearer of the two."""
    missing = np.isnan(left) | np.isnan(right)
    return np.where(missing, np.where(share < 0.5, left, right), left + share * (right - left))


def _on_grid(axis: Numbers, low: float, step: float) -> Numbers:
    """Round to whole steps from the lower bound; a column without a step is left as it is."""
    return axis if step == 0 else low + np.round((axis - low) / step) * step


def _majority(tokens: Tokens, near: Tokens) -> Tokens:
    """Return the token that most neighbours have, the nearest one's among equals; shape (rows,)."""
    theirs = tokens[near]
    votes = (theirs[:, :, None] == theirs[:, None, :]).sum(axis=2)
    return np.asarray(theirs[np.arange(len(theirs)), votes.argmax(axis=1)])


@dataclass(frozen=True, slots=True)
class Smote:
    """Settings of SMOTE-NC; under any budget the first charge raises BudgetExceeded.

    A row is drawn, then one of its `neighbours` nearest rows of the same class where the target is a class, then a
    place between the two. Distance is Euclidean over numbers in standard deviations; a category that differs counts as
    the median of these deviations, 1. Categories are the `majority` of all neighbours', as in the paper, or `either`
    row's, the nearer one's: closer to the table, since the majority loses what is rare. At most `most` rows are kept,
    drawn by `seed`: finding neighbours takes time in proportion to the square of the number of rows.
    """

    neighbours: int = 5
    levels: str = "majority"
    most: int = 50_000
    bins: int = 32
    seed: int = 0

    name: ClassVar[str] = "smote"
    sampler: ClassVar[type[Sampler]] = SmoteSampler
    never_private: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse settings that cannot be fitted with."""
        _check.settings(self, _check.at_least, "neighbours", "most", "bins", low=1)
        _check.at_least("seed", self.seed, 0)
        _check.one_of("levels", self.levels, LEVELS)

    def fit(self, table: Table, ledger: Ledger, secret: Secret, progress: Progress = silent) -> Sampler:
        """Keep the rows and find their neighbours; see `Synthesizer.fit`."""
        kept = exact(lambda: bound_contributions(table, secret), ledger=ledger, why="every training row, kept")
        known = discover(kept, ledger, secret, bins=self.bins)
        schema, encoder = known.schema, Encoder(known.schema)
        drawn = np.random.default_rng(self.seed).permutation(len(kept.private))[: self.most]
        frame = kept.private.iloc[np.sort(drawn)]
        ledger.close()
        rows = encoder.encode(frame)
        frame = encoder.reduced(frame)
        columns = [codec.column for codec in encoder.codecs if codec.column.numeric]
        numbers = np.empty((len(frame), len(columns)))
        for place, column in enumerate(columns):
            numbers[:, place] = to_axis(frame[column.name], column)
        levels = rows.tokens[:, [not column.numeric for column in schema.modelled]]
        classes = np.zeros(len(frame), np.int32)
        if encoder.target is not None and not encoder.codecs[encoder.target].column.numeric:
            classes = rows.tokens[:, encoder.target]
        near = nearest(_standardised(numbers), np.isnan(numbers), levels, classes, self.neighbours)
        progress(1, 1, {})
        return SmoteSampler(schema, rows, numbers, near, self.levels)


def _standardised(numbers: Numbers) -> Numbers:
    """Return numbers in standard deviations, missing ones as 0; a constant column as 0."""
    known = ~np.isnan(numbers)
    count = np.maximum(known.sum(axis=0), 1)
    centred = np.where(known, numbers - np.where(known, numbers, 0.0).sum(axis=0) / count, 0.0)
    deviation = np.sqrt((centred**2).sum(axis=0) / count)
    return np.asarray(centred / np.where(deviation > 0, deviation, 1.0))


def nearest(numbers: Numbers, missing: NDArray[np.bool_], levels: Tokens, classes: Tokens, most: int) -> Tokens:
    """Return the nearest rows of the same class, nearest first, (rows, `most`); a row that has none is its own.

    Squared distance: over numbers, squared differences, or 1 when one of the two is missing; over categories, 1 where
    they differ. Rows with fewer neighbours than `most` have them repeated.
    """
    order = np.argsort(classes, kind="stable").astype(np.int32)
    ends = np.cumsum(np.bincount(classes)).astype(np.int64)
    numbers = np.ascontiguousarray(numbers[order])
    flags, cells = np.ascontiguousarray(missing[order]), np.ascontiguousarray(levels[order])
    found = np.empty((len(order), most), np.int32)
    _search(numbers, flags, cells, ends, found)
    near = np.empty_like(found)
    near[order] = order[found]
    return near


@njit(cache=True)  # type: ignore[untyped-decorator]
def _search(
    numbers: Numbers, missing: NDArray[np.bool_], levels: Tokens, ends: NDArray[np.int64], found: Tokens
) -> None:
    """Write the nearest rows of every row within its class, by comparing all with all."""
    most = found.shape[1]
    start = 0
    for stop in ends:
        for row in range(start, stop):
            best = np.full(most, np.inf)
            held = 0
            for other in range(start, stop):
                last = best[most - 1]
                distance = np.inf if other == row else _mismatches(levels[row], levels[other])
                if distance < last:
                    distance += _gaps(numbers[row], numbers[other], missing[row] != missing[other], last - distance)
                if distance >= last:
                    continue
                place = min(held, most - 1)
                held = min(held + 1, most)
                while place > 0 and best[place - 1] > distance:
                    best[place], found[row, place] = best[place - 1], found[row, place - 1]
                    place -= 1
                best[place], found[row, place] = distance, other
            if held == 0:
                found[row, 0], held = row, 1
            for place in range(held, most):
                found[row, place] = found[row, place - held]
        start = stop


@njit(cache=True)  # type: ignore[untyped-decorator]
def _mismatches(left: Tokens, right: Tokens) -> float:
    """Return in how many categories two rows differ."""
    total = 0.0
    for column in range(len(left)):
        total += left[column] != right[column]
    return total


@njit(cache=True)  # type: ignore[untyped-decorator]
def _gaps(left: Numbers, right: Numbers, alone: NDArray[np.bool_], enough: float) -> float:
    """Return the squared distance of two rows' numbers, or something above `enough` as soon as that is certain.

    `alone` says where one of the two is missing, which counts 1; where both are, both stand as 0.
    """
    total = 0.0
    for column in range(len(left)):
        gap = left[column] - right[column]
        total += 1.0 if alone[column] else gap * gap
        if total >= enough:
            break
    return total
