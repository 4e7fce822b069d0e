"""Many cheap runs: each mechanism in a world with one unit and in a world without it.

Scores of the first fifth of the runs fix the thresholds, the others are counted. The mechanism under audit is called
afresh for every run, noise from the operating system included.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tabsynth import _check
from tabsynth.audit.claim import Claim
from tabsynth.audit.result import AuditResult, Worlds, judge_many_runs
from tabsynth.errors import InputError
from tabsynth.privacy.accounting import gaussian_mu
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.mechanisms import category_threshold, noisy_categories, noisy_count, noisy_histogram, select
from tabsynth.privacy.noise import Secret
from tabsynth.synthesizers.base import Progress, silent

FEWEST_RUNS = 100
CROWD = 1000  # of a count that others hold too
CATEGORY_DELTA = 0.1  # of discovering categories, large so that the event it allows can be seen


@dataclass(frozen=True, slots=True)
class Mechanism:
    """A mechanism under audit: `run(unit, ledger, secret)` answers once, with the unit in the rows or without, a score.

    The score is high when the unit looks present; it is normal, given the world, where `normal` says so. What the run
    charges to its ledger is the claim.
    """

    name: str
    run: Callable[[bool, Ledger, Secret], float]
    normal: bool = False


def mechanisms(budget: Budget) -> tuple[Mechanism, ...]:
    """Return the measurements of `privacy.mechanisms`, each calibrated to spend the budget once.

    Raises InputError when the budget has no delta, or none that discovery of categories can use.
    """
    if budget.delta == 0 or not budget.private:
        raise InputError("Auditing mechanisms needs a finite epsilon and a delta above 0.")
    sigma = 1 / gaussian_mu(budget)

    def histogram(unit: bool, ledger: Ledger, secret: Secret) -> float:
        counts = np.array([3, CROWD + unit, 0, 50])
        return float(noisy_histogram(lambda: counts, sigma=sigma, ledger=ledger, secret=secret, why="counts")[1])

    def count(unit: bool, ledger: Ledger, secret: Secret) -> float:
        return noisy_count(lambda: CROWD + unit, sigma=sigma, ledger=ledger, secret=secret, why="count")

    def category(unit: bool, ledger: Ledger, secret: Secret, *, others: int) -> float:
        held = others + unit
        found = noisy_categories(
            lambda: (np.array(["known", "rare"][: 1 + (held > 0)], object), np.array([CROWD, held][: 1 + (held > 0)])),
            sigma=sigma,
            delta=CATEGORY_DELTA,
            ledger=ledger,
            secret=secret,
            why="categories",
        )
        return found.get("rare", -math.inf)

    bar = category_threshold(sigma, CATEGORY_DELTA)

    def choice(unit: bool, ledger: Ledger, secret: Secret) -> float:
        scores = np.array([CROWD - 1.0 + 2 * unit, CROWD])  # the unit turns the order round
        found = select(lambda: scores, epsilon=budget.epsilon, ledger=ledger, secret=secret, why="choice")
        return float(found == 0)

    return (
        Mechanism("noisy_histogram", histogram, normal=True),
        Mechanism("noisy_count", count, normal=True),
        Mechanism("noisy_categories, a category of others", partial(category, others=bar)),
        Mechanism("noisy_categories, a category of one", partial(category, others=0)),
        Mechanism("select", choice),
    )


def audit_mechanism(
    mechanism: Mechanism, *, delta: float, runs: int = 5000, confidence: float = 0.95, progress: Progress = silent
) -> AuditResult:
    """Audit one mechanism over `runs` runs with the unit and as many without; the claim is what one run charges.

    A charge's own delta (discovery of categories) is added to `delta`.

    Raises InputError when a mechanism charges nothing, or there are too few runs.
    """
    _check.at_least("runs", runs, FEWEST_RUNS)
    first = Ledger()
    mechanism.run(True, first, Secret())
    own = math.fsum(charge.delta for charge in first.charges)
    if not first.charges:
        raise InputError(f"{mechanism.name!r} charges nothing, so it claims nothing.")
    claim = Claim.of_events([charge.event for charge in first.charges], delta)
    claim = Claim(claim.epsilon, delta + own, claim.mu, claim.failure + own)
    inside, outside = np.empty(runs), np.empty(runs)
    secret = Secret()
    for run in range(runs):
        inside[run] = mechanism.run(True, Ledger(), secret)
        outside[run] = mechanism.run(False, Ledger(), secret)
        if run % 100 == 99:
            progress(run + 1, runs, {})
    normal = ["answer"] if mechanism.normal else []
    return judge_worlds(mechanism.name, claim, {"answer": (inside, outside)}, normal=normal, confidence=confidence)


def judge_worlds(
    subject: str,
    claim: Claim,
    scores: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]],
    **settings: Any,
) -> AuditResult:
    """Hold scores with and without one unit against the claim, thresholds fixed on the first fifth of them."""
    finite = {
        name: [np.nan_to_num(each, neginf=-1e300, posinf=1e300) for each in pair] for name, pair in scores.items()
    }
    worlds = {name: Worlds.split(inside, outside, claim.delta) for name, (inside, outside) in finite.items()}
    return judge_many_runs(subject, claim, worlds, **settings)
