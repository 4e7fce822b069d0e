"""Bridges to `sdv` and `ctgan`, held to our promises: with fakes in their place, and with the packages if installed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tabsynth import TabularSynthesizer, datasets, registry
from tabsynth.errors import BudgetExceeded, InputError, ModelError
from tabsynth.fitting import make_synthesizer
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.release.provenance import generator
from tabsynth.synthesizers import bridges, model
from tabsynth.testing import awkward_table, checks

NAMES = [*(f"sdv:{name}" for name in bridges.SDV), *(f"ctgan:{name}" for name in bridges.CTGAN)]
UNSAVEABLE = "save and load"  # the one promise that a bridge does not make
CALLS: list[tuple[str, dict[str, Any]]] = []  # the arguments that the fakes' classes were called with


class _Resampling:
    """What the fakes share: rows drawn with replacement, numbers shifted out of their bounds now and then."""

    def keep(self, frame: pd.DataFrame, discrete: list[str]) -> None:
        assert all(isinstance(value, str) for name in discrete for value in frame[name])
        self.frame, self.numbers = frame, [name for name in frame if name not in discrete]
        self.state = np.random.RandomState(73251)

    def sample_rows(self, rows: int) -> pd.DataFrame:
        drawn = self.frame.iloc[self.state.randint(len(self.frame), size=rows)].reset_index(drop=True)
        return drawn.assign(**{name: drawn[name] * self.state.uniform(-0.5, 1.5, rows) for name in self.numbers})


def _of_ctgan(name: str) -> type:
    class Fake(_Resampling):
        def __init__(self, epochs: int = 300, layers: tuple[int, ...] = (256, 256)):
            CALLS.append((name, {"epochs": epochs, "layers": layers}))

        def fit(self, frame: pd.DataFrame, discrete: list[str]) -> None:
            if frame.drop(columns=discrete).isna().any(axis=None):
                raise ValueError("a secret value: 42")
            self.keep(frame, discrete)

        def set_random_state(self, seed: int) -> None:
            self.state = np.random.RandomState(seed)

        def sample(self, rows: int) -> pd.DataFrame:
            return self.sample_rows(rows)

    Fake.__name__ = name
    return Fake


def _of_sdv(name: str, by_table: bool) -> type:
    class Fake(_Resampling):
        def __init__(self, metadata: Any, locales: list[str] = ["en_US"], **settings: Any):  # noqa: B006
            CALLS.append((name, {"locales": locales} | settings))
            self.columns = metadata["tables"]["table"]["columns"]

        def fit(self, data: Any) -> None:
            frame = data["table"] if by_table else data
            assert list(frame) == list(self.columns)
            self.keep(frame, [each for each in frame if self.columns[each]["sdtype"] == "categorical"])

        def reset_sampling(self) -> None:
            self.state = np.random.RandomState(73251)

        def sample(self, num_rows: int) -> Any:
            return {"table": self.sample_rows(num_rows)} if by_table else self.sample_rows(num_rows)

    Fake.__name__ = name
    return Fake


def _module(name: str, **parts: Any) -> ModuleType:
    module = ModuleType(name)
    vars(module).update(parts)
    return module


def _install(monkeypatch: pytest.MonkeyPatch, sdv_version: str) -> None:
    """Put fakes where the packages would be imported from."""
    metadata = SimpleNamespace(load_from_dict=dict)
    by_table = sdv_version.startswith("2")
    made = {name: _of_sdv(name, by_table) for name in bridges.SDV.values()}
    fakes = {
        "sdv": _module("sdv", __version__=sdv_version),
        "sdv.metadata": _module("sdv.metadata", Metadata=metadata),
        "sdv.single_table": _module("sdv.single_table", **made),
        "ctgan": _module("ctgan", __version__="0.12.1", **{name: _of_ctgan(name) for name in bridges.CTGAN.values()}),
    }
    for name, module in fakes.items():
        monkeypatch.setitem(sys.modules, name, module)


@pytest.fixture(params=["2.0.0", "1.24.0"])
def packages(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    bridges._bridged.cache_clear()
    CALLS.clear()
    _install(monkeypatch, request.param)
    yield
    bridges._bridged.cache_clear()


def _load(name: str, **settings: Any) -> Any:
    return registry.load(registry.SYNTHESIZERS, name)(**settings)


@pytest.mark.usefixtures("packages")
@pytest.mark.parametrize("name", ["sdv:gaussian_copula", "ctgan:tvae"])
def test_a_bridge_keeps_every_promise_but_saving(name: str) -> None:
    for what, check in checks(_load(name), None):
        if not what.startswith(UNSAVEABLE):
            check()


@pytest.mark.usefixtures("packages")
@pytest.mark.parametrize("name", NAMES)
def test_every_name_fits_samples_and_is_named_in_the_papers(name: str) -> None:
    visits = datasets.clinic_visits(rows=300)
    estimator = TabularSynthesizer(name, schema=visits.schema, seed=3).fit(visits.frame)
    rows = estimator.sample(50, seed=1)
    assert list(rows) == list(visits.schema.names)
    assert estimator.model_.name == name
    assert not estimator.ledger_.private
    assert generator(_load(name))["package"] == name.partition(":")[0]


@pytest.mark.usefixtures("packages")
def test_only_changed_settings_reach_the_package() -> None:
    table = awkward_table("every kind")
    for name in ("ctgan:ctgan", "sdv:gaussian_copula"):
        settings = {"epochs": 7} if name.startswith("ctgan") else {"locales": ("de_DE",)}
        model.fit(make_synthesizer(name, 5, **settings), table, Ledger(), Secret())
    assert CALLS[0] == ("CTGAN", {"epochs": 7, "layers": (256, 256)})
    assert CALLS[1] == ("GaussianCopulaSynthesizer", {"locales": ("de_DE",)})
    assert make_synthesizer("ctgan:ctgan", 5).seed == 5


@pytest.mark.usefixtures("packages")
def test_what_cannot_be_asked_for_is_said_with_what_can() -> None:
    with pytest.raises(InputError, match=r"ctgan:ctgan has no setting 'epoch'. It has: epochs, layers, seed"):
        make_synthesizer("ctgan:ctgan", epoch=7)
    with pytest.raises(InputError, match=r"No synthesizer 'sdv:ctgn'. There are: sdv:gaussian_copula, sdv:ctgan"):
        make_synthesizer("sdv:ctgn")
    with pytest.raises(InputError, match=r"No synthesizer 'sdvv:ctgan'. Installed: .*independent.*, sdv:NAME"):
        make_synthesizer("sdvv:ctgan")


@pytest.mark.parametrize(("name", "package"), [("sdv:ctgan", "sdv"), ("ctgan:ctgan", "ctgan")])
def test_a_missing_package_is_named_with_the_way_to_get_it(
    monkeypatch: pytest.MonkeyPatch, name: str, package: str
) -> None:
    bridges._bridged.cache_clear()
    for module in ("sdv", "sdv.single_table", "ctgan"):
        monkeypatch.setitem(sys.modules, module, None)  # importing it now fails
    with pytest.raises(InputError, match=rf'{package} is not installed .*pip install "tabsynth\[sdv\]"'):
        make_synthesizer(name)


@pytest.mark.usefixtures("packages")
def test_a_budget_is_refused_in_words() -> None:
    visits = datasets.clinic_visits(rows=300)
    with pytest.raises(InputError, match=r"ctgan:ctgan is never private: .* Nothing was run or charged."):
        TabularSynthesizer("ctgan:ctgan", epsilon=8.0, schema=visits.schema).fit(visits.frame)
    with pytest.raises(BudgetExceeded, match=r"ctgan:ctgan is not private: .* Nothing was run or charged."):
        _load("ctgan:ctgan").fit(awkward_table("every kind"), Ledger(Budget(8.0, 1e-6)), Secret())
    assert CALLS == []


@pytest.mark.usefixtures("packages")
def test_saving_is_refused_before_a_fit_and_after_it(tmp_path: Any) -> None:
    synthesizer = _load("sdv:tvae")
    with pytest.raises(ModelError, match=r"sdv:tvae: A model of another package is not saved.*tabsynth release"):
        model.check_saveable(synthesizer)
    fitted = model.fit(synthesizer, awkward_table("every kind"), Ledger(), Secret())
    with pytest.raises(ModelError, match=r"its own file is a pickle"):
        fitted.save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []
    model.check_saveable(_load("independent"))  # others are not refused


@pytest.mark.usefixtures("packages")
@pytest.mark.parametrize("name", ["sdv:ctgan", "ctgan:ctgan"])
def test_rows_stay_in_their_domain_and_missing_numbers_missing(name: str) -> None:
    table = awkward_table("every kind")
    table.private.loc[table.private.index % 3 == 0, "cost"] = np.nan
    rows = model.fit(_load(name), table, Ledger(), Secret()).sample(2000, np.random.default_rng(0))
    assert rows["cost"].isna().mean() == pytest.approx(1 / 3, abs=0.05)
    assert rows["cost"].min() == 0.0  # the fake goes below, and is held to the bound
    assert rows["age"].between(0, 99).all()
    assert {"Ulm", "Bonn", "Trier", "Jena"} == set(rows["city"].cat.categories)
    shares = table.private["city"].value_counts(normalize=True, dropna=False)
    assert rows["city"].value_counts(normalize=True, dropna=False)["Bonn"] == pytest.approx(shares["Bonn"], abs=0.05)


@pytest.mark.usefixtures("packages")
def test_an_error_of_theirs_is_ours_and_quotes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridges._OfCTGAN, "__init__", lambda self, kind, settings, frame: kind().fit(frame, ["city"]))
    with pytest.raises(ModelError, match=r"ctgan:ctgan could not be fitted .*\(\w+\)\.$") as caught:
        model.fit(_load("ctgan:ctgan"), awkward_table("every kind"), Ledger(), Secret())
    assert "42" not in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_the_real_ones_keep_every_promise_but_saving(name: str) -> None:
    pytest.importorskip(name.partition(":")[0])
    bridges._bridged.cache_clear()
    synthesizer = _load(name, **({} if name == "sdv:gaussian_copula" else {"epochs": 1}))
    kept: list[tuple[str, Callable[[], None]]] = list(checks(synthesizer, None))
    for what, check in kept:
        if not what.startswith(UNSAVEABLE) and not what.endswith(("2,000 categories", "undeclared domains")):
            check()
