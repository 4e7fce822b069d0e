import contextlib
import json
import math
import os
import threading
import time

import pytest
from dp_accounting import dp_event as dp

from tabsynth.errors import BudgetExceeded, InputError, LedgerError
from tabsynth.privacy import accounting
from tabsynth.privacy.accounting import DiscreteGaussianDpEvent, epsilon_of
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.ledger import DISCOVERY_DELTA_SHARE, Charge, Ledger

BUDGET = Budget(1.0, 1e-6)


def sgd(noise_multiplier: float) -> dp.DpEvent:
    return dp.SelfComposedDpEvent(dp.PoissonSampledDpEvent(0.1, dp.GaussianDpEvent(noise_multiplier)), 200)


def test_a_charge_is_kept_with_its_reason_and_delta():
    ledger = Ledger(BUDGET)
    ledger.charge(DiscreteGaussianDpEvent(50.0), why="row count", delta=1e-8)
    assert ledger.charges == (Charge(DiscreteGaussianDpEvent(50.0), "row count", 1e-8),)
    assert ledger.spent.epsilon == epsilon_of([DiscreteGaussianDpEvent(50.0)], 1e-6 - 1e-8)
    assert ledger.spent.delta == 1e-6


def test_an_empty_ledger_has_spent_nothing():
    assert Ledger(BUDGET).spent.epsilon == 0
    assert not Ledger(BUDGET).closed
    assert Ledger(BUDGET).private


def test_what_does_not_fit_is_refused_and_leaves_no_trace():
    ledger = Ledger(BUDGET)
    ledger.charge(dp.GaussianDpEvent(6.0), why="counts")
    before = ledger.charges, ledger.spent
    with pytest.raises(BudgetExceeded, match=r"'pairs'.*epsilon=1\.0.*nothing was run"):
        ledger.charge(dp.GaussianDpEvent(5.0), why="pairs")
    assert (ledger.charges, ledger.spent) == before
    ledger.charge(dp.GaussianDpEvent(8.0), why="smaller pairs")
    assert ledger.spent.epsilon <= 1


def test_what_fits_exactly_is_taken():
    exact = epsilon_of([dp.GaussianDpEvent(7.0)], 1e-6)
    Ledger(Budget(exact, 1e-6)).charge(dp.GaussianDpEvent(7.0), why="all of it")
    with pytest.raises(BudgetExceeded):
        Ledger(Budget(exact * (1 - 1e-6), 1e-6)).charge(dp.GaussianDpEvent(7.0), why="a little more")


def test_deltas_of_charges_are_added_to_the_total_not_hidden():
    ledger = Ledger(BUDGET)
    with pytest.raises(BudgetExceeded):
        ledger.charge(dp.NoOpDpEvent(), why="categories", delta=1.1e-6)
    ledger.charge(dp.GaussianDpEvent(20.0), why="categories", delta=9e-7)
    assert ledger.spent.epsilon == pytest.approx(epsilon_of([dp.GaussianDpEvent(20.0)], 1e-7), rel=1e-9)
    for wrong in (-1e-9, math.nan, 2.0):
        with pytest.raises(InputError, match="delta"):
            ledger.charge(dp.GaussianDpEvent(20.0), why="categories", delta=wrong)


def test_an_event_that_cannot_be_composed_is_refused_even_without_a_budget():
    for ledger in (Ledger(BUDGET), Ledger()):
        with pytest.raises(LedgerError, match="ZCDpEvent"):
            ledger.charge(dp.ZCDpEvent(0.1), why="no")
        assert not ledger.charges


@pytest.mark.parametrize("budget", [Budget(0.1, 1e-6), Budget(1, 1e-5), Budget(8, 1e-6)])
def test_shares_of_sigma_that_sum_to_one_nearly_spend_the_budget(budget):
    ledger = Ledger(budget)
    for share in (0.1, 0.2, 0.3, 0.4):
        ledger.charge(dp.GaussianDpEvent(ledger.sigma(share)), why="measurement")
    assert 0.96 * budget.epsilon < ledger.spent.epsilon <= budget.epsilon
    with pytest.raises(BudgetExceeded):
        ledger.charge(dp.GaussianDpEvent(ledger.sigma(0.2)), why="one too many")


def test_shares_leave_room_for_the_deltas_of_discovery():
    ledger = Ledger(BUDGET)
    ledger.charge(DiscreteGaussianDpEvent(ledger.sigma(0.5)), why="categories", delta=DISCOVERY_DELTA_SHARE * 1e-6)
    ledger.charge(dp.GaussianDpEvent(ledger.sigma(0.5) * 1.001), why="the other half")


@pytest.mark.parametrize("share", [0, -0.1, 1.1, math.nan])
def test_a_share_out_of_range_is_named(share):
    with pytest.raises(InputError, match="share"):
        Ledger(BUDGET).sigma(share)


def test_a_gaussian_measurement_needs_a_delta():
    with pytest.raises(InputError, match="delta"):
        Ledger(Budget(1.0, 0.0)).sigma(0.5)


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 10.0])
def test_the_rest_lands_just_below_the_budget_quickly(epsilon):
    ledger = Ledger(Budget(epsilon, 1e-6))
    start = time.perf_counter()
    for number in range(10):
        ledger.charge(DiscreteGaussianDpEvent(ledger.sigma(0.03) * (1 + number / 100)), why="counts")
    noise = ledger.spend_rest(sgd, why="training")
    assert time.perf_counter() - start < 5
    assert 0.99 * epsilon <= ledger.spent.epsilon <= epsilon * (1 + 1e-9)
    assert ledger.closed
    assert ledger.charges[-1] == Charge(sgd(noise), "training")
    third_too_small = [charge.event for charge in ledger.charges[:-1]] + [sgd(noise * 2 / 3)]
    assert epsilon_of(third_too_small, 1e-6) > 1.2 * epsilon


def test_a_closed_ledger_takes_nothing_more():
    ledger = Ledger(BUDGET)
    ledger.spend_rest(dp.GaussianDpEvent, why="all")
    with pytest.raises(LedgerError, match="closed"):
        ledger.charge(dp.GaussianDpEvent(1e4), why="more")
    with pytest.raises(LedgerError, match="closed"):
        ledger.spend_rest(dp.GaussianDpEvent, why="again")
    assert len(ledger.charges) == 1


def test_threads_that_race_do_not_overspend(monkeypatch):
    ledger, together, refused = Ledger(BUDGET), threading.Barrier(2, timeout=0.2), []
    fits = accounting.fits

    def slow(*given):
        found = fits(*given)
        with contextlib.suppress(threading.BrokenBarrierError):
            together.wait()  # both would have looked before either has written
        return found

    monkeypatch.setattr(accounting, "fits", slow)

    def spend():
        try:
            ledger.charge(dp.GaussianDpEvent(5.0), why="counts")
        except BudgetExceeded as error:
            refused.append(error)

    threads = [threading.Thread(target=spend) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(ledger.charges), len(refused)) == (1, 1)


def test_a_forked_process_cannot_spend_the_same_budget_again(monkeypatch):
    ledger = Ledger(BUDGET)
    with monkeypatch.context() as forked:
        forked.setattr(os, "getpid", lambda: -1)
        with pytest.raises(LedgerError, match="closed"):
            ledger.charge(dp.GaussianDpEvent(6.0), why="counts")
    ledger.charge(dp.GaussianDpEvent(6.0), why="counts")


def test_a_fit_may_end_with_something_left():
    ledger = Ledger(BUDGET)
    ledger.charge(dp.GaussianDpEvent(9.0), why="counts")
    ledger.close()
    assert ledger.closed
    assert ledger.spent.epsilon < 1
    for again in (ledger.close, lambda: ledger.charge(dp.GaussianDpEvent(9.0), why="counts")):
        with pytest.raises(LedgerError, match="closed"):
            again()


def test_the_budget_cannot_be_exchanged():
    with pytest.raises(AttributeError):
        Ledger(BUDGET).budget = Budget(9.0, 1e-6)


def test_nothing_left_is_not_calibrated_to_absurd_noise():
    ledger = Ledger(Budget(0.5, 0.0))
    ledger.charge(dp.LaplaceDpEvent(2.0), why="all of a pure budget")
    with pytest.raises(BudgetExceeded, match="training"):
        ledger.spend_rest(sgd, why="training")
    assert not ledger.closed
    assert len(ledger.charges) == 1


@pytest.mark.parametrize("budget", [None, Budget(math.inf, 1e-6)])
def test_without_a_budget_charges_are_recorded_and_nothing_is_claimed(budget):
    ledger = Ledger(budget)
    ledger.charge(dp.GaussianDpEvent(0.01), why="counts")
    assert ledger.sigma(0.5) == 0
    assert ledger.spend_rest(sgd, why="training") == 0
    assert len(ledger.charges) == 2
    assert ledger.closed
    assert not ledger.private
    assert ledger.spent.epsilon == math.inf
    assert "Not private" in ledger.explain()
    assert ledger.tpr_at_fpr(0.01) == 1
    with pytest.raises(LedgerError, match="closed"):
        ledger.charge(dp.GaussianDpEvent(1.0), why="more")


def test_marked_not_private_stays_so():
    ledger = Ledger(BUDGET)
    ledger.mark_not_private("the noise has a fixed seed")
    ledger.mark_not_private("the noise has a fixed seed")
    ledger.charge(dp.GaussianDpEvent(10.0), why="counts")
    assert not ledger.private
    assert ledger.spent.epsilon == math.inf
    assert ledger.notes == ("Not private: the noise has a fixed seed",)
    with pytest.raises(BudgetExceeded):  # the plan is still kept to
        ledger.charge(dp.GaussianDpEvent(0.1), why="more")


def test_the_ledger_as_plain_values():
    ledger = Ledger(BUDGET)
    ledger.charge(DiscreteGaussianDpEvent(50.0, 2), why="counts", delta=1e-8)
    ledger.note("bins were declared")
    plain = json.loads(json.dumps(ledger.to_dict(), allow_nan=False))
    assert plain["budget"] == {"epsilon": 1.0, "delta": 1e-6}
    assert plain["spent"]["epsilon"] == ledger.spent.epsilon
    assert plain["accountant"] == ledger.accountant == "PLD"
    assert plain["neighbours"] == "add or remove one"
    assert plain["private"] is True
    assert plain["notes"] == ["bins were declared"]
    assert plain["charges"] == [
        {
            "why": "counts",
            "mechanism": "discrete gaussian noise (sigma 50, sensitivity 2)",
            "delta": 1e-8,
            "event": {"kind": "discrete gaussian", "sigma": 50.0, "sensitivity": 2},
        }
    ]
    assert json.loads(json.dumps(Ledger().to_dict(), allow_nan=False))["spent"]["epsilon"] is None


def test_the_explanation_quotes_what_the_curve_allows():
    ledger = Ledger(BUDGET)
    ledger.charge(dp.GaussianDpEvent(5.0), why="counts")
    advantage = accounting.gaussian_delta(1 / 5.0, 0.0)
    assert f"{(1 + advantage) / 2:.1%}" in ledger.explain()
    assert f"{ledger.tpr_at_fpr(0.01):.1%}" in ledger.explain()
    assert 0.01 < ledger.tpr_at_fpr(0.01) < 0.02


def test_a_ledger_describes_itself():
    assert "0 charges" in repr(Ledger(BUDGET))
    assert "epsilon inf" in repr(Ledger())
