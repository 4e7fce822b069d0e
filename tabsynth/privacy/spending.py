"""How a fit's budget was split between purposes: which part of it each kind of charge took."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from tabsynth.privacy import accounting
from tabsynth.privacy.budget import Budget, bounded
from tabsynth.privacy.events import Charge

_QUOTED = re.compile(r"""( of )?('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")(, )?""")


@dataclass(frozen=True, slots=True)
class Purpose:
    """What all charges of one purpose took together.

    `epsilon` is what they would cost alone, at the fit's delta; `share` their part of the sum of mu squared, where mu
    is that of the one Gaussian measurement that costs as much. Epsilons of purposes do not add up to the fit's; shares
    add up to 1. Both are None where the fit had no budget.
    """

    why: str
    charges: int
    epsilon: float | None
    share: float | None
    delta: float


def purpose(why: str) -> str:
    r"""Return what a charge was for, without the columns and numbers that tell it from others of its kind.

    >>> purpose("marginal of 'age', 'city'"), purpose("edge 3 of the tree"), purpose('bins of "it\'s"')
    ('marginal', 'edge of the tree', 'bins')
    """
    plain = re.sub(r"\s*\b\d+\b", "", _QUOTED.sub("", why))
    return " ".join(plain.split()) or "unnamed"


def split(charges: Sequence[Charge], budget: Budget | None) -> tuple[Purpose, ...]:
    """Return the purposes of a fit's charges, the most expensive first.

    >>> from dp_accounting import GaussianDpEvent
    >>> paid = [Charge(GaussianDpEvent(4.0), "counts of 'a'")] * 2 + [Charge(GaussianDpEvent(2.0), "training")]
    >>> [(each.why, each.charges, round(each.share, 2)) for each in split(paid, Budget(3.0, 1e-6))]
    [('training', 1, 0.67), ('counts', 2, 0.33)]
    """
    groups: dict[str, list[Charge]] = {}
    for charge in charges:
        groups.setdefault(purpose(charge.why), []).append(charge)
    deltas = {why: math.fsum(charge.delta for charge in own) for why, own in groups.items()}
    if not bounded(budget):
        return tuple(Purpose(why, len(own), None, None, deltas[why]) for why, own in groups.items())
    delta = budget.delta - math.fsum(deltas.values())
    epsilons = {why: accounting.epsilon_of([each.event for each in own], delta) for why, own in groups.items()}
    weights = {why: _mu_squared(epsilon, delta) for why, epsilon in epsilons.items()}
    total = math.fsum(weights.values())
    parts = (
        Purpose(why, len(own), epsilons[why], weights[why] / total if total else 0.0, deltas[why])
        for why, own in groups.items()
    )
    return tuple(sorted(parts, key=lambda part: -(part.share or 0.0)))


def _mu_squared(epsilon: float, delta: float) -> float:
    """Return mu squared of the Gaussian measurement that costs epsilon at delta; of a pure claim epsilon squared."""
    if epsilon <= 0 or not math.isfinite(epsilon):
        return 0.0
    return accounting.gaussian_mu(Budget(epsilon, delta)) ** 2 if delta > 0 else epsilon**2
