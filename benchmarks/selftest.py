"""Which check notices which fake: the table of docs/evaluation.md.

    python benchmarks/selftest.py [--seeds 10] [--policy thorough]

For each seed a population of simulated clinic visits gives 8,000 training rows, 4,000 holdout rows and a fresh sample
of 8,000; the fakes are made from these (`tabsynth.selftest`). Prints a Markdown table: the number of seeds in which
each check refused each table, in bold where the check is one that should.
"""

from __future__ import annotations

import argparse
import sys

from tabsynth.policy import read_policy
from tabsynth.selftest import FAKES, FRESH, Outcome, selftest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--policy", default="thorough")
    options = parser.parse_args()
    print(markdown(selftest(read_policy(options.policy), options.seeds, progress=told)))


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
    return "\n".join([*lines, "", *(found.problems or ("Every fake was noticed; fresh samples pass.",))])


if __name__ == "__main__":
    main()
