"""Plug-in look-up by entry point; the built-ins come through the same door.

A package adds a plug-in by declaring, in its own `pyproject.toml`, an entry point in one of the groups
`tabsynth.synthesizers`, `tabsynth.metrics` or `tabsynth.policies`.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

from tabsynth.errors import InputError

SYNTHESIZERS = "tabsynth.synthesizers"
METRICS = "tabsynth.metrics"
POLICIES = "tabsynth.policies"

DEFAULT_SYNTHESIZER = "marginals"  # closest and most useful rows at small budgets, and in seconds: docs/decisions


def names(group: str) -> tuple[str, ...]:
    """Return the installed names of a group, sorted.

    >>> "independent" in names(SYNTHESIZERS)
    True
    """
    return tuple(sorted({point.name for point in entry_points(group=group)}))


def load(group: str, name: str) -> Any:
    """Import the plug-in called `name`; raise InputError naming what is installed when there is none."""
    points = entry_points(group=group, name=name)
    if not points:
        kind = group.removeprefix("tabsynth.").removesuffix("s").replace("policie", "policy")
        raise InputError(f"No {kind} {name!r}. Installed: {', '.join(names(group)) or 'none'}.")
    return next(iter(points)).load()
