"""A canary audit in the inside report: read from the folder of `tabsynth canary`, and held against a release."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tabsynth.errors import InputError, Refused
from tabsynth.privacy.budget import Budget, bounded
from tabsynth.release.provenance import generator
from tabsynth.report.audit_page import FORMAT, HTML, JSON

CONSISTENT, BROKEN = "consistent", "exceeds the claim"
NO_CLAIM = "A canary audit is held against a claim, and there is none: set epsilon, or leave the audit out."


def read_audit(folder: Path | str) -> dict[str, Any]:
    """Return what the report shows of the canary audit in a folder; raise InputError when there is none to be read.

    The verdict is drawn anew from the bounds. Numbers that were edited otherwise are not found out.
    """
    path = Path(folder) / JSON
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); was {folder} written by `tabsynth canary`?"
        ) from None
    except ValueError:
        raise InputError(f"{path}: not JSON.") from None
    try:
        if found["format"] != FORMAT:
            raise ValueError
        shown = _section(found)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise InputError(f"{path}: not the numbers of a canary audit, or of another version's.") from None
    if found["verdict"] != shown["verdict"]:
        raise InputError(f"{path}: was altered: its verdict does not follow from its bounds.")
    return shown


def require_same_synthesizer(audit: Mapping[str, Any], synthesizer: Any) -> None:
    """Raise InputError unless the audit was of this synthesizer, version and settings; a public seed may differ."""
    own, other = generator(synthesizer), audit["generator"]
    for fact in ("name", "package", "version"):
        if own[fact] != other[fact]:
            raise InputError(f"The canary audit was of {fact} {other[fact]!r}; the release is of {own[fact]!r}.")
    for name in sorted((own["settings"].keys() | other["settings"].keys()) - {"seed"}):
        if name not in own["settings"] or name not in other["settings"]:
            raise InputError(f"The canary audit was of other settings: only one of the two knows {name!r}.")
        audited, wanted = other["settings"][name], own["settings"][name]
        if audited != wanted:
            raise InputError(f"The canary audit was of {name} {audited!r}; the release has {wanted!r}.")


def require_same_claim(audit: Mapping[str, Any], budget: Budget | None) -> None:
    """Raise InputError when the audit was of a smaller budget: with more noise it says nothing about less."""
    if not bounded(budget):
        raise InputError(NO_CLAIM)
    for fact, claimed in (("epsilon", budget.epsilon), ("delta", budget.delta)):
        audited = audit["budget"][fact]
        if audited < claimed:
            raise InputError(
                f"The canary audit was of {fact} {audited:g}; the release claims {claimed:g} and has less noise. "
                "Audit it at its own budget."
            )


def require_kept(audit: Mapping[str, Any], folder: Path | str) -> None:
    """Raise Refused when the audit found more than is claimed."""
    if audit["verdict"] == BROKEN:
        raise Refused(
            "Refused: the canary audit found more than the synthesizer claims. Nothing was charged or released. See "
            f"{Path(folder) / HTML}."
        )


def _section(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the section's numbers, each of its type; KeyError, TypeError or ValueError where one is not."""
    made = found["generator"]
    bounds = [_bound(bound) for bound in found["bounds"]]
    return {
        "title": str(found["title"]),
        "created": str(found["created"]),
        "generator": {
            **{fact: str(made[fact]) for fact in ("name", "package", "version")},
            "settings": {**made["settings"]},
        },
        "budget": {fact: float(found["budget"][fact]) for fact in ("epsilon", "delta")},
        "claim": {fact: float(found["claim"][fact]) for fact in ("epsilon", "delta")},
        "canaries": int(found["canaries"]),
        "runs": int(found["runs"]),
        "confidence": float(found["confidence"]),
        "epsilon": max((bound["jointly"] for bound in bounds), default=0.0),
        "verdict": BROKEN if any(bound["exceeds"] for bound in bounds) else CONSISTENT,
        "bounds": sorted(bounds, key=lambda bound: -bound["epsilon"]),
        "attacks": [_attack(attack) for attack in found["attacks"]],
    }


def _bound(bound: Mapping[str, Any]) -> dict[str, Any]:
    """Return one bound; `against` is null where the claim allows everything."""
    against = None if bound["against"] is None else float(bound["against"])
    jointly = float(bound["jointly"])
    return {
        **{fact: str(bound[fact]) for fact in ("attack", "method", "assumes")},
        "epsilon": float(bound["epsilon"]),
        "jointly": jointly,
        "against": against,
        "exceeds": against is not None and jointly > against,
    }


def _attack(attack: Mapping[str, Any]) -> dict[str, Any]:
    """Return one attack with its ROC curve; ValueError unless every rate is a share."""
    curve = [[float(false), float(true)] for false, true in attack["roc"]]
    worth = {fact: float(attack[fact]) for fact in ("auc", "tpr_at_1_percent")}
    if not curve or not all(0 <= rate <= 1 for rate in (*worth.values(), *(rate for point in curve for rate in point))):
        raise ValueError
    return {"name": str(attack["name"]), **worth, "roc": curve}
