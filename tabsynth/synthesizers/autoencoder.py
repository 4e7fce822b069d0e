"""A variational autoencoder of rows: tokens to a normal distribution over a latent vector, and back.

The encoder adds up one embedding for each of a row's tokens, so a column of thousands of categories costs no more than
one of two. The decoder answers with one softmax for each column, a wide one's over inner products with an embedding of
each token (see `embedded`); given the latent vector the columns are independent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from tabsynth.synthesizers.bookkeeping import Tape, Untaped
from tabsynth.synthesizers.embedded import EMBEDDED, is_wide, opened, tables_of

SPREAD = 3.0  # log standard deviations lie between minus this and this


class Autoencoder(nn.Module):
    """Tokens (rows, columns) and normal noise (rows, latent) -> the negative evidence lower bound of each row, in nats.

    `sizes` holds the number of tokens of each column; `one_way`, if given, the distributions that the softmaxes start
    from, side by side. Layers are normalised without parameters: two less to pay noise for.

    >>> model = Autoencoder((2, 3), latent=2, width=8, depth=1)
    >>> model.losses(torch.tensor([[1, 2]]), torch.zeros(1, 2)).shape
    torch.Size([1])
    """

    starts: Tensor

    def __init__(
        self, sizes: Sequence[int], *, latent: int, width: int, depth: int, one_way: Tensor | None = None
    ) -> None:
        super().__init__()
        self.sizes, self.latent = list(sizes), latent
        self.register_buffer("starts", torch.tensor([0, *sizes]).cumsum(0)[:-1], persistent=False)
        self.cells = nn.EmbeddingBag(sum(sizes), width, mode="sum")
        self.reading = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.to_posterior = nn.Linear(width, 2 * latent)
        self.from_latent = nn.Linear(latent, width)
        self.writing = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.wide = [column for column, size in enumerate(sizes) if is_wide(size)]
        widths = [EMBEDDED if column in self.wide else size for column, size in enumerate(sizes)]
        self.to_logits = nn.Linear(width, sum(widths))
        self.tables = tables_of(self.sizes[column] for column in self.wide)
        with torch.no_grad():
            self.to_posterior.weight.mul_(0.3)
            self.to_posterior.bias.zero_()
            self.to_logits.weight.mul_(0.3)
            self.to_logits.bias.zero_()
            start_at = torch.ones(sum(sizes)) if one_way is None else one_way.clamp_min(1e-5)
            logs, parts = torch.split(start_at.log(), self.sizes), torch.split(self.to_logits.bias, widths)
            of_column = dict(zip(self.wide, self.tables, strict=True))
            for column, (part, log) in enumerate(zip(parts, logs, strict=True)):
                start = of_column[column].bias if column in of_column else part
                start.copy_(log)  # type: ignore[operator]

    @property
    def reader(self) -> list[nn.Parameter]:
        """The encoder's parameters."""
        return [p for part in (self.cells, self.reading, self.to_posterior) for p in part.parameters()]

    @property
    def writer(self) -> list[nn.Parameter]:
        """The decoder's parameters."""
        return [p for part in (self.from_latent, self.writing, self.to_logits, self.tables) for p in part.parameters()]

    def posterior(self, tokens: Tensor, tape: Tape | None = None) -> tuple[Tensor, Tensor]:
        """Return mean and log standard deviation of each row's latent vector, both (rows, latent)."""
        tape = tape or Untaped()
        x = tape.through(self.cells, tokens + self.starts) / math.sqrt(len(self.sizes))
        for layer in self.reading:
            x = x + functional.silu(tape.through(layer, _normal(x)))
        mean, bent = tape.through(self.to_posterior, _normal(x)).chunk(2, 1)
        return mean, SPREAD * torch.tanh(bent / SPREAD)

    def logits(self, latent: Tensor, tape: Tape | None = None) -> Tensor:
        """Return every column's logits side by side, (rows, tokens)."""
        tape = tape or Untaped()
        x = tape.through(self.from_latent, latent)
        for layer in self.writing:
            x = x + functional.silu(tape.through(layer, _normal(x)))
        outputs = tape.through(self.to_logits, _normal(x))
        return opened(outputs, self.sizes, self.wide, list(self.tables), tape.through)

    def losses(
        self, tokens: Tensor, noise: Tensor, tape: Tape | None = None, *, beta: float = 1.0, free_bits: float = 0.0
    ) -> Tensor:
        """Return each row's negative evidence lower bound, shape (rows,).

        `beta` weighs the divergence from the prior; each latent unit's share of it below `free_bits` nats counts as
        that much, row by row, so that no row's loss depends on another's.
        """
        mean, log_spread = self.posterior(tokens, tape)
        logits = self.logits(mean + log_spread.exp() * noise, tape)
        divergence = divergences(mean, log_spread).clamp_min(free_bits).sum(1)
        return beta * divergence - self.log_likelihood(logits, tokens)

    def log_likelihood(self, logits: Tensor, tokens: Tensor) -> Tensor:
        """Return the log-probability of rows given their latent vectors, in nats, shape (rows,)."""
        total = torch.stack([part.logsumexp(1) for part in torch.split(logits, self.sizes, 1)], 1).sum(1)
        return logits.gather(1, tokens + self.starts).sum(1) - total

    def softmax(self, logits: Tensor) -> Tensor:
        """Return the softmax within each column's block, (rows, tokens)."""
        return torch.cat([part.softmax(1) for part in torch.split(logits, self.sizes, 1)], 1)

    def pick(self, logits: Tensor, uniform: Tensor) -> Tensor:
        """Return one token per row and column, by the inverse of its cumulative distribution at (rows, columns)."""
        tokens = torch.empty(uniform.shape, dtype=torch.int64, device=logits.device)
        for column, part in enumerate(torch.split(logits, self.sizes, 1)):
            ladder = part.softmax(1).cumsum(1)
            point = (uniform[:, column : column + 1] * ladder[:, -1:]).contiguous()
            tokens[:, column] = torch.searchsorted(ladder, point, right=True)[:, 0].clamp(max=part.shape[1] - 1)
        return tokens


def divergences(mean: Tensor, log_spread: Tensor) -> Tensor:
    """Return each unit's divergence from the standard normal, in nats, (rows, latent).

    >>> divergences(torch.tensor([[0.0, 2.0]]), torch.zeros(1, 2))
    tensor([[0., 2.]])
    """
    return 0.5 * (mean.square() + (2 * log_spread).exp() - 1) - log_spread


def _normal(x: Tensor) -> Tensor:
    return functional.layer_norm(x, x.shape[-1:])
