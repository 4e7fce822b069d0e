"""The command line: the walk works, every bad input has its exit code, and no traceback or private value is shown."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tabsynth.cli import run
from tabsynth.schema import Column, Schema
from tabsynth.schema_file import write_schema

CANARY = "zq7-private-value"
SCHEMA = Schema(
    (
        Column("age", "integer", bounds=(0, 120)),
        Column("city", "categorical", categories=("Bonn", "Köln", "Ulm")),
        Column("joined", "datetime", bounds=(946684800, 1735689600)),
        Column("ill", "boolean", roles=("target",)),
    )
)


def _people(rows: int = 900, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    age = rng.integers(18, 90, rows)
    days = pd.Timestamp("2001-01-01") + pd.to_timedelta(rng.integers(0, 8000, rows), unit="D")
    return pd.DataFrame(
        {
            "age": age,
            "city": rng.choice(["Bonn", "Köln", "Ulm"], rows),
            "joined": days.strftime("%Y-%m-%d"),
            "ill": rng.random(rows) < age / 120,
        }
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a table and its schema."""
    monkeypatch.chdir(tmp_path)
    _people().to_csv("people.csv", index=False)
    write_schema(SCHEMA, "people.yaml")
    return tmp_path


def test_schema_fit_sample(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["schema", "people.csv", "-o", "draft.yaml"]) == 0
    assert "keeping this line publishes it" in (folder / "draft.yaml").read_text(encoding="utf-8")
    fit = ["fit", "people.csv", "--schema", "draft.yaml", "--model", "independent", "--epsilon", "1", "-o", "model"]
    assert run([*fit, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["privacy"]["private"]
    assert 0 < answer["privacy"]["spent"]["epsilon"] <= 1
    for name in ("a.csv", "b.csv", "c.parquet"):
        assert run(["sample", "model", "--rows", "300", "--seed", "5", "-o", name]) == 0
    pd.testing.assert_frame_equal(pd.read_csv("a.csv"), pd.read_csv("b.csv"))
    assert pd.read_parquet("c.parquet")["joined"].dtype.kind == "M"
    assert pd.read_csv("a.csv")["joined"].str.fullmatch(r"\d{4}-\d\d-\d\d").all()


def test_fit_without_a_budget_says_so_loudly(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["fit", "people.csv", "--schema", "people.yaml", "--model", "independent", "-o", "model"]) == 0
    assert "NOT PRIVATE" in capsys.readouterr().err
    assert run(["fit", "people.csv", "--model", "independent", "--epsilon", "nan", "-o", "odd"]) == 2


def test_audit_passes_a_fresh_sample_and_refuses_a_copy(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed, name in enumerate(("train", "holdout", "fresh"), start=1):
        _people(2000, seed).to_csv(f"{name}.csv", index=False)
    audit = ["audit", "--train", "train.csv", "--holdout", "holdout.csv", "--target", "ill", "--seed", "0", "--json"]
    assert run([*audit, "--synthetic", "fresh.csv", "-o", "fresh"]) == 0
    assert json.loads(capsys.readouterr().out)["passed"]
    assert run([*audit, "--synthetic", "train.csv", "-o", "copy"]) == 3
    assert not json.loads(capsys.readouterr().out)["passed"]
    assert {"report.html", "report.json"} <= {file.name for file in (folder / "copy").iterdir()}


@pytest.mark.filterwarnings("ignore:.*rows.csv:UserWarning")
def test_a_synthetic_table_with_impossible_values_is_judged(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _people(2000, 1).to_csv("train.csv", index=False)
    rows = _people(2000, 2).assign(more=1)
    rows["age"] = np.where(np.arange(2000) % 10 == 0, 3.37, rows["age"])
    rows.to_csv("rows.csv", index=False)
    (folder / "policy.yaml").write_text("checks: [{metric: out_of_domain, settings: {declared: true}, at_most: 0.01}]")
    audit = ["audit", "--train", "train.csv", "--policy", "policy.yaml"]
    assert run([*audit, "--synthetic", "rows.csv", "-o", "out"]) == 3
    assert "column 'age', of which 200 values" in (folder / "out" / "report.md").read_text()
    _people(2000, 2).assign(more=1).to_csv("more.csv", index=False)
    capsys.readouterr()
    assert run(["audit", "--train", "more.csv", "--synthetic", "train.csv", "-o", "strict"]) == 2
    assert "'more' of the schema is missing" in " ".join(capsys.readouterr().err.split())


def test_an_audit_says_when_nothing_judged_what_ties_columns_together(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed, name in enumerate(("train", "holdout", "fresh"), start=1):
        _people(2000, seed)[["age", "ill"]].to_csv(f"{name}.csv", index=False)
    audit = ["audit", "--train", "train.csv", "--holdout", "holdout.csv", "--synthetic", "fresh.csv", "--policy"]
    (folder / "policy.yaml").write_text("checks: [{metric: tvd2, at_most: 0.3}, {metric: tstr_ratio, at_least: 0.5}]")
    for target, said in (([], True), (["--target", "ill"], False)):
        assert run([*audit, "policy.yaml", *target, "-o", f"out {said}"]) == 0
        assert ("Neither utility nor association was judged" in " ".join(capsys.readouterr().err.split())) is said


def test_release_refuses_the_bootstrap_and_writes_only_the_inside_report(folder: Path) -> None:
    release = ["release", "people.csv", "--schema", "people.yaml", "--model", "bootstrap", "--seed", "0", "-o", "out"]
    assert run([*release, "--policy", "small"]) == 3
    assert not (folder / "out").exists()
    assert (folder / "out.inside" / "report.html").exists()


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"", "empty"),
        (b"age,city,joined,ill\n", "no rows"),
        (b"age,city,joined,ill\n30,Ulm,2010-01-01,true\n", "one row"),
        (
            b"age,age,city,joined,ill\n1,1,Ulm,2010-01-01,true\n1,1,Ulm,2010-01-01,true\n",
            "have the same name",
        ),
        (b"age,city,joined\n1,Ulm,2010-01-01\n2,Ulm,2010-01-01\n", "'ill' of the schema is missing"),
        (
            b"age,city,joined,ill,pet\n1,Ulm,2010-01-01,true,cat\n1,Ulm,2010-01-01,true,cat\n",
            "does not know column 'pet'",
        ),
        (b"age;city;joined;ill\n1;Ulm;2010-01-01;true\n2;Ulm;2010-01-01;true\n", "delimiter"),
        (b"age,city,joined,ill\n1,zq7-private-value,2010-01-01,true\n2,Ulm,2010-01-01,true\n", "declared categories"),
        (
            b"age,city,joined,ill\nzq7-private-value,Ulm,2010-01-01,true\n2,Ulm,2010-01-01,true\n",
            "'age': a value is not a number",
        ),
        (b"age,city,joined,ill\n1,Ulm,2010-01-01,zq7-private-value\n2,Ulm,2010-01-01,true\n", "not a boolean"),
        (b"age,city,joined,ill\n,Ulm,2010-01-01,true\n2,Ulm,2010-01-01,true\n", "'age': a value is missing"),
        (b"age,city,joined,ill\ninf,Ulm,2010-01-01,true\n2,Ulm,2010-01-01,true\n", "infinite"),
        (
            b"age,city,joined,ill\n1,Ulm,01.02.2010,true\n2,Ulm,2010/01/01,true\n",
            "'joined': a value does not follow the format",
        ),
        (
            b"age,city,joined,ill\n1,Ulm,2010-01-01,true,zq7-private-value\n2,Ulm,2010-01-01,true\n",
            "more or fewer fields",
        ),
        (b"\xff\xfe\x00zq7", "people.csv"),
    ],
)
def test_bad_tables_exit_2_before_any_charge(
    folder: Path, capsys: pytest.CaptureFixture[str], content: bytes, rule: str
) -> None:
    (folder / "people.csv").write_bytes(content)
    code = run(
        [
            "release",
            "people.csv",
            "--schema",
            "people.yaml",
            "--model",
            "independent",
            "--epsilon",
            "1",
            "--ledger",
            "ledger.jsonl",
            "-o",
            "out",
        ]
    )
    said = " ".join(capsys.readouterr().err.split())
    assert code == 2
    assert rule in said
    assert CANARY not in said
    assert "Traceback" not in said
    assert {file.name for file in folder.iterdir()} == {"people.csv", "people.yaml"}


@pytest.mark.parametrize(
    ("extra", "code", "rule"),
    [
        (["--epsilon", "0"], 2, "epsilon must be above 0"),
        (["--epsilon", "1", "--delta", "2"], 2, "delta must be"),
        (["--epsilon", "1", "--target", "wage"], 2, "No column 'wage'"),
        (["--epsilon", "1", "--model", "ctgn"], 2, "Installed:"),
        (["--epsilon", "1", "--policy", "nowhere.yaml"], 2, "no such policy"),
        (["--epsilon", "1", "--holdout", "0"], 2, "holdout"),
        (["--epsilon", "1", "--rows", "0"], 2, "rows"),
        (["--epsilon", "1", "--set", "nonsense=1"], 2, "no setting 'nonsense'"),
        (["--epsilon", "one"], 2, "epsilon"),
        (["--no-such-option"], 2, "option"),
    ],
)
def test_bad_arguments_exit_2(
    folder: Path, capsys: pytest.CaptureFixture[str], extra: list[str], code: int, rule: str
) -> None:
    base = ["release", "people.csv", "--schema", "people.yaml", "--model", "independent", "-o", "out"]
    assert run([*base, *extra]) == code
    said = " ".join(capsys.readouterr().err.split())
    assert rule in said
    assert not (folder / "out").exists()


def test_places_that_cannot_be_written_are_found_before_the_fit(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "taken").mkdir()
    base = ["release", "people.csv", "--schema", "people.yaml", "--model", "independent", "--epsilon", "1"]
    assert run([*base, "-o", "taken"]) == 2
    assert "exists" in capsys.readouterr().err
    assert run([*base, "-o", "nowhere/out"]) == 2
    assert run(["fit", "people.csv", "--schema", "people.yaml", "-o", "taken"]) == 2
    assert run(["fit", "nothing.csv", "--schema", "people.yaml", "-o", "model"]) == 2
    assert run(["sample", "taken", "--rows", "5", "-o", "x.csv"]) == 2
    assert run(["fit", "people.csv", "--schema", "nothing.yaml", "-o", "model"]) == 2


def test_a_lifetime_budget_holds_over_fits(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit = ["fit", "people.csv", "--schema", "people.yaml", "--model", "independent", "--epsilon", "1"]
    ledger = ["--ledger", "ledger.jsonl", "--lifetime", "1"]
    assert run([*fit, *ledger, "-o", "one"]) == 0
    assert run([*fit, *ledger, "-o", "two"]) == 4
    assert not (folder / "two").exists()
    assert run(["ledger", "verify", "ledger.jsonl"]) == 0
    capsys.readouterr()
    assert run(["ledger", "show", "ledger.jsonl", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["epsilon"] <= 1
    other = _people(900, seed=8)
    other.to_csv("people.csv", index=False)
    assert run([*fit, *ledger, "-o", "three"]) == 2
    assert "other data" in capsys.readouterr().err


# --- the ledger of a table -------------------------------------------------------------------------------------------

FIT = ["fit", "people.csv", "--schema", "people.yaml", "--model", "independent", "--epsilon", "1"]
LEDGER_FILES = {"people.csv.ledger", "people.csv.ledger.key", "people.csv.ledger.head"}


def _names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def _shown(capsys: pytest.CaptureFixture[str], ledger: str = "people.csv.ledger") -> dict[str, object]:
    capsys.readouterr()
    assert run(["ledger", "show", ledger, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("command", ["fit", "release", "audit"])
@pytest.mark.parametrize("schema", ["gone.yaml", "people.csv"])
def test_a_schema_that_is_none_is_told_before_a_ledger_is_looked_at(
    folder: Path, capsys: pytest.CaptureFixture[str], command: str, schema: str
) -> None:
    tables = ["--train", "people.csv", "--synthetic", "people.csv"] if command == "audit" else ["people.csv"]
    assert run([command, *tables, "--schema", schema, "-o", "new"]) == 2
    assert schema in (said := capsys.readouterr().err)
    assert "Ledger" not in said
    assert not (folder / "people.csv.ledger").exists()


def test_a_ledger_is_kept_beside_the_table(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*FIT, "-o", "one", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["ledger"] == "people.csv.ledger"
    assert said.err.count("Ledger: people.csv.ledger (new)") == 1
    assert _names(folder) >= LEDGER_FILES
    (folder / "link.csv").symlink_to("people.csv")
    assert run(["fit", "link.csv", *FIT[2:], "-o", "two"]) == 0
    assert "Ledger: " in (err := capsys.readouterr().err)
    assert "(new)" not in err
    release = ["release", *FIT[1:], "-o", "out", "--seed", "0"]
    assert run(release) in {0, 3}
    found = _shown(capsys)
    assert (found["fits"], found["attempts"], found["not_private"], found["lifetime"]) == (3, 1, [], None)
    assert 1 < found["epsilon"] < 3
    assert _names(folder) == {*LEDGER_FILES, "people.csv", "people.yaml", "link.csv", "one", "two", "out.inside"} | (
        {"out"} & _names(folder)
    )


def test_a_lifetime_budget_set_late_counts_what_was_spent(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*FIT, "-o", "one"]) == 0
    assert run([*FIT, "--lifetime", "1.5", "-o", "two"]) == 0
    assert run([*FIT, "-o", "three"]) == 4
    assert _shown(capsys)["epsilon"] <= 1.5
    assert run([*FIT, "--lifetime", "9", "-o", "four"]) == 2
    assert "set for good" in " ".join(capsys.readouterr().err.split())


def test_a_table_that_changed_needs_a_word(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*FIT, "-o", "one"]) == 0
    before = (folder / "people.csv.ledger").read_bytes()
    _people(900, seed=8).to_csv("people.csv", index=False)
    capsys.readouterr()
    assert run([*FIT, "-o", "two"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "kept for other data" in said
    assert "--ledger PATH" in said
    assert (folder / "people.csv.ledger").read_bytes() == before
    assert not (folder / "two").exists()
    assert run([*FIT, "--ledger", "second.ledger", "-o", "two"]) == 0
    assert "neither ledger knows" in " ".join(capsys.readouterr().err.split())


def test_a_folder_that_cannot_be_written_names_the_option(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "kept").mkdir()
    (folder / "kept" / "people.csv").write_bytes((folder / "people.csv").read_bytes())
    real = os.access
    monkeypatch.setattr(os, "access", lambda place, mode: Path(place).name != "kept" and real(place, mode))
    fit = ["fit", "kept/people.csv", *FIT[2:], "-o", "model"]
    assert run(fit) == 2
    assert "--ledger PATH" in " ".join(capsys.readouterr().err.split())
    assert not (folder / "model").exists()
    assert run([*fit, "--ledger", "people.ledger"]) == 0
    assert _names(folder / "kept") == {"people.csv"}


def test_a_fit_that_is_not_private_stands_in_the_ledger(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*FIT, "-o", "one"]) == 0
    assert run([*FIT[:-2], "-o", "two"]) == 0
    capsys.readouterr()
    assert run(["ledger", "show", "people.csv.ledger"]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "NOT PRIVATE fit 2: its epsilon is infinite" in said
    assert "epsilon infinite together" in said
    found = _shown(capsys)
    assert (found["epsilon"], found["not_private"]) == (None, [2])
    assert run([*FIT, "--lifetime", "5", "-o", "three"]) == 4


def _looks(folder: Path) -> dict[str, list[str]]:
    """Every command that looks at the rows without being charged, able to succeed."""
    _people(900, seed=3).to_csv("holdout.csv", index=False)
    assert run([*FIT, "--ledger", str(folder / "apart.ledger"), "-o", "model"]) == 0
    audit = ["audit", "--train", "people.csv", "--holdout", "holdout.csv", "--synthetic", "holdout.csv", "--seed", "0"]
    canary = ["canary", *FIT[1:], "--canaries", "20", "--rows", "0"]
    return {
        "schema": ["schema", "people.csv", "-o", "draft.yaml"],
        "audit": [*audit, "--target", "ill", "-o", "audited"],
        "canary": [*canary, "-o", "attacked"],
        "scan": ["scan", "model", "--train", "people.csv", "--schema", "people.yaml"],
    }


def test_looks_that_are_not_charged_are_written_down(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    looks = _looks(folder)
    for arguments in looks.values():  # no ledger beside the table: none is made
        assert run(arguments) in {0, 3}
    assert not LEDGER_FILES & _names(folder)
    assert _shown(capsys, "apart.ledger")["uses"] == []
    assert run(["schema", "people.csv", "-o", "again.yaml", "--ledger", "apart.ledger"]) == 0
    assert run([*FIT, "-o", "second"]) == 0
    for name in ("draft.yaml", "audited", "attacked"):
        (folder / name).rename(f"old {name}")
    for arguments in looks.values():
        assert run(arguments) in {0, 3}
    found = _shown(capsys)
    assert [use["command"] for use in found["uses"]] == list(looks)
    assert all("not charged, because" in use["text"] for use in found["uses"])
    assert found["fits"] == 1
    assert [use["command"] for use in _shown(capsys, "apart.ledger")["uses"]] == ["schema"]
    assert run(["ledger", "verify", "people.csv.ledger", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["uses"] == 4


def test_a_ledger_that_cannot_be_used_stops_every_look(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    looks = _looks(folder)
    before = _names(folder)
    for arguments in looks.values():
        assert run([*arguments, "--ledger", "nowhere.ledger"]) == 2
    assert run([*FIT, "-o", "second"]) == 0
    place = folder / "people.csv.ledger"
    place.write_text(place.read_text().replace("gaussian", "laplace", 1))
    altered = place.read_bytes()
    capsys.readouterr()
    for arguments in (*looks.values(), [*FIT, "-o", "third"]):
        assert run(arguments) == 2
        assert "altered" in capsys.readouterr().err
    assert place.read_bytes() == altered
    assert _names(folder) == before | LEDGER_FILES | {"second"}


def test_an_infinite_epsilon_is_no_budget(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["fit", "people.csv", "--model", "independent", "--epsilon", "inf", "-o", "free"]) == 0
    assert "NOT PRIVATE" in capsys.readouterr().err


def test_the_demo_keeps_no_ledger(folder: Path) -> None:
    assert run(["demo", "--model", "independent", "--rows", "600", "-o", "shown"]) in {0, 3}
    assert not [name for name in _names(folder) if "ledger" in name]


def test_interrupting_leaves_no_release_and_a_right_ledger(folder: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "tabsynth.cli",
        "release",
        "people.csv",
        "--schema",
        "people.yaml",
        "--model",
        "ctgan",
        "--epsilon",
        "1",
        "--ledger",
        "ledger.jsonl",
        "-o",
        "out",
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, env=os.environ | {"OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 60
    while not (folder / "ledger.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Interrupted" in said
    assert b"Traceback" not in said
    assert not (folder / "out").exists()
    assert not [file for file in folder.iterdir() if file.name.startswith(".")]
    assert run(["ledger", "verify", "ledger.jsonl"]) == 0
