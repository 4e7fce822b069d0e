"""SDV's metadata: every form that SDV writes becomes a schema, what it does not say stays undeclared."""

import json
import warnings

import pytest

from tabsynth.errors import SchemaError
from tabsynth.schema import Column, Schema
from tabsynth.schema_file import read_schema
from tabsynth.sdv_metadata import VERSION, from_sdv, is_sdv, to_sdv, write_sdv

DAY = 86_400.0
COLUMNS = {
    "id": {"sdtype": "id", "regex_format": "[0-9]{4}"},
    "age": {"sdtype": "numerical", "computer_representation": "Int64"},
    "small": {"sdtype": "numerical", "computer_representation": "UInt8"},
    "cost": {"sdtype": "numerical", "computer_representation": "Float"},
    "plain": {"sdtype": "numerical"},
    "town": {"sdtype": "categorical"},
    "size": {"sdtype": "categorical", "order": ["S", "M", 3.0]},
    "ill": {"sdtype": "boolean"},
    "day": {"sdtype": "datetime", "datetime_format": "%d/%m/%Y"},
    "mail": {"sdtype": "email", "pii": True},
    "who": {"sdtype": "unknown"},
    "land": {"sdtype": "country_code", "pii": False},
}
IDENTIFIERS = {"id", "mail", "who"}


def one(columns, version="V1", **table):
    """Return metadata of one table."""
    return {"tables": {"people": {"columns": columns, **table}}, "relationships": [], VERSION: version}


FORMS = {
    "V1": one(COLUMNS, primary_key="id"),
    "MULTI_TABLE_V1": one(COLUMNS, "MULTI_TABLE_V1", primary_key="id"),
    "SINGLE_TABLE_V1": {"columns": COLUMNS, "primary_key": "id", VERSION: "SINGLE_TABLE_V1"},
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_every_form_says_the_same(form):
    schema = from_sdv(form)
    kinds = {column.name: column.kind for column in schema}
    assert kinds == {
        "id": "categorical",
        "age": "integer",
        "small": "integer",
        "cost": "float",
        "plain": "float",
        "town": "categorical",
        "size": "categorical",
        "ill": "boolean",
        "day": "datetime",
        "mail": "categorical",
        "who": "categorical",
        "land": "categorical",
    }
    assert set(schema.with_role("identifier")) == IDENTIFIERS
    assert schema["day"].format == "%d/%m/%Y"
    assert schema["size"].categories == ("S", "M", "3")


def test_what_is_not_said_stays_undeclared():
    schema = from_sdv(FORMS["V1"])
    assert all(column.nullable is None for column in schema)
    undeclared = set(schema.undeclared())
    assert {("age", "bounds"), ("town", "categories"), ("ill", "nullable"), ("day", "bounds")} <= undeclared
    assert schema.rows is None


def test_keys_are_identifiers_whatever_their_sdtype():
    columns = {"a": {"sdtype": "numerical"}, "b": {"sdtype": "categorical"}, "c": {"sdtype": "categorical"}}
    assert from_sdv(one(columns, primary_key="a")).with_role("identifier") == ("a",)
    assert from_sdv(one(columns, primary_key=["a", "b"])).with_role("identifier") == ("a", "b")
    assert from_sdv(one(columns, alternate_keys=["b", ["c"]])).with_role("identifier") == ("b", "c")


def test_what_the_second_version_says_of_values_is_declared():
    columns = {
        "age": {"sdtype": "numerical", "range_is_nullable": True, "range_min": 0, "range_max": 89, "decimal_places": 0},
        "cost": {"sdtype": "numerical", "range_min": -0.5, "range_max": 9.25, "decimal_places": 2},
        "raw": {"sdtype": "numerical", "range_min": 0, "decimal_places": 15},
        "town": {"sdtype": "ordinal", "range_values": ["Ulm", "Bonn", None], "high_cardinality": False},
        "ill": {"sdtype": "categorical", "range_is_nullable": False, "range_values": [True, False]},
        "day": {"sdtype": "datetime", "range_min": "1970-01-02 00:00:00", "range_max": "1970-01-03 12:00:00"},
        "form": {
            "sdtype": "datetime",
            "datetime_format": "%d.%m.%Y",
            "range_min": "02.01.1970",
            "range_max": "03.01.1970",
        },
    }
    assert from_sdv(one(columns, "V2")) == Schema(
        (
            Column("age", "integer", nullable=True, bounds=(0, 89)),
            Column("cost", "float", nullable=None, bounds=(-0.5, 9.25), decimals=2),
            Column("raw", "float", nullable=None),
            Column("town", "categorical", nullable=None, categories=("Ulm", "Bonn")),
            Column("ill", "boolean", nullable=False),
            Column("day", "datetime", nullable=None, bounds=(DAY, 2.5 * DAY)),
            Column("form", "datetime", nullable=None, bounds=(DAY, 2 * DAY), format="%d.%m.%Y"),
        )
    )


BROKEN = {
    "two tables": ({**one(COLUMNS), "tables": {"a": {}, "b": {}}}, r"exactly one table .* describe 2: a, b"),
    "no tables": ({VERSION: "V1"}, r"need 'tables', by name"),
    "of the future": ({VERSION: "V9", "columns": {}}, r"must be one of V1, .*SINGLE_TABLE_V1.*; got 'V9'"),
    "no columns": (one({}), r"need 'columns', by name"),
    "a sequence": (one(COLUMNS, sequence_key="id"), r"sequences cannot be read: .*'group'.*rows_per_unit"),
    "no sdtype": (one({"age": {}}), r"Column 'age': SDV metadata need an sdtype"),
    "keys alone": (one({"a": {"sdtype": "id"}}), r"at least one column that is neither an identifier nor a group"),
    "text for a bound": (
        one({"a": {"sdtype": "numerical", "range_min": "x", "range_max": 3}}, "V2"),
        r"Column 'a': range_min and range_max must be values of its sdtype",
    ),
    "bounds the wrong way": (
        one({"a": {"sdtype": "numerical", "range_min": 4, "range_max": 3}}, "V2"),
        r"Column 'a': bounds must be two finite values, the smaller one first",
    ),
}


@pytest.mark.parametrize(("plain", "message"), BROKEN.values(), ids=BROKEN)
def test_what_is_wrong_is_named(plain, message):
    with pytest.raises(SchemaError, match=message):
        from_sdv(plain)


PEOPLE = Schema(
    (
        Column("key", "categorical", roles=("identifier",)),
        Column("age", "integer", bounds=(0, 99)),
        Column("cost", "float", bounds=(0.0, 9.5), decimals=1, nullable=True),
        Column("town", "categorical", categories=("Ulm", "Bonn")),
        Column("ill", "boolean", roles=("target",)),
        Column("day", "datetime", bounds=(0.0, 9 * DAY), format="%d.%m.%Y"),
    ),
    rows=10,
)


def test_written_and_read_again():
    back = from_sdv(to_sdv(PEOPLE, version="V2"))
    for was, column in zip(PEOPLE.columns[1:], back.columns[1:], strict=True):
        facts = ("name", "kind", "nullable", "categories", "bounds", "decimals", "format")
        assert [getattr(column, fact) for fact in facts] == [getattr(was, fact) for fact in facts]
    assert back["key"].roles == ("identifier",)
    assert back.target is None  # SDV has no word for it
    first = from_sdv(to_sdv(PEOPLE))
    assert [column.kind for column in first] == [column.kind for column in PEOPLE]
    assert first["age"].bounds is None
    with pytest.raises(ValueError, match="version must be one of V1, V2; got 'V3'"):
        to_sdv(PEOPLE, version="V3")


def test_only_numbers_have_decimal_places():
    """SDV 2 calls a word that is not for a column's sdtype an error, and refuses the whole table."""
    written = to_sdv(PEOPLE, version="V2")["tables"]["table"]["columns"]
    assert [name for name, described in written.items() if "decimal_places" in described] == ["age", "cost"]


def test_a_schema_file_may_be_metadata(tmp_path):
    write_sdv(PEOPLE, tmp_path / "metadata.json")
    assert read_schema(tmp_path / "metadata.json") == from_sdv(to_sdv(PEOPLE))
    (tmp_path / "two.json").write_text(json.dumps(BROKEN["two tables"][0]), encoding="utf-8")
    with pytest.raises(SchemaError, match=r"two\.json: SDV metadata of exactly one table"):
        read_schema(tmp_path / "two.json")
    assert not is_sdv(PEOPLE.to_dict())
    assert not is_sdv([VERSION])


@pytest.mark.parametrize("version", ["V1", "V2"])
def test_sdv_reads_what_is_written(tmp_path, version):
    metadata = pytest.importorskip("sdv.metadata").Metadata
    if version == "V2" and metadata.METADATA_SPEC_VERSION != "V2":
        pytest.skip("this SDV knows the first version only")
    write_sdv(PEOPLE, tmp_path / "metadata.json", "people", version)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # SDV 2 reads V1, and no longer whether a number is whole
        read = metadata.load_from_json(tmp_path / "metadata.json")
    read.validate()
    again = from_sdv(read.to_dict())
    assert again.names == PEOPLE.names
    whole = {"integer": "float"} if version == "V1" else {}
    for column, was in zip(again, PEOPLE, strict=True):
        assert whole.get(column.kind, column.kind) == whole.get(was.kind, was.kind)
        assert column.roles == tuple(role for role in was.roles if role == "identifier")
        assert column.bounds == (was.bounds if version == "V2" else None)
