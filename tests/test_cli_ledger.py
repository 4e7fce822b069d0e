"""`tabsynth ledger split` and `show`: where each fit's budget went."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
from dp_accounting import dp_event as dp

from tabsynth.cli import run
from tabsynth.privacy.accounting import DiscreteGaussianDpEvent, epsilon_of
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.ledger import Charge, Ledger
from tabsynth.privacy.spending import split

BUDGET = Budget(2.0, 1e-6)


def test_shares_of_gaussians_are_those_of_mu_squared() -> None:
    paid = [Charge(dp.GaussianDpEvent(8.0), f"counts of 'column {i}'") for i in range(4)]
    paid += [Charge(dp.GaussianDpEvent(4.0), "training"), Charge(dp.GaussianDpEvent(2.0), "bounds of 'x'", 1e-8)]
    first, second, third = split(paid, BUDGET)
    assert (first.why, first.charges, first.delta) == ("bounds", 1, 1e-8)
    assert first.share == pytest.approx(2 / 3, rel=2e-3)
    assert {second.why, third.why} == {"counts", "training"}
    assert second.share == pytest.approx(1 / 6, rel=5e-3)
    assert first.epsilon == pytest.approx(epsilon_of([dp.GaussianDpEvent(2.0)], 1e-6 - 1e-8))
    assert math.fsum(part.share or 0 for part in (first, second, third)) == pytest.approx(1)


def test_what_costs_nothing_and_what_has_no_price() -> None:
    free = split([Charge(dp.NoOpDpEvent(), "nothing"), Charge(dp.LaplaceDpEvent(3.0), "edge 1 of the tree")], BUDGET)
    assert [(part.why, part.share) for part in free] == [("edge of the tree", 1.0), ("nothing", 0.0)]
    (pure,) = split([Charge(dp.LaplaceDpEvent(4.0), "edge 2 of the tree")], Budget(1.0, 0.0))
    assert (pure.epsilon, pure.share) == (0.25, 1.0)
    (open_,) = split([Charge(dp.NonPrivateDpEvent(), "counts")], None)
    assert (open_.epsilon, open_.share) == (None, None)
    assert split([], BUDGET) == ()


def test_the_command_splits_every_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "people.ledger"
    first = Ledger.open(path, data=b"x", budget=BUDGET)
    for name in ("age", "city"):
        first.charge(DiscreteGaussianDpEvent(first.sigma(0.1)), why=f"marginal of {name!r}")
    first.spend_rest(dp.GaussianDpEvent, why="critic")
    first.attempt()
    first.decided("refused")
    open_fit = Ledger.open(path, data=b"x")
    open_fit.charge(dp.NonPrivateDpEvent(), why="counts")
    assert run(["ledger", "split", str(path), "--json"]) == 0
    said = capsys.readouterr()
    private, other = json.loads(said.out)["fits"]
    assert private["budget"] == {"epsilon": 2.0, "delta": 1e-6}
    found = {part["why"]: (part["charges"], part["share"]) for part in private["purposes"]}
    assert found["marginal"] == (2, pytest.approx(0.2, abs=0.02))
    assert found["critic"] == (1, pytest.approx(0.8, abs=0.02))
    assert (other["private"], other["budget"], other["purposes"][0]["share"]) == (False, None, None)
    for word in ("marginal", "critic", "not private", "share"):
        assert word in said.err
    assert run(["ledger", "show", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["attempts"] == 1


def _fit(name: str, *options: str) -> int:
    return run(["fit", "t.csv", "--schema", "s.yaml", "--model", "independent", "-o", name, *options])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a small table and its schema."""
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text("a\n" + "1\n2\n" * 200)
    Path("s.yaml").write_text("rows: 400\ncolumns: [{name: a, kind: integer, bounds: [0, 9]}]\n")
    return tmp_path


@pytest.mark.usefixtures("folder")
def test_a_fit_that_gets_less_than_it_asks_for_is_told_how_much(capsys: pytest.CaptureFixture[str]) -> None:
    assert _fit("one", "--epsilon", "2", "--lifetime", "4") == 0
    assert "of the lifetime budget" not in " ".join(capsys.readouterr().err.split())
    assert _fit("two", "--epsilon", "5") == 0
    said = " ".join(capsys.readouterr().err.split())
    found = re.search(r"Warning: .*: of the lifetime budget about epsilon (\S+) is left,.*; 5 was asked for", said)
    assert found is not None
    spent = re.search(r"Spent epsilon (\S+)", said)
    assert spent is not None
    assert float(found[1]) == pytest.approx(float(spent[1]), rel=0.03)
    assert _fit("three", "--epsilon", "1") == 4


@pytest.mark.usefixtures("folder")
def test_a_private_fit_after_one_that_was_not_is_told_so(capsys: pytest.CaptureFixture[str]) -> None:
    warning = "fit 1 was not private. What is charged now is the epsilon of this fit alone"
    assert _fit("one") == 0
    assert warning not in " ".join(capsys.readouterr().err.split())
    assert _fit("two", "--epsilon", "1") == 0
    assert warning in " ".join(capsys.readouterr().err.split())


def test_a_damaged_ledger_exits_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "people.ledger"
    Ledger.open(path, data=b"x", budget=BUDGET).spend_rest(dp.GaussianDpEvent, why="all")
    path.write_text(path.read_text().replace('"why":"all"', '"why":"any"'))
    assert run(["ledger", "split", str(path)]) == 2
    assert "altered" in capsys.readouterr().err
    assert run(["ledger", "split", str(tmp_path / "nothing")]) == 2
