"""The numbers of an inside report, as plain JSON values: what report.json holds and report.html draws."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

import pandas as pd

from tabsynth.metrics.estimate import Estimate
from tabsynth.metrics.evidence import Evidence
from tabsynth.policy import Verdict
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.words import claim_in_words, unit_in_words
from tabsynth.release.provenance import generator, plain
from tabsynth.release.refusing import refusals
from tabsynth.report.associations import associations
from tabsynth.report.curves import not_measured
from tabsynth.report.distributions import distribution, furthest

FORMAT_VERSION = 1
NOTICE = (
    "INSIDE. The numbers here were computed from private rows and are not covered by the privacy budget. "
    "Do not publish, forward or attach this report."
)
SAMPLE_ROWS = 5
LETTERS = 80  # of a cell that is shown
TIERS = ("privacy", "utility", "fidelity")


def contents(
    verdicts: Sequence[Verdict],
    evidence: Evidence,
    *,
    ledger: Ledger | None = None,
    synthesizer: Any = None,
    title: str = "Synthetic table",
    settings: Mapping[str, Any] | None = None,
    canary: Mapping[str, Any] | None = None,
    curves: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return everything the report says; `ledger` and `synthesizer` are None for rows that another tool made."""
    schema = evidence.schema
    reasons = refusals(verdicts, ledger, synthesizer=synthesizer)
    if canary is not None and canary["verdict"] != "consistent":
        reasons += ("the canary audit found more than the synthesizer claims: a fault, not bad luck",)
    return {
        "format": "tabsynth inside report",
        "format_version": FORMAT_VERSION,
        "notice": NOTICE,
        "tabsynth": metadata.version("tabsynth"),
        "title": title,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "kind": "audit" if ledger is None else "release",
        "passed": not reasons,
        "reasons": list(reasons),
        "rows": {
            "train": len(evidence.train),
            "holdout": None if evidence.holdout is None else len(evidence.holdout),
            "synthetic": len(evidence.rows),
        },
        "checks": [check_entry(verdict) for verdict in verdicts],
        "ledger": None if ledger is None else _ledger(ledger, evidence),
        "canary": None if canary is None else plain(dict(canary)),
        "distributions": sorted(
            (distribution(c, evidence.train[c.name], evidence.rows[c.name]) for c in schema.modelled),
            key=lambda found: -furthest(found),
        ),
        "associations": associations(schema, evidence.train, evidence.rows),
        **(not_measured() if curves is None else curves),
        "sample": _sample(evidence),
        "generator": None if synthesizer is None else generator(synthesizer),
        "settings": plain(dict(settings or {})),
        "schema_fingerprint": schema.fingerprint(),
    }


def check_entry(verdict: Verdict) -> dict[str, Any]:
    """Return one verdict; an absent threshold is null, `limits` are the thresholds counted from zero."""
    origins = {"zero": 0.0, "ceiling": _value(verdict.ceiling), "baseline": _value(verdict.baseline)}
    origin = origins[verdict.counted_from]
    return {
        "name": verdict.name,
        "tier": verdict.tier,
        "status": verdict.status,
        "left_out": verdict.left_out,
        "reason": verdict.reason,
        "at_least": _finite(verdict.at_least),
        "at_most": _finite(verdict.at_most),
        "counted_from": verdict.counted_from,
        "limits": {"at_least": _finite(origin + verdict.at_least), "at_most": _finite(origin + verdict.at_most)},
        "allowed": None if verdict.allowed is None else _finite(verdict.allowed),
        "seconds": round(verdict.seconds, 3),
        "estimate": _estimate(verdict.estimate),
        "ceiling": _estimate(verdict.ceiling),
        "baseline": _estimate(verdict.baseline),
    }


def _estimate(estimate: Estimate | None) -> dict[str, Any] | None:
    """Return an estimate; an unbounded end of its interval is null."""
    if estimate is None:
        return None
    ends = {"value": _finite(estimate.value), "low": _finite(estimate.low), "high": _finite(estimate.high)}
    return {**ends, "note": estimate.note}


def _value(estimate: Estimate | None) -> float:
    return math.nan if estimate is None else estimate.value


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _ledger(ledger: Ledger, evidence: Evidence) -> dict[str, Any]:
    """Return what was claimed, what was paid, and what that means."""
    unit, written = evidence.schema.unit, ledger.to_dict()
    return {
        **{name: written[name] for name in ("private", "budget", "spent", "accountant")},
        "closed": ledger.closed,
        "unit": unit_in_words(unit),
        "meaning": list(claim_in_words(ledger, unit)),
        "charges": plain(written["charges"]),
        "notes": plain(written["notes"]),
    }


def _sample(evidence: Evidence) -> dict[str, Any]:
    """Return rows as text: the first synthetic ones, which were drawn independently, and real ones of anywhere.

    Which real rows are shown means nothing, and is the same each time.
    """
    real = evidence.train.sample(min(SAMPLE_ROWS, len(evidence.train)), random_state=0)
    return {
        "columns": [str(name) for name in evidence.rows.columns],
        "synthetic": _texts(evidence.rows.head(SAMPLE_ROWS)),
        "real": _texts(real),
    }


def _texts(rows: pd.DataFrame) -> list[list[str]]:
    return [
        ["" if missing else _cell(value) for value, missing in zip(row, isna, strict=True)]
        for row, isna in zip(rows.itertuples(index=False), rows.isna().to_numpy(), strict=True)
    ]


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.10g}"
    text = str(value).removesuffix(" 00:00:00") if isinstance(value, pd.Timestamp) else str(value)
    return text if len(text) <= LETTERS else f"{text[: LETTERS - 1]}…"
