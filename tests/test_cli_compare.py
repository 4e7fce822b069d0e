"""`tabsynth compare` from the command line: tables and fits in one report, what was charged, and clear refusals."""

from __future__ import annotations

import json
import shutil

import jsonschema
import numpy as np
import pandas as pd
import pytest
from dp_accounting import GaussianDpEvent

from tabsynth.cli import run
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.ledger import Ledger
from tabsynth.report import comparison_schema
from tabsynth.synthesizers.model import load

POLICY = """\
checks:
  - {metric: tvd1, counted_from: ceiling, at_most: 0.15}
  - {metric: exact_match, at_least: -0.1, at_most: 0.05}
  - {metric: membership_auc, at_most: 0.65}
"""


def people(seed: int, rows: int = 400) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame({"收入": rng.lognormal(9, 1, rows).round(2), "城市": rng.choice(["北京", "上海"], rows)})


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("train", "holdout", "fresh")):
        people(seed).to_csv(f"{name}.csv", index=False)
    (tmp_path / "copies").mkdir()
    people(0).to_csv("copies/copy.csv", index=False)
    (tmp_path / "policy.yaml").write_text(POLICY, encoding="utf-8")
    return tmp_path


REAL = ["--train", "train.csv", "--holdout", "holdout.csv", "--policy", "policy.yaml", "--seed", "0", "--json"]


def test_a_fresh_sample_and_a_copy_stand_in_one_report(folder, capsys):
    assert run(["compare", "fresh.csv", "copies/copy.csv", *REAL, "-o", "out"]) == 0
    tables = json.loads(capsys.readouterr().out)["tables"]
    assert {name: (table["passed"], table["front"]) for name, table in tables.items()} == {
        "fresh.csv": (True, True),
        "copy.csv": (False, False),
    }
    assert tables["copy.csv"]["checks"]["membership_auc"] == "failed"
    found = json.loads((folder / "out" / "comparison.json").read_text(encoding="utf-8"))
    assert found["rows"] == {"train": 400, "holdout": 400}
    assert "Choosing by these numbers leaks" in (folder / "out" / "comparison.html").read_text(encoding="utf-8")
    assert run(["compare", "fresh.csv", "copies/copy.csv", *REAL, "-o", "again"]) == 0
    again = json.loads((folder / "again" / "comparison.json").read_text(encoding="utf-8"))
    for one, other in zip(found["tables"], again["tables"], strict=True):
        assert [check["estimate"] for check in one["checks"]] == [check["estimate"] for check in other["checks"]]


@pytest.mark.filterwarnings("default:odd.csv")
def test_odd_values_of_another_tool_are_judged_and_no_reason_to_stop(folder, capsys):
    (folder / "policy.yaml").write_text(f"{POLICY}  - {{metric: out_of_domain, at_most: 0.05}}\n", encoding="utf-8")
    odd = people(9).astype({"收入": object})
    odd.loc[:39, "收入"] = "none given"
    odd.to_csv("odd.csv", index=False)
    assert run(["compare", "fresh.csv", "odd.csv", *REAL, "-o", "out"]) == 0
    told = capsys.readouterr()
    assert "odd.csv: column '收入': 40 of 400 values cannot be read" in " ".join(told.err.split())
    assert "0.1 failed" in told.err
    found = {name: table["checks"]["out_of_domain"] for name, table in json.loads(told.out)["tables"].items()}
    assert found == {"fresh.csv": "passed", "odd.csv": "failed"}


def test_the_ledger_beside_the_table_keeps_a_line(folder, capsys):
    ledger = Ledger.open("train.csv.ledger", data="train.csv", lifetime=Budget(3.0, 1e-6), budget=Budget(1.0, 1e-6))
    ledger.charge(GaussianDpEvent(50.0), why="counts")
    ledger.close()
    assert run(["compare", "fresh.csv", "copies/copy.csv", *REAL, "-o", "out"]) == 0
    assert "no choice by these numbers may leave" in (folder / "train.csv.ledger").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("tables", "rule"),
    [
        (["fresh.csv"], "two tables at least"),
        (["fresh.csv", "none.csv"], "none.csv: no such file"),
        (["fresh.csv", "./fresh.csv"], "given more than once"),
        (["fresh.csv", "policy.yaml"], "policy.yaml"),
    ],
)
def test_bad_input_is_named(folder, capsys, tables, rule):
    assert run(["compare", *tables, *REAL, "-o", "out"]) == 2
    assert rule in json.loads(capsys.readouterr().out)["message"]
    assert not (folder / "out").exists()


def test_files_of_one_name_are_told_apart(folder, capsys):
    people(7).to_csv("copy.csv", index=False)
    assert run(["compare", "copy.csv", "copies/copy.csv", *REAL, "-o", "out"]) == 0
    assert list(json.loads(capsys.readouterr().out)["tables"]) == ["copy.csv", "copies/copy.csv"]


SCHEMA = """\
rows: 400
columns:
  - {name: 收入, kind: float, bounds: [0, 1000000], decimals: 2}
  - {name: 城市, kind: categorical, categories: [北京, 上海]}
"""
FIT = ["compare", *REAL, "--schema", "people.yaml", "-o", "out"]
PAID = [*FIT, "--model", "independent", "--model", "marginals", "--set", "marginals.rounds=1", "--epsilon", "2"]


def test_synthesizers_are_fitted_charged_chosen_and_kept(folder, capsys):
    (folder / "people.yaml").write_text(SCHEMA, encoding="utf-8")
    assert run([*PAID, "fresh.csv", "--lifetime", "9"]) == 0
    said = capsys.readouterr()
    answered = json.loads(said.out)
    assert list(answered["tables"]) == ["fresh.csv", "independent", "marginals"]
    assert "chosen" not in answered
    assert "charged together at most epsilon 4 at delta 2e-06" in " ".join(said.err.split())
    found = json.loads((folder / "out" / "comparison.json").read_text(encoding="utf-8"))
    jsonschema.validate(found, comparison_schema())
    privacy = {table["name"]: table["privacy"] for table in found["tables"]}
    assert privacy["fresh.csv"] is None
    assert privacy["marginals"]["epsilon"] == pytest.approx(2, abs=0.01)
    assert load("out.models/marginals").sample(5, np.random.default_rng(0)).shape == (5, 2)
    for name in ("out", "out.models"):
        shutil.rmtree(folder / name)
    assert run([*PAID, "--choose", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["chosen"] in {"independent", "marginals"}
    found = json.loads((folder / "out" / "comparison.json").read_text(encoding="utf-8"))
    jsonschema.validate(found, comparison_schema())
    assert found["choice"]["loss"] == pytest.approx(2 * np.log(2 / 0.05) / (2 * 400))
    assert "That name may leave" in (folder / "out" / "comparison.html").read_text(encoding="utf-8")
    kept = (folder / "train.csv.ledger").read_text(encoding="utf-8")
    assert kept.count("choice among 2 synthetic tables") == 1
    assert Ledger.open("train.csv.ledger", data="train.csv", budget=Budget(0.1, 0)).number == 6


def test_what_is_paid_for_is_kept_when_the_next_fit_does_not_fit(folder, capsys):
    (folder / "people.yaml").write_text(SCHEMA, encoding="utf-8")
    assert run([*PAID, "--lifetime", "2"]) == 4
    assert "lifetime budget" in json.loads(capsys.readouterr().out)["message"]
    assert [path.name for path in (folder / "out.models").iterdir()] == ["independent"]
    assert not (folder / "out").exists()


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        (["--model", "vae"], "two tables at least"),
        (["--model", "vae", "--model", "vae"], "more than once"),
        (["--model", "vea", "fresh.csv"], "No synthesizer 'vea'"),
        (["--model", "vae", "fresh.csv", "--set", "epochs=3"], "MODEL.NAME=VALUE"),
        (["--model", "vae", "fresh.csv", "--set", "rows.epochs=3"], "'rows', which is not compared"),
        (["--model", "vae", "fresh.csv", "--set", "vae.epoch=3"], "vae has no setting 'epoch'"),
        (["--model", "vae", "--model", "independent", "--choose", "1"], "set --epsilon"),
        (["--model", "vae", "fresh.csv", "--choose", "1", "--epsilon", "1"], "leave the files out"),
        (["--model", "vae", "--model", "independent", "--choose", "0", "--epsilon", "1"], "--choose must be"),
        (["fresh.csv", "copies/copy.csv", "--epsilon", "1"], "--epsilon is for fits"),
        (["fresh.csv", "copies/copy.csv", "--set", "vae.epochs=1"], "--set is for fits"),
        (["--model", "vae", "fresh.csv", "--epsilon", "1"], "A schema is needed"),
    ],
)
def test_a_comparison_that_cannot_be_made_charges_nothing(folder, capsys, options, rule):
    assert run(["compare", *options, *REAL, "-o", "out"]) == 2
    assert rule in json.loads(capsys.readouterr().out)["message"]
    assert sorted(path.name for path in folder.iterdir() if "ledger" in path.name or "out" in path.name) == [
        "holdout.csv"
    ]
