"""What cannot be is refused by every family before anything is charged, in words that say what would fit."""

from __future__ import annotations

from dataclasses import fields
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest

from tabsynth import registry
from tabsynth.datasets import clinic_visits
from tabsynth.errors import ConformanceError, InputError, ModelError
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.discovery import discover
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.schema import Column, Schema
from tabsynth.synthesizers.base import Synthesizer
from tabsynth.table import read
from tabsynth.testing import awkward_table, sealed

LEVELS = tuple("abcdef")
SMALL = {  # fits of a moment
    "rows": {"steps": 4, "batch": 64, "width": 8, "depth": 1},
    "hybrid": {"pairs": 2, "rounds": 1, "iterations": 60, "cells": 2000, "steps": 4, "batch": 64, "centre": 32},
    "text": {"steps": 3, "batch": 64, "warm_steps": 2, "width": 8, "depth": 1, "heads": 1},
}
FAMILIES = [
    pytest.param(
        registry.load(registry.SYNTHESIZERS, name),
        id=name,
        marks=pytest.mark.skipif(name == "text" and find_spec("transformers") is None, reason="needs the extra llm"),
    )
    for name in registry.names(registry.SYNTHESIZERS)
]


def refusal(synthesizer: Synthesizer, schema: Schema, budget: Budget | None, kind: type[Exception]) -> str:
    """Return what a fit says that must not touch a row, which the sealed table sees to, or charge anything."""
    ledger = Ledger(budget)
    with pytest.raises(kind) as raised:
        synthesizer.fit(sealed(schema), ledger, Secret())
    assert not ledger.charges
    return str(raised.value)


def table(columns: int, rows: int) -> Schema:
    named = [Column(f"c{place}", "categorical", categories=LEVELS, nullable=False) for place in range(columns)]
    return Schema((Column("t", "categorical", ("target",), categories=LEVELS, nullable=False), *named), rows=rows)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_budget_that_is_all_noise_is_refused_with_what_would_fit(family):
    if family.name in ("bootstrap", "smote", "trees"):
        pytest.skip("refuses every budget")
    said = refusal(family(), table(39, rows=200), Budget(0.01, 1e-5), ModelError)
    assert "epsilon 0.01 is too small for 200 rows and 40 columns" in said
    assert "What would fit: epsilon" in said


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("epsilon", [0.01, 0.64, 1.0])
def test_bounds_that_noise_would_hide_are_refused_with_what_would_fit(family, epsilon):
    """The epsilon that it names finds them: it said one at which the fit was charged and then failed."""
    if family.name in ("bootstrap", "smote", "trees"):
        pytest.skip("refuses every budget")
    numbers = [Column(f"x{place}", "float") for place in range(20)]
    schema = Schema((*table(19, rows=200).columns, *numbers), rows=200)
    said = refusal(family(), schema, Budget(epsilon, 1e-5), ModelError)
    assert "'x0', 'x1', 'x2' and 17 more" in said
    enough = float(said.partition("epsilon ")[2].partition("epsilon ")[2].split()[0].rstrip(".,"))
    rng = np.random.default_rng(0)
    rows = {column.name: rng.normal(size=200) if column.numeric else rng.choice(LEVELS, 200) for column in schema}
    if family.name == "independent":  # and so for every share of a budget
        discover(read(pd.DataFrame(rows), schema), Ledger(Budget(enough, 1e-5)), Secret(), share=family().discovery)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("setting", ["batch", "free_batch"])
def test_a_batch_that_was_asked_for_is_no_larger_than_the_table(family, setting):
    if setting not in {field.name for field in fields(family)}:
        pytest.skip("has no such batch")
    budget = Budget(3.0, 1e-5) if setting == "batch" else None
    said = refusal(family(**{setting: 301}), table(5, rows=300), budget, InputError)
    assert said == f"{setting} must be at most the table's 300 rows; got 301."


@pytest.mark.parametrize("name", ["marginals", "hybrid"])
def test_a_table_of_the_model_over_its_cap_is_refused(name):
    family = registry.load(registry.SYNTHESIZERS, name)
    said = refusal(family(cells=35), table(5, rows=3000), Budget(3.0, 1e-5), ModelError)
    assert "may have 35 cells, and column 'c0' beside the target 't' needs 36" in said


@pytest.mark.parametrize("name", ["vae", "ctgan"])
def test_what_noise_makes_of_a_small_table_is_no_divergence(name):
    """Measured marginals are far from those of the model, and it is they that are wrong."""
    family = registry.load(registry.SYNTHESIZERS, name)
    levels = [f"level {place}" for place in range(40)]
    drawn = np.random.default_rng(0).choice(levels, (200, 6))
    columns = tuple(Column(f"c{place}", "categorical", categories=tuple(levels)) for place in range(6))
    table = read(pd.DataFrame(drawn, columns=[column.name for column in columns]), Schema(columns, rows=200))
    settings = {"warm_steps": 40, "batch": 100}
    settings |= {"steps": 5, "dream_steps": 5, "width": 16} if name == "vae" else {"critic_steps": 5}
    family(**settings).fit(table, Ledger(Budget(1.0, 1e-3)), Secret())


@pytest.mark.parametrize("rate", [100.0, 1e30])
@pytest.mark.parametrize("family", [each for each in FAMILIES if each.id in SMALL])
def test_a_fit_under_a_budget_that_diverges_says_so(family, rate):
    """Clipping keeps every step finite, and the weights with it: what they draw is one row, again and again."""
    ledger = Ledger(Budget(3.0, 1e-5))
    with pytest.raises((ModelError, ConformanceError), match=r"(The training|training has) diverged.* Lower rate"):
        family(**SMALL[family.name], rate=rate).fit(awkward_table("every kind"), ledger, Secret())
    assert ledger.spent.epsilon <= 3.0
    family(**SMALL[family.name]).fit(awkward_table("every kind"), Ledger(Budget(3.0, 1e-5)), Secret())


@pytest.mark.parametrize("budget", [None, Budget(100.0, 1e-5)], ids=["free", "private"])
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("vae", {"steps": 20, "batch": 128, "warm_steps": 40, "dream_steps": 5, "width": 16, "epochs": 10.0}),
        ("ctgan", {"critic_steps": 20, "batch": 128, "warm_steps": 40, "generator_width": 32, "generator_batch": 128}),
    ],
    ids=["vae", "ctgan"],
)
def test_a_generator_that_draws_a_few_rows_again_and_again_is_no_model(name, settings, budget):
    """Its weights are numbers, so only what it draws shows that the rate was far too high, where noise is small."""
    family = registry.load(registry.SYNTHESIZERS, name)
    settings = settings if name == "vae" else {**settings, "epochs": 5.0}
    rates = ("rate", "free_rate", "warm_rate") if name == "vae" else ("generator_rate",)
    visits = clinic_visits(rows=600)
    table = read(visits.frame, visits.schema)
    with pytest.raises(ModelError, match=r"diverged: columns are far from their measured marginals. Lower "):
        family(**settings, **dict.fromkeys(rates, 1e4)).fit(table, Ledger(budget), Secret())
    family(**settings).fit(table, Ledger(budget), Secret())
