"""Exact sampling from conditional tables, with the least noise that sampling can have.

Within every group of rows that agree on a column's parents, the group's values are drawn together by systematic
sampling (Madow 1949): each row by itself follows the conditional, and each value comes up its expected number of times,
rounded down or up. Rows within a group are put in random order, so columns drawn apart stay independent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tabsynth.graphical.elimination import Conditional


def sample(
    tables: Sequence[Conditional],
    sizes: Sequence[int],
    rows: int,
    rng: np.random.Generator,
    known: Mapping[int, NDArray[np.int32]] | None = None,
) -> NDArray[np.int32]:
    """Return tokens (rows, columns), every column drawn after its parents; `known` ones (rows,) are there already."""
    tokens = np.zeros((rows, len(sizes)), np.int32, order="F")
    for column, own in (known or {}).items():
        tokens[:, column] = own
    for conditional in tables:
        shape = conditional.table.shape[:-1]
        group = np.zeros(rows, np.int64)
        for parent, size in zip(conditional.parents, shape, strict=True):
            group = group * size + tokens[:, parent]
        cumulative = np.cumsum(conditional.table.reshape(-1, conditional.table.shape[-1]), axis=1)
        starts = rng.random(len(cumulative))
        _draw(cumulative, group, starts, rng.permutation(rows), tokens[:, conditional.column])
    return tokens


def sample_tokens(
    chain: Sequence[Conditional], within: Sequence[NDArray[np.float64]], rows: int, rng: np.random.Generator
) -> NDArray[np.int32]:
    """Return tokens (rows, columns): codes drawn by the chain, then each code's token by `within` (codes, tokens)."""
    columns = len(within)
    tokens_of = [Conditional(columns + column, (column,), table) for column, table in enumerate(within)]
    sizes = [table.shape[axis] for axis in (0, 1) for table in within]
    return sample([*chain, *tokens_of], sizes, rows, rng)[:, columns:]


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _draw(
    cumulative: NDArray[np.float64],
    group: NDArray[np.int64],
    starts: NDArray[np.float64],
    order: NDArray[np.int64],
    drawn: NDArray[np.int32],
) -> None:
    """Write a token for every row: the i-th row of a group, in random order, takes the quantile (i + start) / rows."""
    groups, size = cumulative.shape
    rows = np.zeros(groups, np.int64)
    for row in range(len(group)):
        rows[group[row]] += 1
    taken = np.zeros(groups, np.int64)
    for place in range(len(order)):
        row = order[place]
        own = group[row]
        quantile = (taken[own] + starts[own]) / rows[own] * cumulative[own, size - 1]
        taken[own] += 1
        drawn[row] = np.searchsorted(cumulative[own, : size - 1], quantile, side="right")
