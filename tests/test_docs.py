"""The documentation says what is so: its code runs, its commands exist, its tables hold."""

import contextlib
import io
import math
import re
import sys
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer.main
import yaml

from tabsynth import errors
from tabsynth.cli import app
from tabsynth.metrics.evidence import Evidence
from tabsynth.policy import evaluate, parse_policy, read_policy
from tabsynth.schema import Column, Schema
from tabsynth.synthesizers.ctgan import CTGAN

DOCS = Path(__file__).parent.parent / "docs"
PAGES = {path.relative_to(DOCS).as_posix(): path.read_text(encoding="utf-8") for path in sorted(DOCS.rglob("*.md"))}
FULL = 'model="ctgan"'  # what readers are shown; a test has no minutes to train


def blocks(text, language):
    """List the fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


# --- code ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def my_package(tmp_path, monkeypatch):
    """Lay out the page's package as an installer would, and make it importable."""
    folder = tmp_path / "site"
    folder.mkdir()
    defined = [block for block in blocks(PAGES["plugins.md"], "python") if re.search(r"^(class|def) ", block, re.M)]
    (folder / "my_package.py").write_text("\n".join(defined), encoding="utf-8")
    (toml,) = blocks(PAGES["plugins.md"], "toml")
    info = folder / "my_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my_package\nVersion: 1.0\n", encoding="utf-8")
    groups = tomllib.loads(toml)["project"]["entry-points"]
    lines = [f"[{name}]\n" + "".join(f"{a} = {b}\n" for a, b in points.items()) for name, points in groups.items()]
    (info / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder))
    yield
    sys.modules.pop("my_package", None)


@pytest.mark.usefixtures("my_package")
@pytest.mark.parametrize("name", [name for name, text in PAGES.items() if blocks(text, "python")])
def test_the_code_of_a_page_runs_from_top_to_bottom(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    scope = {"small": CTGAN(critic_steps=2, warm_steps=2, generator_width=16)}
    for block in blocks(PAGES[name], "python"):
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(block.replace(FULL, "model=small"), name, "exec"), scope)


@pytest.mark.parametrize("text", blocks(PAGES["schema.md"], "yaml"))
def test_the_schema_that_is_shown_is_one(text):
    schema = Schema.from_dict(yaml.safe_load(text))
    assert schema.target == "readmitted"
    assert schema.undeclared() == ()


def test_the_policy_that_is_shown_is_one():
    (text,) = blocks(PAGES["plugins.md"], "yaml")
    assert [check.metric.name for check in parse_policy(text, "plugins.md")] == ["tvd2", "tstr_ratio", "membership_tpr"]


def test_every_entry_of_a_schema_is_explained():
    explained = set(re.findall(r"^\| `(\w+)` \|", PAGES["schema.md"], re.MULTILINE))
    of_column = {"role" if name == "roles" else name for name in Column.__dataclass_fields__}
    assert explained == of_column | set(Schema.__dataclass_fields__)


@pytest.mark.usefixtures("my_package")
def test_the_metric_and_the_policy_that_are_shown_judge():
    (check,) = read_policy("strict")
    schema = Schema((Column("age", "float", bounds=(0, 9)),))
    near, far = pd.DataFrame({"age": [1.0, 2.0, 3.0]}), pd.DataFrame({"age": [7.0, 8.0, 9.0]})
    gap = check.metric(Evidence(schema, near, None, far), np.random.default_rng(0))
    assert gap.value == pytest.approx(6 / (np.std([1, 2, 3]) / math.sqrt(3)))
    rng = np.random.default_rng(0)
    assert [verdict.passed for verdict in evaluate(Evidence(schema, near, None, far), (check,), rng)] == [False]
    assert [verdict.passed for verdict in evaluate(Evidence(schema, near, None, near), (check,), rng)] == [True]


# --- commands --------------------------------------------------------------------------------------------------------


def commands(group, prefix="tabsynth"):
    """Yield (full name, command) for every command that does something."""
    for name, command in group.commands.items():
        if getattr(command, "commands", None):
            yield from commands(command, f"{prefix} {name}")
        elif not command.hidden:
            yield f"{prefix} {name}", command


COMMANDS = dict(commands(typer.main.get_command(app)))


def section(name):
    """Return the part of the page of commands that is about one."""
    found = re.search(rf"^## `{re.escape(name)}`\n(.*?)(?=^## |\Z)", PAGES["cli.md"], re.MULTILINE | re.DOTALL)
    return found[1] if found else ""


def flags(command):
    """Return every flag of a command as it is typed."""
    return {
        flag
        for parameter in command.params
        if parameter.param_type_name == "option" and not getattr(parameter, "hidden", False)
        for flag in (*parameter.opts, *parameter.secondary_opts)
        if flag != "--help"
    }


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_documented_with_all_its_options(name):
    assert section(name), f"docs/cli.md has no section '## `{name}`'"
    rows = re.findall(r"^\| (`-.*?) \|", section(name), re.MULTILINE)
    documented = {flag for row in rows for flag in re.findall(r"(?<![\w-])--?[a-z][\w-]*", row)}
    assert documented == flags(COMMANDS[name])
    arguments = {p.metavar or p.name.upper() for p in COMMANDS[name].params if p.param_type_name == "argument"}
    assert arguments <= set(re.findall(r"\b[A-Z_]+\b", section(name)))


def test_no_command_is_documented_that_is_not_there():
    assert set(re.findall(r"^## `(tabsynth .*?)`$", PAGES["cli.md"], re.MULTILINE)) == set(COMMANDS)


def test_exit_codes_are_those_of_the_errors():
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", PAGES["cli.md"], re.MULTILINE)}
    raised = {item.exit_code for item in vars(errors).values() if isinstance(item, type)}
    assert documented == raised | {0, 130}


# --- tables ----------------------------------------------------------------------------------------------------------


def test_what_epsilon_means_is_computed_right():
    """Bayes' rule at even odds; the lines that bound every test (Kairouz, Oh, Viswanath 2015) at 1% false alarms."""
    rows = re.findall(r"^\| ([\d.]+) \| ([\d.]+)% \| ([\d.]+)% \|", PAGES["privacy.md"], re.MULTILINE)
    assert len(rows) == 4
    for epsilon, sure, found in rows:
        odds = math.exp(float(epsilon))
        for shown, true in ((sure, odds / (1 + odds)), (found, min(odds * 0.01, 1 - (1 - 0.01) / odds))):
            assert f"{100 * true:.{len(shown.partition('.')[2])}f}" == shown


def test_every_decision_is_listed():
    written = {name.removeprefix("decisions/") for name in PAGES if name.startswith("decisions/")} - {"index.md"}
    assert set(re.findall(r"\]\(([^)]+\.md)\)", PAGES["decisions/index.md"])) == written


@pytest.mark.parametrize("name", PAGES)
def test_a_link_within_the_pages_leads_somewhere(name):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", PAGES[name]):
        assert ((DOCS / name).parent / target).exists(), target
