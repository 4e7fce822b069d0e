"""Curves that are too long for a verdict: the attacks' ROC curves, and the mixing curve. Measured once, drawn later."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np

from tabsynth.errors import TabsynthError
from tabsynth.metrics.coding import Floats
from tabsynth.metrics.estimate import Estimate
from tabsynth.metrics.evidence import Evidence
from tabsynth.metrics.membership import (
    Attacked,
    MembershipAdvantage,
    MembershipAUC,
    MembershipTPR,
    panel,
)
from tabsynth.metrics.mixing import mixing_curve
from tabsynth.metrics.roc import roc
from tabsynth.policy import Check
from tabsynth.policy.clock import OutOfTime, timed
from tabsynth.privacy.ledger import Ledger

FPRS = tuple(float(fpr) for fpr in np.round(np.logspace(-4, 0, 49), 8))  # twelve to a decade
ALLOWED_EVERY = 4  # each of the budget's points takes a tenth of a second, and its curve is smooth
LEVEL = 0.95  # of each interval alone
Membership = MembershipAUC | MembershipTPR | MembershipAdvantage
NOT_DRAWN = "it was not asked for"
OUT_OF_TIME = "it did not fit the time that was given"
CURVES = {
    "roc_curves": "attacks",
    "mixing_curve": "mixing",
}  # what each part is called while it is made, and in a report


def not_measured() -> dict[str, Any]:
    """Return the curves of a report that has none, and why."""
    return {
        "attacks": {"why_not": NOT_DRAWN, "groups": []},
        "mixing": {"why_not": NOT_DRAWN, "score": "", "rare_score": "", "points": []},
    }


def measure_curves(
    evidence: Evidence,
    policy: Sequence[Check],
    rng: np.random.Generator,
    ledger: Ledger | None = None,
    progress: Callable[[str], None] | None = None,
    *,
    seconds: float = math.inf,
) -> dict[str, Any]:
    """Return the ROC curves of a policy's attacks on membership and, where it asks for utility, the mixing curve.

    The attacks are on random rows and on the most exposed tenth. Those that the checks made on this evidence are not
    made again: scores are kept with it. Under the budget of a `ledger` the most that any attack could reach stands
    beside them. What cannot be measured, or not within `seconds`, is missing with its reason; `progress` is called with
    the name of either part before it starts.
    """
    attacking, mixing = rng.spawn(2)
    told, start = progress or (lambda _: None), perf_counter()
    found = not_measured()

    def left() -> float:
        return seconds - (perf_counter() - start)

    if any(isinstance(check.metric, Membership) for check in policy):
        told("roc_curves")
        found["attacks"] = _attacks(evidence, policy, attacking, ledger, left)
    else:
        found["attacks"]["why_not"] = "no check of membership was made"
    if any(check.metric.tier == "utility" for check in policy):
        told("mixing_curve")
        made = partial(_mixing, evidence, mixing)
        found["mixing"] = _kept(found["mixing"], made, left())
    else:
        found["mixing"]["why_not"] = "no check of utility was made"
    return found


def out_of_time(curves: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the parts that did not fit their time, or not whole."""
    return tuple(name for name, part in CURVES.items() if curves[part]["why_not"] == OUT_OF_TIME)


def _kept(empty: Mapping[str, Any], measure: Callable[[], dict[str, Any]], seconds: float) -> dict[str, Any]:
    """Return what is measured, or why it could not be: a picture that fails must not take the verdicts with it."""
    found = timed(measure, seconds, "") if seconds > 0 else OutOfTime()
    if isinstance(found, dict):
        return {"why_not": "", **found}
    if isinstance(found, OutOfTime):
        return {**empty, "why_not": OUT_OF_TIME}
    if isinstance(found, TabsynthError):
        return {**empty, "why_not": str(found)}
    return {**empty, "why_not": f"the measurement crashed ({type(found).__name__})"}  # a message may quote a row


def _attacks(
    evidence: Evidence,
    policy: Sequence[Check],
    rng: np.random.Generator,
    ledger: Ledger | None,
    left: Callable[[], float],
) -> dict[str, Any]:
    """Return a panel of attacks on random rows and one on the most exposed tenth, by the attacks that checks ask for.

    Where no check asks about either, it is shown by the attacks on the other.
    """
    metrics = [check.metric for check in policy if isinstance(check.metric, Membership)]
    found: dict[str, Any] = {"why_not": "", "groups": []}
    for exposed in (False, True):
        asked = [metric for metric in metrics if metric.exposed is exposed] or metrics
        budget = ledger if ledger is not None and ledger.private and not exposed else None
        one = _kept({}, partial(_group, evidence, asked, rng, budget, exposed=exposed), left())
        why_not = one.pop("why_not")
        found["why_not"] = found["why_not"] or why_not
        found["groups"] += [one] if one else []
    return found


def _group(
    evidence: Evidence,
    asked: Sequence[Membership],
    rng: np.random.Generator,
    ledger: Ledger | None,
    *,
    exposed: bool,
) -> dict[str, Any]:
    """Return every attack that one of the metrics makes, on as many rows as any of them asks for."""
    attacks = list(dict.fromkeys(name for metric in asked for name in metric.attacks))
    queries = max(metric.queries for metric in asked)
    drawn = panel(evidence, rng, attacks=attacks, exposed=exposed, queries=queries, level=LEVEL)
    return {
        "exposed": exposed,
        "members": len(drawn[0].members),
        "others": len(drawn[0].others),
        "allowed": [] if ledger is None else _allowed(ledger),
        "curves": [_curve(one) for one in drawn],
    }


def _curve(attack: Attacked) -> dict[str, Any]:
    """Return what one attack is worth, with its curve at FPRS."""
    rates = rates_at(np.array(FPRS), *roc(attack.members, attack.others))
    return {
        "name": attack.name,
        "auc": _ends(attack.auc),
        "tpr_at_1_percent": _ends(attack.tpr[0.01]),
        "tpr_at_0_1_percent": _ends(attack.tpr[0.001]),
        "advantage": _ends(attack.advantage),
        "roc": [[fpr, round(float(rate), 6)] for fpr, rate in zip(FPRS, rates, strict=True)],
    }


def rates_at(fprs: Floats, false: Floats, true: Floats) -> Floats:
    """Return the true positive rate of a ROC curve at each false positive rate, straight between thresholds.

    So ties fall at random. Where several thresholds share a false positive rate the best of them counts.

    >>> rates_at(np.array([0.25, 0.5, 1.0]), np.array([0.0, 0.0, 1.0]), np.array([0.0, 0.4, 1.0])).tolist()
    [0.55, 0.7, 1.0]
    """
    before = np.searchsorted(false, fprs, "right") - 1
    after = np.minimum(before + 1, len(false) - 1)
    width = false[after] - false[before]
    share = np.divide(fprs - false[before], width, out=np.zeros_like(fprs), where=width > 0)
    return np.asarray(true[before] + share * (true[after] - true[before]), dtype=np.float64)


def _allowed(ledger: Ledger) -> list[list[float]]:
    """Return the most that the charges allow any attack, at every few of FPRS."""
    return [[fpr, round(ledger.tpr_at_fpr(fpr), 6)] for fpr in FPRS[::ALLOWED_EVERY]]


def _mixing(evidence: Evidence, rng: np.random.Generator) -> dict[str, Any]:
    """Return the mixing curve with the names of its scores, of all rows and of the rarest class."""
    points = mixing_curve(evidence, rng, level=LEVEL)
    rare = points[0].rare
    names = {"score": points[0].overall.note, "rare_score": "" if rare is None else rare.note}
    return {**names, "points": [point.to_dict() for point in points]}


def _ends(estimate: Estimate | None) -> dict[str, float] | None:
    """Return an estimate as value, low and high."""
    return None if estimate is None else {"value": estimate.value, "low": estimate.low, "high": estimate.high}
