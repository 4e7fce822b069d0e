"""A Wasserstein critic whose gradient for one row has a closed form, gradient penalty included.

The critic is a multilayer perceptron with LeakyReLU and nothing that mixes rows. Its masks are piecewise constant, so
a row's gradient with respect to a weight matrix is an outer product: of the score, the backpropagated vector times the
layer's input; of the penalty, the same vector times the penalty's slope carried forward through the masks. Norms and
clipped sums of all rows then cost a few matrix products, where per-row gradients would cost memory and hooks.

Sources: Gulrajani et al. 2017 (the penalty); Goodfellow 2015 and Bu et al. 2022 (norms and clipped sums without per-row
gradients). The extension to the penalty's second derivative is our own, checked against `torch.func` in the tests.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tabsynth.privacy.clipping import clip_factors, masked, rounding

Factors = list[tuple[Tensor, Tensor]]  # per layer: left (rows, out) and right (rows, in) of an outer product

SLOPE = 0.2  # of the LeakyReLU below zero


class Critic(nn.Module):
    """(rows, row_width + condition_width) -> one score each, shape (rows,).

    >>> Critic(3, 2, (4,))(torch.zeros(7, 5)).shape
    torch.Size([7])
    """

    def __init__(self, row_width: int, condition_width: int, widths: Sequence[int]) -> None:
        super().__init__()
        sizes = [row_width + condition_width, *widths, 1]
        self.row_width = row_width
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))

    @property
    def weights(self) -> list[Tensor]:
        """The layers' weight matrices (out, in), first layer first."""
        return [layer.weight for layer in self.layers if isinstance(layer, nn.Linear)]

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the score of every row."""
        for layer in self.layers[:-1]:
            inputs = F.leaky_relu(layer(inputs), SLOPE)
        scores: Tensor = self.layers[-1](inputs)
        return scores[:, 0]


def clipped_real_sum(
    critic: Critic, real: Tensor, mixed: Tensor, *, penalty: float, max_grad_norm: float, owner: Tensor | None
) -> list[Tensor]:
    """Return the sum over rows of the clipped gradient of [-D(real) + penalty * (|dD/drow at mixed| - 1)^2].

    Tensors in the order of `critic.parameters()`. Each row's whole gradient is clipped, score and penalty together;
    with `owner` each unit's. Rows whose gradient is not finite add nothing (with a finite `max_grad_norm`).
    """
    score = [(-left, right) for left, right in score_factors(critic, real)]
    slope = [(penalty * left, right) for left, right in penalty_factors(critic, mixed)]
    factors = torch.ones(len(real), dtype=real.dtype, device=real.device)
    if not math.isinf(max_grad_norm):
        factors = clip_factors(squared_norms(score, slope), max_grad_norm, owner).to(real.dtype)
    return weighted_sum(score, slope, factors)


def generated_gradient(critic: Critic, generated: Tensor, between: Tensor | None, *, penalty: float) -> list[Tensor]:
    """Return the gradient of the mean over generated rows of [D(generated) + penalty * (|dD/drow at between| - 1)^2].

    Tensors in the order of `critic.parameters()`; without `between` there is no penalty.
    """
    score = score_factors(critic, generated)
    if between is None:
        return [part for left, right in score for part in (left.T @ right / len(generated), left.mean(0))]
    slope = [(penalty * left, right) for left, right in penalty_factors(critic, between)]
    return weighted_sum(score, slope, torch.full((len(generated),), 1 / len(generated), device=generated.device))


@torch.no_grad()
def score_factors(critic: Critic, inputs: Tensor) -> Factors:
    """Return the outer products that make up each row's gradient of its score."""
    activations, masks = _forward(critic, inputs)
    return list(zip(_backward(critic, masks, len(inputs)), activations, strict=True))


@torch.no_grad()
def penalty_factors(critic: Critic, inputs: Tensor) -> Factors:
    """Return the outer products that make up each row's gradient of (|dD/drow| - 1)^2; biases have none."""
    _, masks = _forward(critic, inputs)
    lefts = _backward(critic, masks, len(inputs))
    weight = critic.weights[0][:, : critic.row_width]
    slope = lefts[0] @ weight
    norm = slope.norm(dim=1, keepdim=True).clamp_min(1e-12)
    right = 2 * (norm - 1) / norm * slope
    rights = [F.pad(right, (0, inputs.shape[1] - critic.row_width))]
    for weight, mask in zip(critic.weights[:-1], masks, strict=True):
        rights.append((right @ weight[:, : right.shape[1]].T) * mask)
        right = rights[-1]
    return list(zip(lefts, rights, strict=True))


def squared_norms(score: Factors, slope: Factors) -> Tensor:
    """Return each row's squared gradient norm over all weights and biases, float64: cross terms may cancel.

    The gradient itself is summed in single precision, of which a row may lose four roundoffs of its parts' lengths:
    nothing beside its norm, unless score and penalty cancel. So much is added.
    """
    dot = torch.linalg.vecdot
    total = torch.zeros(len(score[0][0]), dtype=torch.float64, device=score[0][0].device)
    apart = torch.zeros_like(total)  # the squared lengths of both parts
    for one, other in zip(score, slope, strict=True):
        (left, right), (other_left, other_right) = ([part.double() for part in pair] for pair in (one, other))
        apart += dot(left, left) * (dot(right, right) + 1)
        apart += dot(other_left, other_left) * dot(other_right, other_right)
        total += 2 * dot(left, other_left) * dot(right, other_right)
    return total + apart + rounding((2 * apart).sqrt(), 9, score[0][0].dtype)


def weighted_sum(score: Factors, slope: Factors, factors: Tensor) -> list[Tensor]:
    """Return the sum over rows of their gradients times `factors`, as [weight, bias, weight, bias, ...]."""
    total = []
    for (left, right), (other_left, other_right) in zip(score, slope, strict=True):
        mine = masked(factors[:, None] * left, factors)
        other = masked(factors[:, None] * other_left, factors)
        weight = mine.T @ masked(right, factors) + other.T @ masked(other_right, factors)
        total += [weight, mine.sum(0)]
    return total


def _forward(critic: Critic, inputs: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Return every layer's input, and the LeakyReLU's derivative after every hidden layer."""
    activations, masks = [inputs], []
    for layer in critic.layers[:-1]:
        before = layer(activations[-1])
        masks.append(torch.where(before > 0, 1.0, SLOPE))
        activations.append(before * masks[-1])
    return activations, masks


def _backward(critic: Critic, masks: list[Tensor], count: int) -> list[Tensor]:
    """Return d score / d pre-activation of every layer."""
    vectors = [torch.ones(count, 1, device=critic.weights[0].device)]
    for weight, mask in zip(critic.weights[:0:-1], masks[::-1], strict=True):
        vectors.append((vectors[-1] @ weight) * mask)
    return vectors[::-1]
