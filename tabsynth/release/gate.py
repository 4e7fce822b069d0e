"""Whether a release may leave: every reason against it, named without a number."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tabsynth.policy import Verdict
from tabsynth.privacy.ledger import Ledger

ROUNDING = 1e-9  # relative: two compositions of the same charges may differ in the last digits


def refusals(verdicts: Sequence[Verdict], ledger: Ledger | None) -> tuple[str, ...]:
    """Return every reason to refuse, worst first; empty when the release may leave.

    The texts name checks and public facts only. `ledger` is None for rows that another tool made: then only the
    verdicts count.
    """
    reasons = _against_ledger(ledger) if ledger is not None else []
    if not verdicts:
        reasons.append("no check was made")
    elif not any(verdict.status == "passed" for verdict in verdicts):
        reasons.append("no check passed")
    reasons += [f"the check {verdict.name} failed" for verdict in verdicts if verdict.status == "failed"]
    return tuple(reasons)


def _against_ledger(ledger: Ledger) -> list[str]:
    """Name what is wrong with the privacy claim itself."""
    reasons = [] if ledger.closed else ["the ledger is still open, so more could be spent on these rows"]
    if not claims_privacy(ledger):
        return reasons
    budget, spent = ledger.budget, ledger.spent
    assert budget is not None
    if not ledger.private:
        reasons.append("a budget was claimed, but the ledger is marked not private (its noise was seeded)")
    elif not ledger.charges:
        reasons.append("a budget was claimed, but nothing was charged to it")
    elif spent.epsilon > budget.epsilon * (1 + ROUNDING) or spent.delta > budget.delta:
        reasons.append("the ledger has spent more than its budget")
    return reasons


def claims_privacy(ledger: Ledger) -> bool:
    """Whether a finite budget was set, so that a reader is promised something."""
    return ledger.budget is not None and math.isfinite(ledger.budget.epsilon)
