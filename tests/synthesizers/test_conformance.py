"""Every registered synthesizer keeps every promise of the suite; one that is added is found here by itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from importlib.util import find_spec
from typing import Any

import pytest

from tabsynth import registry
from tabsynth.errors import InputError
from tabsynth.privacy.budget import Budget
from tabsynth.testing import checks

NOT_PRIVATE = {"bootstrap", "smote", "trees"}  # these must refuse a budget
QUICK: dict[str, dict[str, Any]] = {  # settings that fit in a moment
    "simulator": {"parameters": (("missing", 0.0, 0.5),), "particles": 4, "rounds": 1, "simulated": 50},
    "marginals": {"pairs": 2, "rounds": 1, "steps": 20, "iterations": 60, "cells": 2000},
    "ctgan": {
        "critic_steps": 4,
        "warm_steps": 4,
        "batch": 32,
        "generator_width": 16,
        "generator_depth": 1,
        "generator_batch": 32,
        "critic_widths": (16,),
    },
    "rows": {"steps": 4, "batch": 64, "width": 8, "depth": 1},
    "hybrid": {
        "pairs": 2,
        "rounds": 1,
        "iterations": 60,
        "cells": 2000,
        "steps": 4,
        "batch": 64,
        "centre": 32,
        "width": 8,
        "depth": 1,
    },
    "text": {"steps": 2, "batch": 200, "warm_steps": 2, "free_batch": 32, "width": 8, "depth": 1, "heads": 1},
    "vae": {"steps": 4, "batch": 64, "warm_steps": 4, "dream_steps": 4, "match_rows": 32, "width": 16, "depth": 1},
}
CHEAP = {"bootstrap", "independent"}  # replayed on every table; the others on these, and by hand on the rest
NEEDS = {"text": ("transformers",)}
REPLAYED = ("every kind", "groups of up to 3", "undeclared domains")


def _all_checks() -> Iterator[Any]:
    for name in registry.names(registry.SYNTHESIZERS):
        if any(find_spec(package) is None for package in NEEDS.get(name, ())):
            continue  # an optional extra is not installed
        synthesizer = registry.load(registry.SYNTHESIZERS, name)(**QUICK.get(name, {}))
        budget = None if name in NOT_PRIVATE else Budget(1.0, 1e-5)
        for what, check in checks(synthesizer, budget):
            slow = name not in CHEAP and what.startswith("neighbour replay") and not what.endswith(REPLAYED)
            yield pytest.param(check, id=f"{name}: {what}", marks=[pytest.mark.slow] if slow else [])


@pytest.mark.parametrize("check", list(_all_checks()))
def test_built_in(check: Callable[[], None]) -> None:
    check()


@pytest.mark.parametrize("name", registry.names(registry.SYNTHESIZERS))
def test_a_setting_that_cannot_be_is_refused_when_it_is_written(name: str) -> None:
    """A fit that stops in its middle has spent what it was charged."""
    settings = registry.load(registry.SYNTHESIZERS, name)(**QUICK.get(name, {}))
    for field in fields(settings):
        value = getattr(settings, field.name)
        odd = [-1] if type(value) is int else [-1.0, math.nan] if type(value) is float else []
        for wrong in odd:
            with pytest.raises(InputError, match=field.name):
                replace(settings, **{field.name: wrong})
