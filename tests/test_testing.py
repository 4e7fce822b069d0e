"""The suite itself: every check has a synthesizer that trips it, and clean synthesizers are not accused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from tabsynth import registry
from tabsynth.conversion import to_axis
from tabsynth.encoding.encoder import Encoder
from tabsynth.errors import ConformanceError, InputError, TableError
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.discovery import discover
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.mechanisms import noisy_count, noisy_histogram
from tabsynth.privacy.noise import Secret
from tabsynth.privacy.replay import RepeatedSecret, recording, replaying
from tabsynth.schema import Column, Schema
from tabsynth.synthesizers import model
from tabsynth.synthesizers.base import Progress, Sampler, silent
from tabsynth.synthesizers.independent import Independent, IndependentSampler
from tabsynth.table import Table, read
from tabsynth.testing import (
    awkward_table,
    awkward_tables,
    check_synthesizer,
    checks,
    neighbour_replay,
    neighbours,
    scan_model,
    sealed,
)

BUDGET = Budget(1.0, 1e-5)
TABLE = "every kind"
Arrays = dict[str, np.ndarray]


class LeakySampler(IndependentSampler):
    """An independent sampler that keeps something on the side."""

    values: dict[str, Any]
    arrays: Arrays

    def state(self) -> tuple[dict[str, Any], Arrays]:
        values, arrays = super().state()
        return {**values, **self.values}, {**arrays, **self.arrays}


@dataclass(frozen=True)
class Leaky:
    """`independent`, with ways of learning more than it pays for: the names of functions in this file."""

    prepare: str = "all_as_it_is"
    keep: str = "nothing"
    report: str = "no_figures"

    name: ClassVar[str] = "independent"
    sampler: ClassVar[type[Sampler]] = LeakySampler

    def fit(self, table: Table, ledger: Ledger, secret: Secret, progress: Progress = silent) -> Sampler:
        values, arrays = globals()[self.keep](table)
        progress(0, 1, globals()[self.report](table))
        fitted = Independent().fit(globals()[self.prepare](table), ledger, secret, progress)
        leaky = LeakySampler(fitted.schema, fitted._distributions)
        leaky.values, leaky.arrays = values, arrays
        return leaky


# --- planted leaks ------------------------------------------------------------------------------------------------


def all_as_it_is(table: Table) -> Table:
    return table


def nothing(table: Table) -> tuple[dict[str, Any], Arrays]:
    return {}, {}


def no_figures(table: Table) -> dict[str, float]:
    return {}


def luck(table: Table) -> tuple[dict[str, Any], Arrays]:
    return {"luck": Secret().uniform().item()}, {}


def free_categories(table: Table) -> Table:
    """Declare the categories that were found."""
    found = [
        replace(column, categories=tuple(map(str, sorted(table.private[column.name].dropna().unique()))))
        for column in table.schema.modelled
        if column.kind == "categorical"
    ]
    return replace(table, schema=table.schema.with_columns(*found))


def free_bounds(table: Table) -> Table:
    """Declare the extremes that were found."""
    columns = []
    for column in table.schema.modelled:
        if column.numeric:
            axis = to_axis(table.private[column.name], column)
            columns.append(replace(column, bounds=(float(np.nanmin(axis)), float(np.nanmax(axis)))))
    return replace(table, schema=table.schema.with_columns(*columns))


def free_missing_flags(table: Table) -> Table:
    """Model missing values only where there are any."""
    found = [replace(c, nullable=bool(table.private[c.name].isna().any())) for c in table.schema.modelled]
    return replace(table, schema=table.schema.with_columns(*found))


def free_constants(table: Table) -> Table:
    """Leave the bins of a number away when it is constant, and ask for none."""
    found = [
        replace(c, bins=(c.bounds[0], c.bounds[1] + (c.step or 1)))
        for c in table.schema.modelled
        if c.numeric and c.bounds and table.private[c.name].nunique() <= 1
    ]
    return replace(table, schema=table.schema.with_columns(*found))


def free_row_count(table: Table) -> Table:
    return replace(table, schema=replace(table.schema, rows=len(table.private)))


def real_fill_value(table: Table) -> tuple[dict[str, Any], Arrays]:
    """Keep one row's value for filling."""
    return {"fill": float(table.private["cost"].dropna().iloc[7])}, {}


def text_values(table: Table) -> tuple[dict[str, Any], Arrays]:
    return {"seen": sorted(map(str, table.private["city"].dropna().unique()))}, {}


def training_rows(table: Table) -> tuple[dict[str, Any], Arrays]:
    tokens = Encoder(discover(table, Ledger(), Secret()).schema).encode(table.private).tokens
    return {}, {"memory": tokens[:, :]}


def sorted_values(table: Table) -> tuple[dict[str, Any], Arrays]:
    values = table.private["cost"].dropna().to_numpy(np.float32)
    return {}, {"quantiles": np.sort(values)[::2]}


def row_numbers(table: Table) -> tuple[dict[str, Any], Arrays]:
    return {}, {"order": np.argsort(table.private["age"].to_numpy(), kind="stable").astype(np.int64)}


def exact_frequencies(table: Table) -> tuple[dict[str, Any], Arrays]:
    counts = table.private["city"].value_counts(sort=False).to_numpy()
    return {}, {"frequencies": counts / counts.sum()}


def private_mean(table: Table) -> dict[str, float]:
    return {"mean age": float(table.private["age"].mean())}


LEAKS: dict[str, tuple[Leaky, str, str]] = {
    "categories for free": (Leaky("free_categories"), "undeclared domains", "replay"),
    "bounds for free": (Leaky("free_bounds"), "undeclared domains", "replay"),
    "missing flags for free": (Leaky("free_missing_flags"), TABLE, "replay"),
    "the row count for free": (Leaky("free_row_count"), TABLE, "replay"),
    "exact frequencies": (Leaky(keep="exact_frequencies"), TABLE, "replay"),
    "a private figure in the progress": (Leaky(report="private_mean"), TABLE, "replay"),
    "a real fill value": (Leaky(keep="real_fill_value"), TABLE, "both"),
    "texts": (Leaky(keep="text_values"), "undeclared domains", "replay"),
    "training rows": (Leaky(keep="training_rows"), TABLE, "both"),
    "sorted values": (Leaky(keep="sorted_values"), TABLE, "both"),
    "row numbers": (Leaky(keep="row_numbers"), TABLE, "both"),
}


@pytest.mark.parametrize(("leaky", "table", "by"), LEAKS.values(), ids=LEAKS)
def test_a_planted_leak_is_caught(leaky: Leaky, table: str, by: str, tmp_path: Path) -> None:
    private = awkward_table(table)
    with pytest.raises(AssertionError, match="neighbour replay, "):
        neighbour_replay(leaky, private)
    if by == "both":
        fitted = model.fit(leaky, private, Ledger(BUDGET), Secret())
        fitted.save(tmp_path / "model")
        assert scan_model(tmp_path / "model", private)


def test_constants_detected_for_free_are_caught() -> None:
    column = Column("n", "integer", bounds=(0, 9))
    private = read(pd.DataFrame({"n": [3] * 40 + [4]}), Schema((column,)))
    with pytest.raises(AssertionError, match=r"the largest 'n' removed: .*measure"):
        neighbour_replay(Leaky("free_constants"), private)
    neighbour_replay(Leaky(), private)


def test_a_fit_that_is_not_deterministic_is_told_so() -> None:
    noisy = Leaky(keep="luck")
    with pytest.raises(AssertionError, match=r"the same table: the saved model\.json differs"):
        neighbour_replay(noisy, awkward_table(TABLE))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("table", [TABLE, "undeclared domains", "groups of up to 3"])
def test_clean_fits_are_not_accused(table: str, seed: int, tmp_path: Path) -> None:
    private = awkward_table(table)
    neighbour_replay(Leaky(), private)
    fitted = model.fit(Independent(), private, Ledger(BUDGET), Secret())
    fitted.save(tmp_path / "model")
    assert scan_model(tmp_path / "model", private) == ()


def test_public_use_of_the_secret_is_not_accused() -> None:
    """The start of a network may come from the secret after a draw whose length depends on the table."""

    @dataclass(frozen=True)
    class Starts(Leaky):
        def fit(self, table: Table, ledger: Ledger, secret: Secret, progress: Progress = silent) -> Sampler:
            fitted = super().fit(table, ledger, secret, progress)
            secret.uniform(len(table.private))
            fitted.arrays = {"weights": secret.normal((4, 4))}
            return fitted

    neighbour_replay(Starts(), awkward_table("groups of up to 3"))


def test_neighbours_lose_what_they_are_named_for() -> None:
    private = awkward_table(TABLE)
    others = neighbours(private)
    by_part = {part: other for name, other in others.items() for part in name.split(", ")}
    assert {len(other.private) for name, other in others.items() if "removed" in name} == {119, 60}
    assert by_part["the only missing value of 'cost' removed"].private["cost"].notna().all()
    assert "Jena" not in set(by_part["the only holder of a 'city' removed"].private["city"])
    assert by_part["the largest 'age' removed"].private["age"].max() < private.private["age"].max()
    grouped = awkward_table("groups of up to 3")
    removed = next(other for name, other in neighbours(grouped).items() if "a row removed" in name)
    assert len(set(grouped.private["who"]) - set(removed.private["who"])) == 1, "a neighbour lacks a whole unit"


def test_a_neighbour_does_not_remember_a_category() -> None:
    private = awkward_table("undeclared domains")
    other = next(other for name, other in neighbours(private).items() if "the only holder of a 'city'" in name)
    assert "Jena" in private.private["city"].cat.categories
    assert "Jena" not in other.private["city"].cat.categories


# --- the tape -----------------------------------------------------------------------------------------------------


def _count(value: int, why: str = "rows") -> float:
    return noisy_count(lambda: value, sigma=4.0, ledger=Ledger(BUDGET), secret=Secret(), why=why)


def test_answers_come_back_in_order_whatever_the_table_holds() -> None:
    with recording() as tape:
        first = [_count(100), _count(5, "ill")]
    with replaying(tape):
        assert [_count(-7), _count(10**6, "ill")] == first
    assert _count(10**6) > 10**6 - 100, "outside, mechanisms answer for themselves"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["rows"], "did not measure 'ill'"),
        (["ill", "rows"], "measured 'ill' where on the other table it measured 'rows'"),
        (["rows", "ill", "age"], "measured 'age' where on the other table it measured 'nothing'"),
    ],
)
def test_another_course_of_measurements_is_an_error(asked: list[str], message: str) -> None:
    with recording() as tape:
        _count(1, "rows"), _count(1, "ill")
    with pytest.raises(ConformanceError, match=message), replaying(tape):
        _ = [_count(1, why) for why in asked]


def test_an_answer_of_another_shape_is_an_error() -> None:
    def histogram(cells: int) -> np.ndarray:
        zeros = np.zeros(cells, np.int64)
        return noisy_histogram(lambda: zeros, sigma=4.0, ledger=Ledger(BUDGET), secret=Secret(), why="cells")

    with recording() as tape:
        histogram(3)
    with pytest.raises(ConformanceError, match="'cells' has another shape"), replaying(tape):
        histogram(4)


def test_a_tape_keeps_its_own_copy() -> None:
    with recording() as tape:
        answer = noisy_histogram(
            lambda: np.zeros(3, np.int64), sigma=4.0, ledger=Ledger(BUDGET), secret=Secret(), why="cells"
        )
        kept = answer.copy()
        answer += 1
    np.testing.assert_array_equal(tape.answers[0].answer, kept)


def test_repeated_secrets_repeat_call_by_call() -> None:
    with recording() as tape:
        one, two = RepeatedSecret(tape), RepeatedSecret(tape)
    one.uniform(100)
    two.uniform(99)
    np.testing.assert_array_equal(one.normal(5), two.normal(5))
    np.testing.assert_array_equal(one.poisson_sample(100, 0.3), two.poisson_sample(100, 0.3))
    assert not one.fixed_seed
    with recording() as other:
        assert RepeatedSecret(other).uniform() != RepeatedSecret(tape).uniform()


# --- the scan -----------------------------------------------------------------------------------------------------

PRIVATE = read(
    pd.DataFrame(
        {
            "who": [f"patient-{i:03d}" for i in range(60)],
            "name": ["Zebedee Müller"] + ["Ann", "Bob"] * 29 + ["Łukasz"],
            "pay": np.random.default_rng(0).lognormal(8, 1, 60),
            "age": np.random.default_rng(1).integers(18, 99, 60),
        }
    ),
    Schema(
        (
            Column("who", "categorical", roles=("group",)),
            Column("name", "categorical", categories=("Ann", "Bob", "Łukasz", "Zebedee Müller")),
            Column("pay", "float", bounds=(0, 1e6)),
            Column("age", "integer", bounds=(18, 99)),
        )
    ),
)
BARE = replace(PRIVATE, schema=PRIVATE.schema.with_columns(Column("name", "categorical")))
PAY = PRIVATE.private["pay"].to_numpy()


def _scan(folder: Path, *, text: Any = None, table: Table = BARE, name: str = "extra.json", **arrays: Any) -> str:
    """Return what the scan finds in a folder with this JSON file and these arrays."""
    folder.mkdir(exist_ok=True)
    if text is not None:
        content = text if isinstance(text, bytes) else json.dumps(text).encode()
        (folder / name).write_bytes(content)
    if arrays:
        save_file({key: np.ascontiguousarray(array) for key, array in arrays.items()}, folder / "weights.safetensors")
    return "; ".join(scan_model(folder, table))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be", "utf-32-le"])
@pytest.mark.parametrize(("value", "column"), [("Zebedee Müller", "name"), ("patient-017", "who")])
def test_texts_are_found_in_any_encoding(tmp_path: Path, encoding: str, value: str, column: str) -> None:
    found = _scan(tmp_path, text=b"\x00\x01" + value.encode(encoding) + b"\xff", name="blob.safetensors")
    assert f"a value of {column!r} as {encoding}" in found
    assert value not in found


def test_texts_are_found_when_json_escapes_them(tmp_path: Path) -> None:
    assert "a value of 'name' as json" in _scan(tmp_path, text={"seen": ["Zebedee M\u00fcller"]})


def test_declared_categories_are_not_private(tmp_path: Path) -> None:
    assert _scan(tmp_path, text={"seen": ["Zebedee Müller", "Łukasz"]}, table=PRIVATE) == ""


def test_a_lone_category_in_the_schema_is_found(tmp_path: Path) -> None:
    known = {"schema": Schema((Column("name", "categorical", categories=("Ann", "Bob", "Łukasz")),)).to_dict()}
    assert "the categories of 'name' hold one that a single unit has" in _scan(tmp_path, text=known, name="model.json")
    paid = {"schema": Schema((Column("name", "categorical", categories=("Ann", "Bob", "(other)")),)).to_dict()}
    assert _scan(tmp_path, text=paid, name="model.json") == ""


def test_numbers_are_found_in_json_and_declared_ones_are_not(tmp_path: Path) -> None:
    assert "a value of 'pay' as a number" in _scan(tmp_path, text={"bounds": [0, float(PAY.max())]})
    assert _scan(tmp_path, text={"bounds": [0, 1e6, 18, 99, 42]}) == ""


ARRAYS: dict[str, tuple[Any, str]] = {
    "a column": (PAY, "the values of 'pay'"),
    "a column as float32": (PAY.astype(np.float32), "the values of 'pay'"),
    "a sorted copy": (np.sort(PAY)[::-1], "the values of 'pay'"),
    "a shuffled copy": (np.random.default_rng(3).permutation(PAY), "the values of 'pay'"),
    "a part": (PAY[5:25].astype(np.float32), "the values of 'pay'"),
    "a part of a matrix": (np.stack([PAY, np.arange(60.0)], 1).astype(np.float32), "the values of 'pay'"),
    "whole numbers in any order": (np.sort(PRIVATE.private["age"].to_numpy(np.int16)), "the values of 'age'"),
    "row numbers": (np.random.default_rng(0).permutation(60), "numbers the rows"),
    "some row numbers": (np.random.default_rng(0).permutation(60)[:35].astype(np.int32), "numbers the rows"),
}


@pytest.mark.parametrize(("array", "what"), ARRAYS.values(), ids=ARRAYS)
def test_arrays_that_copy_the_table_are_found(tmp_path: Path, array: Any, what: str) -> None:
    assert what in _scan(tmp_path, weights=array)


@pytest.mark.parametrize("seed", range(10))
def test_weights_are_not_accused(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    arrays = {
        "weights": rng.normal(size=(60, 64)).astype(np.float32),
        "large": (rng.lognormal(8, 1, (300, 60))).astype(np.float32),
        "counts": rng.integers(0, 60, 90).astype(np.float64),
        "few": np.arange(5),
        "order": np.arange(60),
        "edges": np.linspace(0, 1e6, 60),
    }
    assert _scan(tmp_path, text={"loss": [0.1, 0.25, 1e-9]}, **arrays) == ""


def test_saved_tokens_and_places_are_found(tmp_path: Path) -> None:
    bootstrap = registry.load(registry.SYNTHESIZERS, "bootstrap")()
    private = awkward_table(TABLE)
    model.fit(bootstrap, private, Ledger(), Secret()).save(tmp_path / "model")
    found = "; ".join(scan_model(tmp_path / "model", private))
    assert "array 'tokens' holds the tokens of 'age'" in found
    assert "array 'offsets' holds the places within bins of 'cost'" in found


def test_files_of_another_kind_and_damaged_ones_are_named(tmp_path: Path) -> None:
    assert "model.pkl: neither JSON nor safetensors" in _scan(tmp_path, text=b"\x80\x04", name="model.pkl")
    assert "extra.json: not readable as JSON" in _scan(tmp_path, text=b"{", name="extra.json")
    assert "w.safetensors: not readable as safetensors" in _scan(tmp_path, text=b"{", name="w.safetensors")


# --- conformance --------------------------------------------------------------------------------------------------


def test_awkward_tables_are_what_they_are_called() -> None:
    tables = {name: awkward_table(name).private for name in awkward_tables()}
    assert tables["all missing"].isna().all(axis=None)
    assert tables["constants"].nunique().tolist() == [1] * 6
    assert len(tables["two rows"]) == 2
    assert awkward_table("2,000 categories").private["city"].cat.categories.size == 2000
    assert not tables["duplicate rows"].drop_duplicates().shape[0] > 1
    assert awkward_table("groups of up to 3").schema.unit.rows == 3
    assert awkward_table("undeclared domains").schema.undeclared()
    assert awkward_table("no target").schema.target is None
    with pytest.raises(InputError, match=r"No awkward table 'odd'. There are: every kind"):
        awkward_table("odd")


def test_a_sealed_table_shows_no_row() -> None:
    table = sealed(awkward_table(TABLE).schema)
    assert table.schema.names == awkward_table(TABLE).schema.names
    with pytest.raises(AssertionError, match="the rows were touched"):
        table.take(np.array([0]))


class Broken(Leaky):
    """A synthesizer that breaks one promise."""


def _fit_of(change: Callable[[Any, Table, Ledger], Any]) -> type[Leaky]:
    """Return a synthesizer that does something to what `independent` returns."""

    @dataclass(frozen=True)
    class Changed(Independent):
        def fit(self, table: Table, ledger: Ledger, secret: Secret, progress: Progress = silent) -> Any:
            return change(Independent.fit(self, table, ledger, secret, progress), table, ledger)

    return Changed


def _sampling(draw: Callable[[Any, int, np.random.Generator], pd.DataFrame]) -> type[Leaky]:
    """Return a synthesizer that draws in another way."""

    class Drawn(IndependentSampler):
        def draw(self, rows: int, rng: np.random.Generator) -> pd.DataFrame:
            return draw(super(), rows, rng)

    def change(fitted: Any, table: Table, ledger: Ledger) -> Any:
        return Drawn(fitted.schema, fitted._distributions)

    changed = _fit_of(change)
    changed.sampler = Drawn
    return changed


def _holds_the_table(fitted: Any, table: Table, ledger: Ledger) -> Any:
    fitted.table = table
    return fitted


class _Silent(Independent):
    """Does not charge: its ledger is a fresh one."""

    def fit(self, table: Table, ledger: Ledger, secret: Secret, progress: Progress = silent) -> Any:
        fitted = Independent.fit(self, table, Ledger(BUDGET), secret, progress)
        ledger.close()
        return fitted


class _Peeks(Independent):
    """Looks at the rows before anything is charged."""

    def fit(self, table: Table, ledger: Ledger, secret: Secret, progress: Progress = silent) -> Any:
        assert len(table.private) > 0
        return Independent.fit(self, table, ledger, secret, progress)


class _Global(Independent):
    """Draws from numpy's global state."""

    def fit(self, table: Table, ledger: Ledger, secret: Secret, progress: Progress = silent) -> Any:
        np.random.random(2000)  # noqa: NPY002
        return Independent.fit(self, table, ledger, secret, progress)


class _Open(Independent):
    """Leaves its ledger open."""

    def fit(self, table: Table, ledger: Ledger, secret: Secret, progress: Progress = silent) -> Any:
        return Independent.fit(self, table, Ledger(ledger.budget), secret, progress)


@dataclass(frozen=True)
class _Odd(Independent):
    """Has a setting that JSON cannot hold."""

    layers: Any = None


@dataclass
class _Loose:
    """Is not frozen."""

    name: ClassVar[str] = "independent"
    sampler: ClassVar[type[Sampler]] = IndependentSampler
    fit = Independent.fit
    bins: int = 32
    discovery: float = 0.3


class _Named(Independent):
    name: ClassVar[str] = "In dependent"


class _Unknown(Independent):
    name: ClassVar[str] = "nobody"


BROKEN: dict[str, tuple[Any, str, str]] = {
    "not frozen": (_Loose(), "settings are a frozen dataclass of plain values", "_Loose is not frozen"),
    "a list": (_Odd(layers=[1]), "settings are a frozen dataclass of plain values", "setting 'layers' is a list"),
    "a name with a space": (_Named(), "the name is registered", "is not a lower-case word"),
    "an unknown name": (_Unknown(), "the name is registered", "No synthesizer 'nobody'. Installed: "),
    "ledger open": (_Open(), "fit and sample", "did not close its ledger"),
    "too few rows": (_sampling(lambda own, n, rng: own.draw(n - 1, rng))(), "fit and sample", "63 rows came"),
    "columns in another order": (
        _sampling(lambda own, n, rng: own.draw(n, rng).iloc[:, ::-1])(),
        "fit and sample",
        "columns are not those of the schema",
    ),
    "outside the domain": (
        _sampling(lambda own, n, rng: own.draw(n, rng).assign(age=-1))(),
        "fit and sample",
        "'age': a value is outside the declared bounds",
    ),
    "of another type": (
        _sampling(lambda own, n, rng: own.draw(n, rng).assign(ill="true"))(),
        "fit and sample",
        'column name="ill"',
    ),
    "always the same": (
        _sampling(lambda own, n, rng: own.draw(n, np.random.default_rng(0)))(),
        "sampling repeats with its rng",
        "another seed gave the same rows",
    ),
    "never the same": (
        _sampling(lambda own, n, rng: own.draw(n, np.random.default_rng()))(),
        "sampling repeats with its rng",
        "DataFrame",
    ),
    "global state": (_Global(), "sampling repeats with its rng", "global random state was used"),
    "the table held": (_fit_of(_holds_the_table)(), "the table is forgotten", "still holds the table"),
    "charges nothing": (_Silent(), "charges come before reads", "the rows were touched"),
    "looks first": (_Peeks(), "a closed ledger is refused", "the rows were touched"),
    "a leak": (Leaky(keep="exact_frequencies"), "neighbour replay", "the saved weights.safetensors differs"),
}


@pytest.mark.parametrize(("broken", "promise", "message"), BROKEN.values(), ids=BROKEN)
def test_every_check_is_tripped(broken: Any, promise: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if broken.name == "independent":
        monkeypatch.setattr(registry, "load", lambda group, name: type(broken))
    named = dict(checks(broken, BUDGET))
    check = named.get(promise) or named[f"{promise}, {TABLE}"]
    with pytest.raises((AssertionError, TableError, ConformanceError), match=message):
        check()


def test_the_suite_names_the_check_that_failed() -> None:
    with pytest.raises(AssertionError, match="the name is registered: AssertionError: No synthesizer 'nobody'"):
        check_synthesizer(_Unknown())


def test_what_is_not_private_must_refuse_a_budget() -> None:
    with pytest.raises(AssertionError, match="any budget is refused before a row is touched"):
        check_synthesizer(Independent(), private_budget=None)
