"""One table of every family and every peer: tables x budgets, medians over seeds with their range.

    python benchmarks/table.py --data DIR --judge judge.py --results FILE.jsonl [--table adult ...] [--epsilon 1 none]
                               [--family NAME ...] [--peer NAME=PYTHON ...] [--seeds 3] [--limit 600] [--again]
    python benchmarks/table.py --results FILE.jsonl --render [docs/choosing.md]
    python benchmarks/table.py --results FILE.jsonl --check

DIR holds NAME.train.csv.gz and NAME.test.csv.gz; the target is the last column unless TARGETS names it. Families are
those that are installed, with their default settings unless NAME is like `rows:epochs=6,order=schema`; a peer runs in
the environment of its own PYTHON, see `table_fit.py` for their names. `judge.py TRAIN TEST ROWS TARGET` prints one JSON
line of figures.

Every fit is a process of its own with one thread and --limit seconds of processor time, and one line of FILE, failed
ones with the reason: a run that was stopped goes on where it was, and --again takes up what failed. Seconds are the
processor's. --render prints the table, or writes it into a page between its markers; --check holds its medians against
what each family has to reach (`ASKED`) and exits with 1 where one falls short or is not there.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from table_fit import PEERS

HERE = Path(__file__).parent
TARGETS = {"adult": "income", "bank": "y", "shoppers": "Revenue"}
FIGURES = {"tvd2": 3, "tvd3": 3, "tstr": 3, "c2st": 3, "fit": 0, "sampling": 0}  # and how many decimals are shown
TITLES = {"fit": "fit, s", "sampling": "rows/s"}
CELL = ("table", "epsilon", "name", "seed")
START, END = "<!-- table -->\n", "<!-- end of table -->\n"
# family, table and epsilon -> tstr at least, tvd2 at most, seconds of a fit at most, c2st at most
ASKED: dict[tuple[str, str, float | None], tuple[float, float, float, float]] = {
    ("marginals", "adult", 1): (0.907, 0.048, 60, 1),
    ("marginals", "shoppers", 1): (0.890, 0.080, 60, 1),
    ("marginals", "bank", 1): (0.900, 0.042, 60, 1),
    ("hybrid", "adult", 1): (0.910, 0.049, 600, 0.72),
    ("hybrid", "bank", 1): (0.903, 0.043, 600, 1),
    ("rows", "adult", 1): (0.865, 0.065, 400, 1),
    ("rows", "bank", 1): (0.840, 0.065, 400, 1),
    ("rows", "adult", 8): (0.900, 0.050, 400, 1),
    ("rows", "shoppers", 8): (0.890, 0.090, 400, 1),
    ("rows", "bank", 8): (0.880, 0.055, 400, 1),
    ("vae", "adult", 3): (0.860, 0.080, 240, 1),
    ("vae", "bank", 3): (0.850, 0.075, 240, 1),
    ("ctgan", "adult", 3): (0.840, 0.085, 240, 1),
    ("ctgan", "bank", 3): (0.800, 0.080, 240, 1),
    ("rows", "adult", None): (0.920, 0.037, 100, 0.55),
    ("rows", "shoppers", None): (0.925, 0.060, 60, 1),
    ("rows", "bank", None): (0.925, 0.030, 140, 1),
    ("vae", "adult", None): (0.900, 0.065, 240, 1),
    ("ctgan", "adult", None): (0.900, 0.065, 240, 1),
}
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--render", nargs="?", const="-")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--judge", type=Path)
    parser.add_argument("--table", nargs="+")
    parser.add_argument("--epsilon", nargs="+", type=budget, default=[1.0, 3.0, 8.0, None])
    parser.add_argument("--family", nargs="*")
    parser.add_argument("--peer", nargs="*", type=peer, default=[])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--limit", type=int, default=600)
    parser.add_argument("--again", action="store_true")
    options = parser.parse_args()
    if options.render:
        write(rendered(read(options.results)), options.render)
        return 0
    if options.check:
        return check(read(options.results))
    if not (options.data and options.judge):
        parser.error("a run needs --data and --judge")
    run(options)
    return 0


def run(options: argparse.Namespace) -> None:
    """Fit and judge every cell that has no line yet, and write its line at once."""
    lines = read(options.results)
    done = {cell(line) for line in lines if not (options.again and "failed" in line)}
    for planned, python in plan(options):
        if cell(planned) in done:
            continue
        with TemporaryDirectory() as folder:
            found = planned | fitted(planned, python, Path(folder) / "rows.csv", options)
        with options.results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(found) + "\n")
        print(json.dumps(found), flush=True)


def plan(options: argparse.Namespace) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield every cell with the interpreter that runs it, cheap families first within a table and budget."""
    tables = options.table or sorted(
        path.name.removesuffix(".train.csv.gz") for path in options.data.glob("*.train.csv.gz")
    )
    for seed in range(options.seeds):
        for table in tables:
            for epsilon in options.epsilon:
                for name in families(options.family):
                    yield dict(zip(CELL, (table, epsilon, name, seed), strict=True)), sys.executable
                for name, python in options.peer:
                    if PEERS[name.partition(":")[0]][2] in (None, epsilon is not None):
                        yield dict(zip(CELL, (table, epsilon, name, seed), strict=True)), python


def families(named: Sequence[str] | None) -> Sequence[str]:
    """Return the families asked for, else all that are installed."""
    if named is not None:
        return named
    from tabsynth import registry

    return registry.names(registry.SYNTHESIZERS)


def fitted(planned: Mapping[str, Any], python: str, rows: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Return the figures of one fit, or why there are none."""
    train, test = (options.data / f"{planned['table']}.{half}.csv.gz" for half in ("train", "test"))
    target = TARGETS.get(planned["table"]) or last_column(train)
    command = [python, str(HERE / "table_fit.py"), planned["name"], str(train), str(rows), "--target", target]
    command += ["--seed", str(planned["seed"])]
    command += [] if planned["epsilon"] is None else ["--epsilon", str(planned["epsilon"])]
    answer = ran(command, options.limit)
    if "failed" in answer:
        return answer
    judged = ran([sys.executable, str(options.judge), str(train), str(test), str(rows), target], options.limit)
    return judged if "failed" in judged else answer | {key: judged[key] for key in judged if key not in answer}


def ran(command: Sequence[str], limit: int) -> dict[str, Any]:
    """Run a command and return the JSON of its last line, or the last line of what it complained about."""

    def bounded() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))

    start = time.monotonic()
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=10 * limit,
            check=False,
            env=os.environ | ONE_THREAD,
            preexec_fn=bounded,
        )
    except (subprocess.TimeoutExpired, OSError) as error:
        return {"failed": type(error).__name__}
    if done.returncode < 0:
        late = f"over {limit} s of processor time" if done.returncode in (-9, -24) else f"signal {-done.returncode}"
        return {"failed": late, "wall": round(time.monotonic() - start)}
    try:
        found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return found
    except (IndexError, ValueError):
        complaint = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return {"failed": complaint[:200]}


def read(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a results file; the last line of a cell counts."""
    if not path.exists():
        return []
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return list({cell(line): line for line in lines}.values())


def cell(line: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(line[key] for key in CELL)


def rendered(lines: Sequence[Mapping[str, Any]]) -> str:
    """Return the Markdown: one row for each table, budget and name, and below it what gave no figures."""
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for line in lines:
        groups.setdefault(cell(line)[:3], []).append(line)
    head = ["table", "epsilon", "name", *(TITLES.get(figure, figure) for figure in FIGURES), "seeds"]
    text = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    missing = []
    for key in sorted(groups, key=in_order):
        good = [line for line in groups[key] if "failed" not in line]
        named = [key[0], "none" if key[1] is None else f"{key[1]:g}", shown_name(key[2], good)]
        if good:
            text.append(f"| {' | '.join([*named, *(interval(good, f) for f in FIGURES), str(len(good))])} |")
        for reason in sorted({line["failed"] for line in groups[key] if "failed" in line}):
            missing.append(f"- {named[0]}, epsilon {named[1]}, {named[2]}: {reason}")
    without = ["", "Without figures:", "", *missing] if missing else []
    return "\n".join([*text, *without]) + "\n"


def in_order(key: tuple[Any, ...]) -> tuple[Any, ...]:
    """Sort by table, budget (none last), ours before peers, name."""
    table, epsilon, name = key
    return table, epsilon is None, epsilon or 0.0, name.partition(":")[0] in PEERS, name


def shown_name(name: str, good: Sequence[Mapping[str, Any]]) -> str:
    """Return a name as the table shows it, a peer's with its version."""
    peer, _, epochs = name.partition(":")
    if peer not in PEERS:
        return f"`{name}`"
    return peer + (f" {good[-1]['version']}" if good else "") + (f", {epochs} epochs" if epochs else "")


def interval(good: Sequence[Mapping[str, Any]], figure: str) -> str:
    """Return the median over seeds, and the least and the greatest when there are several."""
    values = [line[figure] for line in good if line.get(figure) is not None]
    if not values:
        return ""
    form = f"{{:,.{FIGURES[figure]}f}}"
    middle = form.format(median(values))
    return middle if len(values) == 1 else f"{middle} ({form.format(min(values))}–{form.format(max(values))})"


def check(lines: Sequence[Mapping[str, Any]]) -> int:
    """Print what each family has to reach beside the medians, and return 1 when any falls short or has no figures."""
    missed = 0
    for (name, table, epsilon), (tstr, *most) in ASKED.items():
        of_cell = [line for line in lines if cell(line)[:3] == (table, epsilon, name) and "failed" not in line]
        asked = {"tstr": tstr, **dict(zip(("tvd2", "fit", "c2st"), most, strict=True))}
        found = {figure: median(line[figure] for line in of_cell) for figure in asked} if of_cell else {}
        short = [
            figure for figure in found if (found[figure] < tstr if figure == "tstr" else found[figure] > asked[figure])
        ]
        shown = ", ".join(f"{figure} {found[figure]:.4g} ({asked[figure]:g})" for figure in found)
        print(
            f"{name}, {table}, epsilon {epsilon or 'none'}: {shown or 'no figures'}; missed: {', '.join(short) or '-'}"
        )
        missed += bool(short) or not found
    return int(missed > 0)


def write(text: str, where: str) -> None:
    """Print the table, or put it between the markers of a page."""
    if where == "-":
        print(text, end="")
        return
    page = Path(where).read_text(encoding="utf-8")
    before, rest = page.split(START)
    after = rest.split(END)[1]
    Path(where).write_text(f"{before}{START}\n{text}\n{END}{after}", encoding="utf-8")


def last_column(train: Path) -> str:
    import pandas as pd

    return str(pd.read_csv(train, nrows=0).columns[-1])


def budget(text: str) -> float | None:
    """Read an epsilon; "none" is no budget."""
    return None if text == "none" else float(text)


def peer(text: str) -> tuple[str, str]:
    """Read NAME=PYTHON."""
    name, equals, python = text.partition("=")
    if not equals or name.partition(":")[0] not in PEERS:
        raise argparse.ArgumentTypeError(f"NAME=PYTHON, with NAME one of {', '.join(PEERS)}; got {text!r}")
    return name, python


if __name__ == "__main__":
    sys.exit(main())
