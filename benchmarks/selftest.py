"""Which check notices which fake: the table of docs/evaluation.md.

    python benchmarks/selftest.py [--seeds 10] [--policy thorough] [--rows 8000] [--only FAKE ...]

For each seed a population of simulated clinic visits gives `--rows` training rows, half as many holdout rows and a
fresh sample of `--rows`; the fakes are made from these (`tabsynth.selftest`). Prints a Markdown table: the number of
seeds in which each check refused each table, in bold where the check is one that should, and under it the number in
which the table was judged wrongly: a fake that none of these checks refused, a fresh sample that any check refused.
"""

from __future__ import annotations

import argparse
import sys
import time

from tabsynth.metrics.estimate import clopper_pearson
from tabsynth.policy import read_policy
from tabsynth.selftest import FAKES, FRESH, Outcome, selftest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--policy", default="thorough")
    parser.add_argument("--rows", type=int, default=8000)
    parser.add_argument("--only", nargs="*", choices=tuple(FAKES), help="Some fakes, or none; the fresh sample always.")
    options = parser.parse_args()
    sizes = (options.rows, options.rows // 2, options.rows)
    start = time.process_time()
    print(markdown(selftest(read_policy(options.policy), options.seeds, sizes, told, options.only)))
    print(f"{sum(sizes):,} rows of each population, {time.process_time() - start:.0f} s of one core")


def told(table: str, seed: int) -> None:
    """Say what is judged."""
    print(f"{table}, seed {seed}", file=sys.stderr)


def markdown(found: Outcome) -> str:
    """Return the outcome as a table: a row for every check, a column for every table it was tried on."""
    lines = [f"| refused, of {found.seeds} | " + " | ".join(found.refusals) + " |"]
    lines.append("|---" * (len(found.refusals) + 1) + "|")
    for check in found.checks:
        cells = []
        for table, counts in found.refusals.items():
            meant = table != FRESH and FAKES[table].meant(check)
            cells.append(f"**{counts[check]}**" if meant else str(counts[check]))
        lines.append(f"| `{check}` | " + " | ".join(cells) + " |")
    wrong = {table: count if table == FRESH else found.seeds - count for table, count in found.caught.items()}
    lines.append("| judged wrongly | " + " | ".join(map(str, wrong.values())) + " |")
    most = clopper_pearson(0, found.seeds, 0.9)[1]  # one-sided at 95%
    lines += ["", f"None wrong of {found.seeds} leaves room for a rate of {most:.0%} (at 95% confidence)."]
    return "\n".join([*lines, "", *(found.problems or ("Every fake was noticed; fresh samples pass.",))])


if __name__ == "__main__":
    main()
