"""How much of a true epsilon the audit certifies: the table of docs/audit.md.

    python benchmarks/audit_power.py [--seeds 10] [--runs 5000] [--many 100000] [--canaries 1000]

First DP-SGD with gradient canaries, one training each (the three one-run bounds, alone at 95%), then a Gaussian count
in two worlds (the bound from the normal shape over `--runs` runs a world, that from counted errors over `--many`).
Means over the seeds, and how often a bound passed the truth. `--synthesizers TABLE SCHEMA` times white-box audits of
`ctgan` and `rows` on a table instead.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from tabsynth.audit import audit_dpsgd, audit_mechanism, mechanisms
from tabsynth.audit.bounds import counted_mu, epsilon_of_mu
from tabsynth.audit.result import Worlds
from tabsynth.privacy.accounting import gaussian_mu
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.mechanisms import noisy_count
from tabsynth.privacy.noise import Secret

DELTA = 1e-5
EPSILONS = (1.0, 2.0, 4.0, 8.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--runs", type=int, default=5000)
    parser.add_argument("--many", type=int, default=100_000)
    parser.add_argument("--canaries", type=int, default=1000)
    parser.add_argument("--epsilon", type=float, nargs="*", default=EPSILONS)
    parser.add_argument("--synthesizers", nargs=2, metavar=("TABLE", "SCHEMA"))
    options = parser.parse_args()
    if options.synthesizers:
        time_synthesizers(*options.synthesizers, options.canaries)
        return
    print(
        "| true epsilon | one run | one run, Gaussian curve | mean shift | count, mean shift | count, Clopper-Pearson |"
    )
    print("|---|---|---|---|---|---|")
    for epsilon in options.epsilon:
        shown = [f"{epsilon:g}"]
        for found in (*dpsgd(epsilon, options.seeds, options.canaries), *count(epsilon, options)):
            share, wrong = found.mean() / epsilon, int((found > epsilon).sum())
            shown.append(f"{found.mean():.2f} ({share:.2f}; {wrong} of {len(found)} above)")
        print(f"| {' | '.join(shown)} |", flush=True)


def dpsgd(epsilon: float, seeds: int, canaries: int) -> np.ndarray:
    """The three one-run bounds, shape (3, seeds)."""
    results = [audit_dpsgd(Budget(epsilon, DELTA), canaries=canaries) for _ in range(seeds)]
    return np.array([[bound.epsilon for bound in result.bounds] for result in results]).T


def count(epsilon: float, options: argparse.Namespace) -> list[np.ndarray]:
    """The mean shift over few runs, by seed, and counted errors over many, once."""
    budget = Budget(epsilon, DELTA)
    mechanism = next(each for each in mechanisms(budget) if each.name == "noisy_count")
    few = [audit_mechanism(mechanism, delta=DELTA, runs=options.runs).bounds[-1].epsilon for _ in range(options.seeds)]
    sigma, secret = 1 / gaussian_mu(budget), Secret()

    def answers(rows: int) -> np.ndarray:
        why = {"sigma": sigma, "secret": secret, "why": "count"}
        return np.array([noisy_count(lambda: rows, ledger=Ledger(), **why) for _ in range(options.many)])

    worlds = Worlds.split(answers(1001), answers(1000), DELTA)
    many = epsilon_of_mu(counted_mu(*worlds.counts(worlds.shaped_threshold)), DELTA)
    return [np.array(few), np.array([many])]


def time_synthesizers(table_path: str, schema_path: str, canaries: int) -> None:
    """Time a white-box audit of each large family at its default settings, epsilon 4."""
    from tabsynth import registry
    from tabsynth.audit import audit_synthesizer
    from tabsynth.fitting import make_synthesizer
    from tabsynth.intake import take_in

    table = take_in(table_path, schema_path, budgeted=True).table
    for name in ("ctgan", "rows"):
        if name not in registry.names(registry.SYNTHESIZERS):
            continue
        start = time.perf_counter()
        result = audit_synthesizer(table, make_synthesizer(name), Budget(4.0, DELTA), canaries=canaries)
        print(f"{name}: {time.perf_counter() - start:.0f} s, {result.verdict}, at least {result.epsilon:.2f} of 4")
        for bound in result.bounds:
            print(f"  {bound.attack}: {bound.method}: {bound.epsilon:.2f} alone, {bound.jointly:.2f} together")


if __name__ == "__main__":
    main()
