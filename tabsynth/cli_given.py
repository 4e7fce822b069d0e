"""The command that samples, what it can be asked for, and the one that fills in a table's missing cells."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.markup import escape

from tabsynth import _check
from tabsynth.atomic import require_new, whole_file
from tabsynth.cli_options import AsJson, Delimiter, LedgerPath, Seed, record_use
from tabsynth.console import answer, people
from tabsynth.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from tabsynth.progress import Report
    from tabsynth.synthesizers.model import Model

ModelFolder = Annotated[Path, typer.Argument(metavar="MODEL_DIR", help="The folder of a saved model.")]
GivenTexts = Annotated[
    list[str] | None, typer.Option("--given", help="A condition: income=>50K, age=30..40, city=a|b, city=.")
]
GivenFile = Annotated[
    Path | None, typer.Option("--given-file", help="Partial rows, CSV or Parquet: one row is drawn for each.")
]
ShareTexts = Annotated[list[str] | None, typer.Option("--share", help="The share of rows with a value: fraud=yes:0.3.")]
Temperature = Annotated[
    float, typer.Option("--temperature", help="Of rows only: below 1 surer than the model, above 1 bolder.")
]


@dataclass(frozen=True, slots=True)
class Asked:
    """What rows are asked for; raises InputError for what does not go together, before a model is read."""

    rows: int | None
    given: list[str]
    given_file: Path | None
    share: list[str]
    temperature: float

    def __post_init__(self) -> None:
        """Check what can be checked without the model."""
        _check.positive("--temperature", self.temperature)
        if self.given_file is None:
            if self.rows is None:
                raise InputError("--rows is needed: how many rows are to be sampled?")
            _check.at_least("--rows", self.rows, 1)
        elif self.given or self.share:
            raise InputError("--given-file says what each row holds: leave out --given and --share.")

    def sample(self, fitted: Model, rng: np.random.Generator) -> pd.DataFrame:
        """Return the rows."""
        if self.given_file is not None:
            return fitted.sample(self.rows, rng, cells_of(self.given_file), temperature=self.temperature)
        found: pd.DataFrame = fitted.sample(self.rows, rng, **self._conditions(fitted))
        return found

    def write(self, fitted: Model, rng: np.random.Generator, folder: Path, progress: Report) -> None:
        """Write the rows as Parquet files into a new folder."""
        fitted.sample(self.rows, rng, to=folder, progress=progress, **self._conditions(fitted))

    def _conditions(self, fitted: Model) -> dict[str, Any]:
        from tabsynth.encoding.conditions import given_from_texts
        from tabsynth.synthesizers.sharing import shares_from_texts

        given = given_from_texts(self.given, fitted.schema)
        shares = shares_from_texts(self.share, fitted.schema)
        return {"given": given, "shares": shares, "temperature": self.temperature}


def sample(  # noqa: PLR0917  (a command's options are its arguments)
    model: ModelFolder,
    output: Annotated[
        str | None, typer.Option("-o", "--output", help="The new file: .csv or .parquet; or, ending in /, a folder.")
    ] = None,
    to: Annotated[Path | None, typer.Option("--to", help="The new folder of Parquet files, for many rows.")] = None,
    rows: Annotated[int | None, typer.Option("--rows", help="How many rows; those of --given-file if given.")] = None,
    given: GivenTexts = None,
    given_file: GivenFile = None,
    share: ShareTexts = None,
    temperature: Temperature = 1.0,
    seed: Seed = None,
    as_json: AsJson = False,
) -> None:
    """Sample synthetic rows from a saved model."""
    place, many = _place(output, to)
    asked = Asked(rows, given or [], given_file, share or [], temperature)
    write = _to_folder if many else _to_file
    written, accepted = write(asked, model, np.random.default_rng(seed), place)
    _say_accepted(accepted)
    where = f"{'the folder ' * many}[bold]{escape(str(place))}[/]"
    people.print(f"Wrote {written:,} synthetic rows to {where}.")
    answer(as_json, rows=written, output=str(place), acceptance=accepted)


def _to_file(asked: Asked, model: Path, rng: np.random.Generator, place: Path) -> tuple[int, float | None]:
    """Write the rows to a new file; return how many, and which share of those drawn was good."""
    from tabsynth.files import require_ending
    from tabsynth.synthesizers.model import load
    from tabsynth.table import write_rows

    require_ending(place)
    require_new(place, "name")
    drawn = asked.sample(fitted := load(model), rng)
    accepted = drawn.attrs.get("acceptance")
    with whole_file(place) as part:
        write_rows(drawn, fitted.schema, part)
    return len(drawn), accepted


def _to_folder(asked: Asked, model: Path, rng: np.random.Generator, place: Path) -> tuple[int | None, float | None]:
    """Write the rows to a new folder of Parquet files; return how many, and which share of those drawn was good."""
    from tabsynth.progress import progress_bar
    from tabsynth.synthesizers.model import load

    require_new(place, "folder")
    if asked.given_file is not None:
        raise InputError("Rows completed from --given-file go into one file, not a folder: -o rows.csv.")
    fitted = load(model)
    figures: dict[str, float] = {}
    with progress_bar("Sampling") as report:

        def told(done: int, total: int, found: Mapping[str, float]) -> None:
            figures.update(found)
            report(done, total, found)

        asked.write(fitted, rng, place, told)
    return asked.rows, figures.get("acceptance")


def _say_accepted(share: float | None) -> None:
    """Say which share of the rows that were drawn was good, where some were drawn again."""
    if share is not None:
        people.print(f"{share:.1%} of the rows that were drawn kept every constraint and condition.")


def _place(output: str | None, to: Path | None) -> tuple[Path, bool]:
    """Return where rows are written, and whether that is a folder."""
    if to is not None and output is None:
        return to, True
    if output is not None and to is None:
        return Path(output), output.endswith(("/", os.sep))
    raise InputError("Say where the rows are written: -o FILE, or --to FOLDER for many.")


def impute(  # noqa: PLR0917  (a command's options are its arguments)
    model: ModelFolder,
    table: Annotated[
        str, typer.Argument(metavar="TABLE", help="A table of yours with missing cells: a file, or a URL.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The new file: .csv or .parquet.")],
    column: Annotated[
        list[str] | None, typer.Option("--column", help="Fill in this column only; may be repeated.")
    ] = None,
    ledger: LedgerPath = None,
    delimiter: Delimiter = None,
    seed: Seed = None,
    as_json: AsJson = False,
) -> None:
    """Fill in a table's missing cells from a saved model, given the rest of each row. The result is as private as it.

    Cells that are there stay as they are. Nothing is charged: this is your own use of your rows.
    """
    from tabsynth.files import require_ending, write_frame
    from tabsynth.sources import open_source
    from tabsynth.synthesizers.model import load

    require_ending(output)
    require_new(output, "name")
    fitted = load(model)
    record_use("impute", table, ledger)
    cells = cells_of(table, delimiter)
    filled = fitted.impute(cells, np.random.default_rng(seed), column or None)
    with whole_file(output) as part:
        write_frame(filled, part)
    label = open_source(table, delimiter=delimiter).label  # a URL without its password
    people.print(f"Filled [bold]{escape(str(output))}[/]. It holds the rows of {escape(label)}: keep it like them.")
    answer(as_json, rows=len(filled), output=str(output))


def cells_of(source: Path | str, delimiter: str | None = None) -> pd.DataFrame:
    """Read a table as it stands, the cells of CSV as text; raise TableError naming it and the rule it breaks."""
    from tabsynth.files import chunks
    from tabsynth.sources import open_source

    (whole,) = chunks(open_source(source, delimiter=delimiter), rows=None)
    frame: pd.DataFrame = whole.columns.to_pandas()
    return frame
