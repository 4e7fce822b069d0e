"""`trees`: every column drawn from a decision tree on the columns before it. Not private in any way.

The recipe of synthpop (Nowok, Raab and Dibben 2016; Reiter 2005): a tree predicts a column, and a new row takes a value
from the leaf that it falls into. Leaves hold few training rows each, so the model holds much of the table; under any
budget it is refused.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from tabsynth import _check
from tabsynth.encoding.encoder import Encoder
from tabsynth.errors import InputError
from tabsynth.privacy.discovery import discover
from tabsynth.privacy.exact import exact
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.privacy.units import bound_contributions
from tabsynth.schema import Column, Schema
from tabsynth.synthesizers.base import Arrays, Progress, Sampler, silent
from tabsynth.table import Table

MOST_CLASSES = 256  # of a predicted column, by which categories of the others are put in order
LEAF = -1  # in the place of a node's input
WHOLE = 0  # the histogram of all rows; those of leaves follow


@dataclass(frozen=True, eq=False, slots=True)
class Tree:
    """One column's tree, as plain arrays.

    `nodes` (nodes, 5): the input that is asked, the largest rank that goes left, the left and the right child, and for
    a leaf (input LEAF) the number of its histogram. `ranks` maps the tokens of all inputs, one after the other, to the
    order in which they are cut. Histogram h holds `tokens[starts[h] : starts[h + 1]]`, with counts added up along it in
    `cumulative`.
    """

    nodes: NDArray[np.int32]
    ranks: NDArray[np.int32]
    starts: NDArray[np.int64]
    tokens: NDArray[np.int32]
    cumulative: NDArray[np.int64]

    def draw(
        self, inputs: NDArray[np.int32], sizes: Sequence[int], smoothing: float, uniforms: NDArray[np.float64]
    ) -> NDArray[np.int32]:
        """Return a token for every row of `inputs` (rows, columns before this one), by one uniform each."""
        ranked = np.empty_like(inputs)
        first = 0
        for place, size in enumerate(sizes):
            ranked[:, place] = self.ranks[first : first + size][inputs[:, place]]
            first += size
        leaves = _leaves(ranked, self.nodes, len(uniforms))
        return np.asarray(self.tokens[_places(leaves, self.starts, self.cumulative, smoothing, uniforms)])

    def check(self, sizes: Sequence[int], size: int) -> None:
        """Raise ValueError unless the arrays are a tree over inputs of these sizes: sampling reads them unguarded."""
        nodes = self.nodes
        own = np.arange(len(nodes))
        inner = nodes[:, 0] != LEAF
        sound = (
            nodes.ndim == 2
            and nodes.shape[1:] == (5,)
            and len(nodes) > 0
            and len(self.ranks) == sum(sizes)
            and len(self.starts) >= 2
            and bool(((nodes[inner, 0] >= 0) & (nodes[inner, 0] < len(sizes))).all())
            and bool((nodes[inner, 2:4] > own[inner, None]).all() and (nodes[inner, 2:4] < len(nodes)).all())
            and bool(((nodes[~inner, 4] >= WHOLE) & (nodes[~inner, 4] < len(self.starts) - 1)).all())
            and bool((np.diff(self.starts) > 0).all() and self.starts[0] == 0)
            and self.starts[-1] == len(self.tokens) == len(self.cumulative)
            and bool(((self.tokens >= 0) & (self.tokens < size)).all())
        )
        if not sound:
            raise ValueError("the arrays of a tree do not fit together")


class TreesSampler(Sampler):
    """Draws column after column, each from the leaf that the columns drawn so far lead to."""

    def __init__(self, schema: Schema, order: Sequence[int], trees: Sequence[Tree], smoothing: float):
        self.schema = schema
        self._encoder = Encoder(schema)
        self._order = tuple(order)
        self._trees = tuple(trees)
        self._smoothing = smoothing

    def draw(self, rows: int, rng: np.random.Generator) -> pd.DataFrame:
        """Return rows of the trees; places within bins are uniform."""
        sizes = [self._encoder.sizes[column] for column in self._order]
        visited = np.empty((rows, len(sizes)), np.int32, order="F")
        for place, tree in enumerate(self._trees):
            visited[:, place] = tree.draw(visited[:, :place], sizes[:place], self._smoothing, rng.random(rows))
        tokens = np.empty_like(visited)
        tokens[:, list(self._order)] = visited
        return self._encoder.decode(tokens, rng)

    def state(self) -> tuple[dict[str, Any], Arrays]:
        """Return the order of columns and the arrays of every tree."""
        arrays: Arrays = {}
        for place, tree in enumerate(self._trees):
            arrays |= {f"{name}.{place}": getattr(tree, name) for name in Tree.__slots__}
        return {"order": list(self._order), "smoothing": self._smoothing}, arrays

    @classmethod
    def from_state(cls, schema: Schema, values: Mapping[str, Any], arrays: Arrays) -> Self:
        """Return the sampler with these trees; raise ValueError when their arrays do not fit together."""
        order = [int(place) for place in values["order"]]
        sizes = Encoder(schema).sizes
        if sorted(order) != list(range(len(sizes))):
            raise ValueError("the order of the columns is not one")
        trees = [Tree(**{name: arrays[f"{name}.{place}"] for name in Tree.__slots__}) for place in range(len(order))]
        for place, tree in enumerate(trees):
            tree.check([sizes[column] for column in order[:place]], sizes[order[place]])
        return cls(schema, order, trees, float(values["smoothing"]))


@njit(cache=True)  # type: ignore[untyped-decorator]
def _leaves(ranked: NDArray[np.int32], nodes: NDArray[np.int32], rows: int) -> NDArray[np.int32]:
    """Return the histogram of the leaf that every row falls into."""
    found = np.empty(rows, np.int32)
    for row in range(rows):
        node = 0
        while nodes[node, 0] >= 0:
            node = nodes[node, 2] if ranked[row, nodes[node, 0]] <= nodes[node, 1] else nodes[node, 3]
        found[row] = nodes[node, 4]
    return found


@njit(cache=True)  # type: ignore[untyped-decorator]
def _places(
    leaves: NDArray[np.int32],
    starts: NDArray[np.int64],
    cumulative: NDArray[np.int64],
    smoothing: float,
    uniforms: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Return, per row, where the drawn token stands: in its leaf's histogram, or the whole column's by smoothing."""
    found = np.empty(len(leaves), np.int64)
    for row in range(len(leaves)):
        leaf, uniform = leaves[row], uniforms[row]
        total = cumulative[starts[leaf + 1] - 1]
        mass = uniform * (total + smoothing) - smoothing
        if mass < 0:
            leaf = 0
            mass = uniform * (total + smoothing) / smoothing * cumulative[starts[1] - 1]
        all_but_last = cumulative[starts[leaf] : starts[leaf + 1] - 1]
        found[row] = starts[leaf] + np.searchsorted(all_but_last, mass, side="right")
    return found


@dataclass(frozen=True, slots=True)
class Trees:
    """Settings of the trees; under any budget the first charge raises BudgetExceeded.

    Columns are drawn in schema order, those named in `order` first and the target last. A leaf holds at least
    `leaf_rows` training rows (5, as in synthpop: a leaf is then a handful of people), and a tree is at most `depth`
    deep. `smoothing` is how many rows of the whole column are mixed into every leaf. Numbers are cut into about `bins`
    bins; where within its bin a value lies is not learned. `seed` decides between splits that are equally good.
    """

    bins: int = 128
    leaf_rows: int = 5
    depth: int = 30
    smoothing: float = 0.0
    order: tuple[str, ...] = ()
    seed: int = 0

    name: ClassVar[str] = "trees"
    sampler: ClassVar[type[Sampler]] = TreesSampler
    never_private: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse settings that cannot be fitted with."""
        object.__setattr__(self, "order", tuple(self.order))
        _check.settings(self, _check.at_least, "bins", "leaf_rows", "depth", low=1)
        _check.at_least("seed", self.seed, 0)
        _check.within("smoothing", self.smoothing, 0.0, 1e9)
        if isinstance(self.order, str) or len(set(self.order)) != len(self.order):
            raise InputError(f"order must name columns, each once; got {self.order!r}.")

    def fit(self, table: Table, ledger: Ledger, secret: Secret, progress: Progress = silent) -> Sampler:
        """Grow a tree for every column; see `Synthesizer.fit`. Raises InputError when `order` names no column."""
        order = self._visited(table.schema)
        kept = exact(lambda: bound_contributions(table, secret), ledger=ledger, why="every training row, into leaves")
        known = discover(kept, ledger, secret, bins=self.bins)
        encoder = Encoder(known.schema)
        visited = encoder.encode(kept.private).tokens[:, order]
        ledger.close()
        columns = [known.schema.modelled[column] for column in order]
        sizes = [encoder.sizes[column] for column in order]
        trees = []
        for place, column in enumerate(columns):
            progress(place, len(columns), {})
            trees.append(self._grow(visited[:, :place], columns[:place], sizes, visited[:, place], column))
        progress(len(columns), len(columns), {})
        return TreesSampler(known.schema, order, trees, self.smoothing)

    def _visited(self, schema: Schema) -> list[int]:
        """Return the columns in the order in which they are drawn."""
        names = [column.name for column in schema.modelled]
        if unknown := sorted(set(self.order) - set(names)):
            raise InputError(f"order names {unknown[0]!r}, which is no modelled column. There are: {', '.join(names)}.")
        rest = [name for name in names if name not in self.order and name != schema.target]
        last = [schema.target] if schema.target is not None and schema.target not in self.order else []
        return [names.index(name) for name in (*self.order, *rest, *last)]

    def _grow(
        self,
        inputs: NDArray[np.int32],
        columns: Sequence[Column],
        sizes: Sequence[int],
        tokens: NDArray[np.int32],
        column: Column,
    ) -> Tree:
        """Return the tree that predicts one column's tokens from those before it."""
        size = sizes[len(columns)]
        response = _response(tokens, size, column)
        ranks = [
            np.arange(sizes[place], dtype=np.int32)
            if each.numeric or each.ordered
            else _ranked(inputs[:, place], sizes[place], response)
            for place, each in enumerate(columns)
        ]
        if not ranks:
            return _with_histograms(np.array([[LEAF, 0, 0, 0, 0]], np.int32), ranks, np.zeros(len(tokens), int), tokens)
        ranked = np.stack([rank[inputs[:, place]] for place, rank in enumerate(ranks)], axis=1).astype(np.float32)
        settings = {"min_samples_leaf": self.leaf_rows, "max_depth": self.depth, "random_state": self.seed}
        grown = DecisionTreeRegressor(**settings) if column.numeric else DecisionTreeClassifier(**settings)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)  # which is as declared
            grown.fit(ranked, response if column.numeric else tokens)
        tree = grown.tree_
        left, right = tree.children_left, tree.children_right
        asked = np.where(left < 0, LEAF, tree.feature)
        nodes = np.stack([asked, np.floor(tree.threshold), left, right, np.zeros_like(left)], axis=1).astype(np.int32)
        return _with_histograms(nodes, ranks, grown.apply(ranked), tokens)


def _response(tokens: NDArray[np.int32], size: int, column: Column) -> NDArray[np.float64]:
    """Return what a column's variance is taken of, (rows, parts): a number's bin and whether it is missing, or classes.

    With an indicator for each class the variance within a node is its Gini impurity.
    """
    if column.numeric:
        missing = (tokens == size - 1) & bool(column.nullable)
        place = tokens - tokens[~missing].mean() if (~missing).any() else tokens - 0.0
        place = np.where(missing, 0.0, place) / max(float(np.where(missing, 0.0, place).std()), 1e-9)
        return np.stack([place, missing.astype(np.float64)], axis=1)
    counts = np.bincount(tokens, minlength=size)
    classes = np.argsort(-counts, kind="stable")[: min(MOST_CLASSES, int((counts > 0).sum()))]
    return np.asarray(tokens[:, None] == classes, np.float64)


def _ranked(tokens: NDArray[np.int32], size: int, response: NDArray[np.float64]) -> NDArray[np.int32]:
    """Return the rank of every category: along the first principal component of its mean responses.

    For one response no split by ranks is worse than any other split (Breiman et al. 1984, section 9.4); for several
    this order is nearly as good (Coppersmith, Hong and Hosking 1999). Categories without a row lie in the middle.
    """
    counts = np.bincount(tokens, minlength=size)
    sums = np.stack([np.bincount(tokens, each, minlength=size) for each in response.T], axis=1)
    means = sums / np.maximum(counts, 1)[:, None] - (counts > 0)[:, None] * response.mean(axis=0)
    _, vectors = np.linalg.eigh((means * counts[:, None]).T @ means)
    return np.argsort(np.argsort(means @ vectors[:, -1], kind="stable"), kind="stable").astype(np.int32)


def _with_histograms(
    nodes: NDArray[np.int32], ranks: Sequence[NDArray[np.int32]], leaves: NDArray[Any], tokens: NDArray[np.int32]
) -> Tree:
    """Return the tree of these nodes, each leaf with the tokens of the rows that fall into it, counted."""
    ends, number = np.unique(leaves, return_inverse=True)
    nodes[ends, 4] = np.arange(1, len(ends) + 1)
    histogram = np.concatenate([np.full(len(tokens), WHOLE), number + 1])
    size = int(tokens.max()) + 1
    cells, counts = np.unique(histogram * size + np.tile(tokens, 2), return_counts=True)
    whose, found = np.divmod(cells, size)
    starts = np.searchsorted(whose, np.arange(len(ends) + 2))
    total = np.cumsum(counts)
    before = np.concatenate([[0], total])[starts[:-1]]
    return Tree(
        nodes,
        np.concatenate([np.empty(0, np.int32), *ranks]).astype(np.int32),
        starts.astype(np.int64),
        found.astype(np.int32),
        (total - before[whose]).astype(np.int64),
    )
