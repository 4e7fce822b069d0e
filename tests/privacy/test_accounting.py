"""The composition against closed forms, brute force, another accountant, and answers that are wrong on purpose."""

import json
import math
import time

import numpy as np
import pytest
from dp_accounting import dp_event as dp
from scipy.optimize import brentq
from scipy.stats import norm

from tabsynth.errors import InputError, LedgerError
from tabsynth.privacy import accounting, events
from tabsynth.privacy.accounting import (
    DiscreteGaussianDpEvent,
    delta_of,
    epsilon_of,
    gaussian_delta,
    gaussian_mu,
    tpr_at_fpr,
)
from tabsynth.privacy.budget import Budget

DELTA = 1e-6


def sgd(sample_rate: float, noise_multiplier: float, steps: int) -> dp.DpEvent:
    step = dp.PoissonSampledDpEvent(sample_rate, dp.GaussianDpEvent(noise_multiplier))
    return dp.SelfComposedDpEvent(step, steps)


def gaussian_epsilon(mu: float, delta: float = DELTA) -> float:
    """Balle and Wang's closed form, solved for epsilon."""
    return brentq(lambda epsilon: gaussian_delta(mu, epsilon) - delta, 0, 400, xtol=1e-13)


def close_above(value: float, truth: float, share: float = 0.002) -> bool:
    """Whether an upper bound is one, and within `share` of the truth."""
    return truth * (1 - 1e-9) <= value <= truth * (1 + share)


@pytest.mark.parametrize("sigma", [0.3, 1.0, 4.0, 30.0, 500.0])
def test_one_gaussian_is_balle_and_wang(sigma):
    assert close_above(epsilon_of([dp.GaussianDpEvent(sigma)], DELTA), gaussian_epsilon(1 / sigma))
    assert not close_above(epsilon_of([dp.GaussianDpEvent(sigma * 2 / 3)], DELTA), gaussian_epsilon(1 / sigma))


def test_gaussian_delta_is_the_textbook_formula():
    mu, epsilon = 0.7, 1.3
    textbook = norm.cdf(mu / 2 - epsilon / mu) - math.exp(epsilon) * norm.cdf(-mu / 2 - epsilon / mu)
    assert gaussian_delta(mu, epsilon) == pytest.approx(textbook, rel=1e-12)


def test_gaussians_compose_into_one():
    sigmas = [3.0, 5.0, 5.0, 8.0]
    mu = math.sqrt(sum(sigma**-2 for sigma in sigmas))
    assert close_above(epsilon_of([dp.GaussianDpEvent(sigma) for sigma in sigmas], DELTA), gaussian_epsilon(mu))


@pytest.mark.parametrize("budget", [Budget(0.01, 1e-9), Budget(0.1, 1e-6), Budget(1, 1e-5), Budget(20, 1e-3)])
def test_gaussian_mu_spends_the_budget(budget):
    mu = gaussian_mu(budget)
    assert gaussian_delta(mu, budget.epsilon) == pytest.approx(budget.delta, rel=1e-9)
    assert close_above(epsilon_of([dp.GaussianDpEvent(1 / mu)], budget.delta), budget.epsilon)


def test_gaussian_mu_at_the_ends():
    assert gaussian_mu(Budget(1.0, 0.0)) == 0
    assert gaussian_mu(Budget(math.inf, 1e-6)) == math.inf


def test_laplace_is_pure_and_its_curve_the_closed_form():
    scale = 2.0
    laplace = dp.LaplaceDpEvent(scale)
    assert epsilon_of([laplace] * 3, 0.0) == pytest.approx(3 / scale)
    assert delta_of([laplace] * 3, 3 / scale) == 0
    for epsilon in (0.0, 0.1, 0.4):
        exact = -math.expm1((epsilon - 1 / scale) / 2)
        assert exact * (1 - 1e-9) <= delta_of([laplace], epsilon) <= exact * 1.002
    assert epsilon_of([laplace] * 100, DELTA) < 0.7 * 100 / scale  # composed, not added


def test_nothing_costs_nothing_and_nothing_private_costs_everything():
    assert epsilon_of([], 0.0) == 0 == delta_of([], 0.0)
    assert epsilon_of([dp.NoOpDpEvent()], DELTA) == 0
    assert epsilon_of([dp.NonPrivateDpEvent(), dp.GaussianDpEvent(9)], DELTA) == math.inf
    assert delta_of([dp.NonPrivateDpEvent()], 100.0) == 1
    assert epsilon_of([dp.GaussianDpEvent(0.0)], DELTA) == math.inf
    assert epsilon_of([dp.GaussianDpEvent(5.0)], 0.0) == math.inf
    assert epsilon_of([dp.GaussianDpEvent(5.0)], -1e-9) == math.inf


def test_an_event_without_a_distribution_is_named():
    repeated = dp.SelfComposedDpEvent(dp.ZCDpEvent(0.5), 3)
    with pytest.raises(LedgerError, match="ZCDpEvent"):
        epsilon_of([repeated], DELTA)
    with pytest.raises(LedgerError, match="sigma up to 32768"):
        epsilon_of([DiscreteGaussianDpEvent(1e6)], DELTA)


def test_compositions_are_taken_apart_and_order_does_not_matter():
    gaussian, laplace, step = dp.GaussianDpEvent(4.0), dp.LaplaceDpEvent(9.0), sgd(0.1, 3.0, 10)
    nested = dp.ComposedDpEvent([laplace, dp.SelfComposedDpEvent(dp.ComposedDpEvent([gaussian, step]), 2)])
    flat = [step, gaussian, laplace, gaussian, step]
    assert dict(accounting.grouped([nested])) == dict(accounting.grouped(flat))
    assert epsilon_of([nested], DELTA) == pytest.approx(epsilon_of(flat, DELTA), rel=1e-9)


def test_a_mixture_of_gaussians_written_with_lists_is_counted():
    mixture = dp.MixtureOfGaussiansDpEvent(5.0, [0.0, 1.0, 2.0], [0.9, 0.09, 0.01])
    assert dict(accounting.grouped([mixture, mixture])).popitem()[1] == 2
    assert 0 < epsilon_of([mixture], DELTA) < epsilon_of([dp.GaussianDpEvent(2.5)], DELTA)


# --- discrete mechanisms, by brute force ---------------------------------------------------------------------------


def tables(event: dp.DpEvent) -> tuple[np.ndarray, np.ndarray]:
    """The output probabilities of one count with and without the unit, on the same integers."""
    shift = event.sensitivity
    if isinstance(event, DiscreteGaussianDpEvent):
        x = np.arange(-math.ceil(11 * event.sigma) - shift, math.ceil(11 * event.sigma) + 2 * shift + 1)
        without, with_unit = (np.exp(-((x - s) ** 2) / (2 * event.sigma**2)) for s in (0, shift))
    else:
        reach = math.ceil(40 / event.noise_parameter)
        x = np.arange(-reach - shift, reach + 2 * shift + 1)
        without, with_unit = (np.exp(-event.noise_parameter * abs(x - s)) for s in (0, shift))
    return without / without.sum(), with_unit / with_unit.sum()


def brute_force_delta(mechanisms: list[dp.DpEvent], epsilon: float) -> float:
    """The hockey-stick divergence of the product, every outcome of every mechanism written out."""
    without = with_unit = np.ones(1)
    for mechanism in mechanisms:
        one, other = tables(mechanism)
        without, with_unit = np.outer(without, one).ravel(), np.outer(with_unit, other).ravel()
    return float(np.maximum(without - math.exp(epsilon) * with_unit, 0).sum())


@pytest.mark.parametrize(
    "mechanisms",
    [
        [DiscreteGaussianDpEvent(0.4)],
        [DiscreteGaussianDpEvent(1.0)] * 3,
        [DiscreteGaussianDpEvent(2.0, 3), DiscreteGaussianDpEvent(3.0)],
        [dp.DiscreteLaplaceDpEvent(0.5, 1)] * 2,
        [dp.DiscreteLaplaceDpEvent(0.7, 2), DiscreteGaussianDpEvent(5.0), DiscreteGaussianDpEvent(1.5)],
    ],
)
def test_never_below_brute_force_and_hardly_above(mechanisms):
    for epsilon in (0.0, 0.3, 1.0, 2.5):
        exact = brute_force_delta(mechanisms, epsilon)
        assert exact * (1 - 1e-8) - 1e-15 <= delta_of(mechanisms, epsilon) <= exact * 1.01 + 1e-12


def test_brute_force_rejects_noise_a_third_too_small():
    wrong = [DiscreteGaussianDpEvent(3.0)] * 2
    assert brute_force_delta([DiscreteGaussianDpEvent(2.0)] * 2, 1.0) > 1.5 * delta_of(wrong, 1.0)


def test_the_discrete_gaussian_is_canonne_kamath_steinke_theorem_7():
    sigma, epsilon = 3.0, 1.0
    x = np.arange(-60, 61)
    noise = np.exp(-(x**2) / (2 * sigma**2))
    noise /= noise.sum()
    exact = noise[x > epsilon * sigma**2 - 0.5].sum() - math.exp(epsilon) * noise[x > epsilon * sigma**2 + 0.5].sum()
    assert delta_of([DiscreteGaussianDpEvent(sigma)], epsilon) == pytest.approx(exact, rel=1e-3)


@pytest.mark.parametrize(("sigma", "count"), [(10.0, 1), (50.0, 100), (500.0, 10_000)])
def test_at_large_sigma_the_discrete_gaussian_is_the_continuous_one(sigma, count):
    discrete = epsilon_of([DiscreteGaussianDpEvent(sigma)] * count, DELTA)
    assert discrete == pytest.approx(gaussian_epsilon(math.sqrt(count) / sigma), rel=0.003)
    assert discrete != pytest.approx(gaussian_epsilon(math.sqrt(count) / sigma * 1.5), rel=0.1)


def spread_costs_more_by(sigma: float, a: int, b: int, shift: int) -> float:
    """The most by which shifts (a) and (b) composed pass one `shift`, over the kinks of the latter's curve.

    All curves are written through tails of integer noise: y for one count, a x + b z for two.
    """
    reach = math.ceil(11.6 * sigma) + 1
    noise = np.arange(-reach, reach + 1)
    mass = np.exp(-(noise**2) / (2 * sigma**2))
    mass /= mass.sum()
    both = np.convolve(_stretched(mass, a), _stretched(mass, b))
    squares = a * a + b * b
    kinks = np.exp(np.minimum((shift * noise + shift**2 / 2) / sigma**2, 700))
    together = _tail(mass, noise + 1) - kinks * _tail(mass, noise + 1 + shift)
    threshold = shift * noise + (shift**2 - squares) // 2 + 1
    apart = _tail(both, threshold) - kinks * _tail(both, threshold + squares)
    return float((apart - together)[together > 1e-14].max())


def _stretched(mass: np.ndarray, by: int) -> np.ndarray:
    stretched = np.zeros((len(mass) - 1) * by + 1)
    stretched[::by] = mass
    return stretched


def _tail(mass: np.ndarray, start: np.ndarray) -> np.ndarray:
    """P(noise >= start) of symmetric integer noise."""
    reach = (len(mass) - 1) // 2
    tails = np.append(np.cumsum(mass[::-1])[::-1], 0.0)
    return tails[np.clip(start + reach, 0, 2 * reach + 1)]


@pytest.mark.parametrize("sigma", [0.2, 0.35, 0.5, 0.8, 1.0, 1.7, 3.0, 6.0])
def test_a_unit_spread_over_cells_costs_no_more_than_in_one(sigma):
    pairs = [(a, total - a) for total in range(2, 11) for a in range(1, total // 2 + 1)]
    assert max(spread_costs_more_by(sigma, a, b, a + b) for a, b in pairs) < 1e-14


def test_the_comparison_of_spread_and_concentrated_can_fail():
    assert spread_costs_more_by(2.0, 3, 3, 4) > 1e-3  # 3 and 3 are about one shift of 4.24


@pytest.mark.slow
@pytest.mark.parametrize("sigma", [*np.geomspace(0.2, 8, 40), 16.0, 32.0, 64.0])
def test_spread_costs_no_more_for_every_pair(sigma):
    totals = range(2, events.LARGEST_SENSITIVITY + 1)
    pairs = [(a, total - a) for total in totals for a in range(1, total // 2 + 1)]
    assert max(spread_costs_more_by(sigma, a, b, a + b) for a, b in pairs) < 1e-14


def test_parameters_of_the_discrete_gaussian_are_checked():
    for sigma, sensitivity in ((0.0, 1), (math.nan, 1), (1.0, 0), (1.0, 1.5)):
        with pytest.raises(InputError, match=r"sigma|sensitivity"):
            DiscreteGaussianDpEvent(sigma, sensitivity)
    with pytest.raises(LedgerError, match="33 rows"):
        DiscreteGaussianDpEvent(100.0, 33)
    assert epsilon_of([DiscreteGaussianDpEvent(0.19, 2)], DELTA) == math.inf


# --- DP-SGD against another accountant -----------------------------------------------------------------------------


def prv(sample_rate: float, noise_multiplier: float, steps: int) -> float:
    """Opacus's accountant of privacy random variables (Gopi, Lee, Wutschitz 2021)."""
    from opacus.accountants import PRVAccountant

    accountant = PRVAccountant()
    accountant.history = [(noise_multiplier, sample_rate, steps)]
    return float(accountant.get_epsilon(1e-5, eps_error=0.004))


@pytest.mark.filterwarnings("ignore:Optimal order is the largest alpha")  # of a bound that only sizes its grid
@pytest.mark.parametrize(
    ("sample_rate", "noise_multiplier", "steps"),
    [(0.157, 10.5, 300), (0.01, 1.0, 1000), (0.3, 4.0, 100), (0.05, 0.8, 200)],
)
def test_dp_sgd_agrees_with_opacus_within_one_percent(sample_rate, noise_multiplier, steps):
    other = prv(sample_rate, noise_multiplier, steps)
    assert epsilon_of([sgd(sample_rate, noise_multiplier, steps)], 1e-5) == pytest.approx(other, rel=0.01)
    wrong = epsilon_of([sgd(sample_rate, noise_multiplier * 2 / 3, steps)], 1e-5)
    assert wrong != pytest.approx(other, rel=0.3)


def test_sampling_everything_is_plain_gaussians():
    assert close_above(epsilon_of([sgd(1.0, 20.0, 100)], DELTA), gaussian_epsilon(10 / 20))


def test_joint_composition_beats_adding_epsilons():
    counts, steps = [DiscreteGaussianDpEvent(30.0)] * 10, [sgd(0.157, 10.5, 300)]
    joint = epsilon_of(counts + steps, DELTA)
    assert max(epsilon_of(counts, DELTA), epsilon_of(steps, DELTA)) < joint
    assert joint < epsilon_of(counts, DELTA / 2) + epsilon_of(steps, DELTA / 2)


# --- what an attacker may reach ------------------------------------------------------------------------------------


@pytest.mark.parametrize("mu", [0.1, 0.5, 1.0, 3.0])
def test_the_tpr_of_a_gaussian_is_its_trade_off_curve(mu):
    for fpr in (0.001, 0.01, 0.2, 0.9):
        exact = float(norm.cdf(norm.ppf(fpr) + mu))
        assert exact * (1 - 1e-9) <= tpr_at_fpr([dp.GaussianDpEvent(1 / mu)], fpr) <= exact * 1.005
    wrong = tpr_at_fpr([dp.GaussianDpEvent(2 / (3 * mu))], 0.01)
    assert wrong > norm.cdf(norm.ppf(0.01) + mu) * 1.05


def test_the_tpr_at_the_ends():
    assert tpr_at_fpr([], 0.01) == 0.01
    assert tpr_at_fpr([], 0.01, delta=0.1) == pytest.approx(0.11)
    assert tpr_at_fpr([dp.NonPrivateDpEvent()], 0.01) == 1
    assert tpr_at_fpr([dp.GaussianDpEvent(0.1)], 0.01) <= 1
    laplace = [dp.LaplaceDpEvent(1.0)]
    assert tpr_at_fpr(laplace, 0.01) == pytest.approx(math.e * 0.01, rel=0.01)
    assert tpr_at_fpr(laplace, 0.01, delta=0.001) == pytest.approx(math.e * 0.01 + 0.001, rel=0.01)


# --- speed ---------------------------------------------------------------------------------------------------------


def seconds(work) -> float:
    accounting._composed.cache_clear()
    accounting._repeated.cache_clear()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def test_ten_thousand_charges_compose_in_under_two_seconds():
    charges = [DiscreteGaussianDpEvent(500.0 + number % 7) for number in range(10_000)]
    assert seconds(lambda: epsilon_of(charges, DELTA)) < 2


def test_a_typical_ledger_composes_in_under_a_second():
    different = [DiscreteGaussianDpEvent(20 + 0.37 * number) for number in range(30)]
    assert seconds(lambda: epsilon_of([*different, sgd(0.157, 10.0, 300)], DELTA)) < 1
    assert seconds(lambda: epsilon_of([DiscreteGaussianDpEvent(30_000.0)], DELTA)) < 1


# --- events as data ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "event",
    [
        dp.GaussianDpEvent(1.1),
        DiscreteGaussianDpEvent(0.1 + 0.2, 3),
        dp.LaplaceDpEvent(2.5),
        dp.DiscreteLaplaceDpEvent(0.3, 2),
        dp.MixtureOfGaussiansDpEvent(5.0, (0.0, 1.0), (0.5, 0.5)),
        sgd(0.157, 4.64, 300),
        dp.ComposedDpEvent([dp.NonPrivateDpEvent(), dp.NoOpDpEvent(), dp.GaussianDpEvent(2.0)]),
    ],
)
def test_an_event_is_read_back_as_it_was_written(event):
    assert events.from_dict(json.loads(json.dumps(events.to_dict(event)))) == event
    assert events.in_words(event)


@pytest.mark.parametrize("plain", [{}, {"kind": "magic"}, {"kind": "gaussian"}, {"kind": "nothing", "more": 1}])
def test_what_is_no_event_is_refused(plain):
    with pytest.raises(LedgerError, match="is no event"):
        events.from_dict(plain)


def test_an_event_without_a_written_form_is_named():
    with pytest.raises(LedgerError, match="ZCDpEvent"):
        events.to_dict(dp.ZCDpEvent(0.5))
    with pytest.raises(LedgerError, match="finite"):
        events.to_dict(dp.GaussianDpEvent(math.inf))
    assert events.to_dict(dp.GaussianDpEvent(np.float64(2.0))) == {"kind": "gaussian", "noise_multiplier": 2.0}
