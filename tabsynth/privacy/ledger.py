"""The ledger: what every look at the private rows cost, written down before the look is taken.

Append-only. A charge is composed with all earlier ones first; when the sum would pass the budget, BudgetExceeded is
raised, nothing is recorded and nothing may run. There is one composition (see `accounting`), of all charges.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tabsynth._check import within
from tabsynth.errors import BudgetExceeded, LedgerError
from tabsynth.privacy import accounting
from tabsynth.privacy.budget import Budget, Spent

DISCOVERY_DELTA_SHARE = 0.1  # of delta, set aside for charges that carry a delta of their own
SLACK = 1e-9  # relative: rounding of the composition, not a licence to overspend


@dataclass(frozen=True, slots=True)
class Charge:
    """One mechanism that was paid for: its event, why it ran, and a failure probability of its own (0 for most)."""

    event: Any
    why: str
    delta: float = 0.0


class Ledger:
    """The charges of one fit against one budget; without a budget the fit is not private and epsilon is infinite.

    >>> from dp_accounting import GaussianDpEvent
    >>> ledger = Ledger(Budget(1.0, 1e-6))
    >>> ledger.charge(GaussianDpEvent(ledger.sigma(0.1)), why="one-way counts")
    >>> noise_multiplier = ledger.spend_rest(GaussianDpEvent, why="the rest")
    >>> 0.99 <= ledger.spent.epsilon <= 1.0, ledger.closed
    (True, True)
    """

    accountant = accounting.ACCOUNTANT

    def __init__(self, budget: Budget | None = None) -> None:
        self._budget = budget
        self._charges: list[Charge] = []
        self._notes: list[str] = []
        self._not_private: list[str] = []
        self._closed = False

    @property
    def budget(self) -> Budget | None:
        """What may be spent; None when not private."""
        return self._budget

    @property
    def charges(self) -> tuple[Charge, ...]:
        """Every charge, in order."""
        return tuple(self._charges)

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks that belong beside the charges."""
        return tuple(self._notes)

    @property
    def closed(self) -> bool:
        """Whether the budget was spent to the end; a closed ledger takes no charge."""
        return self._closed

    @property
    def private(self) -> bool:
        """Whether the charges bound what leaks: a finite budget, and nothing marked the ledger otherwise."""
        return self._bounded and not self._not_private

    @property
    def _bounded(self) -> bool:
        return self._budget is not None and self._budget.private

    @property
    def spent(self) -> Budget:
        """What the charges cost together, at the budget's delta; infinite epsilon without a budget."""
        if self._budget is None or not self._budget.private or self._not_private:
            return Spent(math.inf, self._budget.delta if self._budget else 0.0)
        events = [charge.event for charge in self._charges]
        epsilon = accounting.epsilon_of(events, self._delta_left(0.0))
        return Spent(epsilon, self._budget.delta)

    def charge(self, event: Any, *, why: str, delta: float = 0.0) -> None:
        """Record a mechanism before it runs; raise BudgetExceeded when it does not fit, LedgerError when closed."""
        self._require_open()
        within("delta", delta, 0, 1)
        accounting.grouped([event])
        charge = Charge(event, why, delta)
        if not self._fits(charge):
            raise self._exceeded(why)
        self._record(charge)

    def sigma(self, share: float) -> float:
        """Return the noise multiplier of a Gaussian measurement worth `share` of the budget's mu squared.

        Shares that sum to 1 spend the budget when every measurement is Gaussian. DISCOVERY_DELTA_SHARE of delta is
        left out of the reckoning, for charges with a delta of their own. Without a budget: 0.0, no noise.
        """
        if not (math.isfinite(share) and 0 < share <= 1):
            raise LedgerError(f"share must be above 0 and at most 1; got {share!r}.")
        if self._budget is None or not self._budget.private:
            return 0.0
        inner = Budget(self._budget.epsilon, self._budget.delta * (1 - DISCOVERY_DELTA_SHARE))
        return 1 / (accounting.gaussian_mu(inner) * math.sqrt(share))

    def spend_rest(self, event_of: Callable[[float], Any], *, why: str) -> float:
        """Charge the event of the smallest noise multiplier that still fits, close the ledger and return it.

        `event_of` maps a noise multiplier to an event that costs less as it grows. The total lands in [0.99, 1] of
        epsilon. Raises BudgetExceeded when even a huge noise does not fit. Without a budget: 0.0, recorded as is.
        """
        self._require_open()
        noise = self._smallest_noise(event_of, why) if self._bounded else 0.0
        self._record(Charge(event_of(noise), why, 0.0))
        self._closed = True
        return noise

    def close(self) -> None:
        """Take no further charge: what was not spent stays unspent."""
        self._closed = True

    def note(self, text: str) -> None:
        """Keep a remark beside the charges."""
        self._notes.append(text)

    def mark_not_private(self, why: str) -> None:
        """Say, for good, that the charges no longer bound what leaks."""
        self._not_private.append(why)

    def _require_open(self) -> None:
        if self._closed:
            raise LedgerError("The ledger is closed: its budget was spent by an earlier fit. Take a new ledger.")

    def _fits(self, charge: Charge) -> bool:
        if self._budget is None or not self._budget.private:
            return True
        events = [*(each.event for each in self._charges), charge.event]
        epsilon = accounting.epsilon_of(events, self._delta_left(charge.delta))
        return epsilon <= self._budget.epsilon * (1 + SLACK)

    def _delta_left(self, more: float) -> float:
        """Return the delta that is left for the composition once the charges' own deltas are taken off."""
        assert self._budget is not None
        return self._budget.delta - sum(charge.delta for charge in self._charges) - more

    def _smallest_noise(self, event_of: Callable[[float], Any], why: str) -> float:
        budget = self._budget
        assert budget is not None
        high = 1.0
        while not self._fits(Charge(event_of(high), why)):
            high *= 2
            if high > 2**20:
                raise self._exceeded(why)
        low = high / 2
        while low > 2**-20 and self._fits(Charge(event_of(low), why)):
            low, high = low / 2, low
        while high > low * 1.0005:
            middle = math.sqrt(low * high)
            if self._fits(Charge(event_of(middle), why)):
                high = middle
            else:
                low = middle
        return high

    def _record(self, charge: Charge) -> None:
        self._charges.append(charge)

    def _exceeded(self, why: str) -> BudgetExceeded:
        budget = self._budget
        assert budget is not None
        return BudgetExceeded(
            f"The charge for {why!r} would pass the budget of epsilon {budget.epsilon:g}, delta {budget.delta:g}; "
            f"spent so far: epsilon {self.spent.epsilon:.4g}. It was not made and nothing was run."
        )
