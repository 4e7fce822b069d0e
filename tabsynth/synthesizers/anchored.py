"""A row transformer anchored to a graphical model: it starts as that model exactly, and learns what the model misses.

A graphical model draws a row column by column, each given a few earlier ones. The transformer reads the columns in that
order, and a column's logits are the logarithm of the graphical model's own conditional plus an output that starts at
zero. So nothing has to be distilled: before the first step every conditional is the graphical model's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from tabsynth.graphical.elimination import Conditional
from tabsynth.graphical.sampling import sample_tokens
from tabsynth.privacy.clipping import chunks
from tabsynth.synthesizers.bookkeeping import Tape, Untaped
from tabsynth.synthesizers.transformer import Block, RowTransformer

CELLS = 4_000_000  # of logits that are there together
FLOOR = 1e-4  # of every conditional, spread evenly: no token is ruled out for ever


class Anchor(nn.Module):
    """The conditionals of a graphical model of codes, as log-probabilities of tokens.

    `chain` draws codes, parents before children; `groups[column]` is the code of each token and `within[column]` the
    distribution of tokens within each code (codes, tokens).
    """

    def __init__(
        self,
        chain: Sequence[Conditional],
        groups: Sequence[NDArray[np.int64]],
        within: Sequence[NDArray[np.float64]],
    ) -> None:
        super().__init__()
        self.chain, self.groups, self.within = tuple(chain), tuple(groups), tuple(within)
        self.order = tuple(link.column for link in chain)
        self.sizes = tuple(len(group) for group in groups)  # tokens of each column
        self._parents = {link.column: tuple(zip(link.parents, link.table.shape, strict=False)) for link in chain}
        for link in chain:  # buffers, so that they move where the model moves
            self.register_buffer(f"table_{link.column}", self._of_tokens(link), persistent=False)
            codes = torch.from_numpy(np.array(groups[link.column], np.int64))
            self.register_buffer(f"codes_{link.column}", codes, persistent=False)

    def group(self, column: int, tokens: Tensor) -> Tensor:
        """Return which combination of the column's parents' codes each row has, shape (rows,)."""
        found = torch.zeros(len(tokens), dtype=torch.int64, device=tokens.device)
        for parent, size in self._parents[column]:
            found = found * size + self.get_buffer(f"codes_{parent}")[tokens[:, parent]]
        return found

    def logits(self, column: int, group: Tensor) -> Tensor:
        """Return the log-probabilities of the column's tokens for such combinations, shape (rows, tokens)."""
        return self.get_buffer(f"table_{column}")[group]

    def sample(self, rows: int, rng: np.random.Generator) -> Tensor:
        """Return tokens (rows, columns) of the graphical model."""
        drawn = sample_tokens(self.chain, self.within, rows, rng)
        return torch.from_numpy(np.ascontiguousarray(drawn)).long()

    def _of_tokens(self, link: Conditional) -> Tensor:
        """Return log-probabilities (combinations of parents' codes, tokens)."""
        group, within = self.groups[link.column], self.within[link.column]
        codes = link.table.reshape(-1, link.table.shape[-1])
        tokens = codes[:, group] * within[group, np.arange(len(group))]
        tokens = (1 - FLOOR) * tokens + FLOOR / len(group)
        return torch.from_numpy(np.log(tokens / tokens.sum(axis=1, keepdims=True)).astype(np.float32))


class AnchoredTransformer(RowTransformer):
    """A row transformer whose outputs are added to an anchor's logits; it reads in the anchor's order alone."""

    def __init__(self, anchor: Anchor, *, width: int, depth: int, heads: int) -> None:
        super().__init__(anchor.sizes, width=width, depth=depth, heads=heads)
        self.anchor = anchor
        with torch.no_grad():
            for output in self.outputs:
                output.weight.zero_()  # type: ignore[operator]
                output.bias.zero_()  # type: ignore[operator]

    def orders(self, rows: int) -> Tensor:
        """Return the order that every row is read in, shape (rows, columns)."""
        return torch.tensor(self.anchor.order, device=self.starts.device).expand(rows, -1)

    def losses(
        self, tokens: Tensor, orders: Tensor, tape: Tape | None = None, weights: Sequence[float] | None = None
    ) -> Tensor:
        """Return each row's negative log-likelihood in nats, shape (rows,); `orders` must be those of `orders`."""
        total = torch.zeros(len(tokens), device=tokens.device)
        for column, own, base in self._outputs(tokens, orders, tape or Untaped()):
            loss = functional.cross_entropy(own + base, tokens[:, column], reduction="none")
            total = total + (loss if weights is None else loss * weights[column])
        return total

    def anchored_losses(self, tokens: Tensor) -> Tensor:
        """Return each row's negative log-likelihood under the anchor alone, in nats, shape (rows,)."""
        total = torch.zeros(len(tokens), device=tokens.device)
        for column in range(len(self.sizes)):
            base = self._base(column, tokens)
            total = total + functional.cross_entropy(base, tokens[:, column], reduction="none")
        return total

    @torch.no_grad()
    def rows_of_its_own(self, count: int, rng: np.random.Generator) -> Tensor:
        """Return about what the model would draw, (count, columns), at the price of a forward pass.

        The anchor's rows, drawn again by how much likelier the model holds each of them than the anchor does.
        """
        tokens = self.anchor.sample(count, rng).to(self.starts.device)
        likelier = [
            self.anchored_losses(part) - self.losses(part, self.orders(len(part)))
            for part in torch.split(tokens, self.rows_at_once(sum(self.sizes)))
        ]
        ladder = torch.cat(likelier).double().cpu().softmax(0).cumsum(0)
        places = torch.from_numpy((np.arange(count) + rng.random()) / count)
        return tokens[torch.searchsorted(ladder, places).clamp(max=count - 1).to(tokens.device)]

    @staticmethod
    def rows_at_once(tokens: int) -> int:
        """Return for how many rows the logits of so many tokens may be there together."""
        return max(1, CELLS // tokens)

    def _outputs(self, tokens: Tensor, orders: Tensor, tape: Tape) -> list[tuple[int, Tensor, Tensor]]:
        """Return every column with its output and the anchor's logits, each (rows, tokens of the column)."""
        x = self.read(tokens, orders, tape)
        place = {column: place for place, column in enumerate(self.anchor.order)}
        return [
            (column, tape.through(output, x[:, place[column]]), self._base(column, tokens))
            for column, output in enumerate(self.outputs)
        ]

    def _base(self, column: int, tokens: Tensor) -> Tensor:
        return self.anchor.logits(column, self.anchor.group(column, tokens))

    @torch.no_grad()
    def drawn(self, rows: int, source: torch.Generator) -> Tensor:
        """Return tokens (rows, columns), by systematic sampling within rows that agree on a column's parents.

        Each row by itself follows the model; together, values come up nearer to their expected number of times than
        independent draws would.
        """
        tokens = torch.zeros(rows, len(self.sizes), dtype=torch.int64)
        past = torch.empty(len(self.blocks), 2, len(self.sizes), rows, self.heads, self.width // self.heads)
        before = torch.full((rows,), sum(self.sizes))
        for place, column in enumerate(self.anchor.order):
            x = self.cells(before) + self.asked.weight[column]
            for block, own in zip(self.blocks, past, strict=True):
                x = _step(block, x, own, place)  # type: ignore[arg-type]
            group = self.anchor.group(column, tokens)
            x, uniform = functional.layer_norm(x, x.shape[-1:]), systematic(group, source)
            for start, stop in chunks(rows, self.rows_at_once(self.sizes[column]), None):
                part = slice(start, stop)
                logits = self.outputs[column](x[part]) + self.anchor.logits(column, group[part])
                tokens[part, column] = _inverse(logits, uniform[part])
            before = tokens[:, column] + self.starts[column]
        return tokens


def systematic(group: Tensor, source: torch.Generator) -> Tensor:
    """Return a number in [0, 1) for every row: within a group, evenly spaced ones from a random start, shuffled.

    >>> found = systematic(torch.tensor([0, 0, 1, 0]), torch.Generator().manual_seed(0))
    >>> (3 * found[[0, 1, 3]]).floor().sort().values
    tensor([0., 1., 2.], dtype=torch.float64)
    """
    rows, groups = len(group), int(group.max()) + 1
    order = torch.argsort(group + torch.rand(rows, generator=source, dtype=torch.float64), stable=True)
    count = torch.bincount(group, minlength=groups)
    sorted_group = group[order]
    rank = torch.arange(rows) - (count.cumsum(0) - count)[sorted_group]
    start = torch.rand(groups, generator=source, dtype=torch.float64)[sorted_group]
    found = torch.empty(rows, dtype=torch.float64)
    found[order] = (rank + start) / count[sorted_group]
    return found.clamp(max=math.nextafter(1.0, 0.0))


def _step(block: Block, x: Tensor, past: Tensor, place: int) -> Tensor:
    """Return a block's output (rows, width) at a step, adding to `past` (2, steps, rows, heads, width / heads)."""
    normal = functional.layer_norm(x, x.shape[-1:])
    query, past[0, place], past[1, place] = block.to_all(normal).view(len(x), 3, *past.shape[3:]).unbind(1)
    keys, values = past[:, : place + 1]
    weight = ((query * keys).sum(3, keepdim=True) / math.sqrt(keys.shape[3])).softmax(0)
    x = x + block.from_heads((weight * values).sum(0).flatten(1))
    hidden: Tensor = block.down(torch.relu(block.up(functional.layer_norm(x, x.shape[-1:]))))
    return x + hidden


def _inverse(logits: Tensor, uniform: Tensor) -> Tensor:
    """Return each row's token at a place of its cumulative distribution."""
    ladder = logits.double().softmax(1).cumsum(1)
    found = torch.searchsorted(ladder, uniform[:, None] * ladder[:, -1:], right=True)
    return found[:, 0].clamp(max=logits.shape[1] - 1)
