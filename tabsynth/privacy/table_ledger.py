"""The ledger of a table: where it is kept, looked at before any work is done, and told of uses that cost nothing."""

from __future__ import annotations

import os
from pathlib import Path

from tabsynth.errors import BudgetExceeded, LedgerError
from tabsynth.privacy.budget import Budget, bounded
from tabsynth.privacy.chain import WAIT
from tabsynth.privacy.ledger_file import LedgerFile, verify


def beside(table: Path | str) -> Path:
    """Return where the ledger of a table is kept unless another place is named: `TABLE.ledger`, links followed.

    >>> beside("people.csv").name
    'people.csv.ledger'
    """
    place = Path(table)
    place = Path(os.path.realpath(place)) if place.is_symlink() else place
    return place.with_name(place.name + ".ledger")


def check(
    path: Path | str,
    *,
    data: Path | bytes,
    lifetime: Budget | None = None,
    budget: Budget | None = None,
    wait: float = WAIT,
) -> bool:
    """Raise what `Ledger.open` would, before any work is done, and return whether there is a ledger; nothing is added.

    Where there is none, LedgerError says so when the folder cannot be written.
    """
    place = Path(path)
    there = place.exists()
    if not there and not os.access(place.parent, os.W_OK | os.X_OK):
        raise LedgerError(
            f"{place}: no ledger can be begun here, the folder is missing or cannot be written. Name another place "
            "for it: --ledger PATH."
        )
    limit = LedgerFile.open(place, data, lifetime, wait, create=False).lifetime if there else None
    limit = limit or lifetime
    if bounded(limit) and not bounded(budget):
        raise BudgetExceeded(f"A fit without a budget is not private, and {place} has a lifetime budget: {limit}.")
    return there


def remarks(path: Path | str, budget: Budget | None) -> tuple[str, ...]:
    """Return what to know before a fit with this budget is charged to the ledger: nothing bounds, or less is left."""
    if not bounded(budget):
        return ()
    found, said = verify(path), []
    if found.loose:
        said.append(
            f"{path}: fit {found.loose[0]} was not private. What is charged now is the epsilon of this fit alone; all "
            "fits on this table together have none that is finite."
        )
    if (room := found.room(budget)) < budget.epsilon:
        left = f"about epsilon {room:.3g} is left, and this fit gets no more" if room else "nothing is left for a fit"
        said.append(f"{path}: of the lifetime budget {left}; {budget.epsilon:g} was asked for.")
    return tuple(said)


def record_use(path: Path | str, data: Path | bytes, command: str, text: str) -> None:
    """Write down that `command` looks at the rows, before it does; the ledger must be there and be kept for `data`.

    `text` says why nothing is charged. Both are public words, and nothing that was computed from rows.

    Raises LedgerError as `LedgerFile.open` does, and when no ledger was begun.
    """
    file = LedgerFile.open(path, data, None, create=False)
    with file.hold():
        file.use(command, text)
