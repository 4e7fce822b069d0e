"""Estimation of a graphical model by mirror descent: algorithm 1 of McKenna, Sheldon and Miklau (arXiv 1901.09136).

The model is kept as the buckets of variable elimination: every column with the neighbours that it has when it is
eliminated. A pass up the buckets turns log potentials into conditionals, a pass down turns these into marginals. What
is measured may be coarser than what is modelled: within a group of tokens the model has the largest entropy that other
measurements leave it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tabsynth.graphical.elimination import Clique, Factor, order_and_cells
from tabsynth.graphical.zeros import Zeros

Floats = NDArray[np.float64]
GROW, SHRINK = 1.2, 0.5  # of the step, after one that was taken and one that was not
SETTLED = 1e-4  # of the loss: when PATIENCE steps together gain less, the descent ends
PATIENCE = 25
NEVER = -1e6  # the log potential of a cell that is left out


@dataclass(frozen=True, eq=False, slots=True)
class Measurement:
    """Noisy counts over `columns`, an axis each, with the noise's standard deviation in rows (a number, or per count).

    `groups` says, per column, which count each of its tokens belongs to.
    """

    columns: Clique
    groups: tuple[NDArray[np.int64], ...]
    counts: Floats
    scale: Floats | float


@dataclass(frozen=True, eq=False, slots=True)
class Estimate:
    """A model as log potentials, and how hard every measurement pulls on it: where a later descent may start."""

    factors: tuple[Factor, ...]
    pulls: tuple[Floats, ...] = ()


def estimate(
    measurements: Sequence[Measurement],
    sizes: Sequence[int],
    total: float,
    iterations: int = 1000,
    start: Estimate | None = None,
    *,
    zeros: Sequence[Zeros] = (),
) -> Estimate:
    """Return the model of `total` rows that is nearest to the measurements, by squares in units of their noise.

    Cells that `zeros` leave out have no probability.

    The descent takes at most `iterations` steps from where an estimate of the first of these measurements came to, or
    from uniform columns. Exact counts are weighted as if each had noise of a hundredth of its own scatter.
    """
    buckets = _buckets([*(measured.columns for measured in measurements), *(zero.columns for zero in zeros)], sizes)
    floor = _floor(zeros, buckets, sizes)
    fits = [_Fit.of(measured, buckets, sizes) for measured in measurements]
    pulls = [np.zeros(fit.counts.shape) for fit in fits]
    for place, pull in enumerate(start.pulls if start else ()):
        pulls[place] = pull
    potentials = _potentials(fits, pulls, floor)
    marginals = _marginals(buckets, potentials, total)
    loss, slopes = _loss(fits, marginals)
    step, earlier = 1 / (total * max(fit.weights.max() for fit in fits)), math.inf
    for done in range(iterations):
        moved = [pull - step * slope for pull, slope in zip(pulls, slopes, strict=True)]
        raised = _potentials(fits, moved, floor)
        there = _marginals(buckets, raised, total)
        new_loss, new_slopes = _loss(fits, there)
        gain = sum(
            np.vdot(old - new, before - after)
            for old, new, before, after in zip(potentials, raised, marginals, there, strict=True)
        )
        if loss - new_loss < 0.5 * gain:
            step *= SHRINK
            continue
        pulls, potentials, marginals, loss, slopes = moved, raised, there, new_loss, new_slopes
        step *= GROW
        if done % PATIENCE == 0:
            if earlier - loss <= SETTLED * loss:
                break
            earlier = loss
    scopes = [(*bucket.parents, bucket.column) for bucket in buckets]
    shaped = [log.reshape([sizes[c] for c in scope]) for scope, log in zip(scopes, potentials, strict=True)]
    return Estimate(tuple(map(Factor, scopes, shaped)), tuple(pulls))


@dataclass(frozen=True, eq=False, slots=True)
class _Bucket:
    """A column and its neighbours when it is eliminated, cells of shape (cells of the parents, size of the column).

    `above` is the place of the bucket that its sum goes to, -1 where there is none, and `into` says, for every cell
    there, which cell of the sum it takes.
    """

    column: int
    parents: Clique
    shape: tuple[int, int]
    above: int
    into: NDArray[np.int64]


def _buckets(cliques: Sequence[Clique], sizes: Sequence[int]) -> list[_Bucket]:
    """Return the buckets in the order of elimination."""
    order, _ = order_and_cells(cliques, sizes)
    scopes = [set(clique) for clique in cliques]
    place = {column: index for index, column in enumerate(order)}
    parents: list[Clique] = []
    for column in order:
        joined = [scope for scope in scopes if column in scope]
        near = set().union(*joined) - {column}
        scopes = [scope for scope in scopes if column not in scope] + [near]
        parents.append(tuple(sorted(near)))
    buckets = []
    for column, own in zip(order, parents, strict=True):
        above = min((place[parent] for parent in own), default=-1)
        scope = (*parents[above], order[above]) if own else ()
        into = _cells(own, scope, sizes, None) if own else np.zeros(0, np.int64)
        shape = (math.prod(sizes[parent] for parent in own), sizes[column])
        buckets.append(_Bucket(column, own, shape, above, into))
    return buckets


def _cells(
    columns: Clique, scope: Clique, sizes: Sequence[int], groups: Sequence[NDArray[np.int64]] | None
) -> NDArray[np.int64]:
    """Return, for every cell over `scope`, the cell over `columns` that it belongs to, tokens by group if given."""
    cell = np.zeros([1] * len(scope), np.int64)
    for which, column in enumerate(columns):
        tokens = np.arange(sizes[column]) if groups is None else groups[which]
        along = [1] * len(scope)
        along[scope.index(column)] = sizes[column]
        cell = cell * (int(tokens.max()) + 1) + tokens.reshape(along)
    return np.ascontiguousarray(np.broadcast_to(cell, [sizes[column] for column in scope])).ravel()


def _holder(columns: Clique, buckets: Sequence[_Bucket]) -> int:
    """Return the bucket that holds all the columns: that of the first of them to be eliminated."""
    return next(place for place, bucket in enumerate(buckets) if bucket.column in columns)


@dataclass(frozen=True, eq=False, slots=True)
class _Fit:
    """A measurement against the model: the bucket that holds it, and the count that every cell there belongs to."""

    bucket: int
    cell: NDArray[np.int64]
    counts: Floats
    weights: Floats

    @classmethod
    def of(cls, measured: Measurement, buckets: Sequence[_Bucket], sizes: Sequence[int]) -> _Fit:
        """Place a measurement in the bucket of the first of its columns to be eliminated."""
        which = _holder(measured.columns, buckets)
        cell = _cells(measured.columns, (*buckets[which].parents, buckets[which].column), sizes, measured.groups)
        exact = 0.01 * math.sqrt(max(float(measured.counts.mean()), 1.0))
        weights = np.broadcast_to(1 / np.maximum(measured.scale, exact) ** 2, measured.counts.shape).ravel()
        return cls(which, cell, measured.counts.ravel(), weights)


def _marginals(buckets: Sequence[_Bucket], potentials: Sequence[Floats], total: float) -> list[Floats]:
    """Return the expected counts of every bucket's cells."""
    logs = [potential.copy() for potential in potentials]
    given: list[Floats] = []
    for bucket, log in zip(buckets, logs, strict=True):
        peak = log.max(axis=1, keepdims=True)
        weight = np.exp(log - peak)
        mass = weight.sum(axis=1, keepdims=True)
        given.append(weight / mass)
        if bucket.above >= 0:
            logs[bucket.above] += (peak + np.log(mass)).ravel()[bucket.into].reshape(buckets[bucket.above].shape)
    found = given
    for place in range(len(buckets) - 1, -1, -1):
        bucket = buckets[place]
        if bucket.above >= 0:
            parents = np.bincount(bucket.into, found[bucket.above].ravel(), bucket.shape[0])
            found[place] = given[place] * parents[:, None]
        else:
            found[place] = given[place] * total
    return found


def _floor(zeros: Sequence[Zeros], buckets: Sequence[_Bucket], sizes: Sequence[int]) -> list[Floats]:
    """Return every bucket's log potentials before anything pulls: 0, and far below where a cell is left out.

    NEVER is no infinity, so that sums and differences stay numbers; its exponential is 0 all the same.
    """
    logs = [np.zeros(bucket.shape) for bucket in buckets]
    for zero in zeros:
        which = _holder(zero.columns, buckets)
        scope = (*buckets[which].parents, buckets[which].column)
        left_out = ~zero.allowed.ravel()[_cells(zero.columns, scope, sizes, None)]
        logs[which][left_out.reshape(buckets[which].shape)] = NEVER
    return logs


def _potentials(fits: Sequence[_Fit], pulls: Sequence[Floats], floor: Sequence[Floats]) -> list[Floats]:
    """Return every bucket's log potentials: the floor and the sum of what its measurements pull."""
    logs = [log.copy() for log in floor]
    for fit, pull in zip(fits, pulls, strict=True):
        logs[fit.bucket] += pull[fit.cell].reshape(logs[fit.bucket].shape)
    return logs


def _loss(fits: Sequence[_Fit], marginals: Sequence[Floats]) -> tuple[float, list[Floats]]:
    """Return half the weighted squares of what the model misses, and the slope of that by each measurement's counts."""
    loss, slopes = 0.0, []
    for fit in fits:
        missed = np.bincount(fit.cell, marginals[fit.bucket].ravel(), len(fit.counts)) - fit.counts
        slopes.append(missed * fit.weights)
        loss += 0.5 * float(np.vdot(missed, slopes[-1]))
    return loss, slopes
