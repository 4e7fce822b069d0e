"""One composition of everything that was charged, by privacy loss distributions (PLD).

A mechanism is a `dp_accounting` event: frozen data. This module turns a sequence of events into one (epsilon, delta)
curve. Identical events are counted and composed with themselves; each distribution is built once and remembered.
Discretisation is pessimistic: the epsilon returned is never below the true one, and within about 0.1% above it
(floating point blurs the curve below a delta of about 1e-12).

Sources: Koskela, Jalko, Honkela 2020 and Doroshenko et al. 2022 (PLD, "connect the dots"); Canonne, Kamath, Steinke
2020 (discrete Gaussian); Balle and Wang 2018 (analytic Gaussian); Zhu, Dong, Wang 2022 (dominating pairs compose).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from dp_accounting import dp_event as dp
from dp_accounting.pld import pld_pmf, pld_privacy_accountant
from dp_accounting.pld import privacy_loss_distribution as pld
from dp_accounting.privacy_accountant import NeighboringRelation
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import log_ndtr

from tabsynth.errors import LedgerError
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.events import Charge, DiscreteGaussianDpEvent

__all__ = [
    "ACCOUNTANT",
    "NEIGHBOURS",
    "DiscreteGaussianDpEvent",
    "cost",
    "delta_of",
    "epsilon_of",
    "fits",
    "gaussian_delta",
    "gaussian_mu",
    "grouped",
    "largest_auc",
    "tpr_at_fpr",
]

ACCOUNTANT = "PLD"
NEIGHBOURS = NeighboringRelation.ADD_OR_REMOVE_ONE  # one privacy unit, everywhere
CEILING = 500.0  # an epsilon above this is reported as infinite: it protects nobody
LARGEST_SIGMA = 2.0**15  # of a discrete Gaussian: beyond it the distribution's table is millions long

SLACK = 1e-9  # relative: the rounding of the composition, not a licence to overspend

Group = tuple[Any, int]  # an event and how often it ran


class _Accountant(pld_privacy_accountant.PLDAccountant):  # type: ignore[misc]
    """The PLD accountant of dp_accounting, which also knows the discrete Gaussian."""

    _pld: Any

    def _maybe_compose(self, event: Any, count: int, do_compose: bool) -> Any:
        if not isinstance(event, DiscreteGaussianDpEvent):
            return super()._maybe_compose(event, count, do_compose)
        if do_compose:
            self._pld = self._pld.compose(
                discrete_gaussian(event, self._value_discretization_interval).self_compose(count)
            )
        return None

    @property
    def distribution(self) -> Any:
        """The composed privacy loss distribution."""
        return self._pld


def epsilon_of(events: Iterable[Any], delta: float) -> float:
    """Return the smallest epsilon at which all events together are (epsilon, delta) private; infinite when none is.

    Raises LedgerError naming an event that has no privacy loss distribution here.

    >>> epsilon_of([], 1e-6)
    0.0
    >>> four, one = [dp.GaussianDpEvent(4.0)] * 4, [dp.GaussianDpEvent(2.0)]
    >>> round(epsilon_of(four, 1e-6), 3) == round(epsilon_of(one, 1e-6), 3)
    True
    """
    return _epsilon_of(grouped(events), delta)


@lru_cache(maxsize=4096)
def _epsilon_of(groups: tuple[Group, ...], delta: float) -> float:
    """Return `epsilon_of` counted events; remembered, because a ledger and a replayed fit ask again."""
    pure = math.fsum(count * _pure_epsilon(event) for event, count in groups)
    if pure == 0 or delta <= 0:
        return pure if delta >= 0 else math.inf
    composed = _compose(groups)
    if composed is None:
        return pure
    return min(pure, float(composed.get_epsilon_for_delta(delta)))


def delta_of(events: Iterable[Any], epsilon: float) -> float:
    """Return the smallest delta at which all events together are (epsilon, delta) private, at most 1."""
    groups = grouped(events)
    if sum(count * _pure_epsilon(event) for event, count in groups) <= epsilon:
        return 0.0
    composed = _compose(groups)
    return 1.0 if composed is None else min(1.0, float(composed.get_delta_for_epsilon(epsilon)))


def cost(charges: Sequence[Charge], delta: float) -> float:
    """Return the epsilon of all charges together at `delta`, of which their own deltas are taken off first."""
    return epsilon_of((charge.event for charge in charges), delta - math.fsum(charge.delta for charge in charges))


def fits(budget: Budget, charges: Sequence[Charge]) -> bool:
    """Whether all charges together stay within the budget.

    >>> fits(Budget(1.0, 1e-6), [Charge(dp.LaplaceDpEvent(2.0), "counts", delta=1e-7)])
    True
    """
    return not budget.private or cost(charges, budget.delta) <= budget.epsilon * (1 + SLACK)


def grouped(events: Iterable[Any]) -> tuple[Group, ...]:
    """Count identical events, compositions taken apart, in the order in which they first came."""
    counts: Counter[Any] = Counter()
    for event in events:
        _count_into(counts, event, 1)
    return tuple(counts.items())


def gaussian_mu(budget: Budget) -> float:
    """Return mu of the Gaussian mechanism (sensitivity 1, noise 1/mu) that spends the budget exactly.

    Analytic Gaussian mechanism (Balle and Wang 2018, Theorem 8):
    delta = Phi(mu/2 - epsilon/mu) - exp(epsilon) * Phi(-mu/2 - epsilon/mu).

    >>> mu = gaussian_mu(Budget(1.0, 1e-6))
    >>> round(epsilon_of([dp.GaussianDpEvent(1 / mu)], 1e-6), 3)
    1.0
    """
    if budget.delta == 0 or not budget.private:
        return 0.0 if budget.private else math.inf

    def excess(log_mu: float) -> float:
        return gaussian_delta(math.exp(log_mu), budget.epsilon) - budget.delta

    high = 0.0
    while excess(high) < 0:
        high += 1
    low = high - 1
    while excess(low) > 0:
        low -= 1
    return math.exp(float(brentq(excess, low, high, xtol=1e-14)))


def gaussian_delta(mu: float, epsilon: float) -> float:
    """Return delta of the Gaussian mechanism with mean shift `mu` in noise standard deviations (Balle and Wang 2018).

    >>> round(gaussian_delta(1.0, 0.0), 6)  # the total variation distance, 2 Phi(1/2) - 1
    0.382925
    """
    upper = log_ndtr(mu / 2 - epsilon / mu)
    return float(np.exp(upper) * -np.expm1(epsilon + log_ndtr(-mu / 2 - epsilon / mu) - upper))


def tpr_at_fpr(events: Iterable[Any], fpr: float, delta: float = 0.0) -> float:
    """Return the largest true positive rate that the events allow any membership attack at this false positive rate.

    `delta` is added to the curve: failure probabilities charged outside the events. Kairouz, Oh, Viswanath 2015:
    min over epsilon of min(e^epsilon fpr + delta(epsilon), 1 - e^-epsilon (1 - delta(epsilon) - fpr)).

    >>> tpr_at_fpr([], 0.01)
    0.01
    """
    return float(_tpr_at(events, np.array([fpr]), delta)[0])


def largest_auc(events: Iterable[Any], delta: float = 0.0) -> float:
    """Return the largest area under the ROC curve that the events allow any membership attack; `delta` as there.

    The integral of `tpr_at_fpr` from above, at most 1/1000 too large: the curve rises, so its value at the right end of
    every step is taken.

    >>> largest_auc([])
    0.5
    """
    fprs = np.linspace(0.0, 1.0, 1001)
    found = _tpr_at(events, fprs, delta)
    if np.array_equal(found, fprs):
        return 0.5
    return min(1.0, float(np.mean(found[1:])))


def _tpr_at(events: Iterable[Any], fprs: NDArray[np.float64], delta: float) -> NDArray[np.float64]:
    """Return `tpr_at_fpr` at many false positive rates, shape (n,)."""
    groups = grouped(events)
    if not groups:
        return np.asarray(np.minimum(1.0, fprs + delta))
    composed = _compose(groups)
    if composed is None:
        return np.ones_like(fprs)
    largest = composed.get_epsilon_for_delta(1e-9)
    epsilons = np.linspace(0.0, largest if math.isfinite(largest) else CEILING, 2001)
    deltas = np.clip(np.asarray(composed.get_delta_for_epsilon(epsilons)) + delta, 0.0, 1.0)
    grown, shrunk = np.exp(np.minimum(epsilons, 700.0)), np.exp(-epsilons)
    bounds = [min(float((grown * fpr + deltas).min()), float((1 - shrunk * (1 - deltas - fpr)).min())) for fpr in fprs]
    return np.asarray(np.minimum(1.0, bounds))


def discrete_gaussian(event: DiscreteGaussianDpEvent, step: float) -> Any:
    """Return the privacy loss distribution of one discrete Gaussian count on a grid of losses `step` apart.

    The loss at noise x is k (x + k/2) / sigma^2. Each loss is split between its two neighbours on the grid so that its
    probability under both tables is kept: "connect the dots", which is pessimistic, here without cancellation. Noise
    beyond 11.6 sigma (mass below 1e-28) counts as an infinite loss.
    """
    sigma, shift = event.sigma, event.sensitivity
    reach = math.ceil(11.6 * sigma) + 1
    noise = np.arange(-reach, reach + 1, dtype=np.float64)
    weights = np.exp(-0.5 * (noise / sigma) ** 2)
    probabilities = weights / weights.sum()
    losses = shift * (noise + shift / 2) / sigma**2
    cells = np.floor(losses / step)
    upper = np.clip(np.expm1(cells * step - losses) / np.expm1(-step), 0.0, 1.0)  # the share that goes up
    index = (cells - cells[0]).astype(np.int64)
    mass = np.bincount(index, probabilities * (1 - upper), index[-1] + 2)
    mass += np.bincount(index + 1, probabilities * upper, index[-1] + 2)
    return pld.PrivacyLossDistribution(pld_pmf.DensePLDPmf(step, int(cells[0]), mass, 1e-28, True))


def _count_into(counts: Counter[Any], event: Any, times: int) -> None:
    """Add an event to the counts; compositions are taken apart, what costs nothing is left out."""
    if isinstance(event, dp.SelfComposedDpEvent):
        _count_into(counts, event.event, times * event.count)
    elif isinstance(event, dp.ComposedDpEvent):
        for part in event.events:
            _count_into(counts, part, times)
    elif times > 0 and not isinstance(event, dp.NoOpDpEvent):
        event = _hashable(event)
        if not _supported(event):
            raise LedgerError(
                f"No privacy loss distribution for {event!r}. Known: Gaussian, discrete Gaussian (sigma up to "
                f"{LARGEST_SIGMA:.0f}), Laplace, discrete Laplace, mixture of Gaussians, Poisson-sampled Gaussian or "
                "Laplace, and compositions of these."
            )
        counts[event] += times


def _hashable(event: Any) -> Any:
    """Return the event with tuples where it has lists."""
    if isinstance(event, dp.MixtureOfGaussiansDpEvent):
        return dp.MixtureOfGaussiansDpEvent(
            event.standard_deviation, tuple(event.sensitivities), tuple(event.sampling_probs)
        )
    return event


@lru_cache(maxsize=4096)
def _supported(event: Any) -> bool:
    """Whether the event, which is no composition, has a privacy loss distribution here."""
    if isinstance(event, DiscreteGaussianDpEvent) and event.sigma > LARGEST_SIGMA:
        return False
    return isinstance(event, dp.DpEvent) and bool(_Accountant(NEIGHBOURS).supports(event))


def _pure_epsilon(event: Any) -> float:
    """Return epsilon at delta 0, infinite where the event has none."""
    if isinstance(event, dp.LaplaceDpEvent):
        return 1 / event.noise_multiplier if event.noise_multiplier > 0 else math.inf
    if isinstance(event, dp.DiscreteLaplaceDpEvent):
        return float(event.noise_parameter * event.sensitivity)
    return math.inf


def _compose(groups: Sequence[Group]) -> Any:
    """Return the composed distribution, or None when the loss is beyond the ceiling."""
    variance = sum(count * _variance(event) for event, count in groups)
    scale = variance / 2 + 5 * math.sqrt(variance)
    if not scale < CEILING:
        return None
    runs = sum(count for event, count in groups if not isinstance(event, dp.GaussianDpEvent))
    fine = min(scale / 2048, 0.1 * math.sqrt(variance / max(runs, 1)))
    step = 4.0 ** math.floor(math.log(max(fine, scale / 2**18), 4))
    with np.errstate(all="ignore"):
        return _composed(tuple(groups), step)


@lru_cache(maxsize=64)
def _composed(groups: tuple[Group, ...], step: float) -> Any:
    """Compose as a tree split at powers of two, so that one more charge recomputes few of its nodes."""
    if len(groups) == 1:
        return _repeated(*groups[0], step)
    half = 1 << ((len(groups) - 1).bit_length() - 1)
    return _composed(groups[:half], step).compose(_composed(groups[half:], step))


@lru_cache(maxsize=256)
def _repeated(event: Any, count: int, step: float) -> Any:
    """Return the distribution of one event run `count` times."""
    accountant = _Accountant(NEIGHBOURS, value_discretization_interval=step)
    accountant.compose(event, count)
    return accountant.distribution


def _variance(event: Any) -> float:
    """Estimate the variance of one event's privacy loss; it chooses the step of the grid, never the result."""
    if isinstance(event, dp.NonPrivateDpEvent):
        return math.inf
    if isinstance(event, dp.PoissonSampledDpEvent):
        inner = _variance(event.event)
        return event.sampling_probability**2 * math.expm1(inner) if inner < 50 else inner
    if isinstance(event, DiscreteGaussianDpEvent):
        if event.sensitivity > 1 and event.sigma < 0.2:  # outside the range in which spreading was settled
            return math.inf
        noise = event.sigma / event.sensitivity
    elif isinstance(event, dp.DiscreteLaplaceDpEvent):
        noise = 1 / max(event.noise_parameter * event.sensitivity, 1e-300)
    elif isinstance(event, dp.MixtureOfGaussiansDpEvent):
        noise = event.standard_deviation / max(event.sensitivities)
    else:
        noise = event.noise_multiplier
    return 1 / noise**2 if noise > 0 else math.inf
