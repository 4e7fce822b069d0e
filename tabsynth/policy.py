"""The gate's rules: checks, the verdict on each, and the policy files that hold them.

A check is judged at the unlucky end of its interval, so that few rows make a release harder and never easier. Whatever
happens to a metric there is one verdict a check: a crash fails, and so does a number that cannot be measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from importlib.resources import files
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import yaml

from tabsynth import _check, registry
from tabsynth.errors import InputError, TabsynthError
from tabsynth.metrics.estimate import Estimate, NotApplicable, check_level
from tabsynth.metrics.evidence import Evidence, Metric, Tier

if TYPE_CHECKING:
    from tabsynth.privacy.ledger import Ledger

Status = Literal["passed", "failed", "not applicable"]
Origin = Literal["zero", "ceiling", "baseline"]
ENTRIES = ("metric", "settings", "at_least", "at_most", "counted_from", "required")
TIERS = ("fidelity", "utility", "privacy")
RESOLVED = 0.99  # of an attack's score


@dataclass(frozen=True, slots=True)
class Check:
    """A metric and where its estimate may lie.

    Thresholds are counted from zero, from the real ceiling or from the trivial baseline: counted from the ceiling,
    `at_most=0.15` allows 0.15 more than real rows score. A check that does not apply to a table (a target is not
    declared, say) fails only when it is `required`.

    Raises InputError when no threshold is given (a check that cannot fail is none), or thresholds are NaN or exclude
    one another.
    """

    metric: Metric
    at_least: float = -math.inf
    at_most: float = math.inf
    counted_from: Origin = "zero"
    required: bool = False

    def __post_init__(self) -> None:
        """Check the thresholds and what the metric says of itself."""
        name = getattr(self.metric, "name", None)
        if not isinstance(name, str) or not callable(self.metric) or getattr(self.metric, "tier", None) not in TIERS:
            raise InputError(
                "A check needs a metric: callable, with a name and a tier of fidelity, utility or privacy."
            )
        for end in ("at_least", "at_most"):
            value = getattr(self, end)
            if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
                raise InputError(f"Check {name!r}: {end} must be a number; got {value!r}.")
        if self.at_least == -math.inf and self.at_most == math.inf:
            raise InputError(f"Check {name!r}: give at_least or at_most; a check without a threshold cannot fail.")
        if self.at_least > self.at_most:
            raise InputError(f"Check {name!r}: at_least must not exceed at_most.")
        _check.one_of("counted_from", self.counted_from, ("zero", "ceiling", "baseline"))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one check. The numbers and the reason were computed from private rows: they stay inside.

    `ceiling` is the same metric on training rows in the place of synthetic ones, `baseline` on columns drawn one by
    one; both are None where they could not be measured. For a privacy metric the ceiling is thus what publishing the
    training rows would score. `allowed` is the most that the privacy budget lets any attack score, where there is a
    budget and the metric is such a score.
    """

    name: str
    tier: Tier
    status: Status
    reason: str
    estimate: Estimate | None
    ceiling: Estimate | None
    baseline: Estimate | None
    at_least: float
    at_most: float
    counted_from: Origin
    seconds: float
    allowed: float | None = None

    @property
    def beyond_the_budget(self) -> bool:
        """Whether an attack surely found more than the privacy budget allows any attack: a fault, not bad luck."""
        return self.estimate is not None and self.allowed is not None and self.estimate.low > self.allowed

    @property
    def passed(self) -> bool:
        """Whether the check was measured and held."""
        return self.status == "passed"

    @property
    def failed(self) -> bool:
        """Whether the check stops a release."""
        return self.status == "failed"


def evaluate(
    evidence: Evidence,
    policy: Sequence[Check],
    rng: np.random.Generator,
    progress: Callable[[str], None] | None = None,
    ledger: Ledger | None = None,
    *,
    beside: bool = True,
) -> tuple[Verdict, ...]:
    """Judge every check of a policy on the evidence, in order; exactly one verdict each, whatever a metric raises.

    Privacy checks share their confidence level: each is held at 1 - (1 - level) / (number of privacy checks)
    (Bonferroni), so that all their intervals hold together at `level`. `progress` is called with the name of each check
    before it runs. With the `ledger` of a private fit an attack is also held against what the charges allow: an
    interval that lies above it fails the check, whatever its thresholds say. Without `beside` a ceiling or a baseline
    is measured only where a threshold is counted from it.
    """
    privacy = sum(check.metric.tier == "privacy" for check in policy)
    views = (evidence, evidence.as_real(rng), evidence.as_independent(rng))
    verdicts = []
    for check, own in zip(policy, rng.spawn(len(policy)), strict=True):
        if progress is not None:
            progress(check.metric.name)
        verdicts.append(_judge(check, views, privacy, own, ledger, beside=beside))
    return _shown(policy, verdicts)


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


def passes(verdicts: Sequence[Verdict]) -> bool:
    """Say whether verdicts let a release through: at least one check passed and none failed.

    >>> passes(())
    False
    """
    return any(verdict.passed for verdict in verdicts) and not any(verdict.failed for verdict in verdicts)


def default_policy() -> tuple[Check, ...]:
    """Return the policy that a release is held against unless another is given.

    >>> [check.metric.name for check in default_policy()][-2:]
    ['membership_auc', 'membership_tpr']
    """
    return _shipped("default")


def small_policy() -> tuple[Check, ...]:
    """Return the policy for tables of a few hundred rows: wider limits, since a small holdout shows less."""
    return _shipped("small")


def thorough_policy() -> tuple[Check, ...]:
    """Return the policy that asks everything this package knows to ask, of tables of some thousands of rows."""
    return _shipped("thorough")


def read_policy(source: Path | str) -> tuple[Check, ...]:
    """Read a policy from a YAML file, or by the name of an installed one; raise InputError naming file and rule."""
    if isinstance(source, str) and source in registry.names(registry.POLICIES):
        return tuple(registry.load(registry.POLICIES, source)())
    path = Path(source)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        installed = ", ".join(registry.names(registry.POLICIES)) or "none"
        raise InputError(f"{path}: no such policy file, nor an installed policy ({installed}).") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a readable policy file ({type(error).__name__}).") from None
    return parse_policy(text, str(path))


def parse_policy(text: str, source: str) -> tuple[Check, ...]:
    """Return the checks of a policy's YAML text; raise InputError that starts with `source`."""
    try:
        plain = yaml.safe_load(text)
        if not isinstance(plain, Mapping) or not isinstance(plain.get("checks"), list) or not plain["checks"]:
            raise InputError("a policy needs a non-empty list named 'checks'.")
        _known(plain, ("level", "checks"), "the policy")
        level = _number(plain.get("level", 0.95), "level")
        checks = tuple(_parse_check(entry, check_level(level)) for entry in plain["checks"])
        names = [check.metric.name for check in checks]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise InputError(f"check {repeated[0]!r} stands more than once.")
    except yaml.YAMLError:
        raise InputError(f"{source}: not YAML.") from None
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    return checks


def _shipped(name: str) -> tuple[Check, ...]:
    """Return a policy that is shipped with the package."""
    text = files("tabsynth").joinpath(f"policies/{name}.yaml").read_text(encoding="utf-8")
    return parse_policy(text, f"policy {name!r}")


def _parse_check(entry: Any, level: float) -> Check:
    """Return one check of a policy file, its metric held at `level` unless its settings say otherwise."""
    if not isinstance(entry, Mapping) or not isinstance(entry.get("metric"), str):
        raise InputError("every check needs the name of a 'metric'.")
    name = entry["metric"]
    _known(entry, ENTRIES, f"check {name!r}")
    rules = {key: entry[key] for key in ("counted_from", "required") if key in entry}
    rules |= {end: _number(entry[end], f"check {name!r}: {end}") for end in ("at_least", "at_most") if end in entry}
    if not isinstance(rules.get("required", False), bool):
        raise InputError(f"check {name!r}: required must be true or false.")
    settings = entry.get("settings", {})
    if not isinstance(settings, Mapping):
        raise InputError(f"check {name!r}: settings must be a mapping of names to values.")
    kind = registry.load(registry.METRICS, name)
    known = tuple(field.name for field in fields(kind)) if is_dataclass(kind) else ()
    _known(settings, known, f"the settings of check {name!r}")
    try:
        metric = kind(**({"level": level} if "level" in known else {}) | dict(settings))
    except InputError as error:
        raise InputError(f"check {name!r}: {error}") from None
    except (TypeError, ValueError):
        raise InputError(f"check {name!r}: a setting has a value of the wrong kind.") from None
    return Check(metric, **rules)


def _known(entry: Mapping[Any, Any], known: Sequence[str], where: str) -> None:
    """Raise unless every key of `entry` is known."""
    if unknown := sorted(set(map(str, entry)) - set(known)):
        raise InputError(f"unknown entry {unknown[0]!r} in {where}; known: {', '.join(known) or 'none'}.")


def _number(value: Any, name: str) -> float:
    """Return `value` as a number; raise unless it is one."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"{name} must be a finite number; got {value!r}.")
    return float(value)


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
        found = _measure(metric, views[0], rngs[0])
        others = [
            _measure(metric, view, own) if beside or check.counted_from == origin else None
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


def _measure(metric: Metric, evidence: Evidence, rng: np.random.Generator) -> Estimate | Exception:
    """Return the estimate, or the error in its place."""
    try:
        estimate = metric(evidence, rng)
    except Exception as error:  # a plug-in may raise anything, and a crash must not become a gap
        return error
    if not isinstance(estimate, Estimate):
        return InputError("It returned something other than an Estimate.")
    return estimate


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
