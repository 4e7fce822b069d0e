"""The shape of the package: imports point down only, each bought part has one door, no file is a drawer.

The table below is the map of the program. A new file must be placed in it.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import tabsynth

LAYERS = (
    ("errors", "_check", "atomic", "registry", "constraints", "columns", "cells"),
    ("schema", "files", "canonical", "mapped"),
    ("conversion", "sources", "identifiers", "pii", "apart"),
    ("table", "datasets", "sdv_metadata", "choice", "frame_kinds"),
    ("privacy", "encoding", "drafting", "schema_file", "outputs"),
    ("intake", "progress", "graphical", "shards"),
    ("synthesizers", "metrics"),
    ("policy", "fitting", "audit", "scan"),
    ("release", "charging", "selftest"),
    ("estimator", "report", "dry_run"),
    ("gate",),
    ("walk", "console"),
    ("cli_options", "comparing"),
    ("cli_audit", "cli_compare", "cli_given", "cli_ledger", "cli_selftest"),
    ("cli", "testing"),
)
UNDER_ALL = "errors"  # every module may raise, those of its own layer too
PRIVACY_ONLY = {"opacus", "opendp", "dp_accounting"}
# optional, slow to import, or not free
LAZY_ONLY = {"sdv", "ctgan", "faker", "transformers", "peft", "mbi", "jax", "polars", "duckdb", "sqlalchemy"}
DRAWERS = {"util", "utils", "helper", "helpers", "common", "misc", "tools", "shared"}
LONGEST = 400  # lines; most files stay under 300

RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}


@dataclass(frozen=True)
class Import:
    """One imported module, by its full name; `lazy` when it stands inside a function or is for type checkers only."""

    target: str
    line: int
    lazy: bool


def imports(tree: ast.AST, package: str, lazy: bool = False) -> Iterator[Import]:
    """List every import of a parsed file; `package` is the dotted name that relative imports start from."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno, lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            yield from (Import(f"{base}.{alias.name}", node.lineno, lazy) for alias in node.names)
        else:
            checked_only = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
            inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from imports(node, package, lazy or inside or checked_only)


def violations(root: Path) -> list[str]:
    """Return what breaks the shape of the package at `root`, one line each."""
    found = []
    edges: dict[str, set[str]] = {}
    paths = sorted(root.rglob("*.py"))
    modules = {_module(path, root) for path in paths}
    for path in paths:
        where, name = path.relative_to(root), _module(path, root)
        text = path.read_text(encoding="utf-8")
        if drawers := DRAWERS & set(where.with_suffix("").parts):
            found.append(f"{where}: named {drawers.pop()!r}, which says nothing of what is in it")
        if (lines := text.count("\n")) > LONGEST:
            found.append(f"{where}: {lines} lines, over {LONGEST}")
        if (home := where.with_suffix("").parts[0]) not in RANK and home != "__init__":
            found.append(f"{where}: not in the table of layers")
            continue
        package = name if path.stem == "__init__" else name.rpartition(".")[0]
        for imported in imports(ast.parse(text), package):
            found += [f"{where}:{imported.line}: {what}" for what in _faults(home, imported)]
            if not imported.lazy and (target := _known(imported.target, modules)) not in {None, name}:
                edges.setdefault(name, set()).add(str(target))
    return found + [f"import cycle: {' -> '.join(cycle)}" for cycle in _cycles(edges)]


def _faults(home: str, imported: Import) -> Iterator[str]:
    """Say what is wrong with one import in a file of the module or package `home`."""
    top, _, rest = imported.target.partition(".")
    if top in PRIVACY_ONLY and home != "privacy":
        yield f"{top} is imported outside privacy/"
    if top in LAZY_ONLY and not imported.lazy:
        yield f"{top} is imported on loading; import it where it is used"
    if top != "tabsynth" or home == "__init__":
        return
    target = rest.split(".")[0]
    if target not in RANK:
        yield f"{imported.target} is not in the table of layers"
    elif target not in {home, UNDER_ALL} and RANK[target] >= RANK[home]:
        direction = "sideways" if RANK[target] == RANK[home] else "up"
        yield f"{home} (layer {RANK[home]}) imports {direction}: {target} (layer {RANK[target]})"


def _module(path: Path, root: Path) -> str:
    """Return a file's dotted name."""
    parts = ("tabsynth", *path.relative_to(root).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _known(target: str, modules: set[str]) -> str | None:
    """Return the module that `target` names or lies in: `from a.b import c` names a.b.c or a.b."""
    return next((name for name in (target, target.rpartition(".")[0]) if name in modules), None)


def _cycles(edges: dict[str, set[str]]) -> list[tuple[str, ...]]:
    """Return one cycle for each module from which a depth-first walk comes back to itself, or nothing."""
    done: set[str] = set()

    def walk(name: str, path: tuple[str, ...]) -> list[tuple[str, ...]]:
        if name in path:
            return [(*path[path.index(name) :], name)]
        if name in done:
            return []
        done.add(name)
        return [cycle for target in sorted(edges.get(name, ())) for cycle in walk(target, (*path, name))]

    return [cycle for name in sorted(edges) for cycle in walk(name, ())]


def test_the_package_keeps_its_shape():
    assert violations(Path(tabsynth.__file__).parent) == []


def test_the_map_in_the_documentation_is_this_one():
    page = (Path(__file__).parent.parent / "docs" / "index.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (.+?) \|", page, re.MULTILINE)
    drawn = {int(rank): set(re.findall(r"`(\w+)`", names)) for rank, names in rows}
    assert drawn == {rank: set(names) for rank, names in enumerate(LAYERS)}
    there = {path.stem for path in Path(tabsynth.__file__).parent.iterdir() if path.stem != "__init__"}
    assert [name for name in RANK if name not in there] == []


PLANTED = {
    "up": ("schema.py", "from tabsynth.table import Table", "schema (layer 1) imports up: table (layer 3)"),
    "up, by package": ("schema.py", "from tabsynth import table", "schema (layer 1) imports up: table (layer 3)"),
    "up, relative": ("schema.py", "from . import table", "schema (layer 1) imports up: table (layer 3)"),
    "up, plain": ("privacy/noise.py", "import tabsynth.policy", "privacy (layer 4) imports up: policy"),
    "up, lazily": ("table.py", "def f():\n    from .privacy import noise", "table (layer 3) imports up: privacy"),
    "up, two dots": ("metrics/tail.py", "from ..policy import Check", "metrics (layer 6) imports up: policy"),
    "sideways": ("metrics/tail.py", "from tabsynth.synthesizers import base", "imports sideways: synthesizers"),
    "sideways, in a class": ("datasets.py", "class A:\n    from tabsynth.table import read", "imports sideways: table"),
    "opacus elsewhere": ("intake.py", "import opacus", "opacus is imported outside privacy/"),
    "opendp elsewhere": (
        "metrics/a.py",
        "def f():\n    from opendp.mod import x",
        "opendp is imported outside privacy/",
    ),
    "ctgan on loading": ("synthesizers/a.py", "import ctgan.data", "ctgan is imported on loading"),
    "mbi on loading": (
        "synthesizers/a.py",
        "try:\n    import mbi\nexcept ImportError: ...",
        "mbi is imported on",
    ),
    "a drawer": ("encoding/utils.py", "", "named 'utils'"),
    "a drawer folder": ("common/thing.py", "", "named 'common'"),
    "too long": ("schema.py", "x = 1\n" * 401, "schema.py: 401 lines, over 400"),
    "not placed": ("novelty.py", "", "novelty.py: not in the table of layers"),
    "unknown": ("cli.py", "from tabsynth.novelty import x", "tabsynth.novelty.x is not in the table of layers"),
    "the face from below": ("cli.py", "from tabsynth import TabularSynthesizer", "is not in the table of layers"),
}


@pytest.mark.parametrize(("file", "code", "message"), PLANTED.values(), ids=PLANTED)
def test_a_planted_fault_is_found(tmp_path, file, code, message):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(code)
    found = violations(tmp_path)
    assert len(found) >= 1
    assert message in found[0]


def test_a_planted_cycle_is_found(tmp_path):
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "page.py").write_text("from tabsynth.report import chart\n")
    (tmp_path / "report" / "chart.py").write_text("from tabsynth.report.words import name\n")
    (tmp_path / "report" / "words.py").write_text("from tabsynth.report.page import page\n")
    (found,) = violations(tmp_path)
    assert found.startswith("import cycle: ")
    assert found.count("->") == 3


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("cli.py", "from tabsynth import release, table\nfrom tabsynth.report.page import page\n"),
        ("registry.py", "from tabsynth.errors import InputError\n"),
        ("privacy/dpsgd.py", "import opacus\nfrom tabsynth.privacy.noise import Secret\n"),
        ("synthesizers/rows.py", "def fit():\n    import transformers\n"),
        ("synthesizers/rows.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import peft\n"),
        ("__init__.py", "from tabsynth.estimator import TabularSynthesizer\n"),
    ],
)
def test_a_good_import_is_left_alone(tmp_path, file, code):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(code)
    assert violations(tmp_path) == []
