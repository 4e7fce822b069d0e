"""What `marginals` fitted, against every row of a small table written out."""

import itertools
import time

import numpy as np
import pandas as pd
import pytest

from tabsynth.encoding.encoder import Encoder
from tabsynth.errors import InputError
from tabsynth.graphical.elimination import Factor, conditionals
from tabsynth.schema import Column, Schema
from tabsynth.synthesizers.marginals_sampler import MarginalsSampler
from tabsynth.synthesizers.model import Model, load
from tabsynth.synthesizers.scoring import HasLikelihood

SCHEMA = Schema(
    (
        Column("name", "categorical", roles=("identifier",)),
        Column("city", "categorical", categories=tuple("abcd"), nullable=True),
        Column("ill", "boolean", roles=("target",)),
        Column("age", "integer", bounds=(0, 19), bins=(0, 4, 10, 12, 20), nullable=True),
        Column("cost", "float", bounds=(0.0, 8.0), bins=(0.0, 1.0, 4.0, 8.0)),
    )
)
GROUPS = ((0, 1, 0, 0, 2), (0, 1), (0, 0, 1, 2, 3), (0, 1, 1))  # the code of every token
SIZES = tuple(max(group) + 1 for group in GROUPS)
CLIQUES = ((0, 1), (1, 2), (2, 3), (0, 3))  # a circle: no tree holds it


def small(seed=0, empty=0.0):
    """A sampler, and the probability of every row of tokens by its potentials, written out."""
    rng = np.random.default_rng(seed)
    factors = [Factor(clique, 1.5 * rng.normal(size=[SIZES[c] for c in clique])) for clique in CLIQUES]
    factors[0].log[rng.random(factors[0].log.shape) < empty] = -np.inf
    within = []
    for group, size in zip(GROUPS, SIZES, strict=True):
        held = (np.arange(size)[:, None] == np.array(group)) * rng.random(len(group))
        within.append(held / held.sum(axis=1, keepdims=True))
    whole = np.zeros([len(group) for group in GROUPS])
    for cell in np.ndindex(whole.shape):
        code = [group[token] for group, token in zip(GROUPS, cell, strict=True)]
        log = sum(factor.log[tuple(code[c] for c in factor.columns)] for factor in factors)
        whole[cell] = np.exp(log) * np.prod([table[c, t] for table, c, t in zip(within, code, cell, strict=True)])
    return MarginalsSampler(SCHEMA, conditionals(factors, SIZES), within), whole / whole.sum()


def every_row(shape):
    """One row of every combination of tokens, in the order of a raveled table."""
    tokens = np.array(list(itertools.product(*map(range, shape))), np.int32)
    return Encoder(SCHEMA).decode(tokens, np.random.default_rng(0))


@pytest.mark.parametrize("empty", [0.0, 0.3])
def test_the_likelihood_is_that_of_the_model_written_out(empty):
    sampler, whole = small(empty=empty)
    assert isinstance(sampler, HasLikelihood)
    likely = np.exp(sampler.log_likelihood(every_row(whole.shape)))
    np.testing.assert_allclose(likely, whole.ravel(), rtol=1e-10)
    assert likely.sum() == pytest.approx(1)
    assert (likely == 0).any() == (empty > 0)
    other, _ = small(seed=1)
    assert np.abs(np.exp(other.log_likelihood(every_row(whole.shape))) - whole.ravel()).max() > 0.01


def test_rows_that_cannot_be_drawn():
    sampler, _ = small()
    rows = every_row((5, 2, 5, 3)).iloc[[0, 0, 0, 0, 0]].reset_index(drop=True)
    rows["city"] = pd.Categorical(["a", "z", "a", "a", "a"], categories=["a", "z"])
    rows["age"] = pd.array([3, 3, 20, 3, None], dtype="Int64")
    rows["cost"] = [0.5, 0.5, 0.5, np.nan, 0.5]
    likely = sampler.log_likelihood(rows)
    assert np.isneginf(likely).tolist() == [False, True, True, True, False]
    assert sampler.log_likelihood(rows.iloc[:0]).shape == (0,)


def test_a_saved_model_knows_the_same_likelihood(tmp_path):
    sampler, whole = small()
    Model(sampler, "marginals", {}, {}).save(tmp_path / "model")
    rows = every_row(whole.shape)
    np.testing.assert_array_equal(load(tmp_path / "model").sampler.log_likelihood(rows), sampler.log_likelihood(rows))


# ---------------------------------------------------------------------------------------------------------- conditions

AGE_BINS = SCHEMA["age"].bins


def exact_given(whole, cities, span):
    """The distribution over (city, ill, age in years or missing, cost bin) given cities and a span of ages."""
    found = {}
    for city, ill, age, cost in np.ndindex(whole.shape):
        if city not in cities:
            continue
        if age == len(AGE_BINS) - 1:
            years = [None] if span is None else []
        else:
            years = [
                year for year in range(AGE_BINS[age], AGE_BINS[age + 1]) if span is None or span[0] <= year <= span[1]
            ]
        width = 1 if age == len(AGE_BINS) - 1 else AGE_BINS[age + 1] - AGE_BINS[age]
        for year in years:
            found[city, ill, year, cost] = whole[city, ill, age, cost] / width
    total = sum(found.values())
    return {cell: mass / total for cell, mass in found.items()}


def drawn_shares(rows):
    cities = rows["city"].map({name: place for place, name in enumerate("abcd")}).astype(float).fillna(4).astype(int)
    cost = np.searchsorted(SCHEMA["cost"].bins[1:-1], rows["cost"], side="right")
    years = [None if pd.isna(year) else int(year) for year in rows["age"]]
    counts = pd.Series(list(zip(cities, rows["ill"].astype(int), years, cost, strict=True))).value_counts(
        normalize=True
    )
    return counts.to_dict()


def distance(first, second):
    return 0.5 * sum(abs(first.get(cell, 0.0) - second.get(cell, 0.0)) for cell in {*first, *second})


CONDITIONS = {
    "a value": ({"city": "b"}, {1}, None),
    "several values, missing among them": ({"city": ["a", None]}, {0, 4}, None),
    "part of two bins and a whole one": ({"age": (2, 11)}, set(range(5)), (2, 11)),
    "within one bin": ({"age": (5, 6)}, set(range(5)), (5, 6)),
    "one number": ({"age": 13}, set(range(5)), (13, 13)),
    "open at one end": ({"age": (12, None)}, set(range(5)), (12, 19)),
    "two columns": ({"age": (3, 4), "city": "d"}, {3}, (3, 4)),
}


@pytest.mark.parametrize(("given", "cities", "span"), CONDITIONS.values(), ids=CONDITIONS)
def test_rows_under_a_condition_follow_the_exact_conditional(given, cities, span):
    sampler, whole = small()
    exact = exact_given(whole, cities, span)
    rows = sampler.sample(60_000, np.random.default_rng(0), given)
    assert rows.attrs["acceptance"] == 1.0
    shares = drawn_shares(rows)
    assert set(shares) <= set(exact)
    assert distance(shares, exact) < 0.02
    for wrong in (exact_given(whole, set(range(5)), None), exact_given(small(seed=1)[1], cities, span)):
        assert distance(shares, wrong) > 0.04


def test_the_condition_of_a_family_without_an_exact_way_is_met_by_drawing_again():
    sampler, whole = small()
    given = {"city": "b", "age": (2, 11)}
    exact = exact_given(whole, {1}, (2, 11))

    class Plain(MarginalsSampler):
        def draw_given(self, rows, rng, allowed):
            return self.draw(rows, rng)

    plain = Plain(SCHEMA, sampler._chain, sampler._within)
    rows = plain.sample(30_000, np.random.default_rng(0), given)
    share = sum(whole[1, :, age].sum() * part for age, part in enumerate((0.5, 1, 1, 0, 0)))
    assert rows.attrs["acceptance"] == pytest.approx(share, abs=0.01)
    assert len(rows) == 30_000
    assert rows["name"].is_unique
    assert rows.index.equals(pd.RangeIndex(30_000))
    assert distance(drawn_shares(rows), exact) < 0.03


def test_a_condition_that_is_rare_costs_no_more():
    sampler, _ = small()
    rare = conditionals([Factor((0,), np.log([0.4995, 0.001, 0.4995])), Factor((0, 1), np.zeros(SIZES[:2]))], SIZES)
    started = time.perf_counter()
    rows = MarginalsSampler(SCHEMA, rare, sampler._within).sample(1000, np.random.default_rng(0), {"city": "b"})
    assert time.perf_counter() - started < 5
    assert (rows["city"] == "b").all()
    assert rows.attrs["acceptance"] == 1.0
    assert len(rows) == 1000


def test_conditions_that_the_model_gives_no_probability():
    sampler, _ = small()
    within = list(sampler._within)
    within[0] = np.array([[0.5, 0, 0, 0.5, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 1]])
    never = MarginalsSampler(SCHEMA, sampler._chain, within)
    with pytest.raises(InputError, match="conditions on 'city' have probability 0 under the model"):
        never.sample(5, np.random.default_rng(0), {"city": "c"})
    assert set(never.sample(50, np.random.default_rng(0), {"city": ["a", "c"]})["city"]) == {"a"}


def test_numbers_without_a_step_under_a_range():
    sampler, _ = small()
    rows = sampler.sample(5000, np.random.default_rng(0), {"cost": (0.9, 2.0)})
    assert rows["cost"].between(0.9, 2.0).all()
    assert rows["cost"].max() > 1.99
    assert rows["cost"].min() < 0.91
