"""How good and how fast `ctgan` is, judged from outside; exits with 1 when a limit is missed.

    python benchmarks/ctgan_quality.py --data DIR --judge FILE [--seeds 3] [--only CASE]

DIR holds NAME.train.csv.gz and NAME.test.csv.gz for adult, bank and shoppers. The schema is drafted from the training
half, so domains and the row count are declared; bins are discovered and charged. `FILE TRAIN TEST SYNTHETIC TARGET` is
a script that prints one line of JSON with, at least, tvd2, tvd3, ks, tstr, tstr_lr and c2st. Seconds are those of `fit`
and of sampling 100,000 rows. Limits are held against processor seconds, which for one thread are those of the clock on
a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd

from tabsynth.drafting import draft
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.synthesizers.ctgan import CTGAN
from tabsynth.table import read, write_rows

TARGETS = {"adult": "income", "bank": "y", "shoppers": "Revenue"}
DELTA = 1e-5
FIGURES = ("tvd2", "tvd3", "ks", "tstr", "tstr_lr", "c2st")
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Case:
    """A table, a budget, and what must be reached on it."""

    table: str
    epsilon: float | None
    least_tstr: float = 0.0
    most_tvd2: float = 1.0
    most_seconds: float = float("inf")


CASES = {
    "adult": Case("adult", 3.0, 0.84, 0.085, 240),
    "bank": Case("bank", 3.0, 0.80, 0.080, 240),
    "shoppers": Case("shoppers", 3.0),
    "adult-not-private": Case("adult", None, 0.90, 0.065, 240),
}
MOST_SAMPLING_SECONDS = 1.0  # for 100,000 rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--judge", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", choices=sorted(CASES))
    options = parser.parse_args()
    shown = ("fit s", "fit cpu s", "100k s", "100k cpu s", *FIGURES)
    print(f"{'case':20}{'epsilon':>9}{'seed':>5}" + "".join(f"{name:>11}" for name in shown) + "  missed", flush=True)
    missed = False
    for name in [options.only] if options.only else CASES:
        for seed in range(options.seeds):
            found = trial(CASES[name], seed, options.data, options.judge)
            short = shortfalls(CASES[name], found)
            missed = missed or bool(short)
            line = "".join(
                f"{found[figure]:11.4f}" if figure in FIGURES else f"{found[figure]:11.1f}" for figure in shown
            )
            print(f"{name:20}{found['epsilon']:9.3f}{seed:5}{line}  {', '.join(short) or '-'}", flush=True)
    return int(missed)


def trial(case: Case, seed: int, data: Path, judge: Path) -> dict[str, float]:
    """Fit once, sample and judge."""
    train = pd.read_csv(data / f"{case.table}.train.csv.gz", skipinitialspace=True)
    test = pd.read_csv(data / f"{case.table}.test.csv.gz", skipinitialspace=True)
    target = TARGETS[case.table]
    table = read(train, draft(train).schema.with_target(target))
    ledger = Ledger(None if case.epsilon is None else Budget(case.epsilon, DELTA))
    sampler, fit_seconds, fit_cpu = timed(lambda: replace(CTGAN(), seed=seed).fit(table, ledger, Secret()))
    rows = sampler.sample(len(train), np.random.default_rng(seed))
    _, seconds, cpu = timed(lambda: sampler.sample(100_000, np.random.default_rng(seed)))
    with TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{name}.csv" for name in ("train", "test", "synthetic")]
        train.to_csv(paths[0], index=False)
        test.to_csv(paths[1], index=False)
        write_rows(rows, sampler.schema, paths[2])
        told = subprocess.run([sys.executable, judge, *paths, target], capture_output=True, text=True, check=True)
    figures: dict[str, Any] = json.loads(told.stdout.splitlines()[-1])
    times = {"fit s": fit_seconds, "fit cpu s": fit_cpu, "100k s": seconds, "100k cpu s": cpu}
    return times | {"epsilon": ledger.spent.epsilon} | {name: float(figures[name]) for name in FIGURES}


def shortfalls(case: Case, found: dict[str, float]) -> list[str]:
    """Name the limits that were missed."""
    kept = {
        "tstr": found["tstr"] >= case.least_tstr,
        "tvd2": found["tvd2"] <= case.most_tvd2,
        "fit": found["fit cpu s"] <= case.most_seconds,
        "100k": found["100k cpu s"] <= MOST_SAMPLING_SECONDS,
    }
    return [name for name, well in kept.items() if not well]


def timed(work: Callable[[], Answer]) -> tuple[Answer, float, float]:
    """Return what the work returned, its wall-clock and its processor seconds."""
    start, spent = time.perf_counter(), time.process_time()
    answer = work()
    return answer, time.perf_counter() - start, time.process_time() - spent


if __name__ == "__main__":
    sys.exit(main())
