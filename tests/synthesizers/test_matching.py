"""Matching marginals: the fast loss equals the slow obvious one, and is an unbiased estimate of the distance."""

import math
from itertools import combinations, product

import numpy as np
import pytest
import torch

from tabsynth.privacy.marginals import Marginal, count_tokens
from tabsynth.synthesizers import matching
from tabsynth.synthesizers.matching import assemble, match_loss

FLOOR = 1e-2


@pytest.fixture(autouse=True)
def _doubles():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def tokens_of(sizes, rows=200, seed=0):
    """Return tokens whose columns depend on one another."""
    rng = np.random.default_rng(seed)
    first = rng.integers(0, 97, rows)
    return np.stack([(first + rng.integers(0, 2, rows)) % size for size in sizes], axis=1).astype(np.int32)


def measured(tokens, sizes, queries, scale=0.0, seed=1):
    """Return marginals with normal noise of this scale."""
    rng = np.random.default_rng(seed)
    shapes = {query: tuple(sizes[column] for column in query) for query in queries}
    exact = {query: count_tokens(tokens, query, shape).astype(float) for query, shape in shapes.items()}
    return [Marginal(q, counts + scale * rng.standard_normal(counts.shape), scale) for q, counts in exact.items()]


def softmaxes(sizes, rows=10, seed=2):
    """Return each row's distribution over every column's tokens: a list of (rows, size)."""
    torch.manual_seed(seed)
    return [torch.randn(rows, size).softmax(1) for size in sizes]


def slow_loss(parts, marginals, sizes, rows, floor=FLOOR):
    """The same loss, one cell of one marginal at a time."""
    half = math.ceil(len(parts[0]) / 2)
    singles = {m.attributes[0]: m.probabilities() for m in marginals if len(m.attributes) == 1}
    noise = max(m.scale for m in marginals if len(m.attributes) == 1) / rows
    of_kind = {k: sum(len(m.attributes) == k for m in marginals) for k in (2, 3)}
    total = 0.0
    for m in marginals:
        shares = singles[m.attributes[0]] if len(m.attributes) == 1 else m.counts / rows
        for cell in product(*(range(sizes[column]) for column in m.attributes)):
            drawn = torch.ones(len(parts[0]))
            expected = 1.0
            for column, token in zip(m.attributes, cell, strict=True):
                drawn = drawn * parts[column][:, token]
                expected *= singles[column][token]
            least = max(floor, noise if len(m.attributes) == 1 else m.scale / rows)
            weight = 1 / (expected + least) / of_kind.get(len(m.attributes), len(sizes))
            first, second = (float(drawn[rows_].mean()) - shares[cell] for rows_ in (slice(half), slice(half, None)))
            total += weight * first * second
    return total


CASES = {
    "all pairs and triples": (
        (3, 4, 2, 5),
        2,
        [(0, 1), (0, 3), (1, 3), (0, 2), (1, 2), (2, 3)],
        [(0, 1, 2), (1, 3, 2)],
    ),
    "target first": ((2, 3, 4), 0, [(0, 1), (0, 2)], [(1, 2, 0)]),
    "no target": ((3, 2, 4), None, [(0, 1), (1, 2)], []),
    "one column": ((5,), None, [], []),
    "tokens of one value": ((1, 3, 1), 1, [(0, 1), (1, 2), (0, 2)], [(0, 2, 1)]),
}


@pytest.mark.parametrize("scale", [0.0, 3.0])
@pytest.mark.parametrize("name", CASES)
def test_the_loss_is_the_slow_sum_over_cells(name, scale):
    sizes, target, pairs, triples = CASES[name]
    singles = [(column,) for column in range(len(sizes))]
    marginals = measured(tokens_of(sizes), sizes, [*singles, *pairs, *triples], scale)
    targets = assemble(marginals, sizes, target, 200.0, FLOOR)
    parts = softmaxes(sizes, rows=11)  # halves of different size
    fast = match_loss(torch.cat(parts, 1), targets)
    assert float(fast) == pytest.approx(slow_loss(parts, marginals, sizes, 200.0), rel=1e-5, abs=1e-9)


def test_a_wrong_marginal_is_told():
    sizes, target, pairs, triples = CASES["all pairs and triples"]
    singles = [(column,) for column in range(len(sizes))]
    marginals = measured(tokens_of(sizes), sizes, [*singles, *pairs, *triples])
    parts = softmaxes(sizes)
    fast = float(match_loss(torch.cat(parts, 1), assemble(marginals, sizes, target, 200.0, FLOOR)))
    marginals[-1].counts[0, 0, 0] += 20
    assert abs(fast / slow_loss(parts, marginals, sizes, 200.0) - 1) > 1e-3


def distance(parts, targets):
    """The squared distance that the loss estimates: that of the expected marginals of all these rows."""
    one = torch.cat([part.mean(0) for part in parts])
    everything = torch.cat(parts, 1)
    two = everything.T @ everything / len(everything)
    three = torch.einsum("nt,nd,ne->tde", everything[:, targets.given], everything, everything) / len(everything)
    return float(
        (targets.one_way_weight * (one - targets.one_way) ** 2).sum()
        + (targets.two_way_weight * (two - targets.two_way) ** 2).sum()
        + (targets.three_way_weight * (three - targets.three_way) ** 2).sum()
    )


def test_the_loss_is_unbiased():
    sizes, target, pairs, triples = CASES["all pairs and triples"]
    singles = [(column,) for column in range(len(sizes))]
    targets = assemble(measured(tokens_of(sizes), sizes, [*singles, *pairs, *triples]), sizes, target, 200.0, FLOOR)
    population = softmaxes(sizes, rows=50)
    true = distance(population, targets)
    rng = np.random.default_rng(0)

    def batch():
        drawn = rng.integers(0, 50, 8)
        return [part[drawn] for part in population]

    batches = [batch() for _ in range(1500)]
    losses = np.array([float(match_loss(torch.cat(parts, 1), targets)) for parts in batches])
    error = losses.std() / math.sqrt(len(losses))
    assert abs(losses.mean() - true) < 4 * error
    naive = np.array([distance(parts, targets) for parts in batches])  # one batch's own distance, squared, is too large
    assert naive.mean() - true > 8 * error


def test_matching_is_zero_at_the_marginals_themselves():
    sizes = (3, 4, 2)
    tokens = tokens_of(sizes)
    queries = [(0,), (1,), (2,), *combinations(range(3), 2), (0, 1, 2)]
    targets = assemble(measured(tokens, sizes, queries), sizes, 2, 200.0, FLOOR)
    hard = torch.cat([torch.eye(size)[tokens[:, place]] for place, size in enumerate(sizes)], 1)
    assert abs(float(match_loss(torch.cat([hard, hard]), targets))) < 1e-9  # both halves are the table itself


def test_cells_weigh_by_their_share_under_independence_and_their_noise():
    marginals = [
        Marginal((0,), np.array([75.0, 25.0]), 1.0),
        Marginal((1,), np.array([50.0, 50.0]), 1.0),
        Marginal((0, 1), np.array([[40.0, 35.0], [10.0, 15.0]]), 5.0),
    ]
    targets = assemble(marginals, (2, 2), None, 100.0, 0.02)
    assert targets.one_way_weight.tolist() == pytest.approx([1 / 0.77 / 2, 1 / 0.27 / 2, 1 / 0.52 / 2, 1 / 0.52 / 2])
    assert targets.two_way_weight[0, 2] == pytest.approx(1 / (0.75 * 0.5 + 0.05))
    assert targets.two_way[0, 2] == pytest.approx(0.4)
    below = torch.tril(torch.ones(4, 4))
    assert float((targets.two_way_weight * below).sum()) == 0  # a pair counts once, and never with itself
    assert targets.three_way is None
    assert len(targets.given) == 0


def test_the_largest_columns_are_left_out_of_pairs(monkeypatch):
    monkeypatch.setattr(matching, "DENSE", 10)
    sizes = (30, 4, 2, 5)
    queries = [(column,) for column in range(4)] + list(combinations(range(4), 2))
    targets = assemble(measured(tokens_of(sizes), sizes, queries), sizes, 2, 200.0, FLOOR)
    assert targets.dense.tolist() == [30, 31, 32, 33, 34, 35]  # columns 1 and 2: 5 more tokens would be too many
    assert targets.two_way.shape == (6, 6)
    assert len(targets.given) == 0  # without triples nothing is asked of the target's tokens
    assert len(targets.one_way) == 41
    assert math.isfinite(float(match_loss(torch.cat(softmaxes(sizes), 1), targets)))
    only = assemble(measured(tokens_of((30,)), (30,), [(0,)]), (30,), None, 200.0, FLOOR)
    assert len(only.dense) == 0
    assert match_loss(softmaxes((30,))[0], only) > 0
