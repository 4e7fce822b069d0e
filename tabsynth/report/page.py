"""The report as one HTML page: styles, drawings and numbers in a single file that asks nothing of the network."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from itertools import groupby
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from tabsynth.report import drawing, glossary, graphs, words
from tabsynth.report.mapping import mapping

NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e[+-]?\d+)?")


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
            guidance=[list(terms) for _, terms in groupby(mapping(report), key=lambda line: line["guidance"])],
            tiers={tier: words.ABOUT[tier] for tier in words.TIERS},
            furthest=drawing.furthest(found),
            charges=_grouped(report["ledger"]["charges"]) if report["ledger"] else [],
            kinds=_kinds(report["ledger"]["charges"]) if report["ledger"] else [],
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


def _kinds(charges: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return charges by what they paid for, whichever columns that was of, with the range of every number.

    >>> paid = (("grid of 'a'", "noise (sigma 3)"), ("grid of 'b'", "noise (sigma 2.5)"))
    >>> _kinds([{"why": why, "mechanism": mechanism} for why, mechanism in paid])
    [{'times': 2, 'why': 'grid', 'mechanism': 'noise (sigma 2.5 to 3)'}]
    """
    found: dict[tuple[str, str], list[list[str]]] = {}
    for charge in charges:
        kind = charge["why"].split(" of '")[0], NUMBER.sub("#", charge["mechanism"])
        found.setdefault(kind, []).append(NUMBER.findall(charge["mechanism"]))
    return [
        {"times": len(numbers), "why": why, "mechanism": _filled(mechanism, numbers)}
        for (why, mechanism), numbers in found.items()
    ]


def _filled(words: str, numbers: list[list[str]]) -> str:
    """Return words with the range of each number in its place."""
    for each in zip(*numbers, strict=True):
        low, high = min(each, key=float), max(each, key=float)
        words = words.replace("#", low if low == high else f"{low} to {high}", 1)
    return words


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
        asks=glossary.asks,
        at_rate=lambda rates, fpr: dict(rates)[fpr],
        canary=graphs.canary_group,
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
        status=words.status,
        spoken=words.spoken,
        threshold=words.threshold,
        thresholds=words.thresholds,
    )
    return made
