"""Measurements that are paid for before a fit and taken after it: what a gate asks of the rows.

A fit spends what is left of its budget, so whatever is to be measured afterwards must be charged before. The plan of
all measurements is public: how many numbers each has and which part of the reserve it takes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from dp_accounting import DpEvent, SelfComposedDpEvent
from numpy.typing import NDArray

from tabsynth._check import at_least, positive
from tabsynth.errors import ConformanceError, InputError
from tabsynth.privacy import mechanisms
from tabsynth.privacy.events import DiscreteGaussianDpEvent
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.privacy.replay import Exact, answered

Count = Callable[[], NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class Part:
    """One measurement of a plan.

    `numbers` whole numbers, each of which one row moves by at most 1; or, where `numbers` is 1, a histogram of any
    number of cells in which each row falls in one. `weight` is its part of the reserve, relative to the others'.
    """

    why: str
    numbers: int = 1
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Check both numbers."""
        at_least("numbers", self.numbers, 1)
        positive("weight", self.weight)


class Reserve:
    """A share of a ledger's budget, charged at construction, from which planned measurements are taken once each.

    Formal guarantee: all answers together are those of the events that were charged, `DiscreteGaussianDpEvent` of
    sensitivity `rows_per_unit` each, provided that a unit has at most so many rows and that what `take` counts keeps
    the promise of its `Part`, given everything that was answered before.

    >>> from tabsynth.privacy.budget import Budget
    >>> ledger = Ledger(Budget(1.0, 1e-6))
    >>> reserve = Reserve([Part("matches")], 0.1, rows_per_unit=1, ledger=ledger, secret=Secret())
    >>> noisy, scale = reserve.take("matches", lambda: np.array([10, 0]))
    >>> noisy.shape, round(scale, 1) == round(Ledger(Budget(1.0, 1e-6)).sigma(0.1), 1)
    ((2,), True)
    """

    def __init__(
        self, plan: Sequence[Part], share: float, *, rows_per_unit: int, ledger: Ledger, secret: Secret
    ) -> None:
        """Charge every part of the plan; raise InputError without a budget, LedgerError after another charge."""
        if not ledger.private:
            raise InputError("Measurements are reserved from a budget, and there is none.")
        names = [part.why for part in plan]
        if not names or len(set(names)) != len(names):
            raise InputError("A plan needs at least one part, each with a name of its own.")
        sigma, total = ledger.set_aside(share), math.fsum(part.weight for part in plan)
        self._left = {part.why: part for part in plan}
        self._scales = {p.why: sigma * math.sqrt(p.numbers * total / p.weight) * rows_per_unit for p in plan}
        self._secret, self._rows_per_unit = secret, rows_per_unit
        for part in plan:
            ledger.charge(self._event(part, rows_per_unit), why=part.why)
        if secret.fixed_seed:
            ledger.mark_not_private("The noise of the gate comes from a fixed seed.")

    def take(self, why: str, count: Count) -> tuple[NDArray[np.float64], float]:
        """Return a planned measurement and the scale of its noise, in rows.

        Raises ConformanceError, and then `count` was not called, when it is not in the plan or was taken before, and
        when it has other than the planned number of numbers, and then nothing is answered.
        """
        if why not in self._left:
            raise ConformanceError(f"The measurement {why!r} was not charged, or was taken before.")
        part = self._left.pop(why)
        counts = np.asarray(count())
        if part.numbers > 1 and counts.shape != (part.numbers,):
            raise ConformanceError(f"The measurement {why!r} was charged for {part.numbers} numbers.")
        noisy = mechanisms._discrete_gaussian(counts, self._scales[why], self._secret)
        exact = Exact(counts, self._rows_per_unit, each=part.numbers > 1)
        return answered(noisy.astype(np.float64), why=why, exact=exact), self._scales[why]

    def _event(self, part: Part, rows_per_unit: int) -> DpEvent:
        one = DiscreteGaussianDpEvent(self._scales[part.why], rows_per_unit)
        return one if part.numbers == 1 else SelfComposedDpEvent(one, part.numbers)
