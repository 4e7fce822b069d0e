"""Planted faults, counted: how often each is caught, and how often a clean run is accused.

    python benchmarks/faults.py [--seeds 20] [--fault NAME ...] [--all]

Prints the table of docs/faults.md. With `--all`, each fault also meets the tools that are not asked to catch it, once.
A clean run is one pass of every tool over the product as it is.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "faults"))

import in_measuring  # noqa: F401 -- saboteurs are known once their file is loaded
import in_releasing  # noqa: F401
import in_training  # noqa: F401
from examiners import EXAMINERS
from saboteurs import FAULTS, Fault


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--fault", nargs="*", default=list(FAULTS), choices=list(FAULTS))
    parser.add_argument("--all", action="store_true", help="show which other tools see a fault, in one run each")
    options = parser.parse_args()
    also = " also seen by |" if options.all else ""
    print(f"| fault | the mistake | caught by | in |{also}\n|---|---|---|---|{'---|' if also else ''}")
    for name in options.fault:
        fault = FAULTS[name]
        count = sum(caught(fault, fault.caught_by, seed) for seed in range(options.seeds))
        others = [tool for tool in EXAMINERS if options.all and tool != fault.caught_by and caught(fault, tool, 0)]
        seen = f" {', '.join(others) or 'none'} |" if options.all else ""
        print(f"| {name} | {fault.mistake} | {fault.caught_by} | {count} of {options.seeds} |{seen}", flush=True)
    accused = [seed for seed in range(options.seeds) if any(examine(seed) for examine in EXAMINERS.values())]
    print(f"\nClean runs accused: {len(accused)} of {options.seeds}.")


def caught(fault: Fault, tool: str, seed: int) -> bool:
    """Return whether a tool has something to say about a fault."""
    try:
        with fault.sabotage():
            return bool(EXAMINERS[tool](seed))
    except Exception as error:  # a fault may break what another tool needs; that is not what catching means
        print(f"{fault.name}, {tool}, seed {seed}: {error!r}", file=sys.stderr)
        return False


if __name__ == "__main__":
    main()
