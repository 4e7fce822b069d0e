"""Plug-in look-up by entry point; the built-ins come through the same door.

A package adds a plug-in by declaring, in its own `pyproject.toml`, an entry point in one of the groups
`tabsynth.synthesizers`, `tabsynth.metrics`, `tabsynth.policies` or `tabsynth.simulators`. A synthesizer's name with a
colon, such as `sdv:ctgan`, is one of another package: what stands before the colon is an entry point of
`tabsynth.bridges`, a function from what stands behind it to a class of settings.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

from tabsynth.errors import InputError, TabsynthError

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
    """Import the plug-in called `name`; raise InputError when it cannot be, or naming what is installed."""
    bridge, colon, foreign = name.partition(":")
    if colon and group == SYNTHESIZERS and bridge in names(BRIDGES):
        return _point(BRIDGES, bridge)(foreign)
    if name not in names(group):
        bridged = tuple(f"{each}:NAME" for each in names(BRIDGES)) if group == SYNTHESIZERS else ()
        raise InputError(f"No {_kind(group)} {name!r}. Installed: {', '.join(names(group) + bridged) or 'none'}.")
    return _point(group, name)


def _point(group: str, name: str) -> Any:
    """Import one entry point; raise InputError naming it when its package fails, in whatever way."""
    try:
        return next(iter(entry_points(group=group, name=name))).load()
    except TabsynthError:
        raise
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        raise InputError(f"The {_kind(group)} {name!r} cannot be imported ({said}).") from error


def _kind(group: str) -> str:
    """Return what one of a group is called.

    >>> _kind(POLICIES)
    'policy'
    """
    return group.removeprefix("tabsynth.").removesuffix("s").replace("policie", "policy")
