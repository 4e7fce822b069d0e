"""What attacks and models take, in seconds, for a budget of time: none takes as long as rows are many.

Nearest neighbours take a time in proportion to the pairs of rows, models one that stops growing where rows are drawn,
so that few rows say little of many. The constants are those of one core of an ordinary server, found by timing; a
short measurement corrects them for the machine, and for what else runs on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from time import perf_counter

import numpy as np

from tabsynth.metrics.evidence import Evidence
from tabsynth.metrics.neighbours import Points, nearest

PAIR = 1.2e-10  # a column of a pair of rows in `nearest`
BALL = 1.7e-9  # the same where rows in balls are counted
TREE = 0.17  # a hundred trees, and what each row and each value of it adds
ROW, VALUE = 5e-6, 5e-7
GUESS = 4e-6  # a row, by a hundred trees
FOREST, LINEAR = 1.2e-5, 4e-6  # a value of a row
MOST_CLASSES = 11  # ten that are told apart, and the others
CALIBRATED = (1000, 4000, 15)  # queries, points, columns


def neighbours(queries: int, points: int, width: int) -> float:
    """Return the seconds that the nearest of `points` to each of `queries` take."""
    return PAIR * queries * points * width * slowness()


def balls(rows: int, real: int, width: int) -> float:
    """Return the seconds that counting the rows in each real row's ball takes, the radii included."""
    return (BALL * rows + PAIR * real) * real * width * slowness()


def boosting(rows: int, width: int, outputs: int = 1, guessed: int = 0) -> float:
    """Return the seconds of gradient boosting on `rows`, guesses at `guessed` others, a set of trees an output.

    >>> bool(boosting(20_000, 14) < boosting(20_000, 14, outputs=5) < 2 * boosting(40_000, 14, outputs=5))
    True
    """
    return outputs * (TREE + rows * (ROW + VALUE * width) + GUESS * guessed) * slowness()


def training(evidence: Evidence, rows: Sequence[int], learner: str = "boosting", tested: int = 0) -> float:
    """Return the seconds of models of the target on these numbers of rows, each tested on `tested` others."""
    name = evidence.schema.target
    if name is None:
        return 0.0
    column, width = evidence.schema[name], len(evidence.columns)
    classes = 1 if not evidence.in_classes(column) else min(evidence.train[name].nunique(), MOST_CLASSES)
    outputs = 1 if classes <= 2 else classes
    if learner == "boosting":
        return sum(boosting(size, width, outputs, tested) for size in rows)
    return {"forest": FOREST, "linear": LINEAR * outputs}[learner] * sum(rows) * width * slowness()


def passes(rows: int, width: float, count: float = 1.0) -> float:
    """Return the seconds of reading `width` columns of `rows` `count` times, as in sorting them."""
    return 2e-7 * rows * width * count * slowness()


@cache
def slowness() -> float:
    """Return how many times longer this machine takes than the one the constants are of; measured once."""
    queries, points, width = CALIBRATED
    rng = np.random.default_rng(0)
    tables: tuple[Points, Points] = (
        rng.random((queries, width), dtype=np.float32),
        rng.random((points, width), dtype=np.float32),
    )
    nearest(tables[0][:1], tables[1], 1)  # compiled, or read from its cache
    start = perf_counter()
    for _ in range(5):
        nearest(*tables, 1)
    return (perf_counter() - start) / (5 * PAIR * queries * points * width)
