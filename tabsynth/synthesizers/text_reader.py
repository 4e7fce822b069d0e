"""Rows that a causal language model reads bit by bit, as they are written.

Of rows that begin alike one is read, until they part; rows that are over are dropped. Where the first columns have few
values, or some rows are shorter than others, a good part of the model's work need not be done.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tabsynth.synthesizers.text_memory import with_room

WORTH = 0.5  # beginnings to rows: above it rows are told apart for good, for parting them costs time too
FEW = 0.75  # of the rows that are read: when no more than these go on, the others are dropped

Step = Callable[[Tensor, int, Any], tuple[Tensor, Any]]


class Reader:
    """Rows of up to `longest` ids, of which keys and values are kept.

    `step` takes the next ids (rows, some), how many came before, and the memory of those, None at first; it returns
    logits (rows, vocabulary) for what follows, and the memory of all.
    """

    def __init__(self, step: Step, longest: int) -> None:
        self._step, self._longest, self._read = step, longest, 0
        self._past: Any = None
        self._layers: list[Any] = []

    def __call__(self, ids: Tensor) -> Tensor:
        """Read the next ids (rows, some); return logits (rows, vocabulary) for what follows.

        A row is over when its next id is below 0; what is returned for it from then on means nothing.
        """
        if self._past is None:
            return self._begun(ids)
        parent = self._rows.grow(ids) if self._layers else None
        if parent is not None:
            for layer in self._layers:
                layer.take(parent)
        return self._logits(ids)

    def _begun(self, ids: Tensor) -> Tensor:
        """Read the first ids; where the model's memory is of a kind not known here, each row is read by itself."""
        self._rows = Beginnings(len(ids))
        self._rows.grow(ids)
        logits = self._logits(ids)
        self._layers = with_room(self._past, len(ids), self._longest)
        if not self._layers:
            self._rows.tell_apart()
            self._past, self._read = None, 0
            logits = self._logits(ids)
        return logits

    def _logits(self, ids: Tensor) -> Tensor:
        logits, self._past = self._step(ids[self._rows.read].clamp(min=0), self._read, self._past)
        self._read += ids.shape[1]
        return logits[self._rows.place]


class Beginnings:
    """What rows begin with, each kept in one place: `place` (rows,), and in `read` (places,) a row of each.

    >>> rows = Beginnings(5)
    >>> rows.grow(torch.tensor([[7], [8], [7], [7], [7]])).tolist(), rows.place.tolist()
    ([0, 0], [0, 1, 0, 0, 0])
    """

    def __init__(self, rows: int) -> None:
        self.place = torch.zeros(rows, dtype=torch.long)
        self.read = torch.zeros(1, dtype=torch.long)
        self._apart = False

    def tell_apart(self) -> None:
        """Give each row a place of its own."""
        self._apart = True
        self.place = self.read = torch.arange(len(self.place))

    def grow(self, ids: Tensor) -> Tensor | None:
        """Let rows go on with their ids (rows, some), unless these are below 0.

        Returns the place before of what is now in each place, (places,), or None where every one is as it was.
        """
        on = torch.nonzero(ids[:, 0] >= 0)[:, 0]
        before = len(self.read)
        if self._apart and len(on) > FEW * before:
            return None
        new = torch.arange(len(on)) if self._apart else self._distinct(on, ids[on])
        self.read = torch.empty(int(new.max()) + 1, dtype=torch.long).scatter_(0, new, on)
        parent = self.place[self.read]
        self.place = torch.zeros_like(self.place).index_copy_(0, on, new)
        return None if torch.equal(parent, torch.arange(before)) else parent

    def _distinct(self, rows: Tensor, ids: Tensor) -> Tensor:
        """Number what these rows begin with, those that are alike the same unless too few are."""
        found, size = self.place[rows], int(ids.max()) + 1
        for column in ids.unbind(1):
            _, found = torch.unique(found * size + column, return_inverse=True)
        self._apart = int(found.max()) + 1 > WORTH * len(self.place)
        return torch.arange(len(rows)) if self._apart else found
