"""What `marginals` reaches, recipe by recipe: pair distance, TSTR and time over seeds.

    python benchmarks/marginals_quality.py --data DIR [--only NAME] [--recipe NAME ...] [--seeds 3] [--epsilon 1]
                                           [--judge judge.py]

For each table of DIR (adult, bank, shoppers: NAME.train.csv.gz and NAME.test.csv.gz) the schema is drafted from the
training file (categories, bounds, row count; no bins). Without `--judge`, recipes are compared on the training file
alone, a fifth of it held out, by this project's metrics. With it, `judge.py TRAIN TEST SYNTHETIC TARGET` prints one
JSON line per fit, of which tvd2, tstr and c2st are shown. The noise cannot be seeded, so no two runs are alike.
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

import numpy as np

from tabsynth.drafting import draft
from tabsynth.metrics.evidence import Evidence
from tabsynth.metrics.fidelity import TVD2
from tabsynth.metrics.utility import TSTR
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.synthesizers.marginals import Marginals
from tabsynth.table import Table, read, split, write_rows

TARGETS = {"adult": "income", "bank": "y", "shoppers": "Revenue"}
RECIPES = {
    "default": Marginals(),
    "a forest and no more": Marginals(pairs=0, rounds=1, forest=0.5),
    "one round of 15 pairs": Marginals(rounds=1),
    "8 pairs in 2 rounds": Marginals(pairs=8, rounds=2),
    "less beside the target": Marginals(target=0.15, forest=0.28),
    "the target counts for more": Marginals(target_bonus=2.5),
    "finer codes": Marginals(codes=(32, 12, 6)),
    "one level of codes": Marginals(codes=(20,)),
    "larger tables": Marginals(cells=50_000),
    "fewer bins": Marginals(bins=32),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", choices=sorted(TARGETS))
    parser.add_argument("--recipe", choices=tuple(RECIPES), action="append")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epsilon", type=float, default=1.0)
    parser.add_argument("--judge", type=Path)
    options = parser.parse_args()
    print("table, recipe, seed: figures, CPU seconds of the fit, spent epsilon", flush=True)
    for name in [options.only] if options.only else sorted(TARGETS):
        for recipe in options.recipe or RECIPES:
            found = [one_fit(name, RECIPES[recipe], seed, options) for seed in range(options.seeds)]
            for seed, figures in enumerate(found):
                print(f"{name}, {recipe}, {seed}: {written(figures)}", flush=True)
            medians = {key: float(np.median([figures[key] for figures in found])) for key in found[0]}
            print(f"{name}, {recipe}, median: {written(medians)}", flush=True)


def one_fit(name: str, recipe: Marginals, seed: int, options: argparse.Namespace) -> dict[str, float]:
    """Fit once and return the figures."""
    source = options.data / f"{name}.train.csv.gz"
    schema = draft(source).schema.with_target(TARGETS[name])
    whole = read(source, schema)
    train, held = (whole, None) if options.judge else split(whole, 0.2, np.random.default_rng(7))
    start, ledger = time.process_time(), Ledger(Budget(options.epsilon, 1e-5))
    sampler = recipe.fit(train, ledger, Secret())
    seconds = time.process_time() - start
    rows = sampler.sample(len(train.private), np.random.default_rng(seed))
    if held is None:
        with TemporaryDirectory() as folder:
            write_rows(rows, schema, Path(folder) / "rows.csv")
            test = options.data / f"{name}.test.csv.gz"
            figures = judged(options.judge, source, test, Path(folder) / "rows.csv", TARGETS[name])
    else:
        figures = own(train, held, rows)
    return figures | {"seconds": seconds, "epsilon": ledger.spent.epsilon}


def own(train: Table, held: Table, rows: object) -> dict[str, float]:
    """Return this project's figures."""
    evidence = Evidence(train.schema, train.private, held.private, rows)  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    return {metric.name: metric(evidence, rng).value for metric in (TVD2(), TSTR())}


def judged(judge: Path, train: Path, test: Path, rows: Path, target: str) -> dict[str, float]:
    """Return the judge's figures."""
    command = [sys.executable, str(judge), str(train), str(test), str(rows), target]
    answer = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {key: answer[key] for key in ("tvd2", "tvd3", "tstr", "c2st")}


def written(figures: Mapping[str, float]) -> str:
    return "  ".join(f"{key} {value:.4f}" for key, value in figures.items())


if __name__ == "__main__":
    main()
