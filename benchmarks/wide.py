"""A table of 32 columns, two of them with 529 and 224 categories, through the gate's fidelity checks.

The table is simulated: what 529 towns and 224 trades look like follows from a few hidden facts of each person, a town
settles its county and a county its region, a trade its branch, and columns are missing together. Printed is each
fidelity check of the default policy with its estimate; the exit code is 1 when one fails.

    python benchmarks/wide.py --rows 40000 --family marginals rows --epsilon 3
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np
import pandas as pd

from tabsynth.constraints import Dependency
from tabsynth.fitting import make_synthesizer
from tabsynth.metrics.evidence import Evidence
from tabsynth.policy import Verdict, default_policy, evaluate
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.schema import Column, Schema
from tabsynth.synthesizers import model
from tabsynth.table import read, split

TOWNS = tuple(f"town {place:03}" for place in range(529))
COUNTIES = tuple(f"county {place:02}" for place in range(46))
REGIONS = tuple(f"region {place}" for place in range(8))
TRADES = tuple(f"trade {place:03}" for place in range(224))
BRANCHES = tuple(f"branch {place:02}" for place in range(14))
COUNTY_OF = tuple((town, COUNTIES[place // 12 if place < 528 else 45]) for place, town in enumerate(TOWNS))
REGION_OF = tuple((county, REGIONS[place // 6]) for place, county in enumerate(COUNTIES))
BRANCH_OF = tuple((trade, BRANCHES[place // 16]) for place, trade in enumerate(TRADES))
NUMBERS = {"age": (18, 90), "hours": (0, 80), "income": (0, 200_000), "rent": (0, 4000), "children": (0, 8)}
GAPS = ("hours", "income")
SCORES = tuple(f"score {place}" for place in range(8))
ANSWERS = tuple(f"answer {place}" for place in range(8))
TICKS = tuple(f"tick {place}" for place in range(5))
DEGREES = ("none", "school", "trade", "college", "doctor")

SCHEMA = Schema(
    (
        Column("town", "categorical", categories=TOWNS),
        Column("county", "categorical", categories=COUNTIES),
        Column("region", "categorical", categories=REGIONS),
        Column("trade", "categorical", categories=TRADES, nullable=True),
        Column("branch", "categorical", categories=BRANCHES, nullable=True),
        Column("degree", "categorical", categories=DEGREES),
        *(Column(name, "integer", bounds=bounds, nullable=name in GAPS) for name, bounds in NUMBERS.items()),
        *(Column(name, "float", bounds=(-6.0, 6.0), decimals=2, nullable=True) for name in SCORES),
        *(Column(name, "categorical", categories=("never", "rarely", "often", "always")) for name in ANSWERS),
        *(Column(name, "boolean") for name in TICKS[:-1]),
        Column(TICKS[-1], "boolean", roles=("target",)),
    ),
    constraints=(
        Dependency("town", "county", COUNTY_OF),
        Dependency("county", "region", REGION_OF),
        Dependency("trade", "branch", BRANCH_OF),
    ),
)  # fmt: skip
assert len(SCHEMA.columns) == 32


def simulated(rows: int, seed: int = 0) -> pd.DataFrame:
    """Return rows: wealth, age and how far from the capital settle the rest, up to noise."""
    rng = np.random.default_rng(seed)
    wealth, far = rng.normal(size=rows), rng.random(rows)
    age = np.clip(rng.gamma(8, 6, rows), 18, 90).round().astype(int)
    town = np.minimum((529 * np.clip(far + 0.1 * rng.normal(size=rows), 0, 1) ** 2).astype(int), 528)
    degree = np.clip(np.round(2 + wealth + 0.7 * rng.normal(size=rows)), 0, 4).astype(int)
    trade = np.clip((40 * degree + 60 * rng.random(rows) ** 2).astype(int), 0, 223)
    works = (age < 66) & (rng.random(rows) < 0.9)
    income = np.clip(np.exp(10 + 0.5 * wealth + 0.2 * rng.normal(size=rows)), 0, 200_000).round()
    found: dict[str, object] = {
        "town": np.array(TOWNS)[town],
        "county": np.array([dict(COUNTY_OF)[name] for name in TOWNS])[town],
        "region": np.array([dict(REGION_OF)[dict(COUNTY_OF)[name]] for name in TOWNS])[town],
        "trade": pd.Series(np.array(TRADES)[trade]).where(works),
        "branch": pd.Series(np.array([dict(BRANCH_OF)[name] for name in TRADES])[trade]).where(works),
        "degree": np.array(DEGREES)[degree],
        "age": age,
        "hours": pd.Series(np.clip(rng.normal(38, 8, rows), 0, 80).round()).where(works),
        "income": pd.Series(income).where(works),
        "rent": np.clip(500 + 300 * wealth + 400 * (1 - far) + 100 * rng.normal(size=rows), 0, 4000)
        .round()
        .astype(int),
        "children": np.minimum(rng.poisson(np.clip((age - 20) / 25, 0, 2)), 8),
    }
    asked = rng.random(rows) < 0.85  # of those who were not, all scores are missing
    for place, name in enumerate(SCORES):
        score = wealth * np.cos(place) + 2 * (far - 0.5) * np.sin(place) + 0.6 * rng.normal(size=rows)
        found[name] = pd.Series(np.clip(score, -6, 6).round(2)).where(asked & (rng.random(rows) < 0.97))
    for place, name in enumerate(ANSWERS):
        level = np.clip(np.round(1.5 + 0.6 * wealth * (-1) ** place + 0.8 * rng.normal(size=rows)), 0, 3).astype(int)
        found[name] = np.array(["never", "rarely", "often", "always"])[level]
    for place, name in enumerate(TICKS):
        found[name] = rng.random(rows) < 1 / (1 + np.exp(-(wealth * (1 + 0.4 * place) + (age - 45) / 20)))
    return pd.DataFrame(found)[list(SCHEMA.names)]


def judged(family: str, rows: int, epsilon: float | None, **settings: object) -> tuple[Verdict, ...]:
    """Fit a family to two thirds of a simulated table and return the verdicts of the fidelity checks on its rows."""
    schema = Schema(SCHEMA.columns, rows=rows, constraints=SCHEMA.constraints)
    train, holdout = split(read(simulated(rows), schema), 1 / 3, np.random.default_rng(0))
    ledger = Ledger(Budget(epsilon, 1e-6) if epsilon else None)
    fitted = model.fit(make_synthesizer(family, 0, **settings), train, ledger, Secret())
    drawn = fitted.sample(len(train.private), np.random.default_rng(0))
    evidence = Evidence(fitted.schema, train.private, holdout.private, drawn)
    checks = [check for check in default_policy() if check.metric.tier == "fidelity"]
    return evaluate(evidence, checks, np.random.default_rng(0))


def main() -> None:
    """Judge and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=40_000)
    parser.add_argument("--family", nargs="+", default=["marginals", "rows"])
    parser.add_argument("--epsilon", type=float, help="without it: not private")
    wanted = parser.parse_args()
    failed = False
    for family in wanted.family:
        started = time.process_time()
        for verdict in judged(family, wanted.rows, wanted.epsilon):
            failed |= not verdict.passed
            value = "" if verdict.estimate is None else f" {verdict.estimate.value:.3f}"
            print(
                f"{family}: {verdict.name}{value} {'passed' if verdict.passed else 'FAILED'}. {verdict.reason}",
                flush=True,
            )
        print(f"{family}: {time.process_time() - started:.0f} s", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
