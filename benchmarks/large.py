"""A table larger than one would hold in memory: a simulated Parquet file, fitted by `tabsynth fit` at epsilon 1.

    python benchmarks/large.py FOLDER [--rows 10000000] [--model marginals] [--format parquet]

Writes FOLDER/visits-ROWS.parquet (or .csv) chunk by chunk, unless it is there, with 15 columns: amounts with heavy
tails, whole numbers, moments, up to 500 categories, gaps. Nothing in it is anybody's. Then fits it in a process of its
own, domains discovered, and prints seconds and the highest memory of that process (resident, mapped pages included).
Exits with 1 when the fit takes over 15 minutes or 4 GiB.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet

from tabsynth.schema import Column, Schema
from tabsynth.schema_file import write_schema

CHUNK = 250_000
MOST_SECONDS, MOST_BYTES = 15 * 60, 4 * 2**30
KINDS = {
    "amount": "float",
    "balance": "float",
    "fee": "float",
    "distance": "float",
    "score": "float",
    "age": "integer",
    "visits": "integer",
    "minutes": "integer",
    "opened": "datetime",
    "last_seen": "datetime",
    "region": "categorical",
    "shop": "categorical",
    "product": "categorical",
    "plan": "categorical",
    "active": "boolean",
}
GAPS = ("balance", "score", "last_seen", "product")
LEVELS = {"region": 12, "shop": 500, "product": 80, "plan": 4}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--model", default="marginals")
    parser.add_argument("--format", choices=("parquet", "csv"), default="parquet")
    options = parser.parse_args()
    path = simulated_file(options.folder, options.rows, options.format)
    seconds, used, peak = timed_fit(path, options.model)
    print(f"{options.rows:,} rows, {options.model}, {options.format}: {seconds:.0f} s", end="")
    print(f" ({used:.0f} s of the processor), {peak / 2**30:.2f} GiB at most")
    return int(seconds > MOST_SECONDS or peak > MOST_BYTES)


def simulated_file(folder: Path, rows: int, ending: str = "parquet") -> Path:
    """Return the file of the simulated table, and write it unless it is there."""
    path = folder / f"visits-{rows}.{ending}"
    if not path.exists():
        write(path, rows, pa_parquet.ParquetWriter if ending == "parquet" else pa_csv.CSVWriter)
    return path


def chunks(rows: int, seed: int = 0) -> Iterator[pa.RecordBatch]:
    """Yield the simulated table, `rows` in all."""
    rng = np.random.default_rng(seed)
    for start in range(0, rows, CHUNK):
        yield pa.RecordBatch.from_pandas(simulated(min(CHUNK, rows - start), rng), preserve_index=False)


def simulated(rows: int, rng: np.random.Generator) -> pd.DataFrame:
    """Return rows whose columns hang together through two hidden numbers."""
    wealth, health = rng.normal(size=(2, rows))
    region = _level(wealth + rng.normal(size=rows), LEVELS["region"])
    plan = _level(wealth - health + rng.normal(size=rows), LEVELS["plan"])
    visits = rng.poisson(np.exp(np.clip(1.0 - health, -2, 4)))
    opened = 1.4e9 + 2e8 * rng.random(rows) + 1e7 * wealth
    frame = pd.DataFrame(
        {
            "amount": np.round(np.exp(3 + wealth + 0.8 * rng.normal(size=rows)), 2),
            "balance": np.round(1000 * wealth * np.exp(np.abs(rng.normal(size=rows))), 2),
            "fee": np.where(rng.random(rows) < 0.7, 0.0, np.round(rng.pareto(1.5, rows), 2)),
            "distance": np.exp(rng.normal(size=rows)),
            "score": health + 0.3 * rng.normal(size=rows),
            "age": np.clip(45 + 15 * rng.normal(size=rows) - 5 * health, 0, 105).astype(int),
            "visits": visits,
            "minutes": visits * 15 + rng.integers(0, 60, rows),
            "opened": (opened * 1e6).astype("datetime64[us]"),
            "last_seen": ((opened + rng.exponential(3e7, rows)) * 1e6).astype("datetime64[us]"),
            "region": np.array([f"region {n}" for n in range(LEVELS["region"])], object)[region],
            "shop": np.array([f"shop {n:03}" for n in range(500)], object)[
                np.minimum(region * 40 + rng.geometric(0.1, rows), 499)
            ],
            "product": np.array([f"product {n}" for n in range(80)], object)[
                np.minimum(rng.geometric(0.05, rows) - 1, 79)
            ],
            "plan": np.array(["basic", "plus", "pro", "firm"], object)[plan],
            "active": rng.random(rows) < 1 / (1 + np.exp(health + wealth)),
        }
    )
    for name in GAPS:
        frame[name] = frame[name].mask(rng.random(rows) < 0.05)
    return frame


def _level(number: np.ndarray, levels: int) -> np.ndarray:
    """Return a number as one of `levels` places, rising with it."""
    return np.clip((number + 3) * levels / 6, 0, levels - 1).astype(int)


def write(path: Path, rows: int, writer: Any) -> None:
    """Write the table by one of Arrow's writers of files."""
    batches = chunks(rows)
    first = next(batches)
    with writer(path, first.schema) as opened:
        opened.write_batch(first)
        for batch in batches:
            opened.write_batch(batch.cast(first.schema))


def timed_fit(path: Path, model: str) -> tuple[float, float, int]:
    """Fit the file in a process of its own; return seconds, seconds of the processor, and bytes at most."""
    columns = (
        Column(name, kind, nullable=name in GAPS, roles=("target",) if name == "active" else ())
        for name, kind in KINDS.items()
    )
    with tempfile.TemporaryDirectory() as folder:
        write_schema(Schema(tuple(columns)), Path(folder) / "schema.yaml")
        command = ["-m", "tabsynth.cli", "fit", str(path), "--schema", f"{folder}/schema.yaml", "--model", model]
        command += ["--epsilon", "1", "--delta", "1e-8", "--discover", "--ledger", f"{folder}/ledger.jsonl"]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        start = time.perf_counter()
        fit = subprocess.Popen([sys.executable, *command, "-o", f"{folder}/model"], env=environment)
        _, status, used = os.wait4(fit.pid, 0)  # of this process alone
        seconds = time.perf_counter() - start
    if status:
        raise SystemExit(f"tabsynth fit ended with {os.waitstatus_to_exitcode(status)}")
    return seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024


if __name__ == "__main__":
    sys.exit(main())
