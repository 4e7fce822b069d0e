"""Places within a bin: uniform, or as often as hours and weekdays come, or ever rarer towards the end of a tail.

A column with a `rhythm` is measured by it and not in seconds: an hour that comes twice as often is twice as wide.
What is uniform in that measure falls on hours and weekdays as often as they were measured to come, whatever the bin.

An outermost bin that is far wider than the one before it is a tail: an amount is hardly ever the largest allowed. Bins
hold about the same mass, so the density where the tail begins is about that of the bin before, and from there it falls
as a Pareto density of index 2 does (Lomax 1954). Nothing is measured for it; evenly filled, one row in a hundred would
make the mean of prices several times what it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tabsynth.columns.times import cell_width, place_in_cycle, utc_offsets
from tabsynth.schema import Column

NARROW = 4e-6  # share of a column's span: a bin narrower than this, as a heavy cell of discovery is once it has been
# split twice (1 / 256 / 32 / 32), stands for one value, a spike
TAIL = 4.0  # widths of the bin before it, from which on an outermost bin is a tail
STEEPEST = 256.0  # the same, beyond which a tail falls no faster: the bin before may be one of its own mass
INDEX = 2.0  # of the Pareto density: the smallest whole one with a mean
POINTS = 64  # of a tail's measure
FLOOR = 1e-6  # of the mean weight: what an hour weighs that was never seen, so that every moment has a place
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class Warp:
    """An increasing, piecewise linear map from the axis to the measure in which a column's values are even."""

    marks: Floats
    measure: Floats

    def __call__(self, axis: Floats) -> Floats:
        """Return the measure up to each place of the axis."""
        return np.interp(axis, self.marks, self.measure)

    def back(self, measure: Floats) -> Floats:
        """Return the place of the axis up to which there is so much of the measure."""
        return np.interp(measure, self.measure, self.marks)


@lru_cache(maxsize=32)
def warp_of(column: Column) -> Warp | None:
    """Return how a completed column's axis is warped by its rhythm or its tails; None where it is not.

    >>> noon = tuple(float(hour == 12) for hour in range(24))
    >>> day = Column("at", "datetime", format="%H:%M", bounds=(0, 86_340), bins=(0, 86_400), cycle="day", rhythm=noon)
    >>> warp_of(day).back(np.array([0.25, 0.75]) * 24).round().tolist()  # a quarter of the day's mass: 12:15
    [44100.0, 45900.0]
    >>> price = Column("price", "float", bounds=(0, 1000), bins=(0, 10, 20, 1000))
    >>> warp_of(price).back(np.array([15.0, 510.0])).round().tolist()  # half of the tail's mass: far below its middle
    [15.0, 28.0]
    """
    if column.bins is None:
        return None
    if column.cycle is None or column.rhythm is None:
        return _thinned(np.asarray(column.bins, np.float64), column.step)
    width = cell_width(column.step)
    low, high = column.bins[0], column.bins[-1]
    ahead = 0.0 if column.timezone is None else float(utc_offsets(np.array([low]), column.timezone)[0])
    first = np.floor((low + ahead) / width) * width - ahead  # whole hours by the clocks of the zone
    marks = first + width * np.arange(int(np.ceil((high - first) / width)) + 1)
    weights = np.asarray(column.rhythm) / np.mean(column.rhythm)
    weights = np.maximum(weights, FLOOR)[place_in_cycle(marks[:-1], column.cycle, column.step, column.timezone)]
    return Warp(marks, np.concatenate([[0.0], np.cumsum(weights)]))


def _thinned(edges: Floats, step: float) -> Warp | None:
    """Return the measure of bins whose tails thin out; None where there is no tail."""
    widths = np.diff(edges)
    wide = np.flatnonzero(widths > (1.5 * step or NARROW * (edges[-1] - edges[0])))
    if len(wide) < 2:
        return None
    marks, measure = [edges], [edges]
    for at, before, end, side in ((wide[-1], wide[-2], len(widths) - 1, 1), (wide[0], wide[1], 0, -1)):
        width, start = widths[at], edges[at] if side > 0 else edges[at + 1]
        if at == end and width > TAIL * widths[before]:
            scale, share = INDEX * max(widths[before], width / STEEPEST), np.linspace(0, 1, POINTS + 1)[1:-1]
            whole = 1 - (1 + width / scale) ** -INDEX  # of the density's mass lies within the bin
            marks.append(start + side * scale * ((1 - share * whole) ** (-1 / INDEX) - 1))
            measure.append(start + side * share * width)
    return Warp(np.sort(np.concatenate(marks)), np.sort(np.concatenate(measure))) if len(marks) > 1 else None
