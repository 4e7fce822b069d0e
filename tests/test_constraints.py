"""Rules between columns: what they say of every row, what they refuse to be, and what the door says of a broken one."""

import itertools
import sys
from types import ModuleType

import jsonschema
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tabsynth.constraints import (
    KINDS,
    Combinations,
    Dependency,
    Inequality,
    OneHot,
    Predicate,
    Seen,
    Sum,
    Unique,
    domains_of,
    narrowed,
)
from tabsynth.errors import SchemaError, TableError
from tabsynth.schema import DAY, Column, Schema
from tabsynth.schema_file import json_schema, read_schema, write_schema
from tabsynth.table import read

CITIES, STATES = ("Austin", "Dallas", "Albany"), ("TX", "NY")
MAPPING = (("Austin", "TX"), ("Dallas", "TX"), ("Albany", "NY"))
COLUMNS = (
    Column("id", "categorical", roles=("identifier",)),
    Column("city", "categorical", categories=CITIES, nullable=True),
    Column("state", "categorical", categories=STATES, nullable=True),
    Column("adult", "boolean", nullable=True),
    Column("in", "datetime", bounds=(0, 10 * DAY), nullable=True),
    Column("out", "datetime", bounds=(0, 12 * DAY), nullable=True),
    Column("a", "integer", bounds=(0, 5), nullable=True),
    Column("b", "float", bounds=(0.0, 5.0), decimals=1, nullable=True),
    Column("all", "float", bounds=(0.0, 10.0), decimals=1, nullable=True),
    Column("red", "integer", bounds=(0, 1), nullable=True),
    Column("blue", "boolean", nullable=True),
)
BY_NAME = {column.name: column for column in COLUMNS}


def plain_rule(frame):
    """A predicate of the tests: no adults in Albany."""
    return ~((frame["city"] == "Albany").fillna(False) & frame["adult"].fillna(False))


def none_missing(row, *names):
    return all(not pd.isna(row[name]) for name in names)


RULES = {  # each with the slow version: whether one row, as a dictionary, breaks it
    "allowed": (
        Combinations(("city", "adult"), allowed=(("Austin", "True"), ("Dallas", "False"))),
        lambda r: (
            none_missing(r, "city", "adult") and (r["city"], r["adult"]) not in {("Austin", True), ("Dallas", False)}
        ),
    ),
    "forbidden": (
        Combinations(("state", "city", "adult"), forbidden=(("NY", "Austin", "True"), ("TX", "Albany", "False"))),
        lambda r: (r["state"], r["city"], r["adult"]) in {("NY", "Austin", True), ("TX", "Albany", False)},
    ),
    "dependency": (
        Dependency("city", "state", MAPPING),
        lambda r: none_missing(r, "city", "state") and dict(MAPPING)[r["city"]] != r["state"],
    ),
    "dependency on two": (
        Dependency(("city", "adult"), "state", tuple((c, t, s) for c, s in MAPPING for t in ("True", "False"))[:5]),
        lambda r: (
            none_missing(r, "city", "adult", "state")
            and (dict(MAPPING)[r["city"]] != r["state"] or (r["city"], r["adult"]) == ("Albany", False))
        ),
    ),
    "at most": (Inequality("in", "out"), lambda r: none_missing(r, "in", "out") and r["in"] > r["out"]),
    "less, of two kinds": (
        Inequality("a", "b", strict=True),
        lambda r: none_missing(r, "a", "b") and r["a"] >= r["b"],
    ),
    "sum": (
        Sum(("a", "b"), "all"),
        lambda r: none_missing(r, "a", "b", "all") and abs(r["a"] + r["b"] - r["all"]) > 0.0501,
    ),
    "one hot": (
        OneHot(("red", "blue", "adult")),
        lambda r: none_missing(r, "red", "blue", "adult") and r["red"] + r["blue"] + r["adult"] != 1,
    ),
    "predicate": (
        Predicate(("city", "adult"), f"{__name__}:plain_rule"),
        lambda r: none_missing(r, "city", "adult") and r["city"] == "Albany" and bool(r["adult"]),
    ),
}


def rows_of(seed, rows=300):
    """Rows without any rule in mind, a tenth of everything missing; sums come right half of the time."""
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 6, rows), rng.integers(0, 51, rows) / 10
    plain = {
        "city": rng.choice(CITIES, rows).astype(object),
        "state": rng.choice(STATES, rows).astype(object),
        "adult": rng.random(rows) < 0.5,
        "in": pd.Timestamp(0) + pd.to_timedelta(rng.integers(0, 11, rows), "D"),
        "out": pd.Timestamp(0) + pd.to_timedelta(rng.integers(0, 13, rows), "D"),
        "a": a,
        "b": b,
        "all": np.where(rng.random(rows) < 0.5, np.minimum(a + b, 10), rng.integers(0, 101, rows) / 10),
        "red": rng.integers(0, 2, rows),
        "blue": rng.random(rows) < 0.3,
    }
    frame = pd.DataFrame({"id": "x"} | {name: pd.Series(values) for name, values in plain.items()})
    for name in plain:
        frame[name] = frame[name].astype(object).where(rng.random(rows) > 0.1, None)
    return read(frame, Schema(COLUMNS)).private


@pytest.mark.parametrize("name", RULES)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_a_rule_is_broken_where_the_slow_version_says(name, seed):
    rule, slow = RULES[name]
    frame = rows_of(seed)
    expected = [slow(row) for row in frame.astype(object).to_dict("records")]
    found = rule.broken(frame, BY_NAME)
    assert found.dtype == bool
    np.testing.assert_array_equal(found, expected)
    assert found.any()
    assert not found.all()


@pytest.mark.parametrize("name", ["sum", "dependency", "dependency on two"])
def test_what_follows_from_others_can_be_derived(name):
    rule, _ = RULES[name]
    frame = rows_of(1)
    derived = frame.assign(**{rule.over[-1]: rule.derive(frame, BY_NAME)})
    assert (derived.dtypes == frame.dtypes).all()
    assert derived[rule.over[-1]].isna().equals(frame[rule.over[-1]].isna())
    unsaid = (frame["city"] == "Albany") & ~frame["adult"] & (name == "dependency on two")  # not in the mapping
    assert not rule.broken(derived, BY_NAME)[~unsaid.fillna(False).to_numpy(bool)].any()
    kept = ~rule.broken(frame, BY_NAME)
    if name != "sum":
        pd.testing.assert_frame_equal(derived[kept], frame[kept])
    else:
        np.testing.assert_allclose(derived["all"][kept], frame["all"][kept], atol=0.051)


def test_a_boolean_that_follows_from_a_city_is_derived():
    rule = Dependency("city", "adult", (("Austin", "True"), ("Dallas", "False"), ("Albany", "False")))
    frame = rows_of(2)
    derived = frame.assign(adult=rule.derive(frame, BY_NAME))
    assert rule.broken(frame, BY_NAME).any()
    assert not rule.broken(derived, BY_NAME).any()
    assert derived["adult"].dtype == "boolean"


def test_a_sum_out_of_bounds_is_not_derived_but_broken():
    rule = Sum(("a", "b"), "all")
    columns = BY_NAME | {"all": Column("all", "float", bounds=(0.0, 3.0), decimals=1)}
    frame = pd.DataFrame({"a": pd.array([5, 1], "Int64"), "b": [1.0, 1.5], "all": [2.0, 0.0]})
    derived = frame.assign(all=rule.derive(frame, columns))
    assert derived["all"].tolist() == [2.0, 2.5]
    assert rule.broken(derived, columns).tolist() == [True, False]


def test_rows_are_unique_when_none_before_them_is_alike():
    frame = rows_of(5)[["city", "a"]]
    seen, slow = set(), []
    for row in frame.astype(object).itertuples(index=False):
        slow.append(not any(map(pd.isna, row)) and row in seen)
        seen.add(row)
    found = Unique(("city", "a")).broken(frame, BY_NAME)
    assert found.tolist() == slow
    assert found.any()


def test_rows_that_cannot_be_taken_do_not_stand_in_the_way_of_others():
    frame = pd.DataFrame({"a": [1, 1, 1, 2], "b": [5, 6, 7, 5]})
    seen = Seen((Unique(("a",)), Unique(("b",))))
    assert seen.fresh(frame, np.array([False, True, True, True])).tolist() == [False, True, False, True]
    assert seen.fresh(pd.DataFrame({"a": [2, 3, 3], "b": [9, 5, 7]})).tolist() == [False, False, True]


@pytest.mark.parametrize("values", [3, 40, 4000])
def test_rows_seen_in_parts_are_those_of_a_set_that_looks_at_one_row_after_another(values):
    rng = np.random.default_rng(values)
    rules = (Unique(("a", "b")), Unique(("b", "c")), Unique(("c",)))
    seen, taken = Seen(rules), [set(), set(), set()]
    for rows in (1, 0, 300, 1, 1, 90, 700, 3):
        frame = pd.DataFrame(rng.integers(0, values, (rows, 3)), columns=list("abc")).astype("Int64")
        frame = frame.mask(rng.random((rows, 3)) < 0.1)
        good, slow = rng.random(rows) < 0.8, []
        for row, may in zip(frame.astype(object).to_dict("records"), good, strict=True):
            own = [tuple(row[name] for name in rule.columns) for rule in rules]
            own = [(known, key) for known, key in zip(taken, own, strict=True) if not any(map(pd.isna, key))]
            slow.append(bool(may) and not any(key in known for known, key in own))
            for known, key in own if slow[-1] else ():
                known.add(key)
        assert seen.fresh(frame, good).tolist() == slow
    assert [sum(map(len, numbers._runs)) for numbers in seen._taken] == [len(known) for known in taken]


def test_rows_seen_take_eight_bytes_each_in_a_few_arrays():
    seen = Seen((Unique(("a",)),))
    for start in range(0, 30_000, 1000):
        assert seen.fresh(pd.DataFrame({"a": np.arange(start, start + 1000)})).all()
    (numbers,) = seen._taken
    assert sum(run.nbytes for run in numbers._runs) == 8 * 30_000
    assert all(len(a) > 2 * len(b) for a, b in itertools.pairwise(numbers._runs))
    assert not seen.fresh(pd.DataFrame({"a": np.arange(30_000)})).any()


def test_a_dependency_on_several_columns_takes_what_most_rows_say():
    frame = pd.DataFrame({"a": list("xxxyy"), "b": list("ppqpp"), "c": list("12133")}).astype("category")
    assert Dependency(("a", "b"), "c").learned(frame).mapping == (("x", "p", "1"), ("x", "q", "1"), ("y", "p", "3"))
    assert Dependency(("a", "b"), "c").broken(frame, {}).tolist() == [False, True, False, False, False]


def test_a_dependency_without_a_mapping_takes_what_most_rows_say():
    frame = pd.DataFrame({"city": ["A", "A", "A", "B", "B", None], "state": ["x", "x", "y", "z", None, "y"]})
    rule = Dependency("city", "state")
    assert rule.learned(frame.astype("category")).mapping == (("A", "x"), ("B", "z"))
    assert rule.broken(frame.astype("category"), {}).tolist() == [False, False, True, False, False, False]


# ------------------------------------------------------------------------------------------------------------ refusals

YEARS = (
    Column("young", "integer", bounds=(0, 10)),
    Column("old", "integer", bounds=(20, 30)),
    Column("x", "float", bounds=(0.0, 1.0)),
    Column("y", "float", bounds=(0.0, 1.0)),
    Column("when", "datetime", bounds=(0, DAY)),
    Column("free", "categorical"),
    Column("one", "boolean"),
    Column("two", "boolean"),
)
WRONG = {
    "a missing column": ([Inequality("young", "odl")], r"'young' <= 'odl': no column 'odl'; declared: id, city"),
    "an identifier": ([Dependency("id", "city")], r"column 'id' is an identifier or a group"),
    "a column twice": ([OneHot(("one", "one"))], r"named twice"),
    "no room for an order": ([Inequality("old", "young")], r"'old' <= 'young': with what is declared besides, no row"),
    "a moment and a number": ([Inequality("when", "x")], r"both columns must be numbers, or both datetimes"),
    "a circle": ([Inequality("x", "y", strict=True), Inequality("y", "x")], r"'x' < 'y': other rules say that 'y' is"),
    "a sum out of reach": ([Sum(("x", "y"), "old")], r"'old' = 'x' \+ 'y': with what is declared besides"),
    "a sum of days": ([Sum(("x", "y"), "when")], r"column 'when' must be an integer or a float"),
    "one part": ([Sum(("x",), "y")], r"two or more parts"),
    "undeclared categories": (
        [Combinations(("free", "one"), (("a", "True"),))],
        r"categories of column 'free' must be",
    ),
    "an unknown value": ([Combinations(("city", "one"), (("Rome", "True"),))], r"'Rome' is no value of column 'city'"),
    "a short tuple": ([Combinations(("city", "one"), (("Austin",),))], r"every tuple needs 2 values; got 1"),
    "both lists": ([Combinations(("city", "one"), (("Austin", "True"),), (("Austin", "True"),))], r"either allowed or"),
    "no list": ([Combinations(("city", "one"))], r"either allowed or forbidden"),
    "all forbidden": (
        [Combinations(("one", "two"), None, tuple((a, b) for a in ("True", "False") for b in ("True", "False")))],
        r"no row keeps it",
    ),
    "lists that exclude each other": (
        [
            Combinations(("city", "one"), (("Austin", "True"), ("Dallas", "True"))),
            Combinations(("city", "one"), (("Albany", "True"),)),
        ],
        r"no row keeps it",
    ),
    "at a distance": (
        [
            Combinations(("city", "one"), (("Austin", "True"),)),
            Combinations(("one", "two"), (("True", "False"), ("False", "True"))),
            Combinations(("two", "city"), None, (("False", "Austin"),)),
        ],
        r"no row keeps it",
    ),
    "a half mapping": ([Dependency("city", "state", MAPPING[:2])], r"the mapping leaves out 'Albany' of column 'city'"),
    "half a tuple": (
        [Dependency(("city", "one"), "two", (("Austin", "True"),))],
        r"'two' follows from 'city', 'one': every tuple of the mapping needs 3 values; got 2",
    ),
    "settled twice": (
        [Dependency(("city", "one"), "two", (("Austin", "True", "True"), ("Austin", "True", "False")))],
        r"settles something twice",
    ),
    "settled by nothing": ([Dependency((), "two")], r"a column that settles the other is needed"),
    "unique in nothing": ([Unique(())], r"at least one column"),
    "unique in a missing column": ([Unique(("city", "town"))], r"unique 'city', 'town': no column 'town'"),
    "a number that settles": ([Dependency("young", "city")], r"column 'young' must be categorical or boolean"),
    "one hot of numbers": ([OneHot(("young", "one"))], r"column 'young' must be boolean, or an integer with bounds"),
    "no import path": ([Predicate(("x",), "nowhere")], r"package.module:name"),
}


@pytest.mark.parametrize(("rules", "message"), WRONG.values(), ids=WRONG)
def test_rules_that_cannot_be_are_refused(rules, message):
    with pytest.raises(SchemaError, match=message):
        Schema((*COLUMNS, *YEARS), constraints=tuple(rules))


def test_rules_hand_on_what_they_rule_out():
    columns = (*YEARS[:2], Column("mid", "integer", bounds=(0, 100)))
    left = narrowed((Inequality("old", "mid", strict=True),), domains_of(columns), {c.name: c for c in columns})
    assert left == {"young": (0, 10), "old": (20, 30), "mid": (21, 100)}
    with pytest.raises(SchemaError, match="no row keeps it"):
        Schema(columns, constraints=(Inequality("old", "mid"), Inequality("mid", "young")))


ENTRIES = {
    "no kind": ({"columns": ["a"]}, r"Constraint 1: kind must be one of combinations, dependency, .*; got None"),
    "unknown kind": ({"kind": "magic"}, r"got 'magic'"),
    "no mapping at all": (["sum"], r"kind must be one of"),
    "unknown entry": ({"kind": "sum", "parts": ["a", "b"], "total": "all", "of": 1}, r"\(sum\): unknown entry 'of'"),
    "entry missing": ({"kind": "sum", "parts": ["a", "b"]}, r"\(sum\): an entry is missing or of the wrong kind"),
    "text for a list": ({"kind": "one_hot", "columns": "ab"}, r"\(one_hot\): an entry is missing or of the wrong kind"),
    "list of texts": ({"kind": "combinations", "columns": ["a", "b"], "allowed": ["xy"]}, r"wrong kind"),
    "truth": ({"kind": "inequality", "low": "a", "high": "b", "strict": "yes"}, r"wrong kind"),
    "list for a mapping": ({"kind": "dependency", "determinant": "a", "dependent": "b", "mapping": []}, r"wrong kind"),
}


@pytest.mark.parametrize(("plain", "message"), ENTRIES.values(), ids=ENTRIES)
def test_entries_that_cannot_be_read(plain, message):
    with pytest.raises(SchemaError, match=message):
        Schema.from_dict({"columns": [column.to_dict() for column in COLUMNS], "constraints": [plain]})
    with pytest.raises(SchemaError, match="constraints must be a list"):
        Schema.from_dict({"columns": [column.to_dict() for column in COLUMNS], "constraints": "x"})


# -------------------------------------------------------------------------------------------------------- files, doors

KEPT = (*(rule for rule, _ in RULES.values()), Unique(("city", "in")))


@pytest.mark.parametrize("ending", ["yaml", "json"])
def test_rules_come_back_from_a_file_and_follow_its_json_schema(tmp_path, ending):
    rules = (*KEPT, Dependency("city", "state"), Dependency(("city", "adult"), "state"))
    schema = Schema(COLUMNS, constraints=rules)
    write_schema(schema, tmp_path / f"s.{ending}")
    assert read_schema(tmp_path / f"s.{ending}") == schema
    jsonschema.validate(schema.to_dict(), json_schema())
    assert {rule.kind for rule in rules} == set(KINDS)
    assert Schema(COLUMNS).fingerprint() != schema.fingerprint()


def test_a_wrong_rule_in_a_file_is_named_with_the_file(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text("columns: [{name: a, kind: boolean}]\nconstraints: [{kind: inequality, low: a, high: z}]\n")
    with pytest.raises(SchemaError, match=r"s\.yaml: Constraint 'a' <= 'z': no column 'z'"):
        read_schema(path)


@pytest.mark.parametrize("name", RULES)
def test_a_broken_rule_is_told_at_the_door_without_a_row_or_a_count(name):
    rule, _ = RULES[name]
    frame = rows_of(3).assign(id="x")
    schema = Schema(COLUMNS, constraints=(rule,))
    with pytest.raises(TableError) as refused:
        read(frame, schema)
    assert str(refused.value) == f"table: a row breaks the constraint {rule.words}."
    good = frame[~rule.broken(frame, BY_NAME)]
    assert len(read(good, schema).private) == len(good)
    assert len(read(frame, schema, check_domain=False).private) == len(frame)


def test_a_predicate_that_fails_quotes_no_value(monkeypatch):
    module = ModuleType("faulty")
    module.raises = lambda frame: 1 / 0
    module.short = lambda frame: [True]
    module.text = lambda frame: ["secret"] * len(frame)
    monkeypatch.setitem(sys.modules, "faulty", module)
    for function, message in {
        "faulty:raises": r"table: Constraint predicate faulty:raises: the function raised ZeroDivisionError\.$",
        "faulty:short": r"must return one true or false a row\.$",
        "faulty:text": r"must return one true or false a row\.$",
        "faulty:gone": r"cannot be imported \(AttributeError\)\.$",
        "nowhere.at.all:gone": r"cannot be imported \(ModuleNotFoundError\)\.$",
    }.items():
        schema = Schema(COLUMNS, constraints=(Predicate(("city", "a"), function),))
        with pytest.raises(TableError, match=message):
            read(rows_of(0).assign(id="x"), schema)
