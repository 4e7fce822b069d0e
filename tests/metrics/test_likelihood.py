from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pytest

from tabsynth.metrics.likelihood import PRIOR, log_likelihood, mutual_information, tree
from tabsynth.metrics.privacy import MembershipAUC


def chained(rng, rows=3000):
    """Four columns, each a noisy copy of another: 2 of 0, 1 of 2, 3 of 0."""
    first = rng.integers(4, size=rows)

    def noisy(of):
        return np.where(rng.random(rows) < 0.3, rng.integers(4, size=rows), of)

    second = noisy(first)
    return [first, noisy(second), second, noisy(first)]


def test_the_tree_is_the_one_of_largest_mutual_information(rng):
    columns = chained(rng)
    assert tree(columns) == [-1, 2, 0, 0]
    found = sum(mutual_information(columns[i], columns[p]) for i, p in enumerate(tree(columns)) if p >= 0)
    edges = list(combinations(range(4), 2))
    best = 0.0
    for chosen in combinations(edges, 3):
        reached = {0}
        for _ in range(3):
            reached |= {b for a, b in chosen if a in reached} | {a for a, b in chosen if b in reached}
        if len(reached) == 4:
            best = max(best, sum(mutual_information(columns[a], columns[b]) for a, b in chosen))
    assert found == pytest.approx(best)


def test_the_likelihood_is_a_probability_over_all_rows(rng):
    columns = [rng.integers(3, size=50), rng.integers(2, size=50), rng.integers(3, size=50)]
    every = [np.array(cells) for cells in zip(*product(range(3), range(2), range(3)), strict=True)]
    assert np.exp(log_likelihood(every, columns, [-1, 0, 0])).sum() == pytest.approx(1)
    known = np.bincount(columns[0], minlength=3)
    alone = (known + PRIOR) / (50 + 3 * PRIOR)
    assert np.exp(log_likelihood([np.arange(3)], columns[:1], [-1])) == pytest.approx(alone)


def test_one_column_and_a_column_without_information_have_a_tree(rng):
    assert tree([np.zeros(9, dtype=int)]) == [-1]
    assert sorted(tree([np.zeros(9, dtype=int), np.zeros(9, dtype=int), rng.integers(3, size=9)])).count(-1) == 1


def test_the_ratio_finds_rows_that_are_held_too_often(draw):
    attack = MembershipAUC(attacks=("likelihood ratio",))
    for seed in range(3):
        evidence = draw(1600, 800, 1600, seed)
        few = replace(evidence, rows=evidence.train.iloc[np.random.default_rng(seed).integers(100, size=1600)])
        found = [attack(each, np.random.default_rng(seed)) for each in (few, evidence)]
        assert found[0].value > found[1].value + 0.01
        assert found[1].low < 0.5 < found[1].high
