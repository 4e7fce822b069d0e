"""A decoder-only transformer over the cells of a row, and clipped sums of its gradients by book-keeping.

A row is read in some order of its columns. At step t the input is the cell that came at step t - 1 plus the column that
is asked for at t; both are embeddings, and neither knows t. So one set of weights serves every order, and what comes
before in the order is what a column is conditioned on. Each column has an output of its own: no other column's token
can be drawn, and nothing is spent on learning which tokens belong where. `bookkeeping` finds the clipped sums.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from tabsynth.privacy.clipping import chunks
from tabsynth.synthesizers import bookkeeping
from tabsynth.synthesizers.bookkeeping import Tape, Untaped
from tabsynth.synthesizers.prefixes import Prefixes, attend, normal, pick
from tabsynth.synthesizers.starting import Ties

CHUNK = 256  # rows whose gradients are found together
PART = 512  # prefixes that go through all blocks together: what they need stays in the processor's cache
SMOOTH = 0.8  # of the variance of a bin's first embedding: what it has in common with the bins around it
WAVES = 8  # cosines that this common part is made of
MULTIPLE = 4  # small matrix products are up to twice as fast on sides that are multiples of this


class Block(nn.Module):
    """Causal attention and a hidden layer, each added to its input: (rows, steps, width) to the same shape.

    Layers are normalised without parameters: two less to pay noise for.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.each = heads, width // heads
        self.to_all = nn.Linear(width, 3 * width)
        self.from_heads = nn.Linear(width, width)
        self.up = nn.Linear(width, 2 * width)
        self.down = nn.Linear(2 * width, width)

    def forward(self, x: Tensor, tape: Tape) -> Tensor:
        """Return the block's output for whole rows."""
        query, key, value = self._split(tape.through(self.to_all, _normal(x)))
        seen = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + tape.through(self.from_heads, seen.transpose(1, 2).flatten(2))
        return self._hidden(x, tape)

    def look(self, x: Tensor, pool: Tensor) -> Tensor:
        """Return the queries of steps, both (rows, width); write keys and values into `pool` (rows, 2 width)."""
        x, (weight, bias), width = normal(x), (self.to_all.weight, self.to_all.bias), x.shape[1]
        torch.addmm(bias[width:], x, weight[width:].T, out=pool)
        return torch.addmm(bias[:width], x, weight[:width].T)

    def step(self, x: Tensor, seen: Tensor) -> Tensor:
        """Return the output (rows, width) at a step whose heads have seen (rows, width)."""
        x = self.from_heads(seen).add_(x)
        down: Tensor = self.down(self.up(normal(x)).relu_())
        return down.add_(x)

    def _hidden(self, x: Tensor, tape: Tape) -> Tensor:
        return x + tape.through(self.down, torch.relu(tape.through(self.up, _normal(x))))

    def _split(self, together: Tensor) -> list[Tensor]:
        """Cut (rows, steps, 3 width) into queries, keys and values, each (rows, heads, steps, width / heads)."""
        rows, steps, _ = together.shape
        return list(together.view(rows, steps, 3, self.heads, self.each).permute(2, 0, 3, 1, 4).unbind())


class RowTransformer(nn.Module):
    """Tokens (rows, columns) and orders (rows, columns) -> the negative log-likelihood of each row.

    `sizes` holds the number of tokens of each column; `one_way`, if given, what its distribution starts from, and
    `ties` what the target and the other columns start with of one another.

    >>> model = RowTransformer((2, 3), width=8, depth=1, heads=2)
    >>> model.losses(torch.tensor([[1, 2]]), torch.tensor([[0, 1]])).shape
    torch.Size([1])
    """

    starts: Tensor

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        width: int,
        depth: int,
        heads: int,
        one_way: Sequence[Tensor] | None = None,
        ties: Ties | None = None,
    ) -> None:
        super().__init__()
        self.sizes, self.width, self.heads, self.ties = tuple(sizes), width, heads, ties
        self.register_buffer("starts", torch.tensor([0, *sizes]).cumsum(0)[:-1], persistent=False)
        self.cells = nn.Embedding(sum(sizes) + 1, width)  # the last one stands before every row
        self.asked = nn.Embedding(len(sizes), width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.outputs = nn.ModuleList(nn.Linear(width, size) for size in sizes)
        with torch.no_grad():
            for block in self.blocks:
                for layer in (block.from_heads, block.down):
                    layer.weight.mul_(0.5)  # type: ignore[operator, union-attr]
            for column, output in enumerate(self.outputs):
                output.weight.mul_(0.1)  # type: ignore[operator]
                output.bias.zero_()  # type: ignore[operator]
                if one_way is not None:
                    output.bias.copy_(one_way[column].log())  # type: ignore[operator]

    @torch.no_grad()
    def smooth(self, bins: Sequence[int]) -> None:
        """Let bins that lie near each other start with embeddings that are alike.

        `bins` counts each column's, which come first among its tokens; 0 for categories, nothing for none at all. What
        the rows of one bin teach then holds for its neighbours from the first step on; every embedding is still free.
        """
        waves = torch.arange(1, WAVES + 1)
        for start, count in zip(self.starts.tolist(), bins, strict=False):
            place = (torch.arange(count) + 0.5) / max(count, 1)
            slow = torch.cos(torch.pi * place[:, None] * waves) @ torch.randn(WAVES, self.width)
            if count > WAVES // 2:
                own = self.cells.weight[start : start + count]
                own.mul_((1 - SMOOTH) ** 0.5).add_(slow, alpha=(SMOOTH * 2 / WAVES) ** 0.5)

    def losses(
        self, tokens: Tensor, orders: Tensor, tape: Tape | None = None, weights: Sequence[float] | None = None
    ) -> Tensor:
        """Return each row's negative log-likelihood in nats, shape (rows,), read in its own order.

        With `weights`, one for each column, it is what training makes of it: a sum in which columns count unequally.
        """
        tape = tape or Untaped()
        place = orders.argsort(1)  # of each column in its row's order
        x = self.read(tokens, orders, tape).gather(1, place[:, :, None].expand(-1, -1, self.width))
        total = x.new_zeros(len(x))
        tied = self.ties.along(tokens, place) if self.ties else None
        for column, output in enumerate(self.outputs):
            logits = tape.through(output, x[:, column])
            if tied:
                logits = logits + tied[column]
            own = functional.cross_entropy(logits, tokens[:, column], reduction="none")
            total = total + (own if weights is None else weights[column] * own)
        return total

    def read(self, tokens: Tensor, orders: Tensor, tape: Tape) -> Tensor:
        """Return what the column asked for at each step is read from: (rows, steps, width), `columns` steps or more."""
        cells = (tokens + self.starts).gather(1, orders)
        before = torch.cat([torch.full_like(cells[:, :1], sum(self.sizes)), cells[:, :-1]], 1)
        x = tape.through(self.cells, before) + tape.through(self.asked, orders)
        x = functional.pad(x, (0, 0, 0, -x.shape[1] % MULTIPLE))  # later steps, which nobody looks back at
        for block in self.blocks:
            x = block(x, tape)
        return _normal(x)

    @torch.inference_mode()
    def draw(
        self,
        uniform: Tensor,
        order: Sequence[int],
        given: Mapping[int, Tensor] | None = None,
        steps: Steps | None = None,
        *,
        wishes: Mapping[int, Tensor] | None = None,
        temperature: float = 1.0,
    ) -> Tensor:
        """Return tokens (rows, columns), drawn column by column in `order` by the uniforms (rows, columns) in [0, 1).

        A column in `given` keeps these tokens instead; it conditions the columns that come after it in the order. Rows
        that begin alike are computed once, as one prefix. The model must be on the processor. `steps` is memory for as
        many rows, used again by whoever draws often. `wishes` (tokens,) are added to a column's logits; all are divided
        by the `temperature` first.
        """
        rows = len(uniform)
        tokens = torch.zeros(rows, len(order), dtype=torch.int64)
        prefixes, steps = Prefixes(rows), steps or Steps(self, rows)
        steps.clear()
        last: int | None = None
        for done, column in enumerate(order):
            x = steps.take(prefixes, last, column)
            if given and column in given:
                tokens[:, column] = given[column]
            else:
                logits = self.outputs[column](normal(x))
                if self.ties:
                    begun = tokens[prefixes.some_rows()][:, list(order[:done])]
                    logits = self._tied(logits, begun, order[:done], column)
                if temperature != 1:
                    logits = logits / temperature
                if wishes and column in wishes:
                    logits = logits + wishes[column]
                tokens[:, column] = pick(logits, prefixes.of_row, uniform[:, column])
            prefixes.grow(tokens[:, column], self.sizes[column])
            last = column
        return tokens

    @torch.inference_mode()
    def next_logits(self, tokens: Tensor, columns: Sequence[int], asked: int) -> Tensor:
        """Return a column's logits (prefixes, size) after prefixes of tokens (prefixes, columns), read in that order.

        >>> model = RowTransformer((2, 3), width=8, depth=1, heads=2)
        >>> model.next_logits(torch.tensor([[0], [1]]), [0], 1).shape
        torch.Size([2, 3])
        """
        cells = tokens + self.starts[list(columns)]
        before = torch.cat([torch.full((len(tokens), 1), sum(self.sizes)), cells], 1)
        x = self.cells(before) + self.asked.weight[[*columns, asked]]
        for block in self.blocks:
            x = block(x, Untaped())
        return self._tied(self.outputs[asked](_normal(x[:, -1])), tokens, columns, asked)

    def _tied(self, logits: Tensor, tokens: Tensor, columns: Sequence[int], asked: int) -> Tensor:
        """Return a column's logits after prefixes of tokens (prefixes, columns), with what the ties add."""
        tied = self.ties.after(tokens, columns, asked) if self.ties else None
        return logits if tied is None else logits + tied

    def inputs(self, before: int | None, asked: int) -> Tensor:
        """Return the inputs at a step that asks for a column, (tokens of the column before, width); before all: one."""
        first = sum(self.sizes) if before is None else int(self.starts[before])
        count = 1 if before is None else self.sizes[before]
        return self.cells.weight[first : first + count] + self.asked.weight[asked]


class Steps:
    """The keys and values of all steps of all prefixes, for each block of a transformer.

    What the first block looks at is a function of the last token and the column asked for: it is computed once a token.
    """

    def __init__(self, model: RowTransformer, rows: int) -> None:
        self.model = model
        tokens = sum(min(size, rows) for size in model.sizes) + 1
        room = [tokens, *[rows * len(model.sizes) for _ in model.blocks][1:]]
        self.pools = [torch.empty(each, 2 * model.width, dtype=model.cells.weight.dtype) for each in room]
        self.clear()

    def clear(self) -> None:
        """Forget every step."""
        self.filled = [0 for _ in self.pools]
        self.places = [torch.empty(1, 0, dtype=torch.int64) for _ in self.pools]

    def take(self, prefixes: Prefixes, before: int | None, asked: int) -> Tensor:
        """Return the last block's outputs (prefixes, width) at the step that asks for a column."""
        inputs, own = self.model.inputs(before, asked), prefixes.before
        if len(inputs) > len(prefixes):
            inputs, own = inputs[own], torch.arange(len(prefixes))
        query = self._look(0, self.filled[0], inputs)
        new = [own + self.filled[0], *[torch.arange(len(own)) + filled for filled in self.filled[1:]]]
        old = [places[prefixes.parent] for places in self.places]
        self.places = [torch.cat([a, b[:, None]], 1) for a, b in zip(old, new, strict=True)]
        self.filled = [self.filled[0] + len(inputs), *[filled + len(own) for filled in self.filled[1:]]]
        parts = (slice(*ends) for ends in chunks(len(own), PART, None))
        return torch.cat([self._through(part, inputs[own[part]], query[own[part]]) for part in parts])

    def _through(self, part: slice, x: Tensor, query: Tensor) -> Tensor:
        """Take some prefixes through all blocks; the first has looked at their steps already."""
        for number, block in enumerate(self.model.blocks):
            places = self.places[number][part]
            if number:
                query = self._look(number, int(places[0, -1]), x)
            x = block.step(x, attend(query, self.pools[number], places, self.model.heads))  # type: ignore[operator]
        return x

    def _look(self, number: int, first: int, x: Tensor) -> Tensor:
        query: Tensor = self.model.blocks[number].look(x, self.pools[number][first : first + len(x)])  # type: ignore[operator]
        return query


def clipped_sum(
    model: RowTransformer,
    tokens: Tensor,
    orders: Tensor,
    max_grad_norm: float,
    *,
    weights: Sequence[float] | None = None,
    owner: Tensor | None = None,
    chunk: int = CHUNK,
) -> list[Tensor]:
    """Return the sum over units of clipped gradients, one tensor per parameter in the model's order.

    `weights` as in `RowTransformer.losses`. `owner` (rows,) as in `clip_factors`, sorted, on the processor; about
    `chunk` rows are processed at once, never splitting a unit. An infinite `max_grad_norm` gives the plain sum,
    over the rows whose loss is finite.
    """
    parameters, losses = list(model.parameters()), partial(model.losses, weights=weights)
    parts = max(1, round(len(tokens) / chunk))  # of equal size: a Poisson batch a little larger has no scrap behind it
    chunk = max(1, math.ceil(len(tokens) / parts))
    return bookkeeping.clipped_sum(parameters, losses, (tokens, orders), max_grad_norm, owner=owner, chunk=chunk)


def _normal(x: Tensor) -> Tensor:
    return functional.layer_norm(x, x.shape[-1:])
