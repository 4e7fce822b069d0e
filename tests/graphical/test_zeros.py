"""Structural zeros: what rules leave out of a model, against every row written out, and models that hold it."""

import itertools

import numpy as np
import pytest

from tabsynth.constraints import Combinations, Dependency, Inequality, OneHot, Predicate, Sum
from tabsynth.encoding.encoder import Encoder
from tabsynth.graphical.coarsening import Codes
from tabsynth.graphical.descent import Measurement, estimate
from tabsynth.graphical.elimination import conditionals, order_and_cells
from tabsynth.graphical.zeros import Zeros, structure_of
from tabsynth.schema import DAY, Column, Schema

CITIES = tuple("abcdefg")
SCHEMA = Schema(
    (
        Column("city", "categorical", categories=CITIES, nullable=True),
        Column("state", "categorical", categories=("X", "Y", "Z")),
        Column("ill", "boolean", nullable=True),
        Column("well", "boolean"),
        Column("odd", "integer", bounds=(0, 1), bins=(0, 1, 2)),
        Column("in", "datetime", bounds=(0, 5 * DAY), bins=tuple(day * DAY for day in (0, 2, 3, 6)), nullable=True),
        Column("out", "datetime", bounds=(0, 7 * DAY), bins=tuple(day * DAY for day in (0, 1, 4, 8))),
        Column("a", "integer", bounds=(0, 3), bins=(0, 1, 2, 4)),
        Column("b", "integer", bounds=(0, 4), bins=(0, 2, 5)),
        Column("all", "integer", bounds=(0, 9), bins=(0, 1, 2, 4, 6, 10), nullable=True),
    )
)
ENCODER = Encoder(SCHEMA)
MAPPING = tuple(zip(CITIES, "XYZXYXX", strict=True))
ALLOWED = (("a", "X", "True"), ("b", "Y", "True"), ("b", "Y", "False"), ("c", "Z", "False"), ("d", "X", "True"))
EXACT = {
    "a mapping": Dependency("city", "state", MAPPING),
    "allowed": Combinations(("city", "state", "ill"), allowed=ALLOWED),
    "forbidden": Combinations(("state", "city"), forbidden=(("X", "b"), ("Y", "a"), ("X", "c"), ("Z", "g"))),
    "one hot": OneHot(("ill", "odd", "well")),
}
ROUGH = {
    "an order": Inequality("in", "out"),
    "an order of numbers": Inequality("all", "b", strict=True),
    "a sum": Sum(("a", "b"), "all"),
}


def codes_in(seed, few=2):
    """Codes as noise might make them: every column's tokens in a few groups, missing by itself."""
    rng = np.random.default_rng(seed)
    groups = []
    for codec in ENCODER.codecs:
        merged = rng.integers(0, few, codec.values)
        if codec.column.numeric:
            merged = np.sort(merged)
        merged = np.unique(merged, return_inverse=True)[1]
        groups.append(np.append(merged, [merged.max() + 1] * (codec.size - codec.values)).astype(np.int64))
    sizes = [int(group.max()) + 1 for group in groups]
    halves = tuple(np.arange(size) // 2 for size in sizes)
    return Codes(tuple(groups), (tuple(map(np.arange, sizes)), halves))


def rows_over(columns):
    """Every row over some columns, all values of every bin among them: tokens (rows, all columns), and the rows."""
    places = np.linspace(0, 0.999, 60)
    every = []
    for column in columns:
        codec = ENCODER.codecs[column]
        pairs = [(token, place) for token in range(codec.size) for place in (places if codec.column.numeric else [0.5])]
        tokens, offsets = np.array([pair[0] for pair in pairs], np.int32), np.array([pair[1] for pair in pairs])
        values = codec.decode(tokens, offsets.astype(np.float32)).astype(str)
        every.append(
            [
                pairs[place]
                for place in np.unique(np.stack([tokens, values.factorize()[0]]), axis=1, return_index=True)[1]
            ]
        )
    rows = np.array(list(itertools.product(*every)))
    tokens = np.zeros((len(rows), len(ENCODER.codecs)), np.int32)
    offsets = np.zeros(tokens.shape, np.float32)
    tokens[:, columns], offsets[:, columns] = rows[:, :, 0], rows[:, :, 1]
    return tokens, ENCODER.decode(tokens, np.random.default_rng(0), offsets)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", EXACT)
def test_a_rule_between_categories_is_held_combination_by_combination(name, seed):
    rule, codes = EXACT[name], codes_in(seed)
    found = structure_of([rule], ENCODER.codecs, codes, [], 100_000)
    assert found.keeps == (rule,)
    (zeros,) = found.zeros
    tokens, frame = rows_over(zeros.columns)
    broken = rule.broken(frame, {column.name: column for column in SCHEMA})
    coded = tuple(found.codes.groups[column][tokens[:, column]] for column in zeros.columns)
    np.testing.assert_array_equal(zeros.allowed[coded], ~broken)
    assert broken.any()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ROUGH)
def test_a_rule_between_numbers_leaves_out_only_what_cannot_be(name, seed):
    rule = ROUGH[name]
    same = tuple(map(np.arange, ENCODER.sizes))
    codes = codes_in(seed, few=4) if seed else Codes(same, (same,))
    found = structure_of([rule], ENCODER.codecs, codes, [], 100_000)
    assert found.keeps == ()
    (zeros,) = found.zeros
    tokens, frame = rows_over(zeros.columns)
    good = ~rule.broken(frame, {column.name: column for column in SCHEMA})
    coded = tuple(found.codes.groups[column][tokens[:, column]] for column in zeros.columns)
    possible = np.zeros_like(zeros.allowed)
    possible[tuple(part[good] for part in coded)] = True
    assert (zeros.allowed | ~possible).all()
    if seed == 0:  # every bin by itself
        assert not zeros.allowed.all()
        assert (zeros.allowed & ~possible).mean() < 0.1  # ends meet that no pair does


def test_levels_and_counts_follow_the_codes_that_were_cut():
    codes = codes_in(0)
    cut = codes.cut(0, np.array([0, 1, 0, 1, 2, 2, 2, 3]))
    assert cut.sizes[0] > codes.sizes[0]
    assert cut.sizes[1:] == codes.sizes[1:]
    for old, new in zip(codes.levels, cut.levels, strict=True):
        np.testing.assert_array_equal(new[0][cut.groups[0]], old[0][codes.groups[0]])
    for code in range(cut.sizes[0]):
        assert len({(0, 1, 0, 1, 2, 2, 2, 3)[token] for token in np.flatnonzero(cut.groups[0] == code)}) == 1


def test_what_passes_the_cap_is_left_out():
    rules = [*EXACT.values(), *ROUGH.values(), Dependency("city", "ill"), Predicate(("a",), "some.where:f")]
    beside = [(column, 2) for column in range(len(SCHEMA.columns)) if column != 2]
    some = structure_of(rules, ENCODER.codecs, codes_in(1), beside, 60)
    cliques = [*beside, *(zeros.columns for zeros in some.zeros), *some.links]
    assert order_and_cells(cliques, some.codes.sizes)[1] <= 60
    assert 0 < len(some.keeps) < len(EXACT)
    none = structure_of(rules, ENCODER.codecs, codes_in(1), beside, 1)
    assert (none.zeros, none.keeps, none.links) == ((), (), ())
    assert none.codes.sizes == codes_in(1).sizes
    every = structure_of(rules, ENCODER.codecs, codes_in(1), beside, 10**9)
    assert every.keeps == tuple(EXACT.values())
    assert every.links == ((0, 2),)


def test_the_model_of_exact_counts_and_zeros_is_that_of_iterative_fitting():
    """The closest distribution to uniform on what is allowed, with these one-way counts: fitted side by side."""
    rng = np.random.default_rng(0)
    allowed = rng.random((4, 3, 2)) < 0.6
    sizes, total = allowed.shape, 1000.0
    truth = np.where(allowed, rng.random(sizes), 0)
    truth *= total / truth.sum()
    ways = [(0,), (1,), (2,), (0, 1)]
    counts = [truth.sum(axis=tuple(axis for axis in range(3) if axis not in way)) for way in ways]
    fitted = np.where(allowed, 1.0, 0.0)
    for _ in range(3000):
        for way, count in zip(ways, counts, strict=True):
            over = tuple(axis for axis in range(3) if axis not in way)
            now = fitted.sum(axis=over, keepdims=True)
            fitted = fitted * np.divide(count.reshape(now.shape), now, out=np.zeros_like(now), where=now > 0)
    same = [tuple(np.arange(sizes[column]) for column in way) for way in ways]
    measured = [Measurement(way, groups, count, 1.0) for way, groups, count in zip(ways, same, counts, strict=True)]
    model = estimate(measured, sizes, total, 5000, zeros=[Zeros((2, 0, 1), allowed.transpose(2, 0, 1))])
    whole = np.full(sizes, total)
    for link in conditionals(model.factors, sizes):
        axes = [*link.parents, link.column]
        shape = [sizes[axis] if axis in axes else 1 for axis in range(3)]
        whole = whole * link.table.transpose(np.argsort(axes)).reshape(shape)
    assert (whole[~allowed] == 0).all()
    np.testing.assert_allclose(whole, fitted, atol=1.5)
    free = estimate(measured, sizes, total, 5000)
    assert len(free.pulls) == len(model.pulls)


def test_a_distance_goes_with_a_value_and_a_value_that_is_alone_with_none():
    low = Column("in", "integer", bounds=(0, 9), bins=(0, 3, 6, 10), nullable=True)
    high = Column("out", "integer", bounds=(0, 9), nullable=True, after="in", distances=(0, 1, 4, 10))
    encoder = Encoder(Schema((low, high), constraints=(Inequality("in", "out"),)))
    same = tuple(map(np.arange, encoder.sizes))
    alone = {encoder.pair("out"): encoder.distances["out"].alone}
    found = structure_of(encoder.schema.constraints, encoder.codecs, Codes(same, (same,)), [], 100_000, alone=alone)
    (zeros,) = found.zeros
    tokens = np.indices(encoder.sizes).reshape(2, -1)
    coded = tuple(found.codes.groups[column][tokens[column]] for column in zeros.columns)
    absent, apart, none = tokens[0] == 3, tokens[1] >= 8, tokens[1] == 11
    np.testing.assert_array_equal(zeros.allowed[coded], none | (absent != apart))
