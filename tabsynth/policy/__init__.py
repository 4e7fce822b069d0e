"""The gate's rules: checks, the verdict on each, and the policy files that hold them.

A check is judged at the unlucky end of its interval, so that few rows make a release harder and never easier. Whatever
happens to a metric there is one verdict a check: a crash fails, and so does a number that cannot be measured, a metric
that takes too long, and a check of privacy that a budget of time left out.
"""

from tabsynth.policy.check import TIME_LIMIT, Check, Origin, Status, Verdict, passes
from tabsynth.policy.clock import seconds_of
from tabsynth.policy.judge import allowance, conclude, corrected, evaluate
from tabsynth.policy.reading import default_policy, parse_policy, read_policy, small_policy, thorough_policy

__all__ = [
    "TIME_LIMIT",
    "Check",
    "Origin",
    "Status",
    "Verdict",
    "allowance",
    "conclude",
    "corrected",
    "default_policy",
    "evaluate",
    "parse_policy",
    "passes",
    "read_policy",
    "seconds_of",
    "small_policy",
    "thorough_policy",
]
