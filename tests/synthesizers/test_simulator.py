"""`simulator`: known parameters come back, from marginals or declared figures; a function is held to its schema."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tabsynth.errors import InputError, ModelError
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.schema import Column, Schema
from tabsynth.synthesizers import model
from tabsynth.synthesizers.calibration import Search, calibrate
from tabsynth.synthesizers.simulator import Simulator, SimulatorSampler, flat
from tabsynth.table import Table, read
from tabsynth.testing import awkward_table, sealed

WARD = '''
import numpy as np
import pandas as pd

calls = []

def ward(parameters, rows, rng):
    """Ages around a mean; the old are ill more often, by a slope."""
    calls.append(rows)
    age = np.clip(np.rint(rng.normal(parameters["age"], 12, rows)), 0, 99).astype(int)
    ill = rng.random(rows) < 1 / (1 + np.exp(-parameters["slope"] * (age - 50) / 10))
    stay = np.round(rng.exponential(5, rows).clip(0, 50), 1)
    return pd.DataFrame({"age": age, "ill": ill, "stay": np.where(rng.random(rows) < 0.1, np.nan, stay)})

def failing(parameters, rows, rng):
    raise RuntimeError("no beds")

def text(parameters, rows, rng):
    return "rows"

def short(parameters, rows, rng):
    return ward(parameters, rows, rng).iloc[1:]

def strange(parameters, rows, rng):
    return ward(parameters, rows, rng).rename(columns={"age": "years"})

def outside(parameters, rows, rng):
    return ward(parameters, rows, rng).assign(age=120)

def missing(parameters, rows, rng):
    return ward(parameters, rows, rng).assign(age=None)

def unseeded(parameters, rows, rng):
    return ward(parameters, rows, np.random.default_rng())

def late(parameters, rows, rng):
    return ward(parameters, rows, rng).assign(age=120 if rows > 10 else 50)

number = 3
'''
NAMES = ("failing", "text", "short", "strange", "outside", "missing", "unseeded", "late", "number")
SCHEMA = Schema(
    (
        Column("age", "integer", bounds=(0, 99)),
        Column("ill", "boolean", roles=("target",)),
        Column("stay", "float", bounds=(0.0, 50.0), decimals=1, nullable=True),
    ),
    rows=4000,
)
TRUE = {"age": 61.0, "slope": 0.8}
RANGES = {"age": (20.0, 90.0), "slope": (-2.0, 2.0)}
QUICK = {"particles": 16, "rounds": 5, "simulated": 1000}


@pytest.fixture(autouse=True)
def ward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Lay out a package with simulators as an installer would."""
    folder = tmp_path / "site"
    info = folder / "hospital-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "hospital.py").write_text(WARD, encoding="utf-8")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hospital\nVersion: 1.0\n", encoding="utf-8")
    points = "".join(f"{name} = hospital:{name}\n" for name in ("ward", *NAMES))
    gone = "gone = hospital:gone\nnowhere = hospital_of_nowhere:ward\n"
    (info / "entry_points.txt").write_text(f"[tabsynth.simulators]\n{points}{gone}", encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder))
    yield
    sys.modules.pop("hospital", None)


def people(parameters: dict[str, float], rows: int = 4000) -> Table:
    import hospital

    return read(hospital.ward(parameters, rows, np.random.default_rng(9)), SCHEMA)


def fitted(table: Table, ledger: Ledger, **settings: object) -> SimulatorSampler:
    settings = {"simulator": "ward", "parameters": RANGES, **QUICK, **settings}
    sampler = Simulator(**settings).fit(table, ledger, Secret())  # type: ignore[arg-type]
    assert isinstance(sampler, SimulatorSampler)
    return sampler


@pytest.mark.parametrize("budget", [None, Budget(1.0, 1e-5)])
def test_known_parameters_come_back_from_marginals(budget: Budget | None) -> None:
    ledger = Ledger(budget)
    accepted = fitted(people(TRUE), ledger)._accepted
    assert np.abs(accepted[:, 0] - 61).max() < 5
    assert np.abs(accepted[:, 1] - 0.8).max() < 0.5
    if budget is not None:
        assert 0.9 < ledger.spent.epsilon <= 1.0
    other = fitted(people({"age": 40.0, "slope": -0.5}), Ledger(budget))._accepted
    assert np.abs(other[:, 0] - 40).max() < 5, "another truth gives other parameters"
    assert (other[:, 1] < 0).all()


def test_declared_figures_cost_nothing_and_no_row_is_touched() -> None:
    ledger = Ledger(Budget(1.0, 1e-5))
    figures = (("mean", "age", 61.0), ("share of True", "ill", 0.67), ("missing", "stay", 0.1))
    schema = Schema(SCHEMA.columns)
    accepted = fitted(sealed(schema), ledger, statistics=figures)._accepted
    assert ledger.charges == ()
    assert ledger.closed
    assert np.abs(accepted[:, 0] - 61).max() < 4
    rows = fitted(sealed(schema), Ledger(), statistics=figures).sample(5000, np.random.default_rng(0))
    assert rows["age"].astype(float).mean() == pytest.approx(61, abs=2)
    assert rows["ill"].astype(float).mean() == pytest.approx(0.67, abs=0.06)


def test_figures_of_an_open_domain_cost_its_discovery_and_no_more() -> None:
    ledger = Ledger(Budget(3.0, 1e-5))
    sampler = Simulator("flat", statistics=(("mean", "age", 40.0),), simulated=100).fit(
        awkward_table("undeclared domains"), ledger, Secret()
    )
    assert {"row count", "bounds of 'age'"} <= {charge.why for charge in ledger.charges}
    assert not [charge.why for charge in ledger.charges if charge.why.startswith("marginal")]
    assert not sampler.schema.undeclared()


def test_rows_are_those_of_the_function_and_mixed() -> None:
    """Half the sets have age 30, half 80: the sample holds both, in no order."""
    sampler = fitted(people(TRUE), Ledger())
    sampler._accepted = np.array([[30.0, 0.0]] * 5 + [[80.0, 0.0]] * 5)
    rows = sampler.sample(4000, np.random.default_rng(0))
    old = (rows["age"] > 55).to_numpy(bool)
    assert old.mean() == pytest.approx(0.5, abs=0.03)
    assert old[:2000].mean() == pytest.approx(0.5, abs=0.05)
    assert rows["stay"].isna().mean() == pytest.approx(0.1, abs=0.02)
    assert (rows["stay"].dropna() * 10 % 1).round(6).isin([0, 1]).all()
    assert len(sampler.sample(1, np.random.default_rng(0))) == 1


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nothing", "No simulator 'nothing'. Installed: failing, flat, gone,"),
        ("gone", "'gone' cannot be imported"),
        ("nowhere", "'nowhere' cannot be imported"),
        ("number", "is a int, not a function"),
        ("failing", "raised RuntimeError: no beds"),
        ("text", "returned a str, not a pandas DataFrame"),
        ("short", "returned 9 rows where 10 were asked for"),
        ("strange", "returned the columns years, ill, stay; expected age, ill, stay"),
        ("outside", "rows that do not fit the schema: .*'age'"),
        ("missing", "rows that do not fit the schema: .*'age'"),
        ("unseeded", "returned other rows for the same parameters and generator"),
    ],
)
def test_a_function_that_is_none_is_told_before_anything_is_charged(name: str, words: str) -> None:
    ledger = Ledger(Budget(1.0, 1e-5))
    with pytest.raises(InputError, match=words):
        fitted(sealed(SCHEMA), ledger, simulator=name)
    assert ledger.charges == ()
    assert not ledger.closed


def test_what_goes_wrong_only_later_is_told_then() -> None:
    with pytest.raises(InputError, match="'age'"):
        fitted(people(TRUE), Ledger(), simulator="late")


@pytest.mark.parametrize(
    "figure",
    [
        ("median", "age", 3.0),
        ("mean", "ill", 0.5),
        ("mean", "age", float("nan")),
        ("share of Maybe", "ill", 0.5),
        ("share of True", "ill", 1.5),
        ("missing", "beds", 0.1),
    ],
)
def test_a_statistic_that_is_none_is_refused_before_anything_is_charged(figure: tuple) -> None:
    ledger = Ledger(Budget(1.0, 1e-5))
    with pytest.raises(InputError):
        fitted(sealed(SCHEMA), ledger, statistics=(figure,))
    assert ledger.charges == ()


@pytest.mark.parametrize(
    "wrong",
    [
        {"parameters": {"age": (3.0, 1.0)}},
        {"parameters": {"age": (0.0, float("inf"))}},
        {"parameters": {"age": "ab"}},
        {"parameters": (("age", 0.0, 1.0), ("age", 0.0, 1.0))},
        {"particles": 1},
        {"rounds": 0},
        {"discovery": 0.6},
    ],
)
def test_bad_settings_are_refused(wrong: dict) -> None:
    with pytest.raises(InputError):
        Simulator(**wrong)


def test_a_saved_model_runs_nothing_when_loaded_and_only_what_is_installed_when_sampled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Simulator("ward", RANGES, **QUICK)  # type: ignore[arg-type]
    model.fit(settings, people(TRUE), Ledger(), Secret()).save(tmp_path / "model")
    assert "hospital" not in (tmp_path / "model" / "model.json").read_text("utf-8")
    del sys.modules["hospital"]
    loaded = model.load(tmp_path / "model")
    assert "hospital" not in sys.modules
    loaded.sample(10, np.random.default_rng(0))
    assert "hospital" in sys.modules
    monkeypatch.undo()
    with pytest.raises(InputError, match=r"No simulator 'ward'\. Installed: flat"):
        model.load(tmp_path / "model").sample(10, np.random.default_rng(0))


def test_a_saved_model_of_other_parameters_is_refused(tmp_path: Path) -> None:
    fit = model.fit(Simulator("ward", RANGES, **QUICK), people(TRUE), Ledger(), Secret())  # type: ignore[arg-type]
    assert isinstance(fit.sampler, SimulatorSampler)
    fit.sampler._accepted = fit.sampler._accepted[:, :1]
    fit.save(tmp_path / "model")
    with pytest.raises(ModelError, match="damaged"):
        model.load(tmp_path / "model")


def test_the_search_finds_the_bottom_of_a_bowl_and_everything_that_is_as_good() -> None:
    ranges = np.array([[0.0, 10.0], [-1.0, 1.0], [5.0, 5.0]])

    def bowl(values: np.ndarray, rng: np.random.Generator) -> float:
        return float((values[0] - 7) ** 2 + (10 * values[1]) ** 2)

    found = calibrate(bowl, ranges, Search(40, 8, 30, 0.5), np.random.default_rng(0), lambda *_: None)
    assert len(found) == 30
    assert all(bowl(each, np.random.default_rng(0)) < 0.6 for each in found)
    assert np.ptp(found[:, 0]) > 1.0, "a set, not a point"
    assert (found[:, 2] == 5.0).all()
    assert ((found >= ranges[:, 0]) & (found <= ranges[:, 1])).all()


def test_the_built_in_simulator_is_uniform_over_every_domain() -> None:
    schema = awkward_table("every kind").schema
    rows = flat({"missing": 0.3}, 20_000, np.random.default_rng(0), schema)
    read(rows, schema)
    assert rows["age"].mean() == pytest.approx(49.5, abs=1)
    assert rows["city"].isna().mean() == pytest.approx(0.3, abs=0.02)
    assert not rows["age"].isna().any()
