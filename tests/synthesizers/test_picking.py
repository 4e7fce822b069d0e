"""Tokens by the inverse of their distribution, and single outputs of a layer, against the slow obvious way."""

import numpy as np
import pytest
import torch
from torch import nn

from tabsynth.synthesizers.picking import outputs_at, picked

SIZES = (1, 2, 7, 33)
BOUNDS = torch.tensor([0, 1, 3, 10, 43])


def slowly(logits, uniform):
    """Bisect each column's cumulative softmax, in float64."""
    tokens = np.empty(uniform.shape, np.int64)
    for column, part in enumerate(torch.split(logits.double(), SIZES, 1)):
        ladder = part.softmax(1).cumsum(1).numpy()
        for row, bar in enumerate(uniform[:, column].double().numpy()):
            tokens[row, column] = min(np.searchsorted(ladder[row], bar, side="right"), SIZES[column] - 1)
    return tokens


@pytest.mark.parametrize("spare", [0, 5])
@pytest.mark.parametrize("spread", [1.0, 20.0, 1000.0])
def test_tokens_are_those_of_the_cumulative_distribution(spread, spare):
    rng = torch.Generator().manual_seed(0)
    logits = spread * torch.randn(2000, sum(SIZES) + spare, generator=rng)
    logits[:, :3] -= 5000  # a column far below the others
    uniform = torch.rand(2000, len(SIZES), generator=rng)
    expected = slowly(logits[:, : sum(SIZES)], uniform)
    found = picked(logits.clone(), BOUNDS, uniform).numpy()
    assert np.mean(found == expected) > 0.9995  # the rest lies on a rung, to float32
    wrong = picked(logits.clone(), BOUNDS, (uniform + 0.01) % 1).numpy()
    assert np.mean(wrong == expected) < 0.999 or spread > 100  # then a column has but one likely token


def test_the_ends_of_the_uniform_are_tokens_with_a_share():
    logits = torch.tensor([[-200.0, 0.0, 1.0, -200.0]])
    low = picked(logits.clone(), torch.tensor([0, 4]), torch.zeros(1, 1))
    high = picked(logits.clone(), torch.tensor([0, 4]), torch.full((1, 1), float(np.nextafter(np.float32(1), 0))))
    assert (int(low), int(high)) == (1, 2)


def test_single_outputs_are_those_of_the_layer():
    layer = nn.Linear(24, 50).requires_grad_(False)
    inputs, index = torch.randn(40, 24), torch.randint(50, (40, 6))
    assert torch.allclose(outputs_at(layer, inputs, index), layer(inputs).gather(1, index), atol=1e-5)
    assert outputs_at(layer, inputs, index[:, :0]).shape == (40, 0)
