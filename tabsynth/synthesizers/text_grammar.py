"""What the text of a cell may be, byte by byte, lifted to the ids of a vocabulary.

A text is what reading a table leaves of one (`conversion`): UTF-8 without controls and odd spaces, no space at either
end, not a word for a missing value, and not empty. Those ids may follow with which such a text can still be ended
within the characters and the ids that are left; so a text that is begun always ends well. One that ends where it begins
is a missing one. All of this follows from public facts: the vocabulary, the declared length and the words for missing.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

LONGEST_PIECE = 32  # bytes of an id; longer ones are not used
CHARACTER = 1_000  # in a cost: characters come first, then ids
HOPELESS = 10**12
SECOND = {
    0xE0: (0xA0, 0xBF),
    0xED: (0x80, 0x9F),
    0xF0: (0x90, 0xBF),
    0xF4: (0x80, 0x8F),
}  # bytes after these (RFC 3629)
REST = {1: b"\xc3", 2: b"\xe4", 3: b"\xf1"}  # in place of bytes that say nothing but how many follow
SPACES = " \n"


class State(NamedTuple):
    """Where in a text one stands.

    `word` is the text so far while it may become a word for missing, `last` what it ends in ("lead", "start", "ink" or
    "space"), and `begun` the bytes of a character that is not whole.
    """

    word: str | None
    last: str
    begun: bytes = b""


@dataclass(frozen=True, eq=False, slots=True)
class Grammar:
    """The texts of one column in ids.

    `follow` (states, ids) is the state after each id, -1 where it may not come; `long` (ids,) the characters that an id
    begins; `ends` (states,) says where a text, or a missing one, may end. `cost` (states,) is the least that is needed
    to end it, in characters and, among those, ids. `characters` and `room` are what a text may have of both.
    """

    follow: Tensor
    long: Tensor
    ends: Tensor
    cost: Tensor
    characters: int
    room: int
    close: int

    @property
    def most(self) -> tuple[int, int]:
        """The characters and ids beyond which having more makes no difference."""
        needed = self.cost[self.cost < HOPELESS]
        return int(self.long.max() + (needed // CHARACTER).max()), int(1 + (needed % CHARACTER).max())

    @property
    def places(self) -> int:
        """The number of different places that there are to choose an id at."""
        characters, ids = self.most
        return len(self.ends) * (characters + 1) * (ids + 1)

    def place(self, state: Tensor, characters: Tensor, ids: Tensor) -> Tensor:
        """Number the places by the state, the characters and the ids that are left."""
        most = self.most
        number = state * (most[0] + 1) + characters.clamp(max=most[0])
        return number * (most[1] + 1) + ids.clamp(max=most[1])

    def allowed(self, places: Tensor) -> Tensor:
        """Return which ids may follow at each place, (places, ids)."""
        places, which = torch.unique(places, return_inverse=True)
        most = self.most
        ids = places % (most[1] + 1)
        characters = places // (most[1] + 1) % (most[0] + 1)
        state = places // ((most[1] + 1) * (most[0] + 1))
        after = self.follow[state].long()
        cost = self.cost[after.clamp(min=0)]
        found = (after >= 0) & (self.long + cost // CHARACTER <= characters[:, None])
        found &= 1 + cost % CHARACTER <= ids[:, None]
        found[:, self.close] = self.ends[state]
        return found[which]

    def walked(self, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return where texts (rows, longest) choose each id and end, (rows, longest + 1), and how far they may go on.

        The places; which of them an end may follow; and for each row the number of ids that keep to the grammar. What
        is behind those means nothing; ids below 0 fill up.
        """
        rows, longest = ids.shape
        states = torch.zeros(rows, longest + 1, dtype=torch.long)
        characters = torch.full((rows, longest + 1), self.characters)
        good = torch.zeros(rows, dtype=torch.long)
        going = torch.ones(rows, dtype=torch.bool)
        for at in range(longest):
            now = ids[:, at].clamp(min=0)
            after = self.follow[states[:, at], now].long()
            cost = self.cost[after.clamp(min=0)]
            left = characters[:, at] - self.long[now]
            going &= (ids[:, at] >= 0) & (after >= 0)
            going &= (cost // CHARACTER <= left) & (1 + cost % CHARACTER <= self.room - at)
            good += going
            states[:, at + 1], characters[:, at + 1] = after.clamp(min=0), left.clamp(min=0)
        remaining = (self.room - torch.arange(longest + 1)).clamp(min=0).expand(rows, -1)
        return self.place(states, characters, remaining), self.ends[states], good

    def shortest(self) -> list[int]:
        """Return the ids of a text that needs as little as any."""
        found, state = list[int](), 0
        while not found or not bool(self.ends[state]):
            after = self.follow[state].long()
            whole = torch.where(after >= 0, self.cost[after.clamp(min=0)] + self.long * CHARACTER, HOPELESS)
            found.append(int(whole.argmin()))
            state = int(after[found[-1]])
        return found


class Walk:
    """Rows whose text is being written, each at its own place."""

    def __init__(self, grammar: Grammar, rows: int) -> None:
        self.grammar = grammar
        self.written = np.full((rows, grammar.room), -1, np.int32)
        self._state = torch.zeros(rows, dtype=torch.long)
        self._characters = torch.full((rows,), grammar.characters)
        self._ids = torch.full((rows,), grammar.room)

    def allowed(self, rows: Tensor) -> Tensor:
        """Return which ids these rows may write next, (rows, ids)."""
        return self.grammar.allowed(self.grammar.place(self._state[rows], self._characters[rows], self._ids[rows]))

    def write(self, rows: Tensor, ids: Tensor) -> None:
        """Take the next id of these rows; the one that ends a text leaves it as it is."""
        on = ids != self.grammar.close
        rows, ids = rows[on], ids[on]
        self.written[rows.numpy(), (self.grammar.room - self._ids[rows]).numpy()] = ids.numpy()
        self._state[rows] = self.grammar.follow[self._state[rows], ids].long()
        self._characters[rows] -= self.grammar.long[ids]
        self._ids[rows] -= 1


def grammar_of(
    pieces: Sequence[bytes],
    close: int,
    *,
    lead: bytes,
    characters: int,
    room: int,
    nullable: bool,
    missing: Sequence[str],
) -> Grammar:
    """Return the grammar of texts of at most `characters` in at most `room` ids.

    `pieces` are the bytes of each id, empty for one that no text holds; `close` is the id after a text. A text comes
    after `lead`, a space or nothing. `missing` are words that no text is.
    """
    states, steps = _byte_automaton(tuple(sorted(missing)), lead)
    spelled = [piece if len(piece) <= LONGEST_PIECE else b"" for piece in pieces]
    follow = _lifted(steps, spelled)
    long = np.array([sum(byte & 0xC0 != 0x80 for byte in piece) for piece in spelled], np.int64)
    inked = [state.last == "ink" and not state.begun and state.word not in missing for state in states]
    cost = _costs(follow, long, np.array(inked))
    ends = np.array(inked)
    ends[0] = nullable
    return Grammar(
        torch.from_numpy(follow),
        torch.from_numpy(long),
        torch.from_numpy(ends),
        torch.from_numpy(cost),
        characters + len(lead),
        room,
        close,
    )


def text_bytes() -> list[int]:
    """Return every byte that a text may hold."""
    _, steps = _byte_automaton((), b"")
    return [int(byte) for byte in np.flatnonzero((steps >= 0).any(axis=0))]


def byte_letters() -> dict[str, int]:
    """Return the letters that stand for bytes in the vocabularies of byte-level tokenizers, as GPT-2 chose them.

    >>> byte_letters()["\u0120"], len(byte_letters())
    (32, 256)
    """
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in set(shown)]
    return {chr(byte): byte for byte in shown} | {chr(256 + place): byte for place, byte in enumerate(hidden)}


def piece_bytes(tokenizer: Any) -> list[bytes]:
    """Return the bytes of each id of a Hugging Face tokenizer, empty for its signs and for what is longer than most.

    A byte-level tokenizer writes its pieces in `byte_letters`, others with "▁" for a space and "<0x0A>" for a byte.
    """
    names = list(map(str, tokenizer.convert_ids_to_tokens(range(len(tokenizer)))))
    signs = {*tokenizer.all_special_ids, *getattr(tokenizer, "added_tokens_decoder", ())}
    letters = byte_letters()
    of_bytes = all(set(name) <= letters.keys() for number, name in enumerate(names) if number not in signs)

    def spelled(name: str) -> bytes:
        if of_bytes:
            return bytes(letters[letter] for letter in name)
        byte = re.fullmatch("<0x([0-9A-F]{2})>", name)
        return bytes([int(byte[1], 16)]) if byte else name.replace("\u2581", " ").encode()

    found = [b"" if number in signs else spelled(name) for number, name in enumerate(names)]
    return [piece if len(piece) <= LONGEST_PIECE else b"" for piece in found]


@lru_cache(maxsize=16)
def _byte_automaton(missing: tuple[str, ...], lead: bytes) -> tuple[list[State], NDArray[np.int16]]:
    """Return the states of a text, the first one first, and the state (states, 256) after each byte, -1 for none."""
    spelled = tuple(word.encode() for word in missing)
    states = [State(None, "lead") if lead else State("", "start")]
    number = {states[0]: 0}
    steps: list[list[int]] = []
    for state in states:  # which grows
        steps.append([])
        for byte in range(256):
            after = _after(state, byte, spelled)
            if after is not None and after not in number:
                number[after] = len(states)
                states.append(after)
            steps[-1].append(-1 if after is None else number[after])
    return states, np.array(steps, np.int16)


def _after(state: State, byte: int, missing: Sequence[bytes]) -> State | None:
    """Return the state after one more byte, None where a text may not go on so."""
    if state.last == "lead":
        return State("", "start") if byte == ord(" ") else None
    begun = state.begun + bytes([byte])
    first = begun[0]
    low, high = SECOND.get(first, (0x80, 0xBF)) if len(begun) == 2 else (0x80, 0xBF)
    if not (low <= byte <= high if state.begun else byte < 0x80 or 0xC2 <= byte <= 0xF4):
        return None
    more = (0 if first < 0x80 else 1 if first < 0xE0 else 2 if first < 0xF0 else 3) + 1 - len(begun)
    word = None if state.word is None else state.word.encode() + begun
    if word is not None and not any(each.startswith(word) for each in missing):
        word = None
    if more:
        telling = any(each.startswith(begun) for each in _refused()) or (len(begun) == 1 and first in SECOND)
        begun = begun if word is not None or telling else REST[more]
        return State(None if word is None else state.word, "ink", begun)
    if begun in _refused() or (state.last == "start" and begun.decode() in SPACES):
        return None
    return State(None if word is None else word.decode(), "space" if begun.decode() in SPACES else "ink")


@lru_cache(maxsize=1)
def _refused() -> frozenset[bytes]:
    """Return the characters that no text holds: controls but for the line feed, and spaces but for the plain one."""
    signs = (chr(code) for code in range(0x10000))
    odd = (sign for sign in signs if unicodedata.category(sign) in ("Cc", "Zs", "Zl", "Zp") and sign not in SPACES)
    return frozenset(sign.encode() for sign in odd)


def _lifted(steps: NDArray[np.int16], pieces: Sequence[bytes]) -> NDArray[np.int16]:
    """Return the state after each piece, (states, pieces), -1 where it is empty or a text may not go on so."""
    lengths = np.array([len(piece) for piece in pieces])
    dead = len(steps)
    steps = np.vstack([np.where(steps < 0, dead, steps), np.full((1, 256), dead)]).astype(np.int16)
    found = np.repeat(np.arange(dead, dtype=np.int16)[:, None], len(pieces), axis=1)
    for place in range(int(lengths.max(initial=0))):
        going = np.flatnonzero(lengths > place)
        bytes_here = np.array([pieces[each][place] for each in going.tolist()])
        found[:, going] = steps[found[:, going], bytes_here]
    found[:, lengths == 0] = dead
    return np.where(found == dead, -1, found).astype(np.int16)


def _costs(follow: NDArray[np.int16], long: NDArray[np.int64], inked: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return what is needed at least from each state to one in which a text may end (Bellman 1958)."""
    states = len(follow)
    edge = np.full((states, states), HOPELESS, np.int64)
    for state, after in enumerate(follow):
        there = np.flatnonzero(after >= 0)
        np.minimum.at(edge[state], after[there], long[there] * CHARACTER + 1)
    cost = np.where(inked, 0, HOPELESS)
    for _ in range(states):
        cost = np.minimum(cost, (edge + cost[None, :]).min(axis=1))
    return np.minimum(cost, HOPELESS)
