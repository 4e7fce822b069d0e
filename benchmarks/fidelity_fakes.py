"""Which fidelity check notices which fake, as shares of seeds.

python benchmarks/fidelity_fakes.py --seeds 10 prints a Markdown table: a row a check, a column a fake, in each cell the
share of seeds in which the fake was refused. `fresh` is a fresh sample of the population, so its column holds the rates
of false alarms.
"""

import argparse
import time
from dataclasses import replace

import numpy as np
import pandas as pd

from tabsynth import registry
from tabsynth.datasets import clinic_visits
from tabsynth.metrics import Evidence
from tabsynth.policy import Check, evaluate

SIZES = (3000, 1500, 3000)


def metric(name, **settings):
    """Return an installed metric."""
    return registry.load(registry.METRICS, name)(**settings)


# a limit a metric, wide enough for fresh samples of these sizes
PROPOSED = (
    Check(metric("wasserstein"), at_most=0.05, counted_from="ceiling"),
    Check(metric("jensen_shannon", over="worst"), at_most=0.15, counted_from="ceiling"),
    Check(metric("missing", over="worst"), at_most=0.05, counted_from="ceiling"),
    Check(metric("tvd3"), at_most=0.2, counted_from="ceiling"),
    Check(metric("association", measure="spearman", over="worst"), at_most=0.2, counted_from="ceiling"),
    Check(metric("association", measure="cramers_v", over="worst"), at_most=0.2, counted_from="ceiling"),
    Check(metric("association", measure="correlation_ratio", over="worst"), at_most=0.2, counted_from="ceiling"),
    Check(metric("c2st"), at_most=0.65),
    Check(metric("rare_categories", rare=0.12), at_least=-0.25, counted_from="ceiling"),
    Check(metric("rare_pairs"), at_least=-0.15, counted_from="ceiling"),
    Check(metric("density"), at_least=-0.3, counted_from="ceiling"),
    Check(metric("coverage"), at_least=-0.2, counted_from="ceiling"),
    Check(metric("alpha_precision"), at_least=-0.2, counted_from="ceiling"),
    Check(metric("beta_recall"), at_least=-0.2, counted_from="ceiling"),
    Check(metric("out_of_domain"), at_most=0.01),
    Check(metric("broken_dependencies"), at_most=0.01),
    Check(metric("duplicates"), at_most=0.1),
    Check(metric("query_error", queries=200), at_most=0.03, counted_from="ceiling"),
)


def collapsed(rows, rng):
    """Three hundred rows stand for all."""
    return rows.iloc[rng.integers(300, size=len(rows))]


def without_rare(rows, rng):
    """One value of each of three columns is gone, about a tenth of the rows each."""
    kept = (rows["clinic"] != "Harbour") & (rows["diagnosis"] != "Skin") & (rows["insurance"] != "Self-pay")
    return rows.loc[kept]


def gaps_filled(rows, rng):
    """No value is missing."""
    return rows.assign(systolic=rows["systolic"].fillna(120), smoker=rows["smoker"].fillna(False))


def tail_stretched(rows, rng):
    """The highest tenth of what was paid is six times as high, within the bounds."""
    paid = rows["copay"]
    return rows.assign(copay=paid.where(paid < paid.quantile(0.9), np.minimum(6 * paid, 2000)))


def half_independent(rows, rng):
    """In half of the rows every column is drawn by itself."""
    half = len(rows) // 2
    apart = {name: rows[name].iloc[rng.permutation(len(rows))[:half]].reset_index(drop=True) for name in rows}
    return pd.concat([rows.iloc[half:], pd.DataFrame(apart)], ignore_index=True)


FAKES = {
    "fresh": lambda rows, rng: rows,
    "region shuffled": lambda rows, rng: rows.assign(region=rows["region"].to_numpy()[rng.permutation(len(rows))]),
    "rare values lost": without_rare,
    "gaps filled": gaps_filled,
    "tail stretched": tail_stretched,
    "5% too old": lambda rows, rng: rows.assign(age=rows["age"].where(rng.random(len(rows)) > 0.05, 130)),
    "each row twice": lambda rows, rng: rows.iloc[np.arange(len(rows)) // 2],
    "300 rows repeated": collapsed,
    "half independent": half_independent,
}


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    seeds = parser.parse_args().seeds
    start = time.process_time()
    refused = pd.DataFrame(0.0, index=[c.metric.name for c in PROPOSED], columns=list(FAKES))
    for seed in range(seeds):
        visits = clinic_visits(rows=sum(SIZES), seed=seed)
        parts = np.split(np.arange(sum(SIZES)), np.cumsum(SIZES)[:2])
        evidence = Evidence(visits.schema, *(visits.frame.iloc[part] for part in parts))
        for fake, make in FAKES.items():
            rows = make(evidence.rows, np.random.default_rng(seed)).reset_index(drop=True)
            verdicts = evaluate(replace(evidence, rows=rows), PROPOSED, np.random.default_rng(seed), beside=False)
            for verdict in verdicts:
                refused.loc[verdict.name, fake] += verdict.failed / seeds
    print(f"| check | {' | '.join(FAKES)} |\n|---|{'---|' * len(FAKES)}")
    for name, row in refused.iterrows():
        print(f"| `{name}` | {' | '.join(f'{share:.1f}' for share in row)} |")
    print(f"\n{seeds} seeds, {time.process_time() - start:.0f} s of one core")


if __name__ == "__main__":
    main()
