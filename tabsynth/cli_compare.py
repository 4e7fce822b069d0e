"""The command that judges several synthetic tables beside one another: what each is worth, and what choosing costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Column
from rich.table import Table as Grid

from tabsynth import _check
from tabsynth.atomic import require_new
from tabsynth.cli_options import (
    AsJson,
    Delimiter,
    Delta,
    Discover,
    Epsilon,
    LedgerPath,
    Lifetime,
    Policy,
    SchemaPath,
    Seed,
    Target,
    ledger_opener,
    record_use,
    settings_of,
)
from tabsynth.console import answer, people, say_check, say_not_private
from tabsynth.errors import InputError

if TYPE_CHECKING:
    from tabsynth.comparing import Contest
    from tabsynth.privacy.ledger import Ledger

WARNING = "Choosing by these numbers leaks: they were computed from private rows, and no budget covers the choice."


def compare(  # noqa: PLR0917  (a command's options are its arguments)
    train: Annotated[str, typer.Option("--train", help="The rows that the synthesizers are or were fitted to.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The new folder of the comparison.")],
    synthetic: Annotated[list[Path] | None, typer.Argument(metavar="SYNTHETIC", help="Synthetic tables.")] = None,
    holdout: Annotated[str | None, typer.Option("--holdout", help="Real rows that no synthesizer saw.")] = None,
    model: Annotated[
        list[str] | None, typer.Option("--model", help="A synthesizer to fit, charge and compare; may be repeated.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of one of them, MODEL.NAME=VALUE.")
    ] = None,
    epsilon: Epsilon = None,
    delta: Delta = 1e-6,
    discover: Discover = False,
    choose: Annotated[
        float | None, typer.Option("--choose", help="Choose one of the fits for this epsilon on top: that may leave.")
    ] = None,
    schema: SchemaPath = None,
    target: Target = None,
    policy: Policy = None,
    ledger: LedgerPath = None,
    lifetime: Lifetime = None,
    delimiter: Delimiter = None,
    seed: Seed = None,
    as_json: AsJson = False,
) -> None:
    """Judge several synthetic tables, fitted here or brought along, by one policy, in one inside report."""
    from tabsynth.comparing import compare_tables
    from tabsynth.gate import load_policy
    from tabsynth.progress import check_bar
    from tabsynth.release import check_folder

    path = check_folder(output)
    names = names_of(synthetic or [], model or [])
    if choose is not None:
        _check.positive("--choose", choose)
        if synthetic:
            raise InputError("--choose picks one of the fits, whose cost is known; leave the files out.")
    contest = None
    if model:
        opened = _openers(train, ledger, lifetime, epsilon, delta, choose)
        contest = _contest(
            model, settings, path, opened, choose=choose, budgeted=epsilon is not None, discover=discover, seed=seed
        )
        _say_sum(len(model), epsilon, delta, choose)
    else:
        _refuse_without_models(settings=settings, epsilon=epsilon, discover=discover, choose=choose, lifetime=lifetime)
        record_use("compare", train, ledger)
    if holdout is not None:
        record_use("compare", holdout)
    with check_bar(len(load_policy(policy)) * (len(names) + len(model or [])), say_check) as starts:
        found = compare_tables(
            dict(zip(names, synthetic or [], strict=True)),
            train,
            holdout,
            contest=contest,
            title=path.name,
            schema=schema,
            target=target,
            delimiter=delimiter,
            policy=policy,
            seed=seed,
            on_check=lambda table, check: starts(f"{check} of {table}"),
        )
    found.write(path)
    _say(found)
    people.print(f"[yellow]{WARNING}[/] Report: [bold]{escape(str(path / 'comparison.html'))}[/] (do not publish it)")
    _answer(as_json, path, contest, found)


def _answer(as_json: bool, path: Path, contest: Contest | None, found: Any) -> None:
    """Say what was kept and chosen, to people and to machines."""
    choice, kept = found.contents["choice"], {}
    if contest is not None:
        kept["models"] = str(contest.folder)
        people.print(f"The fitted models, paid for, are in [bold]{escape(str(contest.folder))}[/].")
    if choice is not None:
        kept["chosen"] = choice["chosen"]
        people.print(
            f"Chosen and paid for: [bold green]{escape(choice['chosen'])}[/]. That name may leave; the numbers may not."
        )
    tables = {
        table["name"]: {
            "passed": table["passed"],
            "front": table["front"],
            "checks": {check["name"]: check["status"] for check in table["checks"]},
        }
        for table in found.contents["tables"]
    }
    answer(as_json, report=str(path), **kept, tables=tables)


def _openers(  # noqa: PLR0917  (as the command's options)
    train: str, named: Path | None, lifetime: float | None, epsilon: float | None, delta: float, choose: float | None
) -> tuple[Callable[[], Ledger], Callable[[], Ledger] | None]:
    """Return what opens the ledger for a fit, and what opens it for the choice."""
    from tabsynth.fitting import make_budget
    from tabsynth.privacy.budget import Budget
    from tabsynth.privacy.ledger import Ledger
    from tabsynth.sources import identity

    if choose is not None and epsilon is None:
        raise InputError("--choose is charged to a budget, and there is none: set --epsilon.")
    choosing = None if choose is None else Budget(choose, 0.0)
    place, opened = ledger_opener(train, named, lifetime, epsilon, delta)
    if choosing is None:
        return opened, None
    total = make_budget(lifetime, delta)
    return opened, lambda: Ledger.open(place, data=identity(train), lifetime=total, budget=choosing)


def _contest(
    models: list[str],
    settings: list[str] | None,
    path: Path,
    opened: tuple[Callable[[], Ledger], Callable[[], Ledger] | None],
    *,
    choose: float | None,
    budgeted: bool,
    discover: bool,
    seed: int | None,
) -> Contest:
    """Return the synthesizers that are asked for, each with its own settings."""
    from tabsynth.comparing import Contest
    from tabsynth.fitting import make_synthesizer
    from tabsynth.synthesizers.model import check_saveable

    own: dict[str, dict[str, Any]] = {name: {} for name in models}
    for key, value in settings_of(settings).items():
        name, dot, setting = key.rpartition(".")
        if not dot:
            raise InputError(f"--set takes MODEL.NAME=VALUE here; got {key!r} without a model.")
        if name not in own:
            raise InputError(f"--set names {name!r}, which is not compared; --model names {', '.join(own)}.")
        own[name][setting] = value
    made = {name: make_synthesizer(name, seed, **own[name]) for name in models}
    for synthesizer in made.values():
        check_saveable(synthesizer)
    folder = path.with_name(f"{path.name}.models")
    require_new(folder, "folder")
    return Contest(made, opened[0], folder, budgeted, discover, choose, opened[1])


def _say_sum(models: int, epsilon: float | None, delta: float, choose: float | None) -> None:
    """Say what all of it can cost together, before anything is charged."""
    if epsilon is None:
        say_not_private()
        return
    total, choice = models * epsilon + (choose or 0.0), f", and a choice at epsilon {choose:g}" if choose else ""
    people.print(
        f"{models} fits at epsilon {epsilon:g} each{choice}: charged together at most epsilon "
        f"[bold]{total:g}[/] at delta {models * delta:g}."
    )


def _refuse_without_models(**options: Any) -> None:
    """Raise InputError when an option of a fit is given and nothing is fitted."""
    for name, value in options.items():
        if value:
            option = "--set" if name == "settings" else f"--{name}"
            raise InputError(f"{option} is for fits, and there are none: name synthesizers with --model.")


def names_of(synthetic: Sequence[Path], models: Sequence[str] = ()) -> list[str]:
    """Return a name for each file: its own, or its whole path where two files, or a model, have the same.

    Raises InputError unless there are two tables at least, files and models together, each given once.
    """
    if len(synthetic) + len(models) < 2:
        raise InputError("A comparison takes two tables at least, files or --model. For one table use tabsynth audit.")
    if twice := [name for name in models if models.count(name) > 1]:
        raise InputError(f"--model {twice[0]}: is given more than once.")
    seen: set[Path] = set()
    for path in synthetic:
        if not path.exists():
            raise InputError(f"{path}: no such file.")
        if path.resolve() in seen:
            raise InputError(f"{path}: is given more than once.")
        seen.add(path.resolve())
    short = [path.name for path in synthetic]
    names = [
        name if [*short, *models].count(name) == 1 else str(path) for name, path in zip(short, synthetic, strict=True)
    ]
    if both := set(names) & set(models):
        raise InputError(f"{both.pop()}: is both a file and a model; name the file by another path.")
    return names


def _say(found: Any) -> None:
    """Show every check of every table, and which table no other beats."""
    tables = found.contents["tables"]
    names = (Column(escape(table["name"]), overflow="fold") for table in tables)
    grid = Grid(Column("check", overflow="fold"), *names, header_style="bold")
    colour = {"passed": "green", "failed": "red"}
    for checks in zip(*(table["checks"] for table in tables), strict=True):
        cells = []
        for check in checks:
            value = "" if check["estimate"] is None else f"{check['estimate']['value']:.3g}"
            said = f"{value} {check['status']}".lstrip()
            cells.append(f"[{colour.get(check['status'], 'dim')}]{said}[/]")
        grid.add_row(escape(checks[0]["name"]), *cells)
    people.print(grid)
    if best := [table["name"] for table in tables if table["front"]]:
        said = "Of the tables that hold every check, not beaten in utility and privacy at once"
        people.print(f"{said}: {escape(', '.join(best))}.")
    elif not any(table["passed"] for table in tables):
        people.print("None of the tables holds every check.")
