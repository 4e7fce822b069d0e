"""Rows that break a constraint, counted: every kind of rule, every family.

Each family is fitted to random rows of a small schema, which keep no rule but those that a model could only know from
them, once with every rule but the unique one, and with that. Printed are the rows sampled, how many of them break a
rule (none, or the exit code is 1), the share of drawn rows that was kept, and the seconds.

    python benchmarks/constraint_violations.py --rows 1000000 --family marginals independent
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np
import pandas as pd

from tabsynth.constraints import Combinations, Constraint, Dependency, Inequality, OneHot, Predicate, Seen, Sum, Unique
from tabsynth.errors import TabsynthError
from tabsynth.fitting import make_synthesizer
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.schema import DAY, Column, Schema
from tabsynth.synthesizers import model
from tabsynth.table import Table, read

STATES = ("TX", "NY", "CA")
CITIES = tuple(f"city {place}" for place in range(9))
COLUMNS = (
    Column("city", "categorical", categories=CITIES, nullable=True),
    Column("state", "categorical", categories=STATES),
    Column("size", "categorical", categories=("small", "large")),
    Column("zone", "categorical", categories=("1", "2", "3", "4")),
    Column("in", "datetime", bounds=(0, 300 * DAY)),
    Column("out", "datetime", bounds=(0, 360 * DAY), nullable=True),
    Column("a", "integer", bounds=(0, 20)),
    Column("b", "float", bounds=(0.0, 9.5), decimals=1),
    Column("all", "float", bounds=(0.0, 30.0), decimals=1),
    Column("red", "integer", bounds=(0, 1)),
    Column("green", "boolean"),
    Column("blue", "boolean", roles=("target",)),
)
KEY = (*COLUMNS[:6], Column("number", "integer", bounds=(0, 999_999)))


def plausible(frame: pd.DataFrame) -> pd.Series:
    """Say which rows may be: nothing large comes from New York. Named by the rules below."""
    return ~((frame["state"] == "NY") & (frame["size"] == "large"))


SETTLED = tuple((city, STATES[place % 3]) for place, city in enumerate(CITIES))
ZONES = tuple((state, size, str(1 + (place + 2 * deep) % 4))
              for place, state in enumerate(STATES) for deep, size in enumerate(("small", "large")))  # fmt: skip
RULES: dict[str, Constraint] = {
    "dependency": Dependency("city", "state", SETTLED),
    "dependency on two": Dependency(("state", "size"), "zone", ZONES),
    "allowed combinations": Combinations(("size", "zone"), allowed=tuple(
        (size, zone) for size in ("small", "large") for zone in "1234" if (size, zone) != ("large", "4"))),
    "forbidden combinations": Combinations(("city", "blue"), forbidden=(("city 0", "True"), ("city 4", "False"))),
    "inequality": Inequality("in", "out"),
    "strict inequality": Inequality("b", "a", strict=True),
    "sum": Sum(("a", "b"), "all"),
    "one hot": OneHot(("red", "green", "blue")),
    "predicate": Predicate(("state", "size"), f"{__name__}:plausible"),
}  # fmt: skip
SCHEMAS = {
    "all rules but unique": (COLUMNS, tuple(RULES.values())),
    "unknown dependency": (COLUMNS[:4], (Dependency("city", "state"), Dependency(("state", "size"), "zone"))),
    "unique": (KEY, (Unique(("city", "in", "number")), Unique(("number", "state", "in")))),
    "unique, two columns": ((KEY[4], KEY[6]), (Unique(("in", "number")),)),
}


def keeping(columns: tuple[Column, ...], rules: tuple[Constraint, ...], rows: int, seed: int = 0) -> Table:
    """Return rows that keep the rules, for families such as `bootstrap` hand them on."""
    rng = np.random.default_rng(seed)
    found: list[pd.DataFrame] = []
    schema = Schema(columns, rows=rows, constraints=rules)
    lookup = {column.name: column for column in columns}
    known = {rule.over: rule for rule in RULES.values() if isinstance(rule, Dependency)}
    rules = tuple(known.get(rule.over, rule) for rule in rules)  # what nobody wrote down holds all the same
    while sum(map(len, found)) < rows:
        frame = read(random_rows(columns, 4 * rows, rng), schema, check_domain=False).private
        for rule in rules:
            if isinstance(rule, Dependency | Sum):
                frame = frame.assign(**{rule.over[-1]: rule.derive(frame, lookup)})
        broken = [rule.broken(frame, lookup) for rule in rules]
        found.append(frame[~np.any([np.zeros(len(frame), bool), *broken], axis=0)])
    frame = pd.concat(found).head(rows).reset_index(drop=True)
    return Table(schema, frame)


def random_rows(columns: tuple[Column, ...], rows: int, rng: np.random.Generator) -> pd.DataFrame:
    """Return rows of the domain, a tenth missing where it may be; exactly one of red, green and blue."""
    whole = {}
    for column in columns:
        if column.levels is not None:
            values = pd.Series(rng.choice(column.levels, rows))
        else:
            low, high = column.bounds or (0, 1)
            step = column.step or 1.0
            values = pd.Series(np.round(low + step * rng.integers(0, round((high - low) / step) + 1, rows), 6))
            if column.kind == "datetime":
                values = pd.to_datetime(values, unit="s")
        whole[column.name] = values.astype(object).where(rng.random(rows) > 0.1 * bool(column.nullable), None)
    if "red" in whole:
        colour = rng.integers(0, 3, rows)
        whole |= {"red": (colour == 0).astype(int), "green": colour == 1, "blue": colour == 2}
    return pd.DataFrame(whole)


def violations(rows: pd.DataFrame, schema: Schema) -> int:
    """Return how many rows break a rule."""
    masks = [broken for _, broken in schema.broken(rows)]
    unique = ~Seen(schema.constraints).fresh(rows)
    return int(np.any([unique, *masks], axis=0).sum())


def count(family: str, name: str, rows: int, fitted_to: int = 2000, **settings: object) -> tuple[int, float, float]:
    """Return violations among `rows` sampled rows, the share of drawn rows that was kept, and the seconds it took."""
    columns, rules = SCHEMAS[name]
    table = keeping(columns, rules, fitted_to)
    fitted = model.fit(make_synthesizer(family, 0, **settings), table, Ledger(), Secret())
    started = time.process_time()
    drawn = fitted.sample(rows, np.random.default_rng(1))
    seconds = time.process_time() - started
    assert len(drawn) == rows
    return violations(drawn, fitted.schema), drawn.attrs.get("acceptance", 1.0), seconds


def main() -> None:
    """Count and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--family", nargs="+", default=["marginals", "independent", "copula", "rows", "ctgan", "vae"])
    parser.add_argument("--only", choices=tuple(SCHEMAS))
    wanted = parser.parse_args()
    failed = False
    for family in wanted.family:
        for name in [wanted.only] if wanted.only else SCHEMAS:
            try:
                broken, kept, seconds = count(family, name, wanted.rows)
            except TabsynthError as error:
                print(f"{family}, {name}: not sampled. {error}", flush=True)
                continue
            failed |= broken > 0
            print(f"{family}, {name}: {broken} of {wanted.rows:,} broken, {kept:.1%} kept, {seconds:.0f} s", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
