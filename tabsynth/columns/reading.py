"""A column's plain values, as they stand in a file, as arguments of its constructor."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from tabsynth.columns.times import seconds_of, zone_of
from tabsynth.errors import SchemaError

TYPES: dict[str, tuple[type, str]] = {
    **dict.fromkeys(("unit", "timezone", "cycle", "provider", "locale", "after"), (str, "a text")),
    **dict.fromkeys(("nullable", "ordered", "unique"), (bool, "true or false")),
    **dict.fromkeys(("decimals", "max_length"), (int, "a whole number")),
}


def column_values(name: str, plain: Mapping[str, Any]) -> dict[str, Any]:
    """Turn a column's plain values into constructor arguments."""
    values = {key: value for key, value in plain.items() if key != "role"}
    role = plain.get("role") or ()
    values["roles"] = tuple(role) if isinstance(role, list | tuple) else (role,)
    if isinstance(named := values.get("categories"), list) and any(isinstance(value, bool) for value in named):
        raise SchemaError(f"Column {name!r}: YAML reads an unquoted yes, no, true or false as a boolean; quote it.")
    try:
        if values.get("categories") is not None:
            values["categories"] = tuple(map(str, _as_list(values["categories"])))
        for fact in ("rhythm", "distances"):
            if values.get(fact) is not None:
                values[fact] = tuple(map(float, _as_list(values[fact])))
        for fact in ("bounds", "bins"):
            if values.get(fact) is not None:
                kind, unit, timezone = (plain.get(entry) for entry in ("kind", "unit", "timezone"))
                values[fact] = tuple(axis_value(kind, value, unit, timezone) for value in _as_list(values[fact]))
    except (TypeError, ValueError, OverflowError, LookupError):
        raise SchemaError(f"Column {name!r}: bounds, bins and categories are lists of values of its kind.") from None
    values["codes"] = _codes(name, values.get("codes"))
    if values.get("bounds") is not None and len(values["bounds"]) != 2:
        raise SchemaError(f"Column {name!r}: bounds must be two values, the smaller one first.")
    for entry, (kinds, words) in TYPES.items():
        if not isinstance(values.get(entry, kinds()), kinds) and values[entry] is not None:
            raise SchemaError(f"Column {name!r}: {entry} must be {words}.")
    return values


def code_text(code: str | float) -> str:
    """Return a code as it stands in a text file, a whole number without a point.

    >>> code_text("N/A"), code_text(9999.0), code_text(-0.5)
    ('N/A', '9999', '-0.5')
    """
    if isinstance(code, str):
        return code.strip()
    return str(int(code)) if math.isfinite(code) and code == int(code) else str(code)


def _codes(name: str, codes: Any) -> tuple[str | float, ...] | None:
    """Return codes as texts and numbers."""
    if codes is None:
        return None
    if not isinstance(codes, list | tuple) or not all(
        isinstance(code, str | int | float) and not isinstance(code, bool) for code in codes
    ):
        raise SchemaError(f"Column {name!r}: codes must be a list of texts and numbers.")
    return tuple(code.strip() if isinstance(code, str) else code for code in codes)


def _as_list(values: Any) -> list[Any]:
    """Return `values` when it is a list; a text is not one."""
    if not isinstance(values, list | tuple):
        raise TypeError("not a list")
    return list(values)


def axis_value(kind: Any, value: Any, unit: str | None = None, timezone: str | None = None) -> float:
    """Place one written value on the real axis; a moment without a zone is one of the column's, or of UTC."""
    if kind == "duration":
        return seconds_of(value, unit)
    if kind != "datetime":
        return float(value)
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    return moment.replace(tzinfo=moment.tzinfo or (UTC if timezone is None else zone_of(timezone))).timestamp()
