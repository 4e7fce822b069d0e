"""Whether a release may leave: every reason against it, named without a number."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Literal

from tabsynth.policy import Verdict
from tabsynth.privacy.budget import bounded
from tabsynth.privacy.ledger import Ledger

Mode = Literal["inside", "charged"]  # decided by private numbers that stay inside, or by noisy ones that were paid for
CHARGED = "gate: "  # what every charge of a charged gate is for starts so
_FILTER = re.compile(
    r"(drop|remove|filter|reject|exclude|discard|dedup\w*|avoid|forbid|no)_(\w+_)?"
    r"(train|training|real|original|private|seen|match|matches|matching|copy|copies|copied|duplicate|duplicates)"
    r"(_rows?|_records?|_matches)?"
)
ORACLE = "a filter of synthetic rows by training rows, which tells who was in the table"
ROUNDING = 1e-9  # relative: two compositions of the same charges may differ in the last digits


def refusals(
    verdicts: Sequence[Verdict], ledger: Ledger | None, *, mode: Mode = "inside", synthesizer: Any = None
) -> tuple[str, ...]:
    """Return every reason to refuse, worst first; empty when the release may leave.

    The texts name checks, settings and public facts only. `ledger` is None for rows that another tool made: then only
    the verdicts count.
    """
    reasons = _against_ledger(ledger) if ledger is not None else []
    if mode == "charged" and not (ledger and any(charge.why.startswith(CHARGED) for charge in ledger.charges)):
        reasons.append("the gate is said to be charged, but nothing was charged for it")
    reasons += [f"the setting {name!r} names {ORACLE}" for name in filters(synthesizer)]
    reasons += [
        f"the check {verdict.name} found more than the budget allows any attack: a fault, not bad luck"
        for verdict in verdicts
        if verdict.beyond_the_budget
    ]
    if not verdicts:
        reasons.append("no check was made")
    elif not any(verdict.status == "passed" for verdict in verdicts):
        reasons.append("no check passed")
    reasons += [f"the check {verdict.name} failed" for verdict in verdicts if verdict.status == "failed"]
    return tuple(reasons)


def filters(synthesizer: Any) -> tuple[str, ...]:
    """Name the settings, however deep, that turn on a filter of synthetic rows by training rows.

    What is missing from a filtered table is what the training table holds: whoever can guess a row and would expect
    to see it learns that it was there. Settings are known by their names; what a filter does is for the check
    `exact_match` to find, whose lower threshold is broken when training rows come up less often than holdout rows.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Plain:
    ...     drop_training_rows: bool = True
    ...     drop_last: bool = True
    >>> filters(Plain())
    ('drop_training_rows',)
    """
    return tuple(name for name, value in _settings(synthesizer) if value and _FILTER.fullmatch(name.lower()))


def _settings(value: Any) -> list[tuple[str, Any]]:
    """List the names and values of settings, those of settings within settings too."""
    if is_dataclass(value) and not isinstance(value, type):
        own = {field.name: getattr(value, field.name) for field in fields(value)}
    elif isinstance(value, Mapping):
        own = {str(name): each for name, each in value.items()}
    else:
        return []
    return [*own.items(), *(pair for each in own.values() for pair in _settings(each))]


def _against_ledger(ledger: Ledger) -> list[str]:
    """Name what is wrong with the privacy claim itself."""
    reasons = [] if ledger.closed else ["the ledger is still open, so more could be spent on these rows"]
    budget, spent = ledger.budget, ledger.spent
    if not bounded(budget):
        return reasons
    if not ledger.private:
        reasons.append("a budget was claimed, but the ledger is marked not private (its noise was seeded)")
    elif not ledger.charges:
        reasons.append("a budget was claimed, but nothing was charged to it")
    elif spent.epsilon > budget.epsilon * (1 + ROUNDING) or spent.delta > budget.delta:
        reasons.append("the ledger has spent more than its budget")
    return reasons
