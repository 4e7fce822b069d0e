"""What may be written next: an automaton whose only sentences are rows that the schema allows.

Each column is a trie over its values' spellings; a phrase leads to it and the next phrase leaves it. In most states one
id only may follow, and nothing is learned or drawn there. In the others, the branches, a model's distribution is taken
over the ids that may follow. So a row's probability is that of its cells, whatever a language model would rather write,
no budget is spent on learning the frame, and what is drawn is valid at once: nothing is thrown away or tried again.

A column of free text is one state, in which a row stays until its text is ended; what may come there is decided by the
text's own grammar (`text_grammar`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tabsynth.errors import InputError
from tabsynth.synthesizers.text_cells import Cells
from tabsynth.synthesizers.text_grammar import Grammar, Walk
from tabsynth.synthesizers.text_vocabulary import Spelling

NONE = -1
MOST_CELLS = 1_000_000_000  # of the table of what may follow


@dataclass(frozen=True, eq=False, slots=True)
class Written:
    """Rows as ids, 0 after the end, and the branch that each id was chosen in, or NONE; both (rows, longest).

    Numbers behind those of the branches are places in free text.
    """

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
        self.grammars: tuple[Grammar, ...] = tuple(map(spelling.grammar, spelling.texts))
        self._place = {text.column: place for place, text in enumerate(spelling.texts)}
        self._open: dict[int, int] = {}  # states of free text, and which one
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

    def write(self, tokens: NDArray[np.integer], texts: Sequence[Cells] = ()) -> Written:
        """Return rows of tokens (rows, columns), and their texts, as ids; and the branch that each was chosen in."""
        rows = len(tokens)
        first = len(self.spelling.phrases[0])
        cells = [
            self._text_cell(column, texts[self._place[column]])
            if column in self._place
            else (spelled[tokens[:, column]], own[tokens[:, column]], chosen[tokens[:, column]])
            for column, (spelled, own, chosen) in enumerate(self._tables)
        ]
        longest = first + int(np.sum([lengths for _, lengths, _ in cells], axis=0).max(initial=0))
        ids = np.zeros((rows, longest + 1), np.int64)  # one more, for what the shorter cells do not fill
        branches = np.full((rows, longest + 1), NONE, np.int64)
        ids[:, :first] = self.spelling.phrases[0]
        at = np.full(rows, first)
        for spelled, lengths, chosen in cells:
            places = np.arange(spelled.shape[1])
            into = np.where(places < lengths[:, None], at[:, None] + places, longest)
            np.put_along_axis(ids, into, spelled, axis=1)
            np.put_along_axis(branches, into, chosen, axis=1)
            at = at + lengths
        return Written(torch.from_numpy(ids[:, :longest]), torch.from_numpy(branches[:, :longest]))

    def _text_cell(self, column: int, cells: Cells) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return a column's texts with the phrase after them: ids (rows, longest), lengths, and branches."""
        place, phrase = self._place[column], self.spelling.phrases[column + 1]
        padded, lengths = cells.padded().astype(np.int64), np.diff(cells.starts)
        chosen, _, _ = self.grammars[place].walked(torch.from_numpy(padded))
        spelled = np.pad(padded, ((0, 0), (0, len(phrase))))
        branches = np.pad(chosen.numpy() + self._first[place], ((0, 0), (0, len(phrase) - 1)))
        behind = lengths[:, None] + np.arange(len(phrase))
        np.put_along_axis(spelled, behind, np.broadcast_to(phrase, behind.shape), axis=1)
        np.put_along_axis(branches, behind[:, 1:], NONE, axis=1)
        return spelled, lengths + len(phrase), branches

    def without_texts(self, written: Written) -> Written:
        """Return rows whose free text counts nothing."""
        first = self._first[0] if self._first else len(self.allowed)
        return Written(written.ids, written.branches.masked_fill(written.branches >= first, NONE))

    def losses(self, written: Written, logits: Tensor) -> Tensor:
        """Return each row's negative log-likelihood in nats, shape (rows,).

        `logits` (rows, longest, ids) at a place are about the id after it. Places without a choice count nothing.
        """
        rows, places = torch.nonzero(written.branches >= 0, as_tuple=True)
        at = logits[rows, places - 1]
        allowed = self._allowed(written.branches[rows, places].cpu()).to(logits.device)
        chosen = at.gather(1, written.ids[rows, places][:, None])[:, 0]
        surprise = at.masked_fill(~allowed, -torch.inf).logsumexp(1) - chosen
        return logits.new_zeros(len(logits)).index_add(0, rows, surprise)

    def _allowed(self, branches: Tensor) -> Tensor:
        """Return what may follow at each branch or place in free text, (branches, ids)."""
        found = self.allowed[branches.clamp(max=len(self.allowed) - 1)] if len(self.allowed) else None
        if found is None or self.grammars:
            found = torch.zeros(len(branches), self.width, dtype=torch.bool) if found is None else found
            for first, grammar in zip(self._first, self.grammars, strict=True):
                own = (branches >= first) & (branches < first + grammar.places)
                found[own] = grammar.allowed(branches[own] - first)
        return found

    @torch.no_grad()
    def draw(self, model: Callable[[Tensor], Tensor], uniform: Tensor) -> tuple[NDArray[np.int32], tuple[Cells, ...]]:
        """Return rows of tokens (rows, columns) and their texts, drawn by the uniforms (rows, longest) in [0, 1).

        `model` takes the next ids (rows, some), remembers those before, and returns logits (rows, ids) for what
        follows. A row that is over has NONE for an id. It is called at most as often as the longest row has ids.
        """
        rows = len(uniform)
        tokens = np.full((rows, len(self._tables)), NONE, np.int32)
        walks = [Walk(grammar, rows) for grammar in self.grammars]
        phrase = torch.tensor(self.spelling.phrases[0])
        state = torch.full((rows,), self._after_first)
        logits = model(phrase.expand(rows, -1))
        for place in range(uniform.shape[1]):
            chosen = self.forced[state].clone()
            where = torch.nonzero(chosen == NONE)[:, 0]
            if len(where):
                allowed = self._allowed(self.branch[state[where]])
                for own, walk in zip(self._texts_at(state[where]), walks, strict=True):
                    allowed[own] = walk.allowed(where[own])
                chosen[where] = self._pick(logits[where], allowed, uniform[where, place])
            moving = self._write_texts(state, chosen, walks)
            state[moving] = self._follow(state[moving], chosen[moving], tokens, moving)
            over = state == self.final
            if bool(over.all()):
                break
            logits = model(chosen.masked_fill(over, NONE)[:, None])
        return tokens, tuple(Cells.of([row[row >= 0].tolist() for row in walk.written]) for walk in walks)

    def _texts_at(self, state: Tensor) -> list[Tensor]:
        """Return the places of the states that are in each column of free text."""
        return [torch.nonzero(state == own)[:, 0] for own in self._open]

    def _write_texts(self, state: Tensor, chosen: Tensor, walks: Sequence[Walk]) -> Tensor:
        """Write the ids of texts down; return the rows that go on to another state."""
        moving = torch.ones(len(state), dtype=torch.bool)
        for own, walk in zip(self._texts_at(state), walks, strict=True):
            walk.write(own, chosen[own])
            moving[own] = chosen[own] == walk.grammar.close
        return torch.nonzero(moving)[:, 0]

    def _pick(self, logits: Tensor, allowed: Tensor, uniform: Tensor) -> Tensor:
        """Return one id per row, by the inverse of the cumulative distribution of what may follow."""
        ladder = logits.double().masked_fill(~allowed, -torch.inf).softmax(1).cumsum(1)
        found = torch.searchsorted(ladder, (uniform[:, None].double() * ladder[:, -1:]).contiguous(), right=True)
        last = allowed.shape[1] - 1 - allowed.flip(1).long().argmax(1)  # where rounding ran past the top
        return torch.minimum(found[:, 0], last)

    def _follow(self, state: Tensor, chosen: Tensor, tokens: NDArray[np.int32], rows: Tensor) -> Tensor:
        """Return the next states of these rows, and write down the cells that are known by then."""
        edge = torch.searchsorted(self._keys, state * self.width + chosen)
        known = self._known[edge]
        found = torch.nonzero(known[:, 0] >= 0)[:, 0]
        tokens[rows[found].numpy(), known[found, 0].numpy()] = known[found, 1].numpy()
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
        if column in self._place:
            self._open[root] = self._place[column]
            self._steps[root][phrase[0]] = behind
            self._ends[root, phrase[0]] = (column, 0)
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
        several = torch.tensor([len(after) > 1 for after in self._steps])
        forced = [next(iter(after)) if len(after) == 1 else NONE for after in self._steps]
        forced = [NONE if state in self._open else only for state, only in enumerate(forced)]
        self.forced = torch.tensor(forced)
        self.branch = torch.where(several, several.cumsum(0) - 1, NONE)
        branches = int(several.sum())
        sizes = [grammar.places for grammar in self.grammars]
        self._first = [branches + sum(sizes[:place]) for place in range(len(sizes))]
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
        if column in self._place:
            return np.zeros((0, 0), np.int64), np.zeros(0, np.int64), np.zeros((0, 0), np.int64)
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
