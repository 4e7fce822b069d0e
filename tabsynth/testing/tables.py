"""Awkward tables: small, simulated, each odd in one way that has broken a synthesizer somewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NoReturn

import numpy as np
import pandas as pd

from tabsynth.errors import InputError
from tabsynth.schema import Column, Schema
from tabsynth.table import Table, read

DAY = 86_400.0  # seconds


def awkward_tables() -> tuple[str, ...]:
    """Return the names of the awkward tables."""
    return tuple(_TABLES)


def awkward_table(name: str) -> Table:
    """Return the awkward table of that name, the same each time.

    >>> len(awkward_table("one category").private)
    120
    """
    if name not in _TABLES:
        raise InputError(f"No awkward table {name!r}. There are: {', '.join(_TABLES)}.")
    return _TABLES[name]()


def sealed(schema: Schema) -> Table:
    """Return a table whose rows cannot be touched: reading `private` raises AssertionError."""
    return _Sealed(schema)


class _Sealed(Table):
    """A table that raises where another would show its rows."""

    def __init__(self, schema: Schema) -> None:
        object.__setattr__(self, "schema", schema)

    @property
    def private(self) -> NoReturn:
        raise AssertionError("the rows were touched")


COLUMNS = (
    Column("city", "categorical", categories=("Ulm", "Bonn", "Trier", "Jena"), nullable=True),
    Column("ill", "boolean", roles=("target",)),
    Column("age", "integer", bounds=(0, 99)),
    Column("cost", "float", bounds=(0.0, 1000.0), nullable=True),
    Column("day", "datetime", bounds=(0.0, 364 * DAY)),
)


def _mixed(rows: int = 120) -> pd.DataFrame:
    """Return rows of every kind, with one missing city, one missing cost and one holder of a rare category."""
    rng = np.random.default_rng(rows)
    city = rng.choice(["Ulm", "Bonn", "Trier"], rows).astype(object)
    cost = np.where(rng.random(rows) < 0.4, 0.0, np.minimum(rng.lognormal(4, 1, rows), 999.0))
    city[1], city[-1], cost[-1] = "Jena", None, np.nan
    days = pd.Timestamp("1970-01-01") + pd.to_timedelta(rng.integers(0, 365, rows), unit="D")
    ages = rng.integers(18, 90, rows)
    ages[2] = 97
    return pd.DataFrame({"city": city, "ill": rng.random(rows) < ages / 120, "age": ages, "cost": cost, "day": days})


def _table(frame: pd.DataFrame, *columns: Column, rows_per_unit: int = 1) -> Table:
    return read(frame, Schema(columns, rows_per_unit=rows_per_unit))


def _every_kind() -> Table:
    return _table(_mixed(), *COLUMNS)


def _no_target() -> Table:
    return _table(_mixed(), *(replace(column, roles=()) for column in COLUMNS))


def _one_category() -> Table:
    column = Column("city", "categorical", categories=("Ulm",))
    return _table(_mixed().assign(city="Ulm"), column, *COLUMNS[1:])


def _constants() -> Table:
    frame = _mixed().assign(age=40, cost=0.5, city="Bonn", ill=True, day=pd.Timestamp("1970-05-05"))
    return _table(frame.assign(one=7), *COLUMNS, Column("one", "integer", bounds=(7, 7)))


def _few_rows() -> Table:
    return _table(_mixed(5).iloc[2:4], *COLUMNS)


def _all_missing() -> Table:
    columns = [replace(column, nullable=True) for column in COLUMNS]
    return _table(pd.DataFrame({column.name: [None] * 120 for column in columns}), *columns)


def _many_categories() -> Table:
    levels = tuple(f"code {i:04d}" for i in range(2000))
    codes = np.random.default_rng(2).choice(levels[:500], 120)
    return _table(_mixed().assign(city=codes), Column("city", "categorical", categories=levels), *COLUMNS[1:])


def _unicode_names() -> Table:
    names = {"city": "Stadt, „Größe“", "ill": "病気", "age": 'the "age"', "cost": "a.b/c\\d", "day": "🗓 day"}
    columns = (replace(column, name=names[column.name]) for column in COLUMNS)
    return _table(_mixed().rename(columns=names), *columns)


def _duplicate_rows() -> Table:
    return _table(pd.concat([_mixed().iloc[[5]]] * 120), *COLUMNS)


def _single_column() -> Table:
    return _table(_mixed()[["city"]], COLUMNS[0])


def _single_number() -> Table:
    return _table(_mixed()[["cost"]], COLUMNS[3])


def _times() -> Table:
    frame = _mixed()[["day"]].assign(at=_mixed()["day"] + pd.to_timedelta(np.arange(120) * 7, unit="s"))
    form = "%Y-%m-%d %H:%M:%S"
    at = Column("at", "datetime", format=form, bounds=(0.0, 366 * DAY), nullable=True)
    frame["at"] = frame["at"].where(frame.index != 3)
    return _table(frame, COLUMNS[4], at)


def _groups() -> Table:
    who = [f"person {i // 4 if i < 80 else i}" for i in range(120)]  # up to 4 rows each, 3 may be kept
    group = Column("who", "categorical", roles=("group",))
    return _table(_mixed().assign(who=who), group, *COLUMNS, rows_per_unit=3)


def _identifiers() -> Table:
    frame = _mixed().assign(number=np.arange(120), key=[f"k{i}" for i in range(120)])
    identifiers = [
        Column("number", "integer", roles=("identifier",)),
        Column("key", "categorical", roles=("identifier",)),
    ]
    return _table(frame, *identifiers, *COLUMNS)


def _undeclared() -> Table:
    """Return a table without domains, large enough that a small budget can tell them from its noise."""
    frame = _mixed(4000).drop(columns="day").assign(cost=lambda f: f["cost"] + 100)
    bare = (Column(c.name, c.kind, roles=c.roles, nullable=None) for c in COLUMNS if c.name in frame)
    return _table(frame, *bare)


_TABLES: dict[str, Callable[[], Table]] = {
    "every kind": _every_kind,
    "no target": _no_target,
    "one category": _one_category,
    "constants": _constants,
    "two rows": _few_rows,
    "all missing": _all_missing,
    "2,000 categories": _many_categories,
    "unicode names": _unicode_names,
    "duplicate rows": _duplicate_rows,
    "a single column": _single_column,
    "a single number": _single_number,
    "datetimes": _times,
    "groups of up to 3": _groups,
    "identifiers": _identifiers,
    "undeclared domains": _undeclared,
}
