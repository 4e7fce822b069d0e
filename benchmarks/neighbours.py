"""Nearest neighbours of mixed rows, and the same question asked of sdmetrics' distance to closest record.

    python benchmarks/neighbours.py --train TRAIN.csv --synthetic ROWS.csv [--rows 26048] [--theirs 2000]

Times `tabsynth.metrics.neighbours` for every synthetic row against every training row, on one core. Where sdmetrics is
installed, its `calculate_dcr` is timed beside it on the first `--theirs` synthetic rows against all training rows: its
work is in proportion to the synthetic rows, so the time for all of them is that times their number over `--theirs`
(0: all of them, nothing scaled). Processor seconds, the first call apart (compilation).

    python benchmarks/neighbours.py --large ROWS TRAIN

makes a training table and a synthetic one of simulated visits of these sizes, judges them by the default policy and
prints the seconds of every check and the memory used at most.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tabsynth.datasets import clinic_visits
from tabsynth.drafting import draft
from tabsynth.metrics import Evidence
from tabsynth.metrics.neighbours import nearest, place
from tabsynth.policy import default_policy, evaluate
from tabsynth.table import read


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path)
    parser.add_argument("--synthetic", type=Path)
    parser.add_argument("--rows", type=int, default=26_048)
    parser.add_argument("--theirs", type=int, default=2000)
    parser.add_argument("--large", type=int, nargs=2, metavar=("ROWS", "TRAIN"))
    options = parser.parse_args()
    if options.large:
        large(*options.large)
    else:
        beside(options.train, options.synthetic, options.rows, options.theirs)


def beside(train: Path, synthetic: Path, rows: int, theirs: int) -> None:
    """Time both on the same rows."""
    schema = draft(train).schema
    real, made = (read(path, schema, check_domain=False).private.iloc[:rows] for path in (train, synthetic))
    evidence = Evidence(schema, real, None, made)

    def ours() -> float:
        points = [place(frame, evidence.train, evidence.columns) for frame in (evidence.rows, evidence.train)]
        return float(np.median(nearest(*points, k=1)) / len(evidence.columns))

    ours()
    seconds, found = timed(ours)
    print(
        f"tabsynth: {len(made)} x {len(real)} rows, {len(schema.columns)} columns: {seconds:.2f} s, median {found:.4f}"
    )
    try:
        from sdmetrics.single_table.privacy.dcr_utils import calculate_dcr
    except ImportError:
        print("sdmetrics is not installed.")
        return
    kinds = {c.name: {"sdtype": "numerical" if c.numeric else "categorical"} for c in schema.columns}
    plain = [
        frame.astype({c.name: "float64" if c.numeric else "object" for c in schema.columns}) for frame in (made, real)
    ]
    asked = plain[0].iloc[: theirs or None]
    call = lambda: float(calculate_dcr(asked, plain[1], {"columns": kinds}).median())  # noqa: E731
    spent, value = timed(call)
    whole = spent * len(made) / len(asked)
    print(f"sdmetrics: {len(asked)} x {len(real)} rows: {spent:.2f} s, median {value:.4f}; all rows: {whole:.1f} s")
    print(f"ratio: {whole / seconds:.0f}")


def large(rows: int, train: int) -> None:
    """Judge a large table and print what every check took."""
    start = time.perf_counter()
    sizes = (train, train // 4, rows)
    visits = clinic_visits(rows=sum(sizes), seed=0)
    parts = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:2])
    tables = [visits.frame.iloc[part] for part in parts]
    print(f"simulated in {time.perf_counter() - start:.0f} s, {memory():.1f} GiB")
    start, spent = time.perf_counter(), time.process_time()
    evidence = Evidence(visits.schema, *tables)
    print(f"evidence: {time.process_time() - spent:.1f} s, {memory():.1f} GiB")
    for verdict in evaluate(evidence, default_policy(), np.random.default_rng(0)):
        print(f"{verdict.name:34}{verdict.status:16}{verdict.seconds:8.1f} s   {verdict.reason}")
    wall, spent = time.perf_counter() - start, time.process_time() - spent
    print(f"{rows} against {train} rows: {wall:.0f} s ({spent:.0f} s of processor), at most {memory():.1f} GiB")


def timed(call: Callable[[], float]) -> tuple[float, float]:
    """Return the processor seconds of a call and what it returned."""
    start = time.process_time()
    found = call()
    return time.process_time() - start, found


def memory() -> float:
    """Return the largest resident memory so far, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
