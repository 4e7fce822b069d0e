"""The claim that an audit tries to break: an (epsilon, delta), and the Gaussian curve that the charges stay under."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from tabsynth.audit.bounds import epsilon_of_mu
from tabsynth.errors import InputError
from tabsynth.privacy.accounting import delta_of, epsilon_of, gaussian_mu, grouped
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.ledger import Ledger

FAILURE = 1e-9  # of the curve's end that the Gaussian is not compared with
POINTS = 40


@dataclass(frozen=True, slots=True)
class Claim:
    """What is claimed: epsilon at delta, and the smallest mu whose Gaussian curve covers the whole privacy curve.

    `mu` lets a bound of Gaussian shape be held against a claim fairly: a mechanism of (1, 1e-5) that is not Gaussian
    may well look like a Gaussian of epsilon 3. Up to a probability `failure` the mechanism is mu-Gaussian private.
    """

    epsilon: float
    delta: float
    mu: float
    failure: float = 0.0

    @property
    def gaussian_epsilon(self) -> float:
        """Epsilon at delta of the Gaussian that covers the curve: what a bound of Gaussian shape is held against."""
        return epsilon_of_mu(self.mu, self.delta)

    @classmethod
    def of_budget(cls, budget: Budget) -> Claim:
        """Return the claim of a Gaussian mechanism that spends the budget exactly."""
        _require_private(budget.epsilon)
        return cls(budget.epsilon, budget.delta, gaussian_mu(budget))

    @classmethod
    def of_ledger(cls, ledger: Ledger) -> Claim:
        """Return what a ledger's charges claim; raise InputError when they claim nothing."""
        spent = ledger.spent
        _require_private(spent.epsilon)
        own = math.fsum(charge.delta for charge in ledger.charges)
        return cls(spent.epsilon, spent.delta, covering_mu([charge.event for charge in ledger.charges]), own + FAILURE)

    @classmethod
    def of_events(cls, events: Sequence[Any], delta: float) -> Claim:
        """Return what these events claim together at `delta`."""
        epsilon = epsilon_of(events, delta)
        _require_private(epsilon)
        return cls(epsilon, delta, covering_mu(events), FAILURE)


def covering_mu(events: Iterable[Any]) -> float:
    """Return the smallest mu whose Gaussian privacy curve is nowhere below that of the events, up to FAILURE.

    Both curves are compared at POINTS epsilons between 0 and the events' epsilon at FAILURE.

    >>> from tabsynth.privacy.accounting import DiscreteGaussianDpEvent
    >>> round(covering_mu([DiscreteGaussianDpEvent(20.0)]), 3)
    0.05
    """
    return _covering_mu(grouped(events))


@lru_cache(maxsize=64)
def _covering_mu(groups: tuple[tuple[Any, int], ...]) -> float:
    events = [event for event, count in groups for _ in range(count)]
    largest = epsilon_of(events, FAILURE)
    if largest <= 0:
        return 0.0
    _require_private(largest)
    deltas = ((epsilon, delta_of(events, epsilon)) for epsilon in np.linspace(1e-3, 1, POINTS) * largest)
    return max((gaussian_mu(Budget(epsilon, delta)) for epsilon, delta in deltas if delta > FAILURE), default=0.0)


def _require_private(epsilon: float) -> None:
    if not math.isfinite(epsilon):
        raise InputError("There is no claim to audit: epsilon is infinite, which every outcome is consistent with.")
