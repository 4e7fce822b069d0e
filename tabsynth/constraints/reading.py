"""A rule from the plain values of a schema file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from tabsynth.constraints.categories import Combinations, Dependency
from tabsynth.constraints.numbers import Inequality, OneHot, Sum
from tabsynth.constraints.predicate import Predicate
from tabsynth.constraints.rule import Constraint, Values
from tabsynth.constraints.unique import Unique
from tabsynth.errors import SchemaError

FAMILIES = (Combinations, Dependency, Inequality, OneHot, Sum, Unique, Predicate)
KINDS = {family.kind: family for family in FAMILIES}


def constraint_from_dict(plain: Any, place: int) -> Constraint:
    """Read the rule at a place, from 1, of a schema's list; raise SchemaError naming the place and what is wrong."""
    where = f"Constraint {place}"
    kind = plain.get("kind") if isinstance(plain, Mapping) else None
    if not isinstance(plain, Mapping) or kind not in KINDS:
        raise SchemaError(f"{where}: kind must be one of {', '.join(KINDS)}; got {kind!r}.")
    family = KINDS[str(kind)]
    known = [field.name for field in fields(family)]
    if unknown := sorted(set(map(str, plain)) - {"kind", *known}):
        raise SchemaError(f"{where} ({kind}): unknown entry {unknown[0]!r}; known: {', '.join(known)}.")
    try:
        read = {name: READ[name](plain[name]) for name in known if plain.get(name) is not None}
        return family(**read)
    except (TypeError, ValueError):
        raise SchemaError(
            f"{where} ({kind}): an entry is missing or of the wrong kind; it has {', '.join(known)}."
        ) from None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("not a truth value")
    return value


def _names(values: Any) -> Values:
    if not isinstance(values, list | tuple):
        raise TypeError("not a list")
    return tuple(map(_text, values))


def _tuples(values: Any) -> tuple[Values, ...]:
    if not isinstance(values, list | tuple) or not all(isinstance(one, list | tuple) for one in values):
        raise TypeError("not a list of lists")
    return tuple(tuple(map(str, one)) for one in values)


def _mapping(values: Any) -> tuple[Values, ...]:
    if isinstance(values, list | tuple) and values:
        return _tuples(values)
    if not isinstance(values, Mapping):
        raise TypeError("not a mapping")
    return tuple((str(key), str(value)) for key, value in values.items())


def _determinant(value: Any) -> str | Values:
    return _text(value) if isinstance(value, str) else _names(value)


READ: dict[str, Callable[[Any], Any]] = {
    "columns": _names,
    "parts": _names,
    "allowed": _tuples,
    "forbidden": _tuples,
    "mapping": _mapping,
    "strict": _truth,
    "determinant": _determinant,
    **dict.fromkeys(("low", "high", "total", "dependent", "function"), _text),
}
