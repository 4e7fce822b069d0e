"""The conformance suite of a synthesizer: what every plug-in promises, one named check a promise."""

from __future__ import annotations

import gc
import json
import re
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
import pandas as pd
import torch

from tabsynth import registry
from tabsynth.errors import BudgetExceeded, InputError, LedgerError
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.events import DiscreteGaussianDpEvent
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.scan import scan_model
from tabsynth.synthesizers import model
from tabsynth.synthesizers.base import Synthesizer, silent
from tabsynth.synthesizers.model import Model
from tabsynth.table import read
from tabsynth.testing.replay import neighbour_replay
from tabsynth.testing.tables import awkward_table, awkward_tables, sealed

TABLE = "every kind"  # what the checks fit that need one table only
ROWS = 64  # sampled wherever a sample is looked at
BUDGET = Budget(1.0, 1e-5)
SPENT_SLACK = 1e-6  # relative: rounding of the composition


def check_synthesizer(synthesizer: Synthesizer, *, private_budget: Budget | None = BUDGET) -> None:
    """Run every check of `CHECKS` on a synthesizer; raise AssertionError naming the promise that it breaks.

    Give it settings that fit in a second: the suite fits some 150 small tables. `private_budget` is what the fits may
    spend. None says that the synthesizer is not private at all: it must then refuse any budget before it touches a
    row, and the checks of what it leaks are left out.

    >>> from tabsynth.synthesizers.bootstrap import Bootstrap
    >>> check_synthesizer(Bootstrap(), private_budget=None)
    """
    for name, check in checks(synthesizer, private_budget):
        with _named(name):
            check()


def checks(synthesizer: Synthesizer, private_budget: Budget | None) -> Iterator[tuple[str, Callable[[], None]]]:
    """Yield the checks that `check_synthesizer` runs, by name: for a test that shows them one by one."""
    suite = _Suite(synthesizer, private_budget)
    if private_budget is None:
        yield "any budget is refused before a row is touched", suite.refuses_a_budget
    for name, (check, tables) in CHECKS.items():
        if check in _OF_PRIVATE and private_budget is None:
            continue
        for table in tables:
            yield (f"{name}, {table}" if len(tables) > 1 else name), lambda c=check, t=table: c(suite, t)  # type: ignore[misc]


@dataclass(frozen=True, slots=True)
class _Suite:
    """A synthesizer under test, and what its fits may spend."""

    synthesizer: Synthesizer
    budget: Budget | None
    fits: dict[str, tuple[Model, Ledger]] = field(default_factory=dict)

    def fit(self, table: str) -> tuple[Model, Ledger]:
        """Fit to an awkward table, once."""
        if table not in self.fits:
            ledger = Ledger(self.budget)
            self.fits[table] = model.fit(self.synthesizer, awkward_table(table), ledger, Secret()), ledger
        return self.fits[table]

    def settings_are_plain(self, table: str) -> None:
        """Settings are a frozen dataclass of plain values, each a public field, from which it can be built again."""
        kind = type(self.synthesizer)
        assert is_dataclass(kind), f"{kind.__name__} is not a dataclass"
        assert _is_frozen(kind), f"{kind.__name__} is not frozen"
        settings = {each.name: getattr(self.synthesizer, each.name) for each in fields(kind)}
        for name, value in settings.items():
            assert not name.startswith("_"), f"setting {name!r} is not public"
            assert _is_plain(value), f"setting {name!r} is a {type(value).__name__}, not a plain value"
        again = kind(**settings)
        assert again == self.synthesizer, "settings do not build the same synthesizer again"
        json.dumps(model.settings_of(self.synthesizer), allow_nan=False)

    def is_registered(self, table: str) -> None:
        """The name is one lower-case word, for a bridge two with a colon, under which this very class is loaded."""
        name = self.synthesizer.name
        assert re.fullmatch(r"([a-z][a-z0-9_]*:)?[a-z][a-z0-9_]*", name), f"{name!r} is not a lower-case word"
        try:
            found = registry.load(registry.SYNTHESIZERS, name)
        except InputError as error:
            raise AssertionError(str(error)) from None
        assert found is type(self.synthesizer), f"{name!r} loads {found!r}"

    def fits_and_samples(self, table: str) -> None:
        """The fit closes its ledger within budget, and samples keep columns, kinds and domains of the schema."""
        fitted, ledger = self.fit(table)
        assert ledger.closed, "the ledger was left open"
        if self.budget is not None:
            assert ledger.private, "the ledger is marked not private"
            assert ledger.spent.epsilon <= self.budget.epsilon * (1 + SPENT_SLACK), "more was spent than the budget"
            assert sum(charge.delta for charge in ledger.charges) < self.budget.delta, "more delta than the budget"
        rows = fitted.sample(ROWS, np.random.default_rng(0))
        schema = fitted.schema
        assert len(rows) == ROWS, f"{len(rows)} rows came where {ROWS} were asked for"
        assert tuple(rows.columns) == schema.names, "columns are not those of the schema, in its order"
        assert schema.names == awkward_table(table).schema.names, "the schema's columns changed"
        known = rows.drop(columns=[c.name for c in schema if "identifier" in c.roles])
        pd.testing.assert_frame_equal(read(rows, schema).private, known, check_dtype=False, check_categorical=False)
        one = fitted.sample(1, np.random.default_rng(0))
        assert len(one) == 1, "a single row could not be sampled"

    def samples_repeat(self, table: str) -> None:
        """The same rng state gives the same rows, another one others, and global random state is left alone."""
        before = _global_state()
        fitted = model.fit(self.synthesizer, awkward_table(table), Ledger(self.budget), Secret())
        first, again, other = (fitted.sample(ROWS, np.random.default_rng(seed)) for seed in (3, 3, 4))
        pd.testing.assert_frame_equal(first, again)
        assert not first.equals(other), "another seed gave the same rows"
        assert _global_state() == before, "numpy's or torch's global random state was used"

    def survives_saving(self, table: str) -> None:
        """A saved and loaded model gives identical samples; the folder holds JSON and safetensors only."""
        fitted, _ = self.fit(table)
        with TemporaryDirectory() as folder:
            fitted.save(Path(folder) / "model")
            suffixes = {path.suffix for path in Path(folder, "model").rglob("*") if path.is_file()}
            assert suffixes <= {".json", ".safetensors"}, f"files of another kind were saved: {sorted(suffixes)}"
            loaded = model.load(Path(folder) / "model")
        first, again = (each.sample(ROWS, np.random.default_rng(5)) for each in (fitted, loaded))
        pd.testing.assert_frame_equal(first, again)
        assert loaded.schema == fitted.schema, "the loaded schema is another one"
        assert dict(loaded.settings) == json.loads(json.dumps(dict(fitted.settings))), "the loaded settings changed"

    def forgets_the_table(self, table: str) -> None:
        """The sampler keeps no hold of the rows and samples when they are gone."""
        private = awkward_table(table)
        gone = weakref.ref(private.private)
        fitted = model.fit(self.synthesizer, private, Ledger(self.budget), Secret())
        del private
        gc.collect()
        assert gone() is None, "the fitted model still holds the table"
        fitted.sample(ROWS, np.random.default_rng(0))

    def refuses_a_closed_ledger(self, table: str) -> None:
        """A fit on a closed ledger raises LedgerError, and no row is touched."""
        ledger = Ledger(self.budget)
        ledger.close()
        with _raises(LedgerError):
            self.synthesizer.fit(sealed(awkward_table(table).schema), ledger, Secret(), silent)

    def refuses_an_empty_budget(self, table: str) -> None:
        """A fit whose first charge does not fit what is left raises BudgetExceeded before it touches a row."""
        assert self.budget is not None
        probe, ledger = Ledger(self.budget), Ledger(self.budget)
        ledger.charge(DiscreteGaussianDpEvent(probe.spend_rest(DiscreteGaussianDpEvent, why="probe")), why="earlier")
        with _raises(BudgetExceeded):
            self.synthesizer.fit(sealed(awkward_table(table).schema), ledger, Secret(), silent)
        assert len(ledger.charges) == 1, "something was charged all the same"

    def saves_nothing_private(self, table: str) -> None:
        """The saved model holds no value of the table that was not public, declared or paid for."""
        with TemporaryDirectory() as folder:
            self.fit(table)[0].save(Path(folder) / "model")
            found = scan_model(Path(folder) / "model", awkward_table(table))
        assert not found, "; ".join(found)

    def replays_alike(self, table: str) -> None:
        """Nothing reaches the output but mechanisms' answers: see `neighbour_replay`."""
        neighbour_replay(self.synthesizer, awkward_table(table), budget=self.budget)

    def refuses_a_budget(self) -> None:
        """What is not private refuses a budget before it touches a row."""
        with _raises(BudgetExceeded):
            schema = awkward_table(TABLE).schema
            self.synthesizer.fit(sealed(schema), Ledger(Budget(8.0, 1e-5)), Secret(), silent)


Check = Callable[[_Suite, str], None]
CHECKS: dict[str, tuple[Check, tuple[str, ...]]] = {
    "settings are a frozen dataclass of plain values": (_Suite.settings_are_plain, (TABLE,)),
    "the name is registered": (_Suite.is_registered, (TABLE,)),
    "fit and sample": (_Suite.fits_and_samples, awkward_tables()),
    "sampling repeats with its rng": (_Suite.samples_repeat, (TABLE,)),
    "save and load": (_Suite.survives_saving, awkward_tables()),
    "the table is forgotten": (_Suite.forgets_the_table, (TABLE,)),
    "a closed ledger is refused": (_Suite.refuses_a_closed_ledger, (TABLE,)),
    "charges come before reads": (_Suite.refuses_an_empty_budget, (TABLE,)),
    "leak scan": (_Suite.saves_nothing_private, awkward_tables()),
    "neighbour replay": (_Suite.replays_alike, awkward_tables()),
}
_OF_PRIVATE = (_Suite.refuses_an_empty_budget, _Suite.saves_nothing_private, _Suite.replays_alike)


def _is_plain(value: Any) -> bool:
    """Whether a setting can be written as JSON: a number, text, truth, None, tuple or frozen dataclass of these."""
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    if is_dataclass(value) and _is_frozen(type(value)):
        return all(_is_plain(getattr(value, each.name)) for each in fields(value))
    return isinstance(value, bool | int | float | str | None)


def _is_frozen(kind: type) -> bool:
    return bool(cast(Any, kind).__dataclass_params__.frozen)


def _global_state() -> tuple[bytes, bytes]:
    """Return numpy's and torch's global random state."""
    return np.random.get_state(legacy=False)["state"]["key"].tobytes(), torch.get_rng_state().numpy().tobytes()  # noqa: NPY002


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Turn whatever goes wrong into an AssertionError that names the check."""
    try:
        yield
    except Exception as error:
        raise AssertionError(f"{name}: {type(error).__name__}: {error}") from error


@contextmanager
def _raises(kind: type[Exception]) -> Iterator[None]:
    """Raise AssertionError unless `kind` is raised inside."""
    try:
        yield
    except kind:
        return
    raise AssertionError(f"{kind.__name__} was not raised")
