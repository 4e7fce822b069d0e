"""What a text may be: held against what reading a table makes of any character, and against every way to write it."""

import itertools

import numpy as np
import pyarrow as pa
import pytest
import torch

from tabsynth.conversion import convert
from tabsynth.files import RawTable
from tabsynth.schema import MISSING_TEXTS, Column
from tabsynth.synthesizers.text_cells import Cells, cells_of
from tabsynth.synthesizers.text_grammar import Walk, grammar_of, piece_bytes, text_bytes

WORDS = ("NA", "é", "n a")
BYTES = [bytes([byte]) for byte in text_bytes()]
NUMBER = {byte[0]: place for place, byte in enumerate(BYTES)}


def grammar(pieces=BYTES, **facts):
    known = {"lead": b"", "characters": 6, "room": 9, "nullable": False, "missing": WORDS}
    return grammar_of([*pieces, b""], len(pieces), **known | facts)


def plain(texts):
    return [[NUMBER.get(byte, -1) for byte in text.encode()] for text in texts]


def may(texts, own):
    """Whether each text, byte by byte, may be written and ended."""
    rows = plain(texts)
    ids = torch.full((len(rows), max(map(len, rows))), -1)
    for place, row in enumerate(rows):
        ids[place, : len(row)] = torch.tensor(row)
    _, ends, good = own.walked(ids)
    return [int(far) == len(row) and bool(end[len(row)]) for row, end, far in zip(rows, ends, good, strict=True)]


def canonical(texts):
    raw = RawTable("table", pa.table({"note": pa.array(texts, pa.string())}))
    return convert(raw, Column("note", "text", nullable=True), WORDS, check_domain=False)


def test_a_character_may_be_written_when_reading_leaves_it_as_it_is():
    codes = [*range(0x700), *range(0x1670, 0x1690), *range(0x2000, 0x2070), *range(0x2FF0, 0x3010), 0xD7FF, 0xE000]
    codes += [0xFEFF, 0xFFFF, 0x10000, 0x1F600, 0x10FFFF]
    own = grammar()
    for around in ("{}", "a{}b", "{}b", "a{}"):
        texts = [around.format(chr(code)) for code in codes]
        assert may(texts, own) == [text == read for text, read in zip(texts, canonical(texts), strict=True)]


@pytest.mark.parametrize(
    "content", [b"\xed\xa0\x80", b"\xc0\x80", b"\xe0\x80\x80", b"\xf4\x90\x80\x80", b"\x80", b"\xc3a"]
)
def test_what_is_no_utf_8_cannot_be_written(content):
    own = grammar([bytes([byte]) for byte in range(256)])
    _, _, good = own.walked(torch.tensor([[*content, 97]]))
    assert int(good[0]) < len(content)


def test_words_for_missing_are_no_texts_and_their_beginnings_are():
    texts = ["NA", "é", "n a", "NAN", "N", "n", "éé", "n b"]
    assert may(texts, grammar()) == [False] * 3 + [True] * 5
    own = grammar(missing=MISSING_TEXTS)
    assert may(["none", *filter(None, MISSING_TEXTS)], own) == [True] + [False] * (len(MISSING_TEXTS) - 1)


PIECES = (b"a", b" ", b"N", b"A", b" a", b"\xc3", b"\xa9", b"\xa9a", b"NA")


@pytest.mark.parametrize("lead", [b"", b" "])
@pytest.mark.parametrize(("characters", "room"), [(1, 3), (2, 3), (3, 2)])
def test_every_text_in_reach_can_be_written_and_no_other(lead, characters, room):
    own = grammar(PIECES, lead=lead, characters=characters, room=room)
    expected = set()
    for size in range(1, room + 1):
        for ids in itertools.product(PIECES, repeat=size):
            text = b"".join(ids).decode(errors="replace")
            body = text.removeprefix(" ") if lead else text
            right = body and body == body.strip() and body not in WORDS and "\ufffd" not in body
            if right and len(body) <= characters and (not lead or body != text):
                expected.add(text)
    found, begun = set(), torch.zeros(1, 0, dtype=torch.long)
    while len(begun):
        places, ends, good = own.walked(begun)
        assert (good == begun.shape[1]).all()
        follow = own.allowed(places[:, -1])
        assert follow.any(1).all(), "nothing may follow"
        assert (follow[:, own.close] == ends[:, -1]).all()
        found |= {b"".join(PIECES[each] for each in ids).decode() for ids in begun[ends[:, -1]].tolist()}
        follow[:, own.close] = False
        rows, ids = torch.nonzero(follow, as_tuple=True)
        begun = torch.cat([begun[rows], ids[:, None]], 1)
    assert found == expected


def test_a_text_that_is_not_there_may_only_be_where_the_column_says_so():
    for nullable in (False, True):
        own = grammar(nullable=nullable)
        assert bool(Walk(own, 1).allowed(torch.tensor([0]))[0, own.close]) == nullable


def test_texts_are_kept_whole_or_cut_where_they_may_end():
    own = grammar(characters=20, room=7, nullable=True)
    found, whole = cells_of(canonical(["short", "a longer one", "aaaaaaäé", None, "a     b"]), plain, plain, own)
    texts = [b"".join(BYTES[each] for each in row if each >= 0).decode() for row in found.padded()]
    assert texts == ["short", "a longe", "aaaaaa", "", "a     b"]
    assert whole.tolist() == [True, False, False, True, True]
    assert found.take(np.array([4, 0])).padded().tolist() == found.padded()[[4, 0]].tolist()


def test_texts_that_the_tokenizer_does_not_give_back_are_spelled_in_bytes():
    own = grammar(characters=20, room=20)
    found, whole = cells_of(canonical(["abc", "ab"]), lambda texts: [[-1, 3] for _ in texts], plain, own)
    assert found.ids.tolist() == plain(["abcab"])[0]
    assert whole.all()


def test_cells_of_no_rows():
    assert Cells.of([]).padded().shape == (0, 0)


class Tokenizer:
    """As much of a tokenizer as its pieces are read from."""

    all_special_ids = (0,)

    def __init__(self, *names):
        self.names, self.added_tokens_decoder = names, {0: "<s>"}

    def __len__(self):
        return len(self.names)

    def convert_ids_to_tokens(self, ids):
        return [self.names[each] for each in ids]


def test_pieces_are_the_bytes_that_they_stand_for():
    assert piece_bytes(Tokenizer("<s>", "\u0120a", "\u010a", "é")) == [b"", b" a", b"\n", b"\xe9"]
    found = piece_bytes(Tokenizer("<s>", "\u2581a", "<0x0A>", "北", "x" * 40))
    assert found == [b"", b" a", b"\n", "北".encode(), b""]
