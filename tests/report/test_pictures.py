"""The numbers behind the pictures, against slow and obvious versions."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabsynth.metrics.estimate import Estimate
from tabsynth.report import drawing
from tabsynth.report.associations import BINS, associations, cramers_v
from tabsynth.report.distributions import distribution
from tabsynth.schema import Column, Schema


def shares(found):
    parts = [*found["levels"], *found["bins"], found["missing"] or {"real": 0.0, "synthetic": 0.0}]
    return [sum(part[side] for part in parts) for side in ("real", "synthetic")]


COLUMNS = {
    "few levels": (Column("x", "categorical", nullable=True), lambda rng, n: rng.choice(["a", "b", None], n)),
    "many levels": (Column("x", "categorical"), lambda rng, n: rng.integers(0, 50, n).astype(str)),
    "declared": (Column("x", "categorical", categories=("a", "b", "c")), lambda rng, n: rng.choice(["a", "b"], n)),
    "boolean": (Column("x", "boolean"), lambda rng, n: rng.random(n) < 0.3),
    "integer": (Column("x", "integer"), lambda rng, n: rng.integers(-5, 500, n)),
    "few integers": (Column("x", "integer"), lambda rng, n: rng.integers(0, 3, n)),
    "spike": (Column("x", "float"), lambda rng, n: np.where(rng.random(n) < 0.6, 0.0, rng.lognormal(0, 2, n))),
    "constant": (Column("x", "float"), lambda rng, n: np.full(n, 2.5)),
    "missing": (Column("x", "float", nullable=True), lambda rng, n: np.where(rng.random(n) < 0.4, np.nan, 1.0)),
    "all missing": (Column("x", "float", nullable=True), lambda rng, n: np.full(n, np.nan)),
    "cents": (Column("x", "float", decimals=2), lambda rng, n: rng.exponential(30, n).round(2)),
    "day": (Column("x", "datetime"), lambda rng, n: np.datetime64("2020-01-01") + rng.integers(0, 999, n)),
}
DTYPES = {"categorical": "category", "boolean": "boolean", "integer": "Int64", "datetime": "datetime64[s]"}


def series(name: str, seed: int, n: int) -> pd.Series:
    column, draw = COLUMNS[name]
    values = pd.Series(draw(np.random.default_rng(seed), n))
    return values.astype(DTYPES.get(column.kind, "float64"))


@pytest.mark.parametrize("name", COLUMNS)
def test_every_row_is_somewhere_in_the_picture(name):
    column = COLUMNS[name][0]
    found = distribution(column, series(name, 0, 700), series(name, 1, 300))
    assert shares(found) == pytest.approx([1.0, 1.0])
    assert 0 <= found["difference"] <= 0.2
    assert len(found["edges"]) == (len(found["bins"]) + 1 if found["bins"] else 0)
    assert distribution(column, series(name, 0, 700), series(name, 0, 700))["difference"] == 0


def test_values_beyond_the_real_ones_are_counted_too():
    column = Column("x", "float")
    found = distribution(column, pd.Series(np.linspace(0, 1, 500)), pd.Series([-1e9] * 30 + [1e9] * 70))
    assert found["bins"][0]["synthetic"] == pytest.approx(0.3)
    assert found["bins"][-1]["synthetic"] == pytest.approx(0.7)


def test_disjoint_columns_are_wholly_apart():
    column = Column("x", "categorical")
    a, b = pd.Series(["a"] * 9, dtype="category"), pd.Series(["b"] * 4, dtype="category")
    assert distribution(column, a, b)["difference"] == 1
    assert distribution(column, a, pd.Series([None] * 4, dtype="category"))["difference"] == 1


def test_a_spike_stands_apart_with_its_exact_shares():
    real = pd.Series([0.0] * 60 + list(np.linspace(1, 2, 40)))
    synthetic = pd.Series([0.0] * 3 + [1.5] * 7)
    found = distribution(Column("x", "float"), real, synthetic)
    assert found["levels"] == [{"level": "0", "real": 0.6, "synthetic": 0.3}]


def test_whole_numbers_are_binned_without_a_comb():
    found = distribution(Column("x", "integer"), *[pd.Series(np.arange(280).repeat(3), dtype="Int64")] * 2)
    heights = [each["real"] for each in found["bins"]][1:-1]
    assert max(heights) == pytest.approx(min(heights))


def slow_cramers_v(a, b):
    n, rows, columns = len(a), sorted(set(a)), sorted(set(b))
    phi2 = 0.0
    for i, j in itertools.product(rows, columns):
        seen = sum(x == i and y == j for x, y in zip(a, b, strict=True))
        expected = sum(x == i for x in a) * sum(y == j for y in b) / n
        phi2 += (seen - expected) ** 2 / expected / n
    r, c = len(rows), len(columns)
    phi2 = max(0.0, phi2 - (r - 1) * (c - 1) / (n - 1))
    return (phi2 / (min(r - (r - 1) ** 2 / (n - 1), c - (c - 1) ** 2 / (n - 1)) - 1)) ** 0.5


@pytest.mark.parametrize("seed", range(4))
def test_cramers_v_is_the_obvious_one(seed):
    rng = np.random.default_rng(seed)
    a = rng.integers(0, 4, 120)
    b = np.where(rng.random(120) < 0.5, a, rng.integers(0, 6, 120))
    assert cramers_v(a, b) == pytest.approx(slow_cramers_v(list(a), list(b)))
    assert cramers_v(a, b) == pytest.approx(cramers_v(b, a))
    assert cramers_v(a, np.zeros(120, dtype=np.int64)) == 0


def test_associations_find_the_link_that_the_synthetic_rows_lost():
    rng = np.random.default_rng(0)
    x = rng.normal(size=3000)
    real = pd.DataFrame({"x": x, "y": -x, "z": pd.Series(rng.choice(["a", "b"], 3000), dtype="category")})
    lost = real.assign(y=rng.permutation(-x))
    schema = Schema((Column("x", "float"), Column("y", "float"), Column("z", "categorical")))
    found = associations(schema, real, lost)
    assert found["columns"] == ["x", "y", "z"]
    assert found["real"][0][1] > 0.99
    assert max(found["synthetic"][0][1], found["real"][0][2]) < 0.1
    assert drawing.furthest(found)[0]["pair"] == ("y", "x")
    assert BINS > 2


def test_the_target_is_always_among_the_columns_drawn():
    columns = [Column(f"c{i}", "float") for i in range(60)] + [Column("last", "float", roles=("target",))]
    table = pd.DataFrame(np.random.default_rng(0).random((30, 61)), columns=[c.name for c in columns])
    found = associations(Schema(tuple(columns)), table, table)
    assert found["columns"][-1] == "last"
    assert len(found["columns"]) + len(found["left_out"]) == 61


numbers = st.floats(-1e6, 1e6, allow_subnormal=False)
estimates = st.tuples(numbers, st.floats(0, 1e3), st.floats(0, 1e3)).map(
    lambda t: {"value": t[0], "low": t[0] - t[1], "high": t[0] + t[2], "note": ""}
)
maybe = st.none() | estimates


@given(estimates, maybe, maybe, st.none() | numbers, st.none() | numbers)
def test_everything_on_a_line_is_on_it_and_in_order(estimate, ceiling, baseline, at_least, at_most):
    limits = {"at_least": at_least, "at_most": at_most}
    line = drawing.check_line({"estimate": estimate, "ceiling": ceiling, "baseline": baseline, "limits": limits})
    places = [tick["x"] for tick in line["ticks"]]
    assert places == sorted(places)
    assert (places[0], places[-1]) == (0, 100)
    assert 2 <= len(places) <= 8
    for drawn in (line["estimate"], line["ceiling"], line["baseline"]):
        assert drawn is None or 0 <= drawn["low"] <= drawn["value"] <= drawn["high"] <= 100
    assert len(line["bounds"]) == (at_least is not None) + (at_most is not None)


def test_a_line_keeps_proportions():
    near = {"value": 0.5, "low": 0.4, "high": 0.7, "note": ""}
    limits = {"at_least": None, "at_most": 0.6}
    line = drawing.check_line({"estimate": near, "ceiling": None, "baseline": None, "limits": limits})
    assert line["ticks"][0]["text"] == "0.4"
    scale = (line["estimate"]["high"] - line["estimate"]["low"]) / 0.3
    assert line["bounds"][0]["x"] == pytest.approx(0.2 * scale, abs=0.02)
    assert line["zone"] == {"x": 0.0, "width": line["bounds"][0]["x"]}


def test_an_unbounded_interval_runs_off_the_line():
    estimate = {"value": 0.5, "low": None, "high": None, "note": ""}
    limits = {"at_least": 0.1, "at_most": None}
    line = drawing.check_line({"estimate": estimate, "ceiling": None, "baseline": None, "limits": limits})
    assert (line["estimate"]["low"], line["estimate"]["high"]) == (0, 100)
    nothing = {"estimate": None, "ceiling": None, "baseline": None, "limits": limits}
    assert drawing.check_line(nothing) is None
    with pytest.raises(ValueError, match="NaN"):
        Estimate(float("nan"), 0.0, 1.0)


def test_outlines_return_to_the_ground_and_share_one_scale():
    bins = [{"real": 0.2, "synthetic": 0.4}, {"real": 0.8, "synthetic": 0.6}]
    outlines = drawing.histogram(bins)
    assert outlines == {"real": "M0 100V75H50V0H100V100", "synthetic": "M0 100V50H50V25H100V100"}
    assert drawing.histogram([]) is None


def test_labels_beside_a_heat_map_fit_whatever_the_script():
    for names in (["a"], ["x" * 99] * 3, ["收入" * 20] * 36, [f"c{i}" for i in range(36)]):
        frame = drawing.heat_frame(names)
        assert all(drawing._width(label) <= drawing.LETTERS for label in frame["labels"])
        longest = max(drawing._width(label) for label in frame["labels"])
        assert 0 < frame["size"] <= 0.95
        assert frame["pad"] >= 0.6 * longest * frame["size"]
