"""SDV's metadata of one table, read into a schema and written from one.

Until SDV 2 metadata say what a column is, not which values it may have: bounds, categories and whether a value may be
missing stay undeclared, to be added by hand or paid for by discovery. Those of SDV 2 (`V2`) have words for them, which
become declared facts; where SDV detected them from the table, keeping them publishes them, as with a drafted schema.
The forms are those of https://docs.sdv.dev/sdv/concepts/metadata/metadata-json
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from tabsynth import _check
from tabsynth.columns.times import UNITS
from tabsynth.errors import SchemaError
from tabsynth.schema import Column, Kind, Role, Schema

VERSION = "METADATA_SPEC_VERSION"
ONE_TABLE, ANY_TABLES = ("SINGLE_TABLE_V1", "SINGLE_TABLE_V2"), ("V1", "V2", "MULTI_TABLE_V1")  # their two forms
KINDS: dict[str, Kind] = {  # an sdtype that is not here is one that SDV makes up anew, such as a name or an address
    "numerical": "float",
    "categorical": "categorical",
    "ordinal": "categorical",
    "boolean": "boolean",
    "datetime": "datetime",
}
MOST_DECIMALS = 14  # SDV writes 15 where it found no end


def is_sdv(plain: Any) -> bool:
    """Whether plain values say of themselves that they are SDV's metadata."""
    return isinstance(plain, Mapping) and VERSION in plain


def from_sdv(plain: Mapping[str, Any]) -> Schema:
    """Return the schema of the one table that SDV's metadata describe.

    A number is whole when its `computer_representation` is, or when it has no `decimal_places`. `order` and
    `range_values` become categories, `range_min` and `range_max` bounds, `range_is_nullable` what it says. Keys, `id`
    columns and personal ones (any sdtype that SDV makes up anew, unless `pii` is false) become identifiers: they are
    dropped at the door and numbered anew. Raises SchemaError for several tables, sequences, or what is no metadata.

    >>> columns = {"age": {"sdtype": "numerical", "computer_representation": "Int64"}, "name": {"sdtype": "id"}}
    >>> schema = from_sdv({VERSION: "V1", "tables": {"people": {"columns": columns, "primary_key": "name"}}})
    >>> schema["age"].kind, schema["name"].roles, schema.undeclared()
    ('integer', ('identifier',), (('age', 'nullable'), ('age', 'bounds')))
    """
    table = _one_table(plain)
    if table.get("sequence_key") or table.get("sequence_index"):
        raise SchemaError(
            "SDV metadata of sequences cannot be read: write a schema whose key column has the role 'group', and say "
            "with rows_per_unit how many rows one of its values may have."
        )
    columns = table.get("columns")
    if not isinstance(columns, Mapping) or not columns:
        raise SchemaError("SDV metadata need 'columns', by name.")
    keys = _keys(table.get("primary_key")) | {key for each in table.get("alternate_keys") or () for key in _keys(each)}
    return Schema(tuple(_column(str(name), described, str(name) in keys) for name, described in columns.items()))


def to_sdv(schema: Schema, table: str = "table", version: Literal["V1", "V2"] = "V1") -> dict[str, Any]:
    """Return a schema as SDV's metadata of one table, as plain JSON values.

    What SDV has no word for is left out: bins, rows, units and every role but that of an identifier; in V1, which every
    SDV since 1.17 reads, bounds, categories, decimals and missing values as well. An identifier is not called a primary
    key, since nothing here says that it is unique.
    """
    _check.one_of("version", version, ("V1", "V2"))
    columns = {column.name: _described(column, version) for column in schema}
    return {"tables": {table: {"columns": columns}}, "relationships": [], VERSION: version}


def write_sdv(schema: Schema, path: Path | str, table: str = "table", version: Literal["V1", "V2"] = "V1") -> None:
    """Write a schema as SDV's metadata, as `Metadata.load_from_json` reads them."""
    text = json.dumps(to_sdv(schema, table, version), indent=4, ensure_ascii=False)
    Path(path).write_text(text, encoding="utf-8")


def _one_table(plain: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the description of the only table."""
    version = plain.get(VERSION)
    if version in ONE_TABLE:
        return plain
    if version not in ANY_TABLES:
        known = ", ".join((*ANY_TABLES, *ONE_TABLE))
        raise SchemaError(f"{VERSION} must be one of {known}; got {version!r}.")
    tables = plain.get("tables")
    if not isinstance(tables, Mapping) or not all(isinstance(each, Mapping) for each in tables.values()):
        raise SchemaError("SDV metadata need 'tables', by name.")
    if len(tables) != 1:
        named = ", ".join(map(str, tables)) or "none"
        raise SchemaError(f"SDV metadata of exactly one table can be read; these describe {len(tables)}: {named}.")
    return next(iter(tables.values()))


def _keys(key: Any) -> set[str]:
    """Return the columns of a key, which may be one name or several."""
    return set() if key is None else {key} if isinstance(key, str) else set(map(str, key))


def _column(name: str, described: Any, key: bool) -> Column:
    """Return one column: its kind, that it names rows where it does, and what is said of its values."""
    sdtype = described.get("sdtype") if isinstance(described, Mapping) else None
    if not isinstance(sdtype, str):
        raise SchemaError(f"Column {name!r}: SDV metadata need an sdtype, written as text.")
    personal = sdtype not in KINDS and described.get("pii", True)
    roles: tuple[Role, ...] = ("identifier",) if key or sdtype == "id" or personal else ()
    kind = KINDS.get(sdtype, "categorical")
    facts: dict[str, Any] = {"nullable": described.get("range_is_nullable")}
    if kind == "float":
        decimals, written = described.get("decimal_places"), str(described.get("computer_representation", ""))
        kind = "integer" if decimals == 0 or written.lower().startswith(("int", "uint")) else "float"
        facts["decimals"] = decimals if kind == "float" and decimals is not None and decimals <= MOST_DECIMALS else None
    if kind == "datetime":
        facts["format"] = described.get("datetime_format")
    if kind == "categorical":
        values = [value for value in described.get("range_values") or described.get("order") or () if value is not None]
        if values and all(isinstance(value, bool) for value in values):
            kind = "boolean"
        elif values:
            facts["categories"] = tuple(map(_text, values))
    try:
        return Column(name, kind, roles, bounds=_bounds(kind, described), **facts)
    except (TypeError, ValueError, OverflowError) as error:
        if isinstance(error, SchemaError):
            raise
        raise SchemaError(f"Column {name!r}: range_min and range_max must be values of its sdtype.") from None


def _bounds(kind: Kind, described: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return the declared range on the real axis, if both ends are declared."""
    ends = described.get("range_min"), described.get("range_max")
    if None in ends or kind not in ("integer", "float", "datetime"):
        return None
    if kind != "datetime":
        return float(ends[0]), float(ends[1])  # type: ignore[arg-type]
    form = described.get("datetime_format")
    low, high = (datetime.strptime(end, form) if form else datetime.fromisoformat(end) for end in map(str, ends))
    return low.replace(tzinfo=UTC).timestamp(), high.replace(tzinfo=UTC).timestamp()


def _text(value: Any) -> str:
    """Return a category as a table's reader spells it: a whole number without a point."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _described(column: Column, version: str) -> dict[str, Any]:
    """Describe one column in SDV's words."""
    if not column.modelled:
        return {"sdtype": "id"}
    if column.kind == "duration" and column.unit is None:
        return {"sdtype": "unknown"}  # SDV has no kind for texts such as 1:30:00
    if column.kind == "text":
        return {"sdtype": "unknown", "pii": False}  # nor for sentences
    numbers = ("integer", "float", "duration")
    described: dict[str, Any] = {"sdtype": "numerical" if column.kind in numbers else column.kind}
    if column.kind == "datetime":
        described["datetime_format"] = column.read_format
    if version == "V1":
        number = {"integer": "Int64", "float": "Float"}.get(column.kind)
        return described | ({} if number is None else {"computer_representation": number})
    facts: dict[str, Any] = {"range_is_nullable": column.nullable}
    if column.kind in numbers:  # of other columns SDV takes the word for an error
        facts["decimal_places"] = column.decimals if column.kind == "float" else column.decimals or 0
    if column.categories is not None:
        facts["range_values"] = list(column.categories)
    if column.bounds is not None:
        facts |= zip(("range_min", "range_max"), (_end(column, bound) for bound in column.bounds), strict=True)
    return described | {name: value for name, value in facts.items() if value is not None}


def _end(column: Column, bound: float) -> Any:
    """Return one end of a range as SDV writes it."""
    if column.kind == "datetime":
        return datetime.fromtimestamp(bound, UTC).strftime(column.read_format)
    if column.kind == "duration":
        return bound / UNITS[column.unit or "s"]
    return int(bound) if column.kind == "integer" else bound
