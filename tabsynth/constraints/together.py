"""Several rules together: whether they fit the columns and one another, and which one a row breaks first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from tabsynth.constraints.numbers import Inequality
from tabsynth.constraints.rule import Columns, Constraint, Described, Domain, Mask, wrong

ON_TEXT = ("unique", "predicate")
ROUNDS = 50  # of narrowing: rules hand on what they rule out


def check_constraints(rules: Sequence[Constraint], columns: Sequence[Described]) -> None:
    """Raise SchemaError when a rule names a column that is not there or cannot hold it, or when no row keeps all."""
    known = {column.name: column for column in columns}
    for rule in rules:
        for name in rule.over:
            if name not in known:
                raise wrong(rule, f"no column {name!r}; declared: {', '.join(known)}")
            if not known[name].modelled:
                raise wrong(rule, f"column {name!r} is an identifier or a group, which no rule can hold")
            if known[name].kind == "text" and rule.kind not in ON_TEXT:
                raise wrong(rule, f"column {name!r} is free text, of which only {' and '.join(ON_TEXT)} say something")
        if len(set(rule.over)) < len(rule.over):
            raise wrong(rule, "a column is named twice")
        rule.check(known)
    _check_order(rules)
    narrowed(rules, domains_of(columns), known)


def domains_of(columns: Sequence[Described]) -> dict[str, Domain]:
    """Return what is declared of every column: its bounds, or the set of its values."""
    found: dict[str, Domain] = {}
    for column in columns:
        if column.bounds is not None:
            found[column.name] = column.bounds
        elif column.levels is not None:
            found[column.name] = frozenset(column.levels)
    return found


def narrowed(rules: Sequence[Constraint], domains: Mapping[str, Domain], columns: Columns) -> dict[str, Domain]:
    """Return the domains less what the rules rule out; raise SchemaError naming the rule that leaves nothing.

    What is left may still hold values that no row can have: the rules are taken one at a time.
    """
    left = dict(domains)
    for _ in range(ROUNDS):
        before = dict(left)
        for rule in rules:
            left |= rule.narrowed(left, columns)
        if left == before:
            break
    return left


def judged(rules: Sequence[Constraint], frame: pd.DataFrame, columns: Columns) -> Iterator[tuple[Constraint, Mask]]:
    """Yield each rule with which canonical rows break it."""
    for rule in rules:
        yield rule, rule.broken(frame, columns)


def _check_order(rules: Sequence[Constraint]) -> None:
    """Raise when columns are to be smaller than themselves, by way of others."""
    orders = [rule for rule in rules if isinstance(rule, Inequality)]
    above: dict[str, set[str]] = {}
    for rule in orders:
        above.setdefault(rule.low, set()).add(rule.high)
    for rule in orders:
        reached, fresh = set(), {rule.high}
        while fresh:
            reached |= fresh
            fresh = set().union(*(above.get(name, set()) for name in fresh)) - reached
        if rule.strict and rule.low in reached:
            raise wrong(rule, f"other rules say that {rule.high!r} is at most {rule.low!r}")
