"""What may be known for free: columns, kinds, public domains, roles, the row count and the privacy unit.

Everything written in a schema is public: writing it here publishes it. What a schema leaves out is either discovered,
which is charged, or an error under a budget. Discovery returns the same type, completed.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Literal, get_args

import pandas as pd

from tabsynth.constraints import Constraint, Mask, check_constraints, constraint_from_dict, judged
from tabsynth.errors import SchemaError

Kind = Literal["categorical", "boolean", "integer", "float", "datetime"]
Role = Literal["target", "sensitive", "identifier", "group"]
KINDS: tuple[Kind, ...] = get_args(Kind)
ROLES: tuple[Role, ...] = get_args(Role)
NUMERIC: tuple[Kind, ...] = ("integer", "float", "datetime")

DAY = 86_400.0  # seconds
MISSING_TEXTS = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "NaT")
OTHER = "(other)"  # what discovery calls the categories that were too rare to be paid for


@dataclass(frozen=True, slots=True)
class Unit:
    """The privacy unit: whoever holds one value of `column` (None: one row each) contributes at most `rows` rows."""

    column: str | None = None
    rows: int = 1


@dataclass(frozen=True, slots=True)
class Column:
    """One column and its public domain; None stands for a fact that is not declared.

    Numeric kinds live on one real axis: integers and floats as themselves, datetimes as seconds since 1970 UTC.
    `bounds` are the smallest and largest value allowed. `bins` are increasing edges that start at the lower bound and
    end one `step` above the upper one; a value belongs to the bin whose lower edge it has reached.

    >>> Column("age", "integer", bounds=(17, 90)).step
    1.0
    """

    name: str
    kind: Kind
    roles: tuple[Role, ...] = ()
    nullable: bool | None = False
    categories: tuple[str, ...] | None = None
    bounds: tuple[float, float] | None = None
    decimals: int | None = None
    format: str | None = None
    bins: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        """Check that the declared facts fit the kind and one another."""
        if self.kind not in KINDS:
            raise self._wrong(f"kind must be one of {', '.join(KINDS)}; got {self.kind!r}")
        for role in self.roles:
            if role not in ROLES:
                raise self._wrong(f"role must be one of {', '.join(ROLES)}; got {role!r}")
        if self.categories is not None:
            self._check_categories(self.categories)
        if self.bounds is not None:
            self._check_bounds(*self.bounds)
        if self.bins is not None:
            self._check_bins(self.bins)
        if self.decimals is not None and (self.kind != "float" or not 0 <= self.decimals <= 15):
            raise self._wrong("decimals belong to a float column and lie between 0 and 15")
        if self.format is not None and (self.kind != "datetime" or not isinstance(self.format, str)):
            raise self._wrong("format belongs to a datetime column, as text")

    @property
    def numeric(self) -> bool:
        """Whether values lie on the real axis."""
        return self.kind in NUMERIC

    @property
    def modelled(self) -> bool:
        """Whether a synthesizer learns this column; identifiers and groups are regenerated."""
        return not {"identifier", "group"} & set(self.roles)

    @property
    def levels(self) -> tuple[str, ...] | None:
        """The declared categories; a boolean's are False and True."""
        return ("False", "True") if self.kind == "boolean" else self.categories

    @property
    def step(self) -> float:
        """The distance between neighbouring values on the axis; 0 when every real number is allowed."""
        if self.kind == "integer":
            return 1.0
        if self.kind == "datetime":
            return 1.0 if any(code in self.time_format for code in ("%H", "%I", "%T", "%X", "%c")) else DAY
        return 0.0 if self.decimals is None else 10.0**-self.decimals

    @property
    def time_format(self) -> str:
        """The strftime format of a datetime column, ISO date unless declared."""
        return self.format or "%Y-%m-%d"

    def axis_value(self, value: Any) -> float:
        """Place one value, or a moment written in ISO form, on the real axis; raise SchemaError when it has none."""
        try:
            return _axis_value(self.kind, value)
        except (TypeError, ValueError, OverflowError):
            raise self._wrong(f"{value!r} is no value of kind {self.kind}") from None

    def undeclared(self) -> tuple[str, ...]:
        """Name the domain facts that are needed for modelling and missing here."""
        if not self.modelled:
            return ()
        missing = [] if self.nullable is not None else ["nullable"]
        if self.numeric and self.bounds is None:
            missing.append("bounds")
        if self.kind == "categorical" and self.categories is None:
            missing.append("categories")
        return tuple(missing)

    def to_dict(self) -> dict[str, Any]:
        """Return the declared facts as plain JSON values, datetimes in ISO form."""
        plain: dict[str, Any] = {"name": self.name, "kind": self.kind}
        if self.roles:
            plain["role"] = self.roles[0] if len(self.roles) == 1 else list(self.roles)
        plain["nullable"] = self.nullable
        for fact in ("categories", "bounds", "bins"):
            if (values := getattr(self, fact)) is not None:
                plain[fact] = [self._written(value) for value in values]
        for fact in ("decimals", "format"):
            if (value := getattr(self, fact)) is not None:
                plain[fact] = value
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Column:
        """Read a column from plain values; raise SchemaError naming the column and the rule."""
        name = plain.get("name") if isinstance(plain, Mapping) else None
        if not isinstance(name, str) or not name:
            raise SchemaError("Every column of a schema needs a name, written as text.")
        known = {"role", "nullable"} | {field.name for field in fields(cls)} - {"roles"}
        if unknown := sorted(set(map(str, plain)) - known):
            raise SchemaError(f"Column {name!r}: unknown entry {unknown[0]!r}; known: {', '.join(sorted(known))}.")
        if "kind" not in plain:
            raise SchemaError(f"Column {name!r}: kind is missing; one of {', '.join(KINDS)}.")
        return cls(**_column_values(name, plain))

    def _written(self, value: Any) -> Any:
        """Return one domain value as it stands in a file."""
        if self.kind == "datetime":
            return datetime.fromtimestamp(value, UTC).replace(tzinfo=None).isoformat().removesuffix("T00:00:00")
        if self.kind == "integer":
            return int(value)
        return value

    def _check_categories(self, categories: tuple[str, ...]) -> None:
        if self.kind != "categorical":
            raise self._wrong("categories belong to a categorical column")
        if not categories or len(set(categories)) != len(categories):
            raise self._wrong("categories must be a non-empty list without repeats")

    def _check_bounds(self, low: float, high: float) -> None:
        if not self.numeric:
            raise self._wrong("bounds belong to an integer, float or datetime column")
        if not (math.isfinite(low) and math.isfinite(high) and low <= high):
            raise self._wrong("bounds must be two finite values, the smaller one first")
        if self.kind == "integer" and (low != int(low) or high != int(high)):
            raise self._wrong("the bounds of an integer column must be whole numbers")

    def _check_bins(self, bins: tuple[float, ...]) -> None:
        if self.bounds is None:
            raise self._wrong("bins need bounds")
        if len(bins) < 2 or not all(map(math.isfinite, bins)) or any(a >= b for a, b in pairwise(bins)):
            raise self._wrong("bins must be at least two increasing edges, all finite")
        if bins[0] > self.bounds[0] or bins[-1] < self.bounds[1]:
            raise self._wrong("bins must cover the bounds")

    def _wrong(self, rule: str) -> SchemaError:
        return SchemaError(f"Column {self.name!r}: {rule}.")


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
        if self.target is not None and not self[self.target].modelled:
            raise SchemaError(f"Column {self.target!r}: a target cannot be an identifier or a group.")
        if self.rows is not None and self.rows < 1:
            raise SchemaError(f"rows must be at least 1; got {self.rows}.")
        if self.rows_per_unit < 1 or (self.rows_per_unit > 1 and self.unit.column is None):
            raise SchemaError("rows_per_unit must be at least 1, and above 1 needs a column with the role 'group'.")
        check_constraints(self.constraints, self.columns)

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

    def fingerprint(self) -> str:
        """Return the SHA-256 of the schema's canonical JSON; it holds public facts only."""
        canonical = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(canonical.encode()).hexdigest()


def _column_values(name: str, plain: Mapping[str, Any]) -> dict[str, Any]:
    """Turn a column's plain values into constructor arguments."""
    values = {key: value for key, value in plain.items() if key != "role"}
    role = plain.get("role") or ()
    values["roles"] = tuple(role) if isinstance(role, list | tuple) else (role,)
    if isinstance(named := values.get("categories"), list) and any(isinstance(value, bool) for value in named):
        raise SchemaError(f"Column {name!r}: YAML reads an unquoted yes, no, true or false as a boolean; quote it.")
    try:
        if values.get("categories") is not None:
            values["categories"] = tuple(map(str, _as_list(values["categories"])))
        for fact in ("bounds", "bins"):
            if values.get(fact) is not None:
                values[fact] = tuple(_axis_value(plain["kind"], value) for value in _as_list(values[fact]))
    except (TypeError, ValueError, OverflowError):
        raise SchemaError(f"Column {name!r}: bounds, bins and categories are lists of values of its kind.") from None
    if values.get("bounds") is not None and len(values["bounds"]) != 2:
        raise SchemaError(f"Column {name!r}: bounds must be two values, the smaller one first.")
    if not isinstance(values.get("nullable", False), bool | None):
        raise SchemaError(f"Column {name!r}: nullable must be true or false.")
    if not isinstance(values.get("decimals"), int | None):
        raise SchemaError(f"Column {name!r}: decimals must be a whole number.")
    return values


def _as_list(values: Any) -> list[Any]:
    """Return `values` when it is a list; a text is not one."""
    if not isinstance(values, list | tuple):
        raise TypeError("not a list")
    return list(values)


def _axis_value(kind: str, value: Any) -> float:
    """Place one written value on the real axis."""
    if kind != "datetime":
        return float(value)
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
