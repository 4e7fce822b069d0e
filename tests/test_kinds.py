"""Every kind of column through every family: nothing outside the declared domain, and the documentation's table."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pa_parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tabsynth import registry
from tabsynth.canonical import code_places, to_axis, with_codes
from tabsynth.errors import BudgetExceeded, SchemaError, TabsynthError
from tabsynth.outputs import arrow_of
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.release.data import to_arrow, write_parquet
from tabsynth.schema import DAY, Column, Schema
from tabsynth.synthesizers import model
from tabsynth.synthesizers.bootstrap import Bootstrap
from tabsynth.synthesizers.copula import Copula
from tabsynth.synthesizers.independent import Independent
from tabsynth.synthesizers.marginals import Marginals
from tabsynth.synthesizers.rows import Rows
from tabsynth.synthesizers.simulator import flat
from tabsynth.synthesizers.smote import Smote
from tabsynth.synthesizers.trees import Trees
from tabsynth.table import read, write_rows
from tabsynth.testing import sealed

PAGE = Path(__file__).parent.parent / "docs" / "choosing.md"
TIME = "%Y-%m-%d %H:%M:%S"
KINDS = {
    "categories": Column("city", "categorical", categories=("Ulm", "Bonn", "北京"), nullable=True),
    "ordered categories": Column("school", "categorical", categories=("low", "middle", "high"), ordered=True),
    "10,000 categories": Column("code", "categorical", categories=tuple(f"c{i:04d}" for i in range(10_000))),
    "truth values": Column("ill", "boolean", nullable=True),
    "whole numbers": Column("age", "integer", bounds=(-5, 99), nullable=True),
    "decimals": Column("pay", "float", bounds=(0, 50), decimals=2),
    "any real number": Column("dose", "float", bounds=(-1, 1), nullable=True),
    "numbers with codes": Column("wage", "integer", bounds=(0, 500), codes=("refused", 9999), nullable=True),
    "days": Column("born", "datetime", bounds=(0, 9999 * DAY), nullable=True),
    "moments of a zone, with their hours": Column(
        "seen", "datetime", format=TIME, timezone="Europe/Berlin", bounds=(1.6e9, 1.7e9), cycle="week"
    ),
    "durations": Column("stay", "duration", unit="min", bounds=(0, 6000), nullable=True),
    "latitude and longitude": Column("lat", "float", roles=("latitude",)),
}
FREE_TEXT = Column("note", "text", max_length=12, nullable=True)
QUICK: dict[str, dict[str, Any]] = {  # settings that fit in a moment
    "simulator": {"parameters": (("missing", 0.0, 0.5),), "particles": 4, "rounds": 1, "simulated": 50},
    "marginals": {"pairs": 2, "rounds": 1, "steps": 20, "iterations": 30, "cells": 2000},
    "ctgan": {"critic_steps": 2, "warm_steps": 2, "batch": 32, "generator_width": 8, "generator_depth": 1}
    | {"generator_batch": 32, "critic_widths": (8,), "epochs": 1},
    "rows": {"steps": 2, "batch": 64, "width": 8, "depth": 1, "epochs": 1},
    "hybrid": {"pairs": 2, "rounds": 1, "iterations": 30, "cells": 2000, "steps": 2, "batch": 64, "centre": 32}
    | {"width": 8, "depth": 1},
    "text": {"steps": 2, "batch": 64, "warm_steps": 2, "free_batch": 32, "width": 8, "depth": 1, "heads": 1}
    | {"epochs": 0.2, "tokens": 1024},
    "vae": {"steps": 2, "batch": 64, "warm_steps": 2, "dream_steps": 2, "match_rows": 32, "width": 8, "depth": 1},
}


def values_of(columns: tuple[Column, ...], rows: int, seed: int) -> pd.DataFrame:
    """Return canonical values that are uniform over every domain, codes and missing ones among them."""
    rng = np.random.default_rng(seed)
    schema = Schema(columns)
    frame = read(flat({"missing": 0.2}, rows, rng, schema), schema).private
    for column in columns:
        if column.codes is not None:
            places = np.where(rng.random(rows) < 0.2, rng.integers(0, len(column.codes), rows), -1)
            frame[column.name] = with_codes(frame[column.name], places, column)
    return frame


def faults(rows: pd.Series, column: Column) -> list[str]:
    """Say what of a column's synthetic values its declaration does not allow."""
    found = []
    if not column.nullable and rows.isna().any():
        found.append("missing")
    if column.kind == "text":
        texts = rows.dropna()
        wrong = (texts != texts.str.strip()) | (texts == "") | (texts.str.len() > (column.max_length or 0))
        return [*found, "no such text"] if wrong.any() else found
    if not column.numeric:
        known = {*(column.levels or ())}
        return found + [f"unknown {text}" for text in set(rows.dropna().astype(str)) - known]
    low, high = column.bounds or (-np.inf, np.inf)
    axis = to_axis(rows, column)
    coded = code_places(rows, column) >= 0
    if (np.isnan(axis) & ~coded & ~rows.isna().to_numpy(bool)).any():
        found.append("no number")
    axis = axis[~np.isnan(axis)]
    if len(axis) and not (low <= axis.min() and axis.max() <= high):
        found.append("out of bounds")
    if column.step and len(axis):
        steps = (axis - low) / column.step
        resolution = 4 * np.spacing(np.abs([low, high]).max()) / column.step  # a float at 10^6 is not exact to 10^-10
        if np.abs(steps - np.round(steps)).max() > max(1e-4, resolution):
            found.append("between two steps")
    return found


# --- the table of the documentation ----------------------------------------------------------------------------------


def holds_text(family: Any) -> str:
    """Return a family's answer for free text."""
    schema = Schema((KINDS["truth values"], FREE_TEXT))
    frame = values_of(schema.columns[:1], 60, 1).assign(note=["well", "not so well", None] * 20)
    try:
        rows = model.fit(family, read(frame, schema), Ledger(), Secret.fixed(0)).sample(40, np.random.default_rng(0))
    except SchemaError:
        return "refused"
    return "no" if faults(rows["note"], FREE_TEXT) else "yes"


def row_of(name: str) -> list[str]:
    """Return one family's answers: for each kind whether its values come out as declared, and whether budgets hold."""
    family = registry.load(registry.SYNTHESIZERS, name)(**QUICK.get(name, {}))
    columns = tuple(KINDS.values())
    answers = ["yes"] * len(columns)
    table = read(values_of(columns, 150, 1), Schema(columns))
    try:
        rows = model.fit(family, table, Ledger(), Secret.fixed(0)).sample(150, np.random.default_rng(0))
        answers = ["no" if faults(rows[column.name], column) else "yes" for column in columns]
    except TabsynthError:  # some kind is refused: one after the other
        answers = []
        for column in columns:
            one = read(table.private[[column.name]], Schema((column,)))
            try:
                rows = model.fit(family, one, Ledger(), Secret.fixed(0)).sample(50, np.random.default_rng(0))
                answers.append("no" if faults(rows[column.name], column) else "yes")
            except TabsynthError:
                answers.append("refused")
    answers.append(holds_text(family))
    try:
        family.fit(sealed(Schema(columns)), Ledger(Budget(1.0, 1e-6)), Secret())
    except BudgetExceeded:
        return [*answers, "refused"]
    except AssertionError:  # it would have read the rows
        return [*answers, "yes"]
    raise AssertionError(f"{name} read no rows under a budget")


@pytest.mark.skipif(find_spec("transformers") is None, reason="the family text needs transformers")
def test_the_table_of_kinds_and_families_is_the_one_in_force():
    names = registry.names(registry.SYNTHESIZERS)
    columns = [row_of(name) for name in names]
    lines = [f"| | {' | '.join(f'`{name}`' for name in names)} |", "|---" * (len(names) + 1) + "|"]
    answers = dict(zip([*KINDS, "free text", "a budget"], zip(*columns, strict=True), strict=True))
    lines += [f"| {kind} | {' | '.join(cells)} |" for kind, cells in answers.items()]
    text = PAGE.read_text(encoding="utf-8")
    (shown,) = re.findall(r"<!-- kinds, by tests/test_kinds.py -->\n(.*?)\n<!-- end -->", text, re.DOTALL)
    assert shown == "\n".join(lines), "Out of date; it should be:\n" + "\n".join(lines)


def test_a_value_outside_the_domain_is_seen():
    column = KINDS["numbers with codes"]
    right = values_of((column,), 50, 0)["wage"]
    assert faults(right, column) == []
    assert faults(right.where(right.index > 0, 501), column) == ["out of bounds"]
    assert faults(pd.Series([1.005]), KINDS["decimals"]) == ["between two steps"]
    assert faults(pd.Series([None], dtype="str"), KINDS["ordered categories"]) == ["missing"]
    assert faults(pd.Series(["Trier"]), KINDS["categories"]) == ["unknown Trier"]
    assert [faults(pd.Series([text]), FREE_TEXT) for text in ("a b", " a", "a" * 13)] == [[], *[["no such text"]] * 2]


def test_a_release_and_a_shard_hold_every_kind(tmp_path):
    schema = Schema((*KINDS.values(), FREE_TEXT))
    texts = pd.Series(["a, b", 'c "d"', "e\nf", None, "7", "北京 ñ"] * 10, dtype="str")
    rows = values_of(schema.columns[:-1], 60, 2).assign(note=texts)
    with (tmp_path / "released.parquet").open("wb") as file:
        write_parquet(file, to_arrow(rows, schema, {"release_id": "x"}))
    pa_parquet.write_table(arrow_of(rows, schema), tmp_path / "shard.parquet")
    write_rows(rows, schema, tmp_path / "rows.csv")
    for path in sorted(tmp_path.iterdir()):
        pd.testing.assert_frame_equal(read(path, schema).private, rows)


# --- any schema ------------------------------------------------------------------------------------------------------


@st.composite
def columns(draw: Any, name: str) -> Column:
    """Draw a column of any kind with a complete domain."""
    kind = draw(st.sampled_from(["categorical", "boolean", "integer", "float", "datetime", "duration"]))
    facts: dict[str, Any] = {"nullable": draw(st.booleans())}
    if kind == "categorical":
        levels = draw(
            st.lists(
                st.text("abcäß漢 ,\"'", min_size=1, max_size=4).map(str.strip).filter(bool),
                min_size=1,
                max_size=6,
                unique=True,
            )
        )
        return Column(name, kind, categories=tuple(levels), ordered=draw(st.booleans()), **facts)
    if kind == "boolean":
        return Column(name, kind, **facts)
    low = draw(st.integers(-(10**6), 10**6))
    span = draw(st.sampled_from([0, 1, 2, 7, 100, 5000, 10**6]))
    if kind == "float":
        facts["decimals"] = draw(st.sampled_from([None, 0, 1, 3, 6]))
    if kind in ("integer", "float") and draw(st.booleans()):
        facts["codes"] = draw(
            st.sampled_from([("?",), ("no", low + span + 5), (low - 3,), (low, "x") if span else ("x",)])
        )
    if kind == "datetime":
        day = draw(st.booleans())
        low, span = (low // 100 * DAY, span % 5000 * DAY) if day else (low * 100, span * 60)
        facts["cycle"] = draw(st.sampled_from([None, "week"] if day else [None, "week", "day"]))
        if not day:
            facts |= {"format": TIME, "timezone": draw(st.sampled_from([None, "Asia/Kolkata", "America/New_York"]))}
    if kind == "duration":
        facts |= {"unit": draw(st.sampled_from([None, "ms", "h"])), "decimals": draw(st.sampled_from([None, 1]))}
        step = Column(name, kind, **facts).step
        low, span = low * step, span * step
    return Column(name, kind, bounds=(float(low), float(low + span)), **facts)


@st.composite
def tables(draw: Any) -> tuple[Schema, pd.DataFrame]:
    count = draw(st.integers(1, 4))
    schema = Schema(tuple(draw(columns(f"c{i}")) for i in range(count)))
    return schema, values_of(schema.columns, draw(st.sampled_from([2, 25])), draw(st.integers(0, 99)))


FAST = [Independent(bins=6), Bootstrap(), Trees(), Smote(), Copula(bins=6), Marginals(**QUICK["marginals"])]
SLOW = ("ctgan", "vae", "rows", "hybrid", "simulator", "text")


def test_every_family_is_tried_on_any_schema():
    assert {*(family.name for family in FAST), *SLOW} == set(registry.names(registry.SYNTHESIZERS))


@pytest.mark.parametrize("family", FAST, ids=lambda family: family.name)
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(table=tables(), budget=st.sampled_from([None, Budget(1.0, 1e-6)]))
def test_no_value_outside_the_domain_is_ever_sampled(family, table, budget):
    schema, frame = table
    budget = None if family.name in ("bootstrap", "trees", "smote") else budget
    all_in_domain(family, schema, frame, budget)


@pytest.mark.parametrize("name", SLOW)
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(table=tables())
def test_nor_by_a_family_that_is_trained(name, table):
    if name == "text":
        pytest.importorskip("transformers")
    family = registry.load(registry.SYNTHESIZERS, name)(**QUICK[name])
    all_in_domain(family, *table, None)


def all_in_domain(family: Any, schema: Schema, frame: pd.DataFrame, budget: Budget | None) -> None:
    """Fit, and see that every sampled value is in its declared domain and dtype."""
    fitted = model.fit(family, read(frame, schema), Ledger(budget), Secret())
    rows = fitted.sample(40, np.random.default_rng(0))
    assert {column.name: found for column in schema if (found := faults(rows[column.name], column))} == {}
    pd.testing.assert_series_equal(read(rows, schema).private.dtypes, rows.dtypes)


# --- which columns are missing together ------------------------------------------------------------------------------


def gaps(rows: int = 1500) -> pd.DataFrame:
    """Return rows in which three in ten lack both income and savings, and as many others lack their job."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({name: rng.integers(0, 100, rows) for name in ("income", "savings", "job")}).astype("Int64")
    kind = rng.random(rows)
    frame.loc[kind < 0.3, ["income", "savings"]] = pd.NA
    frame.loc[kind > 0.7, "job"] = pd.NA
    return frame


@pytest.mark.parametrize(
    ("family", "keeps"),
    [
        (Marginals(iterations=200), True),
        (Rows(width=32, depth=1, epochs=20, free_bins=8, free_average=0.95), True),
        (Independent(), False),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_the_pattern_of_missing_values(family, keeps):
    schema = Schema(tuple(Column(name, "integer", bounds=(0, 99), nullable=True) for name in gaps()))
    fitted = model.fit(family, read(gaps(), schema), Ledger(), Secret.fixed(0))
    missing = fitted.sample(1500, np.random.default_rng(0)).isna()
    alone = abs(missing.mean() - 0.3).max() < 0.06
    together = (missing["income"] & missing["savings"]).mean()
    apart = (missing["income"] & missing["job"]).mean()
    assert alone
    assert (0.24 < together < 0.36 and apart < 0.03) == keeps
