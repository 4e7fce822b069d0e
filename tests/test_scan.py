"""`tabsynth scan`: clean models pass, leaks are named by file, column and kind, and no value is ever shown."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file, save_file

from tabsynth import registry
from tabsynth.cli import run
from tabsynth.constraints.numbers import OneHot
from tabsynth.scan import Finding, scan, scan_files, undeclared
from tabsynth.schema import Column, Schema
from tabsynth.schema_file import write_schema
from tabsynth.table import read

CANARY = "zq7-private-value"
SCHEMA = Schema(
    (
        Column("age", "integer", bounds=(0, 120)),
        Column("city", "categorical", categories=("Bonn", "Köln", "Ulm")),
        Column("pay", "float", bounds=(0.0, 1e5)),
        Column("who", "categorical", roles=("group",)),
    ),
    rows_per_unit=2,
)
SMALL = {
    "simulator": ["particles=4", "rounds=1", "parameters={missing: [0, 0.5]}"],
    "ctgan": ["critic_steps=3", "warm_steps=3", "generator_width=16", "generator_batch=64", "batch=64"],
    "rows": ["steps=4", "batch=64", "width=8", "depth=1"],
    "text": ["steps=4", "batch=64", "width=8", "depth=1", "warm_steps=4"],
    "vae": ["steps=4", "width=16", "warm_steps=8", "dream_steps=4"],
}


def people(rows: int = 300) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "age": rng.integers(18, 90, rows),
            "city": rng.choice(["Bonn", "Köln", "Ulm"], rows),
            "pay": rng.lognormal(9, 0.6, rows).clip(0, 99_999),
            "who": [f"patient-{number:05}" for number in rng.integers(0, rows // 2, rows)],
        }
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    people().to_csv("people.csv", index=False)
    write_schema(SCHEMA, "people.yaml")
    return tmp_path


def fit(name: str, *more: str, output: str = "model") -> None:
    settings = [part for pair in SMALL.get(name, []) for part in ("--set", pair)]
    command = ["fit", "people.csv", "--schema", "people.yaml", "--model", name, "--seed", "1", "-o", output]
    assert run([*command, *settings, *more]) == 0


@pytest.mark.parametrize("name", sorted(set(registry.names(registry.SYNTHESIZERS)) - {"bootstrap", "smote", "trees"}))
def test_every_private_built_in_is_clean(folder: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    fit(name, "--epsilon", "3", "--delta", "1e-5")
    capsys.readouterr()
    assert run(["scan", "model", "--train", "people.csv", "--schema", "people.yaml", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"ok": True, "clean": True, "findings": []}
    assert run(["scan", "model", "--train", "people.csv"]) == 0, "without the schema it is clean as well"


def test_the_bootstraps_model_is_flagged(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit("bootstrap")
    capsys.readouterr()
    assert run(["scan", "model", "--train", "people.csv", "--schema", "people.yaml", "--json"]) == 3
    answer = json.loads(capsys.readouterr().out)
    assert answer["clean"] is False
    assert "pay" in {each["column"] for each in answer["findings"]}
    assert {each["file"] for each in answer["findings"]} == {"weights.safetensors"}


def test_findings_name_file_column_and_kind_and_never_a_value(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = people()
    table.loc[7, "who"] = CANARY
    table.to_csv("people.csv", index=False)
    fit("independent", "--epsilon", "3", "--delta", "1e-5")
    plain = json.loads((folder / "model" / "model.json").read_text(encoding="utf-8"))
    plain["privacy"]["notes"] = [f"seen {CANARY}"]
    plain["settings"]["largest"] = float(table["pay"].max())
    (folder / "model" / "model.json").write_text(json.dumps(plain), encoding="utf-8")
    arrays = load_file(folder / "model" / "weights.safetensors")
    order = np.random.default_rng(2).permutation(len(table))
    save_file(arrays | {f"of {CANARY}": table["pay"].to_numpy()[order]}, folder / "model" / "weights.safetensors")
    (folder / "model" / f"{CANARY}.pkl").write_bytes(b"\x80\x04")
    capsys.readouterr()
    assert run(["scan", "model", "--train", "people.csv", "--schema", "people.yaml", "--json"]) == 3
    said = capsys.readouterr()
    found = {(each["file"], each["column"]) for each in json.loads(said.out)["findings"]}
    assert found == {
        ("model.json", "who"),
        ("model.json", "pay"),
        ("weights.safetensors", "who"),
        ("weights.safetensors", "pay"),
        ("(a name that holds a value)", None),
    }
    assert CANARY not in said.out + said.err


def test_bad_input_exits_2(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit("independent", "--epsilon", "3", "--delta", "1e-5")
    scan = ["scan", "model", "--train", "people.csv"]
    assert run(["scan", "nowhere", "--train", "people.csv"]) == 2
    assert run([*scan[:-1], "nowhere.csv"]) == 2
    assert run([*scan, "--schema", "nowhere.yaml"]) == 2
    people().drop(columns="pay").to_csv("fewer.csv", index=False)
    assert run(["scan", "model", "--train", "fewer.csv"]) == 2
    plain = json.loads((folder / "model" / "model.json").read_text(encoding="utf-8"))
    (folder / "model" / "model.json").write_text(json.dumps(plain | {"format": 99}), encoding="utf-8")
    capsys.readouterr()
    assert run(scan) == 2
    assert "format 99" in " ".join(capsys.readouterr().err.split())


def test_what_is_declared_does_not_count(folder: Path) -> None:
    """A bound of many digits that equals a value was published by declaring it; without the schema nobody can tell."""
    largest = float(people()["pay"].max())
    exact = SCHEMA.with_columns(Column("pay", "float", bounds=(0.0, largest)))
    write_schema(exact, "people.yaml")
    fit("independent", "--epsilon", "3", "--delta", "1e-5")
    assert scan_files("model", "people.csv", exact) == ()
    found = scan_files("model", "people.csv")
    assert found == (Finding("model.json", "pay", "a value of 'pay' as a number"),)
    assert str(found[0]) == "model.json: a value of 'pay' as a number"


def test_a_table_is_read_without_its_domains_whatever_its_columns_and_rules_are() -> None:
    schema = Schema(
        (
            Column("stay", "duration", bounds=(0, 3600), unit="min"),
            Column("score", "integer", bounds=(0, 9), codes=("refused", -9)),
            Column(
                "seen", "datetime", bounds=(0, 1e6), format="%Y-%m-%d %H:%M", timezone="Europe/Berlin", cycle="week"
            ),
            Column("a", "integer", bounds=(0, 1)),
            Column("b", "integer", bounds=(0, 1)),
            Column("rank", "categorical", categories=("low", "high"), ordered=True),
        ),
        constraints=(OneHot(("a", "b")),),
    )
    cells = {"stay": [5, 7], "score": ["refused", "3"], "seen": ["1970-01-02 08:30", "1970-01-03 09:00"]}
    frame = pd.DataFrame(cells | {"a": [0, 1], "b": [1, 0], "rank": ["low", "high"]})
    known = undeclared(schema)
    assert {fact for _, fact in known.undeclared()} == {"nullable", "bounds", "categories"}
    assert read(frame, known).private["stay"].dt.total_seconds().tolist() == [300, 420]


def test_free_text_in_a_saved_model_is_found(folder: Path) -> None:
    fit("independent")
    said = "She fell on the stairs, twice"
    table = read(people().assign(note=said), Schema((*SCHEMA, Column("note", "text", max_length=40)), rows_per_unit=2))
    before = {finding.column for finding in scan(folder / "model", table)}
    state = json.loads((folder / "model" / "model.json").read_text(encoding="utf-8"))
    state["settings"]["kept"] = f"once: {said}."
    (folder / "model" / "model.json").write_text(json.dumps(state), encoding="utf-8")
    assert {finding.column for finding in scan(folder / "model", table)} - before == {"note"}
