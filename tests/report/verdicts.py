"""Verdicts to build reports from, with intervals, ceilings and baselines that no metric measured."""

import math

from tabsynth.metrics.estimate import Estimate
from tabsynth.policy import Verdict


def judged(name, tier, status, value=None, reason="", **limits) -> Verdict:
    """Return a verdict; without a value nothing was measured."""

    def near(centre):
        return Estimate(centre, centre - 0.02, centre + 0.03)

    measured = (None,) * 3 if value is None else (near(value), near(0.05), near(0.6))
    bounds = {"at_least": -math.inf, "at_most": math.inf, "counted_from": "zero"} | limits
    return Verdict(name, tier, status, reason, *measured, **bounds, seconds=0.5)
