"""The JSON Schema of provenance.json."""

from __future__ import annotations

from typing import Any

TEXT = {"type": "string"}
TEXT_OR_NULL = {"type": ["string", "null"]}
SHA256 = {"type": "string", "pattern": "^[0-9a-f]{64}$"}


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a release's provenance.json.

    >>> json_schema()["properties"]["schema_fingerprint"]["pattern"]
    '^[0-9a-f]{64}$'
    """
    file = _object({"sha256": SHA256, "bytes": {"type": "integer", "minimum": 1}})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "tabsynth provenance",
        "description": "How the rows of one release were made. Public: holds no number computed from private rows.",
    } | _object(
        {
            "format": {"const": "tabsynth release"},
            "format_version": {"const": 1},
            "release": _release(),
            "generator": _object(
                {"name": TEXT, "version": TEXT, "package": TEXT, "settings": {"type": "object"}},
            ),
            "schema": {"type": "object", "required": ["columns"]},
            "schema_fingerprint": SHA256,
            "privacy": _privacy(),
            "gate": _gate(),
            "seeds": {"type": "object", "additionalProperties": {"type": "integer"}},
            "packages": {"type": "object", "additionalProperties": TEXT, "required": ["python", "tabsynth"]},
            "files": _object({"data.parquet": file, "README.md": file}),
        }
    )


def _release() -> dict[str, Any]:
    return _object(
        {
            "id": {"type": "string", "pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"},
            "title": TEXT,
            "created": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\d$"},
            "rows": {"type": "integer", "minimum": 1},
            "columns": {"type": "array", "items": TEXT, "minItems": 1},
            "synthetic": {"const": True},
        }
    )


def _privacy() -> dict[str, Any]:
    epsilon = {"type": ["number", "null"], "minimum": 0, "description": "null: infinite, not differentially private"}
    pair = _object({"epsilon": epsilon, "delta": {"type": "number", "minimum": 0, "maximum": 1}})
    pair_or_null = {"anyOf": [pair, {"type": "null"}]}
    charge = {"type": "object", "required": ["why", "mechanism", "event", "delta"]}
    return _object(
        {
            "private": {"type": "boolean"},
            "budget": pair_or_null,
            "spent": pair,
            "accountant": TEXT,
            "neighbouring": TEXT,
            "unit": _object({"column": TEXT_OR_NULL, "rows": {"type": "integer", "minimum": 1}, "in_words": TEXT}),
            "meaning": {"type": "array", "items": TEXT, "minItems": 1},
            "charges": {"type": "array", "items": charge},
            "notes": {"type": "array"},
        }
    )


def _gate() -> dict[str, Any]:
    verdict = _object(
        {
            "name": TEXT,
            "tier": {"enum": ["fidelity", "utility", "privacy"]},
            "status": {
                "enum": ["not failed", "passed", "not applicable"],
                "description": "Only a gate that was paid for says whether a check passed or did not apply.",
            },
        }
    )
    return _object(
        {
            "passed": {"const": True},
            "policy_fingerprint": TEXT_OR_NULL,
            "verdicts": {"type": "array", "items": verdict, "minItems": 1},
            "mode": {"enum": ["inside", "charged"]},
            "attempts": {"type": ["integer", "null"], "minimum": 1},
            "statement": TEXT,
        }
    )


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of an object with exactly these entries."""
    return {
        "type": "object",
        "required": list(properties),
        "additionalProperties": False,
        "properties": properties,
    }
