"""What is known of a column while its values come part by part, and the domain that they span in the end."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabsynth.columns.times import WEEK
from tabsynth.conversion import to_axis
from tabsynth.pii import FEWEST_PEOPLE, MOST_READ, by_name, by_values, counts_time
from tabsynth.schema import Column

MOST_CATEGORIES = 10_000
MOST_DECIMALS = 6
LONG, WORDS, DIFFERENT = 20, 3, 0.5  # characters and words of free text on average, and share of different texts
FEWEST_NAMES = 20  # values that never repeat; fewer may do so by chance
SINGLE = 2.0**-24  # how far from a number single precision holds it, relative to the number
MOST_DISTINCT = 50  # numbers that are told apart to see how many there are
# 1.234,56 and 12,5, and 1,234.5 and 1 234: numbers that nothing here reads as such
WITH_COMMA = re.compile(r"[+-]?(\d{1,3}([.\s']\d{3})+|\d+),\d+|[+-]?\d{1,3}([,\s']\d{3})+(\.\d+)?")
PLAIN = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)")
FEWEST_NUMBERS, MOST = 20, 0.9  # different ones, and fewer are options; and their share
IDENTIFIER_NAME = re.compile(  # the last ones: what pandas and R call names of rows
    r"(^|[^a-z])(id|ids|uuid|guid|ssn|iban)$|Id$|ID$|^Unnamed: \d+$|^row[._ ]?(names?|numbers?|no)$|^index$"
)
# numbers that are written where there is none, if they come more than once and lie far from all others
STAND_INS = tuple(sign * (10.0**digits - 1) for digits in (2, 3, 4, 5, 6) for sign in (1, -1))
FAR = 2.0  # times the span of all others


class Facts:
    """The facts of one column under one kind; `gaps`: a value was missing, `present`: one was not."""

    def __init__(self, column: Column) -> None:
        self.gaps = self.present = False
        self._repeats = _Repeats()
        self._named = IDENTIFIER_NAME.search(column.name) is not None and column.kind in ("integer", "categorical")
        self._head: list[str] = []  # the first texts
        self._longest = 0  # characters of a text
        self._found: set[str] = set()  # categories, until they are too many
        self._distinct: set[float] = set()
        self._low, self._high = np.inf, -np.inf  # of numbers that are no stand-ins
        self._stand_ins = dict.fromkeys(STAND_INS, 0)
        self._decimals: int | None = 0
        self._single: int | None = 0  # the same, of values that were once held in single precision

    @property
    def distinct(self) -> int:
        """How many different numbers there are, at most MOST_DISTINCT."""
        return len(self._distinct)

    @property
    def with_commas(self) -> bool:
        """Whether the categories are really numbers, some of them with a decimal comma or a thousands separator."""
        odd = sum(WITH_COMMA.fullmatch(text) is not None for text in self._found)
        plain = sum(PLAIN.fullmatch(text) is not None for text in self._found)
        return odd > 0 and len(self._found) > FEWEST_NUMBERS and odd + plain >= MOST * len(self._found)

    def take(self, private: pd.Series, column: Column) -> None:
        """Take the next part, in canonical form."""
        present = private.dropna()
        self.gaps |= len(present) < len(private)
        self.present |= len(present) > 0
        if column.kind in ("categorical", "integer"):
            self._repeats.take(present)
        if column.kind == "categorical":
            self._take_texts(present)
        elif column.numeric:
            axis = to_axis(present, column)
            self._take_numbers(axis[~np.isnan(axis)], column)

    def spanned(self, column: Column) -> Column:
        """Return the column with the domain that its values span; one that names rows or people has none."""
        column = replace(column, nullable=self.gaps)
        sentences = self._are_sentences(column)
        if self._is_personal(column) or (self._names_rows(column) and not sentences):
            return replace(column, roles=("identifier",), codes=None)
        if sentences:
            return Column(column.name, "text", nullable=self.gaps, max_length=self._longest)
        if column.kind == "categorical":
            many = len(self._found) > MOST_CATEGORIES
            return column if many else replace(column, categories=tuple(sorted(self._found)))
        return self._with_numbers(column) if column.numeric else column

    def _take_texts(self, present: pd.Series) -> None:
        if (room := MOST_READ - len(self._head)) > 0:
            self._head += present.iloc[:room].astype(str).tolist()
        self._longest = max([self._longest, *map(len, map(str, present.cat.categories))])
        if len(self._found) <= MOST_CATEGORIES:
            self._found.update(map(str, present.cat.categories[: 2 * MOST_CATEGORIES]))

    def _take_numbers(self, axis: NDArray[np.float64], column: Column) -> None:
        if len(self._distinct) < MOST_DISTINCT:
            self._distinct.update(np.unique(axis)[:MOST_DISTINCT].tolist())
        if column.kind in ("float", "duration") and self._decimals is not None:
            self._decimals = _at_least(self._decimals, _decimals(axis))
        if column.kind == "float" and self._single is not None:
            self._single = _at_least(self._single, _single_decimals(axis))
        if column.kind in ("integer", "float"):
            for number in STAND_INS:
                self._stand_ins[number] += int((axis == number).sum())
            axis = axis[~np.isin(axis, STAND_INS)]
        self._low, self._high = axis.min(initial=self._low), axis.max(initial=self._high)

    def _with_numbers(self, column: Column) -> Column:
        """Return a numeric column with its bounds, its decimals, and the numbers that stand for something else."""
        low, high, codes = self._told_apart()
        if codes:
            column = replace(column, codes=(*(column.codes or ()), *codes))
        if column.kind in ("float", "duration"):
            column = replace(column, decimals=self._decimals)
        if column.kind == "float" and self._decimals is None and self._single is not None:
            column, low, high = (
                replace(column, decimals=self._single),
                round(low, self._single),
                round(high, self._single),
            )
        if column.kind == "datetime" and high - low > WEEK:
            column = replace(column, cycle="week")  # else hours and weekdays are lost
        return replace(column, bounds=(float(low), float(high)))

    def _told_apart(self) -> tuple[float, float, tuple[int, ...]]:
        """Return the smallest and the largest number that stands for itself, and the numbers that do not."""
        low, high = self._low, self._high
        found = sorted((number for number, count in self._stand_ins.items() if count), key=abs)
        many = len(self._distinct) >= MOST_DISTINCT // 2
        codes = []
        for number in found:
            reach = FAR * (high - low)
            if many and self._stand_ins[number] > 1 and (number < low - reach or number > high + reach):
                codes.append(int(number))
            else:
                low, high = min(low, number), max(high, number)
        return low, high, tuple(codes)

    def _names_rows(self, column: Column) -> bool:
        """Whether unique values are names of rows: by the column's name, as texts that never repeat, or as a count."""
        many = self._repeats.seen > FEWEST_NAMES
        counted = column.kind == "integer" and self._high - self._low == self._repeats.seen - 1
        counted &= not counts_time(column.name)
        asked = self._named or (many and (column.kind == "categorical" or counted))
        return asked and not self._repeats.found()

    def _are_sentences(self, column: Column) -> bool:
        """Whether texts are long, of several words, and mostly different, as far as the first ones show."""
        if column.kind != "categorical" or self._named or len(self._head) <= FEWEST_NAMES:
            return False
        long = np.mean([len(text) for text in self._head]) >= LONG
        worded = np.mean([len(text.split()) for text in self._head]) >= WORDS
        return bool(long and worded and len(set(self._head)) >= DIFFERENT * len(self._head))

    def _is_personal(self, column: Column) -> bool:
        """Whether it holds people's names, addresses or numbers, by its own name or its values, unique or not."""
        if column.kind == "categorical" and len(self._found) <= FEWEST_PEOPLE:
            return False
        shown = by_values(column, pd.Series(self._head, dtype=object)) if column.kind == "categorical" else None
        return any(found is not None and found.personal for found in (by_name(column), shown))


class _Repeats:
    """Whether a value comes twice, from 64 bits of each: two that differ are taken for alike once in 10^19 pairs."""

    def __init__(self) -> None:
        self.seen = 0
        self._hashes: list[NDArray[np.uint64]] | None = []

    def take(self, present: pd.Series) -> None:
        """Take the next values."""
        self.seen += len(present)
        if self._hashes is not None:
            hashes = np.asarray(pd.util.hash_pandas_object(present, index=False), np.uint64)
            self._hashes.append(hashes)
            if len(np.unique(hashes)) < len(present):
                self._hashes = None

    def found(self) -> bool:
        """Return whether some value came twice."""
        if self._hashes is None:
            return True
        every = np.concatenate([np.empty(0, np.uint64), *self._hashes])
        return len(np.unique(every)) < len(every)


def _at_least(before: int, found: int | None) -> int | None:
    """Return the decimals that write two parts of a column, None where there are none for one."""
    return None if found is None else max(before, found)


def _decimals(axis: NDArray[np.float64], arithmetic: float = 1e-12, below: int = 3) -> int | None:
    """Return the fewest decimals that write every value, None when more than MOST_DECIMALS are needed.

    What arithmetic leaves behind is forgiven, relative to a value and `below` places under its last decimal.
    """
    for decimals in range(MOST_DECIMALS + 1):
        forgiven = np.minimum(arithmetic * np.abs(axis), 10.0 ** (-decimals - below))
        if (np.abs(axis - np.round(axis, decimals)) <= forgiven).all():
            return decimals
    return None


def _single_decimals(axis: NDArray[np.float64]) -> int | None:
    """Return the fewest decimals of numbers in single precision, such as 26.100000381469727; None for any others.

    Stata's files and columns of float32 hold such numbers, and so does every table that was made from them.
    """
    with np.errstate(over="ignore"):
        single = axis.astype(np.float32).astype(np.float64)
    return _decimals(axis, SINGLE, 1) if (single == axis).all() else None
