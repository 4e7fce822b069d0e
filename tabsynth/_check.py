"""Argument checks that name their argument: what was expected, and what came."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import fields, is_dataclass
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from tabsynth.errors import InputError


def positive(name: str, value: float) -> None:
    """Raise unless `value` is a finite number above zero."""
    if not (math.isfinite(value) and value > 0):
        raise InputError(f"{name} must be a finite number above 0; got {value!r}.")


def within(name: str, value: float, low: float, high: float) -> None:
    """Raise unless `low <= value <= high`.

    >>> within("share", 0.5, 0, 1)
    """
    if not low <= value <= high:
        raise InputError(f"{name} must lie between {low:g} and {high:g}; got {value!r}.")


def at_least(name: str, value: int, low: int) -> None:
    """Raise unless the whole number `value` is at least `low`."""
    if isinstance(value, bool) or int(value) != value or value < low:
        raise InputError(f"{name} must be a whole number of at least {low}; got {value!r}.")


def settings(own: Any, check: Callable[..., None], *names: str, **limits: float) -> None:
    """Check fields of a dataclass by one of these functions; a field may be None where that is its default.

    >>> from dataclasses import dataclass
    >>> @dataclass
    ... class Sizes:
    ...     width: int = 64
    ...     batch: int | None = None
    >>> settings(Sizes(width=0), at_least, "width", "batch", low=1)
    Traceback (most recent call last):
    tabsynth.errors.InputError: width must be a whole number of at least 1; got 0.
    """
    defaults = {field.name: field.default for field in fields(own)}
    for name in names:
        value = getattr(own, name)
        if value is not None or defaults[name] is not None:
            check(name, value, **limits)


def one_of(name: str, value: str, options: Collection[str]) -> None:
    """Raise unless `value` is one of `options`."""
    if value not in options:
        raise InputError(f"{name} must be one of {', '.join(sorted(options))}; got {value!r}.")


def of_type(name: str, value: Any, hint: Any) -> None:
    """Raise unless `value` is what a type hint of plain values says; a hint of anything else allows everything.

    A list serves as a tuple, a mapping as one of (key, *values), or as a dataclass; a whole number as a number.

    >>> of_type("widths", [64, 64], tuple[int, ...] | None)
    """
    if not _is(value, hint):
        raise InputError(f"{name} must be {_in_words(hint)}; got {value!r}, a value of type {type(value).__name__}.")


def _is(value: Any, hint: Any) -> bool:
    parts = get_args(hint)
    if get_origin(hint) in (Union, UnionType):
        return any(_is(value, part) for part in parts)
    if get_origin(hint) is Literal:
        return value in parts
    if get_origin(hint) is tuple:
        items = _items(value)
        repeated = parts[-1:] == (...,)
        each = parts[:1] * len(items or ()) if repeated else parts
        return items is not None and len(items) == len(each) and all(map(_is, items, each))
    if hint in (int, float):
        return isinstance(value, Integral if hint is int else Real) and not isinstance(value, bool)
    if is_dataclass(hint) and isinstance(value, Mapping):
        kinds = get_type_hints(hint)
        return all(key in kinds and _is(own, kinds[key]) for key, own in value.items())
    return isinstance(value, hint) if hint in (str, bool, NoneType) or is_dataclass(hint) else True


def _items(value: Any) -> Sequence[Any] | None:
    """Return the items of a list, and those of a mapping as one has them in a list; None for anything else."""
    if isinstance(value, Mapping):
        return [(key, *(own if isinstance(own, list | tuple) else (own,))) for key, own in value.items()]
    return value if isinstance(value, list | tuple) else None


def _in_words(hint: Any) -> str:
    parts = get_args(hint)
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(map(_in_words, parts))
    if get_origin(hint) is Literal:
        return f"one of {', '.join(map(str, parts))}"
    if get_origin(hint) is tuple:
        return f"a list, each item {_in_words(parts[0])}" if parts[-1:] == (...,) else f"a list of {len(parts)} items"
    if is_dataclass(hint):
        return f"a mapping of {', '.join(field.name for field in fields(hint))}"
    words = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", NoneType: "null"}
    return words.get(hint) or f"a {getattr(hint, '__name__', hint)}"
