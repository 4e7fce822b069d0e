"""The autoencoder: its closed-form gradients against slow ones on every layer, its divergence, what it draws."""

import itertools
import math

import pytest
import torch
from torch.func import functional_call, grad

from tabsynth.errors import ConformanceError
from tabsynth.privacy.clipping import check_clipped_sum
from tabsynth.synthesizers import bookkeeping
from tabsynth.synthesizers.autoencoder import Autoencoder, divergences
from tabsynth.synthesizers.bookkeeping import clipped_sum

SIZES = (3, 2, 4, 1)


@pytest.fixture
def _float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def autoencoder(sizes=SIZES, **kwargs):
    """Return an autoencoder whose outputs depend on their inputs as a trained one's do."""
    torch.manual_seed(0)
    model = Autoencoder(sizes, **{"latent": 3, "width": 8, "depth": 2} | kwargs)
    with torch.no_grad():
        model.to_logits.weight.mul_(6)
        model.to_posterior.weight.mul_(3)
    return model


def some_rows(sizes=SIZES, rows=30, latent=3):
    """Return tokens and noise."""
    rng = torch.Generator().manual_seed(1)
    tokens = torch.stack([torch.randint(size, (rows,), generator=rng) for size in sizes], 1)
    return tokens, torch.randn(rows, latent, generator=rng)


def summed(model, rows, bound, **kwargs):
    """Return the clipped sum of a model's losses, some divergences below the free bits and some above."""

    def losses(tokens, noise, tape):
        return model.losses(tokens, noise, tape, beta=0.7, free_bits=0.1)

    return clipped_sum(list(model.parameters()), losses, rows, bound, **kwargs)


class _LossOf(torch.nn.Module):
    """An autoencoder's loss of one row as a forward pass, which is what `functional_call` can call."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, own, noise):
        return self.model.losses(own[None], noise[None], beta=0.7, free_bits=0.1)[0]


def per_row_gradients(model, tokens, noise):
    """Every row's whole gradient, the slow way."""
    weights = {f"model.{name}": p.detach() for name, p in model.named_parameters()}

    def loss(weights, own, noise):
        return functional_call(_LossOf(model), weights, (own, noise))

    return [tuple(grad(loss)(weights, *row).values()) for row in zip(tokens, noise, strict=True)]


@pytest.mark.usefixtures("_float64")
@pytest.mark.parametrize("sizes", [SIZES, (4,), (2, 3), tuple([2] * 9)])
@pytest.mark.parametrize("bound", [0.3, 4.0, 1e9])
def test_the_clipped_sum_is_that_of_per_row_gradients(sizes, bound):
    model, rows = autoencoder(sizes), some_rows(sizes)
    slow = per_row_gradients(model, *rows)
    assert all(any(bool(row[place].any()) for row in slow) for place in range(len(slow[0]))) or len(sizes) == 1
    check_clipped_sum(slow, summed(model, rows, bound, chunk=7), bound, tolerance=1e-9)


@pytest.mark.usefixtures("_float64")
def test_some_divergences_are_free_and_some_are_not():
    shares = divergences(*autoencoder().posterior(some_rows()[0]))
    assert bool((shares < 0.1).any())
    assert bool((shares > 0.1).any())


@pytest.mark.usefixtures("_float64")
@pytest.mark.parametrize(
    ("layer", "factor"), [(torch.nn.EmbeddingBag, 0.0), (torch.nn.Linear, 0.0), (torch.nn.EmbeddingBag, 0.25)]
)
def test_a_bookkeeping_that_forgets_a_layer_or_its_cells_is_noticed(monkeypatch, layer, factor):
    model, rows = autoencoder(), some_rows()
    slow, squares = per_row_gradients(model, *rows), bookkeeping._squares
    monkeypatch.setattr(
        bookkeeping, "_squares", lambda each, *rest: squares(each, *rest) * (factor if type(each) is layer else 1.0)
    )
    with pytest.raises(ConformanceError, match="clipped one unit at a time"):
        check_clipped_sum(slow, summed(model, rows, 0.3), 0.3)


@pytest.mark.usefixtures("_float64")
def test_without_a_bound_the_sum_is_the_plain_gradient():
    model, rows = autoencoder(), some_rows()
    plain = torch.autograd.grad(model.losses(*rows, beta=0.7, free_bits=0.1).sum(), list(model.parameters()))
    for found, expected in zip(summed(model, rows, math.inf, chunk=11), plain, strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.usefixtures("_float64")
def test_a_unit_of_several_rows_is_clipped_whole_however_it_is_chunked():
    model, (tokens, noise) = autoencoder(), some_rows()
    owner = torch.arange(30) // 4
    whole = summed(model, (tokens, noise), 0.3, owner=owner)
    for found, expected in zip(summed(model, (tokens, noise), 0.3, owner=owner, chunk=3), whole, strict=True):
        torch.testing.assert_close(found, expected)
    one = summed(model, (tokens[:4], noise[:4]), 0.3, owner=owner[:4])
    apart = summed(model, (tokens[:4], noise[:4]), 0.3)
    assert math.sqrt(sum(float(p.square().sum()) for p in one)) <= 0.3
    assert math.sqrt(sum(float(p.square().sum()) for p in apart)) > 0.3


def test_a_row_without_a_finite_gradient_adds_nothing():
    model, (tokens, noise) = autoencoder(), some_rows()
    others = summed(model, (tokens[tokens[:, 0] != 2], noise[tokens[:, 0] != 2]), 0.3)
    with torch.no_grad():
        model.cells.weight[2] = math.inf
    found = summed(model, (tokens, noise), 0.3)
    assert 0 < int((tokens[:, 0] == 2).sum()) < len(tokens)
    for a, b in zip(found, others, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_no_row_yields_zeros():
    model, (tokens, noise) = autoencoder(), some_rows()
    assert not any(bool(p.any()) for p in summed(model, (tokens[:0], noise[:0]), 0.3))


def test_the_divergence_is_that_of_two_normals():
    mean, log_spread = torch.tensor([[0.3, -2.0]]), torch.tensor([[-0.7, 0.4]])
    posterior = torch.distributions.Normal(mean, log_spread.exp())
    expected = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0))
    torch.testing.assert_close(divergences(mean, log_spread), expected)


def test_free_bits_cost_what_they_are_and_no_more():
    model, rows = autoencoder(), some_rows()
    shares = divergences(*model.posterior(rows[0]))
    rest = model.losses(*rows) - shares.sum(1)
    expected = rest + 2 * torch.where(shares < 0.1, torch.tensor(0.1), shares).sum(1)
    torch.testing.assert_close(model.losses(*rows, beta=2.0, free_bits=0.1), expected)


def test_rows_are_drawn_with_their_probability():
    """Chi-squared over all rows at one latent vector; another latent vector is rejected."""
    model, count = autoencoder(), 40_000
    every = torch.tensor(list(itertools.product(*map(range, SIZES))))
    latent, other = torch.randn(2, 3, generator=torch.Generator().manual_seed(5))
    uniform = torch.rand(count, len(SIZES), generator=torch.Generator().manual_seed(3))
    drawn = model.pick(model.logits(latent.expand(count, 3)), uniform)
    found = (drawn[:, None] == every).all(2).sum(0)
    assert int(found.sum()) == count

    def statistic(at):
        expected = count * model.log_likelihood(model.logits(at.expand(len(every), 3)), every).exp()
        return float(((found - expected) ** 2 / expected).sum().detach())

    assert 6 < statistic(latent) < 50  # 23 degrees of freedom: 0.1% to 99.9%
    assert statistic(other) > 200


def test_training_starts_at_the_one_way_marginals():
    one_way = torch.tensor([0.7, 0.2, 0.1, 0.5, 0.5])
    model = Autoencoder((3, 2), latent=2, width=8, depth=1, one_way=one_way)
    with torch.no_grad():
        model.to_logits.weight.zero_()
    torch.testing.assert_close(model.softmax(model.logits(torch.randn(1, 2)))[0], one_way)
