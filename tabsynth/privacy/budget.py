"""The privacy budget: the largest (epsilon, delta) that everything learned from the private rows may cost together."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import TypeGuard

from tabsynth.errors import InputError


@dataclass(frozen=True, slots=True)
class Budget:
    """An (epsilon, delta) pair: `epsilon` above zero, infinite meaning not private; `delta` at least 0 and below 1.

    *Formal guarantee* it stands for: for any two tables that differ by one privacy unit and any set of outcomes S,
    P(S on one) <= exp(epsilon) * P(S on the other) + delta (Dwork and Roth 2014, Definition 2.4).

    Raises InputError naming the number that is out of range and what came.

    >>> Budget(1.0, 1e-6)
    Budget(epsilon=1.0, delta=1e-06)
    """

    epsilon: float
    delta: float

    def __post_init__(self) -> None:
        """Check both ranges and store plain floats."""
        for name in ("epsilon", "delta"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Real):
                raise InputError(f"{name} must be a number; got {value!r}.")
            object.__setattr__(self, name, float(value))
        self._check_ranges()

    def _check_ranges(self) -> None:
        if not self.epsilon > 0:
            raise InputError(f"epsilon must be above 0 (infinity: not private); got {self.epsilon!r}.")
        if not 0 <= self.delta < 1:
            raise InputError(f"delta must be at least 0 and below 1; got {self.delta!r}.")

    @property
    def private(self) -> bool:
        """Whether the budget bounds anything."""
        return math.isfinite(self.epsilon)

    def to_dict(self) -> dict[str, float | None]:
        """Return the budget as plain JSON values; an infinite epsilon is None.

        >>> Budget(math.inf, 1e-6).to_dict()
        {'epsilon': None, 'delta': 1e-06}
        """
        return {"epsilon": self.epsilon if self.private else None, "delta": self.delta}


@dataclass(frozen=True, slots=True)
class Spent(Budget):
    """What was spent of a budget; unlike a budget it may be nothing at all.

    >>> Spent(0.0, 1e-6).epsilon
    0.0
    """

    def _check_ranges(self) -> None:
        if not (self.epsilon >= 0 and 0 <= self.delta <= 1):
            raise InputError(f"What was spent cannot be epsilon {self.epsilon!r}, delta {self.delta!r}.")


def bounded(budget: Budget | None) -> TypeGuard[Budget]:
    """Whether there is a budget and it bounds anything.

    >>> bounded(Budget(1.0, 1e-6)), bounded(Budget(math.inf, 1e-6)), bounded(None)
    (True, False, False)
    """
    return budget is not None and budget.private


def delta_warning(budget: Budget, rows: int | None) -> str | None:
    """Return what to say when delta is above 1/rows, else None.

    `rows` must be public: the declared row count or one measured with noise. A mechanism that publishes each row whole
    with probability delta satisfies (0, delta), so at delta = 1/rows one row is expected to be published.

    >>> delta_warning(Budget(1.0, 1e-6), rows=1000) is None
    True
    >>> print(delta_warning(Budget(1.0, 0.01), rows=1000))
    delta 0.01 is above 1/rows = 0.001: it allows about 10 of 1000 rows to be published whole. Take a smaller delta.
    """
    if rows is None or rows < 1 or budget.delta * rows <= 1:
        return None
    return (
        f"delta {budget.delta:g} is above 1/rows = {1 / rows:g}: it allows about {budget.delta * rows:.3g} of "
        f"{rows} rows to be published whole. Take a smaller delta."
    )
