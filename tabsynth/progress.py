"""Progress for people: a bar on a terminal or in a notebook, silence elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Report = Callable[[int, int, Mapping[str, float]], None]


@contextmanager
def progress_bar(title: str, *, show: bool | None = None) -> Iterator[Report]:
    """Show a bar while the block runs; yield what takes (steps done, steps in all, public figures).

    `show=None` shows it where somebody can see it: on a terminal, or in a notebook that has widgets.
    """
    visible = someone_looks() if show is None else show
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[figures]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not visible, transient=True) as bar:
        task = bar.add_task(title, total=None, figures="")

        def report(done: int, total: int, figures: Mapping[str, float]) -> None:
            shown = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
            bar.update(task, completed=done, total=total, figures=shown)

        yield report


@contextmanager
def check_bar(checks: int, line: Callable[[str], None], *, show: bool | None = None) -> Iterator[Callable[[str], None]]:
    """Show which of some checks runs while the block does: on a bar where somebody can see it, else by `line`.

    Yields what takes the name of a check that starts.
    """
    if not (someone_looks() if show is None else show):
        yield line
        return
    columns = (TextColumn("checking [bold]{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=checks, completed=-1, visible=False)  # until one starts: tables are read first

        def starts(name: str) -> None:
            bar.update(task, description=escape(name), advance=1, visible=True)

        yield starts


def someone_looks() -> bool:
    """Whether a bar would be seen: standard error is a terminal, or a notebook runs that can draw one."""
    if sys.stderr.isatty():
        return True
    return "ipykernel" in sys.modules and find_spec("ipywidgets") is not None
