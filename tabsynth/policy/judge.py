"""Judging a policy on evidence: one verdict a check, whatever a metric does."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import is_dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from tabsynth.errors import InputError, TabsynthError
from tabsynth.metrics.estimate import Estimate, NotApplicable
from tabsynth.metrics.evidence import Evidence, Metric
from tabsynth.policy.check import Check, Status, Verdict
from tabsynth.policy.clock import must, plan, timed, told

if TYPE_CHECKING:
    from tabsynth.privacy.ledger import Ledger

RESOLVED = 0.99  # of an attack's score


def evaluate(
    evidence: Evidence,
    policy: Sequence[Check],
    rng: np.random.Generator,
    progress: Callable[[str], None] | None = None,
    ledger: Ledger | None = None,
    *,
    beside: bool = True,
    budget: float | None = None,
) -> tuple[Verdict, ...]:
    """Judge every check of a policy on the evidence, in order; exactly one verdict each, whatever a metric raises.

    Privacy checks share their confidence level: each is held at 1 - (1 - level) / (number of privacy checks)
    (Bonferroni), so that all their intervals hold together at `level`. `progress` is called with the name of each check
    before it runs. With the `ledger` of a private fit an attack is also held against what the charges allow: an
    interval that lies above it fails the check, whatever its thresholds say. Without `beside` a ceiling or a baseline
    is measured only where a threshold is counted from it.

    A check that takes longer than its `time_limit` fails. With a `budget`, in seconds, the checks that fit are run:
    those that are `required` or about privacy first, then the others, cheap ones first. What does not fit is left out
    and says so: it fails where it is required or about privacy, since nothing was shown, and does not count elsewhere.
    """
    privacy = sum(check.metric.tier == "privacy" for check in policy)
    views = (evidence, evidence.as_real(rng), evidence.as_independent(rng))
    rngs, start = rng.spawn(len(policy)), perf_counter()
    order: Sequence[int] = range(len(policy))
    seconds: Sequence[float] = ()
    if budget is not None:
        chosen = plan(policy, evidence, budget, beside=beside)
        order, seconds, beside = chosen.order, chosen.seconds, chosen.beside
    verdicts: dict[int, Verdict] = {}
    for place in order:
        check = policy[place]
        left = math.inf if budget is None else budget - (perf_counter() - start)
        if left <= 0:
            continue
        if progress is not None:
            progress(check.metric.name)
        held = replace(check, time_limit=min(check.time_limit, left))
        verdicts[place] = _judge(held, views, privacy, rngs[place], ledger, beside=beside)
    return _shown(policy, [verdicts.get(i) or _left_out(check, budget, seconds[i]) for i, check in enumerate(policy)])


def _left_out(check: Check, budget: float | None, seconds: float) -> Verdict:
    """Return the verdict on a check that a budget of time left no room for."""
    expected = (
        f"some {told(seconds)} were expected of it" if math.isfinite(seconds) else "it did not finish on few rows"
    )
    reason = f"Left out of a budget of {told(budget or 0)}: {expected}."
    status: Status = "failed" if must(check) else "not applicable"
    return Verdict(
        check.metric.name, check.metric.tier, status, reason, None, None, None,
        check.at_least, check.at_most, check.counted_from, 0.0, left_out=True,
    )  # fmt: skip


def _shown(policy: Sequence[Check], verdicts: Sequence[Verdict]) -> tuple[Verdict, ...]:
    """Fail descriptive checks that stand alone: a metric that only describes cannot let a release through."""
    describes = [bool(getattr(check.metric, "descriptive", False)) for check in policy]
    pairs = tuple(zip(verdicts, describes, strict=True))
    if any(verdict.passed and verdict.tier == "privacy" and not only for verdict, only in pairs):
        return tuple(verdicts)
    alone = "it describes and proves no privacy, and no check that measures privacy passed beside it."
    return tuple(
        replace(verdict, status="failed", reason=f"{verdict.reason.removesuffix('.')}; {alone}")
        if only and verdict.passed
        else verdict
        for verdict, only in pairs
    )


def allowance(metric: Metric, ledger: Ledger | None) -> float | None:
    """Return the most that a ledger's charges allow a metric to score; None where they do not bound it.

    A bound above RESOLVED bounds nothing that samples of a gate's size could tell from certainty.
    """
    known = getattr(metric, "allowed", None)
    if not callable(known) or ledger is None or not ledger.private:
        return None
    allowed = float(known(ledger))
    return allowed if allowed <= RESOLVED else None


def _judge(
    check: Check,
    views: tuple[Evidence, Evidence, Evidence],
    privacy: int,
    rng: np.random.Generator,
    ledger: Ledger | None,
    *,
    beside: bool,
) -> Verdict:
    """Measure one check on the synthetic rows, on real ones and on the trivial baseline, and judge the first."""
    start = perf_counter()
    rngs = rng.spawn(3)
    try:
        metric = corrected(check.metric, privacy)
    except TabsynthError as error:
        found: Estimate | Exception = error
        others: list[Estimate | Exception | None] = [error, error]
    else:
        found = _measure(metric, views[0], rngs[0], check.time_limit)
        others = [
            _measure(metric, view, own, check.time_limit - (perf_counter() - start))
            if beside or check.counted_from == origin
            else None
            for origin, view, own in zip(("ceiling", "baseline"), views[1:], rngs[1:], strict=True)
        ]
    return conclude(check, found, *others, seconds=perf_counter() - start, allowed=allowance(check.metric, ledger))


def conclude(
    check: Check,
    found: Estimate | Exception,
    ceiling: Estimate | Exception | None,
    baseline: Estimate | Exception | None,
    *,
    seconds: float,
    allowed: float | None,
) -> Verdict:
    """Return the verdict on a check from what was measured, errors standing where nothing was."""
    status, reason = _conclude(check, found, ceiling, baseline)
    estimate, above, below = (one if isinstance(one, Estimate) else None for one in (found, ceiling, baseline))
    verdict = Verdict(
        check.metric.name, check.metric.tier, status, reason, estimate, above, below,
        check.at_least, check.at_most, check.counted_from, seconds, allowed,
    )  # fmt: skip
    if not verdict.beyond_the_budget:
        return verdict
    fault = f"the budget allows no attack more than {allowed:.3g}: a fault in the synthesizer or its accounting"
    return replace(verdict, status="failed", reason=f"{reason.removesuffix('.')}; {fault}, not bad luck.")


def corrected(metric: Metric, privacy: int) -> Metric:
    """Return a privacy metric at the level that `privacy` checks share; any other as it is."""
    if metric.tier != "privacy" or privacy == 1:
        return metric
    level = getattr(metric, "level", None)
    if not is_dataclass(metric) or isinstance(metric, type) or not isinstance(level, float):
        raise InputError("A privacy metric must be a dataclass with a field 'level', to share one confidence level.")
    return replace(metric, level=1 - (1 - level) / privacy)


def _measure(metric: Metric, evidence: Evidence, rng: np.random.Generator, seconds: float) -> Estimate | Exception:
    """Return the estimate, or the error in its place."""
    found = timed(lambda: metric(evidence, rng), seconds, "and a check that is not finished has shown nothing")
    if isinstance(found, Estimate | Exception):
        return found
    if isinstance(found, BaseException):  # a plug-in may leave in any way, and a crash must not become a gap
        return InputError(f"The metric crashed ({type(found).__name__}).")
    return InputError("It returned something other than an Estimate.")


def _conclude(
    check: Check,
    found: Estimate | Exception,
    ceiling: Estimate | Exception | None,
    baseline: Estimate | Exception | None,
) -> tuple[Status, str]:
    """Return the status of a check and the reason in plain words."""
    if isinstance(found, NotApplicable) and not check.required:
        return "not applicable", str(found)
    if isinstance(found, Exception):
        return "failed", _told(found)
    origin = {"zero": 0.0, "ceiling": ceiling, "baseline": baseline}[check.counted_from]
    if origin is None:
        return "failed", f"The {check.counted_from} it is counted from was not measured."
    if isinstance(origin, Exception):
        return "failed", f"The {check.counted_from} it is counted from could not be measured. {_told(origin)}"
    start = origin.value if isinstance(origin, Estimate) else origin
    low, high = found.low - start, found.high - start
    status: Status = "passed" if check.at_least <= low and high <= check.at_most else "failed"
    beside = "" if check.counted_from == "zero" else f", {check.counted_from} {start:.3g}"
    measured = f"{found.value:.3g} ({found.low:.3g} to {found.high:.3g}){beside}"
    return (
        status,
        f"{measured}; {_asked(check, found.value - start, low, high)}{f'; {found.note}' if found.note else ''}.",
    )


def _asked(check: Check, value: float, low: float, high: float) -> str:
    """Say which threshold was broken, or which ones held."""
    where = "" if check.counted_from == "zero" else f" counted from the {check.counted_from}"
    broken = []
    if low < check.at_least:
        broken.append(f"surely at least {check.at_least:g}{where} is asked for, and it may be {low:.3g}")
    if high > check.at_most:
        broken.append(f"surely at most {check.at_most:g}{where} is asked for, and it may be {high:.3g}")
    if broken and check.at_least <= value <= check.at_most:
        broken.append("the value itself is within: more rows, of the holdout above all, would narrow its interval")
    if broken:
        return "; ".join(broken)
    held = [f"at least {check.at_least:g}"] * (check.at_least > -math.inf)
    held += [f"at most {check.at_most:g}"] * (check.at_most < math.inf)
    return f"{' and '.join(held)}{where}, as asked"


def _told(error: Exception) -> str:
    """Return an error in words that hold no private value: our own message, or the name of any other exception."""
    if isinstance(error, TabsynthError):
        return str(error)
    return f"The metric crashed ({type(error).__name__})."
