"""How long 1,000 rows under a rare condition take, and how far the rest of them is from the truth.

A simulated table has a flag that one row in a thousand carries, and on which every other column depends. Printed for
each model, without a budget and at epsilon 3: the seconds for 1,000 rows given the flag, and the mean total variation
distance of the other columns' distributions from the true ones given the flag. Beside it stand the distances of 1,000
true rows, which is what chance does, and of rows without the flag, which is what ignoring it would do. What the drawing
adds to the model's own error is seen from the flagged ones among many rows drawn without a condition: their distance
from the truth is the model's own, and theirs from the rows drawn given the flag is chance alone where drawing is exact.

    python benchmarks/conditions.py --rows 60000
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import pandas as pd

from tabsynth.privacy.budget import Budget
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.schema import Column, Schema
from tabsynth.synthesizers import model
from tabsynth.synthesizers.marginals import Marginals
from tabsynth.synthesizers.rows import Rows
from tabsynth.table import read

RARE = 0.001
CITIES = tuple(f"city {place}" for place in range(12))
SCHEMA = Schema(
    (
        Column("fraud", "categorical", categories=("no", "yes"), roles=("target",)),
        Column("city", "categorical", categories=CITIES),
        Column("hour", "integer", bounds=(0, 23)),
        Column("amount", "integer", bounds=(0, 999)),
        Column("online", "boolean"),
        Column("items", "integer", bounds=(1, 20)),
        Column("age", "integer", bounds=(18, 90)),
    )
)


def simulated(rows: int, rng: np.random.Generator, rare: float = RARE) -> pd.DataFrame:
    """Return rows; what is rare comes at night, online, from the last cities, and is expensive."""
    fraud = rng.random(rows) < rare
    city = np.minimum((12 * rng.random(rows) ** np.where(fraud, 0.4, 1.5)).astype(int), 11)
    hour = np.where(fraud, rng.normal(3, 2, rows), rng.normal(14, 4, rows)).round().astype(int) % 24
    amount = np.clip(rng.gamma(2, np.where(fraud, 200, 40)).round(), 0, 999).astype(int)
    return pd.DataFrame(
        {
            "fraud": np.where(fraud, "yes", "no"),
            "city": np.array(CITIES)[city],
            "hour": hour,
            "amount": amount,
            "online": rng.random(rows) < np.where(fraud, 0.95, 0.3),
            "items": np.clip(1 + rng.poisson(amount / 150), 1, 20),
            "age": np.clip(rng.normal(np.where(fraud, 30, 48), 12).round(), 18, 90).astype(int),
        }
    )


def distance(rows: pd.DataFrame, truth: pd.DataFrame) -> float:
    """Return the mean distance of the columns' distributions, numbers in ten parts of equal mass."""
    found = []
    for name in truth.columns.drop("fraud"):
        both = [truth[name], rows[name]]
        if SCHEMA[name].numeric:
            edges = np.unique(truth[name].quantile(np.linspace(0, 1, 11)))[1:-1]
            both = [pd.Series(np.searchsorted(edges, each.to_numpy(float))) for each in both]
        first, second = (each.astype(str).value_counts(normalize=True) for each in both)
        found.append(0.5 * first.subtract(second, fill_value=0).abs().sum())
    return float(np.mean(found))


def main() -> None:
    """Fit, sample and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--unasked", type=int, default=400_000, help="rows drawn without a condition")
    parser.add_argument("--epochs", type=float, default=Rows().epochs)
    wanted = parser.parse_args()
    rng = np.random.default_rng(0)
    truth = simulated(200_000, rng, rare=1.0)
    table = read(simulated(wanted.rows, rng), Schema(SCHEMA.columns, rows=wanted.rows))
    print(f"1,000 true rows: {distance(simulated(1000, rng, rare=1.0), truth):.3f}")
    print(f"1,000 rows without the flag: {distance(simulated(1000, rng, rare=0.0), truth):.3f}")
    for epsilon in (None, 3.0):
        for settings in (Marginals(), Rows(epochs=wanted.epochs)):
            ledger = Ledger(Budget(epsilon, 1e-6) if epsilon else None)
            fitted = model.fit(settings, table, ledger, Secret())
            fitted.sample(10, np.random.default_rng(1), {"fraud": "yes"})  # what is compiled once
            started = time.perf_counter()
            rows = fitted.sample(1000, np.random.default_rng(0), {"fraud": "yes"})
            seconds = time.perf_counter() - started
            assert (rows["fraud"] == "yes").all()
            ranged = time.perf_counter()
            fitted.sample(1000, np.random.default_rng(0), {"hour": (2, 3), "amount": (600, 800), "age": (20, 25)})
            ranged = time.perf_counter() - ranged
            who = f"{settings.name}, epsilon {epsilon or 'infinite'}"
            far = distance(rows, truth)
            print(f"{who}: {seconds:.2f} s, distance {far:.3f}; three narrow ranges {ranged:.2f} s", flush=True)
            unasked = fitted.sample(wanted.unasked, np.random.default_rng(2))
            flagged = unasked[unasked["fraud"] == "yes"]
            own, apart = distance(flagged, truth), distance(rows, flagged)
            print(f"  {len(flagged)} flagged of {wanted.unasked:,}: distance {own:.3f}, from those above {apart:.3f}")


if __name__ == "__main__":
    main()
