"""The command line on databases and folders: where the ledger lies, what it is kept for, and samples by the folder."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pandas as pd
import pytest

from tabsynth import shards
from tabsynth.cli import run
from tabsynth.sources import databases

ROWS = [(i * 7919 % 90, f"Zebedee{i % 5}") for i in range(400)]
# so large that the noise, which nobody seeds, never drowns the bounds of a few hundred rows
BUDGET = ("--model", "independent", "--epsilon", "8", "--discover", "--lifetime", "64")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make(kind: str, rows: list[tuple[int, str]], table: str = "people") -> None:
    """Write rows into a table of the database x.db, in place of what it holds."""
    if kind == "duckdb":
        connection = pytest.importorskip("duckdb").connect("x.db")
    else:
        pytest.importorskip("sqlalchemy")
        connection = sqlite3.connect("x.db")
    connection.execute(f"DROP TABLE IF EXISTS {table}")
    connection.execute(f"CREATE TABLE {table} (age INTEGER, city VARCHAR)")
    connection.executemany(f"INSERT INTO {table} VALUES (?, ?)", rows)
    connection.commit()
    connection.close()


@pytest.mark.parametrize("kind", ["duckdb", "sqlite"])
def test_a_table_in_a_database_has_its_ledger_beside_the_file(
    kind: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(kind, ROWS)
    url = f"{kind}:///x.db?table=people"
    assert run(["fit", url, "-o", "model", *BUDGET, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ledger"] == "x.db.people.ledger"
    make(kind, ROWS[:10], "other")  # another table changes nothing
    make(kind, ROWS[::-1])  # nor does the order of the rows
    assert run(["fit", url, "-o", "again", *BUDGET]) == 0
    assert run(["schema", url, "-o", "people.yaml"]) == 0
    assert "drafts a schema: not charged" in Path("x.db.people.ledger").read_text()
    assert not Path("x.db.other.ledger").exists()
    make(kind, [(5, "Zebedee9"), *ROWS[1:]])
    capsys.readouterr()
    assert run(["fit", url, "-o", "third", *BUDGET]) == 2
    said = capsys.readouterr().err
    assert "is kept for other data" in said
    assert "Zebedee" not in said
    assert not Path("third").exists()


def test_a_query_needs_a_place_for_its_ledger_before_anything_is_read(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make("sqlite", ROWS)
    query = "sqlite:///x.db?query=SELECT age FROM people WHERE city != 'Zebedee3'"
    with monkeypatch.context() as patch:
        patch.setattr(databases.Sql, "__init__", lambda *_: pytest.fail("nothing is opened"))
        assert run(["fit", query, "-o", "model", *BUDGET]) == 2
        assert "Name a place" in capsys.readouterr().err
    assert run(["fit", query, "-o", "model", *BUDGET, "--ledger", "people.ledger"]) == 0
    assert run(["fit", f"{query} ORDER BY age", "-o", "again", *BUDGET, "--ledger", "people.ledger"]) == 0
    other = query.replace("Zebedee3", "Zebedee4")
    assert run(["fit", other, "-o", "third", *BUDGET, "--ledger", "people.ledger"]) == 2
    assert "Zebedee" not in capsys.readouterr().err
    assert len(json.loads(Path("model/model.json").read_text())["schema"]["columns"]) == 1


def test_a_password_is_nowhere(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sqlalchemy")
    url = "nosql://user:s3cret@host/shop?table=people&token=s3cret"
    for command in (
        ["fit", url, "-o", "model", "--ledger", "l"],
        ["release", url, "-o", "model", "--ledger", "l"],
        ["schema", url, "-o", "s.yaml"],
        ["audit", "--train", url, "--synthetic", url, "-o", "report"],
    ):
        assert run(command) == 2
        captured = capsys.readouterr()
        assert "no such kind of database" in captured.err
        assert "s3cret" not in captured.out + captured.err
    assert list(folder.iterdir()) == []


def test_a_database_that_breaks_off_charges_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make("sqlite", ROWS)
    rows = databases.Sql._rows

    def breaking(self: databases.Sql):  # type: ignore[no-untyped-def]
        yield from rows(self)
        with databases.telling(self.label, databases.DROPPED):
            raise ConnectionResetError("Zebedee")

    monkeypatch.setattr(databases.Sql, "_rows", breaking)
    assert run(["fit", "sqlite:///x.db?table=people", "-o", "model", *BUDGET]) == 2
    assert "the database broke off on the way (ConnectionResetError)" in " ".join(capsys.readouterr().err.split())
    assert [path.name for path in folder.iterdir()] == ["x.db"]


def test_many_rows_go_into_a_folder_that_is_a_table_again(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "BLOCK", 100)
    make("sqlite", ROWS)
    assert run(["fit", "sqlite:///x.db?table=people", "-o", "model", "--model", "independent"]) == 0
    capsys.readouterr()
    assert run(["sample", "model", "--rows", "450", "--to", "out", "--seed", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"ok": True, "rows": 450, "output": "out", "acceptance": None}
    assert run(["sample", "model", "--rows", "450", "-o", "same/", "--seed", "1"]) == 0
    assert pd.read_parquet("out").equals(pd.read_parquet("same"))
    assert run(["fit", "out", "-o", "second", *BUDGET]) == 0  # its ledger lies beside it
    assert Path("out.ledger").is_file()
    audited = ["audit", "--train", "sqlite:///x.db?table=people", "--synthetic", "out", "-o", "report"]
    assert run([*audited, "--policy", "small"]) in {0, 3}
    assert "people.ledger" in capsys.readouterr().err
    assert run(["sample", "model", "--rows", "300", "-o", "rows.csv"]) == 0
    compared = ["compare", "--train", "sqlite:///x.db?table=people", "out", "rows.csv", "-o", "beside"]
    assert run([*compared, "--policy", "small"]) == 0
    assert run(["scan", "model", "--train", "sqlite:///x.db?table=people"]) in {0, 3}
    before = {path: path.stat().st_mtime_ns for path in Path("out").iterdir()}
    for given, said in (
        (["--to", "out"], "already exists"),
        ([], "Say where the rows are written"),
        (["--to", "new", "-o", "rows.csv"], "Say where the rows are written"),
        (["--to", "no/where"], "no such folder"),
    ):
        assert run(["sample", "model", "--rows", "10", *given]) == 2
        assert said in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in Path("out").iterdir()} == before
    Path("some.csv").write_text("age\n5\n")
    assert run(["sample", "model", "--given-file", "some.csv", "--to", "new"]) == 2
    assert "into one file" in capsys.readouterr().err
    assert not Path("new").exists()
