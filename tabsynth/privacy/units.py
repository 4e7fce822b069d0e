"""The privacy unit: how many rows each may contribute, enforced before any mechanism counts on it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tabsynth.errors import ConformanceError
from tabsynth.privacy.noise import Secret
from tabsynth.table import Table


def bound_contributions(table: Table, secret: Secret) -> Table:
    """Return the table with at most `rows_per_unit` rows of each unit, chosen at random.

    The choice for one unit does not depend on any other unit, so adding or removing a unit adds or removes its own kept
    rows and nothing else. A table whose unit is the row comes back as it is.
    """
    units = table.units()
    if units is None:
        return table
    order = np.lexsort((secret.uniform(len(units)), units))
    rank = np.empty(len(units), np.int64)
    rank[order] = _rank_within(units[order])
    return table.take(np.flatnonzero(rank < table.schema.unit.rows))


def assert_bounded(table: Table) -> None:
    """Raise ConformanceError when a unit holds more rows than its bound: the noise would be too small."""
    units = table.units()
    if units is not None and np.bincount(units).max(initial=0) > table.schema.unit.rows:
        raise ConformanceError(
            "A privacy unit holds more rows than rows_per_unit; bound contributions before measuring."
        )


def count_units(table: Table) -> int:
    """Return the true number of privacy units; private until measured."""
    units = table.units()
    return len(table.private) if units is None else int(units.max(initial=-1)) + 1


def _rank_within(units: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number the rows of each run of equal, sorted `units` from 0."""
    starts = np.flatnonzero(np.r_[True, units[1:] != units[:-1]])
    lengths = np.diff(np.r_[starts, len(units)])
    return np.arange(len(units)) - np.repeat(starts, lengths)
