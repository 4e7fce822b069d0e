"""What the numbers of a privacy claim mean, in plain words."""

from __future__ import annotations

import math

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


def hits_at(epsilon: float, delta: float, false_alarms: float) -> float:
    """Return the largest share of members an attack can name when it wrongly names `false_alarms` of the others.

    The tighter of the two lines that bound every test between neighbouring tables (Kairouz, Oh, Viswanath 2015):
    min(e^eps f + delta, 1 - e^-eps (1 - delta - f)).

    >>> round(hits_at(1.0, 0.0, 0.01), 4)
    0.0272
    """
    upper = min(1.0, math.exp(min(epsilon, 700.0)) * false_alarms + delta)
    return max(false_alarms, min(upper, 1 - math.exp(-epsilon) * (1 - delta - false_alarms)))


def claim_in_words(epsilon: float, delta: float, unit: Unit) -> tuple[str, ...]:
    """Return the privacy claim as sentences; an infinite epsilon is called not differentially private."""
    if not math.isfinite(epsilon):
        return (
            "Not differentially private: epsilon is infinite.",
            "Nothing limits what the rows may reveal about a person of the private table. The checks are attempts to "
            "find a leak; that they found none proves nothing about an attack that was not tried.",
        )
    return (
        f"Differentially private with epsilon = {epsilon:.4g} and delta = {delta:.2g}, "
        f"for adding or removing {unit_in_words(unit)} of the private table.",
        f"A reader who holds it as likely as not that someone's data were used can become at most "
        f"{_percent(certainty(epsilon))} sure of it from this release, whatever else is known to that reader, "
        f"apart from a failure of probability {delta:.2g}.",
        f"An attack that wrongly accuses 1 in 100 outsiders can find at most "
        f"{_percent(hits_at(epsilon, delta, 0.01))} of those whose data were used.",
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


def _percent(share: float) -> str:
    """Write a share as a percentage that never rounds up to certainty."""
    percent = 100 * share
    return f"{percent:.1f}%" if percent < 99.9 else f"{min(percent, 99.9999):.4f}%"
