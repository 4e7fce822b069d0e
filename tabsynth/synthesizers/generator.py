"""The generator of the conditional GAN: rows as one-hot coordinates, the network, and the conditions it is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tabsynth.encoding.conditions import Allowed
from tabsynth.encoding.encoder import Encoder

Asked = tuple[int, Tensor]  # a column, and which part of each of its tokens is asked for


class Layout:
    """Where each column's tokens lie in a row's one-hot encoding, and which tokens carry a place within a bin."""

    def __init__(self, encoder: Encoder) -> None:
        self.sizes = list(encoder.sizes)
        self.width = sum(self.sizes)
        self.starts = torch.tensor([0, *np.cumsum(self.sizes)[:-1].tolist()])
        spread = [codec.spread for codec in encoder.codecs]
        self.placed = [column for column, wide in enumerate(spread) if wide.any()]
        self.spread = torch.tensor(np.concatenate(spread), dtype=torch.float32)

    def block(self, column: int) -> slice:
        """Return a column's coordinates."""
        start = int(self.starts[column])
        return slice(start, start + self.sizes[column])

    def encode(self, index: Tensor, offsets: Tensor) -> Tensor:
        """Return hard rows (n, width + placed columns) from one-hot coordinates and offsets in [0, 1)."""
        hot = torch.zeros(len(index), self.width).scatter_(1, index, 1.0)
        return torch.cat([hot, (2 * offsets[:, self.placed] - 1) * self.spread[index[:, self.placed]]], 1)

    def softmax(self, logits: Tensor) -> Tensor:
        """Return the softmax within each column's block."""
        return torch.cat([part.softmax(1) for part in torch.split(logits, self.sizes, 1)], 1)

    def one_hot(self, condition: Tensor) -> Tensor:
        """Return conditions (n,) as one-hots (n, width)."""
        return torch.zeros(len(condition), self.width).scatter_(1, condition[:, None], 1.0)


class Generator(nn.Module):
    """(noise, condition) -> logits and offset shifts, both (n, width); it never mixes rows and starts independent."""

    def __init__(self, layout: Layout, one_way: Tensor, *, noise_width: int, width: int, depth: int) -> None:
        super().__init__()
        self.from_noise = nn.Linear(noise_width, width)
        self.from_condition = nn.Embedding(layout.width, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU()) for _ in range(depth)
        )
        self.last = nn.LayerNorm(width)
        self.to_logits = nn.Linear(width, layout.width)
        self.to_shifts = nn.Linear(width, layout.width)
        self.obedience = nn.Parameter(torch.tensor(4.0))
        with torch.no_grad():
            self.to_logits.weight.mul_(0.3)
            self.to_logits.bias.copy_(one_way.clamp_min(1e-5).log())
            self.to_shifts.weight.zero_()
            self.to_shifts.bias.zero_()

    def forward(self, noise: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and shifts; the condition's own logit is raised by a learned amount."""
        hidden = self.hidden(noise, condition)
        logits = self.to_logits(hidden)
        raised = logits.scatter_add(1, condition[:, None], self.obedience.expand(len(condition), 1))
        return raised, self.to_shifts(hidden)

    def hidden(self, noise: Tensor, condition: Tensor) -> Tensor:
        """Return what logits and shifts are read from, (n, width of the network)."""
        hidden = self.from_noise(noise) + self.from_condition(condition)
        for block in self.blocks:
            hidden = hidden + block(hidden)
        last: Tensor = self.last(hidden)
        return last


def draw_conditions(
    one_way: Tensor, layout: Layout, count: int, rng: torch.Generator, *, asked: Asked | None = None
) -> tuple[Tensor, Tensor]:
    """Draw a column uniformly and one of its values by measured share: one-hot coordinates and columns, both (n,).

    With `asked`, a column and the part of each of its tokens that is asked for, every condition is one of those.
    """
    if asked is not None:
        column, part = asked
        block = layout.block(column)
        share = one_way[block].double() * part
        share = (share if share.sum() > 0 else part).cumsum(0)  # what was never measured is still asked for
        point = torch.rand(count, generator=rng).double() * share[-1]
        token = torch.searchsorted(share, point, right=True).clamp(max=len(share) - 1)
        return token + block.start, torch.full((count,), column)
    shares = [part.cumsum(0) / part.sum() for part in torch.split(one_way.double(), layout.sizes)]
    ladder = torch.cat([share + column for column, share in enumerate(shares)])
    columns = torch.randint(len(layout.sizes), (count,), generator=rng)
    point = columns + torch.rand(count, generator=rng).double() * (1 - 1e-9)
    return torch.searchsorted(ladder, point, right=True).clamp(max=layout.width - 1), columns


def gumbel(shape: torch.Size, rng: torch.Generator) -> Tensor:
    """Draw standard Gumbel noise."""
    return torch.rand(shape, generator=rng).clamp_(1e-10, 1 - 1e-7).log_().neg_().log_().neg_()


def rarest(one_way: Tensor, layout: Layout, names: Sequence[str], allowed: Mapping[str, Allowed]) -> Asked:
    """Return the column whose condition the fewest rows meet, and what the condition leaves of its tokens."""
    parts = {names.index(name): torch.from_numpy(part.share) for name, part in allowed.items()}
    met = {column: float((one_way[layout.block(column)].double() * part).sum()) for column, part in parts.items()}
    column = min(met, key=lambda column: met[column])
    return column, parts[column]


def padded(layer: nn.Linear) -> tuple[Tensor, Tensor]:
    """Return weights and biases with outputs to spare: products on a multiple of 16 are up to 1.7 times as fast."""
    spare = -layer.out_features % 16
    return functional.pad(layer.weight.detach(), (0, 0, 0, spare)), functional.pad(layer.bias.detach(), (0, spare))
