"""Private or drawn texts as ids, beside the tokens of the rows that they stand in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from tabsynth.synthesizers.text_grammar import Grammar
from tabsynth.synthesizers.text_vocabulary import Speller, Spelling

Ids = NDArray[np.int32]
Spell = Callable[[Sequence[str]], list[list[int]]]
BLOCK = 4096  # texts that are spelled at once


@dataclass(frozen=True, eq=False, slots=True)
class Cells:
    """One column's texts as ids, one after the other; those of row i are `ids[starts[i]:starts[i + 1]]`.

    >>> Cells.of([[7, 8], [], [9]]).padded().tolist()
    [[7, 8], [-1, -1], [9, -1]]
    """

    ids: Ids
    starts: NDArray[np.int64]

    @classmethod
    def of(cls, texts: Sequence[Sequence[int]]) -> Cells:
        """Return texts, each as its ids."""
        lengths = [len(text) for text in texts]
        ids = np.fromiter((each for text in texts for each in text), np.int32, sum(lengths))
        return cls(ids, np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]))

    def __len__(self) -> int:
        return len(self.starts) - 1

    def take(self, rows: NDArray[Any]) -> Cells:
        """Return these rows' texts."""
        lengths = np.diff(self.starts)[rows]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        places = np.arange(starts[-1]) + np.repeat(self.starts[:-1][rows] - starts[:-1], lengths)
        return Cells(self.ids[places], starts)

    def padded(self) -> Ids:
        """Return the texts as (rows, longest) ids, filled up with -1."""
        lengths = np.diff(self.starts)
        found = np.full((len(self), int(lengths.max(initial=0))), -1, np.int32)
        found[np.arange(found.shape[1]) < lengths[:, None]] = self.ids
        return found


@dataclass(frozen=True, eq=False, slots=True)
class Lines:
    """Rows: tokens (rows, columns), and the texts of each column that holds some, in order."""

    tokens: NDArray[np.int32]
    texts: tuple[Cells, ...] = ()

    def __len__(self) -> int:
        return len(self.tokens)

    def take(self, rows: NDArray[Any]) -> Lines:
        """Return these rows."""
        return Lines(self.tokens[rows], tuple(cells.take(rows) for cells in self.texts))


@dataclass(frozen=True, eq=False, slots=True)
class Scribe:
    """Texts to the ids of one spelling: by the tokenizer that it was made with, or byte by byte where it will not do.

    Without a speller texts are spelled in bytes, which is what a vocabulary of bytes does anyway.
    """

    spelling: Spelling
    speller: Speller | None = None

    @property
    def knows(self) -> bool:
        """Whether texts are spelled as they were for training."""
        return self.speller is not None or all(len(piece) <= 1 for piece in self.spelling.spelled)

    def spell(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of texts, below 0 where an id is none of the spelling's."""
        if self.speller is None:
            return self.plain(texts)
        number = {old: new for new, old in enumerate(self.spelling.kept)}
        return [[number.get(each, -1) for each in ids] for ids in self.speller.texts(texts)]

    def plain(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of single bytes."""
        number = {ord(piece): place for place, piece in enumerate(self.spelling.spelled) if len(piece) == 1}
        lead = self.spelling.lead
        return [[number.get(byte, -1) for byte in f"{lead}{text}".encode()] for text in texts]

    def lines(
        self, tokens: NDArray[np.int32], frame: pd.DataFrame, names: Sequence[str], grammars: Sequence[Grammar]
    ) -> tuple[Lines, NDArray[np.bool_]]:
        """Return rows with the texts of a canonical frame, and which of them are whole."""
        cells, whole = list[Cells](), np.ones(len(tokens), np.bool_)
        for text, grammar in zip(self.spelling.texts, grammars, strict=True):
            found, good = cells_of(frame[names[text.column]], self.spell, self.plain, grammar)
            cells.append(found)
            whole &= good
        return Lines(tokens, tuple(cells)), whole

    def texts(self, cells: Cells) -> pd.Series:
        """Return the texts of ids, missing where there are none."""
        pieces = [piece.encode("latin-1") for piece in self.spelling.spelled]
        skip = len(self.spelling.lead)
        rows = (cells.ids[start:end] for start, end in pairwise(cells.starts.tolist()))
        found = [b"".join(pieces[each] for each in row).decode()[skip:] if len(row) else None for row in rows]
        return pd.Series(found, dtype="str")


def cells_of(values: pd.Series, spell: Spell, plain: Spell, grammar: Grammar) -> tuple[Cells, NDArray[np.bool_]]:
    """Return canonical texts as ids, and which of them are whole: all of it is there, and may be written.

    `spell` turns texts into ids as a model knows them, `plain` byte by byte, for what `spell` does not give back. A
    text that takes more ids than there is room for is cut where it may end. Each text's ids depend on it alone.
    """
    texts = ["" if missing else str(text) for text, missing in zip(values, values.isna(), strict=True)]
    parts = [
        _spelled(texts[start : start + BLOCK], spell, plain, grammar) for start in range(0, max(len(texts), 1), BLOCK)
    ]
    found = [ids for part, _ in parts for ids in part]
    return Cells.of(found), np.concatenate([whole for _, whole in parts])


def _spelled(
    texts: list[str], spell: Spell, plain: Spell, grammar: Grammar
) -> tuple[list[list[int]], NDArray[np.bool_]]:
    """Return the ids of texts, of "" none, and which are whole."""
    found = [ids if text else [] for ids, text in zip(spell(texts), texts, strict=True)]
    kept, whole = _kept(found, grammar)
    if len(again := np.flatnonzero(~whole)):
        others, good = _kept(plain([texts[row] for row in again]), grammar)
        for row, ids, fits in zip(again, others, good, strict=True):
            if fits or not kept[row]:
                kept[row], whole[row] = ids or grammar.shortest(), fits
    return kept, whole


def _kept(found: Sequence[Sequence[int]], grammar: Grammar) -> tuple[list[list[int]], NDArray[np.bool_]]:
    """Return as much of each text as may be written, and which is all of it."""
    cut = Cells.of([ids[: grammar.room] for ids in found]).padded()
    _, ends, good = grammar.walked(torch.from_numpy(cut.astype(np.int64)))
    kept, whole = [], np.zeros(len(found), np.bool_)
    for row, ids in enumerate(found):
        last = int(good[row])
        whole[row] = last == len(ids) and bool(ends[row, last])
        while last and not ends[row, last]:
            last -= 1
        kept.append(list(ids[:last]))
    return kept, whole
