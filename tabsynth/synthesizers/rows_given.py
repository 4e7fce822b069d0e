"""Conditions on the rows of a transformer that reads any order: what is conditioned on is drawn first.

A row is read in the order: columns with a condition, then the others. The rest of the row is then what the model says
given what came before, however rare that is. Of columns whose condition leaves several tokens the combinations are
written out with the model's probability of each, all but those of the last column, whose softmax is one at once. So the
conditioned cells are drawn from their joint distribution given all conditions, exactly. Drawing them one after another
from masked softmaxes would not: a value would not count less for making the next condition less likely.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

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


def _logs(
    model: RowTransformer, prefixes: Tensor, columns: Sequence[int], asked: int, wish: Tensor, *, temperature: float
) -> Tensor:
    """Return the log of what a column's tokens have after each prefix, of which a condition leaves a part."""
    logits = model.next_logits(prefixes, columns, asked).double() / temperature
    return logits.log_softmax(1) + wish.double()
