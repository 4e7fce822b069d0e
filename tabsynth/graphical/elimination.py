"""Variable elimination in log space: from log potentials to a chain of conditional tables.

Eliminating a column multiplies the factors that hold it, divides their product by its sum over that column, which is
the column's distribution given its neighbours, and hands the sum on. Read backwards, the tables draw a row column by
column, exactly (Koller and Friedman 2009, chapter 9).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Clique = tuple[int, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Factor:
    """A log potential over `columns`, one axis each; -inf where nothing can be."""

    columns: Clique
    log: NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class Conditional:
    """The distribution of `column` given `parents`, shape (sizes of the parents..., size of the column)."""

    column: int
    parents: Clique
    table: NDArray[np.float64]


def order_and_cells(cliques: Iterable[Sequence[int]], sizes: Sequence[int]) -> tuple[list[int], int]:
    """Return an elimination order, the cheapest column first, and the cells of the largest table it meets.

    >>> order_and_cells([(0, 1), (1, 2)], (2, 3, 4))
    ([0, 1, 2], 12)
    """
    neighbours: dict[int, set[int]] = {column: set() for column in range(len(sizes))}
    for clique in cliques:
        for column in clique:
            neighbours[column] |= set(clique) - {column}

    def cells_of(column: int) -> int:
        return sizes[column] * math.prod(sizes[other] for other in neighbours[column])

    cells = {column: cells_of(column) for column in neighbours}
    order: list[int] = []
    largest = 1
    while cells:
        cheapest = min(cells, key=lambda column: (cells[column], column))
        largest = max(largest, cells.pop(cheapest))
        near = neighbours.pop(cheapest)
        for column in near:
            neighbours[column] |= near
            neighbours[column] -= {column, cheapest}
        cells |= {column: cells_of(column) for column in near}
        order.append(cheapest)
    return order, largest


def conditionals(factors: Sequence[Factor], sizes: Sequence[int]) -> tuple[Conditional, ...]:
    """Return one conditional per column, in the order to draw them: parents come before their children."""
    return _eliminated(factors, sizes)[0]


def restricted(
    chain: Sequence[Conditional], weights: Mapping[int, NDArray[np.float64]], sizes: Sequence[int]
) -> tuple[tuple[Conditional, ...], float]:
    """Return a chain given evidence, exactly, and the evidence's log probability.

    `weights[column]` (tokens,) are the probabilities of the evidence given each of the column's tokens.
    """
    with np.errstate(divide="ignore"):
        factors = [Factor((*link.parents, link.column), np.log(link.table)) for link in chain]
        factors += [Factor((column,), np.log(weight)) for column, weight in weights.items()]
    found, log = _eliminated(factors, sizes)
    return found, float(log)


def given_rows(
    chain: Sequence[Conditional],
    known: Mapping[int, NDArray[np.int32]],
    weights: Mapping[int, NDArray[np.float64]],
    sizes: Sequence[int],
) -> tuple[tuple[Conditional, ...], NDArray[np.float64]]:
    """Return a chain over the other columns given cells of many rows, exactly, and each row's log probability (rows,).

    `known[column]` (rows,) are the tokens of the same columns in every row, `weights` as in `restricted`. In the
    tables a row's number is a parent, numbered as one more column after all others.
    """
    rows = len(next(iter(known.values())))
    number = len(sizes)
    factors = [Factor((number,), np.zeros(rows))]
    with np.errstate(divide="ignore"):
        for link in chain:
            columns = (*link.parents, link.column)
            held = [place for place, column in enumerate(columns) if column in known]
            free = [place for place, column in enumerate(columns) if column not in known]
            if not held:
                factors.append(Factor(columns, np.log(link.table)))
                continue
            chosen = link.table.transpose(*held, *free)[tuple(known[columns[place]] for place in held)]
            left = tuple(columns[place] for place in free)
            factors.append(Factor((*left, number), np.log(np.moveaxis(chosen, 0, -1))))
        factors += [Factor((column,), np.log(weight)) for column, weight in weights.items() if column not in known]
    return _eliminated(factors, [*sizes, rows], kept={number, *known})


def _eliminated(
    factors: Sequence[Factor], sizes: Sequence[int], kept: Collection[int] = ()
) -> tuple[tuple[Conditional, ...], Any]:
    """Return one conditional per column that is not kept, and the log of the factors' sum over their cells.

    It has an axis for the kept columns that some factor holds.
    """
    order, _ = order_and_cells([[c for c in factor.columns if c not in kept] for factor in factors], sizes)
    order = [column for column in order if column not in kept]
    left = list(factors)
    found: list[Conditional] = []
    for column in order:
        joined = [factor for factor in left if column in factor.columns]
        left = [factor for factor in left if column not in factor.columns]
        parents = tuple(sorted({other for factor in joined for other in factor.columns} - {column}))
        product = _product(joined, (*parents, column), sizes)
        total = _log_sum(product)[..., None]
        impossible = np.isneginf(total)  # such parents never occur; any distribution does
        table = np.exp(np.where(impossible, -math.log(sizes[column]), product - np.where(impossible, 0.0, total)))
        found.append(Conditional(column, parents, table / table.sum(axis=-1, keepdims=True)))
        left.append(Factor(parents, total[..., 0]))
    return tuple(reversed(found)), sum(factor.log for factor in left)


def log_probability(chain: Iterable[Conditional], tokens: NDArray[np.int32]) -> NDArray[np.float64]:
    """Return the log probability of rows of tokens (rows, columns) under a chain, shape (rows,); -inf for none."""
    logs = np.zeros(len(tokens))
    with np.errstate(divide="ignore"):
        for link in chain:
            logs += np.log(link.table[tuple(tokens[:, column] for column in (*link.parents, link.column))])
    return logs


def _product(factors: Sequence[Factor], columns: Clique, sizes: Sequence[int]) -> NDArray[np.float64]:
    """Return the sum of log factors over the sorted axes `columns`."""
    product = np.zeros([sizes[column] for column in columns])
    for factor in factors:
        axes = np.argsort([columns.index(column) for column in factor.columns])
        shape = [sizes[column] if column in factor.columns else 1 for column in columns]
        product = product + factor.log.transpose(axes).reshape(shape)
    return product


def _log_sum(log: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the log of the sum over the last axis of what `log` is the log of; -inf where nothing can be."""
    peak = np.maximum(log.max(axis=-1, keepdims=True), np.finfo(np.float64).min)
    with np.errstate(divide="ignore"):
        return np.asarray((peak + np.log(np.exp(log - peak).sum(axis=-1, keepdims=True)))[..., 0])
