"""How far a fresh sample, tables of a privacy budget and fakes lie from each limit that a policy might set.

    python benchmarks/policy_limits.py --data DIR [--seeds 1]

For simulated visits and each table of DIR (as in gate_errors.py), 4,000 training rows, 2,000 of the holdout, and 4,000
synthetic ones that are a fresh sample, a sample with one fault, or rows of `marginals` at epsilon 1 and 3 with every
domain discovered. Prints a Markdown table: for every check the unlucky end of its interval, counted from the ceiling
where the check is, the worst over tables and seeds for what should pass, and the mildest for each fake.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from gate_errors import TARGETS, draw, pooled

from tabsynth import TabularSynthesizer, registry
from tabsynth.datasets import clinic_visits
from tabsynth.errors import TabsynthError
from tabsynth.metrics import Evidence
from tabsynth.policy import Check, evaluate

ROWS = 10_000
TIED = {"adult": "relationship", "bank": "poutcome", "shoppers": "VisitorType", "visits": "region"}
CHECKS: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("tvd2", {}, "ceiling"),
    ("ks", {"over": "worst"}, "ceiling"),
    ("tvd1", {"over": "worst"}, "ceiling"),
    ("jensen_shannon", {"over": "worst"}, "ceiling"),
    ("missing", {"over": "worst"}, "ceiling"),
    ("association", {"measure": "cramers_v", "over": "worst"}, "ceiling"),
    ("association", {"measure": "spearman", "over": "worst"}, "ceiling"),
    ("c2st", {}, "zero"),
    ("rare_categories", {}, "ceiling"),
    ("coverage", {}, "ceiling"),
    ("alpha_precision", {}, "ceiling"),
    ("out_of_domain", {}, "zero"),
    ("broken_dependencies", {}, "zero"),
    ("duplicates", {}, "zero"),
    ("tstr_ratio", {}, "zero"),
)
LOW = {"rare_categories", "coverage", "alpha_precision", "tstr_ratio"}  # the more the better
GOOD = ("fresh", "epsilon 3", "epsilon 1")

Make = Callable[[str, Evidence, np.random.Generator], pd.DataFrame]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    found = []
    for seed in range(options.seeds):
        for table in TIED:
            found += measured(table, population(table, options.data, seed), seed)
    print(markdown(pd.DataFrame(found, columns=["table", "given", "seed", "check", "end"])))


def population(table: str, folder: Path, seed: int) -> Evidence:
    """Return training rows, a holdout and a fresh sample of one table."""
    if table in TARGETS:
        pool, schema = pooled(folder, table)
        rows, _ = draw(pool, ROWS, seed)
    else:
        visits = clinic_visits(rows=ROWS, seed=seed)
        rows, schema = visits.frame, visits.schema
    parts = np.split(np.arange(ROWS), [ROWS * 2 // 5, ROWS * 3 // 5])
    train, holdout, sample = (rows.iloc[part] for part in parts)
    return Evidence(schema, train, holdout, sample)


def measured(table: str, evidence: Evidence, seed: int) -> list[tuple[str, str, int, str, float]]:
    """Return the unlucky end of every check on everything that is given in the place of the sample."""
    found = []
    for given, make in GIVEN.items():
        print(f"{table}, seed {seed}: {given}", file=sys.stderr)
        try:
            rows = make(table, evidence, np.random.default_rng(seed)).reset_index(drop=True)
        except TabsynthError as error:  # a budget may be too small for a table: that is said, not scored
            print(f"  {error}", file=sys.stderr)
            continue
        for name, settings, origin in CHECKS:
            metric = registry.load(registry.METRICS, name)(**settings)
            check = Check(metric, at_most=1e9, counted_from=origin)  # type: ignore[arg-type]
            (verdict,) = evaluate(replace(evidence, rows=rows), [check], np.random.default_rng(seed), beside=False)
            if verdict.estimate is not None:
                start = verdict.ceiling.value if origin == "ceiling" and verdict.ceiling is not None else 0.0
                end = verdict.estimate.low if name in LOW else verdict.estimate.high
                found.append((table, given, seed, verdict.name, end - start))
    return found


def markdown(found: pd.DataFrame) -> str:
    """Return the table: the worst of what should pass, the mildest of each fake."""
    givens = [given for given in GIVEN if given in set(found["given"])]
    lines = [f"| check | {' | '.join(givens)} |", f"|---|{'---|' * len(givens)}"]
    for check, ends in found.groupby("check", sort=False):
        cells = []
        for given in givens:
            values = ends.loc[ends["given"] == given, "end"].dropna()
            worst = (given in GOOD) != (check in LOW)
            cells.append("" if values.empty else f"{values.max() if worst else values.min():.2f}")
        lines.append(f"| `{check}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def shuffled(table: str, evidence: Evidence, rng: np.random.Generator) -> pd.DataFrame:
    """One column that others are tied to is shuffled."""
    name = TIED[table]
    return evidence.rows.assign(**{name: evidence.rows[name].to_numpy()[rng.permutation(len(evidence.rows))]})


def filled(table: str, evidence: Evidence, rng: np.random.Generator) -> pd.DataFrame:
    """Gaps hold the commonest value."""
    return pd.DataFrame({name: values.fillna(values.mode()[0]) for name, values in evidence.rows.items()})


def half_independent(table: str, evidence: Evidence, rng: np.random.Generator) -> pd.DataFrame:
    """In half of the rows every column is drawn by itself."""
    rows, half = evidence.rows, len(evidence.rows) // 2
    apart = {name: rows[name].iloc[rng.permutation(len(rows))[:half]].reset_index(drop=True) for name in rows}
    return pd.concat([rows.iloc[half:], pd.DataFrame(apart)], ignore_index=True)


def budgeted(epsilon: float) -> Make:
    """Return what fits `marginals` under a budget and samples from it."""

    def make(table: str, evidence: Evidence, rng: np.random.Generator) -> pd.DataFrame:
        model = TabularSynthesizer("marginals", epsilon=epsilon, delta=1e-6, schema=evidence.schema, discover=True)
        return model.fit(evidence.train).sample(len(evidence.rows))

    return make


GIVEN: dict[str, Make] = {
    "fresh": lambda table, evidence, rng: evidence.rows,
    "epsilon 3": budgeted(3.0),
    "epsilon 1": budgeted(1.0),
    "column shuffled": shuffled,
    "gaps filled": filled,
    "each row twice": lambda table, evidence, rng: evidence.rows.iloc[np.arange(len(evidence.rows)) // 2],
    "300 rows repeated": lambda table, evidence, rng: evidence.rows.iloc[rng.integers(300, size=len(evidence.rows))],
    "half independent": half_independent,
}

if __name__ == "__main__":
    main()
