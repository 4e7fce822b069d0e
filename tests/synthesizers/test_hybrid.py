"""The anchored transformer: it starts as its graphical model, and learns what that model misses."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import torch

from tabsynth.errors import InputError, ModelError
from tabsynth.graphical.elimination import Conditional
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.clipping import check_clipped_sum
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.schema import Column, Schema
from tabsynth.synthesizers.anchored import FLOOR, Anchor, AnchoredTransformer, systematic
from tabsynth.synthesizers.hybrid import Hybrid
from tabsynth.synthesizers.marginals import Marginals
from tabsynth.synthesizers.transformer import clipped_sum
from tabsynth.table import read

GROUPS = (np.array([0, 0, 1]), np.array([0, 1]), np.array([0, 1, 2, 2]))
WITHIN = (
    np.array([[0.3, 0.7, 0.0], [0.0, 0.0, 1.0]]),
    np.eye(2),
    np.array([[1.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 0.5, 0.5]]),
)
SIZES = (3, 2, 4)


def chain():
    """Return conditionals of codes: column 1 first, then 2 given 1, then 0 given both."""
    rng = np.random.default_rng(0)
    return (
        Conditional(1, (), np.array([0.2, 0.8])),
        Conditional(2, (1,), rng.dirichlet([1.0] * 3, 2)),
        Conditional(0, (1, 2), rng.dirichlet([1.0] * 2, (2, 3))),
    )


def every_row():
    return torch.tensor(list(itertools.product(*map(range, SIZES))))


def transformer(**kwargs):
    torch.manual_seed(0)
    return AnchoredTransformer(Anchor(chain(), GROUPS, WITHIN), **{"width": 8, "depth": 1, "heads": 2} | kwargs)


def stirred(model):
    """Return the model with outputs that are not zero."""
    with torch.no_grad():
        for output in model.outputs:
            output.weight.normal_()
            output.bias.normal_()
    return model


def of_the_graph(row):
    """Return a row's probability under the graphical model, floors included, one factor at a time."""
    codes = [GROUPS[column][token] for column, token in enumerate(row)]
    found = 1.0
    for link in chain():
        mine = link.table[tuple(codes[parent] for parent in link.parents)]
        tokens = [
            mine[GROUPS[link.column][t]] * WITHIN[link.column][GROUPS[link.column][t], t]
            for t in range(SIZES[link.column])
        ]
        found *= (1 - FLOOR) * tokens[row[link.column]] + FLOOR / SIZES[link.column]
    return found


def test_an_untrained_transformer_is_its_graphical_model():
    model, rows = transformer(), every_row()
    found = (-model.losses(rows, model.orders(len(rows)))).exp().detach()
    expected = [of_the_graph(row) for row in rows.tolist()]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4)
    assert sum(expected) == pytest.approx(1.0)


def test_a_trained_one_is_another_distribution_of_the_same_rows():
    model, rows = stirred(transformer()), every_row()
    found = (-model.losses(rows, model.orders(len(rows)))).exp().detach()
    assert float(found.sum()) == pytest.approx(1.0, abs=1e-5)
    assert np.abs(found.numpy() - [of_the_graph(row) for row in rows.tolist()]).sum() > 0.2


@pytest.mark.parametrize("trained", [False, True])
def test_drawn_rows_have_the_models_likelihood(trained):
    """Counts of all 24 rows within five standard errors; those of another model are not."""
    model, other = (stirred(transformer()) if which else transformer() for which in (trained, not trained))
    rows, count = every_row(), 40_000
    drawn = model.drawn(count, torch.Generator().manual_seed(3))
    found = (drawn[:, None] == rows).all(2).double().mean(0).numpy()

    def off(model):
        p = (-model.losses(rows, model.orders(len(rows)))).exp().detach().double().numpy()
        return np.abs((found - p) / np.sqrt(p * (1 - p) / count)).max()

    assert off(model) < 5
    assert off(other) > 20


def test_first_columns_come_up_their_expected_number_of_times():
    drawn = transformer().drawn(1000, torch.Generator().manual_seed(0))
    share = (1 - FLOOR) * 0.2 + FLOOR / 2
    assert abs(int((drawn[:, 1] == 0).sum()) - 1000 * share) <= 1


def test_systematic_numbers_are_uniform_row_by_row():
    source = torch.Generator().manual_seed(1)
    group = torch.tensor([0, 1, 0, 0, 1])
    found = torch.stack([systematic(group, source) for _ in range(4000)])
    assert bool(((found >= 0) & (found < 1)).all())
    for row in range(5):
        assert float(found[:, row].mean()) == pytest.approx(0.5, abs=5 / math.sqrt(12 * 4000))
        assert float(found[:, row].square().mean()) == pytest.approx(1 / 3, abs=0.025)
    assert np.corrcoef(found[:, 0], found[:, 1])[0, 1] == pytest.approx(0, abs=0.08)


def test_the_clipped_sum_is_that_of_single_rows():
    model, rows = stirred(transformer()), every_row()
    orders = model.orders(len(rows))

    def gradient(row):
        loss = model.losses(rows[row : row + 1], orders[:1]).sum()
        return torch.autograd.grad(loss, list(model.parameters()))

    alone = [gradient(row) for row in range(len(rows))]
    check_clipped_sum(alone, clipped_sum(model, rows, orders, 0.7, chunk=7), 0.7, tolerance=1e-4)


def test_rows_of_the_model_are_those_that_it_draws():
    """Shares of all 24 rows by resampling against the likelihood; the anchor's own shares are far off."""
    model, rows = transformer(), every_row()
    with torch.no_grad():
        for output in model.outputs:
            output.bias.normal_(std=0.5)
    own = model.rows_of_its_own(40_000, np.random.default_rng(0))
    found = (own[:, None] == rows).all(2).double().mean(0)
    expected, anchored = (
        (-m.losses(rows, m.orders(len(rows)))).exp().detach().double() for m in (model, transformer())
    )
    assert float((found - expected).abs().sum()) < 0.04
    assert float((found - anchored).abs().sum()) > 0.3


def test_centring_is_what_clipping_does_to_a_model_that_is_right_already():
    """Over rows of the model, clipped gradients sum to something, which centring takes away; plain ones do not."""
    model, rows = transformer(), every_row()
    share = (-model.losses(rows, model.orders(len(rows)))).exp().detach()
    bias = [torch.zeros_like(p) for p in model.parameters()]
    for row, weight in zip(rows, share, strict=True):
        own = clipped_sum(model, row[None], model.orders(1), 0.5)
        bias = [total + weight * each for total, each in zip(bias, own, strict=True)]
    found = Hybrid(centre=20_000, max_grad_norm=0.5).centring(model, 1)
    size = math.sqrt(sum(float(p.square().sum()) for p in bias))
    left = math.sqrt(sum(float((p + q).square().sum()) for p, q in zip(bias, found, strict=True)))
    assert size > 0.02
    assert left < 0.25 * size


# --- the family ---------------------------------------------------------------------------------------------------

COLUMNS = tuple(Column(name, "boolean") for name in "abc")
QUICK = {"width": 16, "depth": 1, "pairs": 1, "rounds": 1, "epochs": 10.0, "free_rate": 1e-2, "free_average": 0.98}


def parity(rows=4000, seed=0):
    """Return rows whose pairs are all independent: c says whether a and b differ, 19 times in 20."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.random((rows, 3)) < 0.5, columns=list("abc"))
    frame["c"] = frame["a"] ^ frame["b"] ^ (rng.random(rows) < 0.05)
    return read(frame, Schema(COLUMNS, rows=rows))


def agreement(rows):
    return float((rows["c"] == (rows["a"] ^ rows["b"])).mean())


def test_what_no_pair_shows_is_learned_after_the_marginals():
    table = parity()
    without = Marginals(pairs=1, rounds=1).fit(table, Ledger(), Secret.fixed(0))
    assert agreement(without.sample(4000, np.random.default_rng(0))) == pytest.approx(0.5, abs=0.05)
    sampler = Hybrid(**QUICK).fit(table, Ledger(), Secret.fixed(0))
    assert agreement(sampler.sample(4000, np.random.default_rng(0))) > 0.9
    held = sampler.log_likelihood(parity(seed=1).private).mean()
    truth = 2 * math.log(0.5) + 0.95 * math.log(0.95) + 0.05 * math.log(0.05)
    assert 3 * math.log(0.5) < truth - 0.05 < held < truth + 0.05
    assert sampler.anchored(table.private).mean() == pytest.approx(3 * math.log(0.5), abs=0.05)


def test_a_budget_is_split_as_told_and_spent():
    """The share that DP-SGD leaves to the marginals, by what they cost alone; mu squared of 0.5 is epsilon 0.7."""
    before = []
    for share in (0.2, 0.5, 0.85):
        ledger, first = (Ledger(Budget(1.0, 1e-5)) for _ in range(2))
        Hybrid(**QUICK, steps=3, batch=512, marginals=share).fit(parity(), ledger, Secret())
        assert 0.99 < ledger.spent.epsilon <= 1.0
        *charges, last = ledger.charges
        assert last.why == "row transformer"
        for charge in charges:
            first.charge(charge.event, why=charge.why, delta=charge.delta)
        before.append(first.spent.epsilon)
    assert 0 < before[0] < 0.5  # the root of 0.2 is 0.45
    assert before[0] < before[1] < 0.75
    assert before[1] < before[2] < 0.95


def test_rows_come_in_blocks_and_repeat_with_their_seed(monkeypatch):
    sampler = Hybrid(**QUICK | {"epochs": 0.5}).fit(parity(), Ledger(), Secret.fixed(0))
    monkeypatch.setattr("tabsynth.synthesizers.hybrid.BLOCK", 300)
    first, again = (sampler.sample(1000, np.random.default_rng(5)) for _ in range(2))
    assert len(first) == 1000
    pd.testing.assert_frame_equal(first, again)
    likelihoods, own = sampler.log_likelihood(first), sampler._model.rows_of_its_own(50, np.random.default_rng(0))
    monkeypatch.setattr("tabsynth.synthesizers.anchored.CELLS", 40)  # of logits: few rows at a time, and the same ones
    pd.testing.assert_frame_equal(sampler.sample(1000, np.random.default_rng(5)), first)
    np.testing.assert_allclose(sampler.log_likelihood(first), likelihoods, rtol=1e-5)
    assert torch.equal(sampler._model.rows_of_its_own(50, np.random.default_rng(0)), own)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"width": 10, "heads": 3}, "width must be a multiple of heads"),
        ({"average": 1.5}, "average must lie between 0 and 1"),
        ({"device": "gpu"}, "device must be"),
        ({"steps": 0}, "steps must be a whole number of at least 1"),
        ({"rate": math.nan}, "rate must be a finite number above 0"),
        ({"discovery": 0.6, "marginals": 0.4}, "must sum to less than 1"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        Hybrid(**settings)


def test_a_budget_that_noise_would_drown_is_refused_before_a_charge():
    ledger = Ledger(Budget(1e-4, 1e-5))
    with pytest.raises(ModelError, match="too small for 4000 rows and 3 columns"):
        Hybrid(**QUICK).fit(parity(), ledger, Secret())
    assert not ledger.charges
