"""What `hybrid` reaches, recipe by recipe, beside the graphical model that it starts from.

    python benchmarks/hybrid_quality.py --data DIR [--only NAME] [--recipe NAME ...] [--seeds 3] [--epsilon 1]
                                        [--judge judge.py]

For each table of DIR (adult, bank, shoppers: NAME.train.csv.gz and NAME.test.csv.gz) the schema is drafted from the
training file (categories, bounds, row count; no bins) and the fit is at delta 1e-5. Without `--judge`, a fifth of the
training file is held out, another one for each seed, and this project's metrics are shown; with it,
`judge.py TRAIN TEST SYNTHETIC TARGET` prints one JSON line per fit. `nats` is the mean negative log-likelihood of
held-out rows (of the test file, under a judge), `anchor` that of the same fit before its first step of DP-SGD: only
these two may be compared, since every fit finds bins of its own. Seconds are the processor's. The noise cannot be
seeded, so no two runs are alike.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from tabsynth.drafting import draft
from tabsynth.encoding.domain import inside
from tabsynth.encoding.encoder import Encoder
from tabsynth.metrics.evidence import Evidence
from tabsynth.metrics.fidelity import TVD2
from tabsynth.metrics.utility import TSTR
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.synthesizers.hybrid import Hybrid, HybridSampler
from tabsynth.table import read, split, write_rows

TARGETS = {"adult": "income", "bank": "y", "shoppers": "Revenue"}
RECIPES = {
    "default": Hybrid(),
    "hardly any steps": Hybrid(rate=1e-9),
    "not centred": Hybrid(centre=0),
    "0.75 for marginals": Hybrid(marginals=0.75, steps=30),
    "0.6 for marginals": Hybrid(marginals=0.6, steps=30),
    "0.45 for marginals": Hybrid(marginals=0.45, steps=30),
    "a higher rate": Hybrid(rate=1e-2),
    "half as wide": Hybrid(width=32),
    "two layers": Hybrid(depth=2),
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
    torch.set_num_threads(1)
    for name in [options.only] if options.only else sorted(TARGETS):
        for recipe in options.recipe or RECIPES:
            found = []
            for seed in range(options.seeds):
                found.append(one_fit(name, RECIPES[recipe], seed, options))
                print(f"{name}, {recipe}, {seed}: {written(found[-1])}", flush=True)
            medians = {key: float(np.median([figures[key] for figures in found])) for key in found[0]}
            print(f"{name}, {recipe}, median: {written(medians)}", flush=True)


def one_fit(name: str, recipe: Hybrid, seed: int, options: argparse.Namespace) -> dict[str, float]:
    """Fit once and return the figures."""
    source, test = (options.data / f"{name}.{half}.csv.gz" for half in ("train", "test"))
    schema = draft(source).schema.with_target(TARGETS[name])
    train = read(source, schema)
    if options.judge is None:
        train, held = split(train, 0.2, np.random.default_rng(seed))
        others = held.private
    else:
        others = read(test, schema, check_domain=False).private
    start, ledger = time.process_time(), Ledger(Budget(options.epsilon, 1e-5))
    sampler = replace(recipe, seed=seed).fit(train, ledger, Secret())
    seconds = time.process_time() - start
    assert isinstance(sampler, HybridSampler)
    others = others[inside(others, Encoder(sampler.schema))]  # the few that no fit can know have no likelihood
    rows = sampler.sample(len(train.private), np.random.default_rng(seed))
    if options.judge is None:
        evidence = Evidence(train.schema, train.private, others, rows)
        figures = {metric.name: metric(evidence, np.random.default_rng(0)).value for metric in (TVD2(), TSTR())}
    else:
        with TemporaryDirectory() as folder:
            write_rows(rows, schema, Path(folder) / "rows.csv")
            figures = judged(options.judge, source, test, Path(folder) / "rows.csv", TARGETS[name])
    nats = {"nats": -float(sampler.log_likelihood(others).mean()), "anchor": -float(sampler.anchored(others).mean())}
    return figures | nats | {"seconds": seconds, "epsilon": ledger.spent.epsilon}


def judged(judge: Path, train: Path, test: Path, rows: Path, target: str) -> dict[str, float]:
    """Return the judge's figures."""
    command = [sys.executable, str(judge), str(train), str(test), str(rows), target]
    answer = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {key: answer[key] for key in ("tvd2", "tvd3", "tstr", "tstr_lr", "c2st")}


def written(figures: Mapping[str, float]) -> str:
    return "  ".join(f"{key} {value:.4f}" for key, value in figures.items())


if __name__ == "__main__":
    main()
