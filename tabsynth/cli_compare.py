"""The command that judges several synthetic tables beside one another: what each is worth, and what choosing costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table as Grid

from tabsynth.cli_options import AsJson, Delimiter, LedgerPath, Policy, SchemaPath, Seed, Target, record_use
from tabsynth.console import answer, people, say_check
from tabsynth.errors import InputError

if TYPE_CHECKING:
    from tabsynth.report.comparison import Comparison

WARNING = "Choosing by these numbers leaks: they were computed from private rows, and no budget covers the choice."


def compare(  # noqa: PLR0917  (a command's options are its arguments)
    synthetic: Annotated[list[Path], typer.Argument(metavar="SYNTHETIC", help="Two synthetic tables or more.")],
    train: Annotated[Path, typer.Option("--train", help="The rows that the synthesizers were fitted to.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The new folder of the comparison.")],
    holdout: Annotated[Path | None, typer.Option("--holdout", help="Real rows that no synthesizer saw.")] = None,
    schema: SchemaPath = None,
    target: Target = None,
    policy: Policy = None,
    ledger: LedgerPath = None,
    delimiter: Delimiter = ",",
    seed: Seed = None,
    as_json: AsJson = False,
) -> None:
    """Judge several synthetic tables by one policy and write one inside report on all of them."""
    from tabsynth.release import check_folder

    path = check_folder(output)
    names = names_of(synthetic)
    record_use("compare", train, ledger)
    if holdout is not None:
        record_use("compare", holdout)
    found = compare_tables(
        dict(zip(names, synthetic, strict=True)),
        train,
        holdout,
        title=path.name,
        schema=schema,
        target=target,
        delimiter=delimiter,
        policy=policy,
        seed=seed,
        on_check=lambda table, check: say_check(f"{check} of {table}"),
    )
    found.write(path)
    _say(found)
    people.print(f"[yellow]{WARNING}[/] Report: [bold]{escape(str(path / 'comparison.html'))}[/] (do not publish it)")
    tables = found.contents["tables"]
    answer(
        as_json,
        report=str(path),
        tables={
            table["name"]: {
                "passed": table["passed"],
                "front": table["front"],
                "checks": {check["name"]: check["status"] for check in table["checks"]},
            }
            for table in tables
        },
    )


def names_of(synthetic: Sequence[Path]) -> list[str]:
    """Return a name for each table: its file's, or its whole path where two files have the same.

    Raises InputError unless there are two files at least, each given once.
    """
    if len(synthetic) < 2:
        raise InputError("A comparison takes two synthetic tables at least; tabsynth audit judges one.")
    seen: set[Path] = set()
    for path in synthetic:
        if not path.is_file():
            raise InputError(f"{path}: no such file.")
        if path.resolve() in seen:
            raise InputError(f"{path}: is given more than once.")
        seen.add(path.resolve())
    short = [path.name for path in synthetic]
    return [name if short.count(name) == 1 else str(path) for name, path in zip(short, synthetic, strict=True)]


def compare_tables(
    synthetic: dict[str, Path],
    train: Path,
    holdout: Path | None,
    *,
    title: str = "Comparison",
    schema: Path | None = None,
    target: str | None = None,
    delimiter: str = ",",
    policy: Path | str | None = None,
    seed: int | None = None,
    on_check: Callable[[str, str], None] | None = None,
) -> Comparison:
    """Judge every table by the same policy, on the same real rows and with the same randomness.

    `synthetic` are files by name; `on_check` is told the table and the check that starts. Raises TableError when a
    table breaks the schema, before any is judged.
    """
    import numpy as np

    from tabsynth.drafting import draft
    from tabsynth.intake import as_schema
    from tabsynth.metrics.evidence import Evidence
    from tabsynth.policy import evaluate
    from tabsynth.report.comparison import Candidate, compare
    from tabsynth.table import read
    from tabsynth.walk import load_policy

    checks = load_policy(policy)
    known = draft(train, delimiter=delimiter).schema if schema is None else as_schema(schema)
    known = known if target is None else known.with_target(target)
    real = read(train, known, delimiter=delimiter, check_domain=schema is not None).private
    held = None if holdout is None else read(holdout, known, delimiter=delimiter, check_domain=False).private
    rows = {
        name: read(path, known, delimiter=delimiter, check_domain=False).private for name, path in synthetic.items()
    }
    shared = np.random.SeedSequence(seed).entropy  # one seed for all: what differs is the tables
    judged = []
    for name, own in rows.items():
        told = None if on_check is None else _of(name, on_check)
        verdicts = evaluate(Evidence(known, real, held, own), checks, np.random.default_rng(shared), told)
        judged.append(Candidate(name, len(own), verdicts))
    settings = {"policy": "default" if policy is None else str(policy), "schema": known.fingerprint()}
    held_rows = None if held is None else len(held)
    return compare(judged, train=len(real), holdout=held_rows, title=title, settings=settings)


def _of(name: str, on_check: Callable[[str, str], None]) -> Callable[[str], None]:
    return lambda check: on_check(name, check)


def _say(found: Any) -> None:
    """Show every check of every table, and which table no other beats."""
    tables = found.contents["tables"]
    grid = Grid("check", *(escape(table["name"]) for table in tables), header_style="bold")
    colour = {"passed": "green", "failed": "red"}
    for checks in zip(*(table["checks"] for table in tables), strict=True):
        cells = []
        for check in checks:
            value = "not measured" if check["estimate"] is None else f"{check['estimate']['value']:.3g}"
            cells.append(f"[{colour.get(check['status'], 'dim')}]{value}[/]")
        grid.add_row(escape(checks[0]["name"]), *cells)
    people.print(grid)
    if best := [table["name"] for table in tables if table["front"]]:
        said = "Of the tables that hold every check, not beaten in utility and privacy at once"
        people.print(f"{said}: {escape(', '.join(best))}.")
