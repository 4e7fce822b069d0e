"""The memory that a fit takes with a column of 10 categories, and with one of 10,000.

Every family is fitted and sampled in a process of its own to the same rows but for that one column, with all
categories declared. Printed is the peak of the process's memory (resident set) for both, and their ratio; a
family whose ratio passes 2 ends the run with exit code 1.

    python benchmarks/categories.py --rows 20000 --family marginals rows ctgan vae
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys

import numpy as np
import pandas as pd

FAMILIES = ("marginals", "rows", "ctgan", "vae", "hybrid", "copula", "independent", "bootstrap", "trees", "smote")
MOST = 2.0
QUICK = {  # as many steps as show the peak
    "marginals": {"rounds": 1, "iterations": 50, "steps": 20},
    "rows": {"epochs": 0.5},
    "ctgan": {"epochs": 0.5, "warm_steps": 20},
    "vae": {"epochs": 0.5},
    "hybrid": {"epochs": 0.5, "rounds": 1, "iterations": 50},
}


def peak(family: str, categories: int, rows: int) -> float:
    """Return the peak memory of this process after a fit and a sample, in MiB."""
    from tabsynth.fitting import make_synthesizer
    from tabsynth.privacy.ledger import Ledger
    from tabsynth.privacy.noise import Secret
    from tabsynth.schema import Column, Schema
    from tabsynth.synthesizers import model
    from tabsynth.table import read

    rng = np.random.default_rng(0)
    levels = tuple(f"category {place}" for place in range(categories))
    place = np.minimum(rng.zipf(1.3, rows) - 1, categories - 1)
    frame = pd.DataFrame(
        {
            "many": np.array(levels, object)[place],
            "few": np.array(["a", "b", "c"])[place % 3],
            "age": rng.integers(0, 100, rows),
            "yes": rng.random(rows) < 0.3 + 0.4 * (place % 3 == 0),
        }
    )
    schema = Schema(
        (
            Column("many", "categorical", categories=levels),
            Column("few", "categorical", categories=("a", "b", "c")),
            Column("age", "integer", bounds=(0, 99)),
            Column("yes", "boolean", roles=("target",)),
        ),
        rows=rows,
    )
    synthesizer = make_synthesizer(family, 0, **QUICK.get(family, {}))
    fitted = model.fit(synthesizer, read(frame, schema), Ledger(), Secret())
    fitted.sample(rows, np.random.default_rng(0))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Measure each family in processes of its own and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--family", nargs="+", default=FAMILIES)
    parser.add_argument("--one", type=int, help="measure one family with so many categories, in this process")
    wanted = parser.parse_args()
    if wanted.one is not None:
        print(peak(wanted.family[0], wanted.one, wanted.rows))
        return
    failed = False
    for family in wanted.family:
        found = []
        for categories in (10, 10_000):
            command = [
                sys.executable,
                __file__,
                "--family",
                family,
                "--rows",
                str(wanted.rows),
                "--one",
                str(categories),
            ]
            run = subprocess.run(command, capture_output=True, text=True, check=False)
            if run.returncode:
                print(f"{family}, {categories:,} categories: {run.stderr.strip().splitlines()[-1]}", flush=True)
                failed = True
                break
            found.append(float(run.stdout))
        else:
            ratio = found[1] / found[0]
            failed |= ratio > MOST
            print(f"{family}: {found[0]:.0f} MiB with 10, {found[1]:.0f} MiB with 10,000: {ratio:.2f}", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
