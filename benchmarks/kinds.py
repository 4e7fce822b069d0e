"""Whether the default policy judges tables of every kind of column as it should: gate_errors.py on simulated patients.

    python benchmarks/kinds.py [--seeds 20] [--rows 5000] [--policy default]

Ordered categories, wages with two codes and gaps, days, moments of a time zone, durations and latitudes, of which a
target follows. Prints the share of seeds in which a fresh sample and a copy of the training rows were refused.
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd
from gate_errors import report, trial

from tabsynth.policy import read_policy
from tabsynth.schema import DAY, Column, Schema
from tabsynth.table import read

TIME = "%Y-%m-%d %H:%M:%S"
SCHOOLS = ("low", "middle", "high")
SCHEMA = Schema(
    (
        Column("school", "categorical", categories=SCHOOLS, ordered=True),
        Column("wage", "integer", bounds=(0, 20_000), codes=("refused", 99_999), nullable=True),
        Column("born", "datetime", bounds=(0, 9999 * DAY), nullable=True),
        Column("seen", "datetime", format=TIME, timezone="Europe/Berlin", bounds=(1.6e9, 1.7e9), cycle="week"),
        Column("stay", "duration", unit="min", bounds=(0, 360_000), nullable=True),
        Column("lat", "float", roles=("latitude",)),
        Column("ill", "boolean", roles=("target",)),
    )
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--policy", default="default")
    options = parser.parse_args()
    policy = read_policy(options.policy)
    for fake in ("independent sample", "training rows"):
        rngs = map(np.random.default_rng, range(options.seeds))
        tables = ((read(patients(options.rows, rng), SCHEMA).private, rng) for rng in rngs)
        report("kinds", fake, [trial(rows, rng, SCHEMA, policy, fake) for rows, rng in tables])


def patients(rows: int, rng: np.random.Generator) -> pd.DataFrame:
    """Return patients, of whom one in ten refuses to tell a wage and one in twenty cannot tell it."""
    school = rng.choice(3, rows, p=[0.3, 0.5, 0.2])
    wage = np.minimum(np.rint(rng.lognormal(7 + 0.4 * school, 0.5)), 20_000).astype(int).astype(object)
    told = rng.random(rows)
    wage[told < 0.1], wage[(told > 0.1) & (told < 0.15)], wage[told > 0.95] = "refused", 99_999, None
    born = pd.Series(pd.to_datetime(rng.integers(0, 9999, rows) * DAY, unit="s").strftime("%Y-%m-%d"))
    stay = np.minimum(np.rint(rng.gamma(2, 200 + 100 * school)), 5999)
    seen = (1.6e9 // DAY + rng.integers(1, 1100, rows)) * DAY + np.rint(3600 * np.clip(rng.normal(12, 3, rows), 7, 19))
    return pd.DataFrame(
        {
            "school": np.array(SCHOOLS)[school],
            "wage": wage,
            "born": born.where(rng.random(rows) > 0.05),
            "seen": pd.to_datetime(seen, unit="s").strftime(TIME),
            "stay": np.where(rng.random(rows) < 0.05, np.nan, stay),
            "lat": rng.normal(50, 2, rows).round(4),
            "ill": rng.random(rows) < 1 / (1 + np.exp((600 - stay) / 150)),
        }
    )


if __name__ == "__main__":
    main()
