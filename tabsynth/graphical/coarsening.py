"""Coarsening: fewer groups of tokens, chosen from noisy counts, so that combinations stand out of the noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LEAST = 0.25  # of an even group's mass: what a group of neighbouring bins holds at least
CLEAR = 3.0  # standard deviations of the noise above which a category keeps a group of its own


def neighbouring(mass: NDArray[np.float64], most: int) -> NDArray[np.int64]:
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
    quantum = max(rest.sum() / room, LEAST / most)
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


def grouped(counts: NDArray[np.float64], groups: tuple[NDArray[np.int64], ...]) -> NDArray[np.float64]:
    """Return counts summed by group along every axis."""
    for axis, of_axis in enumerate(groups):
        size = int(of_axis.max()) + 1
        if size < counts.shape[axis] or counts.shape[axis] != len(of_axis):
            summing = (np.arange(size)[:, None] == of_axis).astype(np.float64)
            counts = np.moveaxis(np.tensordot(summing, counts, axes=(1, axis)), 0, axis)
    return counts
