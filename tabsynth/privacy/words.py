"""What the numbers of a privacy claim mean, in plain words."""

from __future__ import annotations

import math

from tabsynth.privacy.ledger import Ledger
from tabsynth.schema import Unit


def unit_in_words(unit: Unit) -> str:
    """Say whom the claim protects.

    >>> unit_in_words(Unit())
    'one row'
    >>> unit_in_words(Unit("patient", 5))
    "all rows (at most 5) that share one value of the column 'patient'"
    """
    if unit.column is None:
        return "one row"
    return f"all rows (at most {unit.rows}) that share one value of the column {unit.column!r}"


def certainty(epsilon: float) -> float:
    """Return how sure an undecided reader can become, at most, that a unit's data were used: e^eps / (1 + e^eps).

    Bayes' rule with prior odds of one to one and a likelihood ratio of at most e^eps.

    >>> round(certainty(1.0), 3)
    0.731
    """
    return 1 / (1 + math.exp(-epsilon))


def claim_in_words(ledger: Ledger, unit: Unit) -> tuple[str, ...]:
    """Return what a ledger's charges promise, as sentences; without a promise they say so plainly."""
    if not ledger.private:
        return (
            "Not differentially private: epsilon is infinite.",
            "Nothing limits what the rows may reveal about a person of the private table. The checks are attempts to "
            "find a leak; that they found none proves nothing about an attack that was not tried.",
        )
    epsilon, delta, whom = ledger.spent.epsilon, ledger.spent.delta, unit_in_words(unit)
    verb = "were" if unit.column else "was"
    guessed, found = ledger.odds()
    return (
        f"Differentially private with epsilon = {epsilon:.4g} and delta = {delta:.2g}, "
        f"for adding or removing {whom} of the private table.",
        f"A reader who holds it as likely as not that {whom} {verb} used can become at most "
        f"{percent(certainty(epsilon))} sure of it from this release, whatever else is known to that reader, "
        f"apart from a failure of probability {delta:.2g}.",
        f"An attacker who knows everything else about the table, and starts at 50:50, is right about it at most "
        f"{percent(guessed)} of the time.",
        f"An attack that wrongly accuses 1 in 100 outsiders can find at most {percent(found)} of those whose data "
        "were used.",
        strength(epsilon),
    )


def strength(epsilon: float) -> str:
    """Say how strong a finite epsilon is by the common reading of practitioners; a convention, not a theorem."""
    if epsilon <= 1:
        return "By the common reading (epsilon up to 1) this is strong protection."
    if epsilon <= 5:
        return "By the common reading (epsilon between 1 and 5) this is moderate protection."
    if epsilon <= 10:
        return "By the common reading (epsilon between 5 and 10) this is weak protection."
    return "By the common reading (epsilon above 10) this number by itself protects little."


def percent(share: float) -> str:
    """Write a share as a percentage that never rounds up to certainty.

    >>> percent(0.575), percent(0.99996)
    ('57.5%', 'nearly 100%')
    """
    return f"{share:.1%}" if share < 0.9995 else "nearly 100%"
