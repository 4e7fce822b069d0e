"""The JSON Schemas of report.json and of comparison.json."""

from __future__ import annotations

from typing import Any

TEXT = {"type": "string"}
NUMBER_OR_NULL = {"type": ["number", "null"], "description": "null: infinite or absent"}
SHARE = {"type": "number", "minimum": 0, "maximum": 1}
COUNT = {"type": "integer", "minimum": 0}
RATES = {"type": "array", "items": {"type": "array", "items": SHARE, "minItems": 2, "maxItems": 2}}


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of an inside report's report.json.

    >>> json_schema()["properties"]["kind"]
    {'enum': ['audit', 'release']}
    """
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "tabsynth inside report",
        "description": "Verdicts and their numbers, computed from private rows. Not for publication.",
    } | _object(
        {
            "format": {"const": "tabsynth inside report"},
            "format_version": {"const": 1},
            "notice": TEXT,
            "tabsynth": TEXT,
            "title": TEXT,
            "created": TEXT,
            "kind": {"enum": ["audit", "release"]},
            "passed": {"type": "boolean"},
            "reasons": _list(TEXT),
            "rows": _object({"train": COUNT, "holdout": {"type": ["integer", "null"]}, "synthetic": COUNT}),
            "checks": _list(_check()),
            "ledger": _or_null(_ledger()),
            "canary": _or_null(_canary()),
            "distributions": _list(_distribution()),
            "associations": _associations(),
            "attacks": _object({"why_not": TEXT, "groups": _list(_attacks())}),
            "mixing": _object({"why_not": TEXT, "score": TEXT, "rare_score": TEXT, "points": _list(_mixing_point())}),
            "sample": _object({"columns": _list(TEXT), "synthetic": _list(_list(TEXT)), "real": _list(_list(TEXT))}),
            "generator": _or_null({"type": "object", "required": ["name", "version", "settings"]}),
            "settings": {"type": "object"},
            "schema_fingerprint": TEXT,
        }
    )


def comparison_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a comparison's comparison.json.

    >>> comparison_schema()["properties"]["format"]
    {'const': 'tabsynth comparison'}
    """
    axis = _object({"check": TEXT, "better": {"enum": ["higher", "lower"]}})
    truth = {"type": "boolean"}
    number = {"type": "number", "minimum": 0}
    paid = _or_null(_object({"private": truth, "epsilon": NUMBER_OR_NULL, "delta": NUMBER_OR_NULL}))
    table = {"name": TEXT, "rows": COUNT, "passed": truth, "front": truth, "checks": _list(_check()), "privacy": paid}
    choice = {"chosen": TEXT, "epsilon": number, "score": TEXT, "confidence": SHARE, "loss": number}
    price = {"bits": number, "epsilon": number, "confidence": SHARE, "rows": COUNT, "loss": number}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "tabsynth comparison",
        "description": "Verdicts on several synthetic tables, computed from private rows. Not for publication.",
    } | _object(
        {
            "format": {"const": "tabsynth comparison"},
            "format_version": {"const": 1},
            "notice": TEXT,
            "tabsynth": TEXT,
            "title": TEXT,
            "created": TEXT,
            "rows": _object({"train": COUNT, "holdout": {"type": ["integer", "null"]}}),
            "axes": _or_null(_object({"utility": axis, "privacy": axis})),
            "tables": _list(_object(table)),
            "charge": _object(price),
            "choice": _or_null(_object(choice)),
            "settings": {"type": "object"},
        }
    )


def _check() -> dict[str, Any]:
    number = NUMBER_OR_NULL
    estimate = _or_null(_object({"value": number, "low": number, "high": number, "note": TEXT}))
    return _object(
        {
            "name": TEXT,
            "tier": {"enum": ["fidelity", "utility", "privacy"]},
            "status": {"enum": ["passed", "failed", "not applicable"]},
            "left_out": {"type": "boolean", "description": "it did not fit the time that was given"},
            "reason": TEXT,
            "at_least": number,
            "at_most": number,
            "counted_from": {"enum": ["zero", "ceiling", "baseline"]},
            "limits": _object({"at_least": number, "at_most": number}),
            "allowed": number | {"description": "the most that the privacy budget lets any attack score"},
            "seconds": {"type": "number", "minimum": 0},
            "estimate": estimate,
            "ceiling": estimate,
            "baseline": estimate,
        }
    )


def _ledger() -> dict[str, Any]:
    pair = _object({"epsilon": NUMBER_OR_NULL, "delta": SHARE})
    return _object(
        {
            "private": {"type": "boolean"},
            "closed": {"type": "boolean"},
            "budget": _or_null(pair),
            "spent": pair,
            "accountant": TEXT,
            "unit": TEXT,
            "meaning": _list(TEXT),
            "charges": _list({"type": "object", "required": ["why", "mechanism", "event", "delta"]}),
            "notes": {"type": "array"},
        }
    )


def _canary() -> dict[str, Any]:
    number = {"type": "number", "minimum": 0}
    bound = {"epsilon": number, "jointly": number, "against": NUMBER_OR_NULL, "exceeds": {"type": "boolean"}}
    return _object(
        {
            "title": TEXT,
            "created": TEXT,
            "generator": {"type": "object", "required": ["name", "package", "version", "settings"]},
            "budget": _object({"epsilon": number, "delta": SHARE}),
            "claim": _object({"epsilon": number, "delta": SHARE}),
            "canaries": COUNT,
            "runs": COUNT,
            "confidence": SHARE,
            "epsilon": number | {"description": "the largest lower bound of all that hold together"},
            "verdict": {"enum": ["consistent", "exceeds the claim"]},
            "bounds": _list(_object({"attack": TEXT, "method": TEXT, "assumes": TEXT} | bound)),
            "attacks": _list(_object({"name": TEXT, "auc": SHARE, "tpr_at_1_percent": SHARE, "roc": RATES})),
        }
    )


def _distribution() -> dict[str, Any]:
    pair = {"real": SHARE, "synthetic": SHARE}
    return _object(
        {
            "column": TEXT,
            "kind": TEXT,
            "difference": SHARE,
            "missing": _or_null(_object(pair)),
            "levels": _list(_object({"level": TEXT, **pair})),
            "edges": _list({"type": "number"}),
            "ends": _list(TEXT),
            "bins": _list(_object(pair)),
            "cycles": _list(
                _object(
                    {
                        "cycle": {"enum": ["weekday", "hour"]},
                        "difference": SHARE,
                        "labels": _list(TEXT),
                        "bins": _list(_object(pair)),
                    }
                )
            ),
        }
    )


def _attacks() -> dict[str, Any]:
    """Return the schema of attacks on one group of rows; curves are pairs of false and true positive rate."""
    estimate = _or_null(_object({"value": SHARE, "low": SHARE, "high": SHARE}))
    worth = dict.fromkeys(("auc", "tpr_at_1_percent", "tpr_at_0_1_percent", "advantage"), estimate)
    return _object(
        {
            "exposed": {"type": "boolean", "description": "only the most isolated tenth of the rows"},
            "members": COUNT,
            "others": COUNT,
            "allowed": RATES | {"description": "the most that the privacy budget lets any attack reach"},
            "curves": _list(_object({"name": TEXT, **worth, "roc": RATES})),
        }
    )


def _mixing_point() -> dict[str, Any]:
    number = {"type": "number"}
    estimate = _object({"value": number, "low": number, "high": number})
    return _object({"share": SHARE, "overall": estimate, "rare": _or_null(estimate)})


def _associations() -> dict[str, Any]:
    matrix = _list(_list(SHARE))
    return _object(
        {"measure": TEXT, "columns": _list(TEXT), "real": matrix, "synthetic": matrix, "left_out": _list(TEXT)}
    )


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of an object with exactly these entries."""
    return {
        "type": "object",
        "required": list(properties),
        "additionalProperties": False,
        "properties": properties,
    }
