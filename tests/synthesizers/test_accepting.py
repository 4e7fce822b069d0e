"""Rows that keep the rules, whichever family draws them; and what conditions are refused."""

import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tabsynth.constraints import Combinations, Dependency, Inequality, OneHot, Predicate, Sum, Unique
from tabsynth.encoding.conditions import conditions_of, given_from_texts
from tabsynth.encoding.encoder import Encoder
from tabsynth.errors import InputError, ModelError, SchemaError
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.schema import DAY, Column, Schema
from tabsynth.synthesizers import model
from tabsynth.synthesizers.independent import Independent, IndependentSampler
from tabsynth.synthesizers.marginals import Marginals
from tabsynth.table import Table

CITIES = tuple(f"city {i}" for i in range(12))
STATES = ("TX", "NY", "CA")
MAPPING = tuple((city, STATES[place % 3]) for place, city in enumerate(CITIES))
COLUMNS = (
    Column("name", "categorical", roles=("identifier",)),
    Column("city", "categorical", categories=CITIES, nullable=True),
    Column("state", "categorical", categories=STATES),
    Column("ill", "boolean", roles=("target",)),
    Column("in", "datetime", bounds=(0, 10 * DAY)),
    Column("out", "datetime", bounds=(0, 12 * DAY), nullable=True),
    Column("a", "integer", bounds=(0, 20)),
    Column("b", "float", bounds=(0.0, 9.5), decimals=1),
    Column("all", "float", bounds=(0.0, 25.0), decimals=1),
    Column("red", "integer", bounds=(0, 1)),
    Column("green", "boolean"),
    Column("blue", "boolean"),
)


def never_ill_in_texas(frame):
    """A predicate of the tests."""
    return ~((frame["state"] == "TX").to_numpy(bool) & frame["ill"].to_numpy(bool))


RULES = {
    "mapping": Dependency("city", "state", MAPPING),
    "dependency": Dependency("city", "state"),
    "two settle": Dependency(
        ("state", "green"), "blue", tuple((s, g, str(s == "NY")) for s in STATES for g in ("True", "False"))[:5]
    ),
    "two settle, unknown how": Dependency(("state", "green"), "blue"),
    "unique": Unique(("city", "a", "b", "in")),
    "allowed": Combinations(("state", "ill"), allowed=(("TX", "False"), ("NY", "True"), ("CA", "True"))),
    "forbidden": Combinations(("state", "green", "blue"), forbidden=(("TX", "True", "True"), ("NY", "False", "False"))),
    "order": Inequality("in", "out"),
    "strict order": Inequality("b", "a", strict=True),
    "sum": Sum(("a", "b"), "all"),
    "one hot": OneHot(("red", "green", "blue")),
    "predicate": Predicate(("state", "ill"), f"{__name__}:never_ill_in_texas"),
}
TINY = {"pairs": 2, "rounds": 1, "steps": 20, "iterations": 60, "cells": 2000}
FAMILIES = {"independent": Independent(), "marginals": Marginals(**TINY)}


def table_of(schema, rows=400, seed=0):
    """Random rows of the domain, whatever the rules say: a model of them has every reason to break them."""
    rng = np.random.default_rng(seed)
    whole = {}
    for column in schema.modelled:
        if column.bounds is not None and column.bins is None:
            low, high = column.bounds
            step = column.step or (high - low or 1.0)
            edges = np.unique([low, *np.arange(low, high, max(round((high - low) / step / 4), 1) * step), high + step])
            whole[column.name] = tuple(edges.tolist())
    complete = schema.with_columns(*(replace(c, bins=whole.get(c.name, c.bins)) for c in schema))
    encoder = Encoder(complete)
    tokens = np.stack([rng.integers(0, size, rows) for size in encoder.sizes], axis=1).astype(np.int32)
    frame = encoder.decode(tokens, rng)
    return Table(schema, frame[[c.name for c in schema if "identifier" not in c.roles]])


def fitted(family, schema, epsilon=None, **facts):
    ledger = Ledger(Budget(epsilon, 1e-5) if epsilon else None)
    return model.fit(FAMILIES[family], table_of(schema, **facts), ledger, Secret())


def check_rows(rows, fit):
    """Every value in its domain, and every rule kept."""
    schema = fit.schema
    for column in schema:
        series = rows[column.name]
        if not column.modelled:
            assert series.is_unique
            continue
        assert column.nullable or not series.isna().any()
        if column.bounds is not None:
            low, high = (pd.Timestamp(x, unit="s") if column.kind == "datetime" else x for x in column.bounds)
            assert series.dropna().between(low, high).all()
        elif column.kind == "categorical":
            assert set(series.dropna()) <= set(column.categories)
    for rule, broken in schema.broken(rows):
        assert not broken.any(), rule.words


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("family", FAMILIES)
def test_no_row_breaks_a_rule(family, name):
    schema = Schema(COLUMNS, rows=400, constraints=(RULES[name],))
    fit = fitted(family, schema, epsilon=5.0)
    rows = fit.sample(2000, np.random.default_rng(0))
    assert len(rows) == 2000
    assert rows.index.equals(pd.RangeIndex(2000))
    assert rows.attrs["acceptance"] > 0.1
    check_rows(rows, fit)
    pd.testing.assert_frame_equal(rows, fit.sample(2000, np.random.default_rng(0)))
    if name == "order":  # its larger column is drawn as a distance
        drawn = fit.sampler.draw(2000, np.random.default_rng(0))
        assert not any(broken.any() for _, broken in schema.broken(drawn))
    elif name not in ("dependency", "two settle, unknown how", "unique"):  # what it settles is whatever most rows say
        assert any(broken.any() for _, broken in schema.broken(fit.sampler.draw(2000, np.random.default_rng(0)))) or (
            RULES[name] in fit.sampler.keeps
        )


@pytest.mark.parametrize("family", FAMILIES)
def test_all_rules_at_once(family, tmp_path):
    rules = tuple(rule for name, rule in RULES.items() if name not in ("mapping", "allowed", "two settle"))
    rules = tuple(rule for rule in rules if rule.over[-1] != "blue" or not isinstance(rule, Dependency))
    fit = fitted(family, Schema(COLUMNS, rows=400, constraints=rules))
    rows = fit.sample(1000, np.random.default_rng(1))
    check_rows(rows, fit)
    fit.save(tmp_path / "model")
    pd.testing.assert_frame_equal(model.load(tmp_path / "model").sample(1000, np.random.default_rng(1)), rows)


def test_rows_drawn_until_they_keep_a_rule_follow_the_distribution_given_the_rule():
    schema = Schema((*COLUMNS[3:4], Column("n", "integer", bounds=(0, 2), bins=(0, 1, 2, 3))), rows=10)
    rule = Predicate(("ill", "n"), f"{__name__}:odd")
    p, q = np.array([0.7, 0.3]), np.array([0.5, 0.3, 0.2])
    sampler = IndependentSampler(Schema(schema.columns, rows=10, constraints=(rule,)), [p, q])
    exact = np.outer(p, q) * [[1, 0, 1], [0, 1, 1]]
    rows = sampler.sample(40_000, np.random.default_rng(0))
    found = pd.crosstab(rows["ill"], rows["n"]).to_numpy() / 40_000
    assert rows.attrs["acceptance"] == pytest.approx(exact.sum(), abs=0.01)
    np.testing.assert_allclose(found, exact / exact.sum(), atol=0.01)
    assert np.abs(found - np.outer(p, q)).max() > 0.05


# -------------------------------------------------------------------------------------------------------- rules on rows

FEW = Schema(
    (
        Column("a", "integer", bounds=(0, 3), bins=(0, 2, 4)),
        Column("b", "boolean"),
        Column("c", "categorical", categories=("x", "y"), nullable=True),
    )
)
SHARES = [np.array([0.9, 0.1]), np.array([0.8, 0.2]), np.array([0.3, 0.3, 0.4])]


def unique_in(*columns, shares=SHARES):
    return IndependentSampler(Schema(FEW.columns, constraints=(Unique(columns),)), shares)


def test_unique_rows_follow_the_model_drawn_one_after_another():
    """Two rows without repeats: the first as the model has it, the second as what the first left."""
    drawn = [unique_in("b", "c").sample(2, np.random.default_rng(seed)) for seed in range(2500)]
    first, second = (np.array([[bool(rows["b"][k]), str(rows["c"][k])] for rows in drawn]) for k in (0, 1))
    p = np.outer(SHARES[1], SHARES[2])
    cells = [(b, c) for b in ("False", "True") for c in ("x", "y", "nan")]
    flat = dict(zip(cells, p.ravel(), strict=True))
    expected = {
        one: sum(
            flat[other] * flat[one] / (1 - flat[other]) if other[1] != "nan" else flat[other] * flat[one]
            for other in cells
            if other != one or one[1] == "nan"
        )
        for one in cells
    }
    for rows, shares, wrong in ((first, flat, expected), (second, expected, flat)):
        found = {cell: float((rows == np.array(cell)).all(axis=1).mean()) for cell in cells}
        gap = [0.5 * sum(abs(found[cell] - other[cell]) for cell in cells) for other in (shares, wrong)]
        assert gap[0] < 0.03 < gap[1]


def test_every_row_that_can_be_is_found_and_no_more_are_promised():
    sampler = unique_in("a", "b")
    rows = sampler.sample(8, np.random.default_rng(0))
    assert not rows.duplicated(["a", "b"]).any()
    assert len(rows) == 8
    with pytest.raises(InputError, match=r"unique 'a', 'b': only 8 different rows can be; asked for 9"):
        sampler.sample(9, np.random.default_rng(0))
    assert len(sampler.sample(4, np.random.default_rng(0), {"a": (1, 2)})) == 4
    with pytest.raises(InputError, match="only 4 different rows can be; asked for 5"):
        sampler.sample(5, np.random.default_rng(0), {"a": (1, 2)})
    with pytest.raises(InputError, match="only 2 different rows can be; asked for 3"):
        unique_in("c").sample(3, np.random.default_rng(0), {"c": ["x", "y"]})
    assert unique_in("c").sample(500, np.random.default_rng(0))["c"].isna().sum() >= 498  # missing is like nothing
    shared = sampler.sample(6, np.random.default_rng(0), shares={"b": {True: 0.5}})
    assert not shared.duplicated(["a", "b"]).any()
    filled = sampler.impute(
        pd.DataFrame({"a": [0, 0, 1, None], "b": [None, True, None, False]}), np.random.default_rng(1)
    )
    assert not filled.duplicated(["a", "b"]).any()
    with pytest.raises(InputError, match="break the constraint unique 'a', 'b'"):
        sampler.impute(pd.DataFrame({"a": [1, 1], "b": [True, True]}), np.random.default_rng(0))


def test_rows_are_unique_in_all_blocks_of_a_folder(monkeypatch, tmp_path):
    monkeypatch.setattr("tabsynth.shards.BLOCK", 3)
    fit = model.Model(unique_in("a", "b"), "independent", {}, {})
    folder = fit.sample(8, np.random.default_rng(0), to=tmp_path / "rows")
    assert not pd.read_parquet(folder).duplicated(["a", "b"]).any()
    with pytest.raises(InputError, match="only 8 different rows"):
        fit.sample(9, np.random.default_rng(0), to=tmp_path / "more")
    assert not (tmp_path / "more").exists()


def test_rows_that_the_model_never_draws_are_given_up_on():
    never = unique_in("a", "b", shares=[np.array([1.0, 0.0]), *SHARES[1:]])
    with pytest.raises(ModelError, match=r"too few to go on: .* break the constraint unique 'a', 'b'"):
        never.sample(5, np.random.default_rng(0))
    assert len(never.sample(4, np.random.default_rng(0))) == 4


def odd(frame):
    """A predicate of the tests: the number is 2, or says whether the row is ill."""
    return ((frame["n"] == 2) | (frame["n"] == frame["ill"].astype(int))).to_numpy(bool)


def none(frame):
    """A predicate of the tests that no row keeps."""
    return np.zeros(len(frame), bool)


def test_a_rule_that_no_row_keeps_is_named_after_bounded_tries():
    rules = (Predicate(("a",), f"{__name__}:none"), RULES["order"])
    fit = fitted("independent", Schema(COLUMNS, constraints=rules))
    started = time.perf_counter()
    with pytest.raises(
        ModelError, match=r"Only 0 of [\d,]+ rows drawn .*: 100\.000% break the constraint predicate .*none"
    ):
        fit.sample(10, np.random.default_rng(0))
    assert time.perf_counter() - started < 20


def test_without_rules_and_conditions_nothing_is_drawn_twice():
    fit = fitted("independent", Schema(COLUMNS))
    rows = fit.sample(100, np.random.default_rng(3))
    pd.testing.assert_frame_equal(rows, fit.sampler.draw(100, np.random.default_rng(3)))
    assert rows.attrs == {}


# -------------------------------------------------------------------------------------------------------------- fuzzing

NAMES = st.sampled_from(["x", "y", "z", "größe", "a b", "1"])


@st.composite
def domains(draw, name):
    kind = draw(st.sampled_from(["categorical", "boolean", "integer", "float", "datetime"]))
    nullable = draw(st.booleans())
    if kind == "categorical":
        values = draw(st.lists(st.text("ab yé,\"'", max_size=3), min_size=1, max_size=4, unique_by=str.strip))
        values = tuple(value for value in values if value.strip()) or ("q",)
        return Column(name, kind, nullable=nullable, categories=values)
    if kind == "boolean":
        return Column(name, kind, nullable=nullable)
    low = draw(st.integers(-50, 50))
    bounds = (low, low + draw(st.integers(0, 60)))
    if kind == "datetime":
        return Column(name, kind, nullable=nullable, bounds=(bounds[0] * DAY, bounds[1] * DAY))
    decimals = draw(st.sampled_from([None, 0, 2])) if kind == "float" else None
    if kind == "float" and decimals is None:
        bounds = (bounds[0], bounds[1] + 0.5)
    return Column(name, kind, nullable=nullable, bounds=bounds, decimals=decimals)


@st.composite
def schemas(draw):
    names = draw(st.lists(NAMES, min_size=2, max_size=5, unique=True))
    columns = [draw(domains(name)) for name in names]
    numeric = [c.name for c in columns if c.kind in ("integer", "float")]
    others = [c for c in columns if not c.numeric]
    booleans = [c.name for c in columns if c.kind == "boolean"]
    rules = []
    if len(numeric) > 1 and draw(st.booleans()):
        rules.append(Inequality(*draw(st.permutations(numeric))[:2], strict=draw(st.booleans())))
    if len(numeric) > 2 and draw(st.booleans()):
        rules.append(Sum(tuple(numeric[:2]), numeric[2]))
    if len(booleans) > 1 and draw(st.booleans()):
        rules.append(OneHot(tuple(booleans)))
    if len(others) > 1 and draw(st.booleans()):
        first, second = draw(st.permutations(others))[:2]
        pairs = [(a, b) for a in first.levels for b in second.levels]
        some = tuple(draw(st.lists(st.sampled_from(pairs), min_size=1, unique=True)))
        images = tuple((a, draw(st.sampled_from(second.levels))) for a in first.levels)
        rules.append(
            draw(
                st.sampled_from(
                    [
                        Combinations((first.name, second.name), allowed=some),
                        Combinations((first.name, second.name), forbidden=some),
                        Dependency(first.name, second.name, images),
                        Dependency(first.name, second.name),
                    ]
                )
            )
        )
    try:
        return Schema(tuple(columns), rows=60, constraints=tuple(rules))
    except SchemaError:  # the rules contradict one another, or the bounds
        assume(False)


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(schema=schemas(), seed=st.integers(0, 1000))
def test_whatever_is_declared_is_kept(family, schema, seed):
    fit = fitted(family, schema, epsilon=[None, 20.0][seed % 2], rows=60, seed=seed)
    try:
        rows = fit.sample(200, np.random.default_rng(seed))
    except ModelError:  # rules that leave hardly a row are told, never broken
        with pytest.raises(ModelError, match="too few to go on"):
            fit.sample(200, np.random.default_rng(seed))
    else:
        assert len(rows) == 200
        check_rows(rows, fit)


# ----------------------------------------------------------------------------------------------------------- conditions

REFUSED = {
    "an unknown column": ({"town": "x"}, r"needs a column that is modelled; got 'town'\. There are: city, state, ill"),
    "an identifier": ({"name": "x"}, r"needs a column that is modelled; got 'name'"),
    "an unknown value": ({"state": "ZZ"}, r"Column 'state': 'ZZ' is not one of its values: TX, NY, CA\."),
    "one of several unknown": ({"state": ["TX", "ZZ"]}, r"'ZZ' is not one of its values"),
    "no value": ({"state": []}, r"probability 0"),
    "never missing": ({"state": None}, r"Column 'state' is never missing"),
    "beyond the bounds": (
        {"a": (30, 40)},
        r"No value of column 'a' meets \(30, 40\).*probability 0.*bounds are \[0, 20\]",
    ),
    "between two numbers": ({"a": (3.2, 3.8)}, r"probability 0"),
    "turned around": ({"a": (9, 3)}, r"the smaller end of a range comes first"),
    "three ends": ({"a": (1, 2, 3)}, r"a condition is a value or a pair \(low, high\)"),
    "a list of numbers": ({"a": [1, 2]}, r"a condition is a value or a pair \(low, high\)"),
    "no number": ({"a": "many"}, r"Column 'a': 'many' is no value of kind integer"),
    "no date": (
        {"in": ("yesterday", None)},
        r"'yesterday' is no value of kind datetime\. Write it in its format, such as 1999-12-31, or in ISO form",
    ),
    "no truth": ({"ill": "perhaps"}, r"'perhaps' is not one of its values: False, True"),
    "against a mapping": ({"city": "city 0", "state": "NY"}, r"contradict a constraint.*'state' follows from 'city'"),
    "against an order": ({"in": "1970-01-09", "out": "1970-01-02"}, r"contradict a constraint.*'in' <= 'out'"),
    "two of one group": ({"green": True, "blue": True}, r"contradict a constraint.*exactly one of"),
    "a sum out of reach": ({"a": 0, "b": 1.0, "all": (5, 9)}, r"contradict a constraint.*'all' = 'a' \+ 'b'"),
}
GIVEN = {
    "state": {"state": "TX"},
    "several": {"state": ["TX", "CA"], "ill": True},
    "a date": {"in": "1970-01-04"},
    "dates": {"out": (pd.Timestamp("1970-01-04"), None)},
    "missing": {"out": None},
    "a number": {"a": 7},
    "numbers": {"a": (3, 5), "b": (1.0, 2.5)},
    "a sum": {"all": (10, 20)},
    "a truth in words": {"green": "true"},
}


@pytest.fixture(scope="module")
def ruled():
    rules = tuple(RULES[name] for name in ("mapping", "order", "sum", "one hot"))
    return {family: fitted(family, Schema(COLUMNS, constraints=rules)) for family in FAMILIES}


@pytest.mark.parametrize(("asked", "message"), REFUSED.values(), ids=REFUSED)
def test_conditions_that_cannot_be(ruled, asked, message):
    with pytest.raises(InputError, match=message):
        ruled["independent"].sample(5, np.random.default_rng(0), asked)


@pytest.mark.parametrize("name", GIVEN)
@pytest.mark.parametrize("family", FAMILIES)
def test_conditions_hold_together_with_rules(ruled, family, name):
    fit = ruled[family]
    rows = fit.sample(300, np.random.default_rng(0), GIVEN[name])
    assert len(rows) == 300
    check_rows(rows, fit)
    for column, value in GIVEN[name].items():
        series = rows[column]
        if value is None:
            assert series.isna().all()
        elif isinstance(value, tuple):
            assert ((series >= value[0]) & (series <= (value[1] if value[1] is not None else series.max()))).all()
        elif isinstance(value, list):
            assert set(series) == set(value)
        else:
            expected = {"true": True, "1970-01-04": pd.Timestamp("1970-01-04")}.get(value, value)
            assert (series == expected).all()


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["state=TX", "a=3..5"], {"state": "TX", "a": ("3", "5")}),
        (
            ["state=TX|CA", "b=..2.5", "in=1970-01-04.."],
            {"state": ["TX", "CA"], "b": (None, "2.5"), "in": ("1970-01-04", None)},
        ),
        (["out=", "ill=true", "a=7"], {"out": None, "ill": "true", "a": "7"}),
    ],
)
def test_conditions_of_a_command_line(ruled, texts, expected):
    fit = ruled["independent"]
    assert given_from_texts(texts, fit.schema) == expected
    assert len(fit.sample(5, np.random.default_rng(0), expected)) == 5


@pytest.mark.parametrize("text", ["state", "town=x", "=", "stat=TX"])
def test_a_text_that_is_no_condition(ruled, text):
    with pytest.raises(InputError, match=r"A condition is COLUMN=VALUE; got .*Columns: city, state"):
        given_from_texts([text], ruled["independent"].schema)


def test_the_longest_name_before_a_sign_is_the_column():
    levels = ("b", "c=d", "x|y")
    schema = Schema(tuple(Column(name, "categorical", categories=levels) for name in ("a", "a=b")))
    assert given_from_texts(["a=b=c=d"], schema) == {"a=b": "c=d"}
    assert given_from_texts(["a=x|y"], schema) == {"a": "x|y"}


def test_a_moment_may_be_written_in_the_columns_own_format():
    days = Column("in", "datetime", bounds=(0, 40 * 365 * 86_400), bins=(0, 41 * 365 * 86_400), format="%d/%m/%Y")
    (one,) = conditions_of(given_from_texts(["in=02/01/1970..1971-03-01"], Schema((days,))), Schema((days,)))
    assert one.span == (86_400, 424 * 86_400)
    aware = replace(days, format="%Y-%m-%dT%H:%M%:z", timezone="Europe/Berlin")
    (one,) = conditions_of({"in": ("1970-01-01T02:00+02:00", "1970-01-01T02:00")}, Schema((aware,)))
    assert one.span == (0, 3_600)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_no_row_of_a_million_breaks_a_rule(family):
    rules = tuple(RULES[name] for name in ("mapping", "forbidden", "order", "strict order", "sum", "one hot"))
    fit = fitted(family, Schema(COLUMNS, constraints=rules))
    rows = fit.sample(1_000_000, np.random.default_rng(0))
    assert len(rows) == 1_000_000
    check_rows(rows, fit)
