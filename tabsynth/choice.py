"""Which family `auto` stands for: a rule on public facts, and the benchmark that it comes from in docs/choosing.md.

The rule reads the schema and whether there is a budget, nothing of the table: a choice made by looking at rows would
have to be paid for.
"""

from __future__ import annotations

from dataclasses import dataclass

from tabsynth.schema import Schema

FEWEST_ROWS = 9_000  # at 5,000 the transformer is behind, at 9,864 ahead
MOST_CELLS = 2_000_000  # rows times columns: above, it trains for more than about ten minutes


@dataclass(frozen=True, slots=True)
class Choice:
    """The name of a family, and why it was chosen, in words that follow "because"."""

    name: str
    why: str


def choose(schema: Schema, *, budgeted: bool) -> Choice:
    """Return the family that did best in the benchmark for a table of these public facts.

    >>> from tabsynth.schema import Column
    >>> people = Schema((Column("age", "integer"), Column("ill", "boolean")), rows=50_000)
    >>> choose(people, budgeted=True).name, choose(people, budgeted=False).name
    ('marginals', 'rows')
    """
    if schema.texts:
        return Choice("text", f"column {schema.texts[0].name!r} is free text, which no other family can hold")
    if budgeted:
        return Choice("marginals", "under a budget it came closest on every table, and in seconds")
    if schema.rows is None:
        return Choice("marginals", "the number of rows is not declared, and it suits tables of any length")
    if schema.rows < FEWEST_ROWS:
        return Choice("marginals", f"fewer than {FEWEST_ROWS:,} rows are too few for the row transformer")
    if schema.rows * len(schema.modelled) > MOST_CELLS:
        return Choice("marginals", f"the row transformer would be slow on more than {MOST_CELLS:,} cells")
    return Choice("rows", "without a budget its rows were the hardest to tell from real ones")
