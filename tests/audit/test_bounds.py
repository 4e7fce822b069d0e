"""Lower bounds on epsilon: they hold as often as they say, find what they can, and expose a wrong mechanism."""

import math

import numpy as np
import pytest
from scipy.stats import binom, norm

from tabsynth.audit import bounds
from tabsynth.audit.bounds import (
    counted_epsilon,
    counted_mu,
    epsilon_of_mu,
    mean_shift_mu,
    one_run_epsilon,
    one_run_mu,
    one_run_p_value,
)
from tabsynth.errors import InputError
from tabsynth.privacy.accounting import gaussian_delta, gaussian_mu
from tabsynth.privacy.budget import Budget

DELTA = 1e-5
SEEDS = 200
# wrong more often than this in SEEDS trials has probability below 1% when each is wrong with probability 5%
ALLOWED = int(binom.isf(0.01, SEEDS, 0.05))


def gaussian_scores(mu, canaries, seed):
    """Ideal scores of one run: unit normals, mu higher where the canary is in."""
    rng = np.random.default_rng(seed)
    coin = rng.random(canaries) < 0.5
    return rng.normal(size=canaries) + mu * coin, coin


def extremes(scores, coin, guesses):
    """Guess "in" for the highest half of the guesses and "out" for the lowest; return how many are right."""
    order = np.argsort(-scores)
    half = guesses // 2
    return int(coin[order[:half]].sum() + (~coin[order[len(order) - half :]]).sum())


def one_run(mu, seed, canaries=1000, guesses=200):
    scores, coin = gaussian_scores(mu, canaries, seed)
    right = extremes(scores, coin, guesses)
    return (
        one_run_epsilon(right, guesses, canaries, delta=DELTA),
        epsilon_of_mu(one_run_mu(right, guesses, canaries), DELTA),
        epsilon_of_mu(mean_shift_mu(scores[coin], scores[~coin]), DELTA),
    )


def many_runs(mu, seed, runs=2000):
    rng = np.random.default_rng(seed)
    counts = (int(rng.binomial(runs, norm.sf(mu / 2))), runs, int(rng.binomial(runs, norm.cdf(-mu / 2))), runs)
    return counted_epsilon(*counts, delta=DELTA), epsilon_of_mu(counted_mu(*counts), DELTA)


@pytest.mark.parametrize("epsilon", [1.0, 4.0, 8.0])
def test_a_bound_passes_the_truth_no_more_often_than_it_says(epsilon):
    mu = gaussian_mu(Budget(epsilon, DELTA))
    found = np.array([(*one_run(mu, seed), *many_runs(mu, seed)) for seed in range(SEEDS)])
    assert ((found > epsilon).sum(axis=0) <= ALLOWED).all()


@pytest.mark.parametrize("epsilon", [0.0, 1.0, 4.0])
def test_pure_privacy_is_not_exceeded_either(epsilon):
    """Randomised response is the worst case of the bounds that assume nothing; canaries guess themselves."""
    rng = np.random.default_rng(1)
    rate = 1 / (1 + math.exp(-epsilon))
    one = [one_run_epsilon(int(rng.binomial(500, rate)), 500, 500, delta=0.0) for _ in range(SEEDS)]
    wrong = rng.binomial(1000, 1 - rate, (SEEDS, 2))
    many = [counted_epsilon(int(a), 1000, int(b), 1000, delta=0.0) for a, b in wrong]
    assert sum(bound > epsilon for bound in one) <= ALLOWED
    assert sum(bound > epsilon for bound in many) <= ALLOWED
    assert np.mean(one) > 0.75 * epsilon
    assert np.mean(many) > 0.75 * epsilon


def test_the_one_run_bound_uses_up_the_error_it_may_make():
    """On randomised response the count is exactly the binomial of the theorem: the bound is neither loose nor wrong."""
    rng = np.random.default_rng(2)
    rate = 1 / (1 + math.exp(-1.0))
    found = [one_run_epsilon(int(c), 2000, 2000, delta=0.0) for c in rng.binomial(2000, rate, 1000)]
    wrong = sum(bound > 1.0 for bound in found)
    assert binom.cdf(wrong, 1000, 0.05) > 0.001
    assert binom.sf(wrong - 1, 1000, 0.05) > 0.001


@pytest.mark.parametrize(
    ("epsilon", "canaries", "plain", "shaped", "shift"),
    [(1.0, 5000, 0.35, 0.44, 0.75), (3.0, 1000, 0.9, 1.3, 2.1), (10.0, 1000, 2.4, 3.5, 8.5)],
)
def test_power_is_what_the_literature_leads_to_expect(epsilon, canaries, plain, shaped, shift):
    mu = gaussian_mu(Budget(epsilon, DELTA))
    found = np.mean([one_run(mu, seed, canaries, canaries // 10) for seed in range(20)], axis=0)
    assert found[0] >= plain
    assert found[1] >= shaped
    assert found[2] >= shift


def test_many_runs_of_a_gaussian_come_close_to_the_truth():
    for epsilon in (1.0, 2.0, 4.0, 8.0):
        mu = gaussian_mu(Budget(epsilon, DELTA))
        found = [many_runs(mu, seed, runs=50_000)[1] for seed in range(10)]
        assert 0.85 * epsilon <= np.mean(found) <= epsilon


def test_noise_a_third_too_small_is_exposed():
    """The claim is epsilon 4; the noise is two thirds of what that takes."""
    mu = 1.5 * gaussian_mu(Budget(4.0, DELTA))
    shifts = [one_run(mu, seed, canaries=2000)[2] for seed in range(20)]
    assert sum(bound > 4.0 for bound in shifts) >= 19
    counted = [many_runs(mu, seed, runs=10_000)[1] for seed in range(20)]
    assert sum(bound > 4.0 for bound in counted) >= 19


def test_noise_left_out_is_exposed_without_any_assumption():
    assert one_run_epsilon(1000, 1000, 1000, delta=DELTA) > 5
    assert counted_epsilon(0, 1000, 0, 1000, delta=DELTA) > 5


def test_a_second_way_to_the_same_p_value():
    """The term in delta, by the sums of the theorem written out."""
    epsilon, right, guesses, canaries, delta = 1.3, 60, 80, 100, 1e-3
    law = binom(guesses, 1 / (1 + math.exp(-epsilon)))
    slow = max(sum(law.pmf(right - j) for j in range(1, i + 1)) / i for i in range(1, right + 1))
    expected = law.sf(right - 1) + 2 * canaries * delta * slow
    assert one_run_p_value(epsilon, right, guesses, canaries, delta) == pytest.approx(expected, rel=1e-9)


def test_the_ends_are_those_of_clopper_and_pearson():
    """At the end the observed count has exactly the probability that is allowed."""
    end = bounds._upper(7, 200, 0.025)
    assert binom.cdf(7, 200, end) == pytest.approx(0.025)
    assert bounds._upper(200, 200, 0.025) == 1.0


def test_both_directions_and_both_worlds_are_looked_at():
    low_fpr, low_fnr = (
        counted_epsilon(0, 1000, 500, 1000, delta=DELTA),
        counted_epsilon(500, 1000, 0, 1000, delta=DELTA),
    )
    assert low_fpr == pytest.approx(low_fnr)
    assert counted_epsilon(1000, 1000, 500, 1000, delta=DELTA) == pytest.approx(low_fpr)
    assert low_fpr > 4


def test_a_larger_delta_explains_more():
    found = [one_run_epsilon(95, 100, 1000, delta=delta) for delta in (0.0, 1e-5, 1e-4, 1e-3)]
    assert found == sorted(found, reverse=True)
    assert found[0] > found[-1]
    assert counted_epsilon(0, 1000, 900, 1000, delta=0.2) == 0.0


def test_more_confidence_says_less():
    for bound in (one_run_mu, lambda *a, confidence: one_run_epsilon(*a, delta=DELTA, confidence=confidence)):
        assert bound(90, 100, 1000, confidence=0.999) < bound(90, 100, 1000, confidence=0.9)


def test_an_attack_that_guesses_finds_nothing():
    assert one_run_epsilon(50, 100, 1000, delta=DELTA) == 0.0
    assert one_run_mu(50, 100, 1000) == 0.0
    assert one_run_mu(0, 0, 1000) == 0.0
    assert counted_epsilon(500, 1000, 500, 1000, delta=DELTA) == 0.0
    assert counted_mu(500, 1000, 500, 1000) == 0.0
    rng = np.random.default_rng(0)
    assert mean_shift_mu(rng.normal(0, 1, 50), rng.normal(1, 1, 50)) == 0.0


def test_scores_without_any_spread():
    same = np.ones(10)
    assert mean_shift_mu(same, same) == 0.0
    assert mean_shift_mu(same + 1, same) > 10
    assert mean_shift_mu(same, np.ones(1)) == 0.0


@pytest.mark.parametrize("mu", [0.1, 0.5, 1.0, 3.0])
def test_epsilon_of_mu_is_the_inverse_of_delta(mu):
    assert gaussian_delta(mu, epsilon_of_mu(mu, 1e-6)) == pytest.approx(1e-6, rel=0.01)
    assert epsilon_of_mu(mu, 0.0) == math.inf
    assert epsilon_of_mu(mu, 0.99) == 0.0


@pytest.mark.parametrize("counts", [(11, 10, 100), (5, 101, 100), (-1, 10, 100)])
def test_impossible_counts_are_refused(counts):
    with pytest.raises(InputError, match="no possible outcome"):
        one_run_epsilon(*counts, delta=DELTA)
    with pytest.raises(InputError, match="no possible outcome"):
        one_run_mu(*counts)


def test_other_impossible_numbers_are_refused():
    with pytest.raises(InputError, match="cannot have happened"):
        counted_mu(11, 10, 0, 10)
    with pytest.raises(InputError, match="confidence"):
        one_run_mu(5, 10, 100, confidence=1.0)
    with pytest.raises(InputError, match="delta"):
        one_run_epsilon(5, 10, 100, delta=2.0)
