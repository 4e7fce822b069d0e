"""What is said outside about how rows were made: public and paid-for facts, nothing computed from private rows."""

from __future__ import annotations

import hashlib
import json
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any
from uuid import uuid4

from tabsynth.policy import Check, Verdict
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.words import claim_in_words, unit_in_words
from tabsynth.release.refusing import Mode
from tabsynth.schema import Schema

FORMAT_VERSION = 1
NOT_FAILED = "not failed"  # of every check of an uncharged gate: which of them applied is a fact of private rows
PACKAGES = ("torch", "opacus", "opendp", "dp-accounting", "numpy", "pandas", "pyarrow")


def provenance(
    schema: Schema,
    synthesizer: Any,
    ledger: Ledger,
    verdicts: Sequence[Verdict],
    *,
    rows: int,
    columns: Sequence[str],
    title: str,
    policy: Sequence[Check] | None = None,
    seeds: Mapping[str, int] | None = None,
    attempts: int | None = None,
    mode: Mode = "inside",
) -> dict[str, Any]:
    """Return the outside account of one release as plain JSON values, its files' hashes still to be added.

    Of the verdicts only name and tier are taken, and of a charged gate's the status: their numbers, and whether a check
    applied at all, were computed from private rows.
    """
    return {
        "format": "tabsynth release",
        "format_version": FORMAT_VERSION,
        "release": {
            "id": str(uuid4()),
            "title": title,
            "created": datetime.now(UTC).date().isoformat(),  # the hour would tell how long the fit took
            "rows": rows,
            "columns": list(columns),
            "synthetic": True,
        },
        "generator": generator(synthesizer),
        "schema": schema.to_dict(),
        "schema_fingerprint": schema.fingerprint(),
        "privacy": _privacy(ledger, schema),
        "gate": {
            "passed": True,
            "policy_fingerprint": None if policy is None else policy_fingerprint(policy),
            "verdicts": [{"name": v.name, "tier": v.tier, "status": _status(v, mode)} for v in verdicts],
            "mode": mode,
            "attempts": attempts,
            "statement": _gate_statement(attempts, mode, ledger.private),
        },
        "seeds": dict(seeds or {}),
        "packages": _packages(),
        "files": {},
    }


def policy_fingerprint(policy: Sequence[Check]) -> str:
    """Return the SHA-256 of a policy's canonical JSON: each metric with its settings, and where it may lie."""
    checks = [{"kind": type(check.metric).__qualname__, "name": check.metric.name, **plain(check)} for check in policy]
    canonical = json.dumps(checks, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def generator(synthesizer: Any) -> dict[str, Any]:
    """Return a synthesizer's name, its version (that of the package it came in) and its settings.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Plain:
    ...     name = "plain"
    ...     bins: tuple[int, ...] = (2, 3)
    >>> generator(Plain())["settings"]
    {'bins': [2, 3]}
    """
    kind = type(synthesizer)
    settings = {field.name: plain(getattr(synthesizer, field.name)) for field in fields(synthesizer)}
    package = kind.__module__.partition(".")[0]
    return {"name": str(synthesizer.name), "version": _version(package), "package": package, "settings": settings}


def plain(value: Any) -> Any:
    """Return a setting as a JSON value; an infinite number becomes its name."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return value.name if isinstance(value, Path) else str(value)


def _privacy(ledger: Ledger, schema: Schema) -> dict[str, Any]:
    """Return the claim, in numbers and words, and everything that was paid for it."""
    written = ledger.to_dict()
    return {
        **{name: written[name] for name in ("private", "budget", "spent", "accountant")},
        "neighbouring": written["neighbours"],
        "unit": {
            "column": schema.unit.column,
            "rows": schema.unit.rows,
            "in_words": unit_in_words(schema.unit),
        },
        "meaning": list(claim_in_words(ledger, schema.unit)),
        "charges": plain(written["charges"]),
        "notes": plain(written["notes"]),
    }


def _status(verdict: Verdict, mode: Mode) -> str:
    """Return what may be said of a check: its status where that was paid for, else only that it did not fail."""
    return verdict.status if mode == "charged" else NOT_FAILED


def _gate_statement(attempts: int | None, mode: Mode, private: bool) -> str:
    """Say what the decision to release tells of the private rows, and how many times it was asked for."""
    if attempts is None:
        tries = "Attempts are not counted: no ledger file was kept."
    else:
        tries = f"Attempts made: {attempts}, this one included."
    if mode == "charged":
        return (
            "The decision to release was computed from noisy counts of private rows, which were charged to the budget "
            f"before the fit: it is inside the budget. {tries}"
        )
    bit = "That this release exists says one bit about them" + (
        ", which the budget does not cover." if private else "."
    )
    many = " Each refused attempt before it says one more." if attempts and attempts > 1 else ""
    return (
        f"The decision to release was computed from private rows. {bit}{many} {tries} The numbers behind the checks "
        "stay inside."
    )


def _packages() -> dict[str, str]:
    versions = {"python": platform.python_version(), "tabsynth": _version("tabsynth")}
    return versions | {name: _version(name) for name in PACKAGES}


@cache  # the look-up by import package reads every installed distribution
def _version(package: str) -> str:
    """Return the installed version of the distribution or import package of this name, else "unknown"."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        owners = metadata.packages_distributions().get(package, [])
    return metadata.version(owners[0]) if owners else "unknown"
