"""The report as one HTML page: styles, drawings and numbers in a single file that asks nothing of the network."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from itertools import groupby
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from tabsynth.report import drawing, graphs, words
from tabsynth.report.mapping import mapping


def page(report: Mapping[str, Any]) -> str:
    """Return report.html for the contents of a report; every name and value in it is escaped."""
    found = report["associations"]
    top, apart = (
        drawing.highest(found["real"], found["synthetic"]),
        drawing.differences(found["real"], found["synthetic"]),
    )
    gap = drawing.highest(apart)
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            r=report,
            headline=words.headline(report),
            summary=words.summary(report),
            reasons=words.reasons(report),
            answers=words.answers(report),
            mapping=mapping(report),
            tiers={tier: words.ABOUT[tier] for tier in words.TIERS},
            furthest=drawing.furthest(found),
            charges=_grouped(report["ledger"]["charges"]) if report["ledger"] else [],
            shades={
                "frame": drawing.heat_frame(found["columns"]),
                "top": top,
                "gap": gap,
                "real": drawing.heat_map(found["real"], top),
                "synthetic": drawing.heat_map(found["synthetic"], top),
                "difference": drawing.heat_map(apart, gap),
            },
        )
    )


def _grouped(charges: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return runs of equal charges as one line each, with how many there were."""
    lines = [{key: charge[key] for key in ("why", "mechanism", "delta")} for charge in charges]
    return [{**line, "times": len(list(same))} for line, same in groupby(lines)]


@cache
def environment() -> Environment:
    """Return the templates of all pages, with the filters that they use; whatever they show is escaped."""
    made = Environment(
        loader=PackageLoader("tabsynth.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        at_rate=lambda rates, fpr: dict(rates)[fpr],
        capital=words.capital,
        check_line=drawing.check_line,
        histogram=drawing.histogram,
        measured=words.measured,
        mixing=graphs.mixing_picture,
        number=words.number,
        path=graphs.path,
        percent=words.percent,
        roc=graphs.roc_picture,
        sentence=words.sentence,
        spoken=words.spoken,
        threshold=words.threshold,
        thresholds=words.thresholds,
    )
    return made
