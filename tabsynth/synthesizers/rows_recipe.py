"""What training the row transformer under a budget is told, by epsilon, which is public."""

from __future__ import annotations

from dataclasses import dataclass

from tabsynth.privacy.ledger import Ledger

ROOMY = 3.0  # epsilon above which the recipe for less noise does better


@dataclass(frozen=True, slots=True)
class Recipe:
    """Settings of `Rows` of the same names."""

    steps: int
    batch: int
    rate: float
    with_target: float


TIGHT_RECIPE = Recipe(steps=100, batch=2048, rate=3e-2, with_target=0.10)
ROOMY_RECIPE = Recipe(steps=150, batch=4096, rate=1.5e-2, with_target=0.0)


def usual_recipe(ledger: Ledger) -> Recipe:
    """Return the recipe for a ledger's budget.

    >>> from tabsynth.privacy.budget import Budget
    >>> [usual_recipe(Ledger(Budget(epsilon, 1e-5))).batch for epsilon in (1.0, 8.0)]
    [2048, 4096]
    """
    return ROOMY_RECIPE if ledger.budget is not None and ledger.budget.epsilon > ROOMY else TIGHT_RECIPE
