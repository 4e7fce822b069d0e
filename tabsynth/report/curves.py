"""Curves that are too long for a verdict: the attacks' ROC curves, and the mixing curve. Measured once, drawn later."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
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
from tabsynth.metrics.mixing import MixingPoint, mixing_curve
from tabsynth.metrics.roc import roc
from tabsynth.policy import Check
from tabsynth.privacy.ledger import Ledger

FPRS = tuple(float(fpr) for fpr in np.round(np.logspace(-4, 0, 49), 8))  # twelve to a decade
ALLOWED_EVERY = 4  # each of the budget's points takes a tenth of a second, and its curve is smooth
LEVEL = 0.95  # of each interval alone
Membership = MembershipAUC | MembershipTPR | MembershipAdvantage
NOT_DRAWN = "it was not asked for"


def not_measured(why: str = NOT_DRAWN) -> dict[str, Any]:
    """Return the curves of a report that has none, and why."""
    return {
        "attacks": {"why_not": why, "groups": []},
        "mixing": {"why_not": why, "score": "", "rare_score": "", "points": []},
    }


def measure_curves(
    evidence: Evidence,
    policy: Sequence[Check],
    rng: np.random.Generator,
    ledger: Ledger | None = None,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Return the ROC curves of a policy's attacks on membership and, where it asks for utility, the mixing curve.

    Attacks that the checks made on this evidence are not made again: scores are kept with it. Under the budget of a
    `ledger` the most that any attack could reach stands beside them. What cannot be measured is missing with its
    reason; `progress` is called with the name of either part before it starts.
    """
    attacking, mixing = rng.spawn(2)
    told = progress or (lambda _: None)
    found = not_measured()
    if any(isinstance(check.metric, Membership) for check in policy):
        told("roc_curves")
        found["attacks"] = _attacks(evidence, policy, attacking, ledger)
    else:
        found["attacks"]["why_not"] = "no check of membership was asked for"
    if any(check.metric.tier == "utility" for check in policy):
        told("mixing_curve")
        found["mixing"] = _kept(found["mixing"], lambda: _mixing(mixing_curve(evidence, mixing, level=LEVEL)))
    else:
        found["mixing"]["why_not"] = "no check of utility was asked for"
    return found


def _kept(empty: Mapping[str, Any], measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what is measured, or why it could not be: a picture that fails must not take the verdicts with it."""
    try:
        return {"why_not": "", **measure()}
    except TabsynthError as error:
        return {**empty, "why_not": str(error)}
    except Exception as error:  # the message of any other may quote a row
        return {**empty, "why_not": f"the measurement crashed ({type(error).__name__})"}


def _attacks(
    evidence: Evidence, policy: Sequence[Check], rng: np.random.Generator, ledger: Ledger | None
) -> dict[str, Any]:
    """Return a panel of attacks on random rows and one on the most exposed tenth, where checks ask for either."""
    metrics = [check.metric for check in policy if isinstance(check.metric, Membership)]
    found: dict[str, Any] = {"why_not": "", "groups": []}
    for exposed in (False, True):
        if asked := [metric for metric in metrics if metric.exposed is exposed]:
            budget = ledger if ledger is not None and ledger.private and not exposed else None
            one = _kept({}, partial(_group, evidence, asked, rng, budget))
            found["why_not"] = found["why_not"] or one.pop("why_not")
            found["groups"] += [one] if one else []
    return found


def _group(
    evidence: Evidence, asked: Sequence[Membership], rng: np.random.Generator, ledger: Ledger | None
) -> dict[str, Any]:
    """Return every attack that one of the metrics makes, on as many rows as any of them asks for."""
    attacks = list(dict.fromkeys(name for metric in asked for name in metric.attacks))
    queries, exposed = max(metric.queries for metric in asked), asked[0].exposed
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


def _mixing(points: Sequence[MixingPoint]) -> dict[str, Any]:
    """Return the mixing curve with the names of its scores, of all rows and of the rarest class."""
    rare = points[0].rare
    names = {"score": points[0].overall.note, "rare_score": "" if rare is None else rare.note}
    return {**names, "points": [point.to_dict() for point in points]}


def _ends(estimate: Estimate | None) -> dict[str, float] | None:
    """Return an estimate as value, low and high."""
    return None if estimate is None else {"value": estimate.value, "low": estimate.low, "high": estimate.high}
