"""A check is a metric with thresholds; a verdict is what became of one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tabsynth import _check
from tabsynth.errors import InputError
from tabsynth.metrics.estimate import Estimate
from tabsynth.metrics.evidence import Metric, Tier

Status = Literal["passed", "failed", "not applicable"]
Origin = Literal["zero", "ceiling", "baseline"]
TIERS = ("fidelity", "utility", "privacy")
TIME_LIMIT = 1800.0  # seconds of a check


@dataclass(frozen=True, slots=True)
class Check:
    """A metric and where its estimate may lie.

    Thresholds are counted from zero, from the real ceiling or from the trivial baseline: counted from the ceiling,
    `at_most=0.15` allows 0.15 more than real rows score. A check that does not apply to a table (a target is not
    declared, say) fails only when it is `required`. One that takes longer than `time_limit` seconds fails.

    Raises InputError when no threshold is given (a check that cannot fail is none), or thresholds are NaN or exclude
    one another.
    """

    metric: Metric
    at_least: float = -math.inf
    at_most: float = math.inf
    counted_from: Origin = "zero"
    required: bool = False
    time_limit: float = TIME_LIMIT

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
        if not (isinstance(self.time_limit, int | float) and self.time_limit > 0):
            raise InputError(
                f"Check {name!r}: time_limit must be a number of seconds above 0; got {self.time_limit!r}."
            )
        _check.one_of("counted_from", self.counted_from, ("zero", "ceiling", "baseline"))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one check. The numbers and the reason were computed from private rows: they stay inside.

    `ceiling` is the same metric on training rows in the place of synthetic ones, `baseline` on columns drawn one by
    one; both are None where they could not be measured. For a privacy metric the ceiling is thus what publishing the
    training rows would score. `allowed` is the most that the privacy budget lets any attack score, where there is a
    budget and the metric is such a score. `left_out` says that a budget of time left no room for the check.
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
    left_out: bool = False

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


def passes(verdicts: Sequence[Verdict]) -> bool:
    """Say whether verdicts let a release through: at least one check passed and none failed.

    >>> passes(())
    False
    """
    return any(verdict.passed for verdict in verdicts) and not any(verdict.failed for verdict in verdicts)
