"""Clipped sums: the bound holds whatever a row holds, and ghost clipping is per-row clipping."""

import math
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, vmap

from tabsynth.errors import ConformanceError
from tabsynth.privacy.clipping import SLACK, GhostClipping, check_clipped_sum, chunks, clip_factors, masked
from tabsynth.synthesizers import bookkeeping, layer_gradients
from tabsynth.synthesizers.layer_gradients import Outer


class Reader(nn.Module):
    """Every layer type in use: an embedded sequence, a norm, plain and sequence-wise linear layers."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(7, 8)
        self.mix = nn.Linear(8, 6)
        self.norm = nn.LayerNorm(6)
        self.head = nn.Linear(6, 3, bias=False)
        self.last = nn.Linear(3, 3)

    def forward(self, tokens):
        return self.last(torch.tanh(self.head(self.norm(torch.tanh(self.mix(self.embed(tokens))))).mean(1)))


@pytest.fixture(name="case")
def _case():
    torch.manual_seed(0)
    model = Reader()
    tokens = torch.randint(0, 7, (40, 5))
    tokens[3] = 2  # a row that repeats a token: its embedding gradients add up before the norm is taken
    inputs = [tokens, torch.randint(0, 3, (40,)), torch.rand(40) * 20]

    def losses(tokens, labels, weights):
        return weights * nn.functional.cross_entropy(model(tokens), labels, reduction="none")

    return model, losses, inputs


def per_row_gradients(model, inputs):
    """Every row's gradient by torch.func, one tuple of tensors a row."""
    weights = {name: p.detach() for name, p in model.named_parameters()}

    def loss(weights, tokens, label, factor):
        scores = functional_call(model, weights, (tokens[None],))
        return factor * nn.functional.cross_entropy(scores, label[None])

    found = vmap(grad(loss), in_dims=(None, 0, 0, 0))(weights, *inputs)
    return list(zip(*found.values(), strict=True))


def norm_of(tensors):
    return math.sqrt(sum(float(each.double().square().sum()) for each in tensors))


def clipped(gradients, bound):
    """The slow obvious clipped sum."""
    factors = [min(1.0, bound / norm_of(g)) for g in gradients]
    return [sum(f * part for f, part in zip(factors, parts, strict=True)) for parts in zip(*gradients, strict=True)]


@pytest.mark.parametrize("bound", [0.1, 3.0, math.inf])
@pytest.mark.parametrize("chunk", [None, 1, 7])
def test_ghost_clipping_equals_per_row_gradients_clipped_one_by_one(case, bound, chunk):
    model, losses, inputs = case
    gradients = per_row_gradients(model, inputs)
    norms = [norm_of(g) for g in gradients]
    assert math.isinf(bound) or min(norms) < bound * 20
    fast = GhostClipping(model, bound).clipped_sum(losses, inputs, chunk=chunk)
    slow = clipped(gradients, bound)
    assert norm_of([a - b for a, b in zip(fast, slow, strict=True)]) <= 2e-5 * norm_of(slow)
    check_clipped_sum(gradients, fast, bound, tolerance=1e-5)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e38])
def test_a_row_that_is_not_finite_changes_nothing_else(case, bad):
    model, losses, inputs = case
    ghost = GhostClipping(model, 0.5)
    without = ghost.clipped_sum(losses, [torch.cat([each[:4], each[5:]]) for each in inputs])
    inputs[2][4] = bad
    with_it = ghost.clipped_sum(losses, inputs)
    assert norm_of([a - b for a, b in zip(with_it, without, strict=True)]) <= 1e-5 * norm_of(without)


def test_nothing_but_rows_that_are_not_finite_and_no_rows_at_all_give_zeros(case):
    model, losses, inputs = case
    ghost = GhostClipping(model, 0.5)
    assert norm_of(ghost.clipped_sum(losses, [each[:0] for each in inputs])) == 0
    inputs[2][:] = math.nan
    assert norm_of(ghost.clipped_sum(losses, inputs)) == 0


def test_a_unit_of_many_rows_moves_the_sum_by_at_most_the_bound(case):
    model, losses, inputs = case
    owner = torch.tensor(sorted([0] * 13 + [1] * 20 + list(range(2, 9))))
    ghost = GhostClipping(model, 0.5)
    whole = ghost.clipped_sum(losses, inputs, owner=owner)
    per_row = ghost.clipped_sum(losses, inputs)
    longest = 0.0
    for unit in range(9):
        others = owner != unit
        left = ghost.clipped_sum(losses, [each[others] for each in inputs], owner=owner[others])
        move = norm_of([a - b for a, b in zip(whole, left, strict=True)])
        longest = max(longest, move)
        assert move <= 0.5 * (1 + 1e-6)
    assert longest > 0.25
    left = ghost.clipped_sum(losses, [each[owner != 1] for each in inputs])
    assert norm_of([a - b for a, b in zip(per_row, left, strict=True)]) > 0.5  # clipping row by row would not do
    in_chunks = ghost.clipped_sum(losses, inputs, owner=owner, chunk=5)
    assert norm_of([a - b for a, b in zip(whole, in_chunks, strict=True)]) <= 1e-5 * norm_of(whole)


def test_ghost_clipping_leaves_the_module_as_it_was(case):
    model, losses, inputs = case
    before = {name: value.clone() for name, value in model.state_dict().items()}
    GhostClipping(model, 0.5).clipped_sum(losses, inputs)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    losses(*inputs).sum().backward()  # no hook is left to warn or to keep activations
    assert not any(getattr(module, "activations", None) for module in model.modules())


def test_frozen_and_unreached_parameters(case):
    model, losses, inputs = case
    model.embed.weight.requires_grad_(False)
    model.spare = nn.Linear(2, 2)
    found = GhostClipping(model, 0.5).clipped_sum(losses, inputs)
    assert [f.shape for f in found] == [p.shape for p in model.parameters() if p.requires_grad]
    assert norm_of(found[-2:]) == 0
    assert norm_of(found) > 0.5


def test_a_parameter_that_escapes_the_norm_is_caught(case):
    model, losses, inputs = case
    model.spare = nn.Linear(2, 2)

    def around(tokens, labels, weights):
        return losses(tokens, labels, weights) + model.spare.weight.sum() * weights  # not through its layer

    with pytest.raises(ConformanceError, match="unclipped"):
        GhostClipping(model, 0.5).clipped_sum(around, inputs)


# ------------------------------------------------------------------------------------------------------ closed forms


def test_factors_clip_to_the_bound_and_never_lengthen():
    squared = torch.logspace(-12, 12, 200)
    lengths = clip_factors(squared, 0.7).double() * squared.double().sqrt()
    assert (lengths <= 0.7).all()
    assert (lengths[squared > 0.49 * (1 + 3 * SLACK)] > 0.7 * (1 - 2 * SLACK)).all()
    assert (clip_factors(squared, 0.7)[squared < 0.48] == 1).all()
    assert (clip_factors(squared, math.inf) == 1).all()
    odd = torch.tensor([0.0, -1e-9, math.nan, math.inf])
    assert clip_factors(odd, 0.7).tolist() == [1.0, 1.0, 0.0, 0.0]
    assert clip_factors(torch.zeros(0), 1.0, torch.zeros(0, dtype=torch.int64)).shape == (0,)


def test_factors_of_a_unit_share_the_bound():
    norms, owner = torch.tensor([3.0, 4.0, 0.2, math.nan, 1.0]), torch.tensor([0, 0, 1, 2, 2])
    factors = clip_factors(norms.square(), 1.4, owner)
    torch.testing.assert_close(factors, torch.tensor([0.2, 0.2, 1.0, 0.0, 1.0]), rtol=2 * SLACK, atol=0)


def test_masked_outer_products_survive_what_is_not_finite():
    left, right = torch.randn(5, 3), torch.randn(5, 4)
    expected = left[:4].T @ right[:4]
    left[4], right[4, 0] = math.nan, math.inf
    factors = torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0])
    found = masked(factors[:, None] * left, factors).T @ masked(right, factors)
    torch.testing.assert_close(found, expected)
    assert not torch.isfinite((factors[:, None] * left).T @ right).all()  # what it is for


@pytest.mark.parametrize("fault", ["batch", "twice", "layer", "half"])
def test_the_slow_check_trips_on_wrong_clipping(case, fault):
    model, _, inputs = case
    gradients = per_row_gradients(model, inputs)
    right = clipped(gradients, 0.5)
    check_clipped_sum(gradients, right, 0.5)
    total = [sum(parts) for parts in zip(*gradients, strict=True)]
    wrong = {
        "batch": [part * min(1.0, 20.0 / norm_of(total)) for part in total],
        "twice": clipped(gradients, 1.0),
        "layer": [clipped([(part,) for part in parts], 0.5)[0] for parts in zip(*gradients, strict=True)],
        "half": clipped(gradients[:20], 0.5),
    }[fault]
    with pytest.raises(ConformanceError, match="one unit at a time"):
        check_clipped_sum(gradients, wrong, 0.5)


def test_the_slow_check_takes_an_empty_batch():
    check_clipped_sum([], [torch.zeros(3)], 1.0)
    with pytest.raises(ConformanceError):
        check_clipped_sum([], [torch.ones(3)], 1.0)


def test_chunks_never_split_a_unit():
    owner = torch.tensor([0, 0, 0, 1, 2, 2, 3])
    cuts = list(chunks(7, 2, owner))
    assert cuts == [(0, 3), (3, 6), (6, 7)]
    assert all(owner[a[1] - 1] != owner[b[0]] for a, b in pairwise(cuts))
    assert list(chunks(0, 2, None)) == []


@pytest.mark.parametrize("form", ["book-keeping", "language models"])
def test_parts_that_nearly_cancel_stay_within_the_bound(form):
    """Of two places whose products all but cancel float32 loses more than what is left of them."""
    rng = torch.Generator().manual_seed(0)
    given = (100 * torch.randn(50, 1, 64, generator=rng)).expand(-1, 2, -1).contiguous()
    push = 100 * torch.randn(50, 1, 48, generator=rng)
    gradient = torch.cat([push, -push * (1 + 1e-4)], 1)
    exact = (given.double().transpose(1, 2) @ gradient.double()).flatten(1).norm(dim=1)
    if form == "book-keeping":
        squares = bookkeeping._squares(nn.Linear(64, 48), given, gradient)
        exact = (exact.square() + gradient.double().sum(1).square().sum(1)).sqrt()
    else:
        squares = layer_gradients._squares({0: [Outer(given, gradient)]}, 50, torch.device("cpu"))
    bound = 0.1 * float(exact.median())
    assert float((clip_factors(squares, bound) * exact).max()) <= bound
