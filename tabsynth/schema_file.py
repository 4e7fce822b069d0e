"""A schema as a file: YAML or JSON in and out, and the JSON Schema that both follow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from tabsynth.columns import PROVIDERS, times
from tabsynth.constraints import Combinations, Dependency, Inequality, OneHot, Predicate, Sum, Unique
from tabsynth.errors import SchemaError
from tabsynth.schema import KINDS, ROLES, Schema
from tabsynth.sdv_metadata import from_sdv, is_sdv


def read_schema(path: Path | str) -> Schema:
    """Read a schema from YAML, JSON or SDV's metadata; raise SchemaError naming the file and the rule."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
        plain = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except FileNotFoundError:
        raise SchemaError(f"{path}: no such schema file.") from None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise SchemaError(f"{path}: not a readable YAML or JSON file ({type(error).__name__}).") from None
    try:
        return from_sdv(plain) if is_sdv(plain) else Schema.from_dict(plain)
    except SchemaError as error:
        raise SchemaError(f"{path}: {error}") from None


def write_schema(schema: Schema, path: Path | str) -> None:
    """Write a schema as JSON or, for any other ending, YAML."""
    path = Path(path)
    text = json.dumps(schema.to_dict(), indent=2, ensure_ascii=False) if path.suffix == ".json" else schema_yaml(schema)
    path.write_text(text, encoding="utf-8")


def schema_yaml(schema: Schema) -> str:
    """Return the schema as YAML text, one line a fact."""
    return yaml.safe_dump(schema.to_dict(), sort_keys=False, allow_unicode=True, width=10_000)


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a schema file."""
    role = {"enum": list(ROLES)}
    value = {"type": ["number", "string"]}
    column = {
        "type": "object",
        "required": ["name", "kind"],
        "additionalProperties": False,
        "properties": {
            "name": {"type": "string", "minLength": 1},
            "kind": {"enum": list(KINDS)},
            "role": {"anyOf": [role, {"type": "array", "items": role}]},
            "nullable": {"type": ["boolean", "null"]},
            "categories": {"type": "array", "items": {"type": ["string", "number", "boolean"]}, "minItems": 1},
            "bounds": {"type": "array", "items": value, "minItems": 2, "maxItems": 2},
            "decimals": {"type": "integer", "minimum": 0, "maximum": 15},
            "format": {"type": "string"},
            "bins": {"type": "array", "items": value, "minItems": 2},
            "unit": {"enum": list(times.UNITS)},
            "timezone": {"type": "string"},
            "cycle": {"enum": list(times.CYCLES)},
            "codes": {"type": "array", "items": value, "minItems": 1},
            "ordered": {"type": "boolean"},
            "provider": {"enum": list(PROVIDERS)},
            "locale": {"type": "string"},
            "unique": {"type": "boolean"},
            "rhythm": {"type": "array", "items": {"type": "number", "minimum": 0}, "minItems": 7},
            "max_length": {"type": "integer", "minimum": 1},
            "after": {"type": "string"},
            "distances": {"type": "array", "items": {"type": "number", "minimum": 0}, "minItems": 2},
        },
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "tabsynth schema",
        "description": "The public description of a private table. Everything written here is published.",
        "type": "object",
        "required": ["columns"],
        "additionalProperties": False,
        "properties": {
            "rows": {"type": "integer", "minimum": 1},
            "rows_per_unit": {"type": "integer", "minimum": 1},
            "missing": {"type": "array", "items": {"type": "string"}},
            "columns": {"type": "array", "items": column, "minItems": 1},
            "constraints": {"type": "array", "items": {"anyOf": _constraint_schemas()}},
        },
    }


def _constraint_schemas() -> list[dict[str, Any]]:
    """Return the JSON Schema of every kind of constraint."""
    text = {"type": "string", "minLength": 1}
    names = {"type": "array", "items": text, "minItems": 2}
    value = {"type": ["string", "number", "boolean"]}
    tuples = {"type": "array", "items": {"type": "array", "items": value, "minItems": 2}, "minItems": 1}
    mapping = {"type": "object", "additionalProperties": value}
    entries: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
        Combinations.kind: ({"columns": names, "allowed": tuples}, ()),
        Dependency.kind: (
            {
                "determinant": {"anyOf": [text, names | {"minItems": 1}]},
                "dependent": text,
                "mapping": {"anyOf": [mapping, tuples]},
            },
            ("mapping",),
        ),
        Inequality.kind: ({"low": text, "high": text, "strict": {"type": "boolean"}}, ("strict",)),
        OneHot.kind: ({"columns": names}, ()),
        Sum.kind: ({"parts": names, "total": text}, ()),
        Unique.kind: ({"columns": names | {"minItems": 1}}, ()),
        Predicate.kind: ({"columns": names | {"minItems": 1}, "function": text}, ()),
    }
    written = [_entry_schema(kind, properties, optional) for kind, (properties, optional) in entries.items()]
    return [*written, _entry_schema(Combinations.kind, {"columns": names, "forbidden": tuples}, ())]


def _entry_schema(kind: str, properties: dict[str, Any], optional: tuple[str, ...]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["kind", *(name for name in properties if name not in optional)],
        "additionalProperties": False,
        "properties": {"kind": {"const": kind}} | properties,
    }
