"""Moments that follow one another in every row: told from the data, to be proposed and not taken."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import numpy as np

from tabsynth.constraints import Inequality
from tabsynth.conversion import convert, to_axis
from tabsynth.files import RawSource, chunks
from tabsynth.schema import MISSING_TEXTS, Column

FEWEST = 20  # rows in which both are there; a few keep an order by chance


def orders_of(source: RawSource, columns: Sequence[Column], chunk: int) -> tuple[Inequality, ...]:
    """Return the orders that moments of a table keep in every row, those that follow from others left out.

    The table is read once more, about `chunk` rows at a time, where it has two columns of moments.
    """
    times = [column for column in columns if column.kind == "datetime" and column.modelled]
    pairs = list(permutations(range(len(times)), 2))
    together, before, after = (dict.fromkeys(pairs, 0) for _ in range(3))
    for raw in chunks(source, chunk) if pairs else ():
        axes = [to_axis(convert(raw, column, MISSING_TEXTS, check_domain=False), column) for column in times]
        for low, high in pairs:
            far = axes[high] - axes[low]
            together[low, high] += int((~np.isnan(far)).sum())
            before[low, high] += int((far > 0).sum())
            after[low, high] += int((far < 0).sum())
    kept = [pair for pair in pairs if together[pair] >= FEWEST and before[pair] and not after[pair]]
    direct = [(a, c) for a, c in kept if not any((a, b) in kept and (b, c) in kept for b in range(len(times)))]
    return tuple(Inequality(times[low].name, times[high].name) for low, high in direct)
