"""Answers without noise, which only a fit without a budget may take."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from dp_accounting import NonPrivateDpEvent

from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.replay import answered

Answer = TypeVar("Answer")


def exact(answer: Callable[[], Answer], *, ledger: Ledger, why: str) -> Answer:
    """Return `answer()` as it is, charged as no privacy at all.

    Raises BudgetExceeded under any budget, and then `answer` was not called.
    """
    ledger.charge(NonPrivateDpEvent(), why=why)
    return answered(answer(), why=why, kept=False)
