"""The audit: what an attacker who plants rows can prove about a privacy claim."""

from __future__ import annotations

from tabsynth.audit.bounds import (
    counted_epsilon,
    counted_mu,
    epsilon_of_mu,
    mean_shift_mu,
    one_run_epsilon,
    one_run_mu,
)
from tabsynth.audit.claim import Claim

__all__ = [
    "Claim",
    "counted_epsilon",
    "counted_mu",
    "epsilon_of_mu",
    "mean_shift_mu",
    "one_run_epsilon",
    "one_run_mu",
]
