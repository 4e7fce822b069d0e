"""What the audit of a large table takes: processor seconds and memory of reading, of every check and of the report.

    python benchmarks/audit_large.py --data DIR --folder NEW [--rows 1000000] [--train 200000] [--policy default]

NEW gets `train.csv`, a quarter as many rows in `holdout.csv` and `synthetic.csv`, unless they are there: rows drawn
with replacement from both halves of Adult in DIR (adult.train.csv.gz, adult.test.csv.gz), 15 columns, of which one cell
in ten is taken from another row. So all three are of one population, with few rows twice. Then `audit_tables`, which is
the command `tabsynth audit`, judges them; seconds are those of the process's own processor time, memory the most that
was resident during a step (Linux). With `--budget 2m` the checks that fit are made, as by the command.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

SWAPPED = 0.1  # of all cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--train", type=int, default=200_000)
    parser.add_argument("--policy", default="default")
    parser.add_argument("--budget")
    parser.add_argument("--make", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    sizes = {"train": options.train, "holdout": options.train // 4, "synthetic": options.rows}
    if options.make:
        make(options.data, options.folder, sizes)
        return
    if not (options.folder / "synthetic.csv").exists():  # in another process, whose memory is not counted
        subprocess.run([sys.executable, *sys.argv, "--make"], check=True)
    audit(options.folder, options.policy, options.budget)


def make(data: Path, folder: Path, sizes: dict[str, int]) -> None:
    """Write the three tables."""
    folder.mkdir(parents=True, exist_ok=True)
    halves = [pd.read_csv(data / f"adult.{half}.csv.gz", skipinitialspace=True) for half in ("train", "test")]
    pool, rng = pd.concat(halves, ignore_index=True), np.random.default_rng(0)
    for name, rows in sizes.items():
        drawn = rng.integers(len(pool), size=rows)
        columns = {}
        for label in pool:
            place = np.where(rng.random(rows) < SWAPPED, rng.integers(len(pool), size=rows), drawn)
            columns[label] = pool[label].to_numpy()[place]
        pd.DataFrame(columns).to_csv(folder / f"{name}.csv", index=False)


def audit(folder: Path, policy: str, budget: str | None) -> None:
    """Judge the tables and print what every step took."""
    from tabsynth.policy import seconds_of
    from tabsynth.walk import audit_tables

    steps = Steps()
    start = time.perf_counter()
    report = Path(tempfile.mkdtemp()) / "report"
    train, holdout, synthetic = (folder / f"{name}.csv" for name in ("train", "holdout", "synthetic"))
    found = audit_tables(
        train,
        holdout,
        synthetic,
        report,
        target="income",
        policy=policy,
        budget=None if budget is None else seconds_of(budget),
        seed=0,
        on_check=steps.next,
    )
    steps.next("")
    shutil.rmtree(report.parent)
    print(f"{'step':36}{'CPU s':>8}{'GiB':>7}")
    for name, (seconds, memory) in steps.found.items():
        print(f"{name:36}{seconds:8.1f}{memory:7.2f}")
    seconds, most = sum(one for one, _ in steps.found.values()), max(one for _, one in steps.found.values())
    print(f"{'all':36}{seconds:8.1f}{most:7.2f}   {time.perf_counter() - start:.0f} s by the clock")
    for verdict in found.verdicts:
        print(f"{verdict.name:36}{verdict.status:16}{verdict.reason}")


class Steps:
    """Processor seconds and the largest resident memory between one name and the next."""

    def __init__(self) -> None:
        self.found: dict[str, tuple[float, float]] = {}
        self.name, self.start = "", 0.0
        self.next("reading")

    def next(self, name: str) -> None:
        """End the step before and begin the one called `name`."""
        now = time.process_time()
        if self.name:
            self.found[self.name] = now - self.start, largest()
            print(f"{self.name}: {now - self.start:.1f} s, {largest():.2f} GiB", file=sys.stderr, flush=True)
        self.name, self.start = name, now
        Path("/proc/self/clear_refs").write_text("5")  # the mark of the largest memory starts anew


def largest() -> float:
    """Return the most memory that was resident since the last mark, in GiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 2**20


if __name__ == "__main__":
    main()
