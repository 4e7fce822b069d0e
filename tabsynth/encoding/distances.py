"""Columns whose tokens are distances: the larger of two numbers or moments, known by how far it is from the smaller.

One axis holds all that such a column can be. From the least distance on it is the distance. Below lies, where the
smaller value may be missing, the value itself, in a few even bins: alone there is no distance. Either way it is the
column's place on a real axis, with bins and places within them, so the codec is that of any number.

A model may put together what does not go together. Where the smaller value came out missing, a distance is counted
from one as it might be, the quantile that its place says; where it is there and the larger one was drawn as if it were
alone, the distance is such a quantile. What would pass the larger column's bounds lies evenly between them, above the
smaller value. All of it follows from tokens, places and the schema.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabsynth.canonical import to_axis
from tabsynth.columns.times import DAY, WEEK
from tabsynth.encoding.codec import LAST_PLACE, Codec
from tabsynth.encoding.warping import Warp, warp_of
from tabsynth.schema import Column

ALONE = 8  # bins of values beside which the smaller one is missing
Floats = NDArray[np.float64]
Span = tuple[float, float]
_Moved = Callable[[Warp, Floats, Floats, Floats], Floats]


def by_itself(column: Column) -> Column:
    """Return a column that is known by its distances as if it had one bin of its own values."""
    if column.distances is None or column.bounds is None:
        return column
    low, high = column.bounds
    top = max(high + column.step, float(np.nextafter(high, np.inf)))
    return replace(column, after=None, distances=None, bins=(low, top))


@dataclass(frozen=True, slots=True)
class Distance:
    """How values of `high` are told by their distance from those of `low`, both columns complete.

    >>> low = Column("a", "integer", bounds=(0, 9), bins=(0, 10), nullable=True)
    >>> far = Distance(low, Column("b", "integer", bounds=(0, 19), after="a", distances=(0, 1, 20)))
    >>> far.axis(np.array([3, np.nan]), np.array([5.0, 19.0]))
    array([ 2.5, -0.5])
    >>> far.codec.size, far.alone
    (10, 8)
    """

    low: Column
    high: Column

    @property
    def edges(self) -> tuple[float, ...]:
        """The edges of the distances' bins."""
        return self.high.distances or ()

    @property
    def least(self) -> float:
        """Where distances begin on the axis: below it are the values that are alone."""
        return self.edges[0]

    @property
    def top(self) -> float:
        """The end of the larger column's values."""
        return self._bounds[1] + self.high.step

    @property
    def alone(self) -> int:
        """How many bins there are for values that are alone: none where the smaller value is never missing."""
        return ALONE if self.low.nullable else 0

    @property
    def codec(self) -> Codec:
        """The codec of the axis: its column's values are numbers without a step, those of the grid in their middle."""
        width = max(self.top - self._bounds[0], 1e-9 * (self.edges[-1] - self.least))
        alone = np.linspace(self.least - width, self.least, self.alone + 1)[:-1]
        bins = (*alone.tolist(), *self.edges)
        ends = bins[0], bins[-1]
        column = Column(self.high.name, "float", nullable=self.high.nullable, bounds=ends, bins=bins)
        return Codec(column, self._grid)

    def series(self, low: pd.Series, high: pd.Series) -> pd.Series:
        """Return the places on the axis of canonical values of the two columns, NaN where the larger is missing."""
        return pd.Series(self.axis(to_axis(low, self.low), to_axis(high, self.high)), name=self.high.name)

    def axis(self, low: Floats, high: Floats) -> Floats:
        """Return places on the axis, shape (n,), from values of the two columns on theirs; the nearest it has."""
        middle = self._grid / 2  # so that nothing depends on how a float rounds
        far = np.clip(high - low + middle, self.least, np.nextafter(self.edges[-1], -np.inf))
        found = self._piecewise(far, low, _share)
        if not self.alone:
            return found
        alone = np.minimum(high + middle - self.top + self.least, np.nextafter(self.least, -np.inf))
        return np.where(np.isnan(low), alone, found)

    def holds(self, low: pd.Series, high: pd.Series) -> NDArray[np.bool_]:
        """Return which canonical pairs have a place on the axis, or no distance, shape (n,)."""
        start, end = to_axis(low, self.low), to_axis(high, self.high)
        far = end - start + self._grid / 2
        alone = np.isnan(start) & (self.alone > 0)
        return np.asarray(np.isnan(end) | alone | ((far >= self.least) & (far <= self.edges[-1])))

    def values(
        self, places: Floats, within: NDArray[np.float32], low: Floats, might_be: Floats, typical: Floats
    ) -> Floats:
        """Return the larger column's values, shape (n,), for places on the axis; see the module's first lines.

        `within` are the places within bins, `low` the smaller column's values, NaN where missing, `might_be` what they
        were if they were not, and `typical` distances to use where there is none.
        """
        absent, alone = np.isnan(low), places < self.least
        start = np.where(absent, might_be, low)
        value = on_grid(start + self._piecewise(np.where(alone, typical, places), start, _place), self.high, start)
        first, last = self._bounds
        above = np.maximum(start, first)
        even = on_grid(above + within * (last + self.high.step - above), self.high, start)
        value = np.where((value < first) | (value > last), even, value)
        value = np.where(absent & alone, on_grid(places - self.least + self.top, self.high), value)
        return np.where(np.isnan(places), np.nan, np.clip(value, first, last))

    def reaching(self, low: Span, high: Span) -> tuple[Span, ...]:
        """Return the distances that may bring a value in the range `low` into `high`: at least those that do.

        Where they would pass the bounds, any value may come of them.
        """
        (first, last), step = self._bounds, self._grid + self.high.step
        least, most = (low[0], low[1]) if self.low.bounds is None else np.clip(low, *self.low.bounds)
        straight = (max(high[0], first) - most - step, min(high[1], last) - least + step)
        return straight, (last - most - step, np.inf), (-np.inf, first - least + step)

    @property
    def _bounds(self) -> tuple[float, float]:
        return self.high.bounds or (0.0, 0.0)

    @property
    def _grid(self) -> float:
        return min(self.low.step, self.high.step)

    def _piecewise(self, distance: Floats, low: Floats, moved: _Moved) -> Floats:
        """Return distances moved, within pieces of a cycle's length of their bins, if the larger column has a rhythm.

        So that it falls on hours and weekdays as often as they were measured to come.
        """
        warp = warp_of(by_itself(self.high)) if self.high.rhythm is not None else None
        if warp is None:
            return distance
        edges, period = np.asarray(self.edges), DAY if self.high.cycle == "day" else WEEK
        known = ~np.isnan(distance) & ~np.isnan(low)
        far, start = distance[known], low[known]
        place = np.clip(np.searchsorted(edges, far, side="right") - 1, 0, len(edges) - 2)
        first = edges[place] + np.floor((far - edges[place]) / period) * period
        width = np.minimum(first + period, edges[place + 1]) - first
        found = distance.copy()
        found[known] = first + width * np.clip(
            moved(warp, start + first, width, (far - first) / width), 0.0, LAST_PLACE
        )
        return found


def on_grid(axis: Floats, column: Column, least: Floats | float = -np.inf) -> Floats:
    """Floor to a column's precision, or to the next value where that would be before `least`.

    >>> on_grid(np.array([1.29, 1.29]), Column("x", "float", bounds=(0, 9), decimals=1), np.array([0.0, 1.25]))
    array([1.2, 1.3])
    """
    step, origin = column.step, (column.bounds or (0.0, 0.0))[0]
    if step == 0:
        return np.maximum(axis, least)
    steps = np.floor((axis - origin) / step + 1e-6)
    steps = np.maximum(steps, np.ceil((least - origin) / step - 1e-6))
    return np.asarray(np.round(origin + steps * step, column.digits or 0))


def quantiles(codec: Codec, within: NDArray[np.float32], skipped: int = 0) -> Floats:
    """Return the values at these quantiles, shape (n,), as a number's bins have them, the first few of them skipped.

    Bins hold about as much as one another.

    >>> quantiles(Codec(Column("a", "integer", bounds=(0, 99), bins=(0, 50, 100))), np.float32([0.25, 0.75])).tolist()
    [25.0, 75.0]
    """
    places = within * np.float32(codec.bins - skipped)
    tokens = np.minimum(places.astype(np.int32), codec.bins - skipped - 1)
    return to_axis(codec.decode(tokens + np.int32(skipped), places - tokens), codec.column)


def _share(warp: Warp, start: Floats, width: Floats, share: Floats) -> Floats:
    """Return which share of a piece's measure lies before this share of its width."""
    begin, end = warp(start), warp(start + width)
    measured = end - begin
    return np.where(measured > 0, (warp(start + share * width) - begin) / np.where(measured > 0, measured, 1.0), share)


def _place(warp: Warp, start: Floats, width: Floats, share: Floats) -> Floats:
    """Return the inverse of `_share`."""
    begin, end = warp(start), warp(start + width)
    return np.where(end > begin, (warp.back(begin + share * (end - begin)) - start) / width, share)
