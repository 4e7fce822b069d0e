"""What comes in: a source and perhaps a schema, made into a table that may be fitted under the budget asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tabsynth.drafting import draft
from tabsynth.errors import SchemaError
from tabsynth.privacy.events import LARGEST_SENSITIVITY
from tabsynth.privacy.quiet import quiet
from tabsynth.schema import Schema
from tabsynth.schema_file import read_schema
from tabsynth.sources import Readable, open_source
from tabsynth.table import Table, read

PUBLISHED = (
    "Column names, kinds, the form of dates and times, and which columns name rows or are empty, were read from the "
    "table and are published."
)
Source = Readable
SchemaLike = Schema | Mapping[str, Any] | Path | str


@dataclass(frozen=True, eq=False, slots=True)
class Intake:
    """A table ready to be fitted, and what must be said about where its schema came from."""

    table: Table
    notes: tuple[str, ...]


def take_in(
    source: Source,
    schema: SchemaLike | None,
    *,
    budgeted: bool,
    discover: bool = False,
    target: str | None = None,
    delimiter: str | None = None,
) -> Intake:
    """Read a table under the schema given, or under one made for the purpose.

    Without a schema and without a budget everything is read from the data. Without a schema but with a budget, names
    and kinds are taken from the table and published, and `discover` must allow paying for the rest. A schema that
    leaves a domain out needs `discover` too.

    Raises SchemaError or TableError, naming the column and the rule, before anything is charged.
    """
    with quiet(budgeted):
        source = open_source(source, delimiter=delimiter)
        known, notes = _schema(source, schema, budgeted, discover, delimiter)
        if target is not None:
            known = known.with_target(target)
        if budgeted:
            require_bounded(known)
        if budgeted and not discover:
            require_domains(known)
        return Intake(read(source, known, delimiter=delimiter), notes)


def audited_schema(
    train: Source,
    holdout: Source | None,
    schema: SchemaLike | None,
    *,
    target: str | None = None,
    delimiter: str | None = None,
) -> Schema:
    """Return the schema to judge synthetic rows by: the one given, or the training table's own kinds and values."""
    known = _loose(train, holdout, delimiter) if schema is None else as_schema(schema)
    return known if target is None else known.with_target(target)


def _loose(train: Source, holdout: Source | None, delimiter: str | None) -> Schema:
    """Return what the training table shows of itself; whole numbers have fractions where those of the holdout have."""
    known = draft(train, delimiter=delimiter).loose()
    if holdout is None:
        return known
    held = {column.name: column for column in draft(holdout, delimiter=delimiter).schema if column.kind == "float"}
    whole = [column for column in known.modelled if column.kind == "integer" and column.name in held]
    return known.with_columns(*(replace(c, kind="float", decimals=held[c.name].decimals) for c in whole))


def as_schema(schema: SchemaLike) -> Schema:
    """Return a schema given as itself, as plain values or as a file."""
    if isinstance(schema, Schema):
        return schema
    return Schema.from_dict(schema) if isinstance(schema, Mapping) else read_schema(schema)


def require_bounded(schema: Schema) -> None:
    """Raise SchemaError when a privacy unit has more rows than the accounting knows."""
    if schema.unit.rows > LARGEST_SENSITIVITY:
        raise SchemaError(
            f"rows_per_unit: at most {LARGEST_SENSITIVITY} rows of one {schema.unit.column!r} are accounted for under "
            f"differential privacy; got {schema.unit.rows}. With a smaller number, that many are kept at random."
        )


def require_domains(schema: Schema) -> None:
    """Raise SchemaError naming the first domain fact that is neither declared nor allowed to be discovered."""
    for column, fact in schema.undeclared():
        raise SchemaError(
            f"Column {column!r}: {fact} must be known under differential privacy; "
            "declare it in the schema, or allow discovery to pay for it (discover=True, --discover)."
        )


def _schema(
    source: Source, schema: SchemaLike | None, budgeted: bool, discover: bool, delimiter: str | None
) -> tuple[Schema, tuple[str, ...]]:
    if schema is not None:
        return as_schema(schema), ()
    if not budgeted:
        return draft(source, delimiter=delimiter).schema, ()
    if not discover:
        raise SchemaError(
            "A schema is needed under differential privacy: declare one (`tabsynth schema TABLE` drafts it), "
            "or allow discovery to pay for every domain (discover=True, --discover)."
        )
    return draft(source, delimiter=delimiter).kinds(), (PUBLISHED,)
