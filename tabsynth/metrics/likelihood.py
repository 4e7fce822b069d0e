"""A generative model of rows, for likelihood ratios: a tree of pairs of columns (Chow and Liu 1968).

Every column is cut into cells; each depends on at most one other, along the tree of largest mutual information. The
log-likelihood of a row under the tree fitted to one table, less that under the same tree fitted to another, is what an
attacker learns who models both (the DOMIAS family, 2302.12580), with no distance between rows.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree

from tabsynth.metrics.coding import Codes, Floats, binned
from tabsynth.metrics.sides import Sides

FIRST_ROWS = 20_000  # that the tree is chosen on
PRIOR = 0.5  # of a row, added to every cell in use

Columns = list[Codes]


def log_ratio(sides: Sides) -> Floats:
    """Return for every attacked row how much likelier it is among the synthetic rows than among the known ones.

    The tree is that of the known rows, so that it says nothing of what was trained on.
    """
    frames = sides.attacked, sides.rows, sides.known
    cells = [binned(c, sides.known[c.name], *(frame[c.name] for frame in frames)) for c in sides.columns]
    asked, rows, known = ([each[i] for each in cells] for i in range(3))
    parents = tree([column[:FIRST_ROWS] for column in known])
    return log_likelihood(asked, rows, parents) - log_likelihood(asked, known, parents)


def tree(columns: Columns) -> list[int]:
    """Return each column's parent, -1 for the root: the spanning tree of largest mutual information.

    >>> a = np.array([0, 0, 1, 1] * 25); b = np.array([0, 1] * 50)
    >>> tree([a, b, a])
    [-1, 0, 0]
    """
    width = len(columns)
    pairs = list(combinations(range(width), 2))
    # weights fall with the information and stay above zero, which would be no edge
    weights = [1.0 / (1e-9 + mutual_information(columns[a], columns[b])) for a, b in pairs]
    if not pairs:
        return [-1]
    at = np.array(pairs).T
    spanning = minimum_spanning_tree(coo_array((weights, (at[0], at[1])), shape=(width, width)).tocsr())
    _, parents = breadth_first_order(spanning, 0, directed=False)
    return [int(parent) if parent >= 0 else -1 for parent in parents]


def mutual_information(a: Codes, b: Codes) -> float:
    """Return the mutual information of two columns of cells, in nats.

    >>> round(mutual_information(np.array([0, 1]), np.array([0, 1])), 4)
    0.6931
    """
    counts = [np.unique(each, return_counts=True)[1] / len(a) for each in (a, b, a * (int(b.max()) + 1) + b)]
    entropies = [float(-(share * np.log(share)).sum()) for share in counts]
    return max(0.0, entropies[0] + entropies[1] - entropies[2])


def log_likelihood(asked: Columns, fitted: Columns, parents: list[int]) -> Floats:
    """Return the log-likelihood of rows under the tree fitted to others, unseen cells having PRIOR rows."""
    total = np.zeros(len(asked[0]))
    size = len(fitted[0])
    for column, parent in enumerate(parents):
        width = 1 + max(int(asked[column].max()), int(fitted[column].max()))
        if parent < 0:
            counts = np.bincount(fitted[column], minlength=width)
            total += np.log((counts[asked[column]] + PRIOR) / (size + PRIOR * width))
            continue
        together = [cells[parent] * width + cells[column] for cells in (asked, fitted)]
        above = np.bincount(fitted[parent], minlength=int(asked[parent].max()) + 1)
        total += np.log((_counted(together[0], together[1]) + PRIOR) / (above[asked[parent]] + PRIOR * width))
    return total


def _counted(asked: Codes, among: Codes) -> Floats:
    """Return how often each value occurs among others."""
    ordered = np.sort(among)
    return (np.searchsorted(ordered, asked, "right") - np.searchsorted(ordered, asked, "left")).astype(np.float64)
