"""What commands share: options that mean the same everywhere, settings of a synthesizer, and the ledger of a table."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml
from rich.markup import escape

from tabsynth.console import people, say_warning
from tabsynth.errors import InputError

if TYPE_CHECKING:
    from tabsynth.policy.shadows import Shadows
    from tabsynth.privacy.ledger import Ledger


def _bounded(epsilon: float | None) -> float | None:
    """Return an epsilon, None for infinity: no budget, and never anything between the two."""
    return None if epsilon == math.inf else epsilon


TablePath = Annotated[
    str, typer.Argument(metavar="TABLE", help="The private table: CSV (also .gz), Parquet, a folder of it, or a URL.")
]
SchemaPath = Annotated[Path | None, typer.Option("--schema", help="What is public about the table: YAML or JSON.")]
ModelName = Annotated[str, typer.Option("--model", help="An installed synthesizer.")]
Settings = Annotated[list[str] | None, typer.Option("--set", help="A setting of the synthesizer, NAME=VALUE.")]
Epsilon = Annotated[
    float | None,
    typer.Option("--epsilon", help="The privacy budget. Without it: NOT private.", callback=_bounded),
]
Delta = Annotated[float, typer.Option("--delta", help="The budget's delta; well below 1 / rows.")]
Target = Annotated[str | None, typer.Option("--target", help="The column to predict.")]
Discover = Annotated[bool, typer.Option("--discover", help="Pay for every domain that the schema leaves out.")]
Look = Annotated[bool, typer.Option("--look", help="Pay for a look at undeclared texts for personal data.")]
LedgerPath = Annotated[Path | None, typer.Option("--ledger", help="The table's ledger; unless given TABLE.ledger.")]
Lifetime = Annotated[float | None, typer.Option("--lifetime", help="Epsilon of all fits together; set once.")]
Delimiter = Annotated[
    str | None, typer.Option("--delimiter", help="Between the fields of a CSV file; unless given , and a tab for .tsv.")
]
Policy = Annotated[str | None, typer.Option("--policy", help="A policy file or an installed policy.")]
CanaryFolder = Annotated[Path | None, typer.Option("--canary", help="A canary audit that must have held: its folder.")]
Checkpoint = Annotated[
    Path | None, typer.Option("--checkpoint", help="A folder to take the fit up from when it was killed; private.")
]
TimeBudget = Annotated[str | None, typer.Option("--budget", help="A time such as 2m: what does not fit is left out.")]
ShadowCount = Annotated[int, typer.Option("--shadows", help="Shadow models to fit, without a charge; with --model.")]
ReleaseShadows = Annotated[
    int, typer.Option("--shadows", help="More fits, without a charge, for attacks that know the synthesizer.")
]
ShadowModel = Annotated[str | None, typer.Option("--model", help="What made the rows, for --shadows.")]
Seed = Annotated[int | None, typer.Option("--seed", help="Fixes what may be fixed; noise never is.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on standard output, for machines.")]

_EXPONENT = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+")  # without a point YAML takes it for a text

USES = {
    "schema": "drafts a schema: not charged, because each line that is kept publishes what was read for it",
    "audit": "judges synthetic rows: not charged, because nothing of the report may leave",
    "compare": "judges several synthetic tables: not charged, because no choice by these numbers may leave",
    "canary": "attacks a synthesizer: not charged, because no model and no number of it may leave",
    "impute": "fills in missing cells: not charged, because whoever has the rows keeps them",
    "scan": "searches a saved model: not charged, because nothing of what it finds may leave",
}


def require_readable(*tables: str | Path | None, schema: Path | None = None, delimiter: str | None = None) -> None:
    """Raise what is wrong with a schema, and with what tables are read from, before a ledger is looked at."""
    from tabsynth.schema_file import read_schema
    from tabsynth.sources import open_source

    if schema is not None:
        read_schema(schema)
    for table in tables:
        if table is not None:
            open_source(table, delimiter=delimiter)


def settings_of(pairs: list[str] | None) -> dict[str, Any]:
    """Parse NAME=VALUE pairs, values as YAML."""
    parsed = {}
    for pair in pairs or []:
        name, equals, value = pair.partition("=")
        if not equals:
            raise InputError(f"--set takes NAME=VALUE; got {pair!r}.")
        parsed[name] = value_of(pair, value)
    return parsed


def value_of(option: str, text: str) -> Any:
    """Return a value written as YAML, 1e-3 a number too; raise InputError naming the option that holds it."""
    try:
        return float(text) if _EXPONENT.fullmatch(text) else yaml.safe_load(text)
    except yaml.YAMLError:
        raise InputError(f"--set: the value of {option!r} is not YAML.") from None


def seconds_of(budget: str | None) -> float | None:
    """Return a budget of time in seconds; None where there is none."""
    from tabsynth.policy import seconds_of

    return None if budget is None else seconds_of(budget)


def shadows_of(
    count: int, model: str | None, settings: list[str] | None, *, epsilon: float | None, delta: float, seed: int | None
) -> Shadows | None:
    """Return the shadow models asked for, None for none; raise InputError when only some of the options are given."""
    if not count:
        if model is not None or settings or epsilon is not None:
            raise InputError("--model, --set and --epsilon describe the shadow models: give --shadows as well.")
        return None
    from tabsynth.fitting import make_budget, make_synthesizer
    from tabsynth.policy.shadows import Shadows

    if model is None:
        raise InputError("--shadows fits again the synthesizer that made the rows: name it with --model.")
    return Shadows(make_synthesizer(model, seed, **settings_of(settings)), count, make_budget(epsilon, delta))


def ledger_opener(
    table: str | Path, named: Path | None, lifetime: float | None, epsilon: float | None, delta: float
) -> tuple[Path, Callable[..., Ledger]]:
    """Return the ledger's place and what opens it for a fit, once everything else has been looked at.

    The ledger is checked now, with the budgets. Unless it is named it is the one beside the table. Raises InputError
    for a table that is beside nothing, as one on a server and a query are, when none is named.
    """
    from tabsynth.fitting import make_budget
    from tabsynth.privacy import table_ledger
    from tabsynth.privacy.ledger import Ledger
    from tabsynth.sources import identity, is_there

    usual = usual_ledger(table)
    place = usual if named is None else named
    if place is None:
        raise InputError(
            "Only a file, or a table of a database file, can have a ledger beside it. "
            "Name a place for this one, always the same for the same people: --ledger PATH."
        )
    budget, total = make_budget(epsilon, delta), make_budget(lifetime, delta)
    data = identity(table) if place.exists() and is_there(table) else b""  # a new ledger asks for it when it is opened
    known = table_ledger.check(place, data=data, lifetime=total, budget=budget) if is_there(table) else False
    if usual is not None and usual.exists() and not (place.exists() and place.samefile(usual)):
        said = f"{usual} is kept beside the table: neither ledger knows what is charged to the other."
        say_warning(said)

    def opened(resumes: int | None = None) -> Ledger:
        ledger = Ledger.open(place, data=identity(table), lifetime=total, budget=budget, resumes=resumes)
        people.print(f"Ledger: [bold]{escape(str(place))}[/]{'' if known else ' (new)'}")
        for remark in table_ledger.remarks(place, budget) if resumes is None else ():
            say_warning(remark)
        return ledger

    return place, opened


def usual_ledger(table: str | Path) -> Path | None:
    """Return where the ledger of a table is kept unless another place is named; None where it must be."""
    from tabsynth.privacy import table_ledger
    from tabsynth.sources import home

    place = home(table)
    return None if place is None else table_ledger.beside(place)


def record_use(command: str, table: str | Path, named: Path | None = None) -> Path | None:
    """Write into the ledger of a table that a command looks at its rows, before it does; return the ledger's place.

    That is the ledger named, or the one beside the table; where there is none, nothing is written and None returned.
    Raises LedgerError when the ledger named is missing, or either cannot be used.
    """
    from tabsynth.privacy import table_ledger
    from tabsynth.sources import identity

    place = usual_ledger(table) if named is None else named
    if place is None or (named is None and not place.exists()):
        return None
    table_ledger.record_use(place, identity(table), command, USES[command])
    people.print(f"Ledger: [bold]{escape(str(place))}[/]")
    return place
