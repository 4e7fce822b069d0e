"""How often the default gate errs: it must refuse what leaks or is useless, and let a fresh sample through.

    python benchmarks/gate_errors.py --data DIR [--seeds 10] [--rows 10000] [--only NAME] [--given FAKE] [--policy P]

For each table of DIR (adult, bank, shoppers: NAME.train.csv.gz and NAME.test.csv.gz) and each seed, both files are
pooled, at most `--rows` rows drawn (0: all), and split into training rows (40%), holdout (20%) and an independent
sample (40%). The sample is a perfect synthesizer's table; the fakes are made from it or from the training rows. Prints
the share of seeds in which each was refused, and by which checks.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from tabsynth.metrics import Evidence
from tabsynth.policy import Check, evaluate, passes, read_policy
from tabsynth.schema import Column, Kind, Schema

TARGETS = {"adult": "income", "bank": "y", "shoppers": "Revenue"}
Fake = Callable[[Evidence, np.random.Generator], pd.DataFrame]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--only", choices=sorted(TARGETS))
    parser.add_argument("--given", choices=tuple(FAKES))
    parser.add_argument("--policy", default="default")
    options = parser.parse_args()
    policy = read_policy(options.policy)
    print(f"{'table':10}{'given as synthetic':26}{'must be':10}{'refused':>9}{'s each':>8}  by (share of seeds)")
    for name in [options.only] if options.only else TARGETS:
        pool, schema = pooled(options.data, name)
        for fake in [options.given] if options.given else FAKES:
            drawn = (draw(pool, options.rows, seed) for seed in range(options.seeds))
            report(name, fake, [trial(rows, rng, schema, policy, fake) for rows, rng in drawn])


def pooled(folder: Path, name: str) -> tuple[pd.DataFrame, Schema]:
    """Read both halves of a table and describe its columns, leaving domains undeclared."""
    halves = [pd.read_csv(folder / f"{name}.{half}.csv.gz", skipinitialspace=True) for half in ("train", "test")]
    pool = pd.concat(halves, ignore_index=True)
    columns = tuple(Column(str(label), kind(pool[label]), nullable=None) for label in pool.columns)
    return pool, Schema(columns).with_target(TARGETS[name])


def kind(series: pd.Series) -> Kind:
    """Return the kind that a column's dtype stands for."""
    if pd.api.types.is_bool_dtype(series):
        return "boolean"
    if pd.api.types.is_integer_dtype(series):
        return "integer"
    return "float" if pd.api.types.is_float_dtype(series) else "categorical"


def draw(pool: pd.DataFrame, rows: int, seed: int) -> tuple[pd.DataFrame, np.random.Generator]:
    """Return `rows` rows of the pool (0: all) in random order, and the generator for what follows."""
    rng = np.random.default_rng(seed)
    return pool.iloc[rng.permutation(len(pool))[: rows or None]], rng


def trial(
    rows: pd.DataFrame, rng: np.random.Generator, schema: Schema, policy: tuple[Check, ...], fake: str
) -> tuple[bool, list[str], float]:
    """Return whether one fake was refused, by which checks, and the seconds it took."""
    train, holdout, sample = np.split(np.arange(len(rows)), [len(rows) * 2 // 5, len(rows) * 3 // 5])
    evidence = Evidence(schema, rows.iloc[train], rows.iloc[holdout], rows.iloc[sample])
    evidence = replace(evidence, rows=FAKES[fake][1](evidence, rng))
    start = time.perf_counter()
    verdicts = evaluate(evidence, policy, rng, beside=False)
    return not passes(verdicts), [verdict.name for verdict in verdicts if verdict.failed], time.perf_counter() - start


def report(table: str, fake: str, trials: list[tuple[bool, list[str], float]]) -> None:
    """Print one line."""
    refused = np.mean([trial[0] for trial in trials])
    seconds = np.mean([trial[2] for trial in trials])
    by = Counter(name for trial in trials for name in trial[1])
    told = ", ".join(f"{name} {count / len(trials):.2f}" for name, count in by.most_common())
    print(f"{table:10}{fake:26}{FAKES[fake][0]:10}{refused:9.2f}{seconds:8.1f}  {told}", flush=True)


def noisy_copy(evidence: Evidence, rng: np.random.Generator) -> pd.DataFrame:
    """Return the training rows, one cell in a hundred taken from another row."""
    rows = evidence.train.copy()
    for name in rows.columns:
        hit = rng.random(len(rows)) < 0.01
        rows.loc[hit, name] = rows[name].sample(int(hit.sum()), random_state=int(rng.integers(2**31))).to_numpy()
    return rows


def memorized(evidence: Evidence, rng: np.random.Generator) -> pd.DataFrame:
    """Return the fresh sample with one row in five replaced by a training row."""
    return leaked(evidence, rng, len(evidence.rows) // 5)


def few_memorized(evidence: Evidence, rng: np.random.Generator) -> pd.DataFrame:
    """Return the fresh sample with as many training rows in it as a hundredth of them."""
    return leaked(evidence, rng, len(evidence.train) // 100)


def leaked(evidence: Evidence, rng: np.random.Generator, count: int) -> pd.DataFrame:
    """Return the fresh sample with `count` rows replaced by training rows."""
    copied = evidence.train.iloc[rng.choice(len(evidence.train), count, replace=False)]
    return pd.concat([evidence.rows.iloc[count:], copied], ignore_index=True)


def shuffled(evidence: Evidence, rng: np.random.Generator) -> pd.DataFrame:
    """Return the fresh sample with its target column shuffled."""
    target = str(evidence.schema.target)
    return evidence.rows.assign(**{target: evidence.rows[target].to_numpy()[rng.permutation(len(evidence.rows))]})


def constant(evidence: Evidence, rng: np.random.Generator) -> pd.DataFrame:
    """Return one row of the fresh sample, repeated."""
    return evidence.rows.iloc[np.zeros(len(evidence.rows), dtype=int)]


FAKES: dict[str, tuple[str, Fake]] = {
    "independent sample": ("passed", lambda evidence, rng: evidence.rows),
    "training rows": ("refused", lambda evidence, rng: evidence.train),
    "training rows, 1% noise": ("refused", noisy_copy),
    "sample, 20% training rows": ("refused", memorized),
    "sample, 1% of training": ("refused", few_memorized),
    "sample, shuffled target": ("refused", shuffled),
    "independent columns": ("refused", lambda evidence, rng: evidence.as_independent(rng).rows),
    "one row, repeated": ("refused", constant),
}


if __name__ == "__main__":
    main()
