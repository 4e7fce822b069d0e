"""Our `ctgan`, not private, beside the `ctgan` package: same table, one thread each, runs alternating.

    python -m venv /tmp/peer && /tmp/peer/bin/pip install "torch>=2.6,<2.14" ctgan==0.12.1
    python benchmarks/ctgan_speed.py --data DIR --peer-python /tmp/peer/bin/python [--epochs 5 25] [--runs 1]

The other package runs in an environment of its own, through its public interface. Prints seconds of `fit` (wall clock
and user time of the processor, the latter to be compared on a machine that does other work as well) for a short and a
long training, and from their difference the seconds of an epoch: what either does once (our steps on marginals, their
mixture models) is in the totals alone. Exits with 1 when an epoch of ours takes more than a third of theirs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

OURS = """
import sys, json, os, time
import pandas as pd, torch
torch.set_num_threads(1)
from tabsynth.drafting import draft
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.synthesizers.ctgan import CTGAN
from tabsynth.table import read
path, epochs = sys.argv[1], int(sys.argv[2])
frame = pd.read_csv(path, skipinitialspace=True)
table = read(frame, draft(frame).schema.with_target("income"))
start, spent = time.perf_counter(), os.times().user
CTGAN(epochs=epochs).fit(table, Ledger(), Secret())
print(json.dumps({"wall": time.perf_counter() - start, "user": os.times().user - spent}))
"""
PEER = """
import sys, json, os, time
import pandas as pd, torch
torch.set_num_threads(1)
from ctgan import CTGAN
path, epochs = sys.argv[1], int(sys.argv[2])
frame = pd.read_csv(path, skipinitialspace=True)
discrete = [name for name in frame if not pd.api.types.is_numeric_dtype(frame[name])]
start, spent = time.perf_counter(), os.times().user
CTGAN(epochs=epochs, enable_gpu=False).fit(frame, discrete)
print(json.dumps({"wall": time.perf_counter() - start, "user": os.times().user - spent}))
"""
MOST_SHARE = 1 / 3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--peer-python", type=Path, required=True)
    parser.add_argument("--epochs", type=int, nargs=2, default=[5, 25], metavar=("SHORT", "LONG"))
    parser.add_argument("--runs", type=int, default=1)
    options = parser.parse_args()
    path = options.data / "adult.train.csv.gz"
    short, long = options.epochs
    found: dict[str, list[float]] = {"tabsynth": [], "ctgan": []}
    print(f"{'run':>4}{'package':>10}{'epochs':>8}{'wall s':>9}{'user s':>9}", flush=True)
    for run in range(options.runs):
        for name, python, script in (("tabsynth", sys.executable, OURS), ("ctgan", options.peer_python, PEER)):
            user = {}
            for epochs in (short, long):
                taken = timed_fit(python, script, path, epochs)
                user[epochs] = taken["user"]
                print(f"{run:4}{name:>10}{epochs:8}{taken['wall']:9.1f}{taken['user']:9.1f}", flush=True)
            found[name].append((user[long] - user[short]) / (long - short))
    ours, peer = (median(each) for each in found.values())
    print(f"an epoch: tabsynth {ours:.2f} s, ctgan {peer:.2f} s of user time; {peer / ours:.2f} times as fast")
    return int(ours > MOST_SHARE * peer)


def timed_fit(python: str | Path, script: str, path: Path, epochs: int) -> dict[str, float]:
    """Run one fit in a process of its own and return what it took."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    told = subprocess.run(
        [python, "-c", script, path, str(epochs)], capture_output=True, text=True, env=environment, check=False
    )
    if told.returncode:
        raise SystemExit(f"{python} failed:\n{told.stderr}")
    taken: dict[str, float] = json.loads(told.stdout.splitlines()[-1])
    return taken


if __name__ == "__main__":
    sys.exit(main())
