"""How long many rows take to be sampled into a folder of Parquet files, and how much memory.

    python benchmarks/sample_large.py MODEL_DIR --rows 10000000 --to FOLDER

With --whole they are drawn as one table and written as one file, which is what a folder is compared with. Prints one
line: seconds by the clock and of the processor (drawing and writing run side by side), the most memory that was held,
and the size on disk. The first rows are not counted: what is compiled on first use is compiled then.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path

import numpy as np

from tabsynth.synthesizers.model import load
from tabsynth.table import write_rows


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("model", type=Path)
    arguments.add_argument("--rows", type=int, default=10_000_000)
    arguments.add_argument("--to", type=Path, required=True)
    arguments.add_argument("--whole", action="store_true")
    asked = arguments.parse_args()
    model = load(asked.model)
    model.sample(1000, np.random.default_rng(0))
    clock, processor = time.perf_counter(), time.process_time()
    if asked.whole:
        write_rows(model.sample(asked.rows, np.random.default_rng(0)), model.schema, asked.to)
        files = [asked.to]
    else:
        files = sorted(model.sample(asked.rows, np.random.default_rng(0), to=asked.to).iterdir())
    print(
        json.dumps(
            {
                "rows": asked.rows,
                "columns": len(model.schema.columns),
                "seconds": round(time.perf_counter() - clock, 1),
                "processor_seconds": round(time.process_time() - processor, 1),
                "peak_GiB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
                "MB_on_disk": round(sum(file.stat().st_size for file in files) / 1e6, 1),
            }
        )
    )


if __name__ == "__main__":
    main()
