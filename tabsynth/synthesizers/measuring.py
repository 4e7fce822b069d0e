"""Which marginals a generator is told: one-way, with the target, the pairs of a tree chosen in private, and more.

The tree is a spanning tree over the columns whose pairs depend most on one another given the target, chosen edge by
edge (Kruskal) with a private selection, as in MST (McKenna, Miklau and Sheldon 2021) but aware of the target: what is
measured of an edge (a, b) is the triple (a, b, target).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from tabsynth.errors import InputError
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.marginals import Marginal, count_tokens, measure
from tabsynth.privacy.mechanisms import select
from tabsynth.privacy.noise import Secret

MOST_CELLS = 20_000  # of one marginal
MOST_CLASSES = 8  # of a target that triples are measured with
Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Shares:
    """How the budget (mu squared) is split between kinds of marginals; what is left is for training."""

    one_way: float = 0.05
    target_pairs: float = 0.20
    selection: float = 0.05
    triples: float = 0.35
    pairs: float = 0.15

    def __post_init__(self) -> None:
        """Refuse shares that are no split."""
        shares = [getattr(self, field.name) for field in fields(self)]
        if not all(share > 0 for share in shares) or not self.total < 1:
            raise InputError(f"The shares of the marginals must be above 0 and sum to less than 1; got {shares}.")

    @property
    def total(self) -> float:
        """The part of the budget that all marginals take."""
        return math.fsum(getattr(self, field.name) for field in fields(self))


@dataclass(frozen=True, eq=False, slots=True)
class Measuring:
    """One table's tokens and what its measurements are paid with."""

    private: NDArray[np.int32]
    sizes: tuple[int, ...]
    names: tuple[str, ...]
    target: int | None
    rows: float
    rows_per_unit: int
    ledger: Ledger
    secret: Secret

    def all_marginals(self, shares: Shares) -> list[Marginal]:
        """Measure each kind for its share of the budget; without a budget, all pairs and triples exactly."""
        columns = range(len(self.sizes))
        pairs = [pair for pair in combinations(columns, 2) if self._cells(pair) <= MOST_CELLS]
        measured = self.measure([(column,) for column in columns], shares.one_way)
        with_target = [pair for pair in pairs if self.target in pair]
        others = [pair for pair in pairs if self.target not in pair]
        measured += self.measure(with_target, shares.target_pairs)
        if not self.ledger.bounded:
            return measured + self.measure([*others, *filter(_is_triple, map(self._given_target, others))], 1.0)
        tree = self.spanning_tree(others, measured, shares.selection)
        measured += self.measure([self._given_target(pair) for pair in tree], shares.triples)
        return measured + self.measure(self._worthwhile(set(others) - set(tree), shares.pairs), shares.pairs)

    def measure(self, queries: Sequence[tuple[int, ...]], share: float) -> list[Marginal]:
        """Measure marginals, each for an equal part of `share`."""
        if not queries:
            return []
        sigma = self.ledger.sigma(share / len(queries))
        return [
            measure(
                self.private,
                self.sizes,
                query,
                sigma=sigma,
                rows_per_unit=self.rows_per_unit,
                names=[self.names[column] for column in query],
                ledger=self.ledger,
                secret=self.secret,
            )
            for query in queries
        ]

    def spanning_tree(self, pairs: Sequence[Pair], measured: Sequence[Marginal], share: float) -> list[Pair]:
        """Choose the edges of a spanning forest over `pairs`, the most dependent first.

        An edge's score is the L1 distance between its counts and what independence given the target implies from
        `measured`; one row moves every score by at most 1. A selection at epsilon costs as much as a Gaussian
        measurement of mu = epsilon, which is how `share` is turned into the epsilon of each choice.
        """
        known = {marginal.attributes: marginal for marginal in measured}
        scores: dict[Pair, float] = {}

        def score(candidates: Sequence[Pair]) -> NDArray[np.float64]:
            for pair in candidates:
                if pair not in scores:
                    counts = count_tokens(self.private, pair, (self.sizes[pair[0]], self.sizes[pair[1]]))
                    scores[pair] = float(np.abs(counts - self._expected(pair, known)).sum())
            return np.array([scores[pair] for pair in candidates])

        group = list(range(len(self.sizes)))
        tree: list[Pair] = []
        edges = len({column for pair in pairs for column in pair}) - 1
        while candidates := [pair for pair in sorted(pairs) if group[pair[0]] != group[pair[1]]]:
            chosen = select(
                lambda candidates=candidates: score(candidates),  # type: ignore[misc]
                epsilon=1 / self.ledger.sigma(share / max(edges, 1)),
                sensitivity=self.rows_per_unit,
                ledger=self.ledger,
                secret=self.secret,
                why=f"edge {len(tree) + 1} of the tree",
            )
            a, b = candidates[chosen]
            tree.append((a, b))
            group = [group[a] if label == group[b] else label for label in group]
        return tree

    def _expected(self, pair: Pair, known: dict[tuple[int, ...], Marginal]) -> NDArray[np.float64]:
        """Return a pair's counts if its columns were independent given the target, from measured marginals."""
        a, b = (self._by_class(column, known) for column in pair)
        if a.shape[1] != b.shape[1]:  # one of the two was too large to be measured with the target
            a, b = a.sum(1, keepdims=True), b.sum(1, keepdims=True)
        classes = np.maximum((a.sum(0) + b.sum(0)) / 2, 1e-9)
        table = (a / classes) @ b.T
        return np.asarray(table * self.rows / max(table.sum(), 1e-9))

    def _by_class(self, column: int, known: dict[tuple[int, ...], Marginal]) -> NDArray[np.float64]:
        """Return a column's measured counts by class of the target, shape (tokens, classes or 1)."""
        if self.target is not None:
            low, high = sorted((column, self.target))
            if (low, high) in known:
                counts = np.maximum(known[low, high].counts, 0.0)
                return counts if low == column else counts.T
        return np.maximum(known[(column,)].counts, 0.0)[:, None]

    def _given_target(self, pair: Pair) -> tuple[int, ...]:
        """Return (a, b, target) where that table is small enough, else the pair."""
        if self.target is None or self.sizes[self.target] > MOST_CLASSES:
            return pair
        triple = (*pair, self.target)
        return triple if self._cells(triple) <= MOST_CELLS else pair

    def _worthwhile(self, pairs: Iterable[Pair], share: float) -> list[Pair]:
        """Keep the smallest tables, as many as stay above their noise: a public rule on sizes alone."""
        ranked = sorted(pairs, key=lambda pair: (self._cells(pair), pair))
        for count in range(len(ranked), 0, -1):
            scale = self.ledger.sigma(share / count) * self.rows_per_unit
            if scale * self._cells(ranked[count - 1]) < self.rows:
                return ranked[:count]
        return []

    def _cells(self, query: Sequence[int]) -> int:
        return math.prod(self.sizes[column] for column in query)


def _is_triple(query: tuple[int, ...]) -> bool:
    return len(query) == 3
