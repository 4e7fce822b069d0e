"""How small a share of training rows in the holdout is noticed, and how often a holdout that is apart is refused.

    python benchmarks/overlap.py --data DIR [--seeds 200] [--rows 10000]

For each table of DIR (as in `gate_errors.py`), whole and cut to its first columns so that more and more rows are equal,
and each seed: `--rows` rows are drawn (0: all), two in three are training rows and the others the holdout, and a share
of it is replaced by training rows. Prints the share of seeds in which the two were found to share rows.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from gate_errors import TARGETS, draw, pooled

from tabsynth.metrics import Evidence, NotMeasured
from tabsynth.metrics.sides import separate
from tabsynth.schema import Schema

SHARES = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1)
COLUMNS = (None, 7, 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--rows", type=int, default=10_000)
    options = parser.parse_args()
    print(f"| table | columns | rows equal to another | {' | '.join(f'{share:.1%}' for share in SHARES)} |")
    print("|---" * (len(SHARES) + 3) + "|")
    for name in TARGETS:
        pool, schema = pooled(options.data, name)
        for count in COLUMNS:
            columns = schema.columns[:count]
            rows = pool[[column.name for column in columns]]
            equal = np.mean([draw(rows, options.rows, seed)[0].duplicated(keep=False).mean() for seed in range(10)])
            found = [noticed(rows, Schema(columns), options.rows, options.seeds, share) for share in SHARES]
            cells = [name, str(len(columns)), f"{equal:.1%}", *(f"{one:.3f}" for one in found)]
            print(f"| {' | '.join(cells)} |", flush=True)


def noticed(pool: pd.DataFrame, schema: Schema, rows: int, seeds: int, share: float) -> float:
    """Return the share of seeds in which a holdout with a share of training rows in it is refused."""
    return float(np.mean([refused(overlapping(*draw(pool, rows, seed), schema, share)) for seed in range(seeds)]))


def overlapping(rows: pd.DataFrame, rng: np.random.Generator, schema: Schema, share: float) -> Evidence:
    """Split the rows, and replace a share of the holdout by training rows."""
    cut = len(rows) * 2 // 3
    train, holdout = rows.iloc[:cut], rows.iloc[cut:]
    count = int(share * len(holdout))
    shared = train.iloc[rng.choice(cut, count, replace=False)]
    return Evidence(schema, train, pd.concat([holdout.iloc[count:], shared]), train)


def refused(evidence: Evidence) -> bool:
    """Return whether the holdout is found to share rows with the training table."""
    try:
        separate(evidence)
    except NotMeasured:
        return True
    return False


if __name__ == "__main__":
    main()
