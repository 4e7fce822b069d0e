"""The kinds that a column of a type may be, the narrowest first, and how a part of its values is held against one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from tabsynth.columns.times import zone_of
from tabsynth.conversion import convert
from tabsynth.drafting.facts import Facts
from tabsynth.errors import TableError
from tabsynth.files import RawTable
from tabsynth.schema import MISSING_TEXTS, Column, Kind

DAYS = ("%Y-%m-%d", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%Y/%m/%d", "%d-%m-%Y")
WRITTEN = (  # with the month's name, in English
    "%d-%b-%Y", "%d %b %Y", "%d%b%Y", "%d-%b-%y", "%d %B %Y", "%b %d %Y", "%b-%d-%Y", "%b %d, %Y", "%B %d, %Y"
)  # fmt: skip
SHORT = ("%d/%m/%y", "%m/%d/%y", "%d.%m.%y")  # a year from 69 on is one of the last century
CLOCKS = ("%H:%M", "%H:%M:00", "%H:%M:%S", "%H:%M:%S.%f")  # :00 is every value's own: such a column counts in minutes
MINUTE = "%Y-%m-%d %H:%M:00"
SECOND = "%Y-%m-%d %H:%M:%S"
OFFSETS = {"Z": ".*Z", "%:z": r".*[+-]\d\d:\d\d", "%z": ".*"}  # how an offset from UTC is written
# with days as pandas, Python and PostgreSQL write them
CLOCK = r"(-?\d+ days?,? \+?|-)?\d+:\d\d(:\d\d(\.\d+)?)?"
DURATIONS: dict[str, str] = {"clock": CLOCK, "iso": r"[+-]?P([\d.,]+[WD])*(T([\d.,]+[HMS])+)?"}
WHOLE_DAYS = r"-?\d+ days?"
FEWEST_DAYS = 10  # different numbers of days, or dates with a short year, and fewer are a choice between options
NUMBER = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"
NAMES = r"[+-]?0\d+\.?\d*|[+-]?\d{17,}"  # 01154 is no number, nor is what a float cannot hold to the last digit
MOST_WORDS, NUMBERS_PER_WORD = 3, 10  # different ones, for words among numbers to be codes
TRUTH_WORDS = {"true", "false"}  # yes/no and 1/0 keep their own spelling
TRIED_FIRST = 1000  # rows of the first part: a kind that does not fit them is not tried on the rest

Fits = Callable[[pa.ChunkedArray], bool]


class Candidate:
    """A kind that a column may have, and what is known of the values if it has it."""

    def __init__(self, column: Column, fits: Fits | None = None, *, coded: bool = False, least: int = 0) -> None:
        self._column, self._fits, self._coded, self._least = column, fits, coded, least
        self._words: set[str] = set()
        self._texts: set[str] = set()  # some of the different ones, to see whether they are many
        self._begun = False
        self.facts = Facts(column)
        self.refused: TableError | None = None  # why the values do not fit, where it is not their form

    @property
    def kind(self) -> Kind:
        """The kind."""
        return self._column.kind

    def take(self, raw: RawTable) -> bool:
        """Take the next part of the column; return whether it fits."""
        if not self._begun and raw.columns.num_rows > TRIED_FIRST:
            head = RawTable(raw.label, raw.columns.select([self._column.name]).slice(0, TRIED_FIRST))
            first = Candidate(self._column, self._fits, coded=self._coded)
            if not first.take(head):
                self.refused = first.refused
                return False
        self._begun = True
        values = raw.columns.column(self._column.name)
        if (self._fits is not None and not self._fits(values)) or (self._coded and not self._few_words(values)):
            return False
        try:
            self.facts.take(convert(raw, self._with_words(), MISSING_TEXTS, check_domain=False), self._with_words())
        except TableError as error:
            self.refused = error
            return False
        return True

    def column(self) -> Column | None:
        """Return the column with the domain of its values; None when all of them together do not fit the kind."""
        if len(self._texts) < NUMBERS_PER_WORD * len(self._words) or self.facts.distinct < self._least:
            return None
        return self.facts.spanned(self._with_words())

    def _with_words(self) -> Column:
        return replace(self._column, codes=tuple(sorted(self._words)) or None)

    def _few_words(self, values: pa.ChunkedArray) -> bool:
        """Take note of the words that stand among numbers; return whether they are still few."""
        texts = _texts(values)
        self._words |= set(texts.filter(pc.invert(_match(texts, NUMBER))).to_pylist())
        missing = MOST_WORDS * NUMBERS_PER_WORD - len(self._texts)
        if missing > 0:
            self._texts |= set(texts.to_pylist()[: missing + len(self._texts)])
        return len(self._words) <= MOST_WORDS


def candidates(name: str, kind: pa.DataType) -> list[Candidate]:
    """List the kinds to try for a column that comes as `kind`, the narrowest first."""
    column = partial(Column, name, nullable=True)
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return _moments(name, kind)
    if pa.types.is_boolean(kind):
        return [Candidate(column("boolean"))]
    category = Candidate(column("categorical"))
    if pa.types.is_integer(kind):  # beyond what a float holds to the last digit they are names, such as account numbers
        return [Candidate(column("integer")), category]
    if pa.types.is_floating(kind):
        return [Candidate(column("integer")), Candidate(column("float")), Candidate(column("float"), coded=True)]
    if pa.types.is_decimal(kind):
        return [Candidate(column("integer")), Candidate(column("float"))]
    lengths = [Candidate(column("duration"))] if pa.types.is_duration(kind) or pa.types.is_time(kind) else []
    texts = _of_text(name) if _is_text(kind) else []
    return lengths if pa.types.is_duration(kind) else [*lengths, *texts, category]


def _of_text(name: str) -> list[Candidate]:
    """List what a text may be beside itself."""
    column = partial(Column, name, nullable=True)
    lengths = [
        Candidate(column("duration", format=None if form == "clock" else form), partial(_all_match, pattern=shape))
        for form, shape in DURATIONS.items()
    ]
    days = Candidate(column("duration", unit="d"), partial(_all_match, pattern=WHOLE_DAYS), least=FEWEST_DAYS)
    numbers = [Candidate(column(kind), _are_numbers, coded=True) for kind in ("integer", "float")]
    naive = [*DAYS, *(f"{day}{between}{clock}" for day in DAYS for between in " T" for clock in CLOCKS)]
    moments = [column("datetime", format=form) for form in (*naive, *WRITTEN)]
    short = [Candidate(column("datetime", format=form), least=FEWEST_DAYS) for form in SHORT]
    zoned = [
        Candidate(column("datetime", format=f"%Y-%m-%d{between}{clock}{offset}", timezone="UTC"), fits)
        for offset, fits in ((offset, partial(_all_match, pattern=shape)) for offset, shape in OFFSETS.items())
        for between in "T "
        for clock in CLOCKS
    ]
    return [*lengths, days, Candidate(column("boolean"), _is_truth), *numbers, *map(Candidate, moments), *short, *zoned]


def _moments(name: str, kind: pa.DataType) -> list[Candidate]:
    """List the kinds of moments of a type: days, minutes or seconds, in the zone that it names, if it does."""
    zone = _known_zone(getattr(kind, "tz", None))
    column = partial(Column, name, "datetime", nullable=True)
    finer = [
        Candidate(column(format=MINUTE, timezone=zone), partial(_whole, unit="minute")),
        Candidate(column(format=SECOND, timezone=zone)),
    ]
    days = Candidate(column(format=DAYS[0]), None if pa.types.is_date(kind) else partial(_whole, unit="day"))
    return [*([days] if zone is None else []), *([] if pa.types.is_date(kind) else finer)]


def _known_zone(zone: str | None) -> str | None:
    """Return a zone by its name; a mere offset from UTC is none, its moments become UTC's."""
    try:
        return None if zone is None else zone_of(zone).key
    except ValueError:
        return "UTC"


def _whole(values: pa.ChunkedArray, unit: str) -> bool:
    """Whether moments are whole days or minutes."""
    return _all(pc.equal(pc.floor_temporal(values, unit=unit), values))


def _is_text(kind: pa.DataType) -> bool:
    inner = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(inner) or pa.types.is_large_string(inner))


def _texts(values: pa.ChunkedArray) -> pa.Array:
    """Return the different texts of a column, trimmed, without those that stand for a missing value."""
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if pa.types.is_floating(values.type):  # of which the infinite ones are words
        values = values.cast(pa.string())
    texts = pc.unique(pc.utf8_trim_whitespace(pc.unique(values))).drop_null()
    return texts.filter(pc.invert(pc.is_in(texts, pa.array(MISSING_TEXTS, texts.type))))


def _match(texts: pa.Array, pattern: str) -> pa.Array:
    return pc.match_substring_regex(texts, f"^(?:{pattern})$")


def _all_match(values: pa.ChunkedArray, pattern: str) -> bool:
    """Whether all texts of a column have a form; those of an empty one have."""
    return _all(_match(_texts(values), pattern))


def _are_numbers(values: pa.ChunkedArray) -> bool:
    """Whether no text of a column is a name in digits, such as a postcode, that would not come back as it was."""
    return not pc.any(_match(_texts(values), NAMES)).as_py()


def _all(truths: pa.Array | pa.ChunkedArray) -> bool:
    """Whether none is false; a missing one, and none at all, are not."""
    return bool(pc.all(truths).as_py() is not False)


def _is_truth(values: pa.ChunkedArray) -> bool:
    """Whether a column is spelled true and false."""
    words: list[str] = pc.utf8_lower(_texts(values)).to_pylist()
    return set(words) <= TRUTH_WORDS
