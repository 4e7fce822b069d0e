"""The audit: what an attacker who plants rows can prove about a privacy claim."""

from tabsynth.audit.canaries import Canaries, make_canaries, own_canaries
from tabsynth.audit.claim import Claim
from tabsynth.audit.gradients import audit_dpsgd
from tabsynth.audit.many_run import Mechanism, audit_mechanism, mechanisms
from tabsynth.audit.result import Attack, AuditResult, Bound
from tabsynth.audit.synthesizers import audit_synthesizer

__all__ = [
    "Attack",
    "AuditResult",
    "Bound",
    "Canaries",
    "Claim",
    "Mechanism",
    "audit_dpsgd",
    "audit_mechanism",
    "audit_synthesizer",
    "make_canaries",
    "mechanisms",
    "own_canaries",
]
