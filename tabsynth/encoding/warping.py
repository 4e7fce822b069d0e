"""Places within a bin of moments: uniform, or as often as the hours of the day or the days of the week come.

A column with a `rhythm` is measured by it and not in seconds: an hour that comes twice as often is twice as wide.
What is uniform in that measure falls on hours and weekdays as often as they were measured to come, whatever the bin.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tabsynth.columns.times import cell_width, place_in_cycle, utc_offsets
from tabsynth.schema import Column

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
    """Return how a completed column's axis is warped by its rhythm; None where every moment is as likely.

    >>> noon = tuple(float(hour == 12) for hour in range(24))
    >>> day = Column("at", "datetime", format="%H:%M", bounds=(0, 86_340), bins=(0, 86_400), cycle="day", rhythm=noon)
    >>> warp_of(day).back(np.array([0.25, 0.75]) * 24).round().tolist()  # a quarter of the day's mass: 12:15
    [44100.0, 45900.0]
    """
    if column.cycle is None or column.rhythm is None or column.bins is None:
        return None
    width = cell_width(column.step)
    low, high = column.bins[0], column.bins[-1]
    ahead = 0.0 if column.timezone is None else float(utc_offsets(np.array([low]), column.timezone)[0])
    first = np.floor((low + ahead) / width) * width - ahead  # whole hours by the clocks of the zone
    marks = first + width * np.arange(int(np.ceil((high - first) / width)) + 1)
    weights = np.asarray(column.rhythm) / np.mean(column.rhythm)
    weights = np.maximum(weights, FLOOR)[place_in_cycle(marks[:-1], column.cycle, column.step, column.timezone)]
    return Warp(marks, np.concatenate([[0.0], np.cumsum(weights)]))
