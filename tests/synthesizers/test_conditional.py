"""Conditions, partial rows, shares, filling in and prediction, against every row of small tables written out."""

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import ks_2samp

from tabsynth.constraints import Combinations, Dependency, Inequality, Sum
from tabsynth.encoding.conditions import conditions_of, implied
from tabsynth.encoding.encoder import Encoder
from tabsynth.errors import InputError, ModelError, TableError
from tabsynth.graphical.elimination import Factor, conditionals
from tabsynth.schema import OTHER, Column, Schema
from tabsynth.synthesizers import completing, rows_given
from tabsynth.synthesizers.accepting import Rules
from tabsynth.synthesizers.independent import IndependentSampler
from tabsynth.synthesizers.marginals_sampler import MarginalsSampler
from tabsynth.synthesizers.rows import Rows, RowsSampler

SCHEMA = Schema(
    (
        Column("name", "categorical", roles=("identifier",)),
        Column("city", "categorical", categories=tuple("abcd"), nullable=True),
        Column("ill", "boolean", roles=("target",)),
        Column("age", "integer", bounds=(0, 19), bins=(0, 4, 10, 12, 20), nullable=True),
        Column("cost", "float", bounds=(0.0, 8.0), bins=(0.0, 1.0, 4.0, 8.0)),
    )
)
ENCODER = Encoder(SCHEMA)
SIZES = ENCODER.sizes
EVERY = np.array(list(itertools.product(*map(range, SIZES))), np.int32)
PLACE = {name: place for place, name in enumerate(ENCODER.names)}


def rows_sampler(schema=SCHEMA, seed=0):
    """A transformer whose columns depend on one another, and on the order that they are read in."""
    settings = Rows(width=8, depth=1, heads=2, seed=seed)
    model = settings.untrained(Encoder(schema).sizes)
    with torch.no_grad():
        for output in model.outputs:
            output.weight.mul_(12)
    return RowsSampler(schema, settings, model, settings.reading_order(model.sizes))


def marginals_sampler(schema=SCHEMA, seed=0):
    """A graphical model over a circle, which no tree holds."""
    rng = np.random.default_rng(seed)
    sizes = Encoder(schema).sizes
    cliques = [(place, (place + 1) % len(sizes)) for place in range(len(sizes))]
    factors = [Factor(tuple(sorted(c)), 1.5 * rng.normal(size=[sizes[k] for k in sorted(c)])) for c in cliques]
    return MarginalsSampler(schema, conditionals(factors, sizes), [np.eye(size) for size in sizes])


def independent_sampler(schema=SCHEMA, seed=0):
    rng = np.random.default_rng(seed)
    return IndependentSampler(schema, [rng.dirichlet(np.full(size, 3.0)) for size in Encoder(schema).sizes])


SAMPLERS = {"rows": rows_sampler, "marginals": marginals_sampler, "independent": independent_sampler}
EXACT = ("rows", "marginals")


def whole(sampler, first=()):
    """The probability of every row of tokens, (rows,), of a transformer when it reads these columns first."""
    if isinstance(sampler, RowsSampler):
        order = [PLACE[name] for name in first]
        order += [column for column in sampler._order if column not in order]
        found = (-sampler._model.losses(torch.from_numpy(EVERY).long(), torch.tensor([order] * len(EVERY)))).exp()
        return found.detach().double().numpy()
    if isinstance(sampler, MarginalsSampler):
        frame = ENCODER.decode(EVERY, np.random.default_rng(0))
        return np.exp(sampler.log_likelihood(frame))
    return np.prod([p[EVERY[:, column]] for column, p in enumerate(sampler._distributions)], axis=0)


def given_that(probabilities, **parts):
    """The distribution over rows of tokens when of each column's tokens these parts are left."""
    for name, part in parts.items():
        probabilities = probabilities * np.asarray(part, float)[EVERY[:, PLACE[name]]]
    return probabilities / probabilities.sum()


def shares_of(frame):
    """How often each row of tokens came."""
    tokens = ENCODER.encode(frame).tokens
    return np.bincount(np.ravel_multi_index(tokens.T, SIZES), minlength=len(EVERY)) / len(frame)


def distance(first, second):
    return 0.5 * np.abs(first - second).sum()


CONDITIONS = {  # what is asked, what it leaves of every column's tokens, and what `rows` reads first
    "a value": ({"city": "b"}, {"city": [0, 1, 0, 0, 0]}, ["city"]),
    "a rare part of a bin": ({"age": 5}, {"age": [0, 1 / 6, 0, 0, 0]}, ["age"]),
    "a range": ({"age": (2, 11)}, {"age": [0.5, 1, 1, 0, 0]}, ["age"]),
    "two values": ({"city": "d", "ill": True}, {"city": [0, 0, 0, 1, 0], "ill": [0, 1]}, ["ill", "city"]),
    "two ranges": (
        {"age": (2, 11), "cost": (0.5, 3.0)},
        {"age": [0.5, 1, 1, 0, 0], "cost": [0.5, 2 / 3, 0]},
        ["cost", "age"],
    ),
    "sets of three columns": (
        {"city": ["a", "c", None], "age": (3, 19), "cost": (1.0, 8.0)},
        {"city": [1, 0, 1, 0, 1], "age": [0.25, 1, 1, 1, 0], "cost": [0, 1, 1]},
        ["cost", "city", "age"],
    ),
}


@pytest.mark.parametrize("family", SAMPLERS)
@pytest.mark.parametrize(("asked", "left", "first"), CONDITIONS.values(), ids=CONDITIONS)
def test_rows_under_conditions_follow_the_exact_conditional(family, asked, left, first):
    sampler = SAMPLERS[family]()
    rows = sampler.sample(40_000, np.random.default_rng(0), asked)
    exact = given_that(whole(sampler, first), **left)
    assert distance(shares_of(rows), exact) < 0.025
    assert not shares_of(rows)[exact == 0].any()
    assert distance(shares_of(rows), whole(sampler)) > 0.04
    other = given_that(whole(SAMPLERS[family](seed=5), first), **left)
    assert distance(shares_of(rows), other) > 0.04
    assert (rows.attrs["acceptance"] == 1.0) == (family in EXACT)
    for name, value in asked.items():
        if name == "age":
            low, high = value if isinstance(value, tuple) else (value, value)
            assert rows["age"].between(low, high).all()


FOLLOWS = Schema(
    (
        Column("city", "categorical", categories=tuple("abcd"), nullable=True),
        Column("state", "categorical", categories=tuple("xyz")),
        Column("ill", "boolean"),
        *(Column(name, "integer", bounds=(0, 9), bins=(0, 3, 6, 9, 10)) for name in "mn"),
        Column("all", "integer", bounds=(0, 18), bins=(0, 9, 19)),
    ),
    constraints=(Dependency("city", "state", (("a", "x"), ("b", "x"), ("c", "y"), ("d", "z"))), Sum(("m", "n"), "all")),
)


@pytest.mark.parametrize("family", SAMPLERS)
@pytest.mark.parametrize(
    ("asked", "first"),
    [({"state": "z"}, ["city"]), ({"all": (17, 18)}, ["m", "n"]), ({"all": (0, 1), "state": ["y", "z"]}, ["m", "n"])],
    ids=str,
)
def test_what_is_asked_of_a_column_that_others_settle_is_asked_of_these(family, asked, first):
    """With the distribution that rows have which happen to come out so, a missing city among them."""
    sampler = SAMPLERS[family](FOLLOWS)
    found = sampler.sample(20_000, np.random.default_rng(0), asked)
    if family == "rows":  # which reads these first
        reads = sorted(sampler.reads, key=lambda name: (name not in first, len(first) > 1 and name != "city"))
        every = sampler.draw_in_order(300_000, np.random.default_rng(1), reads)
        every = Rules(FOLLOWS, FOLLOWS.constraints).derive(every)
    else:
        every = sampler.sample(300_000, np.random.default_rng(1))
    low, high = asked.get("all", (0, 18))
    chance = every[every["all"].between(low, high) & every["state"].isin(list(asked.get("state", "xyz")))]
    assert len(chance) > 300
    assert found["all"].between(low, high).all()
    for column in FOLLOWS:
        first, second = (rows[column.name].astype(object).value_counts(normalize=True, dropna=False)
                         for rows in (found, chance))  # fmt: skip
        assert 0.5 * first.sub(second, fill_value=0).abs().sum() < 0.06
    if family in EXACT:
        assert found.attrs["acceptance"] > 2 * len(chance) / len(every)


@pytest.mark.parametrize("nullable", [False, True])
@pytest.mark.parametrize(
    "asked", [{"end": (70, 71)}, {"end": (70, 75), "city": ["a", "c"]}, {"late": (80, 81), "start": (20, 90)}], ids=str
)
def test_rows_are_asked_for_a_larger_number_before_anything_else_is_drawn(asked, nullable, monkeypatch):
    """Cells that only decoded values tell to be wrong are drawn again by themselves, to the same distribution."""
    columns = (
        SCHEMA["city"],
        Column("start", "integer", bounds=(0, 99), bins=(0, 30, 60, 100), nullable=nullable),
        Column("end", "integer", bounds=(0, 99), after="start", distances=(0, 1, 10, 100)),
        Column("late", "integer", bounds=(0, 99), after="end", distances=(0, 5, 100), nullable=nullable),
        SCHEMA["ill"],
    )
    schema = Schema(columns, constraints=(Inequality("start", "end"), Inequality("end", "late")))
    sampler = rows_sampler(schema)
    found = sampler.sample(10_000, np.random.default_rng(0), asked)
    assert found.attrs["acceptance"] == 1
    monkeypatch.setattr(rows_given.Sight, "within", lambda sight, first: replace(sight, columns=(), conditions=()))
    slow = sampler.sample(10_000, np.random.default_rng(1), asked)
    assert slow.attrs["acceptance"] < 0.3
    for column in ("start", "end", "late", "city", "ill"):
        codes = pd.factorize(pd.concat([found, slow])[column], sort=True)[0].reshape(2, -1)
        assert ks_2samp(*codes, method="asymp").pvalue > 1e-4
    pairs = [(rows["late"] - rows["start"]).fillna(-9).to_numpy(float) for rows in (found, slow)]
    assert ks_2samp(*pairs, method="asymp").pvalue > 1e-4
    name, span = next((name, value) for name, value in asked.items() if name != "city")
    assert found[name].between(*span).all()


def test_a_larger_number_that_is_next_to_impossible_is_given_up_on():
    start = Column("start", "integer", bounds=(0, 10**6), bins=(0, 10**6 + 1))
    end = Column("end", "integer", bounds=(0, 10**6), after="start", distances=(0, 1, 10**6 + 1))
    sampler = rows_sampler(Schema((start, end, SCHEMA["ill"]), constraints=(Inequality("start", "end"),)))
    with pytest.raises(ModelError, match=r"too few to go on: .* break the condition on 'end'"):
        sampler.sample(1000, np.random.default_rng(0), {"end": (500_000, 500_001)})


def test_conditions_follow_from_conditions_as_far_as_no_value_may_be_missing():
    told = {"state": "z", "all": (16, 18)}
    follows = {one.column.name: one for one in implied(conditions_of(told, FOLLOWS), FOLLOWS.constraints, FOLLOWS)}
    assert (follows["city"].values, follows["city"].missing) == ({"d"}, True)
    for name in "mn":
        assert follows[name].span == pytest.approx((6.5, 9), abs=0.01)
        assert not follows[name].missing
    chain = (*FOLLOWS.constraints, Dependency("ill", "city", (("True", "a"), ("False", "d"))))
    assert set(follows) == {"city", "m", "n"}
    assert "ill" not in {one.column.name for one in implied(conditions_of(told, FOLLOWS), chain, FOLLOWS)}
    with pytest.raises(InputError, match=r"contradict a constraint\. Constraint 'state' follows from 'ill'"):
        implied(conditions_of(told, FOLLOWS), (Dependency("ill", "state", (("True", "x"), ("False", "y"))),), FOLLOWS)


def test_masking_one_column_after_another_would_be_noticed():
    """The obvious way, drawing each conditioned cell from its masked softmax, has another distribution."""
    sampler = rows_sampler()
    asked, left, first = CONDITIONS["sets of three columns"]
    masked = given_that(whole(sampler, first), **left)
    places = [PLACE[name] for name in first]
    logits = [
        sampler._model.next_logits(torch.from_numpy(EVERY[:, places[:k]]).long(), places[:k], place)
        for k, place in enumerate(places)
    ]
    for name, each in zip(first, logits, strict=True):
        mass = each.softmax(1).numpy() * np.asarray(left[name], float)
        masked = masked / mass.sum(axis=1)  # every step is normalised by itself
    rows = sampler.sample(40_000, np.random.default_rng(1), asked)
    assert distance(shares_of(rows), masked / masked.sum()) > 0.03


def test_combinations_that_are_too_many_are_drawn_again_to_the_same_distribution(monkeypatch):
    monkeypatch.setattr(rows_given, "MOST", 4)
    sampler = rows_sampler()
    asked, left, first = CONDITIONS["sets of three columns"]
    rows = sampler.sample(40_000, np.random.default_rng(0), asked)
    assert rows.attrs["acceptance"] < 1
    assert distance(shares_of(rows), given_that(whole(sampler, first), **left)) < 0.025


def test_the_joint_distribution_is_the_same_in_small_pieces(monkeypatch):
    sampler, asked = rows_sampler(), CONDITIONS["two ranges"][0]
    rows = sampler.sample(500, np.random.default_rng(0), asked)
    monkeypatch.setattr(rows_given, "CELLS", 12)
    pd.testing.assert_frame_equal(sampler.sample(500, np.random.default_rng(0), asked), rows)


def test_a_temperature_moves_every_logit_and_nothing_else_can():
    sampler = rows_sampler()
    plain = sampler.sample(20_000, np.random.default_rng(0))
    pd.testing.assert_frame_equal(sampler.sample(20_000, np.random.default_rng(0), temperature=1.0), plain)
    cold = sampler.sample(20_000, np.random.default_rng(0), temperature=0.25)
    exact = np.ones(len(EVERY))
    order = list(sampler._order)
    for k, place in enumerate(order):
        logits = sampler._model.next_logits(torch.from_numpy(EVERY[:, order[:k]]).long(), order[:k], place)
        exact *= (logits / 0.25).softmax(1).numpy()[np.arange(len(EVERY)), EVERY[:, place]]
    assert distance(shares_of(cold), exact) < 0.03
    assert distance(shares_of(plain), exact) > 0.1
    given = sampler.sample(20_000, np.random.default_rng(0), {"city": "b"}, temperature=0.25)
    assert (given["city"] == "b").all()
    for other in (marginals_sampler(), independent_sampler()):
        with pytest.raises(InputError, match="only `rows`"):
            other.sample(5, np.random.default_rng(0), temperature=0.5)
    with pytest.raises(InputError, match="temperature must be a finite number above 0"):
        sampler.sample(5, np.random.default_rng(0), temperature=0)


# -------------------------------------------------------------------------------------------------------- partial rows

PARTIAL = {
    "nothing": ({}, [], {}),
    "a city and an age": (
        {"city": "c", "age": 5.0},
        ["city", "age"],
        {"city": [0, 0, 1, 0, 0], "age": [0, 1, 0, 0, 0]},
    ),
    "whether ill, and a cost": ({"ill": True, "cost": 0.25}, ["ill", "cost"], {"ill": [0, 1], "cost": [1, 0, 0]}),
}


def partial_frame(each):
    """`each` rows of every kind, in turn."""
    kinds = [known for known, _, _ in PARTIAL.values()]
    return pd.DataFrame(kinds * each, columns=["age", "city", "ill", "cost"])


@pytest.mark.parametrize("family", SAMPLERS)
def test_the_rest_of_a_partial_row_follows_the_exact_conditional(family):
    sampler = SAMPLERS[family]()
    frame = partial_frame(12_000)
    rows = sampler.sample(None, np.random.default_rng(0), frame)
    assert len(rows) == len(frame)
    assert rows["name"].is_unique
    for place, (known, first, left) in enumerate(PARTIAL.values()):
        own = rows.iloc[place :: len(PARTIAL)]
        for name, value in known.items():
            assert (own[name] == value).all()
        order = sorted(first, key=lambda name: list(rows_sampler().reads).index(name))
        exact = given_that(whole(sampler, order), **left)
        assert distance(shares_of(own), exact) < 0.05
        assert distance(shares_of(own), given_that(whole(SAMPLERS[family](seed=5), order), **left)) > 0.08
    pd.testing.assert_frame_equal(rows, sampler.sample(len(frame), np.random.default_rng(0), frame))


@pytest.mark.parametrize("family", SAMPLERS)
def test_rows_that_were_looked_through_for_partial_ones_are_told(family):
    sampler = SAMPLERS[family]()
    rows = sampler.sample(None, np.random.default_rng(0), pd.DataFrame({"city": ["b", "c", None] * 100}))
    city = [whole(sampler)[EVERY[:, PLACE["city"]] == token].sum() for token in (1, 2)]
    one_by_one = 3 / (1 / city[0] + 1 / city[1] + 1)
    assert rows.attrs["acceptance"] == pytest.approx(1.0 if family in EXACT else one_by_one, rel=0.05)


@pytest.mark.parametrize("family", SAMPLERS)
def test_filled_cells_follow_the_conditional_and_none_is_missing(family):
    sampler = SAMPLERS[family]()
    frame = partial_frame(12_000).assign(name=[f"person {i}" for i in range(36_000)])
    frame.index = frame.index + 7
    filled = sampler.impute(frame, np.random.default_rng(0))
    assert not filled.isna().any().any()
    assert list(filled.columns) == list(frame.columns)
    assert filled.index.equals(frame.index)
    for name in frame:
        known = frame[name].notna()
        assert (filled[name][known] == frame[name][known]).all()
    assert filled["age"].dtype == np.int64  # only its gaps had made it a float
    there = {"city": [1, 1, 1, 1, 0], "age": [1, 1, 1, 1, 0]}
    for place, (_, first, left) in enumerate(PARTIAL.values()):
        order = sorted(first, key=lambda name: list(rows_sampler().reads).index(name))
        exact = given_that(whole(sampler, order), **(there | left))
        canonical = filled.iloc[place :: len(PARTIAL)].reset_index(drop=True)
        assert distance(shares_of(canonical.assign(ill=canonical["ill"].astype("boolean"))), exact) < 0.05
        assert distance(exact, given_that(whole(sampler, order), **left)) > 0.08 or set(left) == set(there)


@pytest.mark.parametrize("family", SAMPLERS)
def test_columns_are_filled_in_alone_whatever_else_is_missing(family):
    sampler = SAMPLERS[family]()
    frame = partial_frame(12_000)
    filled = sampler.impute(frame, np.random.default_rng(0), ["city"])
    assert not filled["city"].isna().any()
    pd.testing.assert_frame_equal(filled.drop(columns="city"), frame.drop(columns="city"))
    alone = (frame["city"].isna() & frame["ill"].isna()).to_numpy()  # nothing of these rows is known
    exact = np.bincount(EVERY[:, PLACE["city"]], whole(sampler))[:4]
    assert distance(filled["city"][alone].value_counts(normalize=True)[list("abcd")], exact / exact.sum()) < 0.02
    for columns, message in ((["town"], "got 'town'"), (["age", "name"], "got 'name'")):
        with pytest.raises(InputError, match=f"Columns to fill in are modelled ones of the table: age, .*; {message}"):
            sampler.impute(frame, np.random.default_rng(0), columns)


def test_text_is_filled_in_as_text():
    schema = Schema(
        (
            Column(
                "day", "datetime", bounds=(0, 86400.0 * 9), bins=(0, 86400.0 * 10), format="%d.%m.%Y", nullable=True
            ),
            Column("ill", "boolean", nullable=True),
            Column("cost", "float", bounds=(0.0, 1.0), bins=(0.0, 1.01), decimals=2, nullable=True),
            Column("stay", "duration", bounds=(0, 99_999), bins=(0, 100_000), nullable=True),
        )
    )
    sampler = independent_sampler(schema)
    cells = {"day": ["02.01.1970", ""], "ill": ["no", "yes"], "cost": ["NA", "0.10"], "stay": ["26:10:00", ""]}
    frame = pd.DataFrame(cells).loc[[0, 1, 1]]
    frame.iloc[2, 1] = ""
    filled = sampler.impute(frame, np.random.default_rng(0))
    assert filled["day"].iloc[0] == "02.01.1970"
    assert filled["day"].str.fullmatch(r"(0[1-9]|10)\.01\.1970").all()
    assert filled["cost"].str.fullmatch(r"\d\.\d\d").all()
    assert filled["cost"].iloc[1] == "0.10"
    assert filled["stay"].iloc[0] == "26:10:00"
    assert filled["stay"].str.fullmatch(r"\d\d:\d\d:\d\d").all()
    assert filled["ill"].tolist()[:2] == ["no", "yes"]
    assert filled["ill"].iloc[2] in {"no", "yes"}


def test_rare_and_outlying_cells_are_left_as_they_are_when_the_rest_is_filled_in():
    levels = ("a", "b", OTHER)
    schema = Schema(
        (Column("city", "categorical", categories=levels), Column("n", "integer", bounds=(0, 9), bins=(0, 5, 10)))
    )
    for make in SAMPLERS.values():
        frame = pd.DataFrame({"city": ["zzz", None], "n": [None, 400.0]})
        filled = make(schema).impute(frame, np.random.default_rng(0))
        assert filled["city"].iloc[0] == "zzz"
        assert filled["n"].iloc[1] == 400
        assert filled["n"].iloc[0] in range(10)


@pytest.mark.parametrize("family", SAMPLERS)
def test_partial_rows_keep_the_rules(family):
    cities = Column("city", "categorical", categories=("A", "B", "C"), nullable=True)
    parts = [Column(name, "integer", bounds=(0, 4), bins=(0, 2, 5)) for name in "ab"]
    total = Column("all", "integer", bounds=(0, 8), bins=(0, 4, 9))
    rules = (
        Dependency("city", "state", (("A", "x"), ("B", "y"), ("C", "x"))),
        Sum(("a", "b"), "all"),
        Combinations(("city", "ill"), forbidden=(("B", "True"),)),
    )
    columns = (cities, Column("state", "categorical", categories=("x", "y")), Column("ill", "boolean"), *parts, total)
    schema = Schema(columns, constraints=rules)
    sampler = SAMPLERS[family](schema)
    frame = pd.DataFrame({"state": ["x", "y", None] * 50, "a": [1.0, None, 2.0] * 50, "all": [None, 6.0, 5.0] * 50})
    filled = sampler.impute(frame.assign(city=None, ill=None, b=None), np.random.default_rng(0))
    assert not any(broken.any() for _, broken in schema.broken(filled.astype({"ill": "boolean"})))
    assert (filled["a"] + filled["b"] == filled["all"]).all()
    assert (filled["state"][frame["state"].notna()] == frame["state"].dropna()).all()
    assert not filled.isna().any().any()
    for cells, message in (
        ({"city": ["B"], "ill": [True]}, "forbidden combinations"),
        ({"a": [4], "all": [2]}, "'all' = 'a'"),
        ({"city": ["B"], "state": ["x"]}, "'state' follows from 'city'"),
    ):
        with pytest.raises(InputError, match=f"break the constraint.*{message}"):
            sampler.sample(None, np.random.default_rng(0), pd.DataFrame(cells | {"b": [None]}))


def test_partial_rows_of_whole_numbers_alone_that_are_drawn_again():
    columns = tuple(Column(name, "integer", bounds=(0, 9), bins=tuple(range(11)), nullable=True) for name in "ab")
    schema = Schema(columns, constraints=(Inequality("a", "b"),))
    rows = independent_sampler(schema).sample(None, np.random.default_rng(0), pd.DataFrame({"a": [0, 9, 9, 5] * 20}))
    assert rows["a"].tolist() == [0, 9, 9, 5] * 20
    assert (rows["a"] <= rows["b"]).fillna(True).all()


def test_partial_rows_that_a_family_never_draws(monkeypatch):
    monkeypatch.setattr(completing, "MOST_DRAWN", 40_000)
    sampler = IndependentSampler(SCHEMA, [np.array([1.0, 0, 0, 0, 0]), *independent_sampler()._distributions[1:]])
    with pytest.raises(ModelError, match="Of 40,000 rows drawn hardly any has the known cells of 1 of 2 kinds"):
        sampler.sample(None, np.random.default_rng(0), pd.DataFrame({"city": ["a", "b"]}))


def test_cells_that_are_nearly_always_missing(monkeypatch):
    monkeypatch.setattr(completing, "MOST_TRIES", 64)
    schema = Schema(tuple(Column(name, "categorical", categories=("v",), nullable=True) for name in "xy"))
    sampler = rows_sampler(schema)
    with torch.no_grad():
        for output in sampler._model.outputs:
            output.weight.zero_()
            output.bias.copy_(torch.tensor([-20.0, 20.0]))
    one = sampler.impute(pd.DataFrame({"x": [None] * 3, "y": ["v"] * 3}), np.random.default_rng(0))
    assert (one == "v").all().all()
    with pytest.raises(ModelError, match="64 times without keeping a value in every one of 'x', 'y'"):
        sampler.impute(pd.DataFrame({"x": [None] * 3, "y": [None] * 3}), np.random.default_rng(0))
    filled = marginals_sampler(schema).impute(
        pd.DataFrame({"x": [None] * 3, "y": [None] * 3}), np.random.default_rng(0)
    )
    assert (filled == "v").all().all()


REFUSED_ROWS = {
    "an unknown column": ({"town": ["x"]}, InputError, "got 'town'. There are: city, ill, age, cost"),
    "an identifier": ({"name": ["x"]}, InputError, "got 'name'"),
    "no row": ({"city": []}, InputError, "at least one row"),
    "an unknown value": ({"city": ["secret"]}, TableError, "not among the declared categories"),
    "beyond the bounds": ({"age": [77]}, TableError, "outside the declared bounds"),
    "no number": ({"age": ["secret"]}, TableError, "not a number"),
}


@pytest.mark.parametrize(("cells", "error", "message"), REFUSED_ROWS.values(), ids=REFUSED_ROWS)
def test_partial_rows_that_cannot_be(cells, error, message):
    with pytest.raises(error, match=message) as refused:
        marginals_sampler().sample(None, np.random.default_rng(0), pd.DataFrame(cells))
    assert "secret" not in str(refused.value)
    assert "77" not in str(refused.value)


def test_cells_without_probability_are_refused_and_rows_must_be_as_many():
    sampler, frame = marginals_sampler(), pd.DataFrame({"city": ["a"], "ill": [True]})
    with pytest.raises(InputError, match="one row for each"):
        sampler.sample(2, np.random.default_rng(0), frame)
    with pytest.raises(InputError, match="how many"):
        sampler.sample(None, np.random.default_rng(0))
    within = [table.copy() for table in sampler._within]
    within[0][0], within[0][1] = [0, 1, 0, 0, 0], [0, 1, 0, 0, 0]
    never = MarginalsSampler(SCHEMA, sampler._chain, within)
    with pytest.raises(InputError, match="given in column 'city' has probability 0"):
        never.sample(None, np.random.default_rng(0), frame)
    kept = never.impute(frame.assign(age=None), np.random.default_rng(0))  # a user's own cell says nothing, then
    assert kept["city"].tolist() == ["a"]
    rules = Schema(SCHEMA.columns, constraints=(Combinations(("city", "ill"), forbidden=(("a", "True"),)),))
    chain = conditionals([Factor((0, 1), np.where(np.arange(10).reshape(5, 2) == 1, -np.inf, 0.0))], SIZES)
    holding = MarginalsSampler(rules, chain, [np.eye(size) for size in SIZES], rules.constraints)
    with pytest.raises(InputError, match="break the constraint forbidden combinations"):
        holding.impute(frame.assign(age=None), np.random.default_rng(0))


# -------------------------------------------------------------------------------------------------------------- shares


@pytest.mark.parametrize("family", SAMPLERS)
def test_a_share_has_the_value_and_the_rest_keeps_the_others_of_the_model(family):
    sampler = SAMPLERS[family]()
    rows = sampler.sample(40_001, np.random.default_rng(0), shares={"city": {"b": 0.5, None: 0.2}})
    assert len(rows) == 40_001
    assert rows["name"].is_unique
    exact = (
        0.5 * given_that(whole(sampler, ["city"]), city=[0, 1, 0, 0, 0])
        + 0.2 * given_that(whole(sampler, ["city"]), city=[0, 0, 0, 0, 1])
        + 0.3 * given_that(whole(sampler, ["city"]), city=[1, 0, 1, 1, 0])
    )
    assert distance(shares_of(rows), exact) < 0.025
    assert distance(shares_of(rows), whole(sampler)) > 0.05
    assert (rows["city"] == "b").sum() in (20_000, 20_001)
    assert (rows["city"].iloc[:1000] == "b").mean() == pytest.approx(0.5, abs=0.07)  # in no order
    aged = sampler.sample(1000, np.random.default_rng(0), {"age": (4, 9)}, shares={"ill": {True: 1.0}})
    assert aged["ill"].all()
    assert aged["age"].between(4, 9).all()


REFUSED_SHARES = {
    "two columns": ({"city": {"a": 0.1}, "ill": {True: 0.1}}, {}, "values of one column"),
    "no mapping": ({"city": 0.1}, {}, "values of one column"),
    "a number": ({"age": {3: 0.1}}, {}, "categorical or boolean column"),
    "an unknown column": ({"town": {"a": 0.1}}, {}, "got 'town'"),
    "an unknown value": ({"city": {"a": 0.1, "z": 0.1}}, {}, "'z' is not one of its values"),
    "no share": ({"city": {"a": "much"}}, {}, "number from 0 to 1"),
    "a negative share": ({"city": {"a": -0.1}}, {}, "number from 0 to 1"),
    "too much": ({"city": {"a": 0.7, "b": 0.4}}, {}, "at most 1; got 1.1"),
    "too little": ({"ill": {True: 0.5, False: 0.4}}, {}, "shares of all its values must sum to 1"),
    "twice": ({"ill": {True: 0.5, "true": 0.4}}, {}, "a value has two shares"),
    "also a condition": ({"city": {"a": 0.7}}, {"city": "a"}, "shares and a condition"),
}


@pytest.mark.parametrize(("shares", "asked", "message"), REFUSED_SHARES.values(), ids=REFUSED_SHARES)
def test_shares_that_cannot_be(shares, asked, message):
    with pytest.raises(InputError, match=message):
        independent_sampler().sample(10, np.random.default_rng(0), asked, shares=shares)
    frame = pd.DataFrame({"age": [3]})
    with pytest.raises(InputError, match="one row for each"):
        independent_sampler().sample(1, np.random.default_rng(0), frame, shares={"ill": {True: 1.0}})


# ---------------------------------------------------------------------------------------------------------- prediction


@pytest.mark.parametrize("family", EXACT)
@pytest.mark.parametrize("target", ["city", "ill"])
def test_predictions_are_the_models_conditional_probabilities(family, target):
    sampler = SAMPLERS[family]()
    frame = ENCODER.decode(EVERY, np.random.default_rng(0))
    frame.index = frame.index + 3
    found = sampler.predict_proba(frame, target)
    assert found.index.equals(frame.index)
    assert list(found.columns) == list(SCHEMA[target].levels)
    table = whole(sampler).reshape(SIZES)
    values = len(SCHEMA[target].levels)
    axis = PLACE[target]
    mass = np.moveaxis(table, axis, -1)[..., :values]
    exact = np.expand_dims(mass / mass.sum(axis=-1, keepdims=True), axis)
    exact = np.broadcast_to(exact, (*SIZES, values)).reshape(-1, values)
    np.testing.assert_allclose(found.to_numpy(), exact, atol=1e-5)
    wrong = SAMPLERS[family](seed=5).predict_proba(frame, target)
    assert np.abs(wrong.to_numpy() - exact).max() > 0.05
    pd.testing.assert_frame_equal(sampler.predict_proba(frame.drop(columns=target), target), found)


@pytest.mark.parametrize("family", EXACT)
def test_few_integers_are_predicted_one_by_one(family):
    """Also where a bin holds two of them: they share its probability, as they do in a sample."""
    stage = Column("stage", "integer", bounds=(0, 2), bins=(0, 1, 3))
    sampler = SAMPLERS[family](Schema((SCHEMA["ill"], stage)))
    found = sampler.predict_proba(pd.DataFrame({"ill": [False, True]}), "stage")
    assert list(found.columns) == ["0", "1", "2"]
    np.testing.assert_allclose(found.sum(axis=1), 1)
    rows = sampler.sample(20_000, np.random.default_rng(0))
    drawn = pd.crosstab(rows["ill"], rows["stage"], normalize="index")
    np.testing.assert_allclose(found, drawn, atol=0.02)
    later = Column("later", "integer", bounds=(0, 2), bins=(0, 1, 2, 3))
    ruled = SAMPLERS[family](Schema((stage, later), constraints=(Inequality("stage", "later"),)))
    chances = ruled.predict_proba(pd.DataFrame({"later": [1]}), "stage")
    assert chances["2"].item() == 0
    assert chances["1"].item() > 0


def test_a_value_without_probability_says_nothing_of_the_target():
    sampler = marginals_sampler()
    within = [table.copy() for table in sampler._within]
    within[0][0] = within[0][1]
    never = MarginalsSampler(SCHEMA, sampler._chain, within)
    frame = ENCODER.decode(EVERY[EVERY[:, 0] == 0], np.random.default_rng(0))
    table = whole(sampler).reshape(SIZES).sum(axis=0)[:, EVERY[EVERY[:, 0] == 0][:, 2], EVERY[EVERY[:, 0] == 0][:, 3]].T
    np.testing.assert_allclose(
        never.predict_proba(frame, "ill").to_numpy(), table / table.sum(axis=1, keepdims=True), atol=1e-9
    )


def test_a_value_that_a_rule_forbids_is_not_predicted():
    rule = Combinations(("city", "ill"), forbidden=(("a", "True"),))
    schema = Schema(SCHEMA.columns, constraints=(rule,))
    for family in EXACT:
        frame = ENCODER.decode(EVERY, np.random.default_rng(0))
        found, free = (SAMPLERS[family](one).predict_proba(frame, "ill") for one in (schema, SCHEMA))
        a = (frame["city"] == "a").to_numpy()
        assert (found["True"][a] == 0).all()
        pd.testing.assert_frame_equal(found[~a], free[~a])


def test_predictions_that_cannot_be():
    frame = ENCODER.decode(EVERY[:5], np.random.default_rng(0))
    sampler = marginals_sampler()
    for bad, target, message in (
        (frame, "age", "at most 10 integers; got 'age'. There are: city, ill"),
        (frame, "town", "got 'town'"),
        (frame.drop(columns="age"), "ill", "'age' is needed"),
        (frame.assign(cost=np.nan), "ill", "'cost' is never missing"),
        (frame.assign(city="zz"), "ill", "not among the declared categories"),
    ):
        with pytest.raises(InputError, match=message):
            sampler.predict_proba(bad, target)
    with pytest.raises(InputError, match="IndependentSampler cannot tell how probable a value is"):
        independent_sampler().predict_proba(frame, "ill")
