"""Progress for people: a bar on a terminal or in a notebook, silence elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

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


def someone_looks() -> bool:
    """Whether a bar would be seen: standard error is a terminal, or a notebook runs that can draw one."""
    if sys.stderr.isatty():
        return True
    return "ipykernel" in sys.modules and find_spec("ipywidgets") is not None
