"""The command that tries the evaluator itself: fakes that must be refused, and a fresh sample that must not."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table as Grid

from tabsynth.cli_options import AsJson
from tabsynth.console import answer, people


def selftest(
    seeds: Annotated[int, typer.Option("--seeds", help="How many populations each table is drawn from.")] = 3,
    policy: Annotated[str, typer.Option("--policy", help="A policy file or an installed policy.")] = "thorough",
    as_json: AsJson = False,
) -> None:
    """Try a policy on fakes and on a fresh sample; exit code 3 when a fake passes or too many samples fail."""
    from tabsynth import selftest as tried
    from tabsynth.policy import read_policy

    found = tried.selftest(
        read_policy(policy), seeds, progress=lambda table, seed: people.print(f"[dim]{escape(table)}, seed {seed}[/]")
    )
    grid = Grid("check", *map(escape, found.refusals), header_style="bold", title=f"refused, of {found.seeds}")
    for check in found.checks:
        cells = []
        for table, counts in found.refusals.items():
            meant = table != tried.FRESH and tried.FAKES[table].meant(check)
            cells.append(f"[bold]{counts[check]}[/]" if meant else f"[dim]{counts[check]}[/]")
        grid.add_row(escape(check), *cells)
    people.print(grid)
    for problem in found.problems:
        people.print(f"[bold red]Not so:[/] {escape(problem)}")
    if not found.problems:
        people.print("[green]Every fake was noticed by a check that should, and fresh samples pass.[/]")
    answer(
        as_json,
        passed=not found.problems,
        policy=policy,
        seeds=found.seeds,
        refusals={table: dict(counts) for table, counts in found.refusals.items()},
        noticed=dict(found.caught),
        problems=list(found.problems),
    )
    if found.problems:
        raise typer.Exit(3)
