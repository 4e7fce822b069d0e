"""What may be written next: an automaton whose only sentences are rows that the schema allows.

Each column is a trie over its values' spellings; a phrase leads to it and the next phrase leaves it. In most states one
id only may follow, and nothing is learned or drawn there. In the others, the branches, a model's distribution is taken
over the ids that may follow. So a row's probability is that of its cells, whatever a language model would rather write,
no budget is spent on learning the frame, and what is drawn is valid at once: nothing is thrown away or tried again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tabsynth.errors import InputError
from tabsynth.synthesizers.text_vocabulary import Spelling

NONE = -1
MOST_CELLS = 1_000_000_000  # of the table of what may follow


@dataclass(frozen=True, eq=False, slots=True)
class Written:
    """Rows as ids, 0 after the end, and the branch that each id was chosen in, or NONE; both (rows, longest)."""

    ids: Tensor
    branches: Tensor


class Automaton:
    """The states between the ids of a row, from the first phrase to the end, and rows to ids and back.

    `forced` is each state's only id, or NONE at a branch; `branch` numbers the branches, and `allowed` (branches, ids)
    says what may follow at each.

    >>> two = Spelling(((0,), (1,)), (((2,), (2, 3)),), (":", ".", "a", "b"))
    >>> automaton = Automaton(two)
    >>> automaton.write(np.array([[0], [1]])).ids
    tensor([[0, 2, 1, 0],
            [0, 2, 3, 1]])
    """

    def __init__(self, spelling: Spelling) -> None:
        self.spelling, self.width = spelling, len(spelling.pieces)
        self._steps: list[dict[int, int]] = []  # by state: id -> next state
        self._ends: dict[tuple[int, int], tuple[int, int]] = {}  # (state, id) -> (column, token) that is known by then
        self._paths: list[list[list[int]]] = []  # by column and token: the states its ids were chosen in, and the last
        self.start = self._new()
        state = self._frame(self.start, spelling.phrases[0])
        for column, values in enumerate(spelling.values):
            state = self._column(column, values, state, spelling.phrases[column + 1])
        self._steps[state] = {0: state}  # after the end nothing but padding
        self.final = state
        self._freeze()

    def write(self, tokens: NDArray[np.integer]) -> Written:
        """Return rows of tokens (rows, columns) as ids, and the branch that each was chosen in."""
        rows = len(tokens)
        first = len(self.spelling.phrases[0])
        lengths = [own[1][tokens[:, column]] for column, own in enumerate(self._tables)]
        longest = first + int(np.sum(lengths, axis=0).max(initial=0))
        ids = np.zeros((rows, longest + 1), np.int64)  # one more, for what the shorter cells do not fill
        branches = np.full((rows, longest + 1), NONE, np.int64)
        ids[:, :first] = self.spelling.phrases[0]
        at = np.full(rows, first)
        for column, (spelled, _, chosen) in enumerate(self._tables):
            own, length = tokens[:, column], lengths[column]
            places = np.arange(spelled.shape[1])
            into = np.where(places < length[:, None], at[:, None] + places, longest)
            np.put_along_axis(ids, into, spelled[own], axis=1)
            np.put_along_axis(branches, into, chosen[own], axis=1)
            at = at + length
        return Written(torch.from_numpy(ids[:, :longest]), torch.from_numpy(branches[:, :longest]))

    def losses(self, written: Written, logits: Tensor) -> Tensor:
        """Return each row's negative log-likelihood in nats, shape (rows,).

        `logits` (rows, longest, ids) at a place are about the id after it. Places without a choice count nothing.
        """
        rows, places = torch.nonzero(written.branches >= 0, as_tuple=True)
        at = logits[rows, places - 1]
        allowed = self.allowed.to(logits.device)[written.branches[rows, places]]
        chosen = at.gather(1, written.ids[rows, places][:, None])[:, 0]
        surprise = at.masked_fill(~allowed, -torch.inf).logsumexp(1) - chosen
        return logits.new_zeros(len(logits)).index_add(0, rows, surprise)

    @torch.no_grad()
    def draw(self, model: Callable[[Tensor], Tensor], uniform: Tensor) -> NDArray[np.int32]:
        """Return rows of tokens (rows, columns), drawn id by id by the uniforms (rows, longest) in [0, 1).

        `model` takes the next ids (rows, some), remembers those before, and returns logits (rows, ids) for what
        follows. It is called at most as often as the longest row has ids.
        """
        rows = len(uniform)
        tokens = np.full((rows, len(self._tables)), NONE, np.int32)
        phrase = torch.tensor(self.spelling.phrases[0])
        state = torch.full((rows,), self._after_first)
        logits = model(phrase.expand(rows, -1))
        for place in range(uniform.shape[1]):
            chosen = self.forced[state].clone()
            where = torch.nonzero(chosen == NONE)[:, 0]
            if len(where):
                chosen[where] = self._pick(logits[where], state[where], uniform[where, place])
            state = self._follow(state, chosen, tokens)
            if bool((state == self.final).all()):
                break
            logits = model(chosen[:, None])
        return tokens

    def _pick(self, logits: Tensor, state: Tensor, uniform: Tensor) -> Tensor:
        """Return one id per row, by the inverse of the cumulative distribution of what may follow."""
        allowed = self.allowed[self.branch[state]]
        ladder = logits.double().masked_fill(~allowed, -torch.inf).softmax(1).cumsum(1)
        found = torch.searchsorted(ladder, (uniform[:, None].double() * ladder[:, -1:]).contiguous(), right=True)
        last = allowed.shape[1] - 1 - allowed.flip(1).long().argmax(1)  # where rounding ran past the top
        return torch.minimum(found[:, 0], last)

    def _follow(self, state: Tensor, chosen: Tensor, tokens: NDArray[np.int32]) -> Tensor:
        """Return the next states, and write down the cells that are known by then."""
        edge = torch.searchsorted(self._keys, state * self.width + chosen)
        known = self._known[edge]
        rows = torch.nonzero(known[:, 0] >= 0)[:, 0].numpy()
        tokens[rows, known[rows, 0].numpy()] = known[rows, 1].numpy()
        return self._targets[edge]

    def _new(self) -> int:
        self._steps.append({})
        return len(self._steps) - 1

    def _frame(self, state: int, phrase: Sequence[int]) -> int:
        """Add a phrase after a state; return the state behind it."""
        for each in phrase:
            state = self._steps[state].setdefault(each, len(self._steps))
            if state == len(self._steps):
                self._new()
        return state

    def _column(self, column: int, values: Sequence[Sequence[int]], root: int, phrase: Sequence[int]) -> int:
        """Add a column's trie and the phrase after it; return the state behind that."""
        behind = self._new()
        final = self._frame(behind, phrase[1:])
        rest = [behind]  # the states that the phrase's other ids are chosen in
        for each in phrase[1:]:
            rest.append(self._steps[rest[-1]][each])
        paths = []
        for token, spelled in enumerate(values):
            path = [root]
            for each in spelled:
                path.append(self._frame(path[-1], (each,)))
            self._steps[path[-1]][phrase[0]] = behind
            self._ends[path[-1], phrase[0]] = (column, token)
            paths.append([*path, *rest])
        self._paths.append(paths)
        return final

    def _freeze(self) -> None:
        """Lay states, edges and cells out as arrays."""
        forced = [next(iter(after)) if len(after) == 1 else NONE for after in self._steps]
        self.forced = torch.tensor(forced)
        self.branch = torch.where(self.forced == NONE, (self.forced == NONE).cumsum(0) - 1, NONE)
        branches = int((self.forced == NONE).sum())
        if branches * self.width > MOST_CELLS:
            raise InputError(f'{branches:,} branches over {self.width:,} pieces are too many; try units="characters".')
        self.allowed = torch.zeros(branches, self.width, dtype=torch.bool)
        edges = []
        for state, after in enumerate(self._steps):
            if len(after) > 1:
                self.allowed[int(self.branch[state]), list(after)] = True
            edges += [
                (state * self.width + i, to, *self._ends.get((state, i), (NONE, NONE))) for i, to in after.items()
            ]
        table = torch.tensor(sorted(edges))
        self._keys, self._targets, self._known = table[:, 0].contiguous(), table[:, 1], table[:, 2:]
        self._tables = [self._table(column) for column in range(len(self._paths))]
        state = self.start
        for each in self.spelling.phrases[0]:
            state = self._steps[state][each]
        self._after_first = state
        del self._steps, self._ends, self._paths

    def _table(self, column: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return a column's cells, the phrase after it included: ids (tokens, longest), lengths, and branches."""
        after = self.spelling.phrases[column + 1]
        spelled = [(*value, *after) for value in self.spelling.values[column]]
        lengths = np.array([len(each) for each in spelled])
        ids = np.zeros((len(spelled), lengths.max()), np.int64)
        branches = np.full(ids.shape, NONE, np.int64)
        number = self.branch.numpy()
        for token, (each, path) in enumerate(zip(spelled, self._paths[column], strict=True)):
            ids[token, : len(each)] = each
            branches[token, : len(each)] = number[path[: len(each)]]
        return ids, lengths, branches
