"""Conditions on the rows of a transformer that reads any order: what is conditioned on is drawn first.

A row is read in the order: columns with a condition, then the others. The rest of the row is then what the model says
given what came before, however rare that is. Of columns whose condition leaves several tokens the combinations are
written out with the model's probability of each, all but those of the last column, whose softmax is one at once. So the
conditioned cells are drawn from their joint distribution given all conditions, exactly. Drawing them one after another
from masked softmaxes would not: a value would not count less for making the next condition less likely.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tabsynth.encoding.conditions import Allowed, Condition
from tabsynth.encoding.encoder import Encoder
from tabsynth.schema import Schema
from tabsynth.synthesizers.accepting import LEAST_SHARE, LEAST_TRIES
from tabsynth.synthesizers.prefixes import pick
from tabsynth.synthesizers.transformer import RowTransformer

MOST = 2**16  # combinations that are written out
CELLS = 2**22  # of the logits that are computed at once, and of all combinations with the last column


@dataclass(frozen=True, eq=False, slots=True)
class Given:
    """The joint distribution of the cells that are conditioned on.

    `columns` are read in this order; `prefixes` (combinations, columns - 1) holds the tokens of all but the last, and
    `ladder` (combinations,) their cumulative probabilities given these conditions. Conditions on the columns `later`,
    which are read after them, are the caller's to see to: the combinations would be too many.
    """

    model: RowTransformer
    columns: tuple[int, ...]
    later: tuple[int, ...]
    prefixes: Tensor
    ladder: Tensor
    wish: Tensor
    temperature: float = 1.0

    @classmethod
    def of(
        cls, model: RowTransformer, order: Sequence[int], shares: Mapping[int, Tensor], temperature: float = 1.0
    ) -> Self:
        """Write out the combinations; `shares[column]` (tokens,) is the part of each token that meets its condition.

        Columns with the fewest tokens left come first, then in `order`.
        """
        left = {column: int((share > 0).sum()) for column, share in shares.items()}
        waiting = sorted(shares, key=lambda column: (left[column], order.index(column)))
        columns = [waiting.pop(0)]
        prefixes, mass = torch.zeros(1, 0, dtype=torch.int64), torch.zeros(1, dtype=torch.float64)
        while True:
            column = columns[-1]
            wish = shares[column].log()
            longer = len(prefixes) * left[column]
            if not waiting or longer > min(MOST, CELLS // model.sizes[waiting[0]]):
                break
            logs = torch.cat(
                [
                    _logs(model, part, columns[:-1], column, wish, temperature=temperature)
                    for part in torch.split(prefixes, max(1, CELLS // model.sizes[column]))
                ]
            )
            kept = torch.nonzero(shares[column] > 0)[:, 0]
            mass = (mass[:, None] + logs[:, kept]).flatten()
            each = kept.repeat(len(prefixes))[:, None]
            prefixes = torch.cat([prefixes.repeat_interleave(len(kept), 0), each], 1)
            columns.append(waiting.pop(0))
        parts = torch.split(prefixes, max(1, CELLS // model.sizes[column]))
        mass = mass + torch.cat(
            [_logs(model, part, columns[:-1], column, wish, temperature=temperature).logsumexp(1) for part in parts]
        )
        return cls(model, tuple(columns), tuple(waiting), prefixes, mass.softmax(0).cumsum(0), wish, temperature)

    def draw(self, uniform: Tensor) -> dict[int, Tensor]:
        """Return the conditioned cells, (rows,) tokens for each column, by uniforms (rows, 2) in [0, 1)."""
        point = (uniform[:, 0].double() * self.ladder[-1]).contiguous()
        chosen = torch.searchsorted(self.ladder, point, right=True).clamp(max=len(self.ladder) - 1)
        used, place = torch.unique(chosen, return_inverse=True)
        last, size = torch.empty(len(uniform), dtype=torch.int64), self.model.sizes[self.columns[-1]]
        for part in torch.split(torch.arange(len(used)), max(1, CELLS // size)):
            rows = torch.nonzero((place >= part[0]) & (place <= part[-1]))[:, 0]
            prefixes = self.prefixes[used[part]]
            logits = self.model.next_logits(prefixes, self.columns[:-1], self.columns[-1]) / self.temperature
            last[rows] = pick(logits + self.wish.float(), place[rows] - part[0], uniform[rows, 1].contiguous())
        cells = [*self.prefixes[chosen].unbind(1), last]
        return dict(zip(self.columns, cells, strict=True))


@dataclass(frozen=True, eq=False, slots=True)
class Sight:
    """Conditions that only decoded values say to be met: those on a column that is known by a distance.

    `columns` are those that it takes to decode them. Their cells and the `parts` of the row that meet what their tokens
    say are drawn, decoded and drawn again where a condition is not met, before anything else of the row is: what is
    thrown away costs next to nothing, and the rest follows the model given what is kept.
    """

    encoder: Encoder
    columns: tuple[int, ...]
    parts: Mapping[int, Allowed]
    conditions: tuple[Condition, ...]

    @classmethod
    def of(cls, encoder: Encoder, left: Mapping[int, Allowed]) -> Self:
        """Return what has to be decoded for conditions by the places of their columns; nothing where tokens say all."""
        conditions = tuple(part.open for part in left.values() if part.open is not None)
        names = [one.column.name for one in conditions]
        for name in names:  # which grows on the way
            below = encoder.schema[name].after
            names += [below] if below is not None and below not in names else []
        columns = [column for column in encoder.schema if column.name in names]
        places = tuple(encoder.names.index(column.name) for column in columns)
        return cls(Encoder(Schema(tuple(columns))) if columns else encoder, places, left, conditions)

    def within(self, first: Given) -> Self:
        """Return this where `first` draws all that it takes; where the combinations are too many, nothing to decode."""
        return self if set(self.columns) <= set(first.columns) else replace(self, columns=(), conditions=())

    def draw(
        self, first: Given, uniform: Tensor, source: torch.Generator
    ) -> tuple[dict[int, Tensor], NDArray[np.float32]]:
        """Return conditioned cells as `first` draws them, and the places within bins (rows, columns) that go with them.

        Where hardly any are good, the others are for the caller to see to.
        """
        rows, cells = len(uniform), first.draw(uniform)
        if not self.columns:
            return cells, np.empty((rows, 0), np.float32)
        within, good = self._decoded(cells, rows, source)
        have, drawn = int(good.sum()), rows
        while have < rows and (drawn < LEAST_TRIES or have >= LEAST_SHARE * drawn):
            more = min(MOST, max(rows, int((rows - have) * drawn / max(have, 1))))
            again = first.draw(torch.rand(more, 2, generator=source))
            places, met = self._decoded(again, more, source)
            free, found = torch.nonzero(~good)[:, 0], torch.nonzero(met)[:, 0]
            free, found = free[: len(found)], found[: len(free)]
            for column, tokens in again.items():
                cells[column][free] = tokens[found]
            within[free], good[free] = places[found], True
            have, drawn = have + len(found), drawn + more
        return cells, within.numpy()

    def _decoded(self, cells: Mapping[int, Tensor], rows: int, source: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return places within bins (rows, columns) for some cells, and which rows then meet every condition."""
        within = torch.rand(rows, len(self.columns), generator=source)
        tokens = np.stack([cells[column].numpy().astype(np.int32) for column in self.columns], axis=1)
        for place, column in enumerate(self.columns):
            if (part := self.parts.get(column)) is not None:
                within[:, place] = torch.from_numpy(part.offsets(tokens[:, place], within[:, place].numpy()))
        frame = self.encoder.decode(tokens, np.random.default_rng(0), within.numpy())
        return within, torch.from_numpy(np.all([one.holds(frame) for one in self.conditions], axis=0))


def _logs(
    model: RowTransformer, prefixes: Tensor, columns: Sequence[int], asked: int, wish: Tensor, *, temperature: float
) -> Tensor:
    """Return the log of what a column's tokens have after each prefix, of which a condition leaves a part."""
    logits = model.next_logits(prefixes, columns, asked).double() / temperature
    return logits.log_softmax(1) + wish.double()
