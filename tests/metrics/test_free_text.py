from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tabsynth import registry
from tabsynth.errors import InputError, TabsynthError
from tabsynth.metrics import Evidence, NotApplicable, NotMeasured
from tabsynth.metrics.calendar import Calendar
from tabsynth.metrics.texts import TextReplay, TextShape, text_columns
from tabsynth.schema import Column, Schema

WORDS = ("patient", "reports", "mild", "severe", "pain", "in", "the", "left", "right", "knee", "arm", "since", "monday")
SCHEMA = Schema((Column("note", "categorical", nullable=True), Column("when", "datetime", nullable=True)))


def notes(rng, rows, vocabulary=WORDS, length=12):
    """Texts of words drawn at random: four in a row are often a row's own."""
    words = np.array(vocabulary)[rng.integers(len(vocabulary), size=(rows, length))]
    return [" ".join(row) for row in words]


def frame(rng, rows, **settings):
    days = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(5 * 7, size=rows), unit="D")
    weekdays = days - pd.to_timedelta(np.where(days.day_of_week > 4, 2, 0), unit="D")  # nobody comes at weekends
    return pd.DataFrame({"note": notes(rng, rows, **settings), "when": weekdays + pd.Timedelta(hours=9)})


def drawn(seed, rows=400):
    rng = np.random.default_rng(seed)
    return Evidence(SCHEMA, *(frame(rng, size) for size in (rows, rows // 2, rows)))


@pytest.fixture(scope="module")
def evidence():
    return drawn(0)


def with_notes(evidence, texts):
    return replace(evidence, rows=evidence.rows.assign(note=texts))


def test_free_text_is_told_from_categories(evidence):
    assert [column.name for column in text_columns(evidence)] == ["note"]
    few = replace(evidence, train=evidence.train.assign(note=evidence.train["note"].iloc[0]))
    for metric in (TextShape(), TextReplay()):
        with pytest.raises(NotApplicable, match="no column of free text"):
            metric(few, None)


def test_fresh_notes_are_no_replay_and_the_interval_covers_that():
    found = [TextReplay(length=3, level=0.9)(drawn(seed, 200), None) for seed in range(30)]
    assert np.mean([one.low <= 0 <= one.high for one in found]) >= 0.8
    assert abs(np.mean([one.value for one in found])) < 0.05


def test_notes_that_were_copied_are_found(evidence):
    copied = [*evidence.train["note"].astype(str).iloc[:40], *evidence.rows["note"].astype(str).iloc[40:]]
    found = TextReplay()(with_notes(evidence, copied), None)
    assert found.low > 0.04
    assert found.value == pytest.approx(0.1, abs=0.02)


def test_notes_that_were_changed_a_little_are_found_and_not_by_equality(evidence):
    changed = [text.upper().replace("PAIN", "ache", 1) + "." for text in evidence.train["note"].astype(str)]
    found = TextReplay()(with_notes(evidence, changed), None)
    assert found.low > 0.5
    assert "near" in found.note
    moved = [" ".join(reversed(text.split())) for text in evidence.train["note"].astype(str)]
    assert TextReplay()(with_notes(evidence, moved), None).low <= 0  # other orders are other sentences


def test_holdout_notes_count_the_other_way(evidence):
    seen = [*evidence.holdout["note"].astype(str), *evidence.rows["note"].astype(str).iloc[200:]]
    assert TextReplay()(with_notes(evidence, seen), None).high < 0


def test_a_script_without_spaces_has_sequences_too():
    rng = np.random.default_rng(0)
    signs = [chr(code) for code in range(0x4E00, 0x4E00 + 40)]
    frames = [
        frame(rng, size).assign(note=["".join(rng.choice(signs, 30)) for _ in range(size)]) for size in (200, 100, 200)
    ]
    found = TextReplay()(Evidence(SCHEMA, frames[0], frames[1], frames[0]), None)
    assert found.low > 0.9


def test_without_words_of_their_own_nothing_is_measured(evidence):
    with pytest.raises(NotMeasured, match="words of their own"):
        TextReplay(length=13)(evidence, None)
    with pytest.raises(NotMeasured, match="needs a holdout"):
        TextReplay()(replace(evidence, holdout=None), None)


def test_the_distance_of_characters_is_the_total_variation_of_their_shares(evidence):
    rows = ["abab abab abab abab ab"] * 399 + ["cc ccc ccc ccc ccc ccc c"]
    changed = with_notes(evidence, rows)
    letters = [pd.Series(list("".join(side))).value_counts(normalize=True) for side in (rows, changed.holdout["note"])]
    slow = letters[0].sub(letters[1], fill_value=0).abs().sum() / 2
    found = TextShape(over="worst")(changed, None)
    assert found.value >= slow - 1e-12
    mean = TextShape()(changed, None)
    assert mean.value <= found.value
    assert TextShape()(evidence, None).high < 0.1 < mean.low


def test_the_interval_of_text_shape_covers_its_expectation():
    found = [TextShape(over="worst", level=0.9)(drawn(seed, 200), None) for seed in range(40)]
    middle = np.mean([one.value for one in found])
    assert np.mean([one.low <= middle <= one.high for one in found]) >= 0.8


@pytest.mark.parametrize(("day", "low"), [(0, 0.0), (2, 0.3)])
def test_the_calendar_sees_weekends(day, low, evidence):
    moved = evidence.rows["when"] + pd.Timedelta(days=day)
    found = Calendar(over="worst")(replace(evidence, rows=evidence.rows.assign(when=moved)), None)
    assert found.low >= low
    assert found.high < 0.3 if day == 0 else found.value > 0.3


def test_the_calendar_is_the_total_variation_of_weekdays(evidence):
    rows = evidence.rows.assign(when=evidence.rows["when"].mask(np.arange(400) < 40))
    shares = [
        side["when"].dt.day_of_week.value_counts(normalize=True, dropna=False) for side in (rows, evidence.holdout)
    ]
    slow = shares[0].sub(shares[1], fill_value=0).abs().sum() / 2
    assert Calendar(over="worst")(replace(evidence, rows=rows), None).value >= slow - 1e-12


def test_the_hour_of_dates_says_nothing_until_it_differs(evidence):
    assert "hour" not in Calendar(over="worst")(evidence, None).note
    noon = evidence.rows["when"] + pd.to_timedelta(np.arange(400) % 5, unit="h")
    found = Calendar(over="worst")(replace(evidence, rows=evidence.rows.assign(when=noon)), None)
    assert "hour" in found.note
    assert found.value == pytest.approx(0.8)


def test_without_a_datetime_there_is_no_calendar():
    schema = Schema((Column("x", "integer"),))
    numbers = pd.DataFrame({"x": range(9)})
    with pytest.raises(NotApplicable, match="no datetime"):
        Calendar()(Evidence(schema, numbers, numbers, numbers), None)


def test_settings_are_checked():
    with pytest.raises(InputError, match="length must be"):
        TextReplay(length=0)
    with pytest.raises(InputError, match="over must be"):
        Calendar(over="median")


def test_every_metric_takes_a_table_with_a_column_of_the_kind_text():
    schema = Schema((Column("ill", "boolean", roles=("target",)), Column("age", "integer"), Column("note", "text")))
    rng = np.random.default_rng(0)

    def rows(size):
        ill, age = rng.random(size) < 0.5, rng.integers(9, size=size)
        return pd.DataFrame({"ill": ill, "age": age, "note": notes(rng, size)})

    evidence = Evidence(schema, rows(80), rows(40), rows(80))
    assert "note" in evidence.as_independent(rng).rows
    measured = set()
    for name in registry.names(registry.METRICS):
        settings = {"repeats": 2} if name == "importance_agreement" else {}
        try:
            registry.load(registry.METRICS, name)(**settings)(evidence, rng)
            measured.add(name)
        except TabsynthError:
            continue  # a reason in words; any other error fails this test
    assert {"text_shape", "text_replay", "tvd1", "tstr", "exact_match"} <= measured


def test_a_missing_text_is_shorter_than_any_other():
    schema = Schema((Column("ill", "boolean"), Column("note", "text", nullable=True)))
    rng = np.random.default_rng(0)
    full = pd.DataFrame({"ill": [True] * 200, "note": notes(rng, 200)})
    gaps = full.assign(note=full["note"].where(np.arange(200) % 4 > 0))
    assert TextShape(over="worst")(Evidence(schema, full, full, full), None).value == 0
    found = TextShape(over="worst")(Evidence(schema, full, full, gaps), None)
    assert found.value == pytest.approx(0.25)
    assert "length" in found.note
    assert [column.name for column in text_columns(Evidence(schema, full, full, gaps))] == ["note"]
