"""The draft itself: every column told part by part, in as few readings of the table as its kinds take."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import yaml

from tabsynth.constraints import Inequality
from tabsynth.drafting.candidates import Candidate, candidates
from tabsynth.drafting.orders import orders_of
from tabsynth.errors import TableError
from tabsynth.files import CHUNK, RawSource, RawTable, chunks
from tabsynth.schema import Column, Schema
from tabsynth.sources import Readable, open_source

MARK = "# read from data: keeping this line publishes it"
INFINITE = "a value is infinite, and there are too few others to take it for a code; make it a missing one"
UNTOLD = "its kind cannot be told; make its values numbers, texts or times, or leave it out of the table"
COMMAS = "numbers have a decimal comma or a thousands separator; write them as 1234.56 in the table"
HEADER = """\
# Drafted by reading the table itself. Everything in a schema is public: each marked line tells readers of a release
# something about the private rows. Replace what should not be known by facts of your own (a codebook, a form's limits)
# or delete the line and let discovery pay for it (--discover).
"""
ORDERS = """\
# In every row one of these moments comes after the other. As a rule of yours the order is kept, and the time between
# them too: take out the first sign of each line.
"""


@dataclass(frozen=True, slots=True)
class Draft:
    """A schema read from data in full; writing it down as it stands publishes every fact in it.

    `orders` are what moments keep to in every row: proposed in the file, and no part of the schema.
    """

    schema: Schema
    orders: tuple[Inequality, ...] = ()

    def to_yaml(self) -> str:
        """Return the schema as YAML, every line marked that was read from data."""
        lines = [HEADER + f"rows: {self.schema.rows}  {MARK}", "columns:"]
        for column in self.schema:
            for place, (fact, value) in enumerate(column.to_dict().items()):
                written = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**9)
                text = written.removesuffix("\n").removesuffix("...").rstrip("\n")
                lines.append(f"{'    ' if place else '  - '}{fact}: {text}  {MARK}")
        if self.orders:
            rules = [
                yaml.safe_dump([rule.to_dict()], default_flow_style=None, sort_keys=False, width=10**9)
                for rule in self.orders
            ]
            lines += [ORDERS + f"#constraints:  {MARK}", *(f"#  {rule.strip()}  {MARK}" for rule in rules)]
        return "\n".join(lines) + "\n"

    def kinds(self) -> Schema:
        """Return names and kinds alone, which are then published; every domain is left to discovery."""
        return Schema(tuple(map(_bare, self.schema)))

    def loose(self) -> Schema:
        """Return the schema for reading tables of other origin beside this one: moments may be finer than its own."""
        return self.schema.with_columns(*map(_to_the_second, self.schema))


def _to_the_second(column: Column) -> Column:
    return column if column.format is None else replace(column, format=column.format.replace(":%M:00", ":%M:%S"))


def _bare(column: Column) -> Column:
    """Return a column without what the data say of it; words among numbers are said by nothing but the data."""
    if any(isinstance(code, str) for code in column.codes or ()):
        return Column(column.name, "categorical", roles=column.roles, nullable=None)
    cycle: Any = "week" if column.kind == "datetime" else None  # not only where the data span some
    return replace(
        column, nullable=None, categories=None, bounds=None, decimals=None, codes=None, cycle=cycle, max_length=None
    )


def draft(source: Readable, *, delimiter: str | None = None, chunk: int = CHUNK) -> Draft:
    """Draft a schema by reading every value of a table; raise TableError naming all columns that cannot be told.

    The table is read about `chunk` rows at a time, once more where a later part shows that a column is not of the kind
    that it seemed to be, and once where there are several columns of moments, for their order. How many rows a part has
    makes no difference to the draft. What is kept meanwhile are the facts found so far, and 8 bytes a row for a column
    of text that never repeats.

    >>> import pandas as pd
    >>> people = pd.DataFrame({"age": [31, 40], "city": ["Ulm", "Bonn"]})
    >>> [(column.name, column.kind) for column in draft(people).schema]
    [('age', 'integer'), ('city', 'categorical')]
    """
    opened = open_source(source, delimiter=delimiter)
    told: dict[str, Column | None] = {}  # None where the kind cannot be told
    problems: list[str] = []
    asked: dict[str, _Telling] = {}
    rows = 0
    while len(told) < len(opened.names):
        rows = _reading(opened, asked, chunk)
        found = {name: telling.column() for name, telling in asked.items()}
        problems += [f"column {name!r}: {one.problem}" for name, one in asked.items() if one.problem]
        told |= {name: column for name, column in found.items() if column is not None or asked[name].problem}
        asked = {name: _Telling(name, one.left) for name, one in asked.items() if name not in told}
    if problems:
        raise TableError(f"{opened.label}: {'; '.join(problems)}.")
    columns = tuple(column for name in opened.names if (column := told[name]) is not None)
    return Draft(Schema(columns, rows=rows), orders_of(opened, columns, chunk))


def _reading(source: RawSource, asked: dict[str, _Telling], chunk: int) -> int:
    """Read the table once for the columns asked for, for all of them when none is; return its number of rows."""
    rows, first = 0, not asked
    for place, raw in enumerate(chunks(source, chunk)):
        rows += raw.columns.num_rows
        if place == 0 and first:
            kinds = {name: candidates(name, raw.columns.column(name).type) for name in source.names}
            asked.update({name: _Telling(name, left) for name, left in kinds.items()})
        for telling in asked.values():
            telling.take(raw)
    if rows < 2:
        raise TableError(f"{source.label}: at least two rows are needed to draft a schema.")
    return rows


@dataclass(slots=True)
class _Telling:
    """One column on the way to its kind; `left` are those that it may be, the narrowest first."""

    name: str
    left: list[Candidate]
    again: bool = False  # whether the first of them has not seen the values that were already read
    infinite: bool = False  # whether that was what a number broke
    problem: str | None = None  # why it has no kind

    def take(self, raw: RawTable) -> None:
        """Hold the next part against the first kind, and against the next ones where it does not fit."""
        while not self.again and self.problem is None and not self.left[0].take(raw):
            self._give_up()

    def column(self) -> Column | None:
        """Return the column with the domain that its values span; None when there is none, or it must be read again.

        A column without a value is left out of the model.
        """
        if self.again or self.problem:
            return None
        if not self.left[0].facts.present:
            return Column(self.name, "categorical", roles=("identifier",), nullable=True)
        if self.left[0].facts.with_commas:
            self.problem = COMMAS
            return None
        column = self.left[0].column()
        if column is None:
            self._give_up()
        return column

    def _give_up(self) -> None:
        """Go on to the next kind, which takes no notice of values that were missing."""
        last = self.left.pop(0)
        self.infinite |= last.refused is not None and str(last.refused).endswith("a value is infinite.")
        if not self.left:
            self.problem = INFINITE if self.infinite else UNTOLD
            return
        self.again = last.facts.present
        self.left[0].facts.gaps |= last.facts.gaps and not self.again
