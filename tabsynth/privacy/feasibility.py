"""Whether a budget can tell anything about a table of the declared size: asked before anything is charged."""

from __future__ import annotations

from itertools import count

from tabsynth.errors import ModelError
from tabsynth.privacy.budget import Budget, bounded
from tabsynth.privacy.discovery import CLEAR, COUNT, SHARES, is_open, unbounded
from tabsynth.privacy.ledger import Ledger
from tabsynth.schema import Schema

SPREAD = 8  # times less noise than a column of one value needs, bounds of a common one do: its values spread
NOISY = 500.0  # rows of noise in every count from which on a table of no declared size is warned of


def refuse_hopeless(schema: Schema, ledger: Ledger, share: float, discovery: float) -> None:
    """Raise ModelError when one-way counts or undeclared bounds would be all noise, and say what would fit.

    Counts get `share` of the budget and are all noise where its standard deviation is above the declared number of
    rows; `discovery` is that of `discover`, which finds no bounds where all rows in one cell would not stand out. Only
    public facts are used; without a declared number of rows there is nothing to compare with.
    """
    columns, unit, budget, names = len(schema.modelled), schema.unit.rows, ledger.budget, unbounded(schema)
    if schema.rows is None or not bounded(budget):
        return
    rows, part = schema.rows, discovery * (1 - COUNT) * SHARES["bounds"] / max(sum(map(is_open, schema.modelled)), 1)

    def noise(epsilon: float, share: float) -> float:
        return Ledger(Budget(epsilon, budget.delta)).sigma(share) * unit

    def finds(epsilon: float, spread: int = SPREAD) -> bool:
        return not names or noise(epsilon, part) * CLEAR[1] * spread <= rows

    hopeless = noise(budget.epsilon, share / columns) > rows
    if not hopeless and finds(budget.epsilon, 1):
        return
    doubled = (budget.epsilon * 2**i for i in count(1))
    enough = next(each for each in doubled if noise(each, share / columns) <= rows and finds(each))
    declared = f", or a smaller one where bounds are declared ({_listed(names)})" if names else ""
    if not hopeless:
        raise ModelError(
            f"epsilon {budget.epsilon:g} is too small to find the bounds of {_listed(names)} in {rows} rows: noise "
            f"would hide them. What would fit: declared bounds, or epsilon {enough:.2g}. Nothing was charged."
        )
    fewer = max((c for c in range(1, columns) if noise(budget.epsilon, share / c) <= rows), default=0)
    instead = f", or at most {fewer} columns" if fewer and not names else ""
    raise ModelError(
        f"epsilon {budget.epsilon:g} is too small for {rows} rows and {columns} columns: every count would have "
        f"noise of {noise(budget.epsilon, share / columns):,.0f} rows. What would fit: epsilon {enough:.2g}{declared}"
        f"{instead}. Nothing was charged."
    )


def noise_warning(budget: Budget | None, schema: Schema) -> str | None:
    """Return what to say where no number of rows is declared and every count will be off by many; else None.

    >>> from tabsynth.schema import Column
    >>> words = noise_warning(Budget(0.001, 1e-5), Schema((Column("smoker", "boolean"),)))
    >>> print(words.partition(":")[0])
    epsilon 0.001 over 1 column
    """
    if schema.rows is not None or not bounded(budget) or budget.delta == 0:
        return None
    columns = len(schema.modelled)
    noise = Ledger(budget).sigma(1 / columns) * schema.unit.rows
    if noise < NOISY:
        return None
    return (
        f"epsilon {budget.epsilon:g} over {columns} column{'s' * (columns > 1)}: every count will have noise of "
        f"{noise:,.0f} rows or more, and a table of no more rows comes out as noise. Declare the number of rows, and a "
        "budget that is too small for it is refused before anything is charged."
    )


def _listed(names: tuple[str, ...]) -> str:
    """Name the first few columns."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(repr(name) for name in names[:3]) + more
