"""A schema with private rows: reading, validating, splitting.

Whatever comes in leaves in one canonical form. Categorical columns are `category` (the declared categories in the
declared order), booleans `boolean`, integers `Int64`, floats `float64`, datetimes `datetime64[s]` (in their
zone where one is declared), durations `timedelta64[us]`. Identifier columns are dropped at the door: no later code can
leak what it never held.

A table is read once, a part at a time; where it has several parts, its canonical columns lie in a memory map from then
on (`mapped`). So memory stays flat, every rule was checked before anything else runs, and it makes no difference later
whether the source is still there.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabsynth import _check
from tabsynth.canonical import as_dates, as_text, everyday
from tabsynth.constraints import Seen, Unique
from tabsynth.constraints.categories import Dependency
from tabsynth.conversion import convert, salvaged
from tabsynth.errors import SchemaError, TableError
from tabsynth.files import CHUNK, RawSource, RawTable, chunks, is_parquet, write_frame
from tabsynth.mapped import concatenated
from tabsynth.schema import Column, Schema
from tabsynth.sources import Readable, open_source


@dataclass(frozen=True, eq=False, slots=True)
class Table:
    """A schema and the private rows it describes, in canonical form; every touch of the rows reads `.private`."""

    schema: Schema
    private: pd.DataFrame

    def blocks(self, name: str) -> Iterator[pd.Series]:
        """Yield one private column in blocks, at least one: what is counted block by block adds up."""
        column = self.private[name]
        return (column.iloc[start : start + CHUNK] for start in range(0, max(len(column), 1), CHUNK))

    def units(self) -> NDArray[np.int64] | None:
        """Number the privacy unit of every row from 0; None when each row is a unit of its own."""
        group = self.schema.unit.column
        return None if group is None else np.asarray(pd.factorize(self.private[group])[0], np.int64)

    def take(self, rows: NDArray[np.int64]) -> Table:
        """Return the table with these rows only."""
        parts = [rows[start : start + CHUNK] for start in range(0, max(len(rows), 1), CHUNK)]
        return replace(self, private=concatenated(self.private.iloc[part].reset_index(drop=True) for part in parts))


def read(
    source: Readable,
    schema: Schema,
    *,
    delimiter: str | None = None,
    check_domain: bool = True,
    chunk: int = CHUNK,
) -> Table:
    """Read a table and validate it against its schema.

    `source` is a file, a folder of Parquet files, a database's URL or a frame; see `sources.open_source`. It is read
    once, about `chunk` rows at a time; the result does not depend on how many that are. With `check_domain=False`
    values may leave the declared domain, as those of a foreign synthetic table may; its columns and kinds must still
    match.

    Raises TableError naming the source, the column and the rule; a message never quotes a value. Raises InputError when
    the disk is too small for the memory map.
    """
    raw = open_source(source, delimiter=delimiter)
    _check_columns(raw, schema)
    rules = _Rules(raw.label, schema) if check_domain else None

    def reading(part: RawTable, column: Column) -> pd.Series:
        return convert(part, column, schema.missing, check_domain=check_domain)

    private = concatenated(_canonical(raw, schema, chunk, reading, rules))
    return Table(schema, private)


def read_foreign(
    source: Readable, schema: Schema, *, delimiter: str | None = None, chunk: int = CHUNK
) -> tuple[Table, dict[str, NDArray[np.bool_]]]:
    """Read a synthetic table of any tool: what is wrong with it is found, and is no reason not to judge it.

    Returns the table, and for each column of which a value cannot be read as its kind, in which rows: there it is
    missing. Columns that the schema does not know are left aside. A warning names either.

    Raises TableError for a column that is not there, and for a table of fewer than two rows.
    """
    raw = open_source(source, delimiter=delimiter)
    wrong: dict[str, list[NDArray[np.bool_]]] = {name: [] for name in schema.names}
    if extra := [name for name in raw.names if name not in schema.names]:
        warnings.warn(
            f"{raw.label}: not judged, since the schema does not know them: {', '.join(extra)}.", stacklevel=2
        )
    _check_columns(raw, schema, more=True)

    def reading(part: RawTable, column: Column) -> pd.Series:
        series, unread = salvaged(part, column, schema.missing)
        wrong[column.name].append(unread)
        return series

    private = concatenated(_canonical(raw, schema, chunk, reading))
    joined = {name: np.concatenate(parts) for name, parts in wrong.items() if parts}
    unread = {name: rows for name, rows in joined.items() if rows.any()}
    for name, rows in unread.items():
        told = f"{int(rows.sum()):,} of {len(rows):,} values cannot be read as {schema[name].kind} and count as missing"
        warnings.warn(f"{raw.label}: column {name!r}: {told}.", stacklevel=2)
    return Table(schema, private), unread


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
    """Return canonical rows as everyday pandas types: text, bool, int64, float64, datetime64, timedelta64.

    A nullable type stays where a value is missing.
    """
    series = {}
    for column in schema:
        if column.name not in frame:
            continue
        values = frame[column.name]
        if column.kind == "categorical" or not column.modelled:
            values = values.astype("object") if isinstance(values.dtype, pd.CategoricalDtype) else values
        if column.kind in ("boolean", "integer") and values.dtype != object and not values.isna().any():
            values = values.astype("bool" if column.kind == "boolean" else "int64")
        series[column.name] = everyday(values, column)
    return pd.DataFrame(series, copy=False)


def digest(*frames: pd.DataFrame) -> str:
    """Return a digest of private rows, to tell tables apart; it stays in private folders."""
    found = hashlib.sha256()
    for frame in frames:
        found.update(repr(list(frame.columns)).encode())
        for start in range(0, len(frame), CHUNK):
            part = frame.iloc[start : start + CHUNK]
            found.update(pd.util.hash_pandas_object(part, index=False).to_numpy().tobytes())
    return found.hexdigest()


def write_rows(frame: pd.DataFrame, schema: Schema, path: Path | str) -> None:
    """Write canonical rows as CSV or Parquet; in CSV times follow their declared format, in Parquet days are dates."""
    form = as_dates if is_parquet(path) else as_text
    formed = {column.name: form(frame[column.name], column) for column in schema.modelled if column.name in frame}
    own = [c.name for c in schema.modelled if c.codes is not None or c.kind in ("datetime", "duration")]
    write_frame(plain(frame, schema).assign(**{name: formed[name] for name in own if name in formed}), path)


def _canonical(
    source: RawSource,
    schema: Schema,
    chunk: int,
    reading: Callable[[RawTable, Column], pd.Series],
    rules: _Rules | None = None,
) -> Iterator[pd.DataFrame]:
    """Yield the rows of a source in canonical form, part by part, the rules between columns checked."""
    wanted = [column for column in schema if "identifier" not in column.roles]
    for place, raw in enumerate(chunks(source, chunk)):
        if place == 0 and raw.columns.num_rows < 2:
            found = "no rows" if raw.columns.num_rows == 0 else "one row"
            raise TableError(f"{raw.label}: {found}; at least two are needed.")
        series = {column.name: reading(raw, column) for column in wanted}
        private = pd.DataFrame(series, copy=False)
        if rules is not None:
            rules.check(private)
        yield private


def _check_columns(source: RawSource, schema: Schema, *, more: bool = False) -> None:
    """Raise unless a source has the schema's columns, and no others but where there may be more."""
    required = [column.name for column in schema if "identifier" not in column.roles]
    if missing := [name for name in required if name not in source.names]:
        hint = " Is the delimiter another one?" if len(source.names) == 1 and len(required) > 1 else ""
        raise TableError(f"{source.label}: column {missing[0]!r} of the schema is missing.{hint}")
    if not more and (unknown := [name for name in source.names if name not in schema.names]):
        raise TableError(f"{source.label}: the schema does not know column {unknown[0]!r}; declare it or drop it.")


class _Rules:
    """The declared constraints, held against a table that comes in parts."""

    def __init__(self, label: str, schema: Schema):
        self._label, self._rules = label, schema.constraints
        self._columns = {column.name: column for column in schema.columns}
        self._pairs: dict[Dependency, pd.DataFrame] = {}
        self._keys = {rule: Seen((rule,)) for rule in self._rules if isinstance(rule, Unique)}

    def check(self, private: pd.DataFrame) -> None:
        """Raise for the first rule that some row breaks: which rows, and how many, stays private."""
        try:
            for rule in self._rules:
                over = private
                if isinstance(rule, Dependency) and rule.mapping is None:
                    over = self._seen(rule, private)
                keys = self._keys.get(rule) if isinstance(rule, Unique) else None
                if not keys.fresh(over).all() if keys else rule.broken(over, self._columns).any():
                    raise TableError(f"{self._label}: a row breaks the constraint {rule.words}.")
        except SchemaError as error:
            raise TableError(f"{self._label}: {error}") from None

    def _seen(self, rule: Dependency, private: pd.DataFrame) -> pd.DataFrame:
        """Return the distinct pairs of all parts so far: they say whether there is a mapping that nobody wrote down."""
        pairs = private[list(rule.over)].astype(object).drop_duplicates()
        if rule in self._pairs:
            pairs = pd.concat([self._pairs[rule], pairs]).drop_duplicates()
        self._pairs[rule] = pairs
        return pairs
