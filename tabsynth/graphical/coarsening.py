"""Coarsening: fewer groups of tokens, chosen from noisy counts, so that combinations stand out of the noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tabsynth.files import CHUNK
from tabsynth.mapped import room
from tabsynth.privacy.marginals import Marginal
from tabsynth.schema import Column

LEAST = 0.25  # of an even group's mass: what a group of neighbouring bins holds at least
EXACT_LEAST = 0.05  # the same where counts have no noise that a thin group could be lost in
CLEAR = 3.0  # standard deviations of the noise above which a category keeps a group of its own


def neighbouring(mass: NDArray[np.float64], most: int, *, least: float = LEAST) -> NDArray[np.int64]:
    """Return the group of every bin: about `most` runs of neighbours of equal mass, a heavy bin by itself.

    >>> neighbouring(np.array([1.0, 1.0, 8.0, 1.0, 1.0]), 3)
    array([0, 0, 1, 2, 2])
    """
    total = float(mass.sum())
    if len(mass) <= most or total <= 0:
        return np.arange(len(mass)) if len(mass) <= most else np.arange(len(mass)) * most // len(mass)
    share = mass / total
    own = share >= 1.0 / most
    rest = np.where(own, 0.0, share)
    room = max(most - int(own.sum()), 1)
    quantum = max(rest.sum() / room, least / most)
    starts = np.zeros(len(mass), bool)
    held = 0.0
    for place in range(1, len(mass)):
        held += rest[place - 1]
        if own[place] or own[place - 1] or held + rest[place] / 2 >= quantum:
            starts[place], held = True, 0.0
    return np.cumsum(starts)


def heaviest(counts: NDArray[np.float64], most: int, scale: float) -> NDArray[np.int64]:
    """Return the group of every category: the clear and heavy ones by themselves, all others together.

    >>> heaviest(np.array([90.0, 2.0, 50.0, 1.0]), 3, 1.0)
    array([0, 2, 1, 2])
    """
    order = np.argsort(-counts, kind="stable")
    clear = order[counts[order] > CLEAR * scale]
    kept = np.sort(clear[: most if len(counts) <= most else most - 1])
    if len(kept) >= len(counts) - 1:
        return np.arange(len(counts))
    groups = np.full(len(counts), len(kept))
    groups[kept] = np.arange(len(kept))
    return groups


def grouped(counts: NDArray[np.float64], groups: Sequence[NDArray[np.int64]]) -> NDArray[np.float64]:
    """Return counts summed by group along every axis.

    >>> grouped(np.array([[1.0, 2.0, 3.0]]), [np.array([0]), np.array([0, 1, 0])])
    array([[4., 2.]])
    >>> grouped(np.array([1.0, 2.0, 3.0]), [np.array([2, 0, 1])])
    array([2., 3., 1.])
    """
    for axis, of_axis in enumerate(groups):
        size = int(of_axis.max()) + 1
        if size < len(of_axis) or (np.diff(of_axis) < 0).any():  # else each is its own group
            summing = (np.arange(size)[:, None] == of_axis).astype(np.float64)
            counts = np.moveaxis(np.tensordot(summing, counts, axes=(1, axis)), 0, axis)
    return counts


@dataclass(frozen=True, eq=False, slots=True)
class Codes:
    """Every column's tokens merged into codes, and codes into groups, level by level, the finest first.

    `groups[column]` is the code of each token; `levels[level][column]` the group of each code.
    """

    groups: tuple[NDArray[np.int64], ...]
    levels: tuple[tuple[NDArray[np.int64], ...], ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """The number of codes of every column."""
        return tuple(int(group.max()) + 1 for group in self.groups)

    def apply(self, tokens: NDArray[np.integer[Any]]) -> NDArray[np.integer[Any]]:
        """Return rows of tokens as rows of codes, in the smallest type, column after column in memory."""
        smallest = np.min_scalar_type(max(self.sizes) - 1)
        codes = room(tokens.shape, smallest, "F")
        for column, group in enumerate(self.groups):
            for start in range(0, len(tokens), CHUNK):
                rows = slice(start, start + CHUNK)
                codes[rows, column] = group[tokens[rows, column]]
        return codes

    def cut(self, column: int, classes: NDArray[np.int64]) -> Codes:
        """Return the codes with a column's cut so that none holds tokens of two classes; levels stay as coarse."""
        old = self.groups[column]
        pairs, new = np.unique(np.stack([old, classes], axis=1), axis=0, return_inverse=True)
        groups = list(self.groups)
        groups[column] = new.reshape(-1)
        levels = [[*level] for level in self.levels]
        for level in levels:
            level[column] = level[column][pairs[:, 0]]
        return Codes(tuple(groups), tuple(map(tuple, levels)))

    def within(self, column: int, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the distribution of a column's tokens within each of its codes, shape (codes, tokens).

        Where the tokens' probabilities say nothing about a code, its tokens are alike.
        """
        held = np.arange(self.sizes[column])[:, None] == self.groups[column]
        mass = np.where(held, probabilities, 0.0)
        mass = np.where(mass.sum(axis=1, keepdims=True) > 0, mass, held)
        return np.asarray(mass / mass.sum(axis=1, keepdims=True))


def codes_of(
    columns: Sequence[Column],
    ones: Sequence[Marginal],
    most: Sequence[int],
    settled: Mapping[int, NDArray[np.int64]] | None = None,
) -> Codes:
    """Return at most about `most[0]` codes a column and `most[1]`, ... groups of them, from noisy one-way counts.

    Numbers are merged with their neighbours; categories that are rare, or lost in the noise, with one another. A token
    for missing values stays by itself. `settled` holds the codes of columns that were merged another way.
    """
    groups, levels = [], []
    least = LEAST if any(one.scale for one in ones) else EXACT_LEAST
    for place, (column, one) in enumerate(zip(columns, ones, strict=True)):
        counts, own = one.counts, (settled or {}).get(place)
        groups.append(
            _merged(column, one.probabilities(), counts, most[0], one.scale, least=least) if own is None else own
        )
        shares, summed = (grouped(values, (groups[-1],)) for values in (one.probabilities(), counts))
        levels.append([_merged(column, shares, summed, size, 0.0, least=least) for size in most])
    return Codes(tuple(groups), tuple(zip(*levels, strict=True)))


def _merged(
    column: Column,
    shares: NDArray[np.float64],
    counts: NDArray[np.float64],
    most: int,
    scale: float,
    *,
    least: float,
) -> NDArray[np.int64]:
    """Return one column's groups."""
    if not column.numeric and not (column.ordered and (scale or len(counts) > most)):
        return heaviest(counts, most, scale) if scale or len(counts) > most else np.arange(len(counts))
    alone = len(column.codes or ()) + bool(column.nullable)  # codes and missing have no neighbours
    values = neighbouring(shares[: len(shares) - alone], most, least=least)
    return np.append(values, values.max() + 1 + np.arange(alone))
