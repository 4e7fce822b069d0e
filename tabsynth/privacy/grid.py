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
TAIL = 2.0  # widths of the bin before it, from which on an outermost bin may be cut further
FAR = 0.1  # of an even bin's mass: what a part of a tail holds at least
HALVINGS = 10  # of an outermost bin, to count what lies far out
HOURS = 24  # of a day
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
    filled = np.floor(np.cumsum(rest) / quantum + 1e-9)
    filled = np.minimum(filled, np.ceil(rest.sum() / quantum - 0.5) - 1)  # the last bin goes to the end
    crossed = np.diff(filled, prepend=0.0) > 0
    cut = np.zeros(len(grid.edges), bool)
    cut[[0, -1]] = True
    cut[1:] |= crossed | own
    cut[:-1] |= own
    return grid.edges[cut]


def halved_tails(edges: NDArray[np.float64], finer: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return bins whose outermost ones are cut, at edges of `finer`, at a half, a quarter, ... of their width.

    What a tail holds far out is the sum of many cells that are nearly empty, and of all their noise. Counted in bins
    that grow with the distance, it has the noise of one.

    >>> halved_tails(np.array([0.0, 1.0, 65.0]), np.arange(66.0))
    array([ 0.,  1.,  2.,  3.,  5.,  9., 17., 33., 65.])
    """
    parts = 0.5 ** np.arange(1, HALVINGS + 1)
    marks = np.concatenate([edges[-2] + (edges[-1] - edges[-2]) * parts, edges[1] - (edges[1] - edges[0]) * parts])
    places = np.clip(np.searchsorted(finer, marks), 0, len(finer) - 1)
    return np.unique(np.concatenate([edges, finer[places]]))


def cut_tails(edges: NDArray[np.float64], tails: Grid, bins: int) -> NDArray[np.float64]:
    """Return bins whose outermost ones, where they are tails, are cut at edges of `tails` that hold more than noise.

    A tail is an outermost bin wider than TAIL of the one before it. Between two cuts, and outside of the last one, lies
    more than four standard deviations of a count, and more than FAR of an even bin's mass.

    >>> tails = Grid(np.array([0.0, 10, 20, 40, 80]), np.array([90.0, 12, 8, 2]), np.zeros(4))
    >>> cut_tails(np.array([0.0, 5, 10, 80]), tails, bins=4)
    array([ 0.,  5., 10., 20., 80.])
    """
    least = max(FAR * tails.counts.sum() / bins, 4 * float(np.sqrt(tails.variances.mean())))
    widths, found = np.diff(edges), list(edges)
    if len(widths) > 1 and widths[-1] > TAIL * widths[-2]:
        found += [mark for mark in _cuts(tails.counts[::-1], tails.edges[-2::-1], least) if mark > edges[-2]]
    if len(widths) > 1 and widths[0] > TAIL * widths[1]:
        found += [mark for mark in _cuts(tails.counts, tails.edges[1:], least) if mark < edges[1]]
    return np.unique(found)


def _cuts(counts: NDArray[np.float64], marks: NDArray[np.float64], least: float) -> list[float]:
    """Return the marks, the outermost first, behind which more than `least` lies since the one before."""
    found, held = [], 0.0
    for count, mark in zip(counts, marks, strict=True):
        held += count
        if held > least:
            found.append(float(mark))
            held = 0.0
    return found


def rhythm(counts: NDArray[np.float64], scale: float) -> NDArray[np.float64]:
    """Return weights of a cycle's hours or days from their noisy counts, (cells,); all alike where noise drowns them.

    Hours of a week are first told by their day and their hour of the day, whose sums are less noisy than they are.
    Those that stand out from that, by three standard deviations of their own count, are told by it.

    >>> rhythm(np.array([90.0, 110, 5, -4, 100, 60, 80]), 10.0)
    array([ 90., 110.,   0.,   0., 100.,  60.,  80.])
    """
    if len(counts) <= HOURS or scale == 0:
        return _cleared(counts, scale)
    week = counts.reshape(-1, HOURS)
    days = _cleared(week.sum(axis=1), scale * HOURS**0.5)
    hours = _cleared(week.sum(axis=0), scale * len(week) ** 0.5)
    expected = np.outer(days / days.sum(), hours / hours.sum()) * max(float(week.sum()), 0.0)
    found = np.where(np.abs(week - expected) > 3 * scale, np.maximum(week, 0.0), expected).reshape(-1)
    return found if found.any() else np.ones(len(counts))


def _cleared(counts: NDArray[np.float64], scale: float) -> NDArray[np.float64]:
    """Return noisy counts less those that noise alone might be, which share what they hold together, if that is more.

    All are alike where none is more than noise, and where they differ by no more: by less than two standard deviations
    above what chi-squared is on average.
    """
    freedom = len(counts) - 1
    apart = float(((counts - counts.mean()) ** 2).sum())
    told = counts > 2 * scale
    if scale > 0 and (apart < scale**2 * (freedom + 2 * (2 * freedom) ** 0.5) or not told.any()):
        return np.ones(len(counts))
    rest = counts[~told]
    share = float(rest.mean()) if rest.sum() > 2 * scale * len(rest) ** 0.5 else 0.0
    return np.where(told, counts, share) if counts.any() else np.ones(len(counts))


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
