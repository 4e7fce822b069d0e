"""The README can be followed: its Python runs, its commands run, and there is one command to test with."""

import contextlib
import io
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from tabsynth import datasets
from tabsynth.cli import run
from tabsynth.schema_file import write_schema

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
ROOT = Path(__file__).parent.parent


def blocks(language):
    """List the fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def commands():
    """List every call of tabsynth, in order, without what installs it."""
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line.startswith("tabsynth ")]


def test_it_opens_with_the_problem_then_two_commands():
    title, problem = README.split("\n\n")[:2]
    assert title == "# tabsynth"
    assert problem.startswith("You hold a table")
    install, test = [block.strip() for block in blocks("sh")[:2]]
    assert "\n" not in install + test
    assert re.fullmatch(r"python3 -m venv \.venv && \.venv/bin/pip install -qq \. && \.venv/bin/tabsynth demo", install)
    assert re.fullmatch(r"python3 -m venv \.venv && \.venv/bin/pip install .*\[dev\].* && .*\.venv/bin/pytest.*", test)


def test_ci_runs_the_very_command_of_the_readme():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    pattern = re.search(r"grep --extended-regexp '(.*)' README\.md", script)
    assert len(re.findall(pattern[1], README, re.MULTILINE)) == 1
    others = [line.strip() for line in script.replace(pattern[0], "").splitlines() if "/pytest " in line]
    assert others == ["step .venv/bin/pytest --last-failed --last-failed-no-failures none"]  # only what failed, again


def test_its_python_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scope: dict[str, object] = {}
    for block in blocks("python"):
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(block, "README.md", "exec"), scope)
    assert scope["rows"].shape == (1000, 14)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Give a folder with the files that the README's commands start from, of a table small enough for a test."""
    monkeypatch.chdir(tmp_path)
    frame = datasets.clinic_visits(rows=900).frame
    held = np.random.default_rng(0).random(len(frame)) < 0.3
    frame.to_csv("people.csv", index=False)
    frame[~held].to_csv("train.csv", index=False)
    frame[held].to_csv("holdout.csv", index=False)
    return tmp_path


def test_its_commands_run_one_after_the_other(folder, capsys):
    named = [shlex.split(line)[1] for line in commands()]
    assert named == ["schema", "fit", "sample", "sample", "release", "audit", "fit", "ledger"]
    for line in commands():
        arguments = shlex.split(line)[1:]
        if arguments[0] in {"fit", "release"}:
            arguments += ["--model", "independent"]  # a test has no minutes to train
        allowed = {0, 3} if arguments[0] in {"release", "audit"} else {0}
        code = run(arguments)
        assert code in allowed, f"{line}\n{capsys.readouterr().err}"
        if arguments[0] == "schema":
            assert "keeping this line publishes it" in (folder / "people.yaml").read_text(encoding="utf-8")
            write_schema(datasets.clinic_schema(), "people.yaml")  # gone through, as the README asks
    assert (folder / "model" / "model.json").exists()
    assert (folder / "synthetic.csv").read_text(encoding="utf-8").count("\n") == 1001
    assert (folder / "out.inside" / "report.html").exists()
    assert (folder / "audit" / "report.json").exists()
    assert "every column's marginal" in capsys.readouterr().err


def test_every_file_that_it_links_to_is_there():
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", README):
        assert (ROOT / target).exists(), target
