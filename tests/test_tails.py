"""Heavy tails: amounts keep their mean and spread, with and without a budget, and conditions know of the tails."""

import numpy as np
import pandas as pd
import pytest

from tabsynth import Budget, Column, Ledger, Schema
from tabsynth.encoding.codec import Codec
from tabsynth.encoding.warping import INDEX, POINTS, STEEPEST, warp_of
from tabsynth.privacy.noise import Secret
from tabsynth.synthesizers import model
from tabsynth.synthesizers.independent import Independent
from tabsynth.table import read


def amounts(rows=12_000, seed=0):
    """Half a thousandth lies above a hundred times the median."""
    return np.random.default_rng(seed).lognormal(3, 1.4, rows).clip(0.01, 10_000).round(2)


@pytest.mark.parametrize("budget", [None, Budget(3.0, 1e-5), Budget(1.0, 1e-5)], ids=str)
@pytest.mark.parametrize("sign", [1, -1])
def test_a_mean_and_a_spread_are_kept(budget, sign):
    column = Column("amount", "float", bounds=(0, 10_000) if sign > 0 else (-10_000, 0), decimals=2)
    real = sign * amounts()
    table = read(pd.DataFrame({"amount": real}), Schema((column,), rows=len(real)))
    means, spreads = [], []
    for _ in range(3):
        fitted = model.fit(Independent(), table, Ledger(budget), Secret())
        drawn = fitted.sample(len(real), np.random.default_rng(0))["amount"]
        means.append(drawn.mean())
        spreads.append(drawn.std())
    assert np.median(means) == pytest.approx(real.mean(), rel=0.1)
    assert np.median(spreads) == pytest.approx(real.std(), rel=0.5)  # evenly filled, it is four times as large


def test_a_tail_is_a_measure_that_comes_back():
    column = Column("amount", "float", bounds=(-500, 1000), bins=(-500, -10, 0, 10, 20, 1000))
    warp = warp_of(column)
    places = np.linspace(-500, 1000, 5001)
    np.testing.assert_allclose(warp.back(warp(places)), places, atol=1e-6)
    np.testing.assert_allclose(warp(np.asarray(column.bins)), column.bins)  # bins keep what they hold
    inner = (places >= -10) & (places <= 20)
    np.testing.assert_allclose(warp(places)[inner], places[inner])
    assert len(warp.marks) == 6 + 2 * (POINTS - 1)


def test_a_tail_falls_as_the_density_of_lomax():
    column = Column("amount", "float", bounds=(0, 1000), bins=(0, 100, 1000))
    codec, scale, width = Codec(column), INDEX * 100.0, 900.0
    whole = 1 - (1 + width / scale) ** -INDEX
    tokens, uniform = np.ones(20_000, np.int32), np.random.default_rng(0).random(20_000, np.float32)
    beyond = codec.decode(tokens, uniform).to_numpy(float) - 100
    for place in (50, 200, 500):
        share = (1 - (1 + place / scale) ** -INDEX) / whole
        assert (beyond <= place).mean() == pytest.approx(share, abs=0.015)
    low, high = codec.portion(100, 300)[:, 1]
    assert high - low == pytest.approx((1 - (1 + 200 / scale) ** -INDEX) / whole, abs=0.01)


@pytest.mark.parametrize(
    "bins", [(0, 10, 20, 30), (0, 10, 20, 38), (0, 1), (0, 10, 11, 1000, 1001)], ids=["even", "wider", "one", "inside"]
)
def test_where_no_outermost_bin_is_far_wider_places_are_even(bins):
    assert warp_of(Column("a", "integer", bounds=(0, bins[-1] - 1), bins=bins)) is None


def test_a_bin_of_its_own_mass_does_not_pull_all_of_a_tail_to_itself():
    warp = warp_of(Column("a", "float", bounds=(0, 1000), bins=(0, 10, 10.01, 1000)))
    middle = float(warp.back(np.array([505.0]))[0]) - 10
    assert middle == pytest.approx(INDEX * 990 / STEEPEST * (2**0.5 - 1), rel=0.05)
