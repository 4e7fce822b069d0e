"""Policies as YAML files, shipped with the package or anybody's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from tabsynth import registry
from tabsynth.errors import InputError
from tabsynth.metrics.estimate import check_level
from tabsynth.policy.check import TIME_LIMIT, Check

ENTRIES = ("metric", "settings", "at_least", "at_most", "counted_from", "required", "time_limit")


def default_policy() -> tuple[Check, ...]:
    """Return the policy that a release is held against unless another is given.

    >>> [check.metric.name for check in default_policy()][-2:]
    ['membership_tpr', 'attribute_inference']
    """
    return _shipped("default")


def small_policy() -> tuple[Check, ...]:
    """Return the policy for tables of a few hundred rows: wider limits, since a small holdout shows less."""
    return _shipped("small")


def thorough_policy() -> tuple[Check, ...]:
    """Return the policy that asks everything this package knows to ask, of tables of some thousands of rows."""
    return _shipped("thorough")


def read_policy(source: Path | str) -> tuple[Check, ...]:
    """Read a policy from a YAML file, or by the name of an installed one; raise InputError naming file and rule."""
    if isinstance(source, str) and source in registry.names(registry.POLICIES):
        return tuple(registry.load(registry.POLICIES, source)())
    path = Path(source)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        installed = ", ".join(registry.names(registry.POLICIES)) or "none"
        raise InputError(f"{path}: no such policy file, nor an installed policy ({installed}).") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a readable policy file ({type(error).__name__}).") from None
    return parse_policy(text, str(path))


def parse_policy(text: str, source: str) -> tuple[Check, ...]:
    """Return the checks of a policy's YAML text; raise InputError that starts with `source`."""
    try:
        plain = yaml.safe_load(text)
        if not isinstance(plain, Mapping) or not isinstance(plain.get("checks"), list) or not plain["checks"]:
            raise InputError("a policy needs a non-empty list named 'checks'.")
        _known(plain, ("level", "time_limit", "checks"), "the policy")
        level = _number(plain.get("level", 0.95), "level")
        limit = _number(plain.get("time_limit", TIME_LIMIT), "time_limit")
        checks = tuple(_parse_check(entry, check_level(level), limit) for entry in plain["checks"])
        names = [check.metric.name for check in checks]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise InputError(f"check {repeated[0]!r} stands more than once.")
    except yaml.YAMLError:
        raise InputError(f"{source}: not YAML.") from None
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    return checks


def _shipped(name: str) -> tuple[Check, ...]:
    """Return a policy that is shipped with the package."""
    text = files("tabsynth").joinpath(f"policies/{name}.yaml").read_text(encoding="utf-8")
    return parse_policy(text, f"policy {name!r}")


def _parse_check(entry: Any, level: float, limit: float) -> Check:
    """Return one check of a policy file, at the policy's `level` and time limit unless it says otherwise."""
    if not isinstance(entry, Mapping) or not isinstance(entry.get("metric"), str):
        raise InputError("every check needs the name of a 'metric'.")
    name = entry["metric"]
    _known(entry, ENTRIES, f"check {name!r}")
    rules = {key: entry[key] for key in ("counted_from", "required") if key in entry}
    rules |= {end: _number(entry[end], f"check {name!r}: {end}") for end in ("at_least", "at_most") if end in entry}
    rules["time_limit"] = _number(entry.get("time_limit", limit), f"check {name!r}: time_limit")
    if not isinstance(rules.get("required", False), bool):
        raise InputError(f"check {name!r}: required must be true or false.")
    settings = entry.get("settings", {})
    if not isinstance(settings, Mapping):
        raise InputError(f"check {name!r}: settings must be a mapping of names to values.")
    kind = registry.load(registry.METRICS, name)
    known = tuple(field.name for field in fields(kind)) if is_dataclass(kind) else ()
    _known(settings, known, f"the settings of check {name!r}")
    try:
        metric = kind(**({"level": level} if "level" in known else {}) | dict(settings))
    except InputError as error:
        raise InputError(f"check {name!r}: {error}") from None
    except (TypeError, ValueError):
        raise InputError(f"check {name!r}: a setting has a value of the wrong kind.") from None
    except Exception as error:  # a plug-in may raise anything
        raise InputError(f"check {name!r}: the metric could not be made ({type(error).__name__}).") from error
    return Check(metric, **rules)


def _known(entry: Mapping[Any, Any], known: Sequence[str], where: str) -> None:
    """Raise unless every key of `entry` is known."""
    if unknown := sorted(set(map(str, entry)) - set(known)):
        raise InputError(f"unknown entry {unknown[0]!r} in {where}; known: {', '.join(known) or 'none'}.")


def _number(value: Any, name: str) -> float:
    """Return `value` as a number; raise unless it is one."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"{name} must be a finite number; got {value!r}.")
    return float(value)
