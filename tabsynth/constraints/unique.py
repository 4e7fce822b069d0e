"""A rule between rows: no two have the same values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabsynth.constraints.rule import Columns, Constraint, Described, Domain, Mask, Values, listed, wrong

Hashes = NDArray[np.uint64]
Keys = tuple[Hashes, Mask]


@dataclass(frozen=True, slots=True)
class Unique:
    """No two rows have the same values of some columns; rows in which one of them is missing are like no other.

    >>> rule = Unique(("a", "b"))
    >>> rule.broken(pd.DataFrame({"a": [1, 1, 1, None, None], "b": [2, 3, 2, 2, 2]}), {}).tolist()
    [False, False, True, False, False]
    """

    columns: Values

    kind: ClassVar[str] = "unique"

    @property
    def over(self) -> Values:
        """The columns."""
        return self.columns

    @property
    def words(self) -> str:
        """The rule in a few words."""
        return f"unique {listed(self.columns)}"

    def check(self, columns: Columns) -> None:
        """Raise SchemaError unless there is a column."""
        if not self.columns:
            raise wrong(self, "at least one column is needed")

    def narrowed(self, domains: Mapping[str, Domain], columns: Columns) -> dict[str, Domain]:
        """Return nothing: every value may be, once."""
        return {}

    def broken(self, frame: pd.DataFrame, columns: Columns) -> Mask:
        """Return which rows of a frame are like one before them."""
        return ~Seen((self,)).fresh(frame)

    def to_dict(self) -> dict[str, Any]:
        """Return the rule as plain JSON values."""
        return {"kind": self.kind, "columns": list(self.columns)}


class Seen:
    """The rows that were taken so far, as the rules between rows see them: 8 bytes for each row and rule.

    Rows that are alike are always found. That two that differ are taken for alike happens once in 10^19 pairs.
    """

    def __init__(self, rules: Sequence[Constraint]) -> None:
        self.rules = tuple(rule for rule in rules if isinstance(rule, Unique))
        self._taken = [_Numbers() for _ in self.rules]

    def fresh(self, frame: pd.DataFrame, good: Mask | None = None) -> Mask:
        """Return which rows, taken in order, are like none before; `good` (rows,) are those that may be taken at all.

        They are taken, and seen from then on.
        """
        found = np.ones(len(frame), bool) if good is None else good.copy()
        if not self.rules:
            return found
        keys = [_keys(frame, rule) for rule in self.rules]
        for taken, (key, said) in zip(self._taken, keys, strict=True):
            asked = np.flatnonzero(found & said)
            found[asked] = ~taken.holds(key[asked])
        found &= ~_repeats(keys, found)
        for taken, (key, said) in zip(self._taken, keys, strict=True):
            taken.add(key[found & said])
        return found


class _Numbers:
    """A growing set of 64-bit numbers: a few sorted arrays, each more than twice as long as the one after it."""

    def __init__(self) -> None:
        self._runs: list[Hashes] = []

    def holds(self, numbers: Hashes) -> Mask:
        """Return which of these numbers are in the set."""
        order = np.argsort(numbers)  # neighbours are looked up in the same part of a run
        asked, known = numbers[order], np.zeros(len(numbers), bool)
        for run in self._runs:
            place = np.searchsorted(run, asked)
            known |= run[np.minimum(place, len(run) - 1)] == asked
        found = np.empty_like(known)
        found[order] = known
        return found

    def add(self, numbers: Hashes) -> None:
        """Put numbers in that are not there yet: no number is moved more often than the logarithm of their count."""
        if not len(numbers):
            return
        self._runs.append(np.sort(numbers))
        while len(self._runs) > 1 and len(self._runs[-2]) <= 2 * len(self._runs[-1]):
            merged = np.concatenate([self._runs.pop(), self._runs.pop()])
            merged.sort(kind="stable")  # which merges what is sorted already
            self._runs.append(merged)


def room(rule: Unique, columns: Mapping[str, Described], domains: Mapping[str, Domain], nullable: set[str]) -> float:
    """Return how many rows can be told apart by a rule's columns at most, infinity where that is not bounded.

    `nullable` are the columns of which a value may be missing.
    """
    sizes = []
    for name in rule.columns:
        domain, step = domains.get(name), columns[name].step
        if domain is None or name in nullable:
            return math.inf
        if isinstance(domain, tuple):
            sizes.append(math.inf if step == 0 else math.floor((domain[1] - domain[0]) / step + 1e-6) + 1)
        else:
            sizes.append(len(domain))
    return math.prod(sizes)


def _keys(frame: pd.DataFrame, rule: Unique) -> Keys:
    """Return a number for each row, the same for rows that are alike, and whether the rule says anything of it."""
    own = frame[list(rule.columns)]
    hashed = np.asarray(pd.util.hash_pandas_object(own, index=False), np.uint64)
    return hashed, np.asarray(~own.isna().to_numpy(dtype=bool).any(axis=1))


def _repeats(keys: Sequence[Keys], asked: Mask) -> Mask:
    """Return which of the rows asked about are, for some rule, like one before them that is not itself one of these."""
    alike = np.zeros(len(asked), bool)
    for key, said in keys:
        rows = np.flatnonzero(asked & said)
        _, which, counts = np.unique(key[rows], return_inverse=True, return_counts=True)
        alike[rows] |= counts[which] > 1
    repeats, before = np.zeros(len(asked), bool), [set[int]() for _ in keys]
    for row in np.flatnonzero(alike):  # a row that goes for one rule does not stand in the way for another
        own = [(known, int(key[row])) for known, (key, said) in zip(before, keys, strict=True) if said[row]]
        repeats[row] = any(number in known for known, number in own)
        if not repeats[row]:
            for known, number in own:
                known.add(number)
    return repeats
