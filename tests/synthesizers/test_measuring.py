"""What the generator is told about a table: the tree is the right one, and everything measured is charged."""

import math
from itertools import combinations

import numpy as np
import pytest
from dp_accounting import LaplaceDpEvent

from tabsynth.errors import BudgetExceeded, InputError
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.events import DiscreteGaussianDpEvent
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.synthesizers import measuring
from tabsynth.synthesizers.measuring import Measuring, Shares

SIZES = (3, 4, 2, 5, 3)
TARGET = 2
ROWS = 3000


def chained(rows=ROWS, seed=0):
    """Return tokens in which 0 - 3 - 1 - 4 is a chain of weaker and weaker links, and the target leans on 0."""
    rng = np.random.default_rng(seed)

    def copy(values, size, faith):
        return np.where(rng.random(rows) < faith, values % size, rng.integers(0, size, rows))

    zero = rng.integers(0, 3, rows)
    three = copy(zero, 5, 0.9)
    one = copy(three, 4, 0.7)
    four = copy(one, 3, 0.5)
    return np.stack([zero, one, copy(zero, 2, 0.5), three, four], axis=1).astype(np.int32)


def measure_with(ledger, secret=None, *, target=TARGET, tokens=None, sizes=SIZES, rows_per_unit=1):
    tokens = chained() if tokens is None else tokens
    names = tuple(f"c{place}" for place in range(len(sizes)))
    return Measuring(tokens, sizes, names, target, float(len(tokens)), rows_per_unit, ledger, secret or Secret())


def best_tree(scores):
    """The spanning tree of the largest total score, by trying every tree."""
    columns = {column for pair in scores for column in pair}

    def spans(edges):
        reached, last = {min(columns)}, set()
        while reached != last:
            last = set(reached)
            reached |= {c for edge in edges if set(edge) & reached for c in edge}
        return reached == columns

    trees = [edges for edges in combinations(sorted(scores), len(columns) - 1) if spans(edges)]
    return set(max(trees, key=lambda edges: sum(scores[edge] for edge in edges)))


def exact_scores(tokens, target):
    """Each pair's L1 distance from independence given the target, cell by cell."""
    scores = {}
    for a, b in combinations([column for column in range(len(SIZES)) if column != target], 2):
        total = 0.0
        for va in range(SIZES[a]):
            for vb in range(SIZES[b]):
                classes = range(SIZES[target]) if target is not None else [None]
                expected = 0.0
                for value in classes:
                    within = tokens if value is None else tokens[tokens[:, target] == value]
                    if len(within):
                        expected += (within[:, a] == va).sum() * (within[:, b] == vb).sum() / len(within)
                total += abs(((tokens[:, a] == va) & (tokens[:, b] == vb)).sum() - expected)
        scores[a, b] = total
    return scores


@pytest.mark.parametrize("target", [TARGET, None])
def test_with_a_huge_budget_the_tree_is_the_maximum_spanning_tree(target):
    ledger, tokens = Ledger(Budget(300.0, 1e-5)), chained()
    parts = measure_with(ledger, target=target, tokens=tokens)
    kinds = [len(m.attributes) for m in parts.all_marginals(Shares())]
    assert set(edges_of(ledger)) == best_tree(exact_scores(tokens, target))
    pairs = 6 if target is not None else 10
    edges = 3 if target is not None else 4
    with_target = 4 if target is not None else 0
    assert kinds.count(1) == 5
    assert kinds.count(3) == (edges if target is not None else 0)
    assert kinds.count(2) == with_target + pairs - (edges if target is not None else 0)


def edges_of(ledger):
    """Read the chosen edges from the charges: what was measured right after the selections."""
    whys = [charge.why for charge in ledger.charges]
    last = max(place for place, why in enumerate(whys) if why.startswith("edge"))
    count = sum(why.startswith("edge") for why in whys)
    names = [why.removeprefix("marginal of ").replace("'", "").split(", ") for why in whys[last + 1 : last + 1 + count]]
    return [tuple(int(name[1:]) for name in named[:2]) for named in names]


def test_a_small_budget_does_not_always_find_it():
    found = set()
    for seed in range(8):
        ledger = Ledger(Budget(0.05, 1e-5))
        measure_with(ledger, Secret.fixed(seed), tokens=chained(rows=100)).all_marginals(Shares())
        found.add(tuple(edges_of(ledger)))
    assert len(found) > 1


def test_what_is_charged_is_what_was_asked_for():
    ledger, shares = Ledger(Budget(3.0, 1e-5)), Shares()
    mu = 1 / ledger.sigma(1.0)
    measure_with(ledger, rows_per_unit=2).all_marginals(shares)
    events = [charge.event for charge in ledger.charges]
    edges, others = 3, 3  # of 6 pairs without the target
    expected = [
        *[DiscreteGaussianDpEvent(2 * ledger.sigma(shares.one_way / 5), 2)] * 5,
        *[DiscreteGaussianDpEvent(2 * ledger.sigma(shares.target_pairs / 4), 2)] * 4,
        *[LaplaceDpEvent(ledger.sigma(shares.selection / edges))] * edges,
        *[DiscreteGaussianDpEvent(2 * ledger.sigma(shares.triples / edges), 2)] * edges,
        *[DiscreteGaussianDpEvent(2 * ledger.sigma(shares.pairs / others), 2)] * others,
    ]
    assert events == expected
    gaussians = [event for event in events if isinstance(event, DiscreteGaussianDpEvent)]
    squares = sum((event.sensitivity / event.sigma) ** 2 for event in gaussians)
    assert squares == pytest.approx(mu**2 * (shares.total - shares.selection))
    assert ledger.spent.epsilon < 3.0


def test_nothing_is_counted_before_it_is_charged():
    ledger = Ledger(Budget(1.0, 1e-5))
    ledger.charge(DiscreteGaussianDpEvent(ledger.sigma(0.99)), why="earlier")
    with pytest.raises(BudgetExceeded):
        measure_with(ledger, tokens=None).all_marginals(Shares())


def test_without_a_budget_everything_is_exact():
    ledger, tokens = Ledger(), chained()
    marginals = {m.attributes: m for m in measure_with(ledger, tokens=tokens).all_marginals(Shares())}
    assert sorted(map(len, marginals)) == [1] * 5 + [2] * 10 + [3] * 6
    assert all(m.scale == 0 and m.counts.sum() == ROWS for m in marginals.values())
    assert marginals[0, 3, 2].counts[1, 1, 0] == ((tokens[:, [0, 3, 2]] == [1, 1, 0]).all(1)).sum()
    assert not ledger.private


def test_a_target_of_many_classes_is_measured_in_pairs(monkeypatch):
    monkeypatch.setattr(measuring, "MOST_CLASSES", 1)
    kinds = [len(m.attributes) for m in measure_with(Ledger(Budget(3.0, 1e-5))).all_marginals(Shares())]
    assert max(kinds) == 2


def test_tables_too_large_are_left_out(monkeypatch):
    monkeypatch.setattr(measuring, "MOST_CELLS", 12)  # 4 x 5 and 3 x 5 are not measured, nor triples of 3 x 4 x 2
    marginals = measure_with(Ledger(Budget(3.0, 1e-5))).all_marginals(Shares())
    assert all(m.counts.size <= 12 for m in marginals)
    assert {m.attributes for m in marginals if len(m.attributes) == 1} == {(c,) for c in range(5)}


def test_pairs_below_their_noise_are_not_bought():
    ledger = Ledger(Budget(0.01, 1e-5))
    measure_with(ledger, tokens=chained(rows=50)).all_marginals(Shares())
    assert len(edges_of(ledger)) == 3
    after = len(ledger.charges) - max(i for i, c in enumerate(ledger.charges) if c.why.startswith("edge")) - 1
    assert after == 3  # the tree's triples, and no other pair


@pytest.mark.parametrize("wrong", [{"one_way": 0.0}, {"triples": 0.9}, {"pairs": math.nan}, {"selection": -0.1}])
def test_shares_must_be_a_split(wrong):
    with pytest.raises(InputError, match="shares of the marginals"):
        Shares(**wrong)
