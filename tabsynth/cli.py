"""The command line: each command is the walk with words around it.

Exit codes: 0 done or passed, 2 bad input or usage, 3 refused by the gate, 4 budget exceeded, 130 interrupted. With
`--json` standard output holds one JSON object, errors included; everything for people goes to standard error.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from tabsynth import _check, cli_audit, cli_compare, cli_given, cli_ledger, cli_selftest
from tabsynth.atomic import require_new, whole_file
from tabsynth.cli_options import (
    AsJson,
    CanaryFolder,
    Checkpoint,
    Delimiter,
    Delta,
    Discover,
    Epsilon,
    LedgerPath,
    Lifetime,
    Look,
    ModelName,
    Policy,
    ReleaseShadows,
    SchemaPath,
    Seed,
    Settings,
    TablePath,
    Target,
    ledger_opener,
    record_use,
    require_readable,
    settings_of,
)
from tabsynth.console import (
    answer,
    fail,
    people,
    say_check,
    say_cost,
    say_not_private,
    say_warning,
    summary,
)
from tabsynth.errors import TabsynthError
from tabsynth.registry import DEFAULT_SYNTHESIZER

INTERRUPTED = 130  # the exit code of Ctrl-C, by the shells' convention

app = typer.Typer(
    name="tabsynth",
    help="Private tables into synthetic ones: every fact paid for, audited, stopped at a gate when not good enough.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.add_typer(cli_ledger.ledgers, name="ledger")
app.command()(cli_audit.audit)
app.command()(cli_audit.canary)
app.command()(cli_audit.scan)
app.command()(cli_selftest.selftest)
app.command()(cli_compare.compare)
app.command()(cli_given.sample)
app.command()(cli_given.impute)


def _say_version(asked: bool) -> None:
    """Print the version and stop, where that is asked for."""
    if asked:
        print(f"tabsynth {version('tabsynth')}")
        raise typer.Exit


@app.callback()
def common(
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_say_version)
    ] = False,
) -> None:
    """Take what stands before a command."""


@app.command()
def schema(
    table: TablePath,
    output: Annotated[Path, typer.Option("-o", "--output", help="The schema file to write.")],
    form: Annotated[str, typer.Option("--format", help="yaml, or sdv for the metadata of SDV.")] = "yaml",
    ledger: LedgerPath = None,
    delimiter: Delimiter = None,
    as_json: AsJson = False,
) -> None:
    """Draft a schema from a table, every line marked that was read from data."""
    from tabsynth.drafting import draft
    from tabsynth.sdv_metadata import write_sdv

    require_new(output, "name")
    _check.one_of("--format", form, ("yaml", "sdv"))
    require_readable(table, delimiter=delimiter)
    record_use("schema", table, ledger)
    drafted = draft(table, delimiter=delimiter)
    with whole_file(output) as part:
        if form == "sdv":
            write_sdv(drafted.schema, part)
        else:
            part.write_text(drafted.to_yaml(), encoding="utf-8")
    people.print(f"Drafted [bold]{escape(str(output))}[/]. Keeping a marked line publishes what it says: read each.")
    if left_out := drafted.schema.with_role("identifier"):
        named = escape(", ".join(left_out))
        people.print(f"Not modelled, because they seem to name rows or people, or are empty: {named}.")
    answer(as_json, schema=str(output), columns=len(drafted.schema.columns))


@app.command()
def fit(
    table: TablePath,
    output: Annotated[Path, typer.Option("-o", "--output", help="The new folder of the model.")],
    schema: SchemaPath = None,
    model: ModelName = DEFAULT_SYNTHESIZER,
    settings: Settings = None,
    epsilon: Epsilon = None,
    delta: Delta = 1e-6,
    target: Target = None,
    discover: Discover = False,
    look: Look = False,
    ledger: LedgerPath = None,
    lifetime: Lifetime = None,
    delimiter: Delimiter = None,
    checkpoint: Checkpoint = None,
    seed: Seed = None,
    as_json: AsJson = False,
) -> None:
    """Fit a synthesizer to a table and save the model."""
    from tabsynth.fitting import make_synthesizer
    from tabsynth.privacy.checkpoint import discard
    from tabsynth.progress import progress_bar
    from tabsynth.synthesizers.model import check_saveable
    from tabsynth.walk import fit_table

    require_new(output, "folder")
    synthesizer = make_synthesizer(model, seed, **settings_of(settings))
    check_saveable(synthesizer)
    require_readable(schema=schema)
    place, opened = ledger_opener(table, ledger, lifetime, epsilon, delta)
    with progress_bar(f"Fitting {model}") as report:
        fitted = fit_table(
            table,
            synthesizer,
            opened,
            budgeted=epsilon is not None,
            schema=schema,
            discover=discover,
            looked=look,
            target=target,
            delimiter=delimiter,
            checkpoint=checkpoint,
            seed=seed,
            progress=report,
        )
    fitted.save(output)
    if checkpoint is not None:
        discard(checkpoint)
    say_cost(fitted.privacy)
    people.print(f"Saved the model ({fitted.name}) in [bold]{escape(str(output))}[/].")
    answer(as_json, model=str(output), family=fitted.name, ledger=str(place), privacy=summary(fitted.privacy))


@app.command()
def release(
    table: TablePath,
    output: Annotated[Path, typer.Option("-o", "--output", help="The new folder of the release.")],
    schema: SchemaPath = None,
    model: ModelName = DEFAULT_SYNTHESIZER,
    settings: Settings = None,
    epsilon: Epsilon = None,
    delta: Delta = 1e-6,
    target: Target = None,
    discover: Discover = False,
    look: Look = False,
    rows: Annotated[
        int | None, typer.Option("--rows", help="Synthetic rows; by default as many as were fitted.")
    ] = None,
    holdout: Annotated[float, typer.Option("--holdout", help="Share of rows kept from the fit, for the gate.")] = 0.2,
    policy: Policy = None,
    charge_gate: Annotated[
        bool, typer.Option("--charge-gate", help="Pay for the gate's decision from the budget.")
    ] = False,
    canary: CanaryFolder = None,
    shadows: ReleaseShadows = 0,
    ledger: LedgerPath = None,
    lifetime: Lifetime = None,
    delimiter: Delimiter = None,
    seed: Seed = None,
    as_json: AsJson = False,
) -> None:
    """Walk from a private table to a gated release; exit code 3 when the gate refuses."""
    from tabsynth.charging import SHARE
    from tabsynth.fitting import make_synthesizer
    from tabsynth.gate import GateSettings
    from tabsynth.release import check_release_folder

    synthesizer = make_synthesizer(model, seed, **settings_of(settings))
    check_release_folder(output)
    require_readable(schema=schema)
    place, opened = ledger_opener(table, ledger, lifetime, epsilon, delta)
    _release(
        table,
        synthesizer,
        opened,
        output,
        as_json,
        place,
        budgeted=epsilon is not None,
        schema=schema,
        discover=discover,
        looked=look,
        target=target,
        delimiter=delimiter,
        asked=GateSettings(policy, SHARE if charge_gate else 0.0, shadows, canary, holdout),
        rows=rows,
        seed=seed,
    )


@app.command()
def demo(
    output: Annotated[Path, typer.Option("-o", "--output", help="The new folder of the release.")] = Path(
        "tabsynth-demo"
    ),
    model: ModelName = DEFAULT_SYNTHESIZER,
    epsilon: Epsilon = 3.0,
    delta: Delta = 1e-6,
    rows: Annotated[int, typer.Option("--rows", help="How many clinic visits to simulate.")] = 30_000,
    seed: Seed = None,
    as_json: AsJson = False,
) -> None:
    """Run the whole walk on an embedded, simulated table of clinic visits."""
    from tabsynth import datasets
    from tabsynth.fitting import make_budget, make_synthesizer
    from tabsynth.gate import GateSettings
    from tabsynth.privacy.ledger import Ledger

    budget = make_budget(epsilon, delta)
    visits = datasets.clinic_visits(rows=rows)
    people.print(f"[dim]{escape(visits.description.splitlines()[0])}[/]")
    _release(
        visits.frame,
        make_synthesizer(model, seed),
        lambda: Ledger(budget),  # in memory: nobody's rows
        output,
        as_json,
        None,
        budgeted=epsilon is not None,
        schema=visits.schema,
        asked=GateSettings(holdout=0.3),  # the rare class needs rows to be judged on
        seed=seed,
    )


def main() -> None:
    """Run the command line; no error reaches a user as a traceback."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code."""
    as_json = "--json" in arguments
    warnings.showwarning = say_warning
    try:
        code = int(app(arguments, standalone_mode=False, prog_name="tabsynth") or 0)
        return _interrupted(as_json) if code == INTERRUPTED else code  # Typer makes a code of Ctrl-C
    except TabsynthError as error:
        return fail(as_json, str(error), type(error).__name__, error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return _interrupted(as_json)
    except Exception as error:
        if callable(usage := getattr(error, "format_message", None)):
            return fail(as_json, usage(), "UsageError", int(getattr(error, "exit_code", 2)))
        if os.environ.get("TABSYNTH_DEBUG"):
            raise
        # the message of an unforeseen error may quote a private value, so only its type is shown
        hint = f"An unforeseen {type(error).__name__}. Set TABSYNTH_DEBUG=1 to see the traceback, where it may be seen."
        return fail(as_json, hint, type(error).__name__, 1)


def _interrupted(as_json: bool) -> int:
    # CPython remembers an interrupt that fell into a string being executed (an import runs many) and would end by the
    # signal, whatever the exit code; executing another string makes it forget.
    exec("")
    message = "Interrupted. No release was written; what was charged stays charged."
    return fail(as_json, message, "Interrupted", INTERRUPTED)


def _release(
    source: Any,
    synthesizer: Any,
    opened: Callable[[], Any],
    output: Path,
    as_json: bool,
    place: Path | None,
    **settings: Any,
) -> None:
    """Walk to a release with a bar for the fit and a line for every check."""
    from tabsynth.progress import progress_bar
    from tabsynth.walk import release_table

    if not settings["budgeted"]:
        say_not_private()
    with progress_bar(f"Fitting {synthesizer.name}") as report:
        released = release_table(source, synthesizer, opened, output, progress=report, on_check=say_check, **settings)
    say_cost(released.provenance["privacy"])
    people.print(
        f"[green]Released[/]: [bold]{escape(str(output))}[/]. Inside report, not to be published: "
        f"{escape(str(output))}.inside"
    )
    kept = {} if place is None else {"ledger": str(place)}
    answer(as_json, released=True, folder=str(output), **kept, privacy=summary(released.provenance["privacy"]))


if __name__ == "__main__":
    main()
