"""Noisy marginals of encoded rows: counts of value combinations over a few columns.

A marginal is measured over tokens, whose domain is public or paid for. Each row falls in one cell, so a unit of k rows
moves it by at most k.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tabsynth.errors import InputError
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.mechanisms import noisy_histogram, noisy_histograms_for_the_rest
from tabsynth.privacy.noise import Secret

MOST_CELLS = 10_000_000
BLOCK = 2**17  # rows that are counted at once: their cells stay in the processor's cache


@dataclass(frozen=True, eq=False, slots=True)
class Marginal:
    """Noisy counts over the columns `attributes`, one axis each, with noise of standard deviation `scale` rows."""

    attributes: tuple[int, ...]
    counts: NDArray[np.float64]
    scale: float

    def probabilities(self) -> NDArray[np.float64]:
        """Return the counts as a distribution: those that noise may explain are shrunk away, the rest sum to 1.

        >>> Marginal((0,), np.array([30.0, 10.0, -2.0]), 0.0).probabilities()
        array([0.75, 0.25, 0.  ])
        """
        kept = np.maximum(self.counts, 0.0) if self.scale == 0 else project(self.counts)
        total = kept.sum()
        return kept / total if total > 0 else np.full(kept.shape, 1.0 / kept.size)


def measure(
    private: NDArray[np.integer[Any]],
    sizes: Sequence[int],
    attributes: Sequence[int],
    *,
    sigma: float,
    rows_per_unit: int,
    names: Sequence[str],
    ledger: Ledger,
    secret: Secret,
) -> Marginal:
    """Measure one marginal of private tokens (n, columns) with noise multiplier `sigma`, charged first.

    Formal guarantee: that of `mechanisms.noisy_histogram`, with sensitivity `rows_per_unit`.

    Raises InputError, before any charge, when the marginal has more than MOST_CELLS cells.
    """
    shape = tuple(sizes[place] for place in attributes)
    if math.prod(shape) > MOST_CELLS:
        raise InputError(f"The marginal of {', '.join(names)} has more than {MOST_CELLS:,} cells.")
    counts = noisy_histogram(
        lambda: count_tokens(private, attributes, shape),
        sigma=sigma,
        sensitivity=rows_per_unit,
        ledger=ledger,
        secret=secret,
        why=f"marginal of {', '.join(map(repr, names))}",
    )
    return Marginal(tuple(attributes), counts, sigma * rows_per_unit)


def one_way(
    private: NDArray[np.integer[Any]],
    sizes: Sequence[int],
    names: Sequence[str],
    *,
    share: float,
    rows_per_unit: int,
    ledger: Ledger,
    secret: Secret,
) -> list[Marginal]:
    """Measure the marginal of every column, each for an equal part of `share` of the ledger's budget."""
    sigma = ledger.sigma(share / len(sizes))

    def measured(place: int) -> Marginal:
        name = (names[place],)
        unit = rows_per_unit
        return measure(
            private, sizes, (place,), sigma=sigma, rows_per_unit=unit, names=name, ledger=ledger, secret=secret
        )

    return [measured(place) for place in range(len(sizes))]


def measure_for_the_rest(
    private: NDArray[np.integer[Any]],
    sizes: Sequence[int],
    queries: Sequence[tuple[int, ...]],
    *,
    rows_per_unit: int,
    ledger: Ledger,
    secret: Secret,
    why: str,
) -> list[Marginal]:
    """Measure marginals of private tokens (n, columns) for all that the ledger has left, in equal parts, and close it.

    Formal guarantee: that of `mechanisms.noisy_histograms_for_the_rest`, with sensitivity `rows_per_unit`. Without a
    query nothing is measured or charged.
    """
    if not queries:
        ledger.close()
        return []
    shapes = [tuple(sizes[place] for place in query) for query in queries]
    answers = noisy_histograms_for_the_rest(
        [partial(count_tokens, private, query, shape) for query, shape in zip(queries, shapes, strict=True)],
        weights=[1.0] * len(queries),
        sensitivity=rows_per_unit,
        ledger=ledger,
        secret=secret,
        why=why,
    )
    return [Marginal(query, counts, scale) for query, (counts, scale) in zip(queries, answers, strict=True)]


def count_tokens(
    tokens: NDArray[np.integer[Any]], attributes: Sequence[int], shape: tuple[int, ...]
) -> NDArray[np.int64]:
    """Count the combinations of some columns' tokens, shape `shape`, in one pass over those columns."""
    cells = math.prod(shape)
    counts = np.zeros(cells, np.int64)
    block = max(BLOCK, cells)  # adding up the blocks' counts takes no longer than counting
    for start in range(0, len(tokens), block):
        flat = np.zeros(min(block, len(tokens) - start), np.intp)
        for place, size in zip(attributes, shape, strict=True):
            flat *= size
            flat += tokens[start : start + block, place]
        counts += np.bincount(flat, minlength=cells)
    return counts.reshape(shape)


def project(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the nearest nonnegative counts with the same total, in least squares (Duchi et al. 2008).

    Clipping at zero alone would turn the noise of empty cells into mass.

    >>> project(np.array([5.0, 1.0, -2.0]))
    array([4., 0., 0.])
    """
    flat = np.sort(counts, axis=None)[::-1]
    total = max(float(flat.sum()), 0.0)
    excess = (np.cumsum(flat) - total) / np.arange(1, flat.size + 1)
    level = excess[np.flatnonzero(flat > excess)[-1]] if total > 0 else flat[0]
    return np.asarray(np.maximum(counts - level, 0.0))
