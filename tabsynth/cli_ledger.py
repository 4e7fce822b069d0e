"""The commands that read a ledger file: what was charged, how it was split, and whether it was altered."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table as Grid

from tabsynth.cli_options import AsJson
from tabsynth.console import answer, finite, people

ledgers = typer.Typer(no_args_is_help=True, help="Read a ledger file: what was charged, and whether it was altered.")

LedgerFile = Annotated[Path, typer.Argument(metavar="LEDGER", help="The ledger file.")]


@ledgers.command()
def show(ledger: LedgerFile, as_json: AsJson = False) -> None:
    """List what every fit on the table was charged, and who else looked at its rows."""
    from tabsynth.privacy.events import in_words
    from tabsynth.privacy.ledger_file import verify as walk_chain

    found = walk_chain(ledger)
    grid = Grid("fit", "why", "event", "own delta", header_style="bold")
    for fit in found.fits:
        for charge in fit.charges:
            grid.add_row(str(fit.number), escape(charge.why), in_words(charge.event), f"{charge.delta:g}")
    people.print(grid)
    for use in found.uses:
        people.print(f"[dim]line {use.line}:[/] {escape(use.command)} {escape(use.text)}", highlight=False)
    loose = [fit.number for fit in found.fits if not fit.private]
    for number in loose:
        people.print(f"[bold white on red] NOT PRIVATE [/] fit {number}: its epsilon is infinite.")
    deltas = [fit.budget.delta for fit in found.fits if fit.budget is not None]
    epsilon = found.epsilon(found.lifetime.delta if found.lifetime else max(deltas, default=0.0))
    attempts = sum(fit.attempts for fit in found.fits)
    together = f"{epsilon:.4g}" if math.isfinite(epsilon) else "infinite"
    limit = f" of a lifetime budget of {found.lifetime}" if found.lifetime else ", no lifetime budget"
    people.print(
        f"{len(found.fits)} fits, epsilon {together} together{limit}; {attempts} attempts at a gate; {len(found.uses)} "
        "uses that were not charged."
    )
    answer(
        as_json,
        fits=len(found.fits),
        not_private=loose,
        epsilon=finite(epsilon),
        lifetime=None if found.lifetime is None else finite(found.lifetime.epsilon),
        attempts=attempts,
        charges=[{"fit": f.number, "why": c.why, "event": in_words(c.event)} for f in found.fits for c in f.charges],
        uses=[{"line": use.line, "command": use.command, "text": use.text} for use in found.uses],
    )


@ledgers.command()
def split(ledger: LedgerFile, as_json: AsJson = False) -> None:
    """Show how each fit's budget was split between purposes."""
    from tabsynth.privacy.ledger_file import verify as walk_chain
    from tabsynth.privacy.spending import split as split_of

    fits: list[dict[str, Any]] = []
    for fit in walk_chain(ledger).fits:
        budget = fit.budget if fit.private else None
        parts = split_of(fit.charges, budget)
        claim = f"epsilon {budget.epsilon:g}, delta {budget.delta:g}" if budget else "[bold red]not private[/]"
        title = f"fit {fit.number}: {claim}"
        grid = Grid("purpose", "charges", "share", "epsilon alone", "own delta", title=title, header_style="bold")
        for part in parts:
            share = "-" if part.share is None else f"{part.share:.1%}"
            alone = "-" if part.epsilon is None else f"{part.epsilon:.4g}"
            grid.add_row(escape(part.why), str(part.charges), share, alone, f"{part.delta:g}")
        people.print(grid)
        purposes = [
            {
                "why": part.why,
                "charges": part.charges,
                "share": part.share,
                "epsilon": None if part.epsilon is None else finite(part.epsilon),
                "delta": part.delta,
            }
            for part in parts
        ]
        limit = None if budget is None else budget.to_dict()
        fits.append({"fit": fit.number, "budget": limit, "private": fit.private, "purposes": purposes})
    people.print("[dim]Shares are of mu squared and add up to 1; the epsilons of purposes do not add up.[/]")
    answer(as_json, fits=fits)


@ledgers.command()
def verify(ledger: LedgerFile, as_json: AsJson = False) -> None:
    """Walk a ledger's hash chain; exit code 2 names the line that does not fit."""
    from tabsynth.privacy.ledger_file import verify as walk_chain

    verified = walk_chain(ledger)
    fits, uses = len(verified.fits), len(verified.uses)
    people.print(f"[green]The chain holds[/]: {verified.lines} lines, {fits} fits, {uses} uses that were not charged.")
    answer(as_json, lines=verified.lines, fits=fits, uses=uses, intact=True)
