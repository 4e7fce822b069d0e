"""What the command line says: words for people on standard error, one JSON object for machines on standard output."""

from __future__ import annotations

import json
import math
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table as Grid

people = Console(stderr=True, emoji=False)  # `rules:key` is an import path, and no picture of a key


def finite(number: float) -> float | None:
    """Return None for infinity, which JSON has no word for."""
    return number if math.isfinite(number) else None


def summary(privacy: Any) -> dict[str, Any]:
    """Return the claim in four facts, the last of them in words."""
    return {name: privacy[name] for name in ("private", "budget", "spent", "meaning")}


def say_cost(privacy: Any) -> None:
    """Say what was spent and what that means in plain words, or that nothing bounds it."""
    spent = privacy["spent"]
    if privacy["private"]:
        people.print(f"Spent epsilon {spent['epsilon']:.4g} at delta {spent['delta']:g}.")
        for sentence in privacy.get("meaning", ()):
            people.print(f"  {escape(sentence)}", highlight=False)
    else:
        say_not_private()


def say_not_private() -> None:
    """Say it loudly."""
    people.print("[bold white on red] NOT PRIVATE [/] No budget was set: epsilon is infinite, rows may be copied.")


def say_check(name: str) -> None:
    """Say which check starts."""
    people.print(f"[dim]checking {escape(name)}[/]")


def say_verdicts(verdicts: Any) -> None:
    """Show every verdict and why; for inside eyes."""
    grid = Grid(show_header=True, header_style="bold")
    for heading in ("check", "tier", "verdict", "why"):
        grid.add_column(heading)
    colour = {"passed": "green", "failed": "red"}
    for verdict in verdicts:
        status = f"[{colour.get(verdict.status, 'dim')}]{verdict.status}[/]"
        grid.add_row(escape(verdict.name), verdict.tier, status, escape(verdict.reason))
    people.print(grid)


def say_left_out(left: Any) -> None:
    """Name what a budget of time left no room for."""
    if left:
        people.print(f"[yellow]Left out of the time budget[/]: {escape(', '.join(left))}. Nothing was shown of these.")


def statuses(verdicts: Any) -> dict[str, str]:
    """Return the verdicts by name, without a number."""
    return {verdict.name: verdict.status for verdict in verdicts}


def say_warning(message: Any, *_: Any, **__: Any) -> None:
    """Show a warning as a line, in the place of `warnings.showwarning`."""
    people.print(f"[yellow]Warning:[/] {escape(str(message))}")


def answer(as_json: bool, **facts: Any) -> None:
    """Print the machine's answer."""
    if as_json:
        print(json.dumps({"ok": True, **facts}, ensure_ascii=False))


def fail(as_json: bool, message: str, kind: str, code: int) -> int:
    """Say what went wrong, to whom it may concern, and return the exit code."""
    if as_json:
        print(json.dumps({"ok": False, "error": kind, "message": message, "exit_code": code}, ensure_ascii=False))
    people.print(f"[bold red]{'' if code == 3 else 'Error: '}[/]{escape(message)}")
    return code
