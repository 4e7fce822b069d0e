"""`copula`: noisy one-way marginals, held together by a Gaussian copula (Nelsen 2006; Li, Xiong and Jiang 2014).

Behind every column stands a standard normal: a token is the stretch of it between two quantiles. The correlations of
these normals are all that a pair of columns has. They are estimated from noisy counts of pairs of coarse codes, as a
polychoric correlation is: the second moment of the codes' normal scores is a known, increasing function of the
correlation, so that coarseness costs precision and brings no bias.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray
from scipy.special import ndtri

from tabsynth import _check
from tabsynth.encoding.encoder import Encoder
from tabsynth.errors import InputError
from tabsynth.graphical.coarsening import neighbouring
from tabsynth.privacy.discovery import Discovery, discover
from tabsynth.privacy.feasibility import refuse_hopeless
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.marginals import measure, measure_for_the_rest, one_way
from tabsynth.privacy.noise import Secret
from tabsynth.privacy.units import bound_contributions
from tabsynth.schema import Schema
from tabsynth.synthesizers.base import Arrays, Progress, Sampler, silent
from tabsynth.table import Table

CLEAR = 20.0  # rows of an even cell of a pair, in standard deviations of its noise
LEAST_CODES = 2
ANGLES = np.linspace(-math.pi / 2, math.pi / 2, 257)[1:-1]  # arcsines of the correlations that moments are known at
LARGEST = 0.999  # correlation in absolute value
LEAST_EIGENVALUE = 1e-6  # of the correlation matrix, so that it has a Cholesky factor
PROJECTIONS = 200  # at most, on the way to the nearest correlation matrix
BLOCK = 1 << 16  # rows drawn at once

Vector = NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class Axis:
    """One column's tokens in the order in which they lie on its normal, and their probabilities in that order."""

    order: NDArray[np.int32]
    probabilities: Vector

    def thresholds(self) -> Vector:
        """Return the upper end of every token's stretch of the normal, shape (tokens,), infinite at the last."""
        upper = np.cumsum(self.probabilities)
        upper[np.flatnonzero(self.probabilities)[-1] :] = 1.0
        return np.asarray(ndtri(np.minimum(upper, 1.0)))

    def coarse(self, most: int) -> tuple[NDArray[np.int64], Vector]:
        """Return the code of every token, about `most` runs of neighbours, and the codes' probabilities."""
        groups = neighbouring(self.probabilities, most)
        code = np.empty_like(groups)
        code[self.order] = groups
        return code, np.bincount(groups, self.probabilities).astype(np.float64)


class CopulaSampler(Sampler):
    """Draws correlated normals and looks up the tokens that they fall in."""

    def __init__(self, schema: Schema, axes: Sequence[Axis], factor: Vector):
        self.schema = schema
        self._encoder = Encoder(schema)
        self._axes = tuple(axes)
        self._factor = factor  # lower triangle, whose product with its transpose is the correlation matrix

    def draw(self, rows: int, rng: np.random.Generator) -> pd.DataFrame:
        """Return rows of the copula; places within bins are uniform."""
        starts = np.cumsum([0, *(len(axis.order) for axis in self._axes)])
        thresholds = np.concatenate([axis.thresholds() for axis in self._axes])
        tokens = np.empty((rows, len(self._axes)), np.int32, order="F")
        for start in range(0, rows, BLOCK):
            part = tokens[start : start + BLOCK]
            _look_up(self._factor, thresholds, starts, rng.standard_normal(part.shape), part)
        for place, axis in enumerate(self._axes):
            tokens[:, place] = axis.order[tokens[:, place]]
        return self._encoder.decode(tokens, rng)

    def state(self) -> tuple[dict[str, Any], Arrays]:
        """Return the factor, and every column's order and probabilities."""
        arrays: Arrays = {"factor": self._factor}
        for place, axis in enumerate(self._axes):
            arrays |= {f"order.{place}": axis.order, f"probabilities.{place}": axis.probabilities}
        return {}, arrays

    @classmethod
    def from_state(cls, schema: Schema, values: Mapping[str, Any], arrays: Arrays) -> Self:
        """Return the sampler with this factor and these columns; raise ValueError when they do not fit the schema."""
        sizes, factor = Encoder(schema).sizes, arrays["factor"]
        axes = [Axis(arrays[f"order.{place}"], arrays[f"probabilities.{place}"]) for place in range(len(sizes))]
        orders = all(
            np.array_equal(np.sort(axis.order), np.arange(size)) for axis, size in zip(axes, sizes, strict=True)
        )
        if (
            not orders
            or factor.shape != (len(sizes),) * 2
            or any(axis.order.shape != axis.probabilities.shape for axis in axes)
        ):
            raise ValueError("the arrays of a copula do not fit together")
        return cls(schema, axes, factor)


@njit(cache=True)  # type: ignore[untyped-decorator]
def _look_up(
    factor: Vector,
    thresholds: Vector,
    starts: NDArray[np.int64],
    normals: Vector,
    places: NDArray[np.int32],
) -> None:
    """Write the place of every row's token on each axis; summed in a fixed order: one seed, the same rows."""
    for row in range(len(normals)):
        for column in range(len(starts) - 1):
            value = 0.0
            for cause in range(column + 1):
                value += factor[column, cause] * normals[row, cause]
            all_but_last = thresholds[starts[column] : starts[column + 1] - 1]
            places[row, column] = np.searchsorted(all_but_last, value, side="right")


@dataclass(frozen=True, slots=True)
class Copula:
    """Settings of the Gaussian copula.

    Numbers are cut into about `bins` bins. The budget goes to `discovery`, to `one_way` counts, to the `order` of
    categories, and the rest to the counts of all pairs of columns, each cut into at most `codes` codes, fewer where the
    noise of a pair is large for the number of rows.

    Numbers lie on their normal as they are, missing values beyond the largest. Categories have no order of their own:
    beside a declared target they are ordered by its mean score in each, measured for the share `order`; without a
    target they keep the order in which they are declared, and what does not rise or fall along it is lost.
    """

    bins: int = 64
    codes: int = 12
    discovery: float = 0.15
    one_way: float = 0.25
    order: float = 0.1

    name: ClassVar[str] = "copula"
    sampler: ClassVar[type[Sampler]] = CopulaSampler

    def __post_init__(self) -> None:
        """Refuse settings that cannot be fitted with."""
        _check.at_least("bins", self.bins, 1)
        _check.at_least("codes", self.codes, LEAST_CODES)
        _check.settings(self, _check.positive, "discovery", "one_way", "order")
        if self.discovery + self.one_way + self.order >= 1:
            raise InputError("discovery, one_way and order must leave a share of the budget for pairs.")

    def fit(self, table: Table, ledger: Ledger, secret: Secret, progress: Progress = silent) -> Sampler:
        """Measure marginals, orders and pairs; see `Synthesizer.fit`.

        Raises ModelError, before anything is charged, when noise would drown the declared number of rows.
        """
        refuse_hopeless(table.schema, ledger, self.one_way, self.discovery)
        table = bound_contributions(table, secret)
        known = discover(table, ledger, secret, share=self.discovery, bins=self.bins)
        study = _Study(known, Encoder(known.schema), table.schema.unit.rows, ledger, secret)
        tokens = study.encoder.encode(table.private).tokens
        axes = study.axes(tokens, self.one_way, self.order)
        progress(1, 2, {"epsilon": ledger.spent.epsilon})
        correlations = study.correlations(tokens, axes, self.codes)
        progress(2, 2, {})
        factor = np.asarray(np.linalg.cholesky(nearest_correlation(correlations)), np.float64)
        return CopulaSampler(known.schema, axes, factor)


@dataclass(frozen=True, eq=False, slots=True)
class _Study:
    """What is measured of one table's tokens, and what is made of it."""

    known: Discovery
    encoder: Encoder
    unit: int
    ledger: Ledger
    secret: Secret

    def axes(self, private: NDArray[np.int32], share: float, order: float) -> list[Axis]:
        """Measure every column's marginal, and how to order categories."""
        sizes, names = self.encoder.sizes, self.encoder.names
        ones = one_way(
            private, sizes, names, share=share, rows_per_unit=self.unit, ledger=self.ledger, secret=self.secret
        )
        axes = [
            Axis(np.arange(size, dtype=np.int32), one.probabilities()) for size, one in zip(sizes, ones, strict=True)
        ]
        schema, target = self.known.schema, self.encoder.target
        if target is None:
            return axes
        unordered = [
            place
            for place, column in enumerate(schema.modelled)
            if column.kind == "categorical" and not column.ordered and sizes[place] > 2 and place != target
        ]
        return [
            self._ordered(private, place, target, axes, order / len(unordered)) if place in unordered else axis
            for place, axis in enumerate(axes)
        ]

    def _ordered(self, private: NDArray[np.int32], place: int, target: int, axes: Sequence[Axis], share: float) -> Axis:
        """Return a column's axis with its tokens in the order of the target's mean score in each, measured."""
        codes, masses = axes[target].coarse(LEAST_CODES)
        pair = np.stack([private[:, place], codes[private[:, target]]], axis=1).astype(np.int32)
        beside = measure(
            pair,
            (self.encoder.sizes[place], len(masses)),
            (0, 1),
            sigma=self.ledger.sigma(share),
            rows_per_unit=self.unit,
            names=(self.encoder.names[place], self.encoder.names[target]),
            ledger=self.ledger,
            secret=self.secret,
        )
        counts = np.maximum(beside.counts, 0.0)
        doubt = beside.scale**2 + 1.0  # rows: scores that noise may explain are drawn to the middle
        order = np.argsort(counts @ scores(masses) / (counts.sum(axis=1) + math.sqrt(doubt)), kind="stable")
        return Axis(order.astype(np.int32), axes[place].probabilities[order])

    def correlations(self, private: NDArray[np.int32], axes: Sequence[Axis], most: int) -> Vector:
        """Measure all pairs of columns, close the ledger and return the correlations of their normals."""
        pairs = list(combinations(range(len(axes)), 2))
        coarse = [axis.coarse(self._codes(len(pairs), most)) for axis in axes]
        codes = np.stack([code[private[:, place]] for place, (code, _) in enumerate(coarse)], axis=1).astype(np.int32)
        measured = measure_for_the_rest(
            codes,
            [len(masses) for _, masses in coarse],
            pairs,
            rows_per_unit=self.unit,
            ledger=self.ledger,
            secret=self.secret,
            why="marginals of all pairs of codes",
        )
        found = np.eye(len(axes))
        for (a, b), pair in zip(pairs, measured, strict=True):
            found[a, b] = found[b, a] = latent_correlation(pair.counts / self.known.rows, coarse[a][1], coarse[b][1])
        return found

    def _codes(self, pairs: int, most: int) -> int:
        """Return into how many codes to cut a column so that the cells of a pair stand out of their noise."""
        noise = self.ledger.sigma(0.5 / max(pairs, 1)) * self.unit
        clear = math.sqrt(self.known.rows / (CLEAR * noise)) if noise else math.inf
        return int(min(max(clear, LEAST_CODES), most))


def scores(masses: Vector) -> Vector:
    """Return the normal scores of codes by mid-rank, centred, of variance 1; zeros when there is one code only.

    >>> scores(np.array([0.5, 0.5])).round(6).tolist()
    [-1.0, 1.0]
    """
    middles = np.clip(np.cumsum(masses) - masses / 2, 1e-9, 1 - 1e-9)
    normal = ndtri(middles)
    normal = normal - masses @ normal
    deviation = math.sqrt(masses @ normal**2)
    return np.asarray(normal / deviation if deviation > 1e-6 else np.zeros_like(normal))


def latent_correlation(joint: Vector, left: Vector, right: Vector) -> float:
    """Return the correlation of two normals whose codes have the (noisy) joint frequencies `joint`.

    `left` and `right` are the codes' probabilities. The mean product of their scores s and t is, by parts, the sum over
    thresholds h and k of (s jump at h)(t jump at k)(P(X < h, Y < k) - P(X < h) P(Y < k)). The difference of
    probabilities is the integral of the normal density at (h, k) over correlations from 0 on (Plackett 1954), here over
    the correlation's arcsine. As both scores rise, so does the product, and it is inverted between known values.

    >>> round(latent_correlation(np.array([[1 / 3, 1 / 6], [1 / 6, 1 / 3]]), np.full(2, 0.5), np.full(2, 0.5)), 3)
    0.5
    """
    moment = float(scores(left) @ joint @ scores(right))
    known = _moments(left, right)
    if known[-1] - known[0] < 1e-9:
        return 0.0  # a column of one code
    return float(np.clip(np.sin(np.interp(moment, known, ANGLES)), -LARGEST, LARGEST))


def _moments(left: Vector, right: Vector) -> Vector:
    """Return the mean product of scores at every correlation sin(ANGLES)."""
    h, k = (ndtri(np.clip(np.cumsum(masses)[:-1], 1e-9, 1 - 1e-9)) for masses in (left, right))
    weights = np.outer(np.diff(scores(left)), np.diff(scores(right)))
    sine, cosine = np.sin(ANGLES)[:, None, None], np.cos(ANGLES)[:, None, None]
    squares = h[:, None] ** 2 - 2 * sine * h[:, None] * k + k**2
    density = (weights * np.exp(-squares / (2 * cosine**2))).sum(axis=(1, 2)) / (2 * math.pi)
    steps = (density[1:] + density[:-1]) / 2 * np.diff(ANGLES)
    sums = np.concatenate([[0.0], np.cumsum(steps)])
    return np.asarray(sums - sums[len(ANGLES) // 2])


def nearest_correlation(matrix: Vector) -> Vector:
    """Return the nearest matrix with a unit diagonal and no negative eigenvalue (Higham 2002, alternating projections).

    Its smallest eigenvalue is kept a little above 0, so that it has a Cholesky factor.

    >>> nearest_correlation(np.array([[1.0, 0.3], [0.3, 1.0]])).round(6).tolist()
    [[1.0, 0.3], [0.3, 1.0]]
    """
    found, correction = matrix.copy(), np.zeros_like(matrix)
    for _ in range(PROJECTIONS):
        shifted = found - correction
        semidefinite = _without_negative(shifted, 0.0)
        correction = semidefinite - shifted
        last, found = found, semidefinite.copy()
        np.fill_diagonal(found, 1.0)
        if np.abs(found - last).max() < 1e-9:
            break
    found = _without_negative(found, LEAST_EIGENVALUE)
    spread = np.sqrt(np.diag(found))
    return np.asarray(found / np.outer(spread, spread))


def _without_negative(matrix: Vector, least: float) -> Vector:
    """Return a symmetric matrix with its eigenvalues raised to at least `least`."""
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * np.maximum(values, least)) @ vectors.T)
