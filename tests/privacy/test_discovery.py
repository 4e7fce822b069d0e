"""Discovery: with money it finds what is there, nothing of a single unit shows, and it pays before it looks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tabsynth.encoding.encoder import Encoder
from tabsynth.errors import BudgetExceeded, ConformanceError, SchemaError
from tabsynth.privacy import discovery
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.discovery import Discovery, discover
from tabsynth.privacy.events import DiscreteGaussianDpEvent
from tabsynth.privacy.ledger import DISCOVERY_DELTA_SHARE, Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.privacy.replay import RepeatedSecret, recording, replaying
from tabsynth.schema import DAY, OTHER, Column, Schema
from tabsynth.table import Table, read

RICH = Budget(100.0, 1e-3)
POOR = Budget(0.5, 1e-6)


def _table(rows: int = 3000, seed: int = 0) -> Table:
    """Return a table without one declared domain."""
    rng = np.random.default_rng(seed)
    money = np.where(rng.random(rows) < 0.5, 0.0, rng.lognormal(5, 1, rows).round(2).clip(0.01, 5000))
    money[rng.random(rows) < 0.1] = np.nan
    frame = {
        "city": rng.choice(["Ulm", "Bonn", "Köln"], rows, p=[0.5, 0.3, 0.2]),
        "ill": rng.random(rows) < 0.2,
        "age": rng.integers(18, 95, rows),
        "money": money,
        "day": pd.Timestamp("2019-03-01") + pd.to_timedelta(rng.integers(0, 500, rows), unit="D"),
    }
    kinds = {"city": "categorical", "ill": "boolean", "age": "integer", "money": "float", "day": "datetime"}
    columns = (Column(name, kind, nullable=None) for name, kind in kinds.items())
    return read(pd.DataFrame(frame), Schema(tuple(columns)))


def _discover(
    table: Table, budget: Budget | None, share: float = 1.0, secret: Secret | None = None, **settings: Any
) -> tuple[Discovery, Ledger]:
    ledger = Ledger(budget)
    return discover(table, ledger, secret or Secret(), share=share, **settings), ledger


def test_with_money_it_finds_what_is_there() -> None:
    table = _table()
    known, ledger = _discover(table, RICH)
    schema = known.schema
    assert schema.undeclared() == ()
    assert schema["city"].categories == ("Bonn", "Köln", "Ulm", OTHER)
    assert known.rows == pytest.approx(3000, abs=30)
    assert known.units == known.rows
    assert schema.rows == round(known.rows)
    assert schema["money"].decimals == 2
    seeded, _ = _discover(table, RICH, secret=Secret.fixed(0))  # one fit of six has bounds a likely cell further
    for name in ("age", "money", "day"):
        _check_bounds(table, seeded.schema[name])
    assert ledger.spent.epsilon <= RICH.epsilon
    assert schema["age"].nullable, "whether a value is missing is left to the marginals, not read for free"
    Encoder(schema).encode(table.private)


def _check_bounds(table: Table, column: Column) -> None:
    """The bounds hold the values, and are the nearest of their public grid: powers of two, or calendar years."""
    values = table.private[column.name].dropna()
    axis = values.astype("int64") if column.kind == "datetime" else values.astype("float64")
    low, high = column.bounds
    assert low <= axis.min()
    assert high >= axis.max()
    if column.kind == "datetime":
        assert axis.min() - low < discovery.YEAR
        assert high - axis.max() < discovery.YEAR
        assert low % DAY == 0
    else:
        assert high < max(2 * axis.max(), 1) + 1
        assert low >= min(0, 2 * axis.min())


def test_without_a_budget_it_is_exact() -> None:
    table = _table()
    known, ledger = _discover(table, None)
    assert known.rows == 3000
    assert known.schema["city"].categories == ("Bonn", "Köln", "Ulm"), "nothing was cut off, so there is no rest"
    assert known.schema["age"].bounds == (table.private["age"].min(), table.private["age"].max())
    days = table.private["day"].astype("int64")
    assert known.schema["day"].bounds == (days.min(), days.max())
    assert ledger.charges
    assert not ledger.private


def test_declared_facts_are_kept_and_cost_nothing() -> None:
    declared = Schema(
        (
            Column("city", "categorical", categories=("Ulm", "Bonn", "Köln", "Trier"), nullable=False),
            Column("ill", "boolean"),
            Column("age", "integer", bounds=(0, 120), bins=(0, 40, 121)),
            Column("money", "float", bounds=(0, 9000), bins=(0, 1, 9001), nullable=True),
            Column("day", "datetime", bounds=(0, 2e9), bins=(0, 1.6e9, 2.1e9)),
        ),
        rows=3000,
    )
    table = replace(_table(), schema=declared)
    known, ledger = _discover(table, POOR)
    assert known.schema == declared
    assert ledger.charges == ()


def test_bounds_that_are_declared_leave_bins_to_pay_for() -> None:
    schema = Schema((Column("age", "integer", bounds=(0, 127)),), rows=3000)
    table = Table(schema, _table().private[["age"]])
    known, ledger = _discover(table, RICH, bins=8)
    assert {charge.why for charge in ledger.charges} <= {f"{part} of 'age'" for part in ("grid", "split", "anchors")}
    bins = np.asarray(known.schema["age"].bins)
    shares = np.histogram(table.private["age"].to_numpy(float), bins)[0] / 3000
    assert (bins[0], bins[-1]) == (0, 128)
    assert 7 <= len(shares) <= 10 + 4  # of both tails, far from 0 and from 127
    assert shares.max() < 0.2


def test_a_lone_category_never_shows_and_a_common_one_does() -> None:
    """The exact threshold is tested with the mechanism; here that discovery uses it, and names the rest."""
    frame = pd.DataFrame({"city": ["Ulm"] * 3000 + [f"only {i}" for i in range(200)]})
    table = read(frame, Schema((Column("city", "categorical", nullable=False),)))
    for _ in range(20):
        known, _ = _discover(table, Budget(1.0, 1e-5), share=0.2)
        assert known.schema["city"].categories == ("Ulm", OTHER)
    tokens = Encoder(known.schema).encode(table.private).tokens
    assert np.bincount(tokens[:, 0])[1] == 200, "what is not named belongs to the rest"


def test_the_deltas_of_categories_add_up_to_their_share() -> None:
    columns = tuple(Column(f"c{i}", "categorical") for i in range(3))
    table = read(pd.DataFrame({column.name: ["a", "b"] * 500 for column in columns}), Schema(columns))
    _, ledger = _discover(table, Budget(2.0, 1e-5), share=0.5)
    assert sum(charge.delta for charge in ledger.charges) == pytest.approx(DISCOVERY_DELTA_SHARE * 1e-5)


# --- paying before looking ----------------------------------------------------------------------------------------


class _Watched(Table):
    """A table that notes how many charges had been made whenever its rows were read."""

    def __init__(self, table: Table, ledger: Ledger) -> None:
        object.__setattr__(self, "schema", table.schema)
        self.__dict__.update(frame=table.private, ledger=ledger, reads=[])

    @property
    def private(self) -> pd.DataFrame:
        self.reads.append(len(self.ledger.charges))
        return self.frame


def test_an_exhausted_budget_is_refused_before_a_row_is_touched() -> None:
    probe, ledger = Ledger(POOR), Ledger(POOR)
    ledger.charge(DiscreteGaussianDpEvent(probe.spend_rest(DiscreteGaussianDpEvent, why="probe")), why="earlier")
    table = _Watched(_table(50), ledger)
    with pytest.raises(BudgetExceeded):
        discover(table, ledger, Secret(), share=0.5)
    assert table.reads == []
    assert len(ledger.charges) == 1


def test_discovery_stays_within_its_share() -> None:
    for share in (0.1, 0.3, 1.0):
        _, ledger = _discover(_table(), Budget(5.0, 1e-5), share=share)
        whole = Ledger(Budget(5.0, 1e-5))
        squares = sum((c.event.sensitivity / c.event.sigma) ** 2 for c in ledger.charges)
        assert 0.5 * share < squares * whole.sigma(1.0) ** 2 <= share * (1 + 1e-9)


def test_on_any_other_table_the_same_answers_give_the_same_discovery() -> None:
    with recording() as tape:
        first = discover(_table(3000, seed=0), Ledger(RICH), RepeatedSecret(tape), share=1.0)
    for other in (_table(3000, seed=1), _table(40, seed=2)):
        with replaying(tape):
            again = discover(other, Ledger(RICH), RepeatedSecret(tape), share=1.0)
        assert (again.schema, again.rows, again.units) == (first.schema, first.rows, first.units)


# --- awkward columns ----------------------------------------------------------------------------------------------


def _one(values: Any, kind: str, budget: Budget | None = RICH, secret: Secret | None = None, **facts: Any) -> Column:
    schema = Schema((Column("a", kind, nullable=None, **facts),))
    known, _ = _discover(read(pd.DataFrame({"a": values}), schema), budget, secret=secret)
    return known.schema["a"]


@pytest.mark.parametrize("kind", ["integer", "float", "datetime"])
def test_a_column_without_one_value_says_that_its_bounds_are_lost(kind: str) -> None:
    with pytest.raises(SchemaError, match="'a': its bounds are lost in the noise at this budget; declare them"):
        _one([None] * 500, kind)


@pytest.mark.parametrize("kind", ["integer", "float", "datetime"])
def test_a_column_without_one_value_and_no_budget_is_missing_for_good(kind: str) -> None:
    column = _one([None] * 50, kind, None)
    assert column.bounds == (0.0, 0.0)
    frame = read(pd.DataFrame({"a": [None] * 50}), Schema((column,))).private
    encoder = Encoder(Schema((column,)))
    assert encoder.decode(encoder.encode(frame).tokens, np.random.default_rng(0))["a"].isna().all()


@pytest.mark.parametrize("budget", [RICH, None], ids=["private", "not private"])
def test_a_value_with_the_name_of_the_rest_is_among_the_rest(budget: Budget | None) -> None:
    found = _one([OTHER, "a"] * 300, "categorical", budget)
    assert found.categories == ("a", OTHER)


@pytest.mark.parametrize("budget", [RICH, None], ids=["private", "not private"])
def test_all_missing_categories_are_the_rest_alone(budget: Budget | None) -> None:
    assert _one([None] * 500, "categorical", budget).categories == (OTHER,)


@pytest.mark.parametrize("budget", [RICH, None], ids=["private", "not private"])
@pytest.mark.parametrize(
    ("value", "kind", "facts"),
    [
        (7, "integer", {}),
        (0, "integer", {}),
        (-300, "integer", {}),
        (0.25, "float", {}),
        (0.0, "float", {}),
        (-1e6, "float", {}),
        (5, "integer", {"bounds": (5, 5)}),
        (2.5, "float", {"bounds": (2.5, 2.5)}),
        ("2020-02-29", "datetime", {}),
    ],
)
def test_a_constant_column_comes_out_as_it_is(value: Any, kind: str, facts: Any, budget: Budget | None) -> None:
    column = _one([value] * 800, kind, budget, **facts)
    series = read(pd.DataFrame({"a": [value] * 800}), Schema((column,))).private
    encoder = Encoder(Schema((column,)))
    tokens = encoder.encode(series).tokens
    assert len(np.unique(tokens)) == 1
    back = encoder.decode(tokens, np.random.default_rng(0))["a"]
    width = max(np.diff(column.bins).min(), 1e-9)
    if kind == "datetime":
        assert (abs(back - pd.Timestamp(value)) <= pd.Timedelta(seconds=width)).all()
    else:
        assert np.abs(back.astype(float) - value).max() <= width


def test_heavy_tails_and_spikes_are_found_under_a_budget() -> None:
    rng = np.random.default_rng(0)
    gain = np.where(rng.random(20_000) < 0.9, 0.0, rng.lognormal(8, 1.5, 20_000).clip(1, 99_000)).round()
    column = _one(gain, "integer", Budget(3.0, 1e-5))
    shares = np.histogram(gain, column.bins)[0] / 20_000
    assert {0.0, 1.0} <= set(column.bins), "the spike at zero stands alone"
    assert (shares[1:] > 0.002).sum() >= 6, "and the tail is not one bin"


@pytest.mark.parametrize(
    ("decimals", "found"), [(0, 0), (1, 1), (3, 3), (None, None)], ids=["whole", "tenths", "thousandths", "many"]
)
def test_decimals_are_told_from_the_values(decimals: int | None, found: int | None) -> None:
    values = np.random.default_rng(0).uniform(0, 100, 2000)
    assert _one(values if decimals is None else values.round(decimals), "float").decimals == found


def test_one_odd_value_changes_neither_bounds_nor_decimals() -> None:
    values = np.random.default_rng(0).uniform(0, 100, 5000).round(1)
    column = _one([*values, 4_000_000.123456], "float", Budget(3.0, 1e-5), Secret.fixed(0))
    assert column.bounds[0] <= 1  # few values lie below 1, and noise may hide them
    assert column.bounds[1] == 128.0
    assert column.decimals == 1


def test_values_spread_over_cells_that_are_noise_one_by_one_are_within_the_bounds() -> None:
    """Half of a column is 0, the other half spread over decades: it was all moved to 0, or a fifth of it to a bound."""
    edges = discovery._coarse_edges(Column("a", "float"))
    rng = np.random.default_rng(0)
    values = np.where(rng.random(5000) < 0.5, 0.0, rng.lognormal(4, 1.3, 5000))
    counts = np.histogram(values, edges)[0]
    found = [discovery._reach(counts / 100 + rng.normal(size=len(counts)), edges) for _ in range(200)]
    beyond = [float((values > edges[last + 1]).mean()) for _, last in found]
    assert sum(edges[first] == 0 for first, _ in found) >= 198
    assert np.quantile(beyond, 0.95) < 0.2
    assert np.median(beyond) < 0.07


def test_noise_alone_has_no_bounds() -> None:
    edges = discovery._coarse_edges(Column("a", "float"))
    rng = np.random.default_rng(0)
    found = [discovery._reach(rng.normal(size=len(edges) - 1), edges) for _ in range(3000)]
    assert sum(last >= first for first, last in found) <= 6


def test_datetime_bounds_at_the_ends_of_the_grid() -> None:
    column = _one(["1899-01-01", "2105-06-01"] * 400, "datetime")
    assert column.bounds[0] <= -70 * discovery.YEAR + DAY
    assert column.bounds[1] >= 129 * discovery.YEAR, "later and earlier days count to the outermost years"


# --- units --------------------------------------------------------------------------------------------------------


def _grouped(rows_per_unit: int, held: int = 3, people: int = 800) -> Table:
    schema = Schema(
        (Column("who", "categorical", roles=("group",)), Column("age", "integer"), Column("city", "categorical")),
        rows_per_unit=rows_per_unit,
    )
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "who": np.repeat([f"p{i}" for i in range(people)], held),
            "age": rng.integers(0, 64, people * held),
            "city": rng.choice(["Ulm", "Bonn"], people * held),
        }
    )
    return read(frame, schema)


def test_units_are_counted_beside_rows_and_noise_grows_with_their_rows() -> None:
    known, ledger = _discover(_grouped(3), RICH)
    assert known.units == pytest.approx(800, abs=40)
    assert known.rows == pytest.approx(2400, abs=120)
    sensitivities = {charge.why: charge.event.sensitivity for charge in ledger.charges}
    assert sensitivities.pop("number of privacy units") == 1
    assert set(sensitivities.values()) == {3}
    assert "who" not in " ".join(sensitivities)


def test_a_unit_above_its_bound_is_refused_before_anything_is_charged() -> None:
    ledger = Ledger(RICH)
    with pytest.raises(ConformanceError, match="more rows than rows_per_unit"):
        discover(_grouped(2), ledger, Secret())
    assert ledger.charges == ()


def test_declared_rows_are_those_before_units_were_cut_so_what_is_left_is_measured() -> None:
    table = _grouped(3)
    known, ledger = _discover(replace(table, schema=replace(table.schema, rows=9000)), RICH)
    assert known.schema.rows == 9000
    assert known.rows == pytest.approx(2400, abs=120)
    assert known.units == pytest.approx(800, abs=40)
    assert {"row count", "number of privacy units"} <= {charge.why for charge in ledger.charges}


@pytest.mark.parametrize("kind", ["integer", "float"])
def test_without_a_budget_few_values_are_told_apart_and_many_are_not(kind: str) -> None:
    rng = np.random.default_rng(0)
    amounts = np.round(np.array([0, 3, 4, 5, 594, 2174, 15024, 99999]) * (1 if kind == "integer" else 0.37), 2)
    few = read(pd.DataFrame({"gain": rng.choice(amounts, 2000)}), Schema((Column("gain", kind),)))
    known, _ = _discover(few, None, bins=16)
    encoder = Encoder(known.schema)
    back = encoder.decode(encoder.encode(few.private).tokens, rng)
    assert set(back["gain"]) == set(few.private["gain"])
    many = read(pd.DataFrame({"gain": rng.integers(0, 10**6, 2000)}), Schema((Column("gain", "integer"),)))
    assert len(_discover(many, None, bins=16)[0].schema["gain"].bins or ()) <= 18


def test_values_one_step_apart_are_no_values_that_lie_apart() -> None:
    """A tenth is no float: the end of one value and the beginning of the next must be the same number all the same."""
    rng = np.random.default_rng(0)
    column = Column("rate", "float", bounds=(0.0, 9.9), decimals=1)
    dense = read(pd.DataFrame({"rate": rng.integers(0, 100, 5000) / 10}), Schema((column,)))
    known, _ = _discover(dense, None, bins=256)
    assert min(np.diff(known.schema["rate"].bins or ())) > 0.09
    apart = read(pd.DataFrame({"rate": rng.choice([0.1, 0.3, 0.7, 2.3, 9.9], 500)}), Schema((column,)))
    known, _ = _discover(apart, None, bins=256)
    np.testing.assert_allclose(known.schema["rate"].bins, [0, 0.1, 0.2, 0.3, 0.4, 0.7, 0.8, 2.3, 2.4, 9.9, 10])


def test_two_real_numbers_without_a_short_name_come_back_as_they_were() -> None:
    values = [-0.044641636506989144, 0.05068011873981862]
    table = read(
        pd.DataFrame({"share": np.random.default_rng(0).choice(values, 500)}), Schema((Column("share", "float"),))
    )
    known, _ = _discover(table, None, bins=64)
    encoder = Encoder(known.schema)
    back = encoder.decode(encoder.encode(table.private).tokens, np.random.default_rng(0))
    assert set(back["share"]) == set(values)


def test_any_real_numbers_that_lie_apart_come_back_as_they_were() -> None:
    rng = np.random.default_rng(0)
    column = Column("share", "float", bounds=(0.0, 4.25))
    table = read(pd.DataFrame({"share": rng.choice([0.0, 0.123456789, 1.5, 4.25], 500)}), Schema((column,)))
    known, _ = _discover(table, None, bins=16)
    encoder = Encoder(known.schema)
    back = encoder.decode(encoder.encode(table.private).tokens, rng)
    np.testing.assert_allclose(back["share"], table.private["share"], rtol=1e-12)
