"""How much of a true epsilon the audit certifies: the table of docs/audit.md.

    python benchmarks/audit_power.py [--seeds 10] [--runs 5000] [--many 100000] [--canaries 1000]

First DP-SGD with gradient canaries, one training each (the three one-run bounds, alone at 95%), then the Gaussian
mechanism alone in two worlds (the bound from the normal shape over `--runs` runs a world, and the one from counted
errors and the Gaussian curve over `--many`, a fifth of which fix the threshold).
Means over the seeds, and how often a bound passed the truth. `--synthesizers TABLE SCHEMA` times white-box audits of
`ctgan` and `rows` on a table instead.

    python benchmarks/audit_power.py --false-alarms [--seeds 100] [--runs 400] [--epsilon 1 4 8]

counts, for every mechanism as it is and for DP-SGD, how many of `--seeds` audits bound epsilon above what the claim
allows: each 95% bound alone, and the verdict, which holds all of an audit together.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import numpy as np
from scipy.stats import binom

from tabsynth.audit import AuditResult, Claim, audit_dpsgd, audit_mechanism, mechanisms
from tabsynth.audit.many_run import judge_worlds
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.dpsgd import DPSGDSettings
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
    parser.add_argument("--false-alarms", action="store_true")
    options = parser.parse_args()
    if options.false_alarms:
        false_alarms(options.epsilon, options.seeds, options.runs)
        return
    if options.synthesizers:
        time_synthesizers(*options.synthesizers, options.canaries)
        return
    print(
        "| true epsilon | one run | one run, Gaussian curve | mean shift | many runs, mean shift | many runs, counted |"
    )
    print("|---|---|---|---|---|---|")
    for epsilon in options.epsilon:
        shown = [f"{epsilon:g}"]
        few = gaussian(epsilon, options.runs, options.seeds, "mean shift")
        many = gaussian(epsilon, options.many, options.seeds, "Clopper-Pearson, Gaussian")
        for found in (*dpsgd(epsilon, options.seeds, options.canaries), few, many):
            share, wrong = found.mean() / epsilon, int((found > epsilon).sum())
            shown.append(f"{found.mean():.2f} ({share:.2f}; {wrong} of {len(found)} above)")
        print(f"| {' | '.join(shown)} |", flush=True)


def false_alarms(epsilons: Sequence[float], seeds: int, runs: int) -> None:
    """Print how often audits of what is right pass the claim; 5% of `seeds` are allowed for each bound."""
    allowed = int(binom.isf(0.01, seeds, 0.05))
    print(f"Above the claim, of {seeds} audits; a fair 5% is above {allowed} in 1% of all such tables' cells.\n")
    print("| mechanism | bound | " + " | ".join(f"epsilon {epsilon:g}" for epsilon in epsilons) + " |")
    print("|---|---|" + "---|" * len(epsilons))
    small = DPSGDSettings(steps=100, expected_batch_size=100, max_grad_norm=0.5)
    names = [mechanism.name for mechanism in mechanisms(Budget(1.0, DELTA))]
    for number, name in enumerate([*names, "DP-SGD, one training of 100 steps"]):

        def audit(epsilon: float, number: int = number) -> AuditResult:
            budget = Budget(epsilon, DELTA)
            if number == len(names):
                return audit_dpsgd(budget, settings=small, rows=250, canaries=500)
            return audit_mechanism(mechanisms(budget)[number], delta=DELTA, runs=runs)

        counts: dict[str, list[int]] = {}
        for epsilon in epsilons:
            audits = [audit(epsilon) for _ in range(seeds)]
            for place, bound in enumerate(audits[0].bounds):
                above = sum(each.bounds[place].epsilon > each.bounds[place].against for each in audits)
                counts.setdefault(f"{bound.method}, alone", []).append(above)
            counts.setdefault("verdict", []).append(sum(each.verdict != "consistent" for each in audits))
        for method, above in counts.items():
            print(f"| {name} | {method} | {' | '.join(map(str, above))} |", flush=True)


def dpsgd(epsilon: float, seeds: int, canaries: int) -> np.ndarray:
    """The three one-run bounds, shape (3, seeds)."""
    results = [audit_dpsgd(Budget(epsilon, DELTA), canaries=canaries) for _ in range(seeds)]
    return np.array([[bound.epsilon for bound in result.bounds] for result in results]).T


def gaussian(epsilon: float, runs: int, seeds: int, method: str) -> np.ndarray:
    """One bound on the Gaussian mechanism alone, noise from the library's stream, `runs` runs a world, by seed."""
    claim, secret = Claim.of_budget(Budget(epsilon, DELTA)), Secret()

    def bound() -> float:
        worlds = {"answer": (claim.mu + secret.normal(runs), secret.normal(runs))}
        result = judge_worlds("Gaussian mechanism", claim, worlds, normal=["answer"])
        return next(each.epsilon for each in result.bounds if each.method.startswith(method))

    return np.array([bound() for _ in range(seeds)])


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
        result = audit_synthesizer(table, make_synthesizer(name), Budget(4.0, DELTA), canaries=canaries, rows=0)
        print(f"{name}: {time.perf_counter() - start:.0f} s, {result.verdict}, at least {result.epsilon:.2f} of 4")
        for bound in result.bounds:
            print(f"  {bound.attack}: {bound.method}: {bound.epsilon:.2f} alone, {bound.jointly:.2f} together")


if __name__ == "__main__":
    main()
