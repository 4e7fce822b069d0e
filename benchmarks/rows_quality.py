"""What the row transformer's tables are worth, what a fit takes, and what a private step costs beside another.

    python benchmarks/rows_quality.py --data DIR --judge JUDGE.py [--only adult] [--epsilon 1] [--seeds 3]
    python benchmarks/rows_quality.py --steps

For each table of DIR (adult, bank, shoppers: NAME.train.csv.gz and NAME.test.csv.gz), each epsilon (0: not private) and
each seed: drafts a schema from the training file, fits at delta 1e-5 with bins discovered and charged, samples as many
rows, and prints the figures of JUDGE.py (called as JUDGE.py TRAIN TEST SYNTHETIC TARGET, one JSON object). Seconds are
those of the processor, which a busy machine stretches less than those of the clock. `--steps` times one thread on a
clipped sum, a plain gradient and sampling, for rows of Adult's shape and with one column of 10 or of 529 categories.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import numpy as np
import torch

from tabsynth.drafting import draft
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.synthesizers import model
from tabsynth.synthesizers.rows import Rows
from tabsynth.synthesizers.transformer import RowTransformer, clipped_sum
from tabsynth.table import Table, read

T = TypeVar("T")
TARGETS = {"adult": "income", "bank": "y", "shoppers": "Revenue"}
FIGURES = ("tstr", "tstr_lr", "tvd1", "tvd2", "tvd3", "c2st", "dcr_share")
ADULT = (32, 9, 32, 16, 16, 7, 14, 6, 5, 2, 8, 10, 32, 42, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--judge", type=Path)
    parser.add_argument("--only", choices=sorted(TARGETS))
    parser.add_argument("--epsilon", type=float, nargs="+", default=[1.0, 8.0, 0.0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", action="store_true")
    options = parser.parse_args()
    if options.steps:
        steps()
        return
    if options.data is None or options.judge is None:
        parser.error("--data and --judge are needed without --steps")
    print(f"{'table':10}{'epsilon':>8}{'seed':>5}{'fit s':>8}{'rows/s':>9}" + "".join(f"{f:>10}" for f in FIGURES))
    for name in [options.only] if options.only else TARGETS:
        for epsilon in options.epsilon:
            for seed in range(options.seeds):
                quality(options.data, options.judge, name, epsilon, seed)


def quality(data: Path, judge: Path, name: str, epsilon: float, seed: int) -> None:
    """Print one line: a fit, a sample, and what the judge says of it."""
    train, test = (data / f"{name}.{half}.csv.gz" for half in ("train", "test"))
    table = training(train, TARGETS[name])
    ledger = Ledger(Budget(epsilon, 1e-5) if epsilon else None)
    fit_seconds, fitted = timed(lambda: model.fit(Rows(seed=seed), table, ledger, Secret()))
    seconds, rows = timed(lambda: fitted.sample(len(table.private), np.random.default_rng(seed)))
    with TemporaryDirectory() as folder:
        rows.to_csv(Path(folder) / "rows.csv", index=False)
        command = [sys.executable, judge, train, test, Path(folder) / "rows.csv", TARGETS[name]]
        found = json.loads(subprocess.run(list(map(str, command)), capture_output=True, check=True, text=True).stdout)
    figures = "".join(f"{found[figure]:10.4f}" for figure in FIGURES)
    print(f"{name:10}{epsilon or math.inf:8g}{seed:5}{fit_seconds:8.0f}{len(rows) / seconds:9.0f}{figures}", flush=True)


def training(path: Path, target: str) -> Table:
    """Return the training rows with a schema drafted from them: domains declared, bins not."""
    schema = draft(path).schema
    columns = (replace(column, roles=("target",)) if column.name == target else column for column in schema)
    return read(path, schema.with_columns(*columns))


def steps() -> None:
    """Print milliseconds per 1,000 rows and rows per second, by shape."""
    torch.set_num_threads(1)
    print(f"{'shape':28}{'clipped sum ms':>16}{'plain gradient ms':>19}{'ratio':>7}{'sampled rows/s':>16}")
    for name, sizes in {"Adult": ADULT, "with 10 categories": (*ADULT, 10), "with 529": (*ADULT, 529)}.items():
        clipped, plain, sampled = step_times(sizes)
        print(f"{name:28}{clipped:16.0f}{plain:19.0f}{clipped / plain:7.2f}{sampled:16.0f}", flush=True)


def step_times(sizes: Sequence[int], rows: int = 2048, chunk: int = 512) -> tuple[float, float, float]:
    """Return milliseconds per 1,000 rows of both gradients, the least of five each, and rows sampled per second."""
    settings = Rows()
    transformer = RowTransformer(sizes, width=settings.width, depth=settings.depth, heads=settings.heads)
    rng = torch.Generator().manual_seed(0)
    tokens = torch.stack([torch.randint(size, (rows,), generator=rng) for size in sizes], 1)
    orders = torch.arange(len(sizes)).expand(rows, len(sizes))

    def plain() -> None:
        for part, order in zip(torch.split(tokens, chunk), torch.split(orders, chunk), strict=True):
            torch.autograd.grad(transformer.losses(part, order).sum(), list(transformer.parameters()))

    clipped = min(timed(lambda: clipped_sum(transformer, tokens, orders, 0.5, chunk=chunk))[0] for _ in range(5))
    free = min(timed(plain)[0] for _ in range(5))
    uniform = torch.rand(4096, len(sizes), generator=rng)
    drawn = min(timed(lambda: transformer.draw(uniform, range(len(sizes))))[0] for _ in range(5))
    return clipped / rows * 1e6, free / rows * 1e6, len(uniform) / drawn


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """Return the processor's seconds that `work` took, and what it returned."""
    start = time.process_time()
    done = work()
    return time.process_time() - start, done


if __name__ == "__main__":
    main()
