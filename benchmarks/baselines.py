"""What the baselines reach: distances, utility, time to fit and to sample.

    python benchmarks/baselines.py --data DIR --judge judge.py [--only NAME] [--model NAME ...] [--epsilon 1]
                                   [--seeds 1] [--set SETTING=VALUE ...] [--held]

For each table of DIR (adult, bank, shoppers: NAME.train.csv.gz and NAME.test.csv.gz) the schema is drafted from the
training file (categories, bounds, row count; no bins), every model is fitted and `judge.py TRAIN TEST SYNTHETIC TARGET`
prints one JSON line. `copula` and `independent` get the budget (`--epsilon 0`: none); `trees`, `smote` and `bootstrap`
are not private. With `--held`, a fifth of the training file is held out and stands for the test file: for choosing.
Seconds are of the processor. The noise cannot be seeded, so no two runs under a budget are alike.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from tabsynth import registry
from tabsynth.drafting import draft
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.table import read, split, write_rows

TARGETS = {"adult": "income", "bank": "y", "shoppers": "Revenue"}
PRIVATE = ("copula", "independent")
MODELS = (*PRIVATE, "trees", "smote", "bootstrap")
FIGURES = ("tvd1", "tvd2", "tvd3", "ks", "tstr", "tstr_lr", "c2st", "dcr_share", "exact")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--judge", type=Path, required=True)
    parser.add_argument("--only", choices=sorted(TARGETS))
    parser.add_argument("--model", choices=MODELS, action="append")
    parser.add_argument("--epsilon", type=float, default=1.0)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], dest="settings")
    parser.add_argument("--held", action="store_true")
    options = parser.parse_args()
    settings = {name: json.loads(value) for name, _, value in (pair.partition("=") for pair in options.settings)}
    for table in [options.only] if options.only else sorted(TARGETS):
        for model in options.model or MODELS:
            for seed in range(options.seeds):
                print(
                    f"{table}, {model}, {seed}: {written(one_fit(table, model, settings, seed, options))}", flush=True
                )


def one_fit(
    name: str, model: str, settings: Mapping[str, Any], seed: int, options: argparse.Namespace
) -> dict[str, float]:
    """Fit once and return the figures."""
    source, test = options.data / f"{name}.train.csv.gz", options.data / f"{name}.test.csv.gz"
    schema = draft(source).schema.with_target(TARGETS[name])
    table = read(source, schema)
    ledger = Ledger(Budget(options.epsilon, 1e-5) if model in PRIVATE and options.epsilon else None)
    with TemporaryDirectory() as folder:
        if options.held:
            table, held = split(table, 0.2, np.random.default_rng(7))
            source, test = Path(folder) / "train.csv", Path(folder) / "test.csv"
            write_rows(table.private, schema, source)
            write_rows(held.private, schema, test)
        start = time.process_time()
        sampler = registry.load(registry.SYNTHESIZERS, model)(**settings).fit(table, ledger, Secret())
        fit = time.process_time() - start
        sampler.sample(10, np.random.default_rng(0))  # compiles what is compiled
        start = time.process_time()
        sampler.sample(100_000, np.random.default_rng(0))
        speed = 100_000 / (time.process_time() - start)
        write_rows(sampler.sample(len(table.private), np.random.default_rng(seed)), schema, Path(folder) / "rows.csv")
        figures = judged(options.judge, source, test, Path(folder) / "rows.csv", TARGETS[name])
    return figures | {"seconds": fit, "rows/s": speed, "epsilon": ledger.spent.epsilon}


def judged(judge: Path, train: Path, test: Path, rows: Path, target: str) -> dict[str, float]:
    """Return the judge's figures."""
    command = [sys.executable, str(judge), str(train), str(test), str(rows), target]
    answer = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {key: answer[key] for key in FIGURES}


def written(figures: Mapping[str, float]) -> str:
    return "  ".join(f"{key} {value:.4g}" for key, value in figures.items())


if __name__ == "__main__":
    main()
