"""How rows are spelled: no two cells alike, no row too long, nothing but the schema."""

import pytest

from tabsynth.encoding.codec import Codec
from tabsynth.errors import InputError, ModelError
from tabsynth.schema import DAY, Column
from tabsynth.synthesizers.text_vocabulary import PublicSpeller, Spelling, kept_only, require_room, spell, texts

PAIR = (Column("a", "boolean"), Column("b", "boolean"))


class Letters:
    """A speller with one id for a character, the same in phrases and values."""

    start, end = (1,), (2,)
    pieces = tuple(map(chr, range(300)))

    def phrase(self, text):
        return list(map(ord, text))

    def value(self, text):
        return self.phrase(f" {text}")


class Unknowing(Letters):
    """A speller that takes every value for the same."""

    def value(self, text):
        return [7]


def codec(name="city", levels=("Ulm", "Jena"), **facts):
    return Codec(Column(name, "categorical", categories=levels, **facts))


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (Column("c", "categorical", categories=("b", "a"), nullable=True), ("b", "a", "missing")),
        (Column("c", "boolean"), ("False", "True")),
        (Column("c", "integer", bounds=(-5, 99), bins=(-5, 0, 1, 18, 100)), ("-5", "0", "10", "20")),
        (Column("c", "float", bounds=(0, 1), bins=(0, 0.5, 0.5000001, 1)), ("0", "0.5", "1")),
        (Column("c", "datetime", bounds=(0, 9 * DAY), bins=(0, 3 * DAY, 10 * DAY)), ("1970-01-01", "1970-01-04")),
        (
            Column("c", "datetime", format="%Y-%m-%d %H:%M", bounds=(0, 59), bins=(0, 30, 60)),
            ("1970-01-01 00:00:00", "1970-01-01 00:00:30"),
        ),
    ],
)
def test_a_cell_is_its_value_or_the_roundest_in_its_bin(column, expected):
    assert texts(Codec(column)) == expected


def test_a_row_reads_as_a_sentence():
    columns = (codec(nullable=True), Codec(Column("age", "integer", bounds=(0, 9), bins=(0, 5, 10))))
    speller = PublicSpeller("characters")
    spelling = spell(speller, columns, 100)
    pieces = speller.pieces
    read = [*spelling.phrases[0], *spelling.values[0][1], *spelling.phrases[1], *spelling.values[1][1]]
    assert "".join(pieces[i] for i in (*read, *spelling.phrases[2])) == "city isJena, age is5."
    assert spelling.longest == 3 + len("missing") + 1


def test_values_that_are_cut_stay_apart_and_rows_stay_short():
    levels = tuple(f"the very same beginning {'x' * (i % 40)} {i}" for i in range(3000))
    spelling = spell(PublicSpeller("characters"), (codec(levels=levels), codec("b")), 30)
    assert len(set(spelling.values[0])) == 3000
    assert spelling.longest <= 30


@pytest.mark.parametrize("levels", [("missing", "missing 2", "x"), ("", "a"), ("ab", "abc", "a")])
def test_awkward_names_are_told_apart(levels):
    spelling = spell(PublicSpeller("words"), (codec(levels=levels, nullable=True),), 40)
    assert len(set(spelling.values[0])) == len(levels) + 1


def test_a_value_ends_with_a_sign_that_stands_in_none():
    spelling = spell(Letters(), (codec(levels=("a, b", "a")), codec("b", levels=("c;", "d"))), 60)
    assert spelling.phrases[1][:2] == (ord(" "), ord("|")) or spelling.phrases[1][0] == ord(";")
    for after, values in zip(spelling.phrases[1:], spelling.values, strict=True):
        assert all(after[0] not in value for value in values)


def test_without_such_a_sign_the_tokenizer_is_refused():
    with pytest.raises(ModelError, match="no sign that stands in no value"):
        spell(Letters(), (codec(levels=(", ; | / \n", "a")), codec("b")), 60)


def test_a_tokenizer_that_tells_no_values_apart_is_refused():
    with pytest.raises(ModelError, match=r"spells .* alike"):
        spell(Unknowing(), (codec(levels=("a", "b", "c")),), 60)


def test_more_columns_than_a_row_holds_are_refused():
    require_room(PublicSpeller("words"), PAIR, 19)
    with pytest.raises(InputError, match="A row of 2 columns needs at least 19 tokens; tokens is 18"):
        require_room(PublicSpeller("words"), PAIR, 18)


def test_only_ids_in_use_are_kept_and_the_spelling_survives_writing_down():
    whole = spell(Letters(), (codec(), codec("b")), 60)
    spelling = kept_only(whole, Letters.pieces)
    assert list(spelling.kept) == sorted(set(spelling.kept))
    assert [spelling.kept[i] for i in spelling.values[0][1]] == list(map(ord, " Jena"))
    assert [spelling.pieces[i] for i in spelling.values[0][1]] == list(" Jena")
    assert Spelling.from_dict(spelling.to_dict()) == spelling
