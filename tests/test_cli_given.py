"""The command line's conditions, partial rows and shares, and `tabsynth impute`."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tabsynth.cli import run
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.privacy.table_ledger import beside
from tabsynth.schema import Column, Schema
from tabsynth.synthesizers import model
from tabsynth.synthesizers.independent import Independent
from tabsynth.synthesizers.marginals import Marginals
from tabsynth.table import read

SCHEMA = Schema(
    (
        Column("id", "integer", roles=("identifier",)),
        Column("age", "integer", bounds=(0, 120), nullable=True),
        Column("city", "categorical", categories=("Bonn", "Köln", "Ulm"), nullable=True),
        Column("ill", "boolean", roles=("target",)),
    )
)
QUICK = Marginals(pairs=2, rounds=1, steps=20, iterations=100)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model of people who are ill in Ulm, mostly."""
    rng = np.random.default_rng(0)
    city = rng.choice(["Bonn", "Köln", "Ulm"], 900)
    ill = rng.random(900) < np.where(city == "Ulm", 0.9, 0.1)
    frame = pd.DataFrame({"id": range(900), "age": rng.integers(18, 90, 900), "city": city, "ill": ill})
    place = tmp_path_factory.mktemp("given") / "model"
    model.fit(QUICK, read(frame, SCHEMA), Ledger(), Secret()).save(place)
    return place


def sampled(saved: Path, folder: Path, *arguments: str) -> pd.DataFrame:
    assert run(["sample", str(saved), "-o", str(folder / "rows.csv"), "--seed", "0", *arguments]) == 0
    return pd.read_csv(folder / "rows.csv")


def test_partial_rows_of_a_file_are_completed(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "partial.csv").write_text("city,age\n" + "Ulm,\n,33\n" * 200, encoding="utf-8")
    rows = sampled(saved, tmp_path, "--given-file", str(tmp_path / "partial.csv"))
    assert len(rows) == 400
    assert (rows["city"].iloc[::2] == "Ulm").all()
    assert (rows["age"].iloc[1::2] == 33).all()
    assert rows["ill"].iloc[::2].mean() == pytest.approx(0.9, abs=0.08)
    assert rows["ill"].iloc[1::2].mean() == pytest.approx(0.37, abs=0.12)


def test_shares_and_conditions(saved: Path, tmp_path: Path) -> None:
    asked = ["--rows", "500", "--share", "city=Ulm:0.5", "--share", "city=Bonn:0.5", "--given", "age=30..40"]
    rows = sampled(saved, tmp_path, *asked)
    assert rows["city"].value_counts().to_dict() == {"Ulm": 250, "Bonn": 250}
    assert rows["age"].between(30, 40).all()


def test_rows_written_to_a_folder_say_which_share_was_good(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--rows", "300", "--share", "city=Ulm:0.5", "--seed", "0", "--json"]
    answers = []
    for place in (["--to", str(tmp_path / "out")], ["-o", str(tmp_path / "rows.csv")]):
        assert run(["sample", str(saved), *asked, *place]) == 0
        said = capsys.readouterr()
        answers.append(json.loads(said.out)["acceptance"])
        assert "of the rows that were drawn kept every constraint and condition" in " ".join(said.err.split())
    assert 0 < answers[0] <= 1
    assert 0 < answers[1] <= 1


def test_missing_cells_are_filled_in_and_the_others_stay(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    people = tmp_path / "people.csv"
    people.write_text("ill,id,city,age\n" + "yes,007,,33\nno,008,Bonn,\n,009,Ulm,1.0\n" * 200, encoding="utf-8")
    assert run(["impute", str(saved), str(people), "-o", str(tmp_path / "filled.csv"), "--seed", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"ok": True, "rows": 600, "output": str(tmp_path / "filled.csv")}
    old, new = (pd.read_csv(path, dtype=str) for path in (people, tmp_path / "filled.csv"))
    assert list(new.columns) == list(old.columns)
    assert not new.isna().any().any()
    assert (old.isna() | (old == new)).all().all()
    assert set(new["ill"]) == {"yes", "no"}
    assert (new["ill"].iloc[2::3] == "yes").mean() == pytest.approx(0.9, abs=0.08)
    assert (new["city"].iloc[::3] == "Ulm").mean() == pytest.approx(9 / 11, abs=0.1)
    assert run(["impute", str(saved), str(people), "-o", str(tmp_path / "again.csv"), "--seed", "1"]) == 0
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "filled.csv").read_bytes()


def test_columns_are_filled_in_alone(saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "people.csv").write_text("age,city,ill\n" + ",,yes\n3,,no\n" * 20, encoding="utf-8")
    command = ["impute", str(saved), str(tmp_path / "people.csv"), "-o"]
    assert run([*command, str(tmp_path / "filled.csv"), "--column", "city"]) == 0
    found = pd.read_csv(tmp_path / "filled.csv")
    assert found.isna().sum().to_dict() == {"age": 20, "city": 0, "ill": 0}
    assert run([*command, str(tmp_path / "no.csv"), "--column", "town"]) == 2
    assert "age, city, ill; got 'town'" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "no.csv").exists()


def test_a_table_of_a_database_is_filled_in(saved: Path, tmp_path: Path) -> None:
    pytest.importorskip("sqlalchemy")
    with sqlite3.connect(tmp_path / "people.db") as connection:
        connection.execute("CREATE TABLE people (age INTEGER, city TEXT)")
        connection.executemany("INSERT INTO people VALUES (?, ?)", [(33, None), (None, "Ulm")] * 30)
    connection.close()
    url = f"sqlite:///{tmp_path}/people.db?table=people"
    assert run(["impute", str(saved), url, "-o", str(tmp_path / "filled.csv"), "--seed", "0"]) == 0
    found = pd.read_csv(tmp_path / "filled.csv")
    assert not found.isna().any().any()
    assert (found["age"].iloc[::2] == 33).all()
    assert (found["city"].iloc[1::2] == "Ulm").all()


def test_filling_in_is_written_into_the_ledger_of_the_table(saved: Path, tmp_path: Path) -> None:
    people = tmp_path / "people.csv"
    people.write_text("age,ill\n3,yes\n,no\n", encoding="utf-8")
    Ledger.open(beside(people), data=people).close()
    assert run(["impute", str(saved), str(people), "-o", str(tmp_path / "filled.csv")]) == 0
    assert "fills in missing cells: not charged" in beside(people).read_text(encoding="utf-8")


WRONG = {
    "no number": ([], "--rows is needed"),
    "no rows": (["--rows", "0"], "--rows must be a whole number of at least 1"),
    "two ways": (["--given-file", "partial.csv", "--given", "city=Ulm"], "leave out --given and --share"),
    "another number": (["--given-file", "partial.csv", "--rows", "7"], "one row for each"),
    "no such file": (["--given-file", "gone.csv"], "gone.csv: no such file"),
    "an unknown column": (["--given-file", "wrong.csv"], "got 'town'"),
    "an unknown value": (["--given-file", "value.csv"], "'city': a value is not among the declared"),
    "no share": (["--rows", "5", "--share", "city=Ulm"], "COLUMN=VALUE:SHARE"),
    "shares of two columns": (
        ["--rows", "5", "--share", "city=Ulm:0.3", "--share", "ill=true:0.5"],
        "Shares are of the values of one column; got 'city' and 'ill'.",
    ),
    "two shares": (["--rows", "5", "--share", "city=Ulm:0.3", "--share", "city=Ulm:0.5"], "a value has two shares"),
    "two conditions": (
        ["--rows", "5", "--given", "age=30..", "--given", "age=..40"],
        "Column 'age' has two conditions; one can be a range (low..high) or several values (a|b).",
    ),
    "cold": (["--rows", "5", "--temperature", "0"], "--temperature must be a finite number above 0"),
    "not of this model": (["--rows", "5", "--temperature", "2"], "only `rows`"),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with files of partial rows."""
    monkeypatch.chdir(tmp_path)
    Path("partial.csv").write_text("city\nUlm\n", encoding="utf-8")
    Path("wrong.csv").write_text("town\nUlm\n", encoding="utf-8")
    Path("value.csv").write_text("city\nzq7\n", encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(("arguments", "message"), WRONG.values(), ids=WRONG)
@pytest.mark.usefixtures("folder")
def test_what_cannot_be_asked_for(
    saved: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert run(["sample", str(saved), "-o", "rows.csv", *arguments]) == 2
    said = capsys.readouterr().err
    assert message in " ".join(said.split())
    assert "zq7" not in said
    assert not Path("rows.csv").exists()


@pytest.mark.usefixtures("folder")
def test_an_ending_that_cannot_be_written_is_told_of_the_file_that_was_named(
    saved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (["sample", str(saved), "--rows", "5"], ["impute", str(saved), "partial.csv"]):
        assert run([*command, "-o", "rows.xlsx"]) == 2
        assert "Error: rows.xlsx: the ending must be one of .csv" in capsys.readouterr().err


def test_a_temperature_is_for_rows(tmp_path: Path) -> None:
    from tabsynth.synthesizers.rows import Rows

    frame = pd.DataFrame({"id": range(40), "age": [30] * 40, "city": ["Ulm"] * 30 + ["Bonn"] * 10, "ill": [True] * 40})
    fitted = model.fit(Rows(width=8, depth=1, epochs=1), read(frame, SCHEMA), Ledger(), Secret())
    fitted.save(tmp_path / "model")
    rows = sampled(tmp_path / "model", tmp_path, "--rows", "400", "--temperature", "0.05")
    assert (rows["city"] == "Ulm").mean() > 0.97


def test_a_model_without_probabilities_fills_in_what_is_likely_enough(tmp_path: Path) -> None:
    frame = pd.DataFrame({"id": range(40), "age": [30] * 40, "city": ["Ulm", "Bonn"] * 20, "ill": [True] * 40})
    fitted = model.fit(Independent(), read(frame, SCHEMA), Ledger(), Secret())
    filled = fitted.impute(pd.DataFrame({"city": ["Ulm", None], "ill": [None, True]}), np.random.default_rng(0))
    assert filled["ill"].tolist() == [True, True]
    assert filled["city"].tolist()[0] == "Ulm"
