"""Plug-in look-up by entry point; the built-ins come through the same door.

A package adds a plug-in by declaring, in its own `pyproject.toml`, an entry point in one of the groups
`tabsynth.synthesizers`, `tabsynth.metrics`, `tabsynth.policies` or `tabsynth.simulators`. A synthesizer's name with a
colon, such as `sdv:ctgan`, is one of another package: what stands before the colon is an entry point of
`tabsynth.bridges`, a function from what stands behind it to a class of settings.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

from tabsynth.errors import InputError

SYNTHESIZERS = "tabsynth.synthesizers"
METRICS = "tabsynth.metrics"
POLICIES = "tabsynth.policies"
BRIDGES = "tabsynth.bridges"

DEFAULT_SYNTHESIZER = "marginals"  # closest and most useful rows at small budgets, and in seconds: docs/decisions


def names(group: str) -> tuple[str, ...]:
    """Return the installed names of a group, sorted.

    >>> "independent" in names(SYNTHESIZERS)
    True
    """
    return tuple(sorted({point.name for point in entry_points(group=group)}))


def load(group: str, name: str) -> Any:
    """Import the plug-in called `name`; raise InputError naming what is installed when there is none."""
    bridge, colon, foreign = name.partition(":")
    if colon and group == SYNTHESIZERS and bridge in names(BRIDGES):
        return _point(BRIDGES, bridge)(foreign)
    if name not in names(group):
        kind = group.removeprefix("tabsynth.").removesuffix("s").replace("policie", "policy")
        bridged = tuple(f"{each}:NAME" for each in names(BRIDGES)) if group == SYNTHESIZERS else ()
        raise InputError(f"No {kind} {name!r}. Installed: {', '.join(names(group) + bridged) or 'none'}.")
    return _point(group, name)


def _point(group: str, name: str) -> Any:
    """Import one entry point."""
    return next(iter(entry_points(group=group, name=name))).load()
