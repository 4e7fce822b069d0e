from __future__ import annotations

import math

import pytest

from tabsynth.errors import BudgetExceeded, LedgerError
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.exact import exact
from tabsynth.privacy.ledger import Ledger


def test_without_a_budget_the_answer_is_exact_and_written_down() -> None:
    ledger = Ledger()
    assert exact(lambda: 42, ledger=ledger, why="a count") == 42
    assert [charge.why for charge in ledger.charges] == ["a count"]
    assert ledger.spent.epsilon == math.inf


@pytest.mark.parametrize("budget", [Budget(0.1, 1e-6), Budget(400.0, 0.01)])
def test_under_any_budget_the_rows_are_not_touched(budget: Budget) -> None:
    asked = []
    ledger = Ledger(budget)
    with pytest.raises(BudgetExceeded):
        exact(lambda: asked.append(1), ledger=ledger, why="rows")
    assert (asked, ledger.charges) == ([], ())


def test_a_closed_ledger_gives_no_answer() -> None:
    ledger, asked = Ledger(), []
    ledger.close()
    with pytest.raises(LedgerError):
        exact(lambda: asked.append(1), ledger=ledger, why="rows")
    assert asked == []
