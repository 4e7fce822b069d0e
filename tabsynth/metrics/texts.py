"""Free text: what it looks like, and whether a person's words stand in the synthetic table.

A column is free text by its kind; a categorical one is, too, when most of its values are different and long. Texts are
compared by length, by characters and by words, and replayed when words that one real row alone has in this order stand
in synthetic texts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
import pandas as pd

from tabsynth import _check
from tabsynth.metrics.coding import Floats
from tabsynth.metrics.estimate import Estimate, NotApplicable, NotMeasured, check_level, difference
from tabsynth.metrics.evidence import Evidence, Tier
from tabsynth.metrics.fidelity import Distance, OfColumns, ks
from tabsynth.metrics.roc import strongest
from tabsynth.metrics.sides import FEWEST, separate
from tabsynth.schema import Column

DIFFERENT = 0.5  # share of different values among the known ones of free text
LONG = 20  # characters of free text on average
OFTEN = 1000  # words that are told apart, the others being one
TOKENS = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_]+")  # East Asian scripts have no spaces
OWN = 3  # sequences that a row must have alone to be looked for
REPLAYED = 0.5  # share of a row's own sequences


@dataclass(frozen=True, slots=True)
class TextShape(OfColumns):
    """Distance of free text columns: of lengths (KS), of characters and of words (total variation).

    The mean over columns and the three, or the worst. Words are those of the OFTEN most frequent in the training rows,
    all others one. A missing text is shorter than any other, and has no characters and words. Shares are of all
    characters or words, so that long texts count more; the interval knows that they come by rows.
    """

    stem: ClassVar[str] = "text_shape"

    def __call__(self, evidence: Evidence, rng: np.random.Generator) -> Estimate:
        """Measure; NotApplicable without a free text column."""
        found: dict[str, Distance] = {}
        for column in text_columns(evidence):
            rows, real, train = (
                texts(frame[column.name]) for frame in (evidence.rows, evidence.reference, evidence.train)
            )
            frequent = {word for word, _ in Counter(w for text in train for w in words(text)).most_common(OFTEN)}
            lengths = [np.array([np.nan if not text else len(text) for text in side]) for side in (rows, real)]
            found[f"{column.name} (length)"] = ks(*lengths)
            found[f"{column.name} (characters)"] = _shares_apart(rows, real, list)
            split = partial(_known_words, known=frequent)
            found[f"{column.name} (words)"] = _shares_apart(rows, real, split)
        return self._estimate(found)


@dataclass(frozen=True, slots=True)
class TextReplay:
    """Share of training rows whose own words stand in synthetic texts, less the same share of holdout rows.

    A row's own sequences are those of `length` words (signs, in scripts without spaces) that stand in its text and in
    that of no other training or holdout row. It is replayed when half of them stand in synthetic texts of the column
    (near), or when its whole text does (exact): the stronger of the two counts, over all free text columns, its
    Newcombe interval corrected (Bonferroni) for their number. Which sequences are a row's own does not depend on which
    rows were trained on. Rows with fewer than three own sequences are not asked about.
    """

    length: int = 4
    level: float = 0.95
    name: ClassVar[str] = "text_replay"
    tier: ClassVar[Tier] = "privacy"

    def __post_init__(self) -> None:
        """Check the settings."""
        _check.at_least("length", self.length, 1)
        check_level(self.level)

    def __call__(self, evidence: Evidence, rng: np.random.Generator) -> Estimate:
        """Measure; NotMeasured without a holdout that is apart, NotApplicable without a free text column."""
        columns = text_columns(evidence)
        separate(evidence)
        level = 1 - (1 - self.level) / (2 * len(columns))
        found, sizes = {}, (0, 0)
        for column in columns:
            sides = [texts(frame[column.name]) for frame in (evidence.train, evidence.unseen())]
            near, exact = self._replayed(sides, texts(evidence.rows[column.name]))
            sizes = len(near[0]), len(near[1])
            if min(sizes) < FEWEST:
                continue
            for kind, hits in (("near", near), ("exact", exact)):
                counts = int(sum(hits[0])), int(sum(hits[1]))
                found[f"{kind}, column {column.name!r}"] = difference(counts, sizes, level)
        if not found:
            raise NotMeasured(f"It needs {FEWEST} holdout rows with words of their own.")
        return strongest(found, f"{sizes[0]} training rows against {sizes[1]} holdout rows with words of their own")

    def _replayed(self, sides: Sequence[list[str]], rows: list[str]) -> tuple[list[list[bool]], list[list[bool]]]:
        """Return, for each side, which rows with own sequences are replayed nearly, and which exactly."""
        held = {sequence for text in set(rows) for sequence in self._sequences(text)}
        whole = {" ".join(words(text)) for text in set(rows)}
        split = [[set(self._sequences(text)) for text in side] for side in sides]
        times = Counter(sequence for side in split for row in side for sequence in row)
        near: list[list[bool]] = [[], []]
        exact: list[list[bool]] = [[], []]
        for at, (side, sequences) in enumerate(zip(sides, split, strict=True)):
            for text, row in zip(side, sequences, strict=True):
                own = [sequence for sequence in row if times[sequence] == 1]
                if len(own) >= OWN:
                    near[at].append(sum(sequence in held for sequence in own) >= REPLAYED * len(own))
                    exact[at].append(" ".join(words(text)) in whole)
        return near, exact

    def _sequences(self, text: str) -> Iterator[tuple[str, ...]]:
        """Yield every run of `length` words."""
        found = words(text)
        return (tuple(found[at : at + self.length]) for at in range(len(found) - self.length + 1))


def text_columns(evidence: Evidence) -> tuple[Column, ...]:
    """Return the columns of free text; NotApplicable when there is none."""
    found = evidence.schema.texts
    found += tuple(c for c in evidence.columns if c.kind == "categorical" and _is_text(evidence.train[c.name]))
    if not found:
        raise NotApplicable("The table has no column of free text.")
    return found


def texts(series: pd.Series) -> list[str]:
    """Return the texts of a canonical column of texts or categories, empty where missing."""
    if not isinstance(series.dtype, pd.CategoricalDtype):
        return ["" if missing else str(text) for text, missing in zip(series, series.isna(), strict=True)]
    levels = [*map(str, series.cat.categories), ""]
    return [levels[code] for code in series.cat.codes]


def words(text: str) -> list[str]:
    """Return the words of a text in lower case; every sign of a script without spaces is one.

    >>> words("No fever; 38.1 at night. 头痛")
    ['no', 'fever', '38', '1', 'at', 'night', '头', '痛']
    """
    return TOKENS.findall(text.lower())


def _known_words(text: str, known: set[str]) -> list[str]:
    """Return the words of a text, all that are not known being one."""
    return [word if word in known else "" for word in words(text)]


def _is_text(series: pd.Series) -> bool:
    """Say whether most values are different and long."""
    known = series.dropna()
    if not len(known):
        return False
    different = known.cat.remove_unused_categories().cat.categories
    return len(different) >= DIFFERENT * len(known) and float(np.mean([len(str(one)) for one in different])) >= LONG


def _shares_apart(rows: Sequence[str], real: Sequence[str], split: Callable[[str], Iterable[str]]) -> Distance:
    """Return the total variation distance of the shares of parts, and its influence at every row of both tables."""
    counted = [[Counter(split(text)) for text in side] for side in (rows, real)]
    totals = [_sum(side) for side in counted]
    sizes = [max(total.total(), 1) for total in totals]
    gap = {part: totals[0][part] / sizes[0] - totals[1][part] / sizes[1] for part in totals[0] | totals[1]}
    sign = {part: float(np.sign(value)) / 2 for part, value in gap.items()}
    influences: list[Floats] = []
    for way, side, total, size in zip((1, -1), counted, totals, sizes, strict=True):
        middle = sum(sign[part] * count for part, count in total.items()) / size
        by_row = [sum(sign[part] * count for part, count in row.items()) - middle * row.total() for row in side]
        influences.append(np.array(by_row) * (way * len(side) / size))
    return float(sum(map(abs, gap.values())) / 2), influences[0], influences[1]


def _sum(counts: Sequence[Counter[str]]) -> Counter[str]:
    """Return the sum of many counts."""
    found: Counter[str] = Counter()
    for each in counts:
        found.update(each)
    return found
