"""Columns of free text through `text`: what is learned, drawn, priced, released and refused."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import chi2

pytest.importorskip("transformers")

from tabsynth import TabularSynthesizer
from tabsynth.audit.attacks import likelihoods
from tabsynth.errors import InputError, SchemaError
from tabsynth.fitting import make_synthesizer
from tabsynth.gate import GateSettings
from tabsynth.metrics import Evidence
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.schema import Column, Schema
from tabsynth.synthesizers import model
from tabsynth.synthesizers.constrained import Automaton
from tabsynth.synthesizers.text_cells import Cells
from tabsynth.synthesizers.text_rows import Text
from tabsynth.synthesizers.text_vocabulary import Spelling, TextCell
from tabsynth.table import read, write_rows
from tabsynth.testing import sealed
from tabsynth.walk import release_table

QUICK = {
    "steps": 2,
    "batch": 100,
    "warm_steps": 2,
    "free_batch": 32,
    "epochs": 4.0,
    "width": 16,
    "depth": 1,
    "heads": 1,
}
SCHEMA = Schema(
    (
        Column("note", "text", max_length=9, nullable=True),
        Column("ill", "boolean"),
        Column("age", "integer", bounds=(0, 9), bins=(0, 5, 10)),
    ),
    rows=160,
)
SAID = {True: ("hot", "cöld"), False: ("fine",)}


def visits(rows=160):
    rng = np.random.default_rng(0)
    ill = rng.random(rows) < 0.5
    notes = [None if rng.random() < 0.2 else rng.choice(SAID[bool(one)]) for one in ill]
    return pd.DataFrame({"note": pd.Series(notes, dtype="str"), "ill": ill, "age": rng.integers(0, 10, rows)})


# --- the automaton ---------------------------------------------------------------------------------------------------

PAIR = Spelling(
    phrases=((0,), (1,), (2,)),
    values=((), ((3,), (4,))),
    pieces=("note is", ", ill is", ".", "no", "yes", "a", "b", " "),
    texts=(TextCell(0, characters=2, room=2, nullable=True),),
    spelled=("", "", "", "", "", "a", "b", " "),
    missing=("ab",),
)
NOTES = ((), (5,), (6,), (5, 5), (6, 5), (6, 6))  # without "ab", and without spaces at the ends


def every_row():
    tokens = np.array([[0, token] for _ in NOTES for token in (0, 1)], np.int32)
    return tokens, (Cells.of([note for note in NOTES for _ in (0, 1)]),)


def wishes(ids):
    """Logits of an untrained "model" that depend on the last two ids, (rows, places, ids)."""
    table = torch.randn(8, 8, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    before = torch.nn.functional.pad(ids, (1, 0))[:, :-1]
    return table[before, ids]


class Reader:
    """The same model, read bit by bit."""

    def __init__(self):
        self.past = torch.zeros(0, 0, dtype=torch.long)

    def __call__(self, ids):
        self.past = torch.cat([self.past, ids], 1) if len(self.past) else ids
        return wishes(self.past)[:, -1]


def test_the_probabilities_of_all_rows_with_texts_sum_to_one():
    automaton = Automaton(PAIR)
    written = automaton.write(*every_row())
    chances = (-automaton.losses(written, wishes(written.ids))).exp()
    assert float(chances.sum()) == pytest.approx(1.0, abs=1e-12)
    assert bool((chances > 0).all())


def test_texts_are_drawn_as_likely_as_they_are():
    automaton, rows = Automaton(PAIR), 20_000
    written = automaton.write(*every_row())
    expected = (-automaton.losses(written, wishes(written.ids))).exp().numpy() * rows
    uniform = torch.rand(rows, PAIR.longest, generator=torch.Generator().manual_seed(1))
    tokens, (cells,) = automaton.draw(Reader(), uniform)
    number = {note: place for place, note in enumerate(NOTES)}
    which = [number[tuple(int(each) for each in row if each >= 0)] * 2 for row in cells.padded()]
    found = np.bincount(np.array(which) + tokens[:, 1], minlength=len(expected))
    for right, fits in ((expected, True), (expected[::-1], False)):
        statistic = float(((found - right) ** 2 / right).sum())
        assert (chi2.ppf(1e-5, len(right) - 1) < statistic < chi2.isf(1e-5, len(right) - 1)) == fits


def test_what_was_drawn_is_written_as_it_was_drawn():
    automaton = Automaton(PAIR)
    read_ids = []

    class Noting(Reader):
        def __call__(self, ids):
            read_ids.append(ids)
            return super().__call__(ids)

    drawn = automaton.draw(Noting(), torch.rand(50, PAIR.longest, generator=torch.Generator().manual_seed(2)))
    ids = automaton.write(*drawn).ids
    read = torch.cat(read_ids, 1)
    going = read >= 0
    assert torch.equal(read[going], ids[:, : read.shape[1]][going])
    lengths = (ids.ne(0) * torch.arange(1, ids.shape[1] + 1)).amax(1)
    assert torch.equal(going.sum(1), lengths - 1)  # what follows the last id is not asked


def test_muted_texts_have_no_gradient():
    automaton = Automaton(PAIR)
    written = automaton.write(*every_row())
    muted = automaton.without_texts(written)
    losses = automaton.losses(muted, wishes(written.ids))
    assert int((muted.branches >= 0).sum()) == len(losses)  # one choice a row: ill or not
    assert float(losses.sum()) < float(automaton.losses(written, wishes(written.ids)).sum())


# --- fits ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def learned():
    table = read(visits(), SCHEMA)
    return model.fit(
        Text(**QUICK | {"epochs": 30, "free_rate": 1e-2, "free_average": 0.9}), table, Ledger(), Secret.fixed(0)
    )


def test_it_learns_which_words_go_with_what(learned):
    rows = learned.sample(400, np.random.default_rng(0))
    assert rows.dtypes.astype(str).to_dict() == {"note": "str", "ill": "boolean", "age": "Int64"}
    ill = rows["ill"].to_numpy(bool)
    assert rows["note"][ill].isin(SAID[True]).mean() > 0.5
    assert rows["note"][~ill].isin(SAID[False]).mean() > 0.5
    assert rows["note"].isna().mean() == pytest.approx(0.2, abs=0.1)


def test_every_text_reads_back_as_it_is(learned, tmp_path):
    rows = learned.sample(300, np.random.default_rng(1))
    for name in ("rows.csv", "rows.parquet"):
        write_rows(rows, SCHEMA, tmp_path / name)
        pd.testing.assert_frame_equal(read(tmp_path / name, SCHEMA).private, rows)
    for kind in ("polars", "pyarrow"):
        pytest.importorskip(kind)
        frame = learned.sample(300, np.random.default_rng(1), as_=kind)
        pd.testing.assert_frame_equal(read(frame, SCHEMA).private, rows)


def test_a_model_with_texts_survives_saving_and_prices_them(learned, tmp_path):
    learned.save(tmp_path / "model")
    again = model.load(tmp_path / "model")
    frames = [each.sample(40, np.random.default_rng(2)) for each in (learned, again)]
    pd.testing.assert_frame_equal(*frames)
    odd = frames[0].assign(note="zzzzzzzzz")
    usual, unusual, longer = (
        again.sampler.log_likelihood(each) for each in (frames[0], odd, odd.assign(note="z" * 10))
    )
    np.testing.assert_allclose(usual, learned.sampler.log_likelihood(frames[0]), rtol=1e-5)
    assert np.median(usual) > np.median(unusual) + 5
    assert np.isfinite(unusual).all()
    assert (longer == -np.inf).all()
    np.testing.assert_array_equal(again.log_likelihood(frames[0]), usual)
    np.testing.assert_array_equal(likelihoods(again.sampler, frames[0]), usual)


def test_texts_are_asked_for_as_missing_and_not_by_value(learned):
    assert learned.sample(20, np.random.default_rng(0), given={"note": None})["note"].isna().all()
    assert learned.sample(20, np.random.default_rng(0), given={"ill": True})["ill"].all()
    with pytest.raises(InputError, match="a condition on free text can only be"):
        learned.sample(5, np.random.default_rng(0), given={"note": "fine"})
    partial = pd.DataFrame({"note": ["fine"], "ill": [True]})
    with pytest.raises(InputError, match="nothing can be drawn given free text"):
        learned.sample(None, np.random.default_rng(0), given=partial)


def test_nothing_of_the_texts_is_in_the_vocabulary(learned, tmp_path):
    learned.save(tmp_path / "model")
    plain = json.loads((tmp_path / "model" / "model.json").read_text("utf-8"))
    other = read(visits().assign(note="another"), SCHEMA)
    fitted = model.fit(Text(**QUICK | {"epochs": 0.1}), other, Ledger(), Secret.fixed(0))
    assert fitted.sampler.state()[0] == plain["state"]


def test_a_budget_is_kept_and_texts_are_within_their_domain():
    ledger = Ledger(Budget(1.0, 1e-5))
    rows = model.fit(Text(**QUICK), read(visits(), SCHEMA), ledger, Secret()).sample(50, np.random.default_rng(0))
    assert ledger.spent.epsilon <= 1.0
    assert rows["note"].str.len().max() <= 9
    assert read(rows, SCHEMA).private["note"].equals(rows["note"])


def test_a_table_with_texts_goes_from_fit_to_release(tmp_path):
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        "checks:\n  - {metric: text_shape, at_most: 0.99}\n  - {metric: tvd1, at_most: 0.9}\n"
        "  - {metric: missing, at_most: 0.9}\n  - {metric: out_of_domain, at_most: 0.1}\n"
        "  - {metric: exact_match, at_most: 1.0}\n"
    )
    text = make_synthesizer("text", **QUICK, free_rate=1e-2)
    release = release_table(
        visits(), text, Ledger, tmp_path / "release", budgeted=False, schema=SCHEMA, asked=GateSettings(policy), seed=0
    )
    assert (tmp_path / "release" / "data.parquet").is_file()
    released = read(tmp_path / "release" / "data.parquet", SCHEMA).private
    assert released["note"].str.len().max() <= 9
    assert release is not None


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["marginals", "rows", "copula", "independent", "bootstrap", "trees"])
def test_other_families_refuse_before_a_row_is_read_or_anything_is_charged(family):
    ledger = Ledger(Budget(1.0, 1e-5))
    with pytest.raises(SchemaError, match=rf"Column 'note' is free text, which the synthesizer '{family}' cannot hold"):
        model.fit(make_synthesizer(family), sealed(SCHEMA), ledger, Secret())
    assert not ledger.charges


def test_a_text_that_no_row_has_room_for_is_refused_before_any_charge():
    long = SCHEMA.with_columns(Column("note", "text", max_length=5000))
    ledger = Ledger(Budget(1.0, 1e-5))
    with pytest.raises(InputError, match="declare a smaller max_length"):
        model.fit(Text(**QUICK), sealed(long), ledger, Secret())
    assert not ledger.charges


def test_a_longer_text_than_declared_is_refused_by_the_rule():
    with pytest.raises(Exception, match="a text is longer than max_length, 9 characters") as error:
        read(visits().assign(note="much too long"), SCHEMA)
    assert "much" not in str(error.value)


def test_as_an_identifier_any_family_holds_the_table():
    schema = SCHEMA.with_columns(Column("note", "text", roles=("identifier",)))
    rows = TabularSynthesizer("independent", schema=schema).fit(visits()).sample(5)
    assert rows["note"].tolist()[0] == "note-1"


def test_metrics_of_values_leave_texts_out():
    evidence = Evidence(SCHEMA, visits(), visits(), visits())
    assert [column.name for column in evidence.columns] == ["ill", "age"]
    assert str(evidence.rows["note"].dtype) == "str"


@pytest.mark.parametrize(
    "rule",
    [
        {"kind": "dependency", "determinant": "note", "dependent": "ill"},
        {"kind": "one_hot", "columns": ["note", "ill"]},
    ],
)
def test_rules_of_values_do_not_name_texts(rule):
    with pytest.raises(SchemaError, match="'note' is free text, of which only unique and predicate say something"):
        Schema.from_dict(SCHEMA.to_dict() | {"constraints": [rule]})


def test_a_schema_of_texts_alone_is_refused():
    with pytest.raises(SchemaError, match="at least one modelled column that is not free text"):
        Schema((Column("note", "text"),))
