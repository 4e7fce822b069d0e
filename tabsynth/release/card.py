"""The dataset card: what a stranger needs to know before using the rows. Written from the provenance alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

SHOWN_CATEGORIES = 8

# what means something in Markdown anywhere, what does so to some readers only (as entities), and at the start of a line
_MARKS = re.compile(r"([\\`*_{}\[\]#|])")
_SOME = re.compile(r"([~$^@]|:(?=//)|^[-+=]|^\d(?=\d*[.)]))")


def card(provenance: Mapping[str, Any]) -> str:
    """Return README.md for a release, in Markdown.

    Names from the schema are escaped, so that a column called `|` or `<script>` is shown, not obeyed.
    """
    return _environment().get_template("card.md.j2").render(p=provenance)


def escape(text: object) -> str:
    r"""Return text that Markdown and HTML show as it is, on one line.

    >>> print(escape("a|b <i>\n"))
    a\|b &lt;i&gt;
    """
    line = " ".join(str(text).split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SOME.sub(lambda mark: f"&#{ord(mark[0])};", _MARKS.sub(r"\\\1", line))


def domain(column: Mapping[str, Any]) -> str:
    """Return a column's public domain in words, escaped.

    >>> print(domain({"kind": "integer", "bounds": [0, 99], "nullable": True}))
    0 to 99, or missing
    """
    if column.get("categories"):
        values = column["categories"]
        words = ", ".join(escape(value) for value in values[:SHOWN_CATEGORIES])
        if len(values) > SHOWN_CATEGORIES:
            words += f" and {len(values) - SHOWN_CATEGORIES} more"
    elif column.get("bounds"):
        low, high = (escape(f"{value:,g}") if isinstance(value, float) else escape(value) for value in column["bounds"])
        words = f"{low} to {high}"
    else:
        words = "true or false" if column["kind"] == "boolean" else "not declared"
    return words + (", or missing" if column.get("nullable") else "")


def roles(column: Mapping[str, Any]) -> str:
    """Return a column's roles in words."""
    role = column.get("role", [])
    return ", ".join([role] if isinstance(role, str) else role)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("tabsynth.release", "."),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown: every name goes through `escape`
    )
    environment.filters.update(escape=escape, domain=domain, roles=roles)
    return environment
