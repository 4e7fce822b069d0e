"""Which checks speak to what guidance asks about: a reader's index, and no claim of conformity.

Only the names of the guidance's own terms stand here. A term that no check was made for is called not measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tabsynth.report.glossary import is_of
from tabsynth.report.words import DESCRIPTIVE, status

MEMBERSHIP = (
    "membership_auc",
    "membership_tpr",
    "membership_advantage",
    "shadow_auc",
    "shadow_tpr",
    "shadow_advantage",
)
GUESSES = ("attribute_inference", "inference")
ANY = "privacy"  # every check of that tier
WP29 = "WP29 opinion 05/2014 (WP 216)"
ICO = "ICO, anonymisation guidance"
NIST = "NIST SP 800-226"
CONSENSUS = "Consensus privacy metrics (2503.04980)"


@dataclass(frozen=True, slots=True)
class Term:
    """A term of some guidance, and what of a report speaks to it: checks by name, a tier, or a part of the page."""

    guidance: str
    name: str
    checks: tuple[str, ...] = ()
    tier: str = ""
    part: str = ""
    outside: str = ""  # what a report cannot say


TERMS = (
    Term(WP29, "Singling out", ("singling_out", "unique_replay", "text_replay")),
    Term(WP29, "Linkability", ("linkability",)),
    Term(WP29, "Inference", GUESSES),
    Term(ICO, "Singling out", ("singling_out", "unique_replay", "text_replay", "exact_match")),
    Term(ICO, "Linkability", ("linkability",)),
    Term(
        ICO, "Motivated intruder test", tier=ANY, outside="What an intruder can find elsewhere is for people to judge."
    ),
    Term(NIST, "Epsilon", part="epsilon"),
    Term(NIST, "Unit of privacy", part="unit"),
    Term(NIST, "Utility", tier="utility"),
    Term(NIST, "Bias", ("subgroup_gap", "rare_categories", "rare_pairs")),
    Term(NIST, "Data collection exposure", outside="Before the table was read: not a matter of this report."),
    Term(CONSENSUS, "Membership disclosure", MEMBERSHIP),
    Term(CONSENSUS, "Attribute disclosure", GUESSES),
    Term(CONSENSUS, "Similarity (discouraged)", DESCRIPTIVE, outside="Cannot pass a release by itself."),
)


def mapping(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one line for each term: the checks that speak to it, with their status, and what else is said of it."""
    return [_line(term, report) for term in TERMS]


def _line(term: Term, report: Mapping[str, Any]) -> dict[str, Any]:
    known = [check for check in report["checks"] if _speaks(check, term)]
    found = [{"name": check["name"], "status": _status(check)} for check in known]
    says = [part for part in (_part(term.part, report["ledger"]), term.outside) if part]
    if not found and not says:
        says = ["not measured"]
    elif not found and (term.checks or term.tier):
        says = ["not measured", *says]
    return {"guidance": term.guidance, "term": term.name, "checks": found, "says": says}


def _speaks(check: Mapping[str, Any], term: Term) -> bool:
    """Whether a check is one of those named, or of the tier and more than a description."""
    if term.tier:
        return bool(check["tier"] == term.tier) and not is_of(check["name"], DESCRIPTIVE)
    return is_of(check["name"], term.checks)


def _status(check: Mapping[str, Any]) -> str:
    if check["estimate"] is None and check["status"] == "failed" and not check["left_out"]:
        return "not measured"
    return status(check)


def _part(part: str, ledger: Mapping[str, Any] | None) -> str:
    """Return what the ledger says of a term, or that there is none."""
    if not part:
        return ""
    if ledger is None:
        return "not known: no ledger came with these rows"
    if part == "unit":
        return str(ledger["unit"])
    if not ledger["private"]:
        return "none: not private"
    spent = ledger["spent"]
    return f"{spent['epsilon']:.3g} at delta {spent['delta']:.3g}"
