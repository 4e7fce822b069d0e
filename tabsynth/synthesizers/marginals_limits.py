"""What `marginals` can hold: said before anything is charged, from public facts only."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tabsynth.errors import ModelError
from tabsynth.schema import Column

MOST_BYTES = 4 * 2**30  # of the counts of all pairs, the table's and the model's
PER_CELL = 16  # two float64


def refuse_oversized(columns: Sequence[Column], target: str | None, most: int, cells: int) -> None:
    """Raise ModelError when a column beside the target passes `cells`, or all pairs together the memory for them.

    Columns have about `most` codes at most, and no more than they have declared values.
    """
    sizes = {column.name: _size(column, most) for column in columns}
    beside = sizes.pop(target) if target is not None else 1
    largest = max(sizes, key=lambda name: sizes[name], default=None)
    if largest is not None and sizes[largest] * beside > cells:
        what = f"column {largest!r}" if target is None else f"column {largest!r} beside the target {target!r}"
        raise ModelError(
            f"A table of the model may have {cells:,} cells, and {what} needs {sizes[largest] * beside:,}. Raise cells,"
            f" or take fewer codes than {most}. Nothing was charged."
        )
    if _bytes(list(sizes.values()), beside) <= MOST_BYTES:
        return
    ordered = sorted(sizes.values())
    fitting = max(count for count in range(len(ordered)) if _bytes(ordered[:count], beside) <= MOST_BYTES)
    raise ModelError(
        f"{len(columns)} columns are more than marginals can hold: the counts of all pairs would take "
        f"{_bytes(ordered, beside) / 2**30:,.0f} GiB, and {MOST_BYTES / 2**30:g} are allowed. What would fit: "
        f"{fitting + (target is not None)} columns, or codes below {most}. Nothing was charged."
    )


def _size(column: Column, most: int) -> int:
    """Return how many codes a column has at most, about."""
    levels = column.levels
    values = most if levels is None else min(most, len(levels))
    return values + len(column.codes or ()) + bool(column.nullable)


def _bytes(sizes: Sequence[int], beside: int) -> int:
    """Return the memory for the counts of every pair with the target."""
    pairs = (sum(sizes) ** 2 - sum(size**2 for size in sizes)) // 2
    return math.ceil(pairs * beside * PER_CELL)
