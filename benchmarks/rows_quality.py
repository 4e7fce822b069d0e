"""What the row transformer's tables are worth, and where its time goes.

    python benchmarks/rows_quality.py --data DIR --judge JUDGE.py [--only adult] [--epsilon 1] [--seeds 3]
        [--set NAME=VALUE ...]
    python benchmarks/rows_quality.py --data DIR --speed

For each table of DIR (adult, bank, shoppers: NAME.train.csv.gz and NAME.test.csv.gz), each epsilon (0: not private) and
each seed: drafts a schema from the training file, fits at delta 1e-5 with bins discovered and charged, samples as many
rows, and prints the figures of JUDGE.py (called as JUDGE.py TRAIN TEST SYNTHETIC TARGET, one JSON object). `--set`
changes settings of the fit. Seconds are those of the processor, which a busy machine stretches less than those of the
clock.

`--speed` gives Adult one more column, of 10 or of 529 categories, and times one thread: short fits with a budget and
without, a clipped sum against a plain gradient, and sampling.
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
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch

from tabsynth.drafting import draft
from tabsynth.encoding.encoder import Encoder
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.schema import Column
from tabsynth.synthesizers import model
from tabsynth.synthesizers.rows import Rows
from tabsynth.synthesizers.transformer import CHUNK, RowTransformer, clipped_sum
from tabsynth.table import Table, read

T = TypeVar("T")
TARGETS = {"adult": "income", "bank": "y", "shoppers": "Revenue"}
FIGURES = ("tstr", "tstr_lr", "tvd1", "tvd2", "tvd3", "c2st", "dcr_share")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--judge", type=Path)
    parser.add_argument("--only", choices=sorted(TARGETS))
    parser.add_argument("--epsilon", type=float, nargs="+", default=[1.0, 8.0, 0.0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE")
    parser.add_argument("--speed", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.data is None or not (options.speed or options.judge):
        parser.error("--data is needed, and --judge or --speed")
    if options.speed:
        speed(options.data)
        return
    settings = {name: _value(value) for name, _, value in (each.partition("=") for each in options.set)}
    print(f"{'table':10}{'epsilon':>8}{'seed':>5}{'fit s':>8}{'rows/s':>9}" + "".join(f"{f:>10}" for f in FIGURES))
    for name in [options.only] if options.only else TARGETS:
        for epsilon in options.epsilon:
            for seed in range(options.seeds):
                quality(options.data, options.judge, name, epsilon, Rows(seed=seed, **settings))


def quality(data: Path, judge: Path, name: str, epsilon: float, settings: Rows) -> None:
    """Print one line: a fit, a sample, and what the judge says of it."""
    train, test = (data / f"{name}.{half}.csv.gz" for half in ("train", "test"))
    table = training(train, TARGETS[name])
    ledger = Ledger(Budget(epsilon, 1e-5) if epsilon else None)
    fit_seconds, fitted = timed(lambda: model.fit(settings, table, ledger, Secret()))
    seconds, rows = timed(lambda: fitted.sample(len(table.private), np.random.default_rng(settings.seed)))
    with TemporaryDirectory() as folder:
        rows.to_csv(Path(folder) / "rows.csv", index=False)
        command = [sys.executable, judge, train, test, Path(folder) / "rows.csv", TARGETS[name]]
        found = json.loads(subprocess.run(list(map(str, command)), capture_output=True, check=True, text=True).stdout)
    figures = "".join(f"{found[figure]:10.4f}" for figure in FIGURES)
    print(
        f"{name:10}{epsilon or math.inf:8g}{settings.seed:5}{fit_seconds:8.0f}{len(rows) / seconds:9.0f}{figures}",
        flush=True,
    )


def training(path: Path, target: str) -> Table:
    """Return the training rows with a schema drafted from them: domains declared, bins not."""
    schema = draft(path).schema
    columns = (replace(column, roles=("target",)) if column.name == target else column for column in schema)
    return read(path, schema.with_columns(*columns))


def speed(data: Path) -> None:
    """Print, by the number of categories of a further column, what a fit, a gradient and a sample take."""
    heads = ("private fit s", "plain fit s", "clipped ms", "plain ms", "rows/s")
    print("categories" + "".join(f"{head:>15}" for head in heads))
    adult = training(data / "adult.train.csv.gz", TARGETS["adult"])
    for count in (None, 10, 529):
        found = speeds(adult if count is None else with_categories(adult, count))
        print(f"{count or 'none':<10}" + "".join(f"{each:15.1f}" for each in found), flush=True)


def speeds(table: Table) -> tuple[float, ...]:
    """Return seconds of two short fits, milliseconds per 1,000 rows of both gradients, and rows sampled per second."""
    private, _ = timed(lambda: model.fit(Rows(steps=8, batch=1024), table, Ledger(Budget(1.0, 1e-5)), Secret()))
    plain, fitted = timed(lambda: model.fit(Rows(epochs=2.0), table, Ledger(), Secret()))
    rows = len(table.private)
    sampled = min(timed(lambda: fitted.sample(rows, np.random.default_rng(0)))[0] for _ in range(3))
    return private, plain, *step_times(Encoder(fitted.schema).sizes), rows / sampled


def with_categories(table: Table, count: int) -> Table:
    """Return the table with a column of so many categories more, the k-th as frequent as 1 / k."""
    names = tuple(f"c{place}" for place in range(count))
    odds = 1 / np.arange(1, count + 1)
    drawn = np.random.default_rng(0).choice(count, len(table.private), p=odds / odds.sum())
    column = Column("extra", "categorical", categories=names)
    frame = table.private.assign(extra=pd.Categorical.from_codes(drawn, list(names)))
    return read(frame, replace(table.schema, columns=(*table.schema.columns, column)))


def step_times(sizes: Sequence[int], rows: int = 2048) -> tuple[float, float]:
    """Return milliseconds per 1,000 rows of a clipped sum and of a plain gradient, the least of five each."""
    settings = Rows()
    transformer = RowTransformer(sizes, width=settings.width, depth=settings.depth, heads=settings.heads)
    rng = torch.Generator().manual_seed(0)
    tokens = torch.stack([torch.randint(size, (rows,), generator=rng) for size in sizes], 1)
    orders = torch.arange(len(sizes)).expand(rows, len(sizes))

    def plain() -> None:
        for part, order in zip(torch.split(tokens, CHUNK), torch.split(orders, CHUNK), strict=True):
            torch.autograd.grad(transformer.losses(part, order).sum(), list(transformer.parameters()))

    clipped = min(timed(lambda: clipped_sum(transformer, tokens, orders, 0.5))[0] for _ in range(5))
    free = min(timed(plain)[0] for _ in range(5))
    return clipped / rows * 1e6, free / rows * 1e6


def _value(text: str) -> Any:
    """Return a number when it is one, else the text."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """Return the processor's seconds that `work` took, and what it returned."""
    start = time.process_time()
    done = work()
    return time.process_time() - start, done


if __name__ == "__main__":
    main()
