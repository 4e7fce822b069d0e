"""What the variational autoencoder's tables are worth, what a fit takes, and what a private step costs beside another.

    python benchmarks/vae_quality.py --data DIR --judge JUDGE.py [--only adult] [--epsilon 3] [--seeds 3]
    python benchmarks/vae_quality.py --speed

For each table of DIR (adult, bank, shoppers: NAME.train.csv.gz and NAME.test.csv.gz), each epsilon (0: not private) and
each seed: drafts a schema from the training file, fits at delta 1e-5 with bins discovered and charged, samples as many
rows, and prints the figures of JUDGE.py (called as JUDGE.py TRAIN TEST SYNTHETIC TARGET, one JSON object) and how many
latent units are active. Seconds are those of the processor, which a busy machine stretches less than those of the
clock. `--set name=value` changes a setting. `--speed` times one thread, on rows of Adult's shape, on a whole step with
clipping and noise and on a plain one, and on sampling.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import numpy as np
import torch

from tabsynth.drafting import draft
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.dpsgd import DPSGD, DPSGDSettings
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.schema import Column, Schema
from tabsynth.synthesizers import model
from tabsynth.synthesizers.bookkeeping import clipped_sum
from tabsynth.synthesizers.vae import VAE, VAESampler
from tabsynth.table import Table, read

T = TypeVar("T")
TARGETS = {"adult": "income", "bank": "y", "shoppers": "Revenue"}
FIGURES = ("tstr", "tstr_lr", "tvd1", "tvd2", "tvd3", "c2st", "dcr_share")
ADULT = {"numbers": 6, "bins": 32, "categories": (9, 16, 7, 14, 6, 5, 2, 42, 2), "rows": 26_048}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--judge", type=Path)
    parser.add_argument("--only", choices=sorted(TARGETS))
    parser.add_argument("--epsilon", type=float, nargs="+", default=[3.0, 0.0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE")
    parser.add_argument("--speed", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.speed:
        speed()
        return
    if options.data is None or options.judge is None:
        parser.error("--data and --judge are needed without --speed")
    settings = {name: json.loads(value) for name, value in (each.split("=", 1) for each in options.set)}
    header = "".join(f"{figure:>10}" for figure in FIGURES)
    print(f"{'table':10}{'epsilon':>8}{'seed':>5}{'fit s':>8}{'rows/s':>9}{'units':>6}" + header)
    for name in [options.only] if options.only else TARGETS:
        for epsilon in options.epsilon:
            for seed in range(options.seeds):
                quality(options.data, options.judge, name, epsilon, settings | {"seed": seed})


def quality(data: Path, judge: Path, name: str, epsilon: float, settings: Mapping[str, Any]) -> None:
    """Print one line: a fit, a sample, and what the judge says of it."""
    train, test = (data / f"{name}.{half}.csv.gz" for half in ("train", "test"))
    table, seed = training(train, TARGETS[name]), settings["seed"]
    ledger = Ledger(Budget(epsilon, 1e-5) if epsilon else None)
    fit_seconds, fitted = timed(lambda: model.fit(VAE(**settings), table, ledger, Secret()))
    seconds, rows = timed(lambda: fitted.sample(len(table.private), np.random.default_rng(seed)))
    assert isinstance(fitted.sampler, VAESampler)
    active = fitted.sampler.active_units(rows)
    with TemporaryDirectory() as folder:
        rows.to_csv(Path(folder) / "rows.csv", index=False)
        command = [sys.executable, judge, train, test, Path(folder) / "rows.csv", TARGETS[name]]
        found = json.loads(subprocess.run(list(map(str, command)), capture_output=True, check=True, text=True).stdout)
    figures = "".join(f"{found[figure]:10.4f}" for figure in FIGURES)
    start = f"{name:10}{epsilon or math.inf:8g}{seed:5}{fit_seconds:8.0f}{len(rows) / seconds:9.0f}{active:6}"
    print(start + figures, flush=True)


def training(path: Path, target: str) -> Table:
    """Return the training rows with a schema drafted from them: domains declared, bins not."""
    schema = draft(path).schema
    columns = (replace(column, roles=("target",)) if column.name == target else column for column in schema)
    return read(path, schema.with_columns(*columns))


def speed() -> None:
    """Print milliseconds per step, private and plain, and rows sampled per second."""
    for batch in (2048, 8192):
        private, plain = step_times(batch)
        print(f"batch {batch}: private step {private:.0f} ms, plain {plain:.0f} ms, ratio {private / plain:.2f}")
    bins = tuple(range(ADULT["bins"] + 1))
    numbers = [Column(f"x{i}", "integer", bounds=(0, 31), bins=bins) for i in range(ADULT["numbers"])]
    levels = [tuple(f"v{i}" for i in range(size)) for size in ADULT["categories"]]
    texts = [Column(f"c{i}", "categorical", categories=names) for i, names in enumerate(levels)]
    schema = Schema((*numbers, *texts))
    sampler = VAESampler(schema, VAE(), VAE().untrained(sizes()))
    seconds = min(timed(lambda: sampler.sample(100_000, np.random.default_rng(0)))[0] for _ in range(3))
    print(f"sampling: {100_000 / seconds:.0f} rows/s")


def step_times(batch: int, steps: int = 8) -> tuple[float, float]:
    """Return milliseconds of a step under DP-SGD, noise and checks included, and of a plain one: the least of 8."""
    settings, total = VAE(), ADULT["rows"]
    rng = torch.Generator().manual_seed(0)
    tokens = torch.stack([torch.randint(size, (total,), generator=rng) for size in sizes()], 1)
    private, plain = settings.untrained(sizes()), settings.untrained(sizes())
    optimizers = [torch.optim.Adam(each.parameters(), 1e-3) for each in (private, plain)]
    secret, ledger = Secret(), Ledger(Budget(3.0, 1e-5))
    noise = torch.from_numpy(secret.normal((total, private.latent))).float()
    dpsgd = DPSGD(
        DPSGDSettings(steps, batch), optimizers[0], private_rows=total, public_units=total, ledger=ledger, secret=secret
    )
    parameters = list(private.parameters())

    def noisy(drawn: Any) -> None:
        def sum_of(places: Any) -> list[torch.Tensor]:
            at = torch.from_numpy(drawn.rows[places].copy())
            return clipped_sum(parameters, private.losses, (tokens[at], noise[at]), 1.0)

        dpsgd.step(drawn, sum_of(slice(None)), sum_of=sum_of)

    def free() -> None:
        at = torch.randperm(total, generator=rng)[:batch]
        optimizers[1].zero_grad()
        for part in torch.split(at, 2048):
            (plain.losses(tokens[part], noise[part]).sum() / batch).backward()
        optimizers[1].step()

    private_times = [timed(lambda drawn=drawn: noisy(drawn))[0] for drawn in dpsgd.batches()]
    plain_times = [timed(free)[0] for _ in range(steps)]
    return min(private_times) * 1e3, min(plain_times) * 1e3


def sizes() -> tuple[int, ...]:
    """Return the numbers of tokens of Adult's columns."""
    return (*[ADULT["bins"]] * ADULT["numbers"], *ADULT["categories"])


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """Return the processor's seconds that `work` took, and what it returned."""
    start = time.process_time()
    done = work()
    return time.process_time() - start, done


if __name__ == "__main__":
    main()
