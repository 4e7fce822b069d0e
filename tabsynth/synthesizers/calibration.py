"""Calibration: what a simulator is to be near to, how near it is, and which of its parameters are near enough."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from tabsynth.conversion import to_axis
from tabsynth.encoding.encoder import Encoded, Encoder
from tabsynth.errors import InputError
from tabsynth.graphical.coarsening import neighbouring
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.marginals import Marginal, count_tokens, measure_for_the_rest, one_way
from tabsynth.privacy.noise import Secret
from tabsynth.schema import Schema
from tabsynth.synthesizers.base import Progress

SHARE_OF = "share of "
KEPT = 0.25  # of a round's particles: those that the next ones are drawn around
WIDEN = 2.0  # times the variance of those that were kept (Beaumont et al. 2009)

Vector = NDArray[np.float64]


class Goal(Protocol):
    """What simulated rows are held against: public by now."""

    @property
    def slack(self) -> float:
        """By how much distances of equally good parameters differ."""
        ...

    def distance(self, rows: Encoded, simulated: int) -> float:
        """Return how far simulated rows are off, about 1 for each figure of a perfect simulator."""
        ...


@dataclass(frozen=True, eq=False, slots=True)
class Noisy:
    """What measuring takes: the (noisy) number of rows, how many of them a unit has, and who is charged."""

    rows: float
    unit: int
    ledger: Ledger
    secret: Secret


@dataclass(frozen=True, eq=False, slots=True)
class Table:
    """One noisy marginal over columns' codes: frequencies, and the standard deviation of their noise."""

    columns: tuple[int, ...]
    codes: tuple[NDArray[np.int64], ...]
    frequencies: Vector
    noise: float

    @classmethod
    def of(cls, marginal: Marginal, codes: Sequence[NDArray[np.int64]], rows: float) -> Self:
        """Return a marginal of about `rows` rows, over these codes, as frequencies."""
        return cls(marginal.attributes, tuple(codes), marginal.counts / rows, marginal.scale / rows)

    def distance(self, tokens: NDArray[np.int32]) -> float:
        """Return the squared distance of frequencies, over what a perfect simulator is expected to have."""
        cells = np.stack([code[tokens[:, c]] for c, code in zip(self.columns, self.codes, strict=True)], axis=1)
        shape = self.frequencies.shape
        found = count_tokens(cells.astype(np.int32), range(len(shape)), shape) / len(tokens)
        likely = np.clip(self.frequencies, 0.0, 1.0)
        expected = self.frequencies.size * self.noise**2 + float((likely * (1 - likely)).sum()) / len(tokens)
        return float(((found - self.frequencies) ** 2).sum()) / max(expected, 1e-12)


@dataclass(frozen=True, eq=False, slots=True)
class Marginals:
    """A goal of noisy marginals."""

    tables: tuple[Table, ...]

    @property
    def slack(self) -> float:
        """Two standard deviations of a sum of squares: cells of one marginal are taken for one figure."""
        return 2 * math.sqrt(2 * len(self.tables))

    def distance(self, rows: Encoded, simulated: int) -> float:
        """Return the sum over marginals."""
        return math.fsum(table.distance(rows.tokens) for table in self.tables)


def measured(private: NDArray[np.int32], encoder: Encoder, share: float, codes: int, paid: Noisy) -> Marginals:
    """Measure all one-way marginals for `share` of the budget, all pairs for the rest, and close the ledger."""
    ones = one_way(
        private,
        encoder.sizes,
        encoder.names,
        share=share,
        rows_per_unit=paid.unit,
        ledger=paid.ledger,
        secret=paid.secret,
    )
    groups = [neighbouring(one.probabilities(), codes) for one in ones]
    coarse = np.stack([group[private[:, place]] for place, group in enumerate(groups)], axis=1).astype(np.int32)
    pairs = measure_for_the_rest(
        coarse,
        [int(group.max()) + 1 for group in groups],
        list(combinations(range(len(ones)), 2)),
        rows_per_unit=paid.unit,
        ledger=paid.ledger,
        secret=paid.secret,
        why="marginals of all pairs of codes",
    )
    tables = [Table.of(one, [np.arange(one.counts.size)], paid.rows) for one in ones]
    tables += [Table.of(pair, [groups[place] for place in pair.attributes], paid.rows) for pair in pairs]
    return Marginals(tuple(tables))


@dataclass(frozen=True, eq=False, slots=True)
class Figures:
    """Declared statistics, as (statistic, column, value)."""

    known: tuple[tuple[str, str, float], ...]

    @classmethod
    def of(cls, statistics: Sequence[tuple[str, str, float]], schema: Schema) -> Self:
        """Check statistics against a schema; raise InputError naming the one that is none."""
        for statistic, name, value in statistics:
            column = schema[name]
            level = statistic.removeprefix(SHARE_OF)
            of_level = statistic.startswith(SHARE_OF) and not column.numeric
            of_level = of_level and (column.levels is None or level in column.levels)
            of_number = statistic in ("mean", "deviation") and column.numeric
            if not column.modelled or not (of_level or of_number or statistic == "missing"):
                raise InputError(
                    f"{statistic!r} is no statistic of column {name!r}. There are mean and deviation of numbers, "
                    f"missing, and '{SHARE_OF}LEVEL' for a level that is declared."
                )
            if not math.isfinite(value) or (not of_number and not 0 <= value <= 1):
                raise InputError(f"The {statistic} of column {name!r} cannot be {value!r}.")
        return cls(tuple(statistics))

    def on(self, encoder: Encoder) -> Goal:
        """Return the goal of meeting these figures."""
        return _Declared(self.known, encoder)


@dataclass(frozen=True, eq=False, slots=True)
class _Declared:
    """A goal of declared figures, in standard errors of the simulated rows."""

    known: tuple[tuple[str, str, float], ...]
    encoder: Encoder

    @property
    def slack(self) -> float:
        """Two standard deviations of a sum of squares."""
        return 2 * math.sqrt(2 * len(self.known))

    def distance(self, rows: Encoded, simulated: int) -> float:
        """Return the sum of squared errors."""
        return math.fsum(self._error(rows, *figure) ** 2 for figure in self.known)

    def _error(self, rows: Encoded, statistic: str, name: str, value: float) -> float:
        """Return how many standard errors the simulated figure is off."""
        place = self.encoder.names.index(name)
        codec = self.encoder.codecs[place]
        tokens = rows.tokens[:, place]
        if statistic == "missing" or statistic.startswith(SHARE_OF):
            level = (
                codec.values
                if statistic == "missing"
                else (codec.column.levels or ()).index(statistic[len(SHARE_OF) :])
            )
            share = float(np.mean(tokens == level))
            spread = max(value * (1 - value), share * (1 - share), 1 / len(tokens))
            return (share - value) * math.sqrt(len(tokens) / spread)
        axis = to_axis(codec.decode(tokens, rows.offsets[:, place]), codec.column)
        axis = axis[~np.isnan(axis)]
        low, high = codec.column.bounds or (0.0, 1.0)
        if len(axis) < 2:
            return math.sqrt(len(tokens)) * (high - low or 1.0)
        deviation = max(float(axis.std()), 1e-6 * (high - low or 1.0))
        if statistic == "mean":
            return (float(axis.mean()) - value) / deviation * math.sqrt(len(axis))
        return (float(axis.std()) - value) / deviation * math.sqrt(2 * len(axis))


@dataclass(frozen=True, slots=True)
class Search:
    """How long to look: particles in a round, rounds, how many sets to return, and by how much equals may differ."""

    particles: int
    rounds: int
    sets: int
    slack: float


def calibrate(
    distance: Callable[[Vector, np.random.Generator], float],
    ranges: Vector,
    search: Search,
    rng: np.random.Generator,
    progress: Progress,
) -> Vector:
    """Return parameter sets, at least one, whose distance is within the slack of the least that was found.

    `ranges` has shape (parameters, 2). A population is drawn over them, and in every further round around those
    within the slack so far, and a quarter of a round at least, with twice their variance: population Monte Carlo
    without the weights, for a set of parameters that fit and not a posterior. What is returned lies evenly along them.
    """
    particles = search.particles
    low, high = ranges[:, 0], ranges[:, 1]
    if not (high > low).any():
        return low[None, :].copy()
    tried, found = np.empty((0, len(low))), np.empty(0)
    for step in range(search.rounds):
        drawn = low + rng.random((particles, len(low))) * (high - low)
        if step:
            best = tried[_nearest(found, search.slack, least=max(2, round(KEPT * particles)))]
            steps = rng.standard_normal(drawn.shape) * np.sqrt(WIDEN * best.var(axis=0))
            drawn = _reflected(best[rng.integers(len(best), size=particles)] + steps, low, high)
        distances = [distance(values, child) for values, child in zip(drawn, rng.spawn(particles), strict=True)]
        tried, found = np.concatenate([tried, drawn]), np.concatenate([found, distances])
        progress(step + 1, search.rounds, {"distance": float(found.min())})
    near = _nearest(found, search.slack)
    return np.asarray(tried[near[np.linspace(0, len(near) - 1, min(search.sets, len(near))).round().astype(int)]])


def _nearest(found: Vector, slack: float, least: int = 1) -> NDArray[np.int64]:
    """Return the places of the distances within `slack` of the least, nearest first, and of `least` at any rate."""
    order = np.argsort(found, kind="stable")
    return order[: max(least, int((found <= found.min() + slack).sum()))]


def _reflected(values: Vector, low: Vector, high: Vector) -> Vector:
    """Fold values that leave their range back into it."""
    width = np.where(high > low, high - low, 1.0)
    place = np.abs((values - low) % (2 * width))
    return np.asarray(np.where(high > low, low + np.where(place > width, 2 * width - place, place), low))
