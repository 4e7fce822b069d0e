"""What `text` makes of Adult's columns as sentences, how fast it writes, and what a private step costs beside another.

    python benchmarks/text_quality.py --data DIR --judge JUDGE.py [--only adult] [--epsilon 0] [--set width=64 ...]
    python benchmarks/text_quality.py --steps

For each table of DIR (adult, bank, shoppers: NAME.train.csv.gz and NAME.test.csv.gz) and each epsilon (0: not private):
drafts a schema from the training file, fits at delta 1e-5 with bins discovered and charged, samples as many rows, and
prints the figures of JUDGE.py (called as JUDGE.py TRAIN TEST SYNTHETIC TARGET, one JSON object). Seconds are those of
the processor. `--steps` times one thread on a clipped sum and a plain gradient, for GPT-2s from scratch.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from tabsynth.drafting import draft
from tabsynth.fitting import make_synthesizer
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.synthesizers import language_model, model
from tabsynth.synthesizers.layer_gradients import clipped_sum
from tabsynth.table import Table, read

T = TypeVar("T")
TARGETS = {"adult": "income", "bank": "y", "shoppers": "Revenue"}
FIGURES = ("tstr", "tstr_lr", "tvd1", "tvd2", "tvd3", "c2st", "dcr_share")
SHAPES = ((200, 60, 64, 2), (200, 60, 128, 3), (100, 330, 64, 2))  # ids, ids of a row, width, depth


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--judge", type=Path)
    parser.add_argument("--only", choices=sorted(TARGETS), default="adult")
    parser.add_argument("--epsilon", type=float, nargs="+", default=[0.0])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE")
    parser.add_argument("--steps", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.steps:
        steps()
        return
    if options.data is None or options.judge is None:
        parser.error("--data and --judge are needed without --steps")
    settings = {name: _value(text) for name, _, text in (each.partition("=") for each in options.set)}
    print(f"{'table':10}{'epsilon':>8}{'seed':>5}{'fit s':>8}{'rows/s':>9}" + "".join(f"{f:>10}" for f in FIGURES))
    for epsilon in options.epsilon:
        for seed in range(options.seeds):
            quality(options.data, options.judge, options.only, epsilon, {**settings, "seed": seed})


def quality(data: Path, judge: Path, name: str, epsilon: float, settings: dict[str, Any]) -> None:
    """Print one line: a fit, a sample, and what the judge says of it."""
    train, test = (data / f"{name}.{half}.csv.gz" for half in ("train", "test"))
    table = training(train, TARGETS[name])
    ledger = Ledger(Budget(epsilon, 1e-5) if epsilon else None)
    fit_seconds, fitted = timed(lambda: model.fit(make_synthesizer("text", **settings), table, ledger, Secret()))
    seconds, rows = timed(lambda: fitted.sample(len(table.private), np.random.default_rng(settings["seed"])))
    with TemporaryDirectory() as folder:
        rows.to_csv(Path(folder) / "rows.csv", index=False)
        command = [sys.executable, judge, train, test, Path(folder) / "rows.csv", TARGETS[name]]
        found = json.loads(subprocess.run(list(map(str, command)), capture_output=True, check=True, text=True).stdout)
    figures = "".join(f"{found[figure]:10.4f}" for figure in FIGURES)
    line = f"{name:10}{epsilon or math.inf:8g}{settings['seed']:5}{fit_seconds:8.0f}{len(rows) / seconds:9.0f}{figures}"
    print(line, flush=True)


def training(path: Path, target: str) -> Table:
    """Return the training rows with a schema drafted from them: domains declared, bins not."""
    schema = draft(path).schema
    columns = (replace(column, roles=("target",)) if column.name == target else column for column in schema)
    return read(path, schema.with_columns(*columns))


def steps() -> None:
    """Print milliseconds per 1,000 rows of both gradients, by shape."""
    print(f"{'ids':>5}{'a row':>7}{'width':>7}{'depth':>7}{'clipped sum ms':>16}{'plain gradient ms':>19}{'ratio':>7}")
    for size, longest, width, depth in SHAPES:
        net = language_model.untrained(size, longest, width=width, depth=depth, heads=2, seed=0)
        ids = torch.randint(size, (64, longest), generator=torch.Generator().manual_seed(0))

        def losses(own: Tensor, net: language_model.LanguageModel = net) -> Tensor:
            logits = net.logits(own)[:, :-1].transpose(1, 2)
            return functional.cross_entropy(logits, own[:, 1:], reduction="none").sum(1)

        sums = {bound: partial(clipped_sum, net.net, losses, [ids], bound, chunk=64) for bound in (1.0, math.inf)}
        clipped, plain = (min(timed(work)[0] for _ in range(5)) for work in sums.values())
        times = f"{clipped / len(ids) * 1e6:16.0f}{plain / len(ids) * 1e6:19.0f}{clipped / plain:7.2f}"
        print(f"{size:5}{longest:7}{width:7}{depth:7}{times}", flush=True)


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """Return the processor's seconds that `work` took, and what it returned."""
    start = time.process_time()
    done = work()
    return time.process_time() - start, done


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


if __name__ == "__main__":
    main()
