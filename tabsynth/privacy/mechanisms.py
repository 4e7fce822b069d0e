"""Measurements of private rows: histograms, counts, categories and selections, each with OpenDP's exact noise.

Every function charges the ledger first, then calls the function that reads the rows, then adds noise; when the budget
does not allow the charge, no row is read. Three cases, decided by the arguments:

- `sigma` above 0 (or a finite `epsilon`): discrete noise from OpenDP, which draws from the operating system. No
  floating point enters, so nothing remains open about it.
- `sigma` 0 (or `epsilon` infinite), which is what a ledger without a budget hands out: the exact answer, charged as
  `NonPrivateDpEvent`. A ledger with a budget refuses that charge.
- a secret with a fixed seed: noise of the same scale that can be replayed, and the ledger is marked not private.

The scale of the noise, in rows, is `sigma * sensitivity`: `sigma` is the noise multiplier, `sensitivity` how far one
privacy unit can move the answer, which is the unit's number of rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from dp_accounting import ComposedDpEvent, DpEvent, LaplaceDpEvent, NonPrivateDpEvent
from dp_accounting.dp_event import DiscreteLaplaceDpEvent
from numpy.typing import NDArray
from opendp import domains, measurements, measures, metrics
from opendp.mod import Measurement, enable_features
from scipy.special import ndtri

from tabsynth._check import at_least, positive
from tabsynth.errors import InputError
from tabsynth.privacy.accounting import DiscreteGaussianDpEvent
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.privacy.replay import Exact, answered


def noisy_histogram(
    count: Callable[[], NDArray[np.int64]],
    *,
    sigma: float,
    sensitivity: int = 1,
    ledger: Ledger,
    secret: Secret,
    why: str,
) -> NDArray[np.float64]:
    """Return the counts, of any shape, each with discrete Gaussian noise of scale `sigma * sensitivity` rows.

    `count` returns integers over cells that are public or paid for, and puts each row in one cell: a unit of
    `sensitivity` rows moves the counts the most when all of them fall in one cell, which is what is charged.

    Formal guarantee: the answer is that of `DiscreteGaussianDpEvent(sigma * sensitivity, sensitivity)`, which is
    (1 / (2 sigma**2))-zCDP (Canonne, Kamath and Steinke 2020) and is charged before `count` is called.

    Raises BudgetExceeded or LedgerError, and then `count` was not called.
    """
    _charge(_gaussian_event(sigma, sensitivity), ledger=ledger, secret=secret, why=why)
    counts = count()
    noisy = _discrete_gaussian(counts, sigma * sensitivity, secret)
    return answered(noisy.astype(np.float64), why=why, exact=Exact(counts, sensitivity))


def noisy_count(
    count: Callable[[], int],
    *,
    sigma: float,
    sensitivity: int = 1,
    ledger: Ledger,
    secret: Secret,
    why: str,
) -> float:
    """Return one count with discrete Gaussian noise of scale `sigma * sensitivity` rows.

    Formal guarantee: that of `noisy_histogram` with one cell.
    """
    answer = noisy_histogram(
        lambda: np.asarray([count()], dtype=np.int64),
        sigma=sigma,
        sensitivity=sensitivity,
        ledger=ledger,
        secret=secret,
        why=why,
    )
    return float(answer[0])


def noisy_histogram_laplace(
    count: Callable[[], NDArray[np.int64]],
    *,
    epsilon: float,
    sensitivity: int = 1,
    ledger: Ledger,
    secret: Secret,
    why: str,
) -> NDArray[np.float64]:
    """Return the counts, of any shape, each with discrete Laplace noise of scale `sensitivity / epsilon` rows.

    For budgets whose delta is 0, which no Gaussian noise can keep; with a delta `noisy_histogram` adds less noise where
    many answers are composed.

    Formal guarantee: `epsilon`-differential privacy (Ghosh, Roughgarden and Sundararajan 2012): a unit moves the counts
    by at most `sensitivity` in all. That of `DiscreteLaplaceDpEvent(epsilon / sensitivity, sensitivity)`, charged
    before `count` is called. An infinite `epsilon` is no privacy, and no noise.

    Raises BudgetExceeded or LedgerError, and then `count` was not called.
    """
    if not epsilon > 0:
        raise InputError(f"epsilon must be above 0; got {epsilon!r}.")
    at_least("sensitivity", sensitivity, 1)
    noisy = math.isfinite(epsilon)
    event = DiscreteLaplaceDpEvent(epsilon / sensitivity, sensitivity) if noisy else NonPrivateDpEvent()
    _charge(event, ledger=ledger, secret=secret, why=why)
    counts = _whole(count())
    answer = _discrete_laplace(counts, sensitivity / epsilon, secret) if noisy else counts
    return answered(answer.astype(np.float64), why=why, exact=Exact(counts, sensitivity))


def noisy_histograms_for_the_rest(
    counts: Sequence[Callable[[], NDArray[np.int64]]],
    *,
    weights: Sequence[float],
    sensitivity: int = 1,
    ledger: Ledger,
    secret: Secret,
    why: str,
) -> list[tuple[NDArray[np.float64], float]]:
    """Return several histograms, each with the scale of its noise in rows, for all that the ledger has left.

    A histogram's share of what is left (of mu squared) is in proportion to its weight. The ledger is closed when this
    returns, so nothing can be measured after it.

    Formal guarantee: that of `noisy_histogram` for each, composed; charged as one event before any of `counts` is
    called, with the smallest noise that fits.

    Raises BudgetExceeded or LedgerError, and then none of `counts` was called.
    """
    relative = [1 / math.sqrt(weight) for weight in weights]

    def event_of(sigma: float) -> DpEvent:
        if sigma == 0:
            return NonPrivateDpEvent()
        return ComposedDpEvent([_gaussian_event(sigma * times, sensitivity) for times in relative])

    sigma = ledger.spend_rest(event_of, why=why)
    if secret.fixed_seed:
        ledger.mark_not_private(f"The noise of {why!r} comes from a fixed seed.")
    scales = [sigma * times * sensitivity for times in relative]
    exact = [count() for count in counts]
    noisy = [_discrete_gaussian(each, scale, secret) for each, scale in zip(exact, scales, strict=True)]
    return [
        (answered(answer.astype(np.float64), why=why, exact=Exact(each, sensitivity)), scale)
        for answer, each, scale in zip(noisy, exact, scales, strict=True)
    ]


def noisy_categories(
    values_and_counts: Callable[[], tuple[NDArray[np.object_], NDArray[np.int64]]],
    *,
    sigma: float,
    delta: float,
    rows_per_unit: int = 1,
    ledger: Ledger,
    secret: Secret,
    why: str,
) -> dict[Any, float]:
    """Return the observed values whose noisy count passes `category_threshold`, with that count, sorted by value.

    `values_and_counts` returns the distinct values of a column and how many rows hold each. Values that do not pass are
    dropped without a trace; the order is that of the values and says nothing about the rows.

    Formal guarantee: `DiscreteGaussianDpEvent(sigma * rows_per_unit, rows_per_unit)` and an additional `delta`, both
    charged before the values are read. Take two tables that differ by one unit. On the values that both hold this is
    `noisy_histogram` followed by post-processing. The values that only the larger table holds are all the unit's; with
    probability at least 1 - delta none of them passes (see `category_threshold`), and then the two answers have the
    same support. So the answer is within `delta`, in total variation, of a post-processed Gaussian measurement.
    """
    threshold = category_threshold(sigma, delta, rows_per_unit)
    event = _gaussian_event(sigma, rows_per_unit)
    _charge(event, ledger=ledger, secret=secret, why=why, delta=delta if sigma else 0.0)
    values, counts = values_and_counts()
    noisy = _discrete_gaussian(counts, sigma * rows_per_unit, secret)
    kept = [(value, float(number)) for value, number in zip(values, noisy, strict=True) if number > threshold]
    exact = Exact(dict(zip(values, map(float, counts), strict=True)), rows_per_unit)
    return answered(dict(sorted(kept, key=lambda pair: (type(pair[0]).__name__, pair[0]))), why=why, exact=exact)


def category_threshold(sigma: float, delta: float, rows_per_unit: int = 1) -> int:
    """Return the noisy count that a category must exceed so that no unit's own value shows, up to `delta`.

    A unit of k rows holds m values that nobody else holds, 1 <= m <= k, and the largest of their counts is then at
    most c = k - m + 1. One of them passes with probability at most m P(N > T - c), N being the noise, of scale
    s = sigma k. For t >= 1 the discrete Gaussian has the tail P(N >= t) <= P(G >= t - 1), G being normal of scale s
    (Canonne, Kamath and Steinke 2020, proposition 25), and T is whole, so P(N > T - c) = P(N >= T + 1 - c)
    <= P(G >= T - c). Hence T = max over m of ceil(c + s z(1 - delta / m)), with z the normal quantile, suffices for
    every m. Without noise (`sigma` 0) there is no guarantee to keep, and every observed value passes.

    >>> category_threshold(sigma=10.0, delta=1e-6)
    49
    >>> category_threshold(sigma=10.0, delta=1e-6, rows_per_unit=3)
    151
    """
    at_least("rows_per_unit", rows_per_unit, 1)
    _require_noise_multiplier(sigma)
    if sigma == 0:
        return 0
    if not 0 < delta < 0.5:
        raise InputError(f"delta must lie above 0 and below 0.5 to discover categories; got {delta!r}.")
    own = np.arange(1, rows_per_unit + 1)
    return math.ceil(float(np.max(rows_per_unit - own + 1 - sigma * rows_per_unit * ndtri(delta / own))))


def select(
    score: Callable[[], NDArray[np.float64]],
    *,
    epsilon: float,
    sensitivity: float = 1.0,
    monotonic: bool = False,
    ledger: Ledger,
    secret: Secret,
    why: str,
) -> int:
    """Return the index of a high score, by permute-and-flip (McKenna and Sheldon 2020).

    `score` returns one finite number per candidate; the candidates are public. One unit moves each score by at most
    `sensitivity`, and all of them in the same direction when `monotonic`, which halves the noise.

    Formal guarantee: permute-and-flip is the noisy maximum with exponential noise, here of scale
    2 * sensitivity / epsilon. Its privacy loss is dominated by that of `LaplaceDpEvent(1 / epsilon)`, which is charged
    before `score` is called.
    """
    if not epsilon > 0:
        raise InputError(f"epsilon must be above 0; got {epsilon!r}.")
    event = LaplaceDpEvent(1 / epsilon) if math.isfinite(epsilon) else NonPrivateDpEvent()
    positive("sensitivity", sensitivity)
    _charge(event, ledger=ledger, secret=secret, why=why)
    scores = score()
    chosen = _selected(scores, epsilon, sensitivity, monotonic, secret)
    return answered(chosen, why=why, exact=Exact(scores, sensitivity, each=True))


def _charge(event: DpEvent, *, ledger: Ledger, secret: Secret, why: str, delta: float = 0.0) -> None:
    """Charge the event, and say so when its noise will be known."""
    ledger.charge(event, why=why, delta=delta)
    if secret.fixed_seed:
        ledger.mark_not_private(f"The noise of {why!r} comes from a fixed seed.")


def _gaussian_event(sigma: float, sensitivity: int) -> DpEvent:
    """Return the event of a measurement with this noise multiplier; 0 is no privacy at all."""
    at_least("sensitivity", sensitivity, 1)
    _require_noise_multiplier(sigma)
    return DiscreteGaussianDpEvent(sigma * sensitivity, sensitivity) if sigma else NonPrivateDpEvent()


def _require_noise_multiplier(sigma: float) -> None:
    """Raise unless `sigma` can multiply a sensitivity."""
    if not 0 <= sigma < math.inf:
        raise InputError(f"sigma must be a finite number of at least 0; got {sigma!r}.")


def _discrete_gaussian(counts: NDArray[np.int64], scale: float, secret: Secret) -> NDArray[np.int64]:
    """Add discrete Gaussian noise of this scale: OpenDP's, or replayed normals rounded when the seed is fixed."""
    counts = _whole(counts)
    if scale == 0 or counts.size == 0:
        return counts
    if secret.fixed_seed:
        return counts + np.rint(scale * secret.normal(counts.shape)).astype(np.int64)
    enable_features("contrib")
    space = domains.vector_domain(domains.atom_domain(T="i64")), metrics.l2_distance(T="f64")
    noisy = measurements.make_gaussian(*space, scale=scale)(counts.reshape(-1).tolist())
    return np.asarray(noisy, dtype=np.int64).reshape(counts.shape)


def _discrete_laplace(counts: NDArray[np.int64], scale: float, secret: Secret) -> NDArray[np.int64]:
    """Add discrete Laplace noise of this scale: OpenDP's, or the difference of two replayed geometrics."""
    if counts.size == 0:
        return counts
    if secret.fixed_seed:
        first, second = np.floor(-scale * np.log(secret.uniform((2, *counts.shape)))).astype(np.int64)
        return np.asarray(counts + first - second)
    enable_features("contrib")
    space = domains.vector_domain(domains.atom_domain(T="i64")), metrics.l1_distance(T="i64")
    noisy = measurements.make_laplace(*space, scale=scale)(counts.reshape(-1).tolist())
    return np.asarray(noisy, dtype=np.int64).reshape(counts.shape)


def _whole(counts: NDArray[Any]) -> NDArray[np.int64]:
    """Return counts as 64-bit integers; raise InputError when they are none."""
    counts = np.asarray(counts)
    if not np.issubdtype(counts.dtype, np.integer):
        raise InputError(f"Counts must be whole numbers; got an array of {counts.dtype}.")
    return counts.astype(np.int64)


def _selected(scores: NDArray[np.float64], epsilon: float, sensitivity: float, monotonic: bool, secret: Secret) -> int:
    """Return the index that permute-and-flip selects, the largest score when `epsilon` is infinite."""
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 1 or not scores.size or not np.isfinite(scores).all():
        raise InputError("A selection needs one finite number per candidate, and at least one candidate.")
    if not math.isfinite(epsilon):
        return int(np.argmax(scores))
    scale = (1 if monotonic else 2) * sensitivity / epsilon
    if secret.fixed_seed:
        return int(np.argmax(scores - scale * np.log(secret.uniform(scores.shape))))
    return int(_noisy_max(scale, epsilon, sensitivity, monotonic)(scores.tolist()))


def _noisy_max(scale: float, epsilon: float, sensitivity: float, monotonic: bool) -> Measurement:
    """Return OpenDP's noisy maximum with exponential noise, its exact bound at most `epsilon`."""
    enable_features("contrib")
    domain = domains.vector_domain(domains.atom_domain(T="f64", nan=False))
    metric = metrics.linf_distance(T="f64", monotonic=monotonic)
    while True:
        measurement = measurements.make_noisy_max(domain, metric, measures.max_divergence(), scale=scale)
        if measurement.map(sensitivity) <= epsilon:
            return measurement
        scale = math.nextafter(scale, math.inf)  # the division rounded down
