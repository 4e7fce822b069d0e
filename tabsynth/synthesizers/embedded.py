"""Columns of many tokens: embedded, where columns of few tokens have one coordinate each, and computed in parts.

A column of 10,000 categories is a vector of `EMBEDDED` numbers on its way into a network, and on its way out the inner
product of such a vector with the embedding of each of its tokens. What is as wide as all tokens, logits and their
softmax, is there for a few rows at a time, and computed once more when gradients are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

WIDE = 256  # tokens; up to here one-hot rows of a batch take less room than the libraries that make them
EMBEDDED = 32  # numbers
PART = 1_000_000  # numbers in each thing that is as wide as all tokens

Parts = list[tuple[Tensor, ...]]


def is_wide(size: int) -> bool:
    """Say whether a column of so many tokens is embedded."""
    return size > WIDE


def tables_of(sizes: Iterable[int]) -> nn.ModuleList:
    """Return an untrained table for each column of these sizes: from its query (rows, EMBEDDED) to its logits."""
    return nn.ModuleList(nn.Linear(EMBEDDED, size) for size in sizes)


def opened(
    outputs: Tensor,
    sizes: Sequence[int],
    wide: Sequence[int],
    tables: Sequence[nn.Module],
    through: Callable[[nn.Module, Tensor], Tensor] = lambda table, query: table(query),
) -> Tensor:
    """Return the logits of all tokens, (rows, tokens), from a layer's outputs that hold queries of `wide` columns."""
    if not wide:
        return outputs
    of_column = dict(zip(wide, tables, strict=True))
    parts = torch.split(outputs, [EMBEDDED if column in of_column else size for column, size in enumerate(sizes)], 1)
    return torch.cat(
        [through(of_column[column], part) if column in of_column else part for column, part in enumerate(parts)], 1
    )


def rows_at_once(tokens: int) -> int:
    """Return how many rows may be as wide as all tokens at the same time."""
    return max(1, PART // tokens)


def in_parts(function: Callable[..., tuple[Tensor, ...]], inputs: Sequence[Tensor], tokens: int) -> Parts:
    """Call a function on a few rows of its inputs at a time and keep what it returns, but nothing in between.

    It is called again when a gradient passes, and must return the same.
    """
    pieces: Iterator[tuple[Tensor, ...]] = zip(
        *(torch.split(each, rows_at_once(tokens)) for each in inputs), strict=True
    )
    return [checkpoint(function, *piece, use_reentrant=False, preserve_rng_state=False) for piece in pieces]
