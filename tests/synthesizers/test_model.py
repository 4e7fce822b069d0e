"""Fitted models: saved whole or not at all, read back the same, refused with a reason when they are not models."""

from __future__ import annotations

import json
import os
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file, save_file

from tabsynth.errors import BudgetExceeded, ConformanceError, InputError, ModelError
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.schema import Column, Schema
from tabsynth.synthesizers import model
from tabsynth.synthesizers.base import Progress, Sampler, silent
from tabsynth.synthesizers.independent import Independent, IndependentSampler
from tabsynth.synthesizers.model import MODEL, WEIGHTS, Model
from tabsynth.table import Table, read

BUDGET = Budget(2.0, 1e-5)
SCHEMA = Schema(
    (
        Column("no", "integer", roles=("identifier",)),
        Column("Stadt", "categorical", categories=("Köln", "北京"), nullable=True),
        Column("age", "integer", bounds=(0, 99)),
    )
)


@pytest.fixture(scope="module")
def table() -> Table:
    rng = np.random.default_rng(0)
    frame = {"no": np.arange(300), "Stadt": rng.choice(["Köln", "北京"], 300), "age": rng.integers(20, 60, 300)}
    return read(pd.DataFrame(frame), SCHEMA)


@pytest.fixture(scope="module")
def fitted(table: Table) -> Model:
    return model.fit(Independent(bins=8), table, Ledger(BUDGET), Secret())


def test_under_a_budget_no_warning_tells_of_a_row() -> None:
    schema = Schema((Column("cost", "float", nullable=False), Column("rate", "float", bounds=(-1e9, 1e9), decimals=2)))
    costs = np.append(np.random.default_rng(0).normal(50, 9, 300), 1e308)  # overflows where decimals are counted
    huge = read(pd.DataFrame({"cost": costs, "rate": 1.0}), schema)
    with pytest.warns(RuntimeWarning, match="overflow"):
        model.fit(Independent(), huge, Ledger(), Secret())  # nothing is promised, and a warning may help
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        model.fit(Independent(), huge, Ledger(BUDGET), Secret())


def test_what_is_saved_is_loaded(fitted: Model, tmp_path: Path) -> None:
    fitted.save(tmp_path / "model")
    loaded = model.load(tmp_path / "model")
    assert (loaded.name, loaded.schema) == ("independent", fitted.schema)
    assert dict(loaded.settings) == {"bins": 8, "discovery": 0.3}
    assert loaded.privacy == json.loads(json.dumps(fitted.privacy))
    pd.testing.assert_frame_equal(
        *(each.sample(100, np.random.default_rng(1)) for each in (fitted, loaded)), check_exact=True
    )
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [MODEL, WEIGHTS]
    assert [path.name for path in tmp_path.iterdir()] == ["model"], "no temporary folder is left"


def test_the_saved_papers_say_what_was_spent(fitted: Model, tmp_path: Path) -> None:
    fitted.save(tmp_path / "model")
    plain = json.loads((tmp_path / "model" / MODEL).read_text(encoding="utf-8"))
    assert plain["privacy"]["private"] is True
    assert 0 < plain["privacy"]["spent"]["epsilon"] <= 2.0
    assert plain["model"] == "independent"
    assert Schema.from_dict(plain["schema"]) == fitted.schema


def test_a_fit_without_a_budget_says_so(table: Table) -> None:
    papers = model.fit(Independent(), table, Ledger(), Secret()).privacy
    assert papers["private"] is False
    assert papers["spent"]["epsilon"] is None


@pytest.mark.parametrize("rows", [0, -1, 1.5, True])
def test_rows_out_of_range(fitted: Model, rows: Any) -> None:
    with pytest.raises(InputError, match="rows must be a whole number of at least 1"):
        fitted.sample(rows, np.random.default_rng(0))


# --- folders ------------------------------------------------------------------------------------------------------


def test_a_folder_that_exists_is_not_touched(fitted: Model, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("keep")
    for path in (tmp_path, tmp_path / "mine"):
        with pytest.raises(InputError, match="already exists; choose a new folder"):
            fitted.save(path)
    assert (tmp_path / "mine").read_text() == "keep"


def test_a_folder_without_a_parent(fitted: Model, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder to write into"):
        fitted.save(tmp_path / "none" / "model")


def test_a_folder_that_may_not_be_written(fitted: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    with pytest.raises(InputError, match=r"cannot be written \(permission denied\)"):
        fitted.save(tmp_path / "model")


def test_a_disk_that_fills_leaves_nothing(fitted: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(model, "save_file", full)
    with pytest.raises(InputError, match=r"model: the model could not be written \(No space left on device\)"):
        fitted.save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_leaves_nothing(fitted: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(model, "save_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fitted.save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


# --- what is not a model ------------------------------------------------------------------------------------------


def _edit(folder: Path, **changes: Any) -> None:
    plain = json.loads((folder / MODEL).read_text(encoding="utf-8"))
    for key, value in changes.items():
        plain.pop(key) if value is None else plain.update({key: value})
    (folder / MODEL).write_text(json.dumps(plain), encoding="utf-8")


def _cut(folder: Path) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[: len(content) // 2])


def _drop_array(folder: Path) -> None:
    arrays = load_file(folder / WEIGHTS)
    save_file({name: array for name, array in arrays.items() if name != "column.1"}, folder / WEIGHTS)


DAMAGE: dict[str, tuple[Any, str]] = {
    "no folder": (lambda folder: (folder / MODEL).unlink(), r"not a saved model \(FileNotFoundError\)"),
    "no weights": (lambda folder: (folder / WEIGHTS).unlink(), r"not a saved model \(FileNotFoundError\)"),
    "not JSON": (lambda folder: (folder / MODEL).write_text("{"), r"not a saved model \(JSONDecodeError\)"),
    "not text": (lambda folder: (folder / MODEL).write_bytes(b"\xff\xfe"), r"not a saved model \(UnicodeDecodeError\)"),
    "another thing": (lambda folder: (folder / MODEL).write_text("[1]"), "not a saved model"),
    "a pickle": (lambda folder: (folder / WEIGHTS).write_bytes(b"\x80\x04N."), r"not a saved model \(SafetensorError"),
    "cut off": (_cut, r"not a saved model \(SafetensorError\)"),
    "another version": (lambda folder: _edit(folder, format=99), "has format 99; this version reads 1"),
    "no format": (lambda folder: _edit(folder, format=None), "has format None; this version reads 1"),
    "no schema": (lambda folder: _edit(folder, schema=None), r"damaged or of another version \(KeyError\)"),
    "a broken schema": (lambda folder: _edit(folder, schema={"columns": []}), r"damaged .*\(SchemaError\)"),
    "an unknown model": (lambda folder: _edit(folder, model="nobody"), "No synthesizer 'nobody'. Installed: "),
    "an array missing": (_drop_array, r"damaged or of another version \(KeyError\)"),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGE.values(), ids=DAMAGE)
def test_what_is_not_a_model_is_refused_with_a_reason(fitted: Model, tmp_path: Path, damage: Any, message: str) -> None:
    fitted.save(tmp_path / "model")
    damage(tmp_path / "model")
    with pytest.raises(ModelError, match=message) as caught:
        model.load(tmp_path / "model")
    assert str(tmp_path / "model") in str(caught.value)


def test_no_folder_at_all(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="none: not a saved model"):
        model.load(tmp_path / "none")


# --- fit ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Careless:
    """Forgets one of its duties."""

    forgets: str

    name: ClassVar[str] = "careless"
    sampler: ClassVar[type[Sampler]] = IndependentSampler

    def fit(self, table: Table, ledger: Ledger, secret: Secret, progress: Progress = silent) -> Sampler:
        sampler = Independent().fit(table, Ledger(ledger.budget), secret)
        if self.forgets != "the ledger":
            ledger.close()
        if self.forgets == "the schema":
            sampler.schema = table.schema.with_columns(replace(table.schema["age"], bounds=None))
        return sampler


@pytest.mark.parametrize(
    ("forgets", "message"), [("the ledger", "did not close its ledger"), ("the schema", "with an incomplete schema")]
)
def test_a_careless_synthesizer_gives_no_model(table: Table, forgets: str, message: str) -> None:
    with pytest.raises(ConformanceError, match=f"'careless' .*{message}"):
        model.fit(Careless(forgets), table, Ledger(BUDGET), Secret())


def test_settings_that_are_no_dataclass() -> None:
    with pytest.raises(InputError, match="object must be a frozen dataclass of settings"):
        model.settings_of(object())  # type: ignore[arg-type]


def test_a_budget_that_is_spent_gives_no_model(table: Table) -> None:
    ledger = Ledger(Budget(0.1, 1e-6))
    rich = Ledger(Budget(5.0, 1e-6))
    ledger.sigma = rich.sigma  # type: ignore[method-assign]  # asks for far more than the budget holds
    with pytest.raises(BudgetExceeded):
        model.fit(Independent(), table, ledger, Secret())
