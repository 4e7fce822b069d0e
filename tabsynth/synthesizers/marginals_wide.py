"""Wide columns: categories merged by what they say of the target, where by frequency most of it would be lost.

A column of thousands of categories is modelled in a few codes. Where many rows hold a category that noisy counts could
tell something about, and that would share a code with thousands of others, it shares one with those that are alike
beside the target instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from tabsynth.graphical.coarsening import CLEAR, heaviest
from tabsynth.privacy.marginals import Marginal
from tabsynth.schema import Column, Schema

LOST = 0.25  # of the rows: what merging by frequency may hide of categories that stand out of the noise
PART = 0.5  # of what pays for counts beside the target: for the wide columns' tokens, where there are any
MOST_CELLS = 2**20  # of a wide column's counts beside the target


def wide_columns(
    schema: Schema, ones: Sequence[Marginal], target: int | None, most: int, scale: Callable[[int], float]
) -> tuple[int, ...]:
    """Return the columns whose categories are worth telling apart by the target, from noisy one-way counts alone.

    `scale(count)` is the noise, in rows, of the counts of so many columns' tokens beside the target. Columns that take
    part in a constraint are left as they are: their codes are cut by it.
    """
    if target is None:
        return ()
    bound = {name for rule in schema.constraints for name in rule.over}
    columns = schema.modelled
    found = [
        place
        for place, (column, one) in enumerate(zip(columns, ones, strict=True))
        if place != target and column.name not in bound and _merges(column, most)
        if len(one.counts) * len(ones[target].counts) <= MOST_CELLS
    ]
    while found:
        noise = scale(len(found))  # the fewer columns, the less of it
        wide = [place for place in found if _hidden(ones[place], most, noise) > LOST]
        if wide == found:
            break
        found = wide
    return tuple(found)


def alike(one: Marginal, beside: Marginal, most: int) -> NDArray[np.int64]:
    """Return the group of each category, at most `most`: the heavy ones by themselves, others by what goes with them.

    `beside` holds noisy counts (categories, tokens of the target). Shares of the target's tokens are drawn towards
    those of all rows by as much as noise may explain, and grouped by k-means.

    >>> one = Marginal((0,), np.array([30.0, 30, 30, 30, 900]), 0.0)
    >>> beside = Marginal((0, 1), np.array([[30.0, 0], [0, 30], [29, 1], [1, 29], [450, 450]]), 1.0)
    >>> alike(one, beside, 3).tolist()
    [1, 2, 1, 2, 0]
    """
    from sklearn.cluster import KMeans

    mass = one.probabilities()
    heavy = np.flatnonzero(mass >= 1 / most)[: most - 1]
    others = np.setdiff1d(np.arange(len(mass)), heavy)
    counts = np.maximum(beside.counts[others], 0)
    drawn = beside.scale * counts.shape[1] + 1e-9
    everywhere = np.maximum(beside.counts.sum(axis=0), 0) + 1e-9
    shares = (counts + drawn * everywhere / everywhere.sum()) / (counts.sum(axis=1, keepdims=True) + drawn)
    shares = shares.round(6)  # equal ones are one point, whatever their last digits
    groups = min(most - len(heavy), len(np.unique(shares, axis=0)))
    means = KMeans(groups, n_init=3, random_state=0)
    found = np.empty(len(mass), np.int64)
    found[heavy] = np.arange(len(heavy))
    found[others] = len(heavy) + _in_order(means.fit_predict(shares, sample_weight=mass[others] + 1e-12))
    return found


def _in_order(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number groups by their first member, without gaps."""
    _, first, which = np.unique(labels, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[which], np.int64)


def _merges(column: Column, most: int) -> bool:
    """Whether categories of a column are merged by how frequent they are."""
    return not column.numeric and not column.ordered and len(column.levels or ()) > most


def _hidden(one: Marginal, most: int, scale: float) -> float:
    """Return the share of rows whose category would be merged though it stands out of this noise."""
    groups = heaviest(one.counts, most, one.scale)
    merged = np.bincount(groups)[groups] > 1
    return float(one.probabilities()[merged & (one.counts > CLEAR * scale)].sum())
