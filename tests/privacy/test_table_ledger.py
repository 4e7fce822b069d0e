"""The ledger of a table: its place, a look before any work, and lines for uses that cost nothing."""

import errno
import json
import os
from pathlib import Path

import pytest
from dp_accounting import dp_event as dp

from tabsynth.errors import BudgetExceeded, LedgerError
from tabsynth.privacy import ledger_file, table_ledger
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.ledger import Ledger

ONE, LIFETIME = Budget(1.0, 1e-6), Budget(2.0, 1e-6)
USE = ("audit", "judges rows: not charged, because nothing of the report may leave")


@pytest.fixture
def table(tmp_path):
    place = tmp_path / "people.csv"
    place.write_text("age,ill\n34,no\n")
    return place


@pytest.fixture
def path(table):
    """The ledger of a table that one fit was charged to."""
    place = table_ledger.beside(table)
    ledger = Ledger.open(place, data=table, budget=ONE)
    ledger.charge(dp.GaussianDpEvent(20.0), why="counts")
    return place


def test_the_place_is_beside_the_file_itself(table, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "link.csv"
    link.symlink_to(table)
    assert table_ledger.beside(table) == table_ledger.beside(link) == tmp_path / "people.csv.ledger"
    assert table_ledger.beside("people.csv.gz") == Path("people.csv.gz.ledger")


def test_a_use_is_a_line_that_costs_nothing(table, path):
    before = ledger_file.verify(path)
    table_ledger.record_use(path, table, *USE)
    second = Ledger.open(path, data=table, budget=ONE)
    table_ledger.record_use(path, table, "scan", "searches")
    second.charge(dp.GaussianDpEvent(20.0), why="counts")
    after = ledger_file.verify(path)
    assert [(use.line, use.command, use.text) for use in after.uses] == [(4, *USE), (6, "scan", "searches")]
    assert before.uses == ()
    assert after.fits[0] == before.fits[0]
    assert [len(fit.charges) for fit in after.fits] == [1, 1]
    assert after.lines == before.lines + 4


def test_the_line_of_a_use_holds_public_words_and_nothing_else(table, path):
    table_ledger.record_use(path, table, *USE)
    line = json.loads(path.read_text().splitlines()[-1])
    assert line.keys() == {"kind", "command", "text", "previous", "code"}
    assert (line["kind"], line["command"], line["text"]) == ("use", *USE)


def test_a_use_that_was_taken_out_or_changed_is_found(table, path):
    table_ledger.record_use(path, table, *USE)
    Ledger.open(path, data=table, budget=ONE)
    lines = path.read_text().splitlines(keepends=True)
    for altered in ([*lines[:3], *lines[4:]], [*lines[:3], lines[3].replace("audit", "scan"), *lines[4:]]):
        path.write_text("".join(altered))
        with pytest.raises(LedgerError, match=r"line 4\b.*altered"):
            table_ledger.record_use(path, table, *USE)
        assert path.read_text() == "".join(altered)


def test_a_use_needs_a_ledger_that_is_kept_for_the_table(table, path, tmp_path):
    other = tmp_path / "other.csv"
    other.write_text("age,ill\n35,no\n")
    before = path.read_bytes()
    with pytest.raises(LedgerError, match=r"other data.*--ledger PATH"):
        table_ledger.record_use(path, other, *USE)
    assert path.read_bytes() == before
    with pytest.raises(LedgerError, match="cannot be opened"):
        table_ledger.record_use(tmp_path / "none.ledger", table, *USE)
    assert not (tmp_path / "none.ledger").exists()
    empty = tmp_path / "empty.ledger"
    empty.touch()
    with pytest.raises(LedgerError, match="no ledger was begun"):
        table_ledger.record_use(empty, table, *USE)


def test_a_use_that_cannot_be_written_stops_the_command(table, path, monkeypatch):
    def full(handle, text):
        raise OSError(errno.ENOSPC, "No space left on device")

    before = path.read_bytes()
    monkeypatch.setattr(os, "write", full)
    with pytest.raises(LedgerError, match="No space left"):
        table_ledger.record_use(path, table, *USE)
    assert path.read_bytes() == before


def test_a_look_beforehand_adds_nothing_and_finds_what_opening_would(table, path, tmp_path):
    before = path.read_bytes()
    assert table_ledger.check(path, data=table, budget=ONE, lifetime=LIFETIME)
    assert table_ledger.check(path, data=table)
    with pytest.raises(LedgerError, match="other data"):
        table_ledger.check(path, data=b"else", budget=ONE)
    with pytest.raises(BudgetExceeded, match="lifetime budget"):
        table_ledger.check(path, data=table, lifetime=LIFETIME)
    assert path.read_bytes() == before
    absent = tmp_path / "none.ledger"
    assert not table_ledger.check(absent, data=table, budget=ONE)
    assert not absent.exists()
    path.write_text(path.read_text().replace('"counts"', '"county"'))
    with pytest.raises(LedgerError, match="altered"):
        table_ledger.check(path, data=table, budget=ONE)


def test_a_folder_that_cannot_be_written_is_said_with_the_way_out(table, tmp_path, monkeypatch):
    with pytest.raises(LedgerError, match=r"cannot be written.*--ledger PATH"):
        table_ledger.check(tmp_path / "no folder" / "x.ledger", data=table, budget=ONE)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(LedgerError, match=r"cannot be written.*--ledger PATH"):
        table_ledger.check(tmp_path / "people.csv.ledger", data=table, budget=ONE)


def test_a_creation_that_was_interrupted_is_no_obstacle(table, tmp_path):
    place = tmp_path / "begun.ledger"
    place.touch()
    assert table_ledger.check(place, data=table, budget=ONE)
    assert len(place.read_bytes()) == 0
    Ledger.open(place, data=table, budget=ONE)
    assert len(ledger_file.verify(place).fits) == 1


def test_a_lifetime_budget_is_set_later_and_then_for_good(table, path):
    running = Ledger.open(path, data=table, budget=Budget(9.0, 1e-6))
    Ledger.open(path, data=table, budget=ONE, lifetime=LIFETIME)
    statement = ledger_file.verify(path)
    assert statement.lifetime == LIFETIME
    assert 0 < statement.epsilon() < 2
    with pytest.raises(LedgerError, match="set for good"):
        Ledger.open(path, data=table, budget=ONE, lifetime=Budget(3.0, 1e-6))
    with pytest.raises(BudgetExceeded, match="lifetime budget"):
        running.charge(dp.GaussianDpEvent(1.0), why="counts")  # it began before the limit was set
    running.spend_rest(dp.GaussianDpEvent, why="rest")
    assert 1.98 <= ledger_file.verify(path).epsilon() <= 2 * (1 + 1e-9)


@pytest.mark.parametrize("before", ["too much", "not private"])
def test_a_lifetime_budget_that_is_passed_already_is_refused(table, path, before):
    ledger = Ledger.open(path, data=table, budget=Budget(9.0, 1e-6) if before == "too much" else None)
    ledger.charge(dp.GaussianDpEvent(1.0), why="counts")
    content = path.read_bytes()
    with pytest.raises(BudgetExceeded, match="passes the lifetime budget"):
        Ledger.open(path, data=table, budget=ONE, lifetime=LIFETIME)
    assert path.read_bytes() == content


def test_a_line_of_a_kind_that_is_not_known_is_from_a_newer_version(table, path):
    file = ledger_file.LedgerFile.open(path, table, None)
    with file.hold():
        file._chain.append("novelty", text="x")
    for look in (ledger_file.verify, lambda place: Ledger.open(place, data=table, budget=ONE)):
        with pytest.raises(LedgerError, match="line 4: a newer version"):
            look(path)
