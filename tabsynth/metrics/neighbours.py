"""Nearest neighbours among mixed-type rows: Gower's distance with ranks, in a blocked kernel.

Every column adds between 0 and 1 to a distance: a numeric one the difference of ranks among the training values
(as a share; Podani 1999), any other one 0 where the values are equal and else 1; missing, and each code among numbers,
is equal to itself only and at 1 from everything else. All three rules are min(|a - b|, 1) once a column is placed on
one axis, so that the kernel has no branch and the processor works on eight rows at a time.
"""

from __future__ import annotations

import numba
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabsynth.canonical import code_places, to_axis
from tabsynth.metrics.coding import Codes, Floats, codes
from tabsynth.schema import Column

Points = NDArray[np.float32]

BLOCK = 512  # rows; 15 columns of them fit the first-level cache
MISSING = 3.0  # at least 1 away from every rank


def place(frame: pd.DataFrame, train: pd.DataFrame, columns: tuple[Column, ...]) -> Points:
    """Return the rows as points [rows, columns] whose Gower distance is the sum of min(|difference|, 1)."""
    placed = [_place(frame[c.name], train[c.name], c) for c in columns]
    return np.ascontiguousarray(np.stack(placed, axis=1), dtype=np.float32)


def nearest(queries: Points, points: Points, k: int) -> Points:
    """Return the `k` smallest distances from each query to the points, in increasing order: [queries, k].

    Where there are fewer than `k` points the last ones are the number of columns, the largest distance there is.
    Memory stays at one block whatever the number of rows.
    """
    found = np.full((len(queries), k), queries.shape[1], dtype=np.float32)
    _nearest(queries, np.ascontiguousarray(points.T), found)
    return found


def _place(series: pd.Series, train: pd.Series, column: Column) -> Floats:
    """Return one column on its axis: ranks in [0, 1] of the training values, or category numbers."""
    if not column.numeric:
        return codes(series, column).astype(np.float64)
    known = to_axis(train, column)
    levels, counts = np.unique(known[~np.isnan(known)], return_counts=True)
    values = to_axis(series, column)
    beside = MISSING + 2 * (code_places(series, column) + 1.0)  # a code is what is missing, or another code, as little
    if not len(levels):
        return np.where(np.isnan(values), beside, 0.0)
    ranks = (np.cumsum(counts) - counts / 2) / counts.sum()  # the middle of a value's ranks
    return np.where(np.isnan(values), beside, np.interp(values, levels, ranks))


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator, unused-ignore]
def _nearest(queries: Points, points: Points, found: Points) -> None:
    """Fill `found` [queries, k] with the smallest distances; `points` is [columns, rows]."""
    total, k = points.shape[1], found.shape[1]
    block = np.empty(BLOCK, dtype=np.float32)
    for start in range(0, total, BLOCK):
        distance = block[: total - start]
        for i in range(len(queries)):
            _distances(queries[i], points, start, distance)
            for j in range(len(distance)):
                if distance[j] < found[i, k - 1]:
                    at = k - 1
                    while at > 0 and found[i, at - 1] > distance[j]:
                        found[i, at] = found[i, at - 1]
                        at -= 1
                    found[i, at] = distance[j]


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator, unused-ignore]
def closest(queries: Points, points: Points) -> Codes:
    """Return the place of the point nearest to each query, the first of several; `points` is [columns, rows]."""
    width, total = points.shape
    found = np.zeros(len(queries), dtype=np.int64)
    best = np.full(len(queries), np.float32(width + 1))
    block = np.empty(BLOCK, dtype=np.float32)
    for start in range(0, total, BLOCK):
        distance = block[: total - start]
        for i in range(len(queries)):
            _distances(queries[i], points, start, distance)
            for j in range(len(distance)):
                if distance[j] < best[i]:
                    best[i] = distance[j]
                    found[i] = start + j
    return found


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator, unused-ignore]
def _distances(query: Points, points: Points, start: int, found: Points) -> None:
    """Fill `found` with the distances from a query to as many points from `start` on."""
    found[:] = 0
    one = np.float32(1.0)
    for c in range(len(points)):
        here = query[c]
        column = points[c, start : start + len(found)]  # a slice: the loop then takes eight rows at a time
        for j in range(len(found)):
            apart = abs(column[j] - here)
            found[j] += apart if apart < one else one
