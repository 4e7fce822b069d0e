"""Argument checks that name their argument: what was expected, and what came."""

from __future__ import annotations

import math
from collections.abc import Collection

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


def one_of(name: str, value: str, options: Collection[str]) -> None:
    """Raise unless `value` is one of `options`."""
    if value not in options:
        raise InputError(f"{name} must be one of {', '.join(sorted(options))}; got {value!r}.")
