"""How a row is spelled: "age is 37, city is Ulm.", from the completed schema alone.

The form is that of GReaT (Borisov et al. 2023, arXiv 2210.06280), in a fixed order of columns. Every cell of the
encoder has one spelling: a category its name, a number the roundest one in its bin, a date the first of its bin, and a
missing value the word for it. Nothing here has seen a row: what is spelled is declared or paid for.

Two spellers turn text into token ids. `PublicSpeller` makes its own vocabulary out of the words that the schema holds;
another goes by the tokenizer of a pretrained model, of which the ids that spell something are kept. Free text is
spelled in bytes by the first, and in all ids of the other: no word is in a vocabulary because someone wrote it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import count, islice
from typing import Any, Protocol

import numpy as np

from tabsynth.encoding.codec import Codec, roundest
from tabsynth.errors import InputError, ModelError
from tabsynth.schema import DAY, Column
from tabsynth.synthesizers.text_grammar import Grammar, grammar_of, text_bytes

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

    def texts(self, texts: Sequence[str]) -> list[list[int]]:
        """Spell free texts; not every one need come back from its ids."""
        ...

    def pieces_of_text(self) -> tuple[list[bytes], bytes]:
        """Return the bytes of each id, empty for one that no free text holds, and those before a text; all are public.

        Raises ModelError when not every text can be spelled.
        """
        ...

    @property
    def reach(self) -> int:
        """How many characters of free text an id stands for, at least where it is not an odd one."""
        ...

    @property
    def close(self) -> list[int]:
        """The id that ends a free text, unless a phrase does."""
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
class TextCell:
    """A column of free text: its place, and the most characters and ids of a text, and whether it may be missing."""

    column: int
    characters: int
    room: int
    nullable: bool


@dataclass(frozen=True, slots=True)
class Spelling:
    """All that rows of one schema can be spelled as, in ids 0 to len(`pieces`) - 1.

    `phrases` stand before the value of each column, and the last of them after the row; `values` holds a spelling for
    each token of each column, no two of a column alike, none of which contains the first id of the phrase after it.
    `pieces` are the texts of the ids, and `kept` their ids in a pretrained model's vocabulary (empty: there is none).
    Columns of free text are `texts` and have no values; their ids stand for the bytes in `spelled` (as Latin-1), come
    after `lead`, and are none of the words in `missing`.
    """

    phrases: tuple[tuple[int, ...], ...]
    values: tuple[tuple[tuple[int, ...], ...], ...]
    pieces: tuple[str, ...]
    kept: tuple[int, ...] = ()
    texts: tuple[TextCell, ...] = ()
    spelled: tuple[str, ...] = ()
    lead: str = ""
    missing: tuple[str, ...] = ()

    @property
    def longest(self) -> int:
        """The number of ids of the longest row."""
        cells = sum(max(map(len, values), default=0) for values in self.values)
        return sum(map(len, self.phrases)) + cells + sum(text.room for text in self.texts)

    def grammar(self, text: TextCell) -> Grammar:
        """Return what a column of free text may hold."""
        pieces = [piece.encode("latin-1") for piece in self.spelled]
        return grammar_of(
            pieces,
            self.phrases[text.column + 1][0],
            lead=self.lead.encode(),
            characters=text.characters,
            room=text.room,
            nullable=text.nullable,
            missing=self.missing,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the spelling as plain JSON values."""
        return {
            "phrases": [list(each) for each in self.phrases],
            "values": [[list(each) for each in values] for values in self.values],
            "pieces": list(self.pieces),
            "kept": list(self.kept),
            "texts": [asdict(each) for each in self.texts],
            "spelled": list(self.spelled),
            "lead": self.lead,
            "missing": list(self.missing),
        }

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Spelling:
        """Return the spelling that `to_dict` wrote down."""
        values = tuple(tuple(tuple(map(int, each)) for each in values) for values in plain["values"])
        phrases = tuple(tuple(map(int, each)) for each in plain["phrases"])
        texts = tuple(TextCell(**each) for each in plain.get("texts", ()))
        spelled, missing = (tuple(map(str, plain.get(name, ()))) for name in ("spelled", "missing"))
        kept, lead = tuple(map(int, plain["kept"])), str(plain.get("lead", ""))
        return cls(phrases, values, tuple(plain["pieces"]), kept, texts, spelled, lead, missing)


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

    def texts(self, texts: Sequence[str]) -> list[list[int]]:
        """Return one id for each byte."""
        return [[self._id("byte", chr(byte)) for byte in text.encode()] for text in texts]

    def pieces_of_text(self) -> tuple[list[bytes], bytes]:
        """Return the bytes that a text may hold, each with an id of its own."""
        for byte in text_bytes():
            self._id("byte", chr(byte))
        return [text.encode("latin-1") if kind == "byte" else b"" for kind, text in self._ids], b""

    @property
    def reach(self) -> int:
        """One."""
        return 1

    @property
    def close(self) -> list[int]:
        """Nothing: a phrase ends a text."""
        return []

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


def require_room(speller: Speller, columns: Sequence[Column], tokens: int) -> None:
    """Raise InputError when rows of these columns cannot be spelled in `tokens` ids: known before a row is read."""
    phrases = _phrases(speller, columns, SEPARATORS[0])
    least = [_least(speller, column) for column in columns]
    needed = sum(map(len, phrases)) + sum(least)
    if needed > tokens:
        texts = any(column.kind == "text" for column in columns)
        raise InputError(
            f"A row of {len(columns)} columns needs at least {needed} tokens; tokens is {tokens}. Set it higher, as "
            "far as the model's context goes, shorten the columns' names, "
            f"{'declare a smaller max_length, ' * texts}or give fewer columns."
        )


def spell(speller: Speller, codecs: Sequence[Codec], tokens: int, missing: Sequence[str] = ()) -> Spelling:
    """Spell every cell of these columns so that no row is longer than `tokens` ids, in the speller's own ids.

    A value that is too long is cut, and numbered where that would make two alike. Free text, which is none of the words
    in `missing`, gets the ids that are left. Raises InputError as `require_room` does, and ModelError when the speller
    has nothing left to end a value with, or cannot tell values apart.
    """
    columns = [codec.column for codec in codecs]
    require_room(speller, columns, tokens)
    least = [_least(speller, column) if column.kind == "text" else 0 for column in columns]
    for separator in SEPARATORS:
        phrases = _phrases(speller, columns, separator)
        left = tokens - sum(map(len, phrases))
        room = max((left - sum(least)) // max(least.count(0), 1), 1)
        values = tuple(() if least[at] else _spelled(speller, texts(codec), room) for at, codec in enumerate(codecs))
        following = zip(values, phrases[1:], strict=True)
        if not any(after[0] in spelled for column, after in following for spelled in column):
            found = Spelling(phrases, values, ())
            if any(least):
                found = _with_texts(found, speller, columns, least, tokens - found.longest - sum(least))
            return replace(found, missing=tuple(missing) if found.texts else ())
    raise ModelError("The model's tokenizer has no sign that stands in no value: give a row's end another.")


def _with_texts(
    found: Spelling, speller: Speller, columns: Sequence[Column], least: Sequence[int], left: int
) -> Spelling:
    """Return the spelling with room for free text: what it needs at least, and its part of the ids that are left."""
    pieces, lead = speller.pieces_of_text()
    cells = []
    for place, column in enumerate(columns):
        if least[place]:
            longest = 4 * (column.max_length or 1) + len(lead)  # each character of four bytes, each byte an id
            room = min(least[place] + left * least[place] // sum(least), longest)
            cells.append(TextCell(place, column.max_length or 1, room, bool(column.nullable)))
    spelled = tuple(piece.decode("latin-1") for piece in pieces)
    return replace(found, texts=tuple(cells), spelled=spelled, lead=lead.decode())


def _least(speller: Speller, column: Column) -> int:
    """Return how many ids the values of a column are given at least."""
    return FEWEST if column.kind != "text" else max(FEWEST, math.ceil((column.max_length or 1) / speller.reach))


def kept_only(spelling: Spelling, pieces: Sequence[str]) -> Spelling:
    """Return the spelling in the ids that it uses, numbered from 0, and which they were.

    `pieces` are the texts of all ids.
    """
    ids = {i for part in (spelling.phrases, *spelling.values) for spelled in part for i in spelled}
    used = sorted(ids | {i for i, piece in enumerate(spelling.spelled) if piece})
    number = {old: new for new, old in enumerate(used)}

    def renamed(part: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
        return tuple(tuple(number[i] for i in spelled) for spelled in part)

    values = tuple(map(renamed, spelling.values))
    return replace(
        spelling,
        phrases=renamed(spelling.phrases),
        values=values,
        pieces=tuple(pieces[i] for i in used),
        kept=tuple(used),
        spelled=tuple(spelling.spelled[i] for i in used if spelling.spelled),
    )


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


def _phrases(speller: Speller, columns: Sequence[Column], separator: str) -> tuple[tuple[int, ...], ...]:
    """Spell what stands before, between and after the values; free text is ended by an id that it does not hold."""
    found = [[*speller.start, *speller.phrase(f"{columns[0].name} is")]]
    found += [speller.phrase(f"{separator} {column.name} is") for column in columns[1:]]
    found.append(speller.end)
    for place, column in enumerate(columns, start=1):
        if column.kind == "text" and found[place][:1] != speller.close:
            found[place] = [*speller.close, *found[place]]
    return tuple(map(tuple, found))


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
