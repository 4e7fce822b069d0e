"""A schema with private rows: reading, validating, splitting.

Whatever comes in leaves in one canonical form. Categorical columns are `category` (the declared categories in the
declared order), booleans `boolean`, integers `Int64`, floats `float64`, datetimes `datetime64[s]` in UTC. Identifier
columns are dropped at the door: no later code can leak what it never held.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabsynth import _check
from tabsynth.conversion import convert
from tabsynth.errors import SchemaError, TableError
from tabsynth.files import RawTable, is_parquet, read_raw, write_frame
from tabsynth.schema import Schema


@dataclass(frozen=True, eq=False, slots=True)
class Table:
    """A schema and the private rows it describes, in canonical form; every touch of the rows reads `.private`."""

    schema: Schema
    private: pd.DataFrame

    def units(self) -> NDArray[np.int64] | None:
        """Number the privacy unit of every row from 0; None when each row is a unit of its own."""
        group = self.schema.unit.column
        return None if group is None else np.asarray(pd.factorize(self.private[group])[0], np.int64)

    def take(self, rows: NDArray[np.int64]) -> Table:
        """Return the table with these rows only."""
        return replace(self, private=self.private.iloc[rows].reset_index(drop=True))


def read(
    source: Path | str | pd.DataFrame, schema: Schema, *, delimiter: str = ",", check_domain: bool = True
) -> Table:
    """Read a table and validate it against its schema.

    `source` is a CSV file (also gzip), a Parquet file or a frame. With `check_domain=False` values may leave the
    declared domain, as those of a foreign synthetic table may; its columns and kinds must still match.

    Raises TableError naming the source, the column and the rule; a message never quotes a value.
    """
    raw = read_raw(source, delimiter=delimiter)
    return from_raw(raw, schema, check_domain=check_domain)


def from_raw(raw: RawTable, schema: Schema, *, check_domain: bool = True) -> Table:
    """Apply a schema to a raw table."""
    _check_columns(raw, schema)
    if raw.columns.num_rows < 2:
        found = "no rows" if raw.columns.num_rows == 0 else "one row"
        raise TableError(f"{raw.label}: {found}; at least two are needed.")
    wanted = [column for column in schema if "identifier" not in column.roles]
    series = {column.name: convert(raw, column, schema.missing, check_domain=check_domain) for column in wanted}
    private = pd.DataFrame(series, copy=False)
    if check_domain:
        _check_constraints(raw.label, private, schema)
    return Table(schema, private)


def split(table: Table, holdout: float, rng: np.random.Generator) -> tuple[Table, Table]:
    """Split into train and holdout at random; rows of one privacy unit stay together.

    Raises InputError unless `holdout` lies between 0 and 1 and leaves both parts two rows.
    """
    _check.within("holdout", holdout, 0.0, 1.0)
    units = table.units()
    keys = np.arange(len(table.private)) if units is None else units
    drawn = rng.random(int(keys.max()) + 1) < holdout
    held = drawn[keys]
    schema = table.schema
    if min(held.sum(), (~held).sum()) < 2:
        raise TableError(f"A holdout share of {holdout:g} leaves fewer than two rows in one part of the table.")
    # a part's true row count is as private as the table's; the declared one is scaled instead
    sizes = [None if schema.rows is None else max(round(schema.rows * part), 1) for part in (1 - holdout, holdout)]
    parts = (table.take(np.flatnonzero(~held)), table.take(np.flatnonzero(held)))
    train, rest = (replace(part, schema=replace(schema, rows=size)) for part, size in zip(parts, sizes, strict=True))
    return train, rest


def plain(frame: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """Return canonical rows as everyday pandas types: text, bool, int64, float64, datetime64.

    A nullable type stays where a value is missing.
    """
    series = {}
    for column in schema:
        if column.name not in frame:
            continue
        values = frame[column.name]
        if column.kind == "categorical" or not column.modelled:
            values = values.astype("object") if isinstance(values.dtype, pd.CategoricalDtype) else values
        if column.kind in ("boolean", "integer") and not values.isna().any():
            values = values.astype("bool" if column.kind == "boolean" else "int64")
        series[column.name] = values
    return pd.DataFrame(series, copy=False)


def digest(*frames: pd.DataFrame) -> str:
    """Return a digest of private rows, to tell tables apart; it stays in private folders."""
    found = hashlib.sha256()
    for frame in frames:
        found.update(repr(list(frame.columns)).encode())
        found.update(pd.util.hash_pandas_object(frame, index=False).to_numpy().tobytes())
    return found.hexdigest()


def write_rows(frame: pd.DataFrame, schema: Schema, path: Path | str) -> None:
    """Write canonical rows as CSV or Parquet; in CSV a datetime follows its declared format."""
    frame = plain(frame, schema)
    if not is_parquet(path):
        times = [column for column in schema if column.kind == "datetime" and column.name in frame]
        frame = frame.assign(**{c.name: frame[c.name].dt.strftime(c.time_format) for c in times})
    write_frame(frame, path)


def _check_columns(raw: RawTable, schema: Schema) -> None:
    names = raw.columns.column_names
    required = [column.name for column in schema if "identifier" not in column.roles]
    if missing := [name for name in required if name not in names]:
        hint = " Is the delimiter another one?" if len(names) == 1 and len(required) > 1 else ""
        raise TableError(f"{raw.label}: column {missing[0]!r} of the schema is missing.{hint}")
    if unknown := [name for name in names if name not in schema.names]:
        raise TableError(f"{raw.label}: the schema does not know column {unknown[0]!r}; declare it or drop it.")


def _check_constraints(label: str, private: pd.DataFrame, schema: Schema) -> None:
    """Raise for the first declared rule that some row breaks: which rows, and how many, stays private."""
    try:
        for rule, broken in schema.broken(private):
            if broken.any():
                raise TableError(f"{label}: a row breaks the constraint {rule.words}.")
    except SchemaError as error:
        raise TableError(f"{label}: {error}") from None
