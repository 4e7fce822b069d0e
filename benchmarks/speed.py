"""How fast everything is that has to be fast, each beside what it is compared with; exits with 1 when one falls short.

    python -m venv /tmp/peer && /tmp/peer/bin/pip install "torch>=2.6,<2.14" ctgan==0.12.1
    python benchmarks/speed.py --data DIR --folder FOLDER --ctgan /tmp/peer/bin/python [--only NAME ...] [--runs 3]

- `steps`: a step of DP-SGD beside a plain step of the same family, of 1,024 rows (`text`: 512); of the 16 steps that
  are timed two are taken twice more to check them, where of a fit's 100 it is seven.
- `epochs`: an epoch of our `ctgan` beside one of the `ctgan` package, which runs in an environment of its own.
- `categories`: a fit of `rows` with one more column, of 529 categories, beside one with a column of 10.
- `sampling`: rows a second, of 26,048 rows of Adult.
- `million`: `marginals` at epsilon 1 on 1,000,000 simulated rows of 15 columns, which FOLDER keeps; see `large.py`.

DIR holds adult.train.csv.gz. One thread; seconds are the processor's. What a step or an epoch takes is the difference
between a long fit and a short one, so that what a fit does once does not count; of `--runs` runs the fastest counts.
Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import operator
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import large
import numpy as np
import pandas as pd
import torch

from tabsynth.drafting import draft
from tabsynth.fitting import make_budget, make_secret, make_synthesizer
from tabsynth.privacy.ledger import Ledger
from tabsynth.schema import Column
from tabsynth.synthesizers.base import Sampler
from tabsynth.table import Table, read

# By family the rows of a step, the most that a private step may cost, and settings that leave out other steps.
STEPS: dict[str, tuple[int, float, dict[str, Any]]] = {
    "rows": (1024, 2, {}),
    "vae": (1024, 2, {"warm_steps": 1, "dream_steps": 1}),
    "text": (512, 3, {"warm_steps": 0}),
}
LEAST_SAMPLED = {"marginals": 200_000, "ctgan": 100_000, "vae": 100_000, "rows": 40_000}
QUICK: dict[str, dict[str, Any]] = {"ctgan": {"epochs": 1}, "vae": {"epochs": 1.0}}  # drawing takes as long after more
PEER = """
import sys, json, time
import pandas as pd, torch
torch.set_num_threads(1)
from ctgan import CTGAN
frame = pd.read_csv(sys.argv[1], skipinitialspace=True)
discrete = [name for name in frame if not pd.api.types.is_numeric_dtype(frame[name])]
start = time.process_time()
CTGAN(epochs=int(sys.argv[2]), enable_gpu=False).fit(frame, discrete)
print(json.dumps(time.process_time() - start))
"""


@dataclass(frozen=True, slots=True)
class Figure:
    """What was measured, and the most it may be; or the least, when a limit is `at_least`."""

    what: str
    value: float
    limit: float
    at_least: bool = False
    told: str = ""

    @property
    def kept(self) -> bool:
        """Say whether the figure is within its limit."""
        return (operator.ge if self.at_least else operator.le)(self.value, self.limit)

    def __str__(self) -> str:
        asked = f"at {'least' if self.at_least else 'most'} {self.limit:,g}"
        shown = f"{self.value:,.0f}" if self.value >= 1000 else f"{self.value:.2f}"
        return f"| {self.what} | {shown} | {asked}{'' if self.kept else ': missed'} | {self.told} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--folder", type=Path, help="for `million`")
    parser.add_argument("--ctgan", type=Path, help="a Python that has the ctgan package, for `epochs`")
    parser.add_argument("--only", nargs="+", choices=MEASURES, default=list(MEASURES))
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    for name, needed in (("million", options.folder), ("epochs", options.ctgan)):
        if name in options.only and needed is None:
            parser.error(f"{name} needs --{'folder' if name == 'million' else 'ctgan'}")
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    print("| what | figure | asked | |\n|---|---|---|---|", flush=True)
    kept = True
    for name in options.only:
        for figure in MEASURES[name](options):
            print(figure, flush=True)
            kept = kept and figure.kept
    return 0 if kept else 1


def steps(options: argparse.Namespace) -> Iterator[Figure]:
    """Yield how many plain steps a step of DP-SGD costs."""
    table, counts = adult(options.data), (4, 20)
    for family, (batch, most, fixed) in STEPS.items():
        noisy = [fixed | {"batch": batch, "steps": count} for count in counts]
        plain = [fixed | {"free_batch": batch, "epochs": count * batch / len(table.private)} for count in counts]
        took = [
            each_of(counts, [partial(fit, table, family, epsilon, **each) for each in pair], options.runs) / batch * 1e6
            for epsilon, pair in ((3.0, noisy), (None, plain))
        ]
        told = f"{took[0]:.0f} and {took[1]:.0f} ms per 1,000 rows"
        yield Figure(f"`{family}`, a private step beside a plain one", took[0] / took[1], most, told=told)


def epochs(options: argparse.Namespace) -> Iterator[Figure]:
    """Yield how many epochs of ours take the time of one of the other package's."""
    path, counts = options.data / "adult.train.csv.gz", (5, 25)
    table = adult(options.data)
    ours = each_of(counts, [partial(fit, table, "ctgan", None, epochs=count) for count in counts], options.runs)
    short, long = (min(of_peer(options.ctgan, path, count) for _ in range(options.runs)) for count in counts)
    peer = (long - short) / (counts[1] - counts[0])
    told = f"{ours:.2f} s an epoch, theirs {peer:.2f}"
    yield Figure("`ctgan`, epochs in the time of one of `ctgan` 0.12.1", peer / ours, 3, at_least=True, told=told)


def each_of(counts: Sequence[int], works: Sequence[Callable[[], Any]], runs: int) -> float:
    """Return the seconds that each of what one work does more of than the other takes."""
    works[0]()  # what is compiled on first use is compiled here
    short, long = (fastest(runs, work) for work in works)
    return (long - short) / (counts[1] - counts[0])


def of_peer(python: Path, path: Path, count: int) -> float:
    """Return the seconds that the other package's fit takes."""
    told = subprocess.run([python, "-c", PEER, path, str(count)], capture_output=True, text=True, check=True)
    return float(json.loads(told.stdout.splitlines()[-1]))


def categories(options: argparse.Namespace) -> Iterator[Figure]:
    """Yield what 529 categories cost beside 10, by fits with a budget and without."""
    table = adult(options.data)
    few, many = (with_categories(table, count) for count in (10, 529))
    cases: list[tuple[float | None, dict[str, Any]]] = [(1.0, {"steps": 20, "batch": 1024}), (None, {"epochs": 1.0})]
    for epsilon, settings in cases:
        ten, more = (fastest(options.runs, partial(fit, each, "rows", epsilon, **settings)) for each in (few, many))
        told = f"fits of {more:.1f} and {ten:.1f} s, {'epsilon 1' if epsilon else 'no budget'}"
        yield Figure("`rows`, 529 categories beside 10", more / ten, 1.3, told=told)


def with_categories(table: Table, count: int) -> Table:
    """Return the table with a column of so many categories more, the k-th as frequent as 1 / k."""
    names = tuple(f"c{place}" for place in range(count))
    odds = 1 / np.arange(1, count + 1)
    drawn = np.random.default_rng(0).choice(count, len(table.private), p=odds / odds.sum())
    column = Column("extra", "categorical", categories=names)
    frame = table.private.assign(extra=pd.Categorical.from_codes(drawn, list(names)))
    return read(frame, replace(table.schema, columns=(*table.schema.columns, column)))


def sampling(options: argparse.Namespace) -> Iterator[Figure]:
    """Yield rows a second of models that were fitted without a budget."""
    table = adult(options.data)
    for family, least in LEAST_SAMPLED.items():
        sampler = fit(table, family, None, **QUICK.get(family, {}))
        rows = len(table.private)
        taken = fastest(options.runs + 1, partial(sampler.sample, rows, np.random.default_rng(0)))
        yield Figure(f"`{family}`, rows sampled a second", rows / taken, least, at_least=True)


def million(options: argparse.Namespace) -> Iterator[Figure]:
    """Yield seconds and memory of `tabsynth fit` on a Parquet file."""
    path = large.simulated_file(options.folder, 1_000_000)
    _, used, peak = large.timed_fit(path, "marginals")
    yield Figure("1,000,000 x 15, `marginals`, seconds", used, 300)
    yield Figure("1,000,000 x 15, `marginals`, GiB", peak / 2**30, 6)


def adult(data: Path) -> Table:
    """Return Adult's training half: domains and row count declared, bins not."""
    path = data / "adult.train.csv.gz"
    return read(path, draft(path).schema.with_target("income"))


def fit(table: Table, family: str, epsilon: float | None, **settings: Any) -> Sampler:
    budget = make_budget(epsilon, 1e-5)
    return make_synthesizer(family, 0, **settings).fit(table, Ledger(budget), make_secret(budget, None))


def fastest(runs: int, work: Callable[[], Any]) -> float:
    """Return the processor's seconds of the fastest of so many runs."""
    taken = []
    for _ in range(runs):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return min(taken)


MEASURES: dict[str, Callable[[argparse.Namespace], Iterator[Figure]]] = {
    "steps": steps,
    "epochs": epochs,
    "categories": categories,
    "sampling": sampling,
    "million": million,
}


if __name__ == "__main__":
    sys.exit(main())
