"""Whether a budget can tell anything about a table of the declared size: asked before anything is charged."""

from __future__ import annotations

from tabsynth.errors import ModelError
from tabsynth.privacy.budget import Budget, bounded
from tabsynth.privacy.ledger import Ledger
from tabsynth.schema import Schema


def refuse_hopeless(schema: Schema, ledger: Ledger, share: float) -> None:
    """Raise ModelError when one-way counts for `share` of the budget would be all noise, and say what would fit.

    All noise is a standard deviation above the declared number of rows. Only public facts are used; without a declared
    number of rows there is nothing to compare with.
    """
    columns, unit, budget = len(schema.modelled), schema.unit.rows, ledger.budget
    if schema.rows is None or not bounded(budget):
        return

    def noise(epsilon: float, columns: int) -> float:
        return Ledger(Budget(epsilon, budget.delta)).sigma(share / columns) * unit

    if noise(budget.epsilon, columns) <= schema.rows:
        return
    enough = next(e for e in (budget.epsilon * 2**i for i in range(1, 60)) if noise(e, columns) <= schema.rows)
    fewer = max((c for c in range(1, columns) if noise(budget.epsilon, c) <= schema.rows), default=0)
    instead = f", or at most {fewer} columns" if fewer else ""
    raise ModelError(
        f"epsilon {budget.epsilon:g} is too small for {schema.rows} rows and {columns} columns: every count would have "
        f"noise of {noise(budget.epsilon, columns):,.0f} rows. What would fit: epsilon {enough:.2g}{instead}. Nothing "
        "was charged."
    )
