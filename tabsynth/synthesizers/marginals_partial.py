"""Rows of which some cells are known, under a graphical model: the rest of each, and what its target is likely to be.

Both are exact. Rows with the same known columns go through one elimination together, in which the row's number is one
more column; rows that are alike in their codes are one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tabsynth.encoding.encoder import Encoder
from tabsynth.encoding.partial import Partial
from tabsynth.errors import InputError
from tabsynth.graphical.elimination import Conditional, given_rows, log_probability, order_and_cells, restricted
from tabsynth.graphical.sampling import sample

CELLS = 2**21  # of the largest table of an elimination, over all its rows
Tables = Sequence[NDArray[np.float64]]


def completed_tokens(
    chain: Sequence[Conditional], within: Tables, encoder: Encoder, partial: Partial, rng: np.random.Generator
) -> NDArray[np.int32]:
    """Return rows of tokens (rows, columns) whose free cells follow the model given the known ones.

    Raises InputError where known cells have probability 0.
    """
    tokens, fresh = partial.tokens.copy(), partial.fresh
    codes, possible = _codes(within, partial.tokens)
    if not partial.filled and not (possible | ~partial.known).all():
        column = int(np.argmax((~possible & partial.known).any(axis=0)))
        raise InputError(f"A value given in column {encoder.names[column]!r} has probability 0 under the model.")
    for pattern, rows in replace(partial, known=partial.known & possible).patterns():
        own = [_of_values(table, codec.values) if fresh[rows[0], column] else table
               for column, (table, codec) in enumerate(zip(within, encoder.codecs, strict=True))]  # fmt: skip
        known = {int(column): codes[rows, column] for column in np.flatnonzero(pattern)}
        drawn = _drawn(chain, own, known, len(rows), rng)
        tokens[rows] = np.where(partial.known[rows], tokens[rows], drawn)
    return tokens


def target_probabilities(
    chain: Sequence[Conditional], within: Tables, encoder: Encoder, partial: Partial, target: int
) -> NDArray[np.float64]:
    """Return the probability of each value of the target given all other cells, shape (rows, values).

    A value that the model gives no probability says nothing. Raises InputError where the cells together have none.
    """
    codes, possible = _codes(within, partial.tokens)
    sizes = [len(table) for table in within]
    values = encoder.codecs[target].values
    possible[:, target] = False
    found = np.zeros((len(partial), sizes[target]))
    for pattern, rows in replace(partial, known=possible).patterns():
        for part in np.array_split(rows, max(1, len(rows) // _together(chain, pattern, sizes))):
            logs = np.zeros((len(part), sizes[target]))
            for code in range(sizes[target]):
                known = {int(c): codes[part, c] for c in np.flatnonzero(pattern)}
                known[target] = np.full(len(part), code, np.int32)
                logs[:, code] = _log_known(chain, known, sizes)
            found[part] = logs
    mass = np.exp(found - np.maximum(found.max(axis=1, keepdims=True), np.finfo(float).min))
    shares = mass @ np.asarray(within[target])[:, :values]
    total = shares.sum(axis=1, keepdims=True)
    if not (total > 0).all():
        raise InputError("A row has cells that together have probability 0 under the model, whatever its target is.")
    return np.asarray(shares / total)


def _log_known(
    chain: Sequence[Conditional], known: Mapping[int, NDArray[np.int32]], sizes: Sequence[int]
) -> NDArray[np.float64]:
    """Return the log probability of the known codes of each row, shape (rows,)."""
    if len(known) == len(sizes):
        return log_probability(chain, np.stack([known[column] for column in range(len(sizes))], axis=1))
    return given_rows(chain, known, {}, sizes)[1]


def _codes(within: Tables, tokens: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Return the code of every token and whether it has any probability, both (rows, columns)."""
    codes, possible = np.empty_like(tokens), np.empty(tokens.shape, bool)
    for column, table in enumerate(within):
        codes[:, column] = np.argmax(table > 0, axis=0)[tokens[:, column]]
        possible[:, column] = np.asarray((table > 0).any(axis=0))[tokens[:, column]]
    return codes, possible


def _of_values(table: NDArray[np.float64], values: int) -> NDArray[np.float64]:
    """Return the part of a code's tokens (codes, tokens) that are values, not missing."""
    return np.where(np.arange(table.shape[1]) < values, table, 0.0)


def _drawn(
    chain: Sequence[Conditional],
    within: Tables,
    known: Mapping[int, NDArray[np.int32]],
    rows: int,
    rng: np.random.Generator,
) -> NDArray[np.int32]:
    """Return rows of tokens given codes; `within` need not sum to 1: what it lacks is what may not be drawn."""
    columns, sizes = len(within), [len(table) for table in within]
    weights = {column: table.sum(axis=1) for column, table in enumerate(within) if (table.sum(axis=1) < 1 - 1e-9).any()}
    tables = [_normal(table) for table in within]
    tokens_of = [
        Conditional(columns + 1 + column, (column,), table)
        for column, table in enumerate(tables)
        if column not in known
    ]
    shape = [*sizes, rows, *(table.shape[1] for table in tables)]
    if not known:
        chain = restricted(chain, weights, sizes)[0] if weights else chain
        return sample([*chain, *tokens_of], shape, rows, rng)[:, columns + 1 :]
    if len(known) == columns:
        return np.zeros((rows, columns), np.int32)
    pattern = np.isin(np.arange(columns), list(known))
    distinct, which = np.unique(np.stack(list(known.values()), axis=1), axis=0, return_inverse=True)
    which, found = which.reshape(-1), np.zeros((rows, columns), np.int32)
    for part in np.array_split(np.arange(len(distinct)), -(-len(distinct) // _together(chain, pattern, sizes))):
        cells = {column: distinct[part, place] for place, column in enumerate(known)}
        links, logs = given_rows(chain, cells, weights, sizes)
        if np.isneginf(logs).any():
            raise InputError("A row is given cells that together have probability 0 under the model.")
        own = np.flatnonzero((which >= part[0]) & (which <= part[-1]))
        number = (which[own] - part[0]).astype(np.int32)
        found[own] = sample([*links, *tokens_of], shape, len(own), rng, {columns: number})[:, columns + 1 :]
    return found


def _normal(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the distribution over tokens within each code; any will do for a code that is never drawn."""
    total = table.sum(axis=1, keepdims=True)
    return np.where(total > 0, table / np.where(total > 0, total, 1.0), 1 / table.shape[1])


def _together(chain: Sequence[Conditional], pattern: NDArray[np.bool_], sizes: Sequence[int]) -> int:
    """Return how many rows with these known columns may go through one elimination."""
    cliques = [[c for c in (*link.parents, link.column) if not pattern[c]] for link in chain]
    return max(1, CELLS // order_and_cells(cliques, [1 if pattern[c] else size for c, size in enumerate(sizes)])[1])
