"""What a rule between the columns of one row is, and what all rules ask of columns and rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabsynth.errors import SchemaError

Mask = NDArray[np.bool_]
Values = tuple[str, ...]
Domain = tuple[float, float] | frozenset[str]  # bounds, or values
MISSING, UNLISTED = -1, -2  # in place of a value's number


class Described(Protocol):
    """What a rule needs to know of a column: `tabsynth.schema.Column`."""

    @property
    def name(self) -> str:
        """See `Column`."""
        ...

    @property
    def kind(self) -> str:
        """See `Column`."""
        ...

    @property
    def numeric(self) -> bool:
        """See `Column`."""
        ...

    @property
    def codes(self) -> tuple[str | float, ...] | None:
        """See `Column`."""
        ...

    @property
    def modelled(self) -> bool:
        """See `Column`."""
        ...

    @property
    def levels(self) -> tuple[str, ...] | None:
        """See `Column`."""
        ...

    @property
    def bounds(self) -> tuple[float, float] | None:
        """See `Column`."""
        ...

    @property
    def step(self) -> float:
        """See `Column`."""
        ...


Columns = Mapping[str, Described]


class Constraint(Protocol):
    """One rule."""

    kind: ClassVar[str]

    @property
    def over(self) -> Values:
        """The columns that the rule is about."""
        ...

    @property
    def words(self) -> str:
        """The rule in a few words, for messages."""
        ...

    def check(self, columns: Columns) -> None:
        """Raise SchemaError unless the rule fits these columns."""
        ...

    def narrowed(self, domains: Mapping[str, Domain], columns: Columns) -> dict[str, Domain]:
        """Return smaller domains of the rule's columns, where it rules values out; raise SchemaError for none left."""
        ...

    def broken(self, frame: pd.DataFrame, columns: Columns) -> Mask:
        """Return which canonical rows break the rule, shape (rows,)."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Return the rule as plain JSON values."""
        ...


def wrong(rule: Constraint, why: str) -> SchemaError:
    """Return the error that names a rule and says what is wrong with it."""
    return SchemaError(f"Constraint {rule.words}: {why}.")


CONTRADICTS = "with what is declared besides, no row keeps it"


def listed(names: Sequence[str]) -> str:
    """Return names in quotes, with commas.

    >>> listed(("a", "b"))
    "'a', 'b'"
    """
    return ", ".join(map(repr, names))


def levels_of(rule: Constraint, column: Described) -> Values:
    """Return the declared values of a column; raise SchemaError when it has none."""
    if column.numeric:
        raise wrong(rule, f"column {column.name!r} must be categorical or boolean")
    if column.levels is None:
        raise wrong(rule, f"the categories of column {column.name!r} must be declared")
    return column.levels


def check_value(rule: Constraint, name: str, value: str, known: Sequence[str]) -> None:
    """Raise SchemaError unless a value is among a column's declared ones."""
    if value not in known:
        raise wrong(rule, f"{value!r} is no value of column {name!r}")


def codes_of(series: pd.Series, texts: Sequence[str]) -> NDArray[np.int64]:
    """Return the place of every categorical or boolean value among `texts`, UNLISTED or MISSING.

    >>> codes_of(pd.Series(["b", None, "z"]), ("a", "b")).tolist()
    [1, -1, -2]
    """
    values = series.astype("category")
    place = pd.Index(texts).get_indexer(values.cat.categories.astype(str))
    return np.append(np.where(place < 0, UNLISTED, place), MISSING)[values.cat.codes]


def numbers_of(series: pd.Series) -> NDArray[np.float64]:
    """Return a canonical number or boolean as float64, NaN where missing."""
    return series.to_numpy(dtype=np.float64, na_value=np.nan)
