"""The audit of synthetic tables that other libraries made from Adult, with their own settings.

    python benchmarks/audit_others.py --data DIR --folder NEW --make sdv      (with a Python that has sdv)
    python benchmarks/audit_others.py --data DIR --folder NEW --make ctgan    (with a Python that has ctgan)
    python benchmarks/audit_others.py --data DIR --folder NEW [--policy thorough]

The first two write `sdv.csv` (GaussianCopulaSynthesizer) and `ctgan.csv` (CTGAN, `--epochs`), as many rows as
adult.train.csv.gz of DIR has; the third judges each of them, and the training rows themselves, as `tabsynth audit`
would, with adult.test.csv.gz as the holdout, and prints a Markdown table of what every check found and its limits.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from tabsynth.policy import Verdict


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--make", choices=("sdv", "ctgan"))
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--policy", default="default")
    options = parser.parse_args()
    if options.make is None:
        audit(options.data, options.folder, options.policy)
        return
    train = pd.read_csv(options.data / "adult.train.csv.gz")
    start = time.process_time()
    made = sdv(train) if options.make == "sdv" else ctgan(train, options.epochs)
    options.folder.mkdir(parents=True, exist_ok=True)
    made.to_csv(options.folder / f"{options.make}.csv", index=False)
    print(f"{options.make}: {len(made)} rows, {time.process_time() - start:.0f} s of processor")


def sdv(train: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a Gaussian copula of SDV."""
    from sdv.metadata import Metadata
    from sdv.single_table import GaussianCopulaSynthesizer

    tables = {"adult": train}
    synthesizer = GaussianCopulaSynthesizer(Metadata.detect_from_dataframes(tables))
    synthesizer.fit(tables)
    rows: pd.DataFrame = synthesizer.sample(len(train))["adult"]
    return rows


def ctgan(train: pd.DataFrame, epochs: int) -> pd.DataFrame:
    """Return the rows of a CTGAN of the package of that name."""
    from ctgan import CTGAN

    synthesizer = CTGAN(epochs=epochs)
    synthesizer.fit(train, [str(name) for name in train if not pd.api.types.is_numeric_dtype(train[name])])
    rows: pd.DataFrame = synthesizer.sample(len(train))
    return rows


def audit(data: Path, folder: Path, policy: str) -> None:
    """Judge the tables and print what was found."""
    import numpy as np

    from tabsynth.drafting import draft
    from tabsynth.metrics import Evidence
    from tabsynth.policy import evaluate, read_policy
    from tabsynth.table import read

    schema = draft(data / "adult.train.csv.gz").schema.with_target("income")
    given = {path.stem: path for path in sorted(folder.glob("*.csv"))} | {"a copy": data / "adult.train.csv.gz"}
    train, holdout = (
        read(data / f"adult.{half}.csv.gz", schema, check_domain=False).private for half in ("train", "test")
    )
    found: dict[str, tuple[Any, ...]] = {}
    for name, path in given.items():
        start, clock = time.process_time(), time.perf_counter()
        rows = read(path, schema, check_domain=False).private
        evidence = Evidence(schema, train, holdout, rows, drafted=True)
        found[name] = evaluate(evidence, read_policy(policy), np.random.default_rng(0))
        taken = time.process_time() - start, time.perf_counter() - clock
        print(f"{name}: {taken[0]:.0f} s of processor, {taken[1]:.0f} s by the clock", flush=True)
    print(f"\n| check | limits | {' | '.join(found)} |\n|---|---|{'---|' * len(found)}")
    for row in zip(*found.values(), strict=True):
        print(f"| `{row[0].name}` | {limits(row[0])} | {' | '.join(map(cell, row))} |")


def limits(verdict: Verdict) -> str:
    """Return what is asked."""
    low = f"at least {verdict.at_least:g}" if verdict.at_least > -math.inf else ""
    high = f"at most {verdict.at_most:g}" if verdict.at_most < math.inf else ""
    origin = "" if verdict.counted_from == "zero" else f" above the {verdict.counted_from}"
    return " and ".join(filter(None, (low, high))) + origin


def cell(verdict: Verdict) -> str:
    """Return what was found, in bold where it is refused; counted from the ceiling where the check is."""
    if verdict.estimate is None:
        return "**not measured**" if verdict.failed else "-"
    start = verdict.ceiling.value if verdict.counted_from == "ceiling" and verdict.ceiling is not None else 0.0
    low, value, high = (end - start for end in (verdict.estimate.low, verdict.estimate.value, verdict.estimate.high))
    told = f"{value:.3f} ({low:.3f} to {high:.3f})"
    return f"**{told}**" if verdict.failed else told


if __name__ == "__main__":
    main()
