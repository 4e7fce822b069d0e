"""What may be known for free: columns, kinds, public domains, roles, the row count and the privacy unit.

Everything written in a schema is public: writing it here publishes it. What a schema leaves out is either discovered,
which is charged, or an error under a budget. Discovery returns the same type, completed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import pandas as pd

from tabsynth.columns import DAY, KINDS, NUMERIC, OTHER, ROLES, Column, Kind, Role
from tabsynth.constraints import Constraint, Mask, check_constraints, constraint_from_dict, judged
from tabsynth.errors import SchemaError

__all__ = [
    "DAY", "KINDS", "MISSING_TEXTS", "NUMERIC", "OTHER", "ROLES", "Column", "Kind", "Role", "Schema", "Unit",
]  # fmt: skip

MISSING_TEXTS = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "NaT")


@dataclass(frozen=True, slots=True)
class Unit:
    """The privacy unit: whoever holds one value of `column` (None: one row each) contributes at most `rows` rows."""

    column: str | None = None
    rows: int = 1


@dataclass(frozen=True, slots=True)
class Schema:
    """The public description of a table.

    `rows` is the declared row count (None: measured with noise and charged). `rows_per_unit` bounds what one value of
    the group column may contribute. `missing` are the texts that stand for a missing value in a file. `constraints`
    are rules that every row keeps.

    Raises SchemaError when columns repeat, roles clash, nothing is left to model or no row can keep all rules.

    >>> schema = Schema((Column("age", "integer", bounds=(0, 99)), Column("ill", "boolean", roles=("target",))))
    >>> schema.target, schema["age"].bounds
    ('ill', (0, 99))
    """

    columns: tuple[Column, ...]
    rows: int | None = None
    rows_per_unit: int = 1
    missing: tuple[str, ...] = MISSING_TEXTS
    constraints: tuple[Constraint, ...] = ()

    def __post_init__(self) -> None:
        """Check the columns against one another."""
        repeated = sorted({name for name in self.names if self.names.count(name) > 1})
        if repeated:
            raise SchemaError(f"Column {repeated[0]!r} is declared more than once.")
        for role in ("target", "group"):
            if len(holders := self.with_role(role)) > 1:
                raise SchemaError(f"Only one column may have the role {role!r}; got {', '.join(holders)}.")
        if not self.modelled:
            raise SchemaError("A schema needs at least one column that is neither an identifier nor a group.")
        if all(column.free_text for column in self.modelled):
            raise SchemaError("A schema needs at least one modelled column that is not free text.")
        if self.target is not None and not self[self.target].modelled:
            raise SchemaError(f"Column {self.target!r}: a target cannot be an identifier or a group.")
        if self.rows is not None and self.rows < 1:
            raise SchemaError(f"rows must be at least 1; got {self.rows}.")
        if self.rows_per_unit < 1 or (self.rows_per_unit > 1 and self.unit.column is None):
            raise SchemaError("rows_per_unit must be at least 1, and above 1 needs a column with the role 'group'.")
        check_constraints(self.constraints, self.columns)
        for column in self.columns:
            if column.after is not None:
                self._check_after(column)

    def __getitem__(self, name: str) -> Column:
        for column in self.columns:
            if column.name == name:
                return column
        raise SchemaError(f"No column {name!r}. Declared: {', '.join(self.names)}.")

    def __iter__(self) -> Iterator[Column]:
        return iter(self.columns)

    @property
    def names(self) -> tuple[str, ...]:
        """All column names, in order."""
        return tuple(column.name for column in self.columns)

    @property
    def modelled(self) -> tuple[Column, ...]:
        """The columns a synthesizer learns, in order."""
        return tuple(column for column in self.columns if column.modelled)

    @property
    def texts(self) -> tuple[Column, ...]:
        """The modelled columns of free text, in order."""
        return tuple(column for column in self.columns if column.free_text)

    @property
    def tabular(self) -> tuple[Column, ...]:
        """The modelled columns that are not free text, in order."""
        return tuple(column for column in self.columns if column.modelled and not column.free_text)

    @property
    def target(self) -> str | None:
        """The name of the column to predict, if one is declared."""
        return next(iter(self.with_role("target")), None)

    @property
    def unit(self) -> Unit:
        """Whom the privacy claim protects."""
        return Unit(next(iter(self.with_role("group")), None), self.rows_per_unit)

    def with_role(self, role: Role | str) -> tuple[str, ...]:
        """Name the columns that have a role."""
        return tuple(column.name for column in self.columns if role in column.roles)

    def undeclared(self) -> tuple[tuple[str, str], ...]:
        """List (column, fact) for every domain fact that is missing."""
        return tuple((column.name, fact) for column in self.columns for fact in column.undeclared())

    def with_columns(self, *columns: Column) -> Schema:
        """Return the schema with the columns of these names replaced; raise SchemaError for an unknown name."""
        new = {self[column.name].name: column for column in columns}
        return replace(self, columns=tuple(new.get(column.name, column) for column in self.columns))

    def with_target(self, name: str) -> Schema:
        """Return the schema with `name` as its target; raise SchemaError when there is no such column."""
        self[name]
        others = (replace(c, roles=tuple(r for r in c.roles if r != "target")) for c in self.columns)
        return replace(
            self, columns=tuple(replace(c, roles=("target", *c.roles)) if c.name == name else c for c in others)
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the schema as plain JSON values."""
        plain: dict[str, Any] = {} if self.rows is None else {"rows": self.rows}
        if self.rows_per_unit != 1:
            plain["rows_per_unit"] = self.rows_per_unit
        if list(self.missing) != list(MISSING_TEXTS):
            plain["missing"] = list(self.missing)
        plain["columns"] = [column.to_dict() for column in self.columns]
        rules = {"constraints": [rule.to_dict() for rule in self.constraints]} if self.constraints else {}
        return plain | rules

    @classmethod
    def from_dict(cls, plain: Any) -> Schema:
        """Read a schema from plain values, as `to_dict` writes them; raise SchemaError naming the rule."""
        if not isinstance(plain, Mapping) or not isinstance(plain.get("columns"), list):
            raise SchemaError("A schema needs a list named 'columns'.")
        if unknown := sorted(set(map(str, plain)) - {field.name for field in fields(cls)}):
            raise SchemaError(f"Unknown entry {unknown[0]!r} in the schema.")
        columns = tuple(Column.from_dict(column) for column in plain["columns"])
        given = {key: plain[key] for key in ("rows", "rows_per_unit") if plain.get(key) is not None}
        if not all(isinstance(value, int) and not isinstance(value, bool) for value in given.values()):
            raise SchemaError("rows and rows_per_unit must be whole numbers.")
        missing = plain.get("missing", MISSING_TEXTS)
        if not isinstance(missing, list | tuple):
            raise SchemaError("missing must be a list of texts.")
        rules = plain.get("constraints") or ()
        if not isinstance(rules, list | tuple):
            raise SchemaError("constraints must be a list of rules.")
        constraints = tuple(constraint_from_dict(rule, place) for place, rule in enumerate(rules, 1))
        return cls(columns, missing=tuple(map(str, missing)), constraints=constraints, **given)

    def broken(self, frame: pd.DataFrame) -> Iterator[tuple[Constraint, Mask]]:
        """Yield each constraint with which canonical rows break it, shape (rows,)."""
        return judged(self.constraints, frame, {column.name: column for column in self.columns})

    def _check_after(self, column: Column) -> None:
        """Raise SchemaError unless the column that distances are from is there, of the same sort and in no circle."""
        seen, name = {column.name}, column.after
        while name is not None:
            other = next((one for one in self.modelled if one.name == name), None)
            if name in seen or other is None:
                raise SchemaError(f"Column {column.name!r}: after must name another modelled column, in no circle.")
            sorts = {one.kind if one.kind in ("datetime", "duration") else one.numeric for one in (column, other)}
            if len(sorts) > 1 or other.codes is not None:
                raise SchemaError(f"Column {column.name!r}: there is no distance from column {name!r}.")
            seen.add(name)
            name = other.after

    def fingerprint(self) -> str:
        """Return the SHA-256 of the schema's canonical JSON; it holds public facts only."""
        canonical = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(canonical.encode()).hexdigest()
