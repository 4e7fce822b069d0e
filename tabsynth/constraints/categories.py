"""Rules between categories: tuples that may or may not be, and one value that settles another."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from tabsynth.constraints.rule import (
    CONTRADICTS,
    MISSING,
    Columns,
    Domain,
    Mask,
    Values,
    check_value,
    codes_of,
    levels_of,
    listed,
    wrong,
)
from tabsynth.errors import SchemaError

MOST_WRITTEN_OUT = 100_000  # combinations, when those that are not forbidden are looked at one by one


@dataclass(frozen=True, slots=True)
class Combinations:
    """Tuples of values of categorical or boolean columns: the only `allowed` ones, or those that are `forbidden`.

    >>> rule = Combinations(("state", "region"), allowed=(("TX", "South"), ("NY", "East")))
    >>> rule.broken(pd.DataFrame({"state": ["TX", "NY"], "region": ["South", "South"]}), {}).tolist()
    [False, True]
    """

    columns: Values
    allowed: tuple[Values, ...] | None = None
    forbidden: tuple[Values, ...] | None = None

    kind: ClassVar[str] = "combinations"

    @property
    def over(self) -> Values:
        """The columns, in the order of the tuples."""
        return self.columns

    @property
    def words(self) -> str:
        """The rule in a few words."""
        return f"{'allowed' if self.forbidden is None else 'forbidden'} combinations of {listed(self.columns)}"

    @property
    def tuples(self) -> tuple[Values, ...]:
        """The tuples, allowed or forbidden."""
        return self.allowed or self.forbidden or ()

    def check(self, columns: Columns) -> None:
        """Raise SchemaError unless all tuples are values of two or more columns with declared values."""
        if (self.allowed is None) == (self.forbidden is None):
            raise wrong(self, "give either allowed or forbidden tuples")
        if len(self.columns) < 2 or not self.tuples:
            raise wrong(self, "two or more columns and at least one tuple are needed")
        levels = [levels_of(self, columns[name]) for name in self.columns]
        for values in self.tuples:
            if len(values) != len(levels):
                raise wrong(self, f"every tuple needs {len(levels)} values; got {len(values)}")
            for name, value, known in zip(self.columns, values, levels, strict=True):
                check_value(self, name, value, known)

    def narrowed(self, domains: Mapping[str, Domain], columns: Columns) -> dict[str, Domain]:
        """Return the values that some tuple leaves to each column."""
        sets = [domains.get(name) for name in self.columns]
        known = [values for values in sets if isinstance(values, frozenset)]
        if len(known) < len(sets) or (self.allowed is None and math.prod(map(len, known)) > MOST_WRITTEN_OUT):
            return {}
        if self.allowed is None:
            good = set(product(*known)) - set(self.tuples)
        else:
            good = {one for one in self.allowed if all(v in values for v, values in zip(one, known, strict=True))}
        if not good:
            raise wrong(self, CONTRADICTS)
        return {name: frozenset(one[place] for one in good) for place, name in enumerate(self.columns)}

    def broken(self, frame: pd.DataFrame, columns: Columns) -> Mask:
        """Return which rows have a tuple that is not allowed; those with a missing value have none."""
        wanted, flat = np.zeros(len(self.tuples), np.int64), np.zeros(len(frame), np.int64)
        known, silent = np.ones(len(frame), bool), np.zeros(len(frame), bool)
        for place, name in enumerate(self.columns):
            texts = tuple(dict.fromkeys(values[place] for values in self.tuples))
            codes = codes_of(frame[name], texts)
            number = {text: index for index, text in enumerate(texts)}
            wanted = wanted * len(texts) + np.array([number[values[place]] for values in self.tuples])
            flat = flat * len(texts) + np.maximum(codes, 0)
            known &= codes >= 0
            silent |= codes == MISSING
        found = known & np.isin(flat, wanted)
        return np.asarray(~silent & (found if self.allowed is None else ~found))

    def to_dict(self) -> dict[str, Any]:
        """Return the rule as plain JSON values."""
        name = "allowed" if self.forbidden is None else "forbidden"
        return {"kind": self.kind, "columns": list(self.columns), name: [list(values) for values in self.tuples]}


@dataclass(frozen=True, slots=True)
class Dependency:
    """One column's value settles another's: by a declared `mapping`, or by one that nobody has written down.

    >>> Dependency("city", "state", (("Austin", "TX"),)).words
    "'state' follows from 'city'"
    """

    determinant: str
    dependent: str
    mapping: tuple[tuple[str, str], ...] | None = None

    kind: ClassVar[str] = "dependency"

    @property
    def over(self) -> Values:
        """The two columns."""
        return (self.determinant, self.dependent)

    @property
    def words(self) -> str:
        """The rule in a few words."""
        return f"{self.dependent!r} follows from {self.determinant!r}"

    def check(self, columns: Columns) -> None:
        """Raise SchemaError unless a declared mapping takes every value of one column to a value of the other."""
        for name in self.over:
            if columns[name].numeric:
                raise wrong(self, f"column {name!r} must be categorical or boolean")
        if self.mapping is None:
            return
        known, images = (levels_of(self, columns[name]) for name in self.over)
        for value, image in self.mapping:
            check_value(self, self.determinant, value, known)
            check_value(self, self.dependent, image, images)
        if absent := [value for value in known if value not in dict(self.mapping)]:
            raise wrong(self, f"the mapping leaves out {absent[0]!r} of column {self.determinant!r}")

    def narrowed(self, domains: Mapping[str, Domain], columns: Columns) -> dict[str, Domain]:
        """Return the values that the mapping leaves to each column."""
        if self.mapping is None:
            return {}
        try:
            return Combinations(self.over, self.mapping).narrowed(domains, columns)
        except SchemaError:
            raise wrong(self, CONTRADICTS) from None

    def broken(self, frame: pd.DataFrame, columns: Columns) -> Mask:
        """Return which rows have another value than the mapping's, or than most rows of the frame that are alike."""
        if self.mapping is None:
            return self.learned(frame).broken(frame, columns)
        return Combinations(self.over, self.mapping).broken(frame, columns)

    def learned(self, frame: pd.DataFrame) -> Dependency:
        """Return the dependency with the mapping that most rows of a frame follow."""
        first, second = (frame[name].astype(object) for name in self.over)
        pairs = pd.DataFrame({"a": first, "b": second}).dropna().astype(str).value_counts(sort=False).reset_index()
        best = pairs.sort_values(["count", "b"], ascending=[False, True]).drop_duplicates("a").sort_values("a")
        return replace(self, mapping=tuple(zip(best["a"], best["b"], strict=True)))

    def derive(self, frame: pd.DataFrame, columns: Columns) -> pd.Series:
        """Return the dependent column as the mapping has it, where neither value is missing."""
        mapping, old = dict(self.mapping or ()), frame[self.dependent]
        codes = codes_of(frame[self.determinant], tuple(mapping))
        settled = (codes >= 0) & ~old.isna().to_numpy(dtype=bool)
        images = tuple(mapping.values())
        if columns[self.dependent].kind == "boolean":
            truth = np.array([image == "True" for image in images] + [False])[codes]
            return old.mask(settled, pd.Series(truth, index=old.index, dtype="boolean"))
        position = pd.Index(old.cat.categories.astype(str)).get_indexer(pd.Index(images)) if images else []
        found = np.append(np.asarray(position, np.int64), -1)[codes]
        new = np.where(settled & (found >= 0), found, old.cat.codes)
        return pd.Series(
            pd.Categorical.from_codes(new, dtype=pd.CategoricalDtype(old.cat.categories, old.cat.ordered)),
            index=old.index,
            name=old.name,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the rule as plain JSON values."""
        plain = {"kind": self.kind, "determinant": self.determinant, "dependent": self.dependent}
        return plain if self.mapping is None else plain | {"mapping": dict(self.mapping)}
