"""The commands that attack: any synthetic table judged; canaries held against the claim; a scan for leaks."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table as Grid

from tabsynth.cli_options import (
    AsJson,
    CanaryFolder,
    Delimiter,
    Delta,
    Discover,
    Epsilon,
    LedgerPath,
    ModelName,
    Policy,
    SchemaPath,
    Seed,
    Settings,
    ShadowCount,
    ShadowModel,
    TablePath,
    Target,
    TimeBudget,
    record_use,
    require_readable,
    seconds_of,
    settings_of,
    shadows_of,
)
from tabsynth.console import answer, people, say_check, say_left_out, say_verdicts, statuses
from tabsynth.registry import DEFAULT_SYNTHESIZER


def audit(  # noqa: PLR0917  (a command's options are its arguments)
    train: Annotated[str, typer.Option("--train", help="The rows that the synthesizer was fitted to.")],
    synthetic: Annotated[str, typer.Option("--synthetic", help="The synthetic rows, of any tool.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The new folder of the inside report.")],
    holdout: Annotated[str | None, typer.Option("--holdout", help="Real rows that the synthesizer never saw.")] = None,
    schema: SchemaPath = None,
    target: Target = None,
    policy: Policy = None,
    budget: TimeBudget = None,
    canary: CanaryFolder = None,
    shadows: ShadowCount = 0,
    model: ShadowModel = None,
    settings: Settings = None,
    epsilon: Epsilon = None,
    delta: Delta = 1e-6,
    ledger: LedgerPath = None,
    delimiter: Delimiter = None,
    seed: Seed = None,
    as_json: AsJson = False,
) -> None:
    """Judge any synthetic table and write the inside report; exit code 3 when a check fails."""
    require_readable(train, holdout, synthetic, schema=schema, delimiter=delimiter)  # before imports that take seconds
    from tabsynth.gate import load_policy
    from tabsynth.progress import check_bar
    from tabsynth.release import check_folder
    from tabsynth.report.curves import CURVES
    from tabsynth.report.words import unjudged
    from tabsynth.walk import audit_tables

    check_folder(output)
    timed = seconds_of(budget)
    shadowed = shadows_of(shadows, model, settings, epsilon=epsilon, delta=delta, seed=seed)
    record_use("audit", train, ledger)
    if holdout is not None:
        record_use("audit", holdout)
    several = len(load_policy(policy)) + (0 if shadowed is None else len(shadowed.checks())) + len(CURVES)
    with check_bar(several, say_check) as starts:
        judged = audit_tables(
            train,
            holdout,
            synthetic,
            output,
            schema=schema,
            target=target,
            delimiter=delimiter,
            policy=policy,
            canary=canary,
            shadows=shadowed,
            budget=timed,
            seed=seed,
            on_check=starts,
        )
    say_verdicts(judged.verdicts)
    say_left_out(judged.left_out)
    if said := unjudged(judged.report.to_dict()["checks"]):
        people.print(f"[yellow]{said}[/]")
    people.print(f"Inside report: [bold]{escape(str(output / 'report.html'))}[/] (do not publish it)")
    left = list(judged.left_out)
    answer(as_json, passed=judged.passed, report=str(output), checks=statuses(judged.verdicts), left_out=left)
    if not judged.passed:
        raise typer.Exit(3)


def canary(  # noqa: PLR0917  (a command's options are its arguments)
    table: TablePath,
    output: Annotated[Path, typer.Option("-o", "--output", help="The new folder of audit.html and audit.json.")],
    epsilon: Annotated[float, typer.Option("--epsilon", help="The claim under audit.")],
    schema: SchemaPath = None,
    model: ModelName = DEFAULT_SYNTHESIZER,
    settings: Settings = None,
    delta: Delta = 1e-6,
    canaries: Annotated[int, typer.Option("--canaries", help="How many rows to make up; each is in by a coin.")] = 1000,
    runs: Annotated[int, typer.Option("--runs", help="How many fits; with one canary, thousands.")] = 1,
    rows: Annotated[int | None, typer.Option("--rows", help="Synthetic rows to attack; 0: white box only.")] = None,
    discover: Discover = False,
    workers: Annotated[int, typer.Option("--workers", help="Processes that share the runs.")] = 1,
    confidence: Annotated[float, typer.Option("--confidence", help="Of all bounds together.")] = 0.95,
    ledger: LedgerPath = None,
    delimiter: Delimiter = None,
    seed: Annotated[int, typer.Option("--seed", help="Which canaries are made up; coins and noise never are.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Plant canaries, fit, attack, and bound epsilon from below; exit code 3 when the bound exceeds the claim."""
    from tabsynth.audit.result import RELEASE_WARNING
    from tabsynth.audit.synthesizers import audit_synthesizer
    from tabsynth.fitting import make_synthesizer, settle
    from tabsynth.intake import take_in
    from tabsynth.privacy.budget import Budget
    from tabsynth.progress import progress_bar
    from tabsynth.release import check_folder
    from tabsynth.report.audit_page import audit_report

    path = check_folder(output)
    synthesizer = make_synthesizer(model, seed, **settings_of(settings))
    budget = Budget(epsilon, delta)
    record_use("canary", table, ledger)
    intake = take_in(table, schema, budgeted=True, discover=discover, delimiter=delimiter)
    synthesizer, intake = settle(synthesizer, intake, budgeted=True)
    partial = path.with_name(f".{path.name}.runs")
    with progress_bar(f"Auditing {model}") as report:
        found = audit_synthesizer(
            intake.table,
            synthesizer,
            budget,
            canaries=canaries,
            runs=runs,
            rows=rows,
            seed=seed,
            confidence=confidence,
            workers=workers,
            folder=partial,
            progress=report,
        )
    audit_report(found, title=path.name, synthesizer=synthesizer, budget=budget).write(path)
    shutil.rmtree(partial, ignore_errors=True)
    _say(found)
    people.print(f"[yellow]{RELEASE_WARNING}[/] Report: [bold]{escape(str(path / 'audit.html'))}[/] (do not publish)")
    broken = found.verdict != "consistent"
    answer(as_json, verdict=found.verdict, claim=found.claim.epsilon, lower_bound=found.epsilon, report=str(path))
    if broken:
        raise typer.Exit(3)


def _say(found: Any) -> None:
    """Show every bound beside what the claim allows."""
    grid = Grid("attack", "method", "alone", "together", "allowed", header_style="bold")
    for bound in sorted(found.bounds, key=lambda bound: -bound.epsilon):
        colour = "red" if bound.exceeds else "green"
        numbers = f"{bound.epsilon:.3g}", f"[{colour}]{bound.jointly:.3g}[/]", f"{bound.against:.3g}"
        grid.add_row(escape(bound.attack), escape(bound.method), *numbers)
    people.print(grid)
    verdict = "[green]Consistent with[/]" if found.verdict == "consistent" else "[bold red]Exceeds[/]"
    people.print(
        f"{verdict} the claim of epsilon {found.claim.epsilon:.4g} at delta {found.claim.delta:g}: at "
        f"{found.confidence:.0%} confidence epsilon is at least {found.epsilon:.3g}."
    )


def scan(  # noqa: PLR0917  (a command's options are its arguments)
    model: Annotated[Path, typer.Argument(metavar="MODEL_DIR", help="The folder of a saved model.")],
    train: Annotated[str, typer.Option("--train", help="The rows that the model was fitted to.")],
    schema: Annotated[Path | None, typer.Option("--schema", help="The schema it was fitted with.")] = None,
    ledger: LedgerPath = None,
    delimiter: Delimiter = None,
    as_json: AsJson = False,
) -> None:
    """Search a saved model for values of its training table; exit code 3 when one is found that was not paid for."""
    from tabsynth.scan import scan_files

    record_use("scan", train, ledger)
    found = scan_files(model, train, schema, delimiter=delimiter)
    if found:
        grid = Grid("file", "column", "found", header_style="bold")
        for finding in found:
            grid.add_row(escape(finding.file), escape(finding.column or "-"), escape(finding.kind))
        people.print(grid)
        said = f"[bold red]Not clean[/]: {len(found)} finding{'s' * (len(found) > 1)}. Do not share this model."
    else:
        said = "[green]Clean[/]: no value of the training table was found that was not public, declared or paid for."
    people.print(said)
    findings = [{"file": each.file, "column": each.column, "kind": each.kind} for each in found]
    answer(as_json, clean=not found, findings=findings)
    if found:
        raise typer.Exit(3)
