"""Two numbers or moments of a row where one follows the other: the larger one is modelled by its distance."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ks_2samp

from tabsynth.apart import in_turn, pairs_of
from tabsynth.canonical import to_axis
from tabsynth.constraints import Inequality, OneHot, Sum
from tabsynth.encoding.encoder import Encoder
from tabsynth.errors import InputError, SchemaError
from tabsynth.fitting import make_synthesizer
from tabsynth.graphical.sampling import sample_tokens
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.discovery import discover
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.schema import DAY, Column, Schema
from tabsynth.synthesizers import model
from tabsynth.synthesizers.marginals import Marginals
from tabsynth.table import read
from tabsynth.testing import neighbour_replay

MINUTES = "%Y-%m-%d %H:%M"
FIRST, LAST = (pd.Timestamp(text).timestamp() for text in ("2023-01-01", "2024-12-31T23:59"))
ORDER = Inequality("in", "out")
NOT_PRIVATE = ("trees", "smote", "bootstrap")


def hospital(*, bounds=(FIRST, LAST), nullable=False, rows=5000, cycle=None):
    """The schema of stays, most of them hours, of two years."""
    columns = (
        Column("in", "datetime", format=MINUTES, bounds=bounds, nullable=nullable, cycle=cycle),
        Column("out", "datetime", format=MINUTES, bounds=bounds, nullable=True, cycle=cycle),
        Column("ward", "categorical", categories=("er", "surgery", "care")),
        Column("ill", "boolean", roles=("target",)),
    )
    return Schema(columns, rows=rows, constraints=(ORDER,))


def stays(rows=5000, *, no_in=0.0, no_out=0.06, seed=0):
    """Rows of a hospital: the stay depends on the ward; some are missing, at random."""
    rng = np.random.default_rng(seed)
    ward = rng.choice(["er", "surgery", "care"], rows, p=[0.55, 0.3, 0.15])
    days = rng.integers(0, 725, rows).astype("timedelta64[D]")
    minutes = np.clip(rng.normal(13, 4, rows) * 60, 0, 1439).astype(int).astype("timedelta64[m]")
    start = np.datetime64("2023-01-01T00:00") + days + minutes
    median = np.array([{"er": 0.7, "surgery": 3.5, "care": 5.2}[name] for name in ward])
    stay = np.maximum(np.exp(rng.normal(median, 0.9)) * 60, 1).astype(int).astype("timedelta64[m]")
    end = np.minimum(start + stay, np.datetime64("2024-12-31T23:59"))
    frame = pd.DataFrame({"in": start, "out": end, "ward": ward, "ill": rng.random(rows) < 0.3})
    frame["out"] = frame["out"].where(rng.random(rows) >= no_out)
    frame["in"] = frame["in"].where(rng.random(rows) >= no_in)
    return frame


def hours(frame):
    """How long the stays are of which both ends are known."""
    return ((frame["out"] - frame["in"]).dt.total_seconds() / 3600).dropna()


def fitted(frame, schema, family="marginals", epsilon=None, **settings):
    ledger = Ledger(None if epsilon is None else Budget(epsilon, 1e-5))
    return model.fit(make_synthesizer(family, **settings), read(frame, schema), ledger, Secret.fixed(0))


@pytest.fixture(scope="module")
def hospital_model():
    return fitted(stays(no_in=0.1), hospital(nullable=True, cycle="week"))


def rng(seed=0):
    return np.random.default_rng(seed)


# --- which columns ---------------------------------------------------------------------------------------------------


def numbers(**bounds):
    return tuple(Column(name, "integer", bounds=pair) for name, pair in bounds.items())


def test_the_first_rule_of_a_larger_column_makes_a_pair_and_none_a_circle():
    columns = numbers(a=(0, 9), b=(0, 9), c=(0, 9))
    rules = [Inequality(*pair) for pair in ("bc", "ab", "ac", "ca")]
    assert pairs_of(Schema(columns, constraints=tuple(rules))) == {"c": "b", "b": "a"}
    assert [column.name for column in in_turn(columns[::-1], {"c": "b", "b": "a"})] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("columns", "rules"),
    [
        pytest.param((replace(numbers(b=(0, 9))[0], bins=(0, 5, 10)), *numbers(a=(0, 9))), (), id="bins of its own"),
        pytest.param(numbers(a=(0, 9), b=(0, 9), c=(0, 18)), (Sum(("a", "b"), "c"),), id="a sum"),
        pytest.param(numbers(a=(0, 1), b=(0, 1)), (OneHot(("a", "b")),), id="a group"),
        pytest.param(numbers(a=(0, 9), b=(9, 20)), (), id="bounds that keep the order"),
        pytest.param(numbers(a=(0, 100), b=(95, 110)), (), id="a far wider smaller column"),
    ],
)
def test_where_a_distance_would_not_do_there_is_none(columns, rules):
    assert pairs_of(Schema(columns, constraints=(*rules, Inequality("a", "b")))) == {}


WRONG = {
    "alone": ({"distances": (0, 1)}, "after and distances belong together"),
    "with bins": ({"after": "a", "distances": (0, 1), "bins": (0, 10)}, "without codes and bins"),
    "falling": ({"after": "a", "distances": (1, 0)}, "two increasing edges, all finite, none below 0"),
    "negative": ({"after": "a", "distances": (-1, 0)}, "two increasing edges, all finite, none below 0"),
    "itself": ({"after": "b", "distances": (0, 10)}, "after must name another modelled column, in no circle"),
    "unknown": ({"after": "z", "distances": (0, 10)}, "after must name another modelled column, in no circle"),
    "another sort": ({"after": "t", "distances": (0, 10)}, "there is no distance from column 't'"),
}


@pytest.mark.parametrize(("facts", "message"), [pytest.param(*case, id=name) for name, case in WRONG.items()])
def test_distances_that_cannot_be_are_refused(facts, message):
    with pytest.raises(SchemaError, match=message):
        Schema((*numbers(a=(0, 9)), Column("t", "datetime"), Column("b", "integer", bounds=(0, 9), **facts)))


# --- tokens and back -------------------------------------------------------------------------------------------------


def chained(kind, rows=3000):
    """Three columns of a kind, each after the one before, a tenth missing; and the schema."""
    source = rng(1)
    first = source.integers(0, 5000, rows)
    axes = np.cumsum([first, source.poisson(30, rows), source.geometric(0.3, rows) - 1], axis=0).T
    frame = pd.DataFrame(axes, columns=list("abc"))
    facts = {}
    if kind == "datetime":
        frame, facts = frame.apply(lambda x: pd.Timestamp("2024-01-01") + pd.to_timedelta(x, unit="min")), {
            "format": MINUTES, "timezone": "Europe/Berlin", "cycle": "week"}  # fmt: skip
    if kind == "duration":
        frame, facts = frame.apply(lambda x: pd.to_timedelta(6 * x, unit="min")), {"unit": "h", "decimals": 1}
    if kind == "float":
        frame = frame / 7
    frame = frame.mask(source.random(frame.shape) < 0.1)
    columns = tuple(Column(name, kind, nullable=None, **facts) for name in "abc")
    return frame, Schema(columns, constraints=(Inequality("a", "b"), Inequality("b", "c")))


@pytest.mark.parametrize("kind", ["integer", "float", "duration", "datetime"])
def test_a_chain_goes_into_tokens_and_back_and_any_tokens_are_rows(kind):
    frame, schema = chained(kind)
    table = read(frame, schema)
    known = discover(table, Ledger(), Secret.fixed(0)).schema
    assert [known[name].after for name in "abc"] == [None, "a", "b"]
    encoder = Encoder(known)
    rows = encoder.encode(table.private)
    again = encoder.decode(rows.tokens, rng(), rows.offsets)
    np.testing.assert_array_equal(encoder.tokens(table.private), rows.tokens)
    for name in "abc":
        here, there = to_axis(table.private[name], known[name]), to_axis(again[name], known[name])
        np.testing.assert_allclose(here, there, rtol=0, atol=known[name].step or 1e-3)
    tokens = rng().integers(0, encoder.sizes, (20_000, 3)).astype(np.int32)
    anything = encoder.decode(tokens, rng())
    assert not any(broken.any() for _, broken in known.broken(anything))
    for name in "abc":
        axis, (low, high) = to_axis(anything[name], known[name]), known[name].bounds
        assert np.nanmin(axis) >= low
        assert np.nanmax(axis) <= high
        assert np.array_equal(np.isnan(axis), tokens[:, encoder.names.index(name)] == encoder.codecs[0].values) or (
            name != "a"
        )


@pytest.mark.parametrize(("first", "second"), [("%Y-%m-%d", MINUTES), (MINUTES, "%Y-%m-%d")])
@pytest.mark.parametrize("strict", [False, True])
def test_moments_of_different_precision_stay_on_their_own_grids(first, second, strict):
    source = rng(2)
    start = pd.Timestamp("2024-01-01") + pd.to_timedelta(source.integers(0, 100_000, 2000), unit="min")
    end = start + pd.to_timedelta(source.integers(1, 9000, 2000), unit="min")
    days = {"in": pd.Series(start).dt.floor("D") if first != MINUTES else start}
    days["out"] = (pd.Series(end).dt.ceil("D") if second != MINUTES else end) + pd.Timedelta(days=int(strict))
    columns = (Column("in", "datetime", format=first), Column("out", "datetime", format=second))
    schema = Schema(columns, constraints=(Inequality("in", "out", strict=strict),))
    fit = fitted(pd.DataFrame(days), schema, "independent")
    rows = fit.sampler.draw(5000, rng())
    assert not any(broken.any() for _, broken in schema.broken(rows))
    day = rows["in" if first != MINUTES else "out"]
    assert (day == day.dt.normalize()).all()
    assert Encoder(fit.schema).distances["out"].edges[0] >= 60.0 * strict


# --- what models keep ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("epsilon", "most"), [(None, 0.05), (3.0, 0.1)])
@pytest.mark.parametrize("bounds", [(FIRST, LAST), None])
def test_how_far_apart_moments_are_is_kept(epsilon, most, bounds):
    frame = stays()
    fit = fitted(frame, hospital(bounds=bounds), epsilon=epsilon)
    rows = fit.sample(20_000, rng())
    assert ks_2samp(hours(rows), hours(frame)).statistic < most
    assert rows["out"].isna().mean() == pytest.approx(frame["out"].isna().mean(), abs=0.01)
    assert rows.attrs["acceptance"] > 0.99
    low, high = fit.schema["out"].bounds
    assert to_axis(rows["out"].dropna(), fit.schema["out"]).min() >= low
    assert to_axis(rows["out"].dropna(), fit.schema["out"]).max() <= high
    wards = [hours(rows[rows["ward"] == ward]).median() for ward in ("er", "surgery", "care")]
    assert wards[0] < wards[1] < wards[2]
    pd.testing.assert_frame_equal(rows, fit.sample(20_000, rng()))


@pytest.mark.parametrize("family", ["marginals", "independent", "copula"])
@pytest.mark.parametrize("epsilon", [None, 3.0])
def test_missing_values_of_the_smaller_column_do_not_blur_distances(family, epsilon):
    frame = stays(no_in=0.1)
    fit = fitted(frame, hospital(nullable=True), family, epsilon)
    rows = fit.sample(20_000, rng())
    assert ks_2samp(hours(rows), hours(frame)).statistic < 0.1
    assert hours(rows).mean() == pytest.approx(hours(frame).mean(), rel=0.5)
    for name in ("in", "out"):
        assert rows[name].isna().mean() == pytest.approx(frame[name].isna().mean(), abs=0.02)
    assert rows.attrs["acceptance"] > 0.99
    alone = rows["out"][rows["in"].isna()].dropna().astype("int64")
    real = frame["out"][frame["in"].isna()].dropna().astype("datetime64[s]").astype("int64")
    assert ks_2samp(alone, real).statistic < 0.15


def test_marginals_never_put_a_distance_beside_a_missing_value(hospital_model):
    sampler, encoder = hospital_model.sampler, Encoder(hospital_model.schema)
    tokens = sample_tokens(sampler._chain, sampler._within, 20_000, rng())
    low, high = tokens[:, 0], tokens[:, 1]
    absent, far = low == encoder.codecs[0].values, encoder.distances["out"]
    assert absent.any()
    assert not (absent & (high >= far.alone) & (high < encoder.codecs[1].values)).any()
    assert not (~absent & (high < far.alone)).any()


@pytest.mark.parametrize("family", NOT_PRIVATE)
def test_families_that_keep_rows_keep_their_distances(family):
    frame = stays(1500, no_in=0.05)
    fit = fitted(frame, hospital(nullable=True, cycle="week"), family)
    rows = fit.sampler.draw(5000, rng())
    assert not any(broken.any() for _, broken in fit.schema.broken(rows))
    assert ks_2samp(hours(rows), hours(frame)).statistic < 0.1
    if family == "bootstrap":
        kept = set(map(tuple, frame[["in", "out"]].astype(str).to_numpy()))
        assert set(map(tuple, rows[["in", "out"]].astype(str).to_numpy())) <= kept


def test_the_hours_of_the_larger_moment_are_kept_where_its_cycle_is_declared():
    frame = stays()
    late = frame["in"].dt.normalize() + pd.to_timedelta(rng().integers(2, 300, len(frame)) * 24 + 11, unit="h")
    frame["out"] = late.where((late.dt.year < 2025) & (late > frame["in"]))
    share = {
        cycle: (fitted(frame, hospital(cycle=cycle)).sample(5000, rng())["out"].dropna().dt.hour == 11).mean()
        for cycle in (None, "day")
    }
    assert share[None] < 0.3
    assert share["day"] > 0.8


@pytest.mark.parametrize("family", ["marginals", "independent"])
def test_numbers_that_are_always_equal_stay_so_by_an_inequality_each_way(family):
    values = rng().integers(0, 1000, 500)
    columns = numbers(a=(0, 999), b=(0, 999))
    rules = (Inequality("a", "b"), Inequality("b", "a"))
    frame = pd.DataFrame({"a": values, "b": values})
    for epsilon in (None, 1.0):
        rows = fitted(frame, Schema(columns, rows=500, constraints=rules), family, epsilon).sample(500, rng())
        assert (rows["a"] == rows["b"]).all()
        assert rows["a"].nunique() > 100
    assert (fitted(frame, Schema(columns), family).sample(500, rng()).diff(axis=1)["b"] != 0).mean() > 0.5


def test_a_model_without_such_a_rule_is_as_it_was():
    schema = replace(hospital(), constraints=())
    known = fitted(stays(), schema, "independent").schema
    assert known["out"].bins is not None
    assert (known["out"].after, known["out"].distances) == (None, None)


# --- privacy ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bounds", [(FIRST, LAST), None])
def test_distances_are_charged_in_place_of_values(bounds):
    charges = []
    for constraints in ((), (ORDER,)):
        ledger = Ledger(Budget(3.0, 1e-5))
        schema = replace(hospital(bounds=bounds, nullable=None), constraints=constraints)
        discover(read(stays(500), schema), ledger, Secret.fixed(0))
        charges.append([charge.why for charge in ledger.charges])
    assert sorted(charges[0]) == sorted(charges[1])


@pytest.mark.parametrize("bounds", [(FIRST, LAST), None])
def test_neighbours_are_told_apart_by_answers_alone(bounds):
    table = read(stays(300, no_in=0.05, no_out=0.05), hospital(bounds=bounds, nullable=None, rows=None))
    neighbour_replay(Marginals(pairs=2, rounds=1, steps=20, iterations=40), table)


# --- conditions and partial rows -------------------------------------------------------------------------------------


def test_a_condition_on_the_smaller_moment_costs_nothing(hospital_model):
    rows = hospital_model.sample(2000, rng(), {"in": "2023-06-05T10:30"})
    assert rows.attrs["acceptance"] > 0.99
    assert (rows["in"] == pd.Timestamp("2023-06-05T10:30")).all()
    assert ks_2samp(hours(rows), hours(stays())).statistic < 0.1


def test_conditions_on_both_moments_follow_the_distance(hospital_model):
    given = {"in": "2023-06-05T10:30", "out": ("2023-06-05T12:00", "2023-06-08T12:00")}
    rows = hospital_model.sample(3000, rng(), given)
    assert rows.attrs["acceptance"] > 0.5
    every = hours(hospital_model.sample(100_000, rng(1), {"in": "2023-06-05T10:30"}))
    assert ks_2samp(hours(rows), every[(every >= 1.5) & (every <= 73.5)]).statistic < 0.05


def test_a_condition_on_the_larger_moment_is_met_by_drawing_again(hospital_model):
    rows = hospital_model.sample(2000, rng(), {"out": ("2023-06-05", "2023-07-05")})
    every = hospital_model.sample(100_000, rng(1))
    every = every[every["out"].between("2023-06-05", "2023-07-05")]
    assert rows["out"].between("2023-06-05", "2023-07-05").all()
    assert ks_2samp(hours(rows), hours(every)).statistic < 0.05
    assert rows["in"].isna().mean() == pytest.approx(every["in"].isna().mean(), abs=0.03)
    assert hospital_model.sample(100, rng(), {"out": None}).attrs["acceptance"] == 1.0
    with pytest.raises(InputError, match="probability 0"):
        hospital_model.sample(5, rng(), {"out": "2030-01-01"})


@pytest.mark.parametrize("columns", [("in",), ("out",), ("in", "out"), ("out", "ward")])
def test_partial_rows_keep_the_distance(hospital_model, columns):
    known = stays(400).dropna().reset_index(drop=True)[list(columns)]
    rows = hospital_model.sample(None, rng(), known)
    for name in columns:
        assert (rows[name].astype(str) == known[name].astype(str)).all()
    assert not any(broken.any() for _, broken in hospital_model.schema.broken(rows))
    assert ks_2samp(hours(rows), hours(stays())).statistic < 0.12
    if "in" in columns:
        assert rows.attrs["acceptance"] > 0.9


@pytest.mark.parametrize("family", ["marginals", "independent"])
@pytest.mark.parametrize("known", ["a", "b", "c", "ac"])
def test_partial_rows_of_a_chain(family, known):
    frame, schema = chained("integer")
    fit = fitted(frame, schema, family)
    given = frame.dropna().iloc[:200].reset_index(drop=True)[list(known)]
    rows = fit.sample(None, rng(), given)
    for name in known:
        assert (rows[name] == given[name]).all()
    assert not any(broken.any() for _, broken in fit.schema.broken(rows))
    if known != "ac":
        assert (rows["b"] - rows["a"]).median() == pytest.approx((frame["b"] - frame["a"]).median(), abs=4)


def test_gaps_are_filled_and_likelihoods_are_of_cells(hospital_model):
    frame = stays(300, no_in=0.1, seed=3)
    filled = hospital_model.impute(frame, rng())
    assert not filled.isna().any(axis=None)
    assert (filled["out"] >= filled["in"]).all()
    assert ks_2samp(hours(filled), hours(frame)).statistic < 0.1
    logs = hospital_model.log_likelihood(frame)
    assert np.isfinite(logs).all()
    assert (logs < 0).all()
    turned = frame.dropna().rename(columns={"in": "out", "out": "in"})
    assert np.isneginf(hospital_model.log_likelihood(turned)).all()
    proba = hospital_model.predict_proba(frame.drop(columns="ill"), "ill")
    assert proba.sum(axis=1).to_numpy() == pytest.approx(1.0)


def test_likelihoods_of_a_small_domain_sum_to_one():
    source = rng(4)
    low = source.integers(0, 4, 500)
    frame = pd.DataFrame({"a": low, "b": low + source.integers(0, 3, 500), "c": source.random(500) < 0.5})
    columns = (*numbers(a=(0, 3), b=(0, 6)), Column("c", "boolean"))
    fit = fitted(frame, Schema(columns, constraints=(Inequality("a", "b"),)))
    every = [(a, b, c) for a in range(4) for b in range(7) for c in (False, True)]
    logs = fit.log_likelihood(pd.DataFrame(every, columns=["a", "b", "c"]))
    assert np.exp(logs).sum() == pytest.approx(1.0, abs=1e-3)


def test_a_saved_model_draws_the_same_rows(hospital_model, tmp_path):
    hospital_model.save(tmp_path / "model")
    again = model.load(tmp_path / "model")
    assert again.schema == hospital_model.schema
    assert Schema.from_dict(again.schema.to_dict()) == again.schema
    pd.testing.assert_frame_equal(again.sample(500, rng()), hospital_model.sample(500, rng()))


def test_distances_may_be_declared():
    schema = hospital()
    edges = (0.0, 3600.0, 6 * 3600.0, DAY, LAST - FIRST + 60)
    declared = schema.with_columns(replace(schema["out"], after="in", distances=edges))
    ledger = Ledger(Budget(3.0, 1e-5))
    known = discover(read(stays(500), declared), ledger, Secret.fixed(0)).schema
    assert known["out"].distances == edges
    assert not any("'out'" in charge.why for charge in ledger.charges)
