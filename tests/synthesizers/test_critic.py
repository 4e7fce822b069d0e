"""The critic's closed form: every row's gradient, penalty included, is what `torch.func` finds the slow way."""

import math

import pytest
import torch
from torch.func import functional_call, grad, vmap

from tabsynth.errors import ConformanceError
from tabsynth.privacy.clipping import check_clipped_sum, clip_factors
from tabsynth.synthesizers.critic import (
    Critic,
    clipped_real_sum,
    generated_gradient,
    penalty_factors,
    score_factors,
    squared_norms,
    weighted_sum,
)

ROW, GIVEN, PENALTY = 9, 5, 10.0
ACCURACY = [(torch.float64, 1e-9), (torch.float32, 1e-4)]


@pytest.fixture(autouse=True)
def _default_dtype():
    before = torch.get_default_dtype()
    yield
    torch.set_default_dtype(before)


def case(widths=(7, 6), rows=40, dtype=torch.float64):
    """Return a critic, real inputs and interpolates that share each row's condition."""
    torch.set_default_dtype(dtype)
    torch.manual_seed(len(widths))
    critic = Critic(ROW, GIVEN, widths)
    real, mixed = torch.randn(rows, ROW + GIVEN), torch.randn(rows, ROW + GIVEN)
    mixed[:, ROW:] = real[:, ROW:]
    return critic, real, mixed


def per_row_gradients(critic, real, mixed, penalty=PENALTY):
    """Every row's gradient of its whole loss, the penalty by a double backward: one tuple of tensors a row."""
    weights = {name: p.detach() for name, p in critic.named_parameters()}

    def loss(weights, x, between):
        def score(row, given):
            return functional_call(critic, weights, (torch.cat([row, given])[None],))[0]

        slope = grad(score)(between[:ROW], between[ROW:])
        return -score(x[:ROW], x[ROW:]) + penalty * (slope.norm() - 1) ** 2

    found = vmap(grad(loss), in_dims=(None, 0, 0))(weights, real, mixed)
    return list(zip(*found.values(), strict=True))


def length(tensors):
    return math.sqrt(sum(float(each.double().square().sum()) for each in tensors))


def error(found, expected):
    return length([a - b for a, b in zip(found, expected, strict=True)]) / length(expected)


def norms_of(critic, real, mixed):
    score = [(-left, right) for left, right in score_factors(critic, real)]
    slope = [(PENALTY * left, right) for left, right in penalty_factors(critic, mixed)]
    return squared_norms(score, slope).sqrt()


def clipped(critic, real, mixed, bound, owner=None, *, penalty=PENALTY):
    return clipped_real_sum(critic, real, mixed, penalty=penalty, max_grad_norm=bound, owner=owner)


@pytest.mark.parametrize("widths", [(), (7,), (7, 6), (8, 5, 4)])
@pytest.mark.parametrize(("dtype", "accuracy"), ACCURACY)
def test_norms_and_sums_are_those_of_per_row_gradients(widths, dtype, accuracy):
    critic, real, mixed = case(widths, dtype=dtype)
    slow = per_row_gradients(critic, real, mixed)
    norms = torch.tensor([length(gradient) for gradient in slow])
    assert float((norms_of(critic, real, mixed) / norms - 1).abs().max()) <= accuracy
    bound = float(norms.median())  # half of the rows are clipped
    expected = [
        sum(min(1.0, bound / float(norm) / (1 + 1e-5)) * part for norm, part in zip(norms, parts, strict=True))
        for parts in zip(*slow, strict=True)
    ]
    assert error(clipped(critic, real, mixed, bound), expected) <= accuracy
    check_clipped_sum(slow, clipped(critic, real, mixed, bound), bound, tolerance=accuracy)


def test_without_a_bound_it_is_the_gradient_of_the_summed_loss():
    critic, real, mixed = case()
    rows = mixed[:, :ROW].clone().requires_grad_()
    (slope,) = torch.autograd.grad(critic(torch.cat([rows, mixed[:, ROW:]], 1)).sum(), rows, create_graph=True)
    loss = (-critic(real) + PENALTY * (slope.norm(dim=1) - 1) ** 2).sum()
    expected = torch.autograd.grad(loss, list(critic.parameters()), materialize_grads=True, allow_unused=True)
    assert error(clipped(critic, real, mixed, math.inf), expected) <= 1e-12


def test_the_penalty_is_clipped_together_with_the_score():
    critic, real, mixed = case()
    slow = per_row_gradients(critic, real, mixed)
    bound = 0.5 * min(length(gradient) for gradient in slow)
    apart = [
        a + b
        for a, b in zip(
            clipped(critic, real, mixed, bound, penalty=0.0),
            clipped(critic, torch.zeros_like(real), mixed, bound),
            strict=True,
        )
    ]
    check_clipped_sum(slow, clipped(critic, real, mixed, bound), bound, tolerance=1e-9)
    with pytest.raises(ConformanceError):  # each half clipped by itself is another sum
        check_clipped_sum(slow, apart, bound, tolerance=1e-2)


@pytest.mark.parametrize("bound", [0.01, 1.0, 30.0])
def test_no_row_moves_the_sum_by_more_than_the_bound(bound):
    critic, real, mixed = case()
    real[3] *= 1e6
    everything = clipped(critic, real, mixed, bound)
    for gone in range(len(real)):
        kept = torch.arange(len(real)) != gone
        rest = clipped(critic, real[kept], mixed[kept], bound)
        assert length([a - b for a, b in zip(everything, rest, strict=True)]) <= bound


@pytest.mark.parametrize("bound", [0.01, 1.0, 30.0])
def test_no_unit_moves_the_sum_by_more_than_the_bound(bound):
    critic, real, mixed = case()
    owner = torch.arange(len(real)) // 3
    everything = clipped(critic, real, mixed, bound, owner)
    for gone in range(int(owner.max()) + 1):
        kept = owner != gone
        rest = clipped(critic, real[kept], mixed[kept], bound, owner[kept] - (owner[kept] > gone).long())
        assert length([a - b for a, b in zip(everything, rest, strict=True)]) <= bound
    single = clipped(critic, real, mixed, bound)
    assert bound > 20 or error(everything, single) > 0.1  # clipping by rows is another sum


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_row_that_is_not_finite_adds_nothing(bad):
    critic, real, mixed = case()
    kept = torch.arange(len(real)) != 3
    expected = clipped(critic, real[kept], mixed[kept], 1.0)
    real[3, 2] = bad
    assert error(clipped(critic, real, mixed, 1.0), expected) <= 1e-12
    mixed[4, 2] = bad  # only the masks read an interpolate: its row's gradient stays finite, and clipped
    moved = clipped(critic, real, mixed, 1.0)
    assert length([a - b for a, b in zip(moved, expected, strict=True)]) <= 2.0


def test_cancelling_terms_keep_the_bound_in_float32():
    """Score and penalty of opposite direction leave a short sum of long parts: its norm is still told rightly."""
    critic, real, _ = case(dtype=torch.float32)
    score = [(-left, right) for left, right in score_factors(critic, real)]
    nearly = [((1 + 1e-4) * left, right) for left, right in score_factors(critic, real)]
    exact = 1e-8 * sum((a.double().square().sum(1)) * b.double().square().sum(1) for a, b in score)
    biases = sum(a.double().square().sum(1) for a, _ in score)
    assert torch.allclose(squared_norms(score, nearly), exact + biases, rtol=1e-2)


@pytest.mark.parametrize("apart", [3e-8, 1e-7, 3e-7, 1e-6, 1e-5])
def test_what_single_precision_loses_of_parts_that_cancel_stays_within_the_bound(apart):
    """Of two long parts that leave nothing, the sum holds what rounding left, times a factor for so short a sum."""
    rng = torch.Generator().manual_seed(0)
    for _ in range(60):
        left, right = 1e-3 * torch.randn(1, 64, generator=rng), 1e9 * torch.randn(1, 64, generator=rng)
        score, slope = [(left, right)], [(-left * (1 + apart), right)]
        total = weighted_sum(score, slope, clip_factors(squared_norms(score, slope), 1.0).float())
        assert length(total) <= 1.0


def test_an_empty_batch_sums_to_zeros_of_the_right_shapes():
    critic, real, mixed = case()
    total = clipped(critic, real[:0], mixed[:0], 1.0, torch.zeros(0, dtype=torch.int64))
    assert [part.shape for part in total] == [p.shape for p in critic.parameters()]
    assert length(total) == 0


@pytest.mark.parametrize("between", [False, True])
@pytest.mark.parametrize(("dtype", "accuracy"), ACCURACY)
def test_the_generated_half_is_the_gradient_of_its_mean_loss(dtype, accuracy, between):
    critic, generated, mixed = case(dtype=dtype)
    loss = critic(generated).mean()
    if between:
        rows = mixed[:, :ROW].clone().requires_grad_()
        (slope,) = torch.autograd.grad(critic(torch.cat([rows, mixed[:, ROW:]], 1)).sum(), rows, create_graph=True)
        loss = loss + PENALTY * ((slope.norm(dim=1) - 1) ** 2).mean()
    expected = torch.autograd.grad(loss, list(critic.parameters()), materialize_grads=True, allow_unused=True)
    found = generated_gradient(critic, generated, mixed if between else None, penalty=PENALTY)
    assert error(found, expected) <= accuracy


def test_rows_are_not_mixed():
    critic, real, _ = case()
    scores = critic(real)
    assert torch.equal(critic(real[:1]), scores[:1]) or torch.allclose(critic(real[:1]), scores[:1], rtol=1e-12)
    changed = real.clone()
    changed[1:] = 0
    assert torch.allclose(critic(changed)[0], scores[0], rtol=1e-12)
