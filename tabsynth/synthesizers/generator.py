"""The generator of the conditional GAN: rows as a critic sees them, the network, and the conditions it is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tabsynth.encoding.conditions import Allowed
from tabsynth.encoding.encoder import Encoder
from tabsynth.synthesizers.embedded import EMBEDDED, is_wide, opened, tables_of

Asked = tuple[int, Tensor]  # a column, and which part of each of its tokens is asked for


class Layout(nn.Module):
    """Where each column lies among all tokens and in the inputs of a critic, and which tokens carry a place in a bin.

    A column is given as one coordinate for each token, or, with more than `WIDE` categories, as an embedding: a row of
    the column's table (tokens, EMBEDDED) in `tables`, one for each column in `wide`.

    It is a part of the generator, without weights, so that its tensors are where the generator is.
    """

    starts: Tensor
    firsts: Tensor
    spread: Tensor

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.sizes = list(encoder.sizes)
        self.tokens = sum(self.sizes)
        spread = [codec.spread for codec in encoder.codecs]
        self.placed = [column for column, places in enumerate(spread) if places.any()]
        self.wide = [column for column, size in enumerate(self.sizes) if is_wide(size) and column not in self.placed]
        self.widths = [EMBEDDED if column in self.wide else size for column, size in enumerate(self.sizes)]
        self.width = sum(self.widths)
        self._blocks, self._inputs = _side_by_side(self.sizes), _side_by_side(self.widths)
        flags = [np.resize(spread[column], width) for column, width in enumerate(self.widths)]
        tensors = {
            "starts": torch.tensor([block.start for block in self._blocks]),
            "firsts": torch.tensor([block.start for block in self._inputs]),
            "spread": torch.tensor(np.concatenate(flags), dtype=torch.float32),
        }
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor, persistent=False)

    def block(self, column: int) -> slice:
        """Return a column's place among all tokens."""
        return self._blocks[column]

    def inputs(self, column: int) -> slice:
        """Return a column's coordinates in what a critic is given."""
        return self._inputs[column]

    def encode(self, index: Tensor, offsets: Tensor, tables: Sequence[Tensor] = ()) -> Tensor:
        """Return hard rows (n, width + placed columns) from places among all tokens and offsets in [0, 1)."""
        hot = torch.zeros(len(index), self.width, device=index.device)
        own = index - self.starts
        narrow = [column for column in range(len(self.sizes)) if column not in self.wide]
        hot.scatter_(1, (own + self.firsts)[:, narrow], 1.0)
        for column, table in zip(self.wide, tables, strict=True):
            hot[:, self.inputs(column)] = table[own[:, column]]
        spread = self.spread[(own + self.firsts)[:, self.placed]]
        return torch.cat([hot, (2 * offsets[:, self.placed] - 1) * spread], 1)

    def softmax(self, logits: Tensor) -> Tensor:
        """Return the softmax within each column's block."""
        return torch.cat([part.softmax(1) for part in torch.split(logits, self.sizes, 1)], 1)

    def embedded(self, soft: Tensor, tables: Sequence[Tensor]) -> Tensor:
        """Return soft rows (n, width) from weights of all tokens: of a wide column the mean of its table's rows."""
        if not self.wide:
            return soft
        of_column = dict(zip(self.wide, tables, strict=True))
        parts = enumerate(torch.split(soft, self.sizes, 1))
        return torch.cat([part @ of_column[c] if c in of_column else part for c, part in parts], 1)

    def given(self, condition: Tensor, tables: Sequence[Tensor] = ()) -> Tensor:
        """Return conditions (n,), places among all tokens, as a critic is given them: (n, width)."""
        column = torch.bucketize(condition, self.starts, right=True) - 1
        own = condition - self.starts[column]
        narrow = torch.ones_like(condition, dtype=torch.bool)
        for each in self.wide:
            narrow &= column != each
        place = self.firsts[column] + torch.where(narrow, own, 0)
        hot = torch.zeros(len(condition), self.width, device=condition.device)
        hot.scatter_(1, place[:, None], narrow[:, None].float())
        for each, table in zip(self.wide, tables, strict=True):
            hot[column == each, self.inputs(each)] = table[own[column == each]]
        return hot


class Generator(nn.Module):
    """(noise, condition) -> logits (n, tokens) and offset shifts (n, width); it never mixes rows, starts independent.

    The table of a wide column says both how likely each token is and what a condition on it is.
    """

    def __init__(self, layout: Layout, one_way: Tensor, *, noise_width: int, width: int, depth: int) -> None:
        super().__init__()
        self.layout = layout
        self.from_noise = nn.Linear(noise_width, width)
        self.from_condition = nn.Embedding(layout.width, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU()) for _ in range(depth)
        )
        self.last = nn.LayerNorm(width)
        self.to_logits = nn.Linear(width, layout.width)
        self.to_shifts = nn.Linear(width, layout.width)
        self.tables = tables_of(layout.sizes[column] for column in layout.wide)
        self.obedience = nn.Parameter(torch.tensor(4.0))
        with torch.no_grad():
            self.to_logits.weight.mul_(0.3)
            self.to_logits.bias.zero_()
            self._start(one_way.clamp_min(1e-5).log())
            self.to_shifts.weight.zero_()
            self.to_shifts.bias.zero_()

    def forward(self, noise: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and shifts; the condition's own logit is raised by a learned amount."""
        return self.from_hidden(self.hidden(noise, condition), condition)

    def hidden(self, noise: Tensor, condition: Tensor) -> Tensor:
        """Return what logits and shifts are read from, (n, width of the network)."""
        if self.layout.wide:
            given = self.layout.given(condition, self.embeddings()) @ self.from_condition.weight
        else:
            given = self.from_condition(condition)
        hidden = self.from_noise(noise) + given
        for block in self.blocks:
            hidden = hidden + block(hidden)
        last: Tensor = self.last(hidden)
        return last

    def from_hidden(self, hidden: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and shifts."""
        logits = self.opened(self.to_logits(hidden))
        raised = logits.scatter_add(1, condition[:, None], self.obedience.expand(len(condition), 1))
        return raised, self.to_shifts(hidden)

    def opened(self, outputs: Tensor) -> Tensor:
        """Return the logits of all tokens from the outputs of the last layer."""
        if not self.layout.wide:
            return outputs
        own = outputs[:, : self.layout.width]  # without those to spare, see `padded`
        return opened(own, self.layout.sizes, self.layout.wide, list(self.tables))

    def embeddings(self) -> list[Tensor]:
        """Return the tables' directions: a critic's slope means nothing where lengths are free."""
        return [functional.normalize(table.weight, dim=1) for table in self.tables if isinstance(table, nn.Linear)]

    def _start(self, logs: Tensor) -> None:
        """Let every column begin with these log-probabilities of its tokens."""
        for column in range(len(self.layout.sizes)):
            if column not in self.layout.wide:
                self.to_logits.bias[self.layout.inputs(column)] = logs[self.layout.block(column)]
        for column, table in zip(self.layout.wide, self.tables, strict=True):
            table.bias.copy_(logs[self.layout.block(column)])  # type: ignore[operator]


def surprise(logits: Tensor, sizes: Sequence[int], condition: Tensor, columns: Tensor) -> Tensor:
    """Return each row's cross-entropy between the conditioned column's softmax and its condition, (n,)."""
    log_sums = torch.stack([part.logsumexp(1) for part in torch.split(logits, list(sizes), 1)], 1)
    return (log_sums.gather(1, columns[:, None]) - logits.gather(1, condition[:, None]))[:, 0]


def soft_rows(
    layout: Layout,
    logits: Tensor,
    shifts: Tensor,
    tables: Sequence[Tensor],
    *,
    temperature: float,
    rng: torch.Generator,
) -> Tensor:
    """Draw differentiable rows (n, width + placed columns): Gumbel-softmax blocks, and centred places within bins."""
    soft = layout.softmax((logits + gumbel(logits, rng)) / temperature)
    rows = layout.embedded(soft, tables)
    places = []
    for column in layout.placed:
        block = layout.inputs(column)
        shift = (rows[:, block] * shifts[:, block]).sum(1)
        uniform = torch.rand(len(rows), generator=rng).to(rows.device).clamp(1e-4, 1 - 1e-4)
        places.append(torch.tanh((uniform.logit() + shift) / 2) * (rows[:, block] @ layout.spread[block]))
    return torch.cat([rows, torch.stack(places, 1)], 1) if places else rows


def draw_conditions(
    one_way: Tensor, layout: Layout, count: int, rng: torch.Generator, *, asked: Asked | None = None
) -> tuple[Tensor, Tensor]:
    """Draw a column uniformly and one of its values by measured share: places among all tokens and columns, both (n,).

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
    return torch.searchsorted(ladder, point, right=True).clamp(max=layout.tokens - 1), columns


def gumbel(logits: Tensor, rng: torch.Generator) -> Tensor:
    """Draw standard Gumbel noise for each of the logits."""
    return torch.rand(logits.shape, generator=rng).to(logits.device).clamp_(1e-10, 1 - 1e-7).log_().neg_().log_().neg_()


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


def _side_by_side(sizes: Sequence[int]) -> list[slice]:
    """Return the place of each of several things that lie side by side."""
    return [slice(stop - size, stop) for size, stop in zip(sizes, accumulate(sizes), strict=True)]
