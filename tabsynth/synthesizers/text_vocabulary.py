"""How a row is spelled: "age is 37, city is Ulm.", from the completed schema alone.

The form is that of GReaT (Borisov et al. 2023, arXiv 2210.06280), in a fixed order of columns. Every cell of the
encoder has one spelling: a category its name, a number the roundest one in its bin, a date the first of its bin, and a
missing value the word for it. Nothing here has seen a row: what is spelled is declared or paid for.

Two spellers turn text into token ids. `PublicSpeller` makes its own vocabulary out of the words that the schema holds;
another goes by the tokenizer of a pretrained model, of which the ids that spell something are kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import Any, Protocol

import numpy as np

from tabsynth.encoding.codec import Codec, roundest
from tabsynth.errors import InputError, ModelError
from tabsynth.schema import DAY

MISSING = "missing"
SEPARATORS = (",", ";", " |", " /", "\n")  # what may end a value: the first that stands in none
FEWEST = 8  # tokens that a value is given at least: enough to tell 10,000 from one another
TRIES = 100  # numbers behind a value that would be spelled like another
UNITS = ("words", "characters")
_PIECES = {"words": re.compile(r"\d|[^\W\d_]+|.", re.DOTALL), "characters": re.compile(r".", re.DOTALL)}


class Speller(Protocol):
    """Text to token ids."""

    def phrase(self, text: str) -> list[int]:
        """Spell a part of the frame: what stands between two values."""
        ...

    def value(self, text: str) -> list[int]:
        """Spell a value."""
        ...

    @property
    def start(self) -> list[int]:
        """The ids that stand before every row."""
        ...

    @property
    def end(self) -> list[int]:
        """The ids that stand after every row."""
        ...

    @property
    def pieces(self) -> Sequence[str]:
        """The text of each id."""
        ...


@dataclass(frozen=True, slots=True)
class Spelling:
    """All that rows of one schema can be spelled as, in ids 0 to len(`pieces`) - 1.

    `phrases` stand before the value of each column, and the last of them after the row; `values` holds a spelling for
    each token of each column, no two of a column alike, none of which contains the first id of the phrase after it.
    `pieces` are the texts of the ids, and `kept` their ids in a pretrained model's vocabulary (empty: there is none).
    """

    phrases: tuple[tuple[int, ...], ...]
    values: tuple[tuple[tuple[int, ...], ...], ...]
    pieces: tuple[str, ...]
    kept: tuple[int, ...] = ()

    @property
    def longest(self) -> int:
        """The number of ids of the longest row."""
        return sum(map(len, self.phrases)) + sum(max(map(len, values)) for values in self.values)

    def to_dict(self) -> dict[str, Any]:
        """Return the spelling as plain JSON values."""
        return {
            "phrases": [list(each) for each in self.phrases],
            "values": [[list(each) for each in values] for values in self.values],
            "pieces": list(self.pieces),
            "kept": list(self.kept),
        }

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Spelling:
        """Return the spelling that `to_dict` wrote down."""
        values = tuple(tuple(tuple(map(int, each)) for each in values) for values in plain["values"])
        phrases = tuple(tuple(map(int, each)) for each in plain["phrases"])
        return cls(phrases, values, tuple(plain["pieces"]), tuple(map(int, plain["kept"])))


class PublicSpeller:
    """A vocabulary made of whatever it is asked to spell: one id for a phrase, one for each piece of a value.

    Pieces are runs of letters, single digits and single other characters ("words"), or single "characters".

    >>> speller = PublicSpeller("words")
    >>> speller.value("Some-college"), speller.phrase(", age is "), speller.value("college 12")
    ([0, 1, 2], [3], [2, 4, 5, 6])
    """

    def __init__(self, units: str) -> None:
        self._units = units
        self._ids: dict[tuple[str, str], int] = {}

    def phrase(self, text: str) -> list[int]:
        """Return the one id of a phrase, which is no piece of a value."""
        return [self._id("phrase", text)]

    def value(self, text: str) -> list[int]:
        """Return one id for each piece."""
        return [self._id("piece", piece) for piece in _PIECES[self._units].findall(text)]

    @property
    def start(self) -> list[int]:
        """Nothing: the first phrase starts a row."""
        return []

    @property
    def end(self) -> list[int]:
        """A full stop that is no piece of a value."""
        return self.phrase(".")

    @property
    def pieces(self) -> tuple[str, ...]:
        """The text of each id."""
        return tuple(text for _, text in self._ids)

    def _id(self, kind: str, text: str) -> int:
        return self._ids.setdefault((kind, text), len(self._ids))


def require_room(speller: Speller, names: Sequence[str], tokens: int) -> None:
    """Raise InputError when rows of these columns cannot be spelled in `tokens` ids: known before a row is read."""
    phrases = _phrases(speller, names, SEPARATORS[0])
    needed = sum(map(len, phrases)) + FEWEST * len(names)
    if needed > tokens:
        raise InputError(
            f"A row of {len(names)} columns needs at least {needed} tokens; tokens is {tokens}. Set it higher, as far "
            "as the model's context goes, shorten the columns' names, or give fewer columns."
        )


def spell(speller: Speller, codecs: Sequence[Codec], tokens: int) -> Spelling:
    """Spell every cell of these columns so that no row is longer than `tokens` ids, in the speller's own ids.

    A value that is too long is cut, and numbered where that would make two alike. Raises InputError as `require_room`
    does, and ModelError when the speller has nothing left to end a value with, or cannot tell values apart.
    """
    names = [codec.column.name for codec in codecs]
    require_room(speller, names, tokens)
    for separator in SEPARATORS:
        phrases = _phrases(speller, names, separator)
        room = max((tokens - sum(map(len, phrases))) // len(names), 1)
        values = tuple(_spelled(speller, texts(codec), room) for codec in codecs)
        following = zip(values, phrases[1:], strict=True)
        if not any(after[0] in spelled for column, after in following for spelled in column):
            return Spelling(phrases, values, ())
    raise ModelError("The model's tokenizer has no sign that stands in no value: give a row's end another.")


def kept_only(spelling: Spelling, pieces: Sequence[str]) -> Spelling:
    """Return the spelling in the ids that it uses, numbered from 0, and which they were.

    `pieces` are the texts of all ids.
    """
    used = sorted({i for part in (spelling.phrases, *spelling.values) for spelled in part for i in spelled})
    number = {old: new for new, old in enumerate(used)}

    def renamed(part: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
        return tuple(tuple(number[i] for i in spelled) for spelled in part)

    values = tuple(map(renamed, spelling.values))
    return Spelling(renamed(spelling.phrases), values, tuple(pieces[i] for i in used), tuple(used))


def texts(codec: Codec) -> tuple[str, ...]:
    """Return the text of every token of a column.

    >>> from tabsynth.schema import Column
    >>> texts(Codec(Column("age", "integer", bounds=(0, 98), bins=(0, 17, 18, 25, 99), nullable=True)))
    ('0', '17', '20', '30', 'missing')
    """
    column = codec.column
    if not column.numeric:
        found = tuple(column.levels or ())
    else:
        edges = np.asarray(column.bins, np.float64)
        last = edges[-1] if column.step else np.nextafter(edges[-1], np.inf)  # which belongs to the last bin
        tops = [*edges[1:-1], last]
        date = column.kind == "datetime"
        found = tuple(
            _moment(low, column.step == DAY) if date else np.format_float_positional(roundest(low, high), trim="-")
            for low, high in zip(edges[:-1], tops, strict=True)
        )
        found = (*found, *column.code_texts)
    return (*found, MISSING) if column.nullable else found


def _moment(seconds: float, day: bool) -> str:
    """Write seconds since 1970 as a date, or as a date and a time."""
    moment = np.datetime64(round(seconds), "s")
    return str(moment.astype("datetime64[D]")) if day else str(moment).replace("T", " ")


def _phrases(speller: Speller, names: Sequence[str], separator: str) -> tuple[tuple[int, ...], ...]:
    """Spell what stands before, between and after the values."""
    first = [*speller.start, *speller.phrase(f"{names[0]} is")]
    others = [speller.phrase(f"{separator} {name} is") for name in names[1:]]
    return (tuple(first), *map(tuple, others), tuple(speller.end))


def _spelled(speller: Speller, found: Sequence[str], room: int) -> tuple[tuple[int, ...], ...]:
    """Spell the values of a column in at most `room` ids each, no two alike."""
    taken: set[tuple[int, ...]] = set()
    result = []
    for place, text in enumerate(found):
        candidates = islice(_candidates(speller, text, place, room), TRIES)
        spelled = next((each for each in candidates if each not in taken), None)
        if spelled is None:
            raise ModelError("The model's tokenizer spells different values alike, numbered ones too.")
        taken.add(spelled)
        result.append(spelled)
    return tuple(result)


def _candidates(speller: Speller, text: str, place: int, room: int) -> Iterator[tuple[int, ...]]:
    """Yield a value's spelling, then ever others that end in a number."""
    whole = speller.value(text)
    yield tuple(whole[:room])
    for number in count(place):
        mark = speller.value(f" {number}")
        yield tuple((whole[: max(room - len(mark), 0)] + mark)[-room:])
