"""The schema: what a file may say, what it may not, and that it comes back as it was written."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tabsynth.errors import SchemaError
from tabsynth.schema import DAY, Column, Schema, Unit
from tabsynth.schema_file import json_schema, read_schema, schema_yaml, write_schema

PUBLISHED = Path(__file__).parent.parent / "docs" / "schema.json"

PEOPLE = Schema(
    (
        Column("person", "categorical", roles=("identifier",)),
        Column("household", "categorical", roles=("group",)),
        Column("age", "integer", bounds=(0, 110), bins=(0, 18, 65, 111)),
        Column("naïve größe 身長", "float", bounds=(0.5, 2.5), decimals=2, nullable=True),
        Column("seen", "datetime", bounds=(0, 20_000 * DAY)),
        Column("arrived", "datetime", bounds=(0, 90_061), format="%Y-%m-%d %H:%M:%S"),
        Column("town", "categorical", categories=("Łódź", "naïve, \"quoted\"", "yes", "1", "null", "~", " padded ")),
        Column("ill", "boolean", roles=("target", "sensitive"), nullable=None),
    ),
    rows=1000,
    rows_per_unit=4,
    missing=("", "-"),
)  # fmt: skip


def column(**facts):
    """Return a schema dictionary with one column of these facts beside a good one."""
    return {"columns": [{"name": "good", "kind": "boolean"}, {"name": "bad"} | facts]}


# --- strategies: any schema that the types allow ---------------------------------------------------------------------

# YAML 1.1 counts U+0085 as a line break and reads it back as another one
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x85"), min_size=1, max_size=12)
finite = st.floats(-1e12, 1e12, allow_nan=False)


@st.composite
def columns(draw, name):
    kind = draw(st.sampled_from(["categorical", "boolean", "integer", "float", "datetime", "duration"]))
    facts = {"nullable": draw(st.sampled_from([True, False, None]))}
    if kind == "categorical":
        facts["categories"] = draw(st.none() | st.lists(texts, min_size=1, max_size=5, unique=True).map(tuple))
    elif kind != "boolean":
        numbers = finite if kind == "float" else st.integers(-(10**10), 10**10).map(float)
        facts["bounds"] = draw(st.none() | st.tuples(numbers, numbers).map(sorted).map(tuple))
        if facts["bounds"] is not None:
            inner = draw(st.lists(numbers, max_size=4))
            low, high = facts["bounds"]
            edges = sorted({low, high + 1, *(edge for edge in inner if low < edge <= high)})
            facts["bins"] = draw(st.sampled_from([None, tuple(edges) if len(edges) > 1 else None]))
    if kind in ("integer", "float"):
        facts["codes"] = draw(st.sampled_from([None, ("?", "N/A"), (10**11, "x"), (1e11 + 0.5,)]))
    if kind == "categorical" and facts["categories"] is not None:
        facts["ordered"] = draw(st.booleans())
    if kind == "float":
        facts["decimals"] = draw(st.none() | st.integers(0, 15))
    if kind == "datetime":
        facts["format"] = draw(st.sampled_from([None, "%d/%m/%Y", "%Y-%m-%d %H:%M:%S"]))
        facts["cycle"] = draw(st.sampled_from([None, "week"]))
        if facts["format"] is not None and "%H" in facts["format"]:
            facts["timezone"] = draw(st.sampled_from([None, "Europe/Berlin", "UTC"]))
        if facts["cycle"] is not None and draw(st.booleans()):
            facts["rhythm"] = tuple(range(168 if "%H" in (facts["format"] or "") else 7))
    if kind == "duration":
        facts["unit"] = draw(st.sampled_from([None, "ms", "min", "d"]))
        facts["format"] = draw(st.sampled_from([None, "iso"])) if facts["unit"] is None else None
    return Column(name, kind, roles=draw(st.sampled_from([(), ("sensitive",)])), **facts)


@st.composite
def schemas(draw):
    names = draw(st.lists(texts, min_size=1, max_size=5, unique=True))
    schema = Schema(
        tuple(draw(columns(name)) for name in names),
        rows=draw(st.none() | st.integers(1, 10**9)),
        missing=draw(st.sampled_from([("", "NA"), ()]) | st.lists(texts, max_size=3).map(tuple)),
    )
    return schema.with_target(names[0]) if draw(st.booleans()) else schema


# --- round trips -----------------------------------------------------------------------------------------------------

many = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@many
@given(schemas())
def test_a_schema_comes_back_from_plain_values(schema):
    assert Schema.from_dict(schema.to_dict()) == schema
    assert Schema.from_dict(json.loads(json.dumps(schema.to_dict()))) == schema


@pytest.mark.parametrize("ending", [".yaml", ".json"])
@many
@given(schema=schemas())
def test_a_schema_comes_back_from_its_file(tmp_path, schema, ending):
    path = tmp_path / f"schema{ending}"
    write_schema(schema, path)
    assert read_schema(path) == schema
    assert read_schema(path).fingerprint() == schema.fingerprint()


@many
@given(schemas())
def test_what_is_written_is_valid_by_the_published_schema(schema):
    jsonschema.validate(schema.to_dict(), json_schema())
    jsonschema.validate(yaml.safe_load(schema_yaml(schema)), json_schema())


@pytest.mark.parametrize("name", ["schema.yaml", "schema.yml", "schema.json", "schema"])
def test_awkward_names_and_categories_survive_a_file(tmp_path, name):
    write_schema(PEOPLE, tmp_path / name)
    assert read_schema(tmp_path / name) == PEOPLE
    if name.endswith(".json"):
        assert json.loads((tmp_path / name).read_text(encoding="utf-8")) == PEOPLE.to_dict()


def test_a_json_file_of_another_writer_is_read(tmp_path):
    town = Column("town", "categorical", categories=("😀", "a\tb", "\u2028"))
    (tmp_path / "schema.json").write_text(json.dumps(Schema((town,)).to_dict()))  # escapes beyond the basic plane
    assert read_schema(tmp_path / "schema.json")["town"] == town


def test_a_file_with_a_byte_order_mark_is_read(tmp_path):
    (tmp_path / "schema.yaml").write_text(schema_yaml(PEOPLE), encoding="utf-8-sig")
    assert read_schema(tmp_path / "schema.yaml") == PEOPLE


def test_a_hand_written_file_needs_little(tmp_path):
    (tmp_path / "s.yaml").write_text(
        """
        columns:
          - {name: age, kind: integer, bounds: [0, 99]}
          - {name: day, kind: datetime, bounds: [2024-01-01, 2024-12-31]}
          - {name: at, kind: datetime, format: "%d.%m.%Y %H:%M", bounds: ["2024-01-01T08:30", 2024-01-01 09:00:00]}
          - {name: code, kind: categorical, categories: [1, 2.5, A]}
          - {name: ill, kind: boolean, role: [target, sensitive], nullable: true}
        """
    )
    schema = read_schema(tmp_path / "s.yaml")
    start = datetime(2024, 1, 1, tzinfo=UTC).timestamp()
    assert schema["age"] == Column("age", "integer", nullable=False, bounds=(0.0, 99.0))
    assert schema["day"].bounds == (start, start + 365 * DAY)
    assert schema["at"].bounds == (start + 8.5 * 3600, start + 9 * 3600)
    assert schema["code"].categories == ("1", "2.5", "A")
    assert schema.target == "ill"
    assert schema.with_role("sensitive") == ("ill",)
    assert schema.rows is None
    assert schema.unit == Unit(None, 1)


# --- what a schema may not say ---------------------------------------------------------------------------------------

WRONG_COLUMNS = {
    "no kind": ({}, "Column 'bad': kind is missing; one of categorical, boolean, integer, float, datetime"),
    "length of a number": ({"kind": "float", "max_length": 3}, "'bad': max_length belongs to a text column"),
    "unit of text": ({"kind": "text", "role": "group"}, "'bad': free text is neither a target nor a group"),
    "unknown kind": ({"kind": "prose"}, "Column 'bad': kind must be one of categorical"),
    "unknown entry": ({"kind": "float", "range": [0, 1]}, "Column 'bad': unknown entry 'range'; known: after, bins"),
    "unknown role": ({"kind": "float", "role": "label"}, "Column 'bad': role must be one of target, sensitive"),
    "role of another type": ({"kind": "float", "role": 3}, "Column 'bad': role"),
    "categories of a number": ({"kind": "float", "categories": ["a"]}, "'bad': categories belong to a categorical"),
    "categories of a boolean": ({"kind": "boolean", "categories": ["a"]}, "'bad': categories belong to a categorical"),
    "no categories": ({"kind": "categorical", "categories": []}, "'bad': categories must be a non-empty list"),
    "repeated categories": ({"kind": "categorical", "categories": ["a", "a"]}, "'bad': categories must be a non-empty"),
    "categories alike as text": ({"kind": "categorical", "categories": [1, "1"]}, "without repeats"),
    "categories as text": ({"kind": "categorical", "categories": "abc"}, "Column 'bad': bounds, bins and categories"),
    "bounds of a category": ({"kind": "categorical", "bounds": [0, 1]}, "'bad': bounds belong to an integer, float"),
    "one bound": ({"kind": "float", "bounds": [1]}, "'bad': bounds must be two values, the smaller one first"),
    "three bounds": ({"kind": "float", "bounds": [1, 2, 3]}, "'bad': bounds must be two values"),
    "turned bounds": ({"kind": "float", "bounds": [1, 0]}, "'bad': bounds must be two finite values"),
    "infinite bounds": ({"kind": "float", "bounds": [0, float("inf")]}, "'bad': bounds must be two finite values"),
    "NaN bounds": ({"kind": "float", "bounds": [0, float("nan")]}, "'bad': bounds must be two finite values"),
    "huge bounds": ({"kind": "float", "bounds": [0, 10**400]}, "Column 'bad': bounds"),
    "bounds too far apart": ({"kind": "float", "bounds": [-1e308, 1e308]}, "'bad': bounds lie further apart than"),
    "too many steps": ({"kind": "float", "bounds": [0, 1e308], "decimals": 2}, "'bad': bounds lie further apart than"),
    "text bounds": (
        {"kind": "float", "bounds": ["low", "high"]},
        "Column 'bad': bounds, bins and categories are",
    ),
    "bounds as number": ({"kind": "float", "bounds": 3}, "Column 'bad': bounds, bins and categories are"),
    "broken whole bounds": ({"kind": "integer", "bounds": [0, 1.5]}, "'bad': the bounds of an integer column must be"),
    "not a day": ({"kind": "datetime", "bounds": ["2024-02-30", "2024-03-01"]}, "Column 'bad': bounds, bins and"),
    "bins alone": ({"kind": "float", "bins": [0, 1]}, "'bad': bins need bounds"),
    "one bin edge": ({"kind": "float", "bounds": [0, 1], "bins": [0]}, "'bad': bins must be at least two increasing"),
    "falling bins": ({"kind": "float", "bounds": [0, 1], "bins": [0, 2, 1]}, "'bad': bins must be at least two incr"),
    "NaN bins": ({"kind": "float", "bounds": [0, 1], "bins": [0, float("nan"), 1]}, "Column 'bad': bins must be"),
    "infinite bins": ({"kind": "float", "bounds": [0, 1], "bins": [0, float("inf")]}, "Column 'bad': bins must be"),
    "bins too high": ({"kind": "float", "bounds": [0, 1], "bins": [0.5, 1]}, "'bad': bins must cover the bounds"),
    "bins too low": ({"kind": "float", "bounds": [0, 1], "bins": [0, 0.5]}, "'bad': bins must cover the bounds"),
    "decimals of a count": ({"kind": "integer", "decimals": 2}, "'bad': decimals belong to a float column"),
    "too many decimals": (
        {"kind": "float", "decimals": 16},
        "'bad': decimals belong to a float column or a duration and lie",
    ),
    "broken decimals": ({"kind": "float", "decimals": 1.5}, "'bad': decimals must be a whole number"),
    "format of a number": ({"kind": "float", "format": "%Y"}, "'bad': format belongs to a datetime column"),
    "format as number": ({"kind": "datetime", "format": 3}, "Column 'bad': format"),
    "nullable as text": ({"kind": "float", "nullable": "yes"}, "'bad': nullable must be true or false"),
}


@pytest.mark.parametrize(
    ("facts", "message"),
    [pytest.param(*case, id=name) for name, case in WRONG_COLUMNS.items()],
)
def test_a_wrong_column_is_named_with_its_rule(tmp_path, facts, message):
    with pytest.raises(SchemaError, match=re.escape(message)):
        Schema.from_dict(column(**facts))
    path = tmp_path / "people.yaml"
    path.write_text(yaml.safe_dump(column(**facts)))
    with pytest.raises(SchemaError, match=rf"people\.yaml: .*{re.escape(message)}"):
        read_schema(path)


GOOD = {"name": "age", "kind": "integer"}
WRONG_SCHEMAS = {
    "nothing": (None, "A schema needs a list named 'columns'"),
    "a list": ([GOOD], "A schema needs a list named 'columns'"),
    "columns as mapping": ({"columns": {"age": "integer"}}, "A schema needs a list named 'columns'"),
    "no columns": ({"columns": []}, "A schema needs at least one column that is neither"),
    "a column as text": ({"columns": ["age"]}, "column"),
    "no name": ({"columns": [{"kind": "float"}]}, "Every column of a schema needs a name, written as text"),
    "empty name": ({"columns": [GOOD | {"name": ""}]}, "Every column of a schema needs a name, written as text"),
    "name as number": ({"columns": [GOOD | {"name": 3}]}, "Every column of a schema needs a name, written as text"),
    "repeated": ({"columns": [GOOD, GOOD]}, "Column 'age' is declared more than once"),
    "unknown entry": ({"columns": [GOOD], "epsilon": 1}, "Unknown entry 'epsilon' in the schema"),
    "two targets": (
        {"columns": [GOOD | {"name": name, "role": "target"} for name in "ab"]},
        "Only one column may have the role 'target'; got a, b",
    ),
    "two groups": (
        {"columns": [GOOD | {"name": name, "role": "group"} for name in "ab"] + [GOOD]},
        "Only one column may have the role 'group'; got a, b",
    ),
    "identifiers only": ({"columns": [GOOD | {"role": "identifier"}]}, "needs at least one column that is neither"),
    "an identifier to predict": (
        {"columns": [GOOD, {"name": "id", "kind": "integer", "role": ["target", "identifier"]}]},
        "Column 'id': a target cannot be an identifier or a group",
    ),
    "no rows": ({"columns": [GOOD], "rows": 0}, "rows must be at least 1; got 0"),
    "half a row": ({"columns": [GOOD], "rows": 0.5}, "rows and rows_per_unit must be whole numbers"),
    "rows as truth": ({"columns": [GOOD], "rows": True}, "rows and rows_per_unit must be whole numbers"),
    "rows per no group": ({"columns": [GOOD], "rows_per_unit": 2}, "above 1 needs a column with the role 'group'"),
    "no rows per unit": ({"columns": [GOOD], "rows_per_unit": 0}, "rows_per_unit must be at least 1"),
    "missing as text": ({"columns": [GOOD], "missing": "NA"}, "missing"),
    "missing as number": ({"columns": [GOOD], "missing": 5}, "missing"),
}


@pytest.mark.parametrize(
    ("plain", "message"),
    [pytest.param(*case, id=name) for name, case in WRONG_SCHEMAS.items()],
)
def test_a_wrong_schema_is_refused_with_the_rule(plain, message):
    with pytest.raises(SchemaError, match=re.escape(message)):
        Schema.from_dict(plain)


def test_unquoted_yes_and_no_are_not_taken_for_true_and_false(tmp_path):
    (tmp_path / "s.yaml").write_text("columns:\n- {name: loan, kind: categorical, categories: [yes, no]}\n")
    with pytest.raises(SchemaError, match=r"Column 'loan': .*quote"):
        read_schema(tmp_path / "s.yaml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"columns: [", r"people\.yaml: not a readable YAML or JSON file"),
        (b"\xff\xfe\x00c", r"people\.yaml: not a readable YAML or JSON file"),
        (b"", r"people\.yaml: A schema needs a list named 'columns'"),
        (b"!!python/object:os.system {}", r"people\.yaml: not a readable YAML or JSON file"),
    ],
    ids=["broken", "not text", "empty", "code"],
)
def test_an_unreadable_file_is_named(tmp_path, content, message):
    (tmp_path / "people.yaml").write_bytes(content)
    with pytest.raises(SchemaError, match=message):
        read_schema(tmp_path / "people.yaml")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SchemaError, match=r"nowhere\.yaml: no such schema file"):
        read_schema(tmp_path / "nowhere.yaml")
    with pytest.raises(SchemaError, match="not a readable"):
        read_schema(tmp_path)


# --- what a schema tells ---------------------------------------------------------------------------------------------


def test_roles_decide_what_is_modelled_and_whom_the_claim_protects():
    assert [c.name for c in PEOPLE.modelled] == ["age", "naïve größe 身長", "seen", "arrived", "town", "ill"]
    assert PEOPLE.unit == Unit("household", 4)
    assert PEOPLE.target == "ill"


def test_undeclared_lists_each_missing_fact_of_the_modelled_columns():
    bare = Schema(
        (
            Column("id", "categorical", roles=("identifier",), nullable=None),
            Column("town", "categorical", nullable=None),
            Column("age", "integer"),
            Column("day", "datetime", nullable=None, bounds=(0, DAY)),
            Column("ill", "boolean"),
        )
    )
    assert bare.undeclared() == (("town", "nullable"), ("town", "categories"), ("age", "bounds"), ("day", "nullable"))


@pytest.mark.parametrize(
    ("column", "step"),
    [
        (Column("x", "integer"), 1.0),
        (Column("x", "float"), 0.0),
        (Column("x", "float", decimals=0), 1.0),
        (Column("x", "float", decimals=2), 0.01),
        (Column("x", "datetime"), DAY),
        (Column("x", "datetime", format="%d/%m/%Y"), DAY),
        (Column("x", "datetime", format="%Y-%m-%d %H:%M"), 60.0),
        (Column("x", "datetime", format="%H h, %d.%m.%y"), 3600.0),
        (Column("x", "duration"), 1.0),
        (Column("x", "duration", unit="min", decimals=1), 6.0),
        (Column("x", "datetime", format="%c"), 1.0),
    ],
)
def test_step_is_the_distance_between_neighbouring_values(column, step):
    assert column.step == pytest.approx(step)


def test_levels_of_a_boolean_are_false_and_true():
    assert Column("x", "boolean").levels == ("False", "True")
    assert Column("x", "float").levels is None


def test_with_target_moves_the_role_and_keeps_the_others():
    schema = PEOPLE.with_target("age")
    assert schema.target == "age"
    assert schema["ill"].roles == ("sensitive",)
    assert schema.with_target("ill") == PEOPLE
    with pytest.raises(SchemaError, match=r"No column 'agee'\. Declared: person, household, age"):
        PEOPLE.with_target("agee")
    with pytest.raises(SchemaError, match="Column 'person': a target cannot be an identifier"):
        PEOPLE.with_target("person")


def test_with_columns_replaces_by_name_and_leaves_the_order():
    schema = PEOPLE.with_columns(Column("age", "float", bounds=(0, 1)))
    assert schema.names == PEOPLE.names
    assert schema["age"].kind == "float"
    assert schema.with_columns(PEOPLE["age"]) == PEOPLE


def test_the_fingerprint_is_that_of_the_facts():
    assert Schema((Column("ill", "boolean"),)).fingerprint() == (
        "25074b91419656b98af7e99bda5b8bedda55afdfac09a422f251d99407ce7512"
    )  # of {"columns":[{"kind":"boolean","name":"ill","nullable":false}]}; releases record it, so it may not drift
    copy = Schema.from_dict(yaml.safe_load(schema_yaml(PEOPLE)))
    assert copy.fingerprint() == PEOPLE.fingerprint()
    others = [
        replace(PEOPLE, rows=None),
        replace(PEOPLE, rows_per_unit=1),
        replace(PEOPLE, missing=("",)),
        replace(PEOPLE, columns=PEOPLE.columns[::-1]),
        PEOPLE.with_target("age"),
        PEOPLE.with_columns(replace(PEOPLE["age"], bounds=(0, 109))),
        PEOPLE.with_columns(replace(PEOPLE["age"], nullable=True)),
        PEOPLE.with_columns(replace(PEOPLE["town"], categories=PEOPLE["town"].categories[::-1])),
    ]
    assert len({schema.fingerprint() for schema in [PEOPLE, *others]}) == len(others) + 1


# --- the published JSON Schema ---------------------------------------------------------------------------------------


def test_the_published_json_schema_is_the_one_in_force():
    published = PUBLISHED.read_text(encoding="utf-8")
    current = json.dumps(json_schema(), indent=2) + "\n"
    remedy = "import json, tabsynth.schema_file as s; print(json.dumps(s.json_schema(), indent=2))"
    assert published == current, f"Out of date. Write it anew: python -c {remedy!r} > docs/schema.json"


def test_the_json_schema_is_a_json_schema_and_refuses():
    jsonschema.Draft202012Validator.check_schema(json_schema())
    jsonschema.validate(PEOPLE.to_dict(), json_schema())
    no_length = column(kind="text", max_length=0)
    for wrong in (column(kind="prose"), no_length, column(kind="float", range=[0, 1]), {"columns": []}, {}, column()):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, json_schema())
