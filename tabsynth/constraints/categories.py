"""Rules between categories: tuples that may or may not be, and one value that settles another."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

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
    """One column's value, or several columns' together, settle another's.

    By a declared `mapping`, of tuples of values with what they settle at the end, or by one that nobody has written
    down. The mapping of one column holds all its values; of several, only tuples in it may be.

    >>> Dependency("city", "state", (("Austin", "TX"),)).words
    "'state' follows from 'city'"
    >>> Dependency(("city", "year"), "mayor").words
    "'mayor' follows from 'city', 'year'"
    """

    determinant: str | Values
    dependent: str
    mapping: tuple[Values, ...] | None = None

    kind: ClassVar[str] = "dependency"

    @property
    def determinants(self) -> Values:
        """The columns that settle the other."""
        return (self.determinant,) if isinstance(self.determinant, str) else self.determinant

    @property
    def over(self) -> Values:
        """The columns, the dependent one at the end."""
        return (*self.determinants, self.dependent)

    @property
    def words(self) -> str:
        """The rule in a few words."""
        return f"{self.dependent!r} follows from {listed(self.determinants)}"

    def check(self, columns: Columns) -> None:
        """Raise SchemaError unless a declared mapping takes every value of one column to a value of the other."""
        if not self.determinants:
            raise wrong(self, "a column that settles the other is needed")
        for name in self.over:
            if columns[name].numeric:
                raise wrong(self, f"column {name!r} must be categorical or boolean")
        if self.mapping is None:
            return
        known = [levels_of(self, columns[name]) for name in self.over]
        for values in self.mapping:
            if len(values) != len(known):
                raise wrong(self, f"every tuple of the mapping needs {len(known)} values; got {len(values)}")
            for name, value, levels in zip(self.over, values, known, strict=True):
                check_value(self, name, value, levels)
        settled = {values[:-1] for values in self.mapping}
        if len(settled) < len(self.mapping):
            raise wrong(self, "the mapping settles something twice")
        if len(known) == 2 and (absent := [value for value in known[0] if (value,) not in settled]):
            raise wrong(self, f"the mapping leaves out {absent[0]!r} of column {self.determinants[0]!r}")

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
            learned = self.learned(frame)
            return learned.broken(frame, columns) if learned.mapping else np.zeros(len(frame), bool)
        return Combinations(self.over, self.mapping).broken(frame, columns)

    def learned(self, frame: pd.DataFrame) -> Dependency:
        """Return the dependency with the mapping that most rows of a frame follow."""
        keys = list(self.determinants)
        whole = frame[list(self.over)].astype(object).dropna().astype(str)
        counts = whole.value_counts(sort=False).rename("count of rows").reset_index()
        best = counts.sort_values(["count of rows", self.dependent], ascending=[False, True]).drop_duplicates(keys)
        found = best.sort_values(keys)[list(self.over)].itertuples(index=False, name=None)
        return replace(self, mapping=tuple(found))

    def derive(self, frame: pd.DataFrame, columns: Columns) -> pd.Series:
        """Return the dependent column as the mapping has it, where nothing is missing and the mapping says it."""
        old = frame[self.dependent]
        place = self._places(frame)
        settled = (place >= 0) & ~old.isna().to_numpy(dtype=bool)
        images = tuple(values[-1] for values in self.mapping or ())
        if columns[self.dependent].kind == "boolean":
            truth = np.array([image == "True" for image in images] + [False])[place]
            return old.mask(settled, pd.Series(truth, index=old.index, dtype="boolean"))
        position = pd.Index(old.cat.categories.astype(str)).get_indexer(pd.Index(images)) if images else []
        found = np.append(np.asarray(position, np.int64), -1)[place]
        new = np.where(settled & (found >= 0), found, old.cat.codes)
        return pd.Series(
            pd.Categorical.from_codes(new, dtype=pd.CategoricalDtype(old.cat.categories, old.cat.ordered)),
            index=old.index,
            name=old.name,
        )

    def _places(self, frame: pd.DataFrame) -> NDArray[np.int64]:
        """Return where in the mapping every row's tuple stands, -1 for nowhere."""
        mapping = self.mapping or ()
        flat, wanted = np.zeros(len(frame), np.int64), np.zeros(len(mapping), np.int64)
        known = np.ones(len(frame), bool)
        for column, name in enumerate(self.determinants):
            texts = tuple(dict.fromkeys(values[column] for values in mapping))
            number = {text: index for index, text in enumerate(texts)}
            codes = codes_of(frame[name], texts)
            known &= codes >= 0
            flat = flat * len(texts) + np.maximum(codes, 0)
            wanted = wanted * len(texts) + np.array([number[values[column]] for values in mapping], np.int64)
        return np.where(known, pd.Index(wanted).get_indexer(pd.Index(flat)), -1)

    def to_dict(self) -> dict[str, Any]:
        """Return the rule as plain JSON values."""
        single = isinstance(self.determinant, str)
        names = self.determinant if single else list(self.determinants)
        plain = {"kind": self.kind, "determinant": names, "dependent": self.dependent}
        if self.mapping is None:
            return plain
        rows = [[*values] for values in self.mapping]
        return plain | {"mapping": dict(rows) if single else rows}
