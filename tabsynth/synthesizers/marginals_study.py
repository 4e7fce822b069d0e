"""One table under study: measuring marginals of its codes, and choosing which of them to measure.

Whatever reads the private rows stands here, behind a mechanism that was charged first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tabsynth.graphical.coarsening import Codes, grouped
from tabsynth.graphical.descent import Estimate, Measurement, estimate
from tabsynth.graphical.elimination import Clique, Factor, conditionals, order_and_cells
from tabsynth.graphical.sampling import sample
from tabsynth.graphical.zeros import Zeros
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.marginals import Marginal, count_tokens
from tabsynth.privacy.mechanisms import noisy_histogram, noisy_histograms_for_the_rest, select
from tabsynth.privacy.noise import Secret

Floats = NDArray[np.float64]
MEAN_ABSOLUTE = math.sqrt(2 / math.pi)  # of a standard normal
SAMPLED, LEAST_SAMPLED, MOST_SAMPLED = 4, 50_000, 500_000  # rows of the model: times the table's, and bounds


@dataclass(frozen=True, slots=True)
class Query:
    """A marginal to measure: some columns, at a level of coarseness."""

    columns: Clique
    level: int = 0


@dataclass(frozen=True, slots=True)
class Taste:
    """What is worth measuring.

    A query's score is the error that it would repair, in rows, less the error that noise would bring in; what a query
    with the target repairs counts `target_bonus` times. No table of the model may have more than `cells` cells.
    """

    target: int | None
    target_bonus: float
    cells: int


@dataclass(eq=False, slots=True)
class Study:
    """The private codes (n, columns) of about `total` rows, what is known of them, and the measurements taken so far.

    Known are cells that are empty, and `links`, pairs of columns that have to be measured together.
    """

    private: NDArray[np.integer[Any]]
    codes: Codes
    names: Sequence[str]
    total: float
    rows_per_unit: int
    ledger: Ledger
    secret: Secret
    zeros: tuple[Zeros, ...] = ()
    links: tuple[Clique, ...] = ()
    measurements: list[Measurement] = field(default_factory=list)
    taken: list[Query] = field(default_factory=list)
    counted: dict[Clique, Floats] = field(default_factory=dict)

    def add_one_way(self, ones: Sequence[Marginal]) -> None:
        """Take over the noisy counts of every column's tokens, summed by code."""
        for column, (one, group) in enumerate(zip(ones, self.codes.groups, strict=True)):
            tokens = np.bincount(group)
            same = (np.arange(len(tokens)),)
            counts = grouped(one.counts, (group,))
            self.measurements.append(Measurement((column,), same, counts, one.scale * np.sqrt(tokens)))

    def add_beside(self, told: Marginal) -> None:
        """Take over the noisy counts of a column's tokens beside the target's, summed by their codes."""
        groups = [self.codes.groups[column] for column in told.attributes]
        summed = np.sqrt(np.outer(*(np.bincount(group) for group in groups)))
        same = tuple(np.arange(size) for size in summed.shape)
        self.measurements.append(Measurement(told.attributes, same, grouped(told.counts, groups), told.scale * summed))
        self.taken.append(Query(told.attributes))

    def measure(self, queries: Sequence[Query], share: float) -> None:
        """Measure marginals for `share` of the budget together, divided by `weight`."""
        whole = sum(map(self.weight, queries))
        for query in queries:
            sigma = self.ledger.sigma(share * self.weight(query) / whole)
            counts = noisy_histogram(
                partial(self._count, query),
                sigma=sigma,
                sensitivity=self.rows_per_unit,
                ledger=self.ledger,
                secret=self.secret,
                why=f"marginal of {self._named(query.columns)}",
            )
            self._take(query, counts, sigma * self.rows_per_unit)

    def measure_for_the_rest(self, queries: Sequence[Query]) -> None:
        """Measure marginals for all that the ledger has left, divided by `weight`, and close it."""
        answers = noisy_histograms_for_the_rest(
            [partial(self._count, query) for query in queries],
            weights=[self.weight(query) for query in queries],
            sensitivity=self.rows_per_unit,
            ledger=self.ledger,
            secret=self.secret,
            why=f"marginals of {'; '.join(self._named(query.columns) for query in queries)}",
        )
        for query, (counts, scale) in zip(queries, answers, strict=True):
            self._take(query, counts, scale)

    def estimate(self, steps: int, start: Estimate | None) -> Estimate:
        """Return the model of all measurements taken so far."""
        return estimate(self.measurements, self.codes.sizes, self.total, steps, start, zeros=self.zeros)

    @property
    def cliques(self) -> list[Clique]:
        """The columns that the model holds together."""
        return [*(one.columns for one in self.measurements), *(zero.columns for zero in self.zeros)]

    def beside(self, target: int | None) -> list[Query]:
        """List the queries of every column beside the target, and of the links that are not among them."""
        found = [query for query in with_target(len(self.names), target) if query not in self.taken]
        pairs = {frozenset(query.columns) for query in [*found, *self.taken]}
        return found + [Query(link) for link in dict.fromkeys(self.links) if frozenset(link) not in pairs]

    def weight(self, query: Query) -> float:
        """Return what a query weighs in the budget: with cells^(2/3), the absolute error of all cells is least."""
        groups = self.codes.levels[query.level]
        return math.pow(math.prod(int(groups[column].max()) + 1 for column in query.columns), 2 / 3)

    def choose(
        self, model: Sequence[Factor], picks: int, *, epsilon: float, share: float, taste: Taste, forest: bool
    ) -> list[Query]:
        """Choose up to `picks` queries of two columns, each alone or with the target, that the model misses most.

        Each choice is permute-and-flip with `epsilon`, over the queries left and "no further one", whose score is 0.
        `share` of the budget is what all of them will be measured for. With `forest`, no chosen pair closes a circle;
        else no pair is chosen twice.
        """
        sizes = self.codes.sizes
        queries = [
            query for query in _candidates(len(sizes), len(self.codes.levels), taste.target) if query not in self.taken
        ]
        noise = self.ledger.sigma(share / picks) * self.rows_per_unit
        scores = partial(self._scores, queries, self._expected(model, taste), noise, taste)
        fits = _Fits(self.cliques, sizes, taste.cells)
        chosen: list[Query] = []
        known: list[Floats] = []
        for _ in range(picks):
            closed = _closed(chosen, forest)
            free = [place for place, query in enumerate(queries) if not closed(query) and fits.ever(query)]
            if not free:
                break

            def score(free: list[int] = free) -> Floats:
                if not known:
                    known.append(scores())
                return np.append(known[0][free], 0.0)

            best = select(
                score,
                epsilon=epsilon,
                sensitivity=float(self.rows_per_unit),
                ledger=self.ledger,
                secret=self.secret,
                why="which columns to measure together",
            )
            if best == len(free):
                break
            if fits.add(queries[free[best]]):
                chosen.append(queries[free[best]])
        return chosen

    def _expected(self, model: Sequence[Factor], taste: Taste) -> dict[Clique, Floats]:
        """Return about the counts that the model expects, of every pair with the target.

        They are counted in a sample of the model: exact ones of two columns that are far apart in the model may need
        tables beyond any cap. The sample is SAMPLED times the table, within bounds, so its own error is small.
        """
        sizes = self.codes.sizes
        rows = int(np.clip(SAMPLED * self.total, LEAST_SAMPLED, MOST_SAMPLED))
        drawn = sample(conditionals(model, sizes), sizes, rows, np.random.default_rng(0))
        scopes = dict.fromkeys(_scope(query, taste.target) for query in _candidates(len(sizes), 1, taste.target))
        return {scope: self._table(drawn, scope) * (self.total / rows) for scope in scopes}

    def _scores(self, queries: Sequence[Query], expected: dict[Clique, Floats], noise: float, taste: Taste) -> Floats:
        """Return every query's score: private, moved by at most `rows_per_unit` by one unit.

        A unit's row changes one count of each query by one, and a score by at most that times the larger of the bonus
        and 1; this is divided out, so that no score moves by more.
        """
        scores = np.empty(len(queries))
        for place, query in enumerate(queries):
            scope = _scope(query, taste.target)
            if scope not in self.counted:
                self.counted[scope] = self._table(self.private, scope)
            over = tuple(range(len(query.columns), len(scope)))
            groups = [self.codes.levels[query.level][column] for column in query.columns]
            there, model = (grouped(table.sum(axis=over), groups) for table in (self.counted[scope], expected[scope]))
            bonus = taste.target_bonus if taste.target in query.columns else 1.0
            repaired = bonus * np.abs(there - model).sum()
            scores[place] = (repaired - MEAN_ABSOLUTE * np.sqrt(noise**2 + model).sum()) / max(taste.target_bonus, 1.0)
        return scores

    def _count(self, query: Query) -> NDArray[np.int64]:
        """Count a query's groups; private."""
        counts = self._table(self.private, query.columns)
        return np.rint(grouped(counts, [self.codes.levels[query.level][c] for c in query.columns])).astype(np.int64)

    def _table(self, rows: NDArray[np.integer[Any]], columns: Clique) -> Floats:
        """Count the combinations of codes in rows, private ones or drawn from a model."""
        counts = count_tokens(rows, columns, tuple(self.codes.sizes[column] for column in columns))
        return np.asarray(counts, np.float64)

    def _take(self, query: Query, counts: Floats, scale: float) -> None:
        groups = tuple(self.codes.levels[query.level][column] for column in query.columns)
        self.measurements.append(Measurement(query.columns, groups, counts, scale))
        self.taken.append(query)

    def _named(self, columns: Clique) -> str:
        return ", ".join(repr(self.names[column]) for column in columns)


def with_target(columns: int, target: int | None) -> list[Query]:
    """List the queries of every column beside the target."""
    return [] if target is None else [Query((column, target)) for column in range(columns) if column != target]


def _candidates(columns: int, levels: int, target: int | None) -> list[Query]:
    """List the queries of two columns at every level, each also with the target."""
    others = [column for column in range(columns) if column != target]
    pairs = [(a, b) for place, a in enumerate(others) for b in others[place + 1 :]]
    with_it = [] if target is None else [(*pair, target) for pair in pairs]
    return [Query(scope, level) for scope in (*pairs, *with_it) for level in range(levels)]


def _scope(query: Query, target: int | None) -> Clique:
    """Return the query's two columns, and the target where there is one."""
    return query.columns if target is None else (*query.columns[:2], target)


def _closed(chosen: Sequence[Query], forest: bool) -> Callable[[Query], bool]:
    """Return whether a query's pair is chosen already or, in a forest, linked by pairs that are."""
    pairs = [query.columns[:2] for query in chosen]
    if not forest:
        return lambda query: query.columns[:2] in pairs
    tree: dict[int, int] = {}
    for first, second in pairs:
        old, new = tree.setdefault(first, first), tree.setdefault(second, second)
        tree = {column: new if root == old else root for column, root in tree.items()}
    return lambda query: tree.get(query.columns[0], -1) == tree.get(query.columns[1], -2)


class _Fits:
    """Whether the model stays within its cells when a query's columns are joined.

    Every query is looked at once, since that takes a while, and again when it is added: others may have come between.
    """

    def __init__(self, cliques: Sequence[Clique], sizes: Sequence[int], cells: int) -> None:
        self._cliques, self._sizes, self._cells = list(dict.fromkeys(cliques)), sizes, cells
        self._known: dict[Clique, bool] = {}

    def ever(self, query: Query) -> bool:
        """Whether the query fitted when it was last looked at."""
        if query.columns not in self._known:
            self._known[query.columns] = self._fits(query.columns)
        return self._known[query.columns]

    def add(self, query: Query) -> bool:
        """Add the query's columns if they fit."""
        self._known[query.columns] = self._fits(query.columns)
        if self._known[query.columns]:
            self._cliques.append(query.columns)
        return self._known[query.columns]

    def _fits(self, columns: Clique) -> bool:
        if math.prod(self._sizes[column] for column in columns) > self._cells:
            return False
        return order_and_cells([*self._cliques, columns], self._sizes)[1] <= self._cells
