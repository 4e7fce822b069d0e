"""What a gate needs of the ledger: attempts counted, a share set aside, and what the curve allows an attack."""

import math

import numpy as np
import pytest
from dp_accounting import dp_event as dp
from scipy.stats import norm

from tabsynth.errors import InputError, LedgerError
from tabsynth.privacy import ledger_file
from tabsynth.privacy.accounting import largest_auc, tpr_at_fpr
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.words import claim_in_words, percent
from tabsynth.schema import Unit

ONE = Budget(1.0, 1e-6)


def opened(path, budget=ONE) -> Ledger:
    return Ledger.open(path, data=b"age\n1\n", budget=budget, wait=0.05)


def test_attempts_of_all_fits_are_counted_before_the_gate_looks(tmp_path):
    path = tmp_path / "people.ledger"
    first = opened(path)
    first.close()
    assert first.attempt() == 1
    assert ledger_file.verify(path).fits[0].decisions == (), "an attempt is on disk before its decision"
    first.decided("refused")
    second = opened(path)
    assert second.attempt() == second.attempt() == 2, "until it is decided it is the same one"
    second.decided("refused")
    assert second.attempt() == 3, "the same fit may be held against a gate again, and that counts"
    second.decided("released")
    fits = ledger_file.verify(path).fits
    assert [fit.attempts for fit in fits] == [1, 2]
    assert [fit.decisions for fit in fits] == [("refused",), ("refused", "released")]
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if '"attempt"' not in line))
    with pytest.raises(LedgerError, match="altered"):
        ledger_file.verify(path)


def test_without_a_file_nothing_is_counted():
    ledger = Ledger(ONE)
    assert ledger.attempt() is None
    ledger.decided("released")
    assert ledger.attempt() is None


def test_shares_after_setting_aside_are_of_the_rest():
    ledger, whole = Ledger(ONE), Ledger(ONE)
    noise = ledger.set_aside(0.1)
    assert noise == whole.sigma(0.1)
    assert ledger.sigma(0.5) == pytest.approx(whole.sigma(0.45))
    ledger.charge(dp.GaussianDpEvent(noise), why="gate")
    for share in (0.3, 0.7):
        ledger.charge(dp.GaussianDpEvent(ledger.sigma(share)), why="counts")
    assert 0.99 <= ledger.spent.epsilon <= 1.0
    assert Ledger().set_aside(0.1) == 0.0


def test_a_share_is_set_aside_once_and_first():
    ledger = Ledger(ONE)
    for share in (0.0, 1.0, math.nan):
        with pytest.raises(InputError, match="share"):
            ledger.set_aside(share)
    ledger.set_aside(0.1)
    with pytest.raises(LedgerError, match="once, before the first charge"):
        ledger.set_aside(0.1)
    late = Ledger(ONE)
    late.charge(dp.GaussianDpEvent(50.0), why="counts")
    with pytest.raises(LedgerError, match="before the first charge"):
        late.set_aside(0.1)


@pytest.mark.parametrize("mu", [0.05, 0.3, 1.0, 3.0])
def test_the_largest_auc_of_a_gaussian_is_that_of_two_normals(mu):
    found = largest_auc([dp.GaussianDpEvent(1 / mu)])
    assert 0 <= found - norm.cdf(mu / math.sqrt(2)) <= 2e-3
    assert largest_auc([dp.GaussianDpEvent(1 / (0.9 * mu))]) < found, "less noise allows more"


def test_the_largest_auc_is_the_area_under_the_largest_tpr():
    events = [dp.SelfComposedDpEvent(dp.PoissonSampledDpEvent(0.1, dp.GaussianDpEvent(1.5)), 50)]
    fprs = np.linspace(0, 1, 31)
    area = np.trapezoid([tpr_at_fpr(events, fpr, 1e-3) for fpr in fprs], fprs)
    assert largest_auc(events, 1e-3) == pytest.approx(area, abs=5e-3)
    assert largest_auc([dp.NonPrivateDpEvent()]) == 1


def test_the_claim_and_the_ledgers_explanation_say_the_same_and_name_the_unit():
    ledger = Ledger(ONE)
    ledger.spend_rest(dp.GaussianDpEvent, why="all of it")
    guessed, found = ledger.odds()
    assert 0.5 < guessed < math.e / (1 + math.e)
    assert guessed < ledger.auc() < 1
    said = " ".join(claim_in_words(ledger, Unit("patient", 5)))
    for number in (percent(guessed), percent(found)):
        assert number in said
        assert number in ledger.explain("one patient")
    assert said.count("share one value of the column 'patient'") == 2
    assert "one patient was in the table" in ledger.explain("one patient")
    assert Ledger().odds() == (1.0, 1.0)
    assert Ledger().auc() == 1.0
