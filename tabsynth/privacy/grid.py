"""Bins of a numeric column from noisy histograms: an adaptive grid, cut at noisy quantiles.

A fixed grid over the public range is counted with noise; cells that look heavy are split and everything is counted
again, a few times. Heavy tails and spikes (a capital gain of 0) so get fine cells, and nothing is used that was not
measured. In the manner of PrivTree (Zhang, Xiao and Xie 2016), with a fixed depth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

CELLS = 256  # of the first grid, even ones
CROWDED = 96  # and others that crowd at its lower end
FANOUT = 32  # parts that a heavy cell is split into
FINEST = 1e-7  # share of the span below which a cell without a step is not split
LEAST = 0.25  # of an even bin's mass: what a bin holds at least, however much of the mass is in spikes


@dataclass(frozen=True, eq=False, slots=True)
class Grid:
    """Increasing edges (cells + 1,), noisy counts (cells,) and the variances of their noise (cells,)."""

    edges: NDArray[np.float64]
    counts: NDArray[np.float64]
    variances: NDArray[np.float64]


def first_edges(low: float, high: float, step: float) -> NDArray[np.float64]:
    """Return at most CELLS + CROWDED + 1 edges from `low` to `high`, whole steps apart where there is a step.

    CELLS of them are even, CROWDED ever closer towards the lower end: amounts, counts and durations crowd there, and
    with few rows no cell is heavy enough to be split.

    >>> first_edges(0, 4, 1.0)
    array([0., 1., 2., 3., 4.])
    >>> first_edges(0, 1e6, 1.0)[:6]
    array([0., 1., 2., 3., 4., 5.])
    """
    even = _between(low, high, step, CELLS)
    if not high > low:
        return even
    distances = np.geomspace(step or FINEST * (high - low), high - low, CROWDED + 1)[:-1]
    crowded = low + (np.floor(distances / step + 1e-9) * step if step else distances)
    return np.unique(np.concatenate([even, crowded[crowded < even[-1]]]))


def split_heavy(grid: Grid, step: float, bins: int) -> NDArray[np.float64]:
    """Return finer edges: cells that hold more than the least mass of a bin, beyond their noise, are split."""
    width = np.diff(grid.edges)
    finest = step * 1.5 or FINEST * (grid.edges[-1] - grid.edges[0])
    bar = np.maximum(LEAST * grid.counts.sum() / bins, 4 * np.sqrt(grid.variances))
    heavy = (grid.counts > bar) & (width > finest)
    parts = [_between(grid.edges[cell], grid.edges[cell + 1], step, FANOUT) for cell in np.flatnonzero(heavy)]
    return np.unique(np.concatenate([grid.edges, *parts]))


def refine(grid: Grid, edges: NDArray[np.float64], counts: NDArray[np.float64], variance: float) -> Grid:
    """Combine a grid with a fresh noisy count over finer edges, by least squares within every old cell."""
    parent = np.searchsorted(grid.edges, edges[:-1], side="right") - 1
    parts = np.bincount(parent, minlength=len(grid.counts))
    gap = grid.counts - np.bincount(parent, counts, minlength=len(grid.counts))
    spread = parts * variance + grid.variances
    share = np.divide(variance, spread, out=np.zeros_like(spread), where=spread > 0)  # exact counts need no repair
    return Grid(edges, counts + (gap * share)[parent], variance * (1 - share[parent]))


def quantile_bins(grid: Grid, bins: int) -> NDArray[np.float64]:
    """Return the edges of about `bins` bins of equal noisy mass; a cell heavier than that stays a bin of its own.

    What lies outside such spikes is cut as finely as its own mass allows, each bin holding at least LEAST of an even
    bin's mass, so that a column that is mostly zero keeps its tail.
    """
    total = max(float(grid.counts.sum()), 1.0)
    # Clipping noisy counts at zero would fill empty stretches with mass; a monotone fit of their sum does not.
    cumulative = np.clip(isotonic_regression(np.cumsum(grid.counts)).x, 0.0, total) / total
    mass = np.diff(cumulative, prepend=0.0)
    own = mass >= 1.0 / bins
    rest = np.where(own, 0.0, mass)
    quantum = max(rest.sum(), LEAST) / bins
    crossed = np.diff(np.floor(np.cumsum(rest) / quantum + 1e-9), prepend=0.0) > 0
    cut = np.zeros(len(grid.edges), bool)
    cut[[0, -1]] = True
    cut[1:] |= crossed | own
    cut[:-1] |= own
    return grid.edges[cut]


def count_cells(axis: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.int64]:
    """Count values per cell, shape (cells,); missing ones are left out, those beyond the edges go to the end cells."""
    present = axis[~np.isnan(axis)]
    cells = np.searchsorted(edges[1:-1], present, side="right")
    return np.bincount(cells, minlength=len(edges) - 1).astype(np.int64)


def _between(low: float, high: float, step: float, parts: int) -> NDArray[np.float64]:
    """Return at most parts + 1 even edges from low to high; with a step, at whole steps from low."""
    if step == 0:
        return np.linspace(low, high, parts + 1)
    steps = max(round((high - low) / step), 1)
    marks = np.unique(np.floor(np.linspace(0, steps, min(parts, steps) + 1) + 1e-9))
    return np.concatenate([low + marks[:-1] * step, [high]])
