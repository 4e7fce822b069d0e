"""Many runs: mechanisms in two worlds, thresholds fixed beforehand, right ones left alone and wrong ones exposed."""

import math

import numpy as np
import pytest
from scipy.stats import binom

from tabsynth.audit.claim import Claim, covering_mu
from tabsynth.audit.many_run import Mechanism, audit_mechanism, judge_worlds, mechanisms
from tabsynth.audit.result import Worlds, attack_of, guessed_right, judge_one_run, planned_guesses
from tabsynth.errors import InputError
from tabsynth.privacy.accounting import DiscreteGaussianDpEvent, epsilon_of, gaussian_mu
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.mechanisms import noisy_count

BUDGET = Budget(4.0, 1e-5)
NAMES = [mechanism.name for mechanism in mechanisms(BUDGET)]


def named(name, budget=BUDGET):
    (found,) = [mechanism for mechanism in mechanisms(budget) if mechanism.name == name]
    return found


@pytest.mark.parametrize("name", NAMES)
def test_the_mechanisms_keep_their_claim(name):
    result = audit_mechanism(named(name), delta=1e-5, runs=500, confidence=0.999)
    assert result.verdict == "consistent"
    assert result.subject == name


@pytest.mark.parametrize("name", ["noisy_histogram", "noisy_count"])
def test_a_gaussian_count_is_nearly_used_up(name):
    result = audit_mechanism(named(name), delta=1e-5, runs=1500)
    (shift,) = [bound for bound in result.bounds if bound.method.startswith("mean shift")]
    assert shift.epsilon > 0.75 * 4


def test_a_selection_is_nearly_used_up_without_assumptions():
    result = audit_mechanism(named("select"), delta=1e-5, runs=1500)
    (free,) = [bound for bound in result.bounds if bound.method == "Clopper-Pearson"]
    assert 0.5 * 4 < free.epsilon < 4


def alarms(mechanism, seeds, runs):
    """How many of so many audits bound epsilon above the claim: by each bound alone, then by the verdict."""
    audits = [audit_mechanism(mechanism, delta=1e-5, runs=runs) for _ in range(seeds)]
    alone = np.array([[bound.epsilon > bound.against for bound in audit.bounds] for audit in audits]).sum(0)
    return [*alone, sum(audit.verdict != "consistent" for audit in audits)]


@pytest.mark.parametrize("name", NAMES)
def test_a_few_audits_of_the_right_mechanisms_raise_no_more_alarms_than_they_may(name):
    assert max(alarms(named(name), seeds=10, runs=100)) <= binom.isf(0.0005, 10, 0.05)


def test_the_same_few_audits_tell_a_wrong_one():
    wrong = Mechanism("wrong", half_the_noise, normal=True)
    assert max(alarms(wrong, seeds=10, runs=100)) > binom.isf(0.0005, 10, 0.05)


@pytest.mark.slow
@pytest.mark.parametrize("epsilon", [1.0, 4.0, 8.0])
@pytest.mark.parametrize("name", NAMES)
def test_a_hundred_audits_of_the_right_mechanisms_raise_no_more_alarms_than_they_may(name, epsilon):
    mechanism = named(name, Budget(epsilon, 1e-5))
    assert max(alarms(mechanism, seeds=100, runs=400)) <= binom.isf(0.001, 100, 0.05)


def half_the_noise(unit, ledger, secret):
    sigma = 1 / gaussian_mu(BUDGET)
    noisy_count(lambda: 0, sigma=sigma, ledger=ledger, secret=secret, why="count")
    return noisy_count(lambda: 5 + unit, sigma=sigma / 2, ledger=Ledger(), secret=secret, why="count")


def test_noise_that_is_smaller_than_charged_is_exposed():
    """The ledger is charged for noise half as wide again as what is added."""
    sigma = 1 / gaussian_mu(BUDGET)

    def run(unit, ledger, secret):
        noisy_count(lambda: 0, sigma=sigma, ledger=ledger, secret=secret, why="count")
        return noisy_count(lambda: 5 + unit, sigma=sigma / 1.5, ledger=Ledger(), secret=secret, why="count")

    result = audit_mechanism(Mechanism("wrong", run, normal=True), delta=1e-5, runs=1200)
    assert {bound.method for bound in result.bounds if bound.exceeds} >= {"mean shift, Gaussian noise"}


def test_an_answer_that_tells_all_is_exposed_without_assumptions():
    def run(unit, ledger, secret):
        noisy_count(lambda: 0, sigma=1 / gaussian_mu(BUDGET), ledger=ledger, secret=secret, why="count")
        return float(unit)

    result = audit_mechanism(Mechanism("exact", run), delta=1e-5, runs=1000)
    assert {bound.assumes for bound in result.bounds if bound.exceeds} >= {"nothing"}


def test_what_cannot_be_audited_is_said():
    with pytest.raises(InputError, match="charges nothing"):
        audit_mechanism(Mechanism("free", lambda *a: 0.0), delta=1e-5)
    with pytest.raises(InputError, match="runs"):
        audit_mechanism(named("select"), delta=1e-5, runs=10)
    for budget in (Budget(1.0, 0.0), Budget(math.inf, 1e-5)):
        with pytest.raises(InputError, match="delta above 0"):
            mechanisms(budget)


@pytest.mark.parametrize("budget", [Budget(math.inf, 1e-5)])
def test_an_infinite_epsilon_claims_nothing(budget):
    with pytest.raises(InputError, match="no claim to audit"):
        Claim.of_budget(budget)
    with pytest.raises(InputError, match="no claim to audit"):
        Claim.of_ledger(Ledger(budget))


def test_the_covering_gaussian_covers():
    """A pure mechanism needs a wider Gaussian than its (epsilon, delta) suggests; a Gaussian needs its own."""
    from dp_accounting import LaplaceDpEvent

    pure = Claim.of_events([LaplaceDpEvent(1.0)], 1e-5)
    assert pure.epsilon == pytest.approx(1.0, rel=0.01)
    assert pure.gaussian_epsilon > 2
    counts = Claim.of_events([DiscreteGaussianDpEvent(30.0)] * 4, 1e-5)
    assert counts.mu == pytest.approx(2 / 30, rel=0.02)
    assert counts.epsilon == pytest.approx(epsilon_of([DiscreteGaussianDpEvent(30.0)] * 4, 1e-5))
    assert covering_mu([]) == 0.0


def test_the_claim_of_a_ledger_has_its_own_deltas_apart():
    ledger = Ledger(Budget(2.0, 1e-4))
    ledger.charge(DiscreteGaussianDpEvent(10.0), why="categories", delta=1e-5)
    claim = Claim.of_ledger(ledger)
    assert claim.failure == pytest.approx(1e-5, rel=0.01)
    assert claim.mu == pytest.approx(0.1, rel=0.02)


def test_thresholds_are_fixed_on_runs_that_are_not_counted():
    rng = np.random.default_rng(0)
    inside, outside = rng.normal(2, 1, 1000), rng.normal(0, 1, 1000)
    worlds = Worlds.split(inside, outside, 1e-5)
    assert len(worlds.inside) == len(worlds.outside) == 800
    later = Worlds.split(np.r_[inside[:200], inside[:200] + 50], np.r_[outside[:200], outside[:200] - 9], 1e-5, 0.5)
    assert (later.free_threshold, later.shaped_threshold) == (worlds.free_threshold, worlds.shaped_threshold)
    assert worlds.shaped_threshold == pytest.approx(1.0, abs=0.7)


def test_scores_without_end_are_taken():
    """A category that did not pass has no count: minus infinity."""
    claim = Claim.of_budget(BUDGET)
    rng = np.random.default_rng(0)
    inside, outside = np.where(rng.random((2, 500)) < [[0.5], [0.1]], 3.0, -math.inf)
    result = judge_worlds("x", claim, {"answer": (inside, outside)})
    assert result.attacks[0].auc == pytest.approx(0.7, abs=0.06)


def test_a_roc_curve_is_the_slow_one():
    rng = np.random.default_rng(0)
    coin = rng.random(300) < 0.5
    values = np.round(rng.normal(size=300) + coin, 1)  # with ties
    attack = attack_of("x", values, coin)
    pairs = values[coin][:, None] - values[~coin]
    assert attack.auc == pytest.approx((pairs > 0).mean() + 0.5 * (pairs == 0).mean())
    for rate, found in attack.roc:
        cuts = [cut for cut in [-np.inf, *values] if (values[~coin] > cut).mean() <= rate + 1e-12]
        assert found == pytest.approx(max((values[coin] > cut).mean() for cut in cuts))
    assert attack_of("x", values, np.ones(300, bool)).auc == 0.5


def test_guesses_are_the_extremes():
    values, coin = np.array([5.0, 4.0, 3.0, 2.0, 1.0]), np.array([True, False, True, False, False])
    assert guessed_right(values, coin, 2, 2) == 3
    assert guessed_right(values, coin, 1, 0) == 1
    assert guessed_right(values, coin, 0, 0) == 0


def test_the_plan_of_guesses_is_near_the_best_in_hindsight():
    from tabsynth.audit.bounds import one_run_mu

    for mu in (0.3, 0.95, 1.7):
        planned = planned_guesses(1000, mu)
        found = {}
        for guesses in {planned, 20, 100, 300, 600, 1000}:
            bounds = []
            for seed in range(15):
                rng = np.random.default_rng(seed)
                coin = rng.random(1000) < 0.5
                scores = rng.normal(size=1000) + mu * coin
                right = guessed_right(scores, coin, guesses // 2, guesses - guesses // 2)
                bounds.append(one_run_mu(right, guesses, 1000))
            found[guesses] = np.mean(bounds)
        assert found[planned] >= 0.85 * max(found.values())


def test_of_many_attacks_the_verdict_pays_for_all():
    """Ten attacks that guess: alone each may be lucky, together they may not."""
    rng = np.random.default_rng(0)
    claim = Claim(0.01, 1e-5, 0.003)
    wrong = 0
    for _ in range(40):
        scores = {f"a{i}": (rng.normal(size=200), rng.random(200) < 0.5) for i in range(10)}
        result = judge_one_run("x", claim, scores)
        wrong += result.verdict != "consistent"
        assert all(bound.jointly <= bound.epsilon for bound in result.bounds)
    assert wrong <= 5
