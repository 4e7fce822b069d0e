"""Numbers with codes among them, and categories that have an order."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tabsynth.canonical import code_places, to_axis
from tabsynth.constraints import constraint_from_dict
from tabsynth.encoding.codec import Codec
from tabsynth.encoding.encoder import Encoder
from tabsynth.errors import InputError, SchemaError, TableError
from tabsynth.graphical.coarsening import codes_of
from tabsynth.metrics.coding import binned, fingerprints
from tabsynth.metrics.evidence import Evidence
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.schema import Column, Schema
from tabsynth.synthesizers import model
from tabsynth.synthesizers.bootstrap import Bootstrap
from tabsynth.synthesizers.copula import Copula
from tabsynth.synthesizers.independent import Independent
from tabsynth.synthesizers.marginals import Marginals
from tabsynth.synthesizers.smote import Smote
from tabsynth.synthesizers.trees import Trees
from tabsynth.table import plain, read, write_rows

PAY = Column("pay", "integer", bounds=(0, 500), codes=("refused", "N/A", 9999), nullable=True)
WAIT = Column("wait", "float", bounds=(0, 10), decimals=1, codes=(-1, 98.5))
SEX = Column("sex", "categorical", categories=("f", "m"))
SCHEMA = Schema((PAY, WAIT, SEX))


def people(rows=600, seed=0):
    """Return rows in which every third f refuses to say what she is paid."""
    rng = np.random.default_rng(seed)
    sex = rng.choice(["f", "m"], rows)
    pay = pd.Series(rng.integers(0, 501, rows).astype(object))
    pay[(sex == "f") & (rng.random(rows) < 1 / 3)] = "refused"
    pay[:40], pay[40:60], pay[60:90] = "N/A", 9999, None
    wait = rng.integers(0, 101, rows) / 10
    wait[::5] = -1
    return pd.DataFrame({"pay": pay, "wait": wait, "sex": sex})


def counts(frame):
    return frame["pay"].astype(str).value_counts()


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_codes_come_out_as_they_went_in(tmp_path, ending):
    frame, path = people(), tmp_path / f"a.{ending}"
    private = read(frame, SCHEMA).private
    assert private["pay"].tolist()[:42] == ["N/A"] * 40 + [9999] * 2
    assert private["pay"].isna().sum() == 30
    assert private["wait"].dtype == np.float64
    write_rows(private, SCHEMA, path)
    pd.testing.assert_frame_equal(read(path, SCHEMA).private, private)
    pd.testing.assert_frame_equal(read(private, SCHEMA).private, private)
    assert plain(private, SCHEMA)["wait"].tolist() == frame["wait"].tolist()


def test_spellings_of_a_number_are_one_code():
    column = Column("a", "integer", codes=(9999, "?"))
    found = read(pd.DataFrame({"a": [" 9999", "9999.0", "? ", "12"]}), Schema((column,))).private["a"]
    assert found.tolist() == [9999, 9999, "?", 12]
    assert code_places(found, column).tolist() == [0, 0, 1, -1]
    assert np.array_equal(to_axis(found, column), [np.nan, np.nan, np.nan, 12], equal_nan=True)


def test_what_is_neither_number_nor_code_is_refused_without_being_quoted():
    with pytest.raises(TableError, match="column 'pay': a value is not a number") as caught:
        read(people().assign(pay=["refused", "Zebedee"] * 300), SCHEMA)
    assert "Zebedee" not in str(caught.value)
    with pytest.raises(TableError, match="outside the declared bounds"):  # 9998 is no code
        read(people().assign(pay=9998), SCHEMA)


WRONG = {
    "of a category": ({"kind": "categorical", "codes": ["a"]}, "codes belong to an integer or float column"),
    "none": ({"kind": "float", "codes": []}, "non-empty list"),
    "alike": ({"kind": "float", "codes": [1, "1"]}, "without repeats"),
    "empty": ({"kind": "float", "codes": [" "]}, "non-empty list"),
    "one text": ({"kind": "float", "codes": "NA"}, "codes must be a list"),
    "truth": ({"kind": "float", "codes": [True]}, "codes must be a list"),
    "infinite": ({"kind": "float", "codes": [float("inf")]}, "finite numbers"),
    "all numbers": ({"kind": "integer", "bounds": [1, 2], "codes": [2, 1]}, "every number within the bounds is a code"),
    "ordered numbers": ({"kind": "integer", "ordered": True}, "ordered needs declared categories"),
    "ordered without": ({"kind": "categorical", "ordered": True}, "ordered needs declared categories"),
    "ordered as text": ({"kind": "categorical", "categories": ["a"], "ordered": "yes"}, "ordered must be true"),
}  # fmt: skip


@pytest.mark.parametrize(("facts", "rule"), WRONG.values(), ids=WRONG)
def test_what_codes_may_not_be(facts, rule):
    with pytest.raises(SchemaError, match="Column 'a': .*" + rule):
        Column.from_dict({"name": "a"} | facts)


@pytest.mark.parametrize("kind", ["inequality", "sum"])
def test_rules_between_numbers_know_no_codes(kind):
    rule = {"inequality": {"low": "wait", "high": "pay"}, "sum": {"parts": ["wait", "n"], "total": "pay"}}[kind]
    with pytest.raises(SchemaError, match="holds codes, which no rule between numbers knows"):
        Schema((*SCHEMA, Column("n", "integer")), constraints=(constraint_from_dict({"kind": kind} | rule, 1),))


def completed():
    """Return the schema with bins."""
    return SCHEMA.with_columns(replace(PAY, bins=(0, 100, 400, 501)), replace(WAIT, bins=(0, 5, 10.1)))


def test_a_code_has_a_token_of_its_own():
    encoder = Encoder(completed())
    assert encoder.sizes == (3 + 3 + 1, 2 + 2, 2)
    private = read(people(), SCHEMA).private
    encoded = encoder.encode(private)
    assert encoded.tokens[0, 0] == 4
    assert encoded.tokens[40, 0] == 5
    assert encoded.tokens[60, 0] == 6
    back = encoder.decode(encoded.tokens, np.random.default_rng(0), encoded.offsets)
    pd.testing.assert_frame_equal(back, private)


def test_a_number_is_never_drawn_as_a_code():
    column = Column("a", "integer", bounds=(96, 102), bins=(96, 99, 103), codes=(98, 99, 96))
    codec = Codec(column)
    drawn = codec.decode(np.repeat([0, 1], 500).astype(np.int32), np.random.default_rng(0).random(1000, np.float32))
    assert set(drawn) == {97, 100, 101, 102}
    assert set(codec.decode(np.array([2, 3, 4], np.int32), np.zeros(3, np.float32))) == {98, 99, 96}


FAMILIES = [Independent(), Bootstrap(), Marginals(iterations=200), Copula(), Trees(), Smote()]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_family_keeps_codes_apart_from_numbers(family):
    fitted = model.fit(family, read(people(), SCHEMA), Ledger(), Secret.fixed(0))
    rows = fitted.sample(600, np.random.default_rng(0))
    read(rows, SCHEMA)  # all are numbers within the bounds, codes or missing
    real, found = counts(people()), counts(rows)
    for code in ("refused", "N/A", "9999"):
        assert abs(found.get(code, 0) - real[code]) < 5 * np.sqrt(real[code])
    assert abs((rows["wait"] == -1).mean() - 0.2) < 0.08
    assert 200 < to_axis(rows["pay"], PAY)[~np.isnan(to_axis(rows["pay"], PAY))].mean() < 300
    Evidence(SCHEMA, read(people(), SCHEMA).private, None, rows)


def test_what_goes_with_a_code_is_kept():
    fitted = model.fit(
        Marginals(iterations=300), read(people(4000), SCHEMA), Ledger(Budget(3.0, 1e-6)), Secret.fixed(0)
    )
    rows = fitted.sample(4000, np.random.default_rng(0))
    refused = rows["pay"] == "refused"
    assert refused.sum() > 400
    assert (rows["sex"][refused] == "f").mean() > 0.9


def test_a_condition_may_be_a_code():
    fitted = model.fit(Marginals(iterations=100), read(people(), SCHEMA), Ledger(), Secret.fixed(0))
    rows = fitted.sample(50, np.random.default_rng(0), given={"pay": "refused"})
    assert (rows["pay"] == "refused").all()
    assert (fitted.sample(50, np.random.default_rng(0), given={"pay": 9999})["pay"] == 9999).all()
    within = fitted.sample(50, np.random.default_rng(0), given={"pay": (10, 300)})
    assert within["pay"].between(10, 300).all()
    with pytest.raises(InputError, match="'withheld' is no value of kind integer"):
        fitted.sample(5, np.random.default_rng(0), given={"pay": "withheld"})


def test_metrics_tell_codes_from_numbers_and_from_missing():
    frame = pd.DataFrame({"pay": pd.Series([1, 2, "refused", "N/A", 9999, None], dtype=object)})
    (cells,) = binned(PAY, frame["pay"], frame["pay"])
    assert len(set(cells[2:])) == 4
    assert len(set(fingerprints(frame, (PAY,)))) == 6


# --- order -----------------------------------------------------------------------------------------------------------

DEGREES = tuple(f"level {i:02d}" for i in range(40))
DEGREE = Column("degree", "categorical", categories=DEGREES, ordered=True)


def test_an_order_is_kept_in_the_schema_and_in_the_frame():
    assert Column.from_dict(DEGREE.to_dict()) == DEGREE
    frame = pd.DataFrame({"degree": DEGREES[::-1]})
    private = read(frame, Schema((DEGREE,))).private
    assert private["degree"].cat.ordered
    assert private["degree"].max() == "level 39"
    encoder = Encoder(Schema((DEGREE,)))
    back = encoder.decode(encoder.encode(private).tokens, np.random.default_rng(0))
    pd.testing.assert_frame_equal(back, private)
    assert plain(back, Schema((DEGREE,)))["degree"].tolist() == list(DEGREES[::-1])


def test_neighbours_in_an_order_are_merged_with_each_other():
    table = read(pd.DataFrame({"degree": np.repeat(DEGREES, 30)}), Schema((DEGREE,)))
    from tabsynth.privacy.marginals import one_way

    tokens = Encoder(table.schema).encode(table.private).tokens
    ones = one_way(tokens, (40,), ("degree",), share=0.5, rows_per_unit=1, ledger=Ledger(), secret=Secret.fixed(0))
    group = codes_of(table.schema.modelled, ones, (8,)).groups[0]
    assert len(set(group)) <= 8
    assert (np.diff(group) >= 0).all()


@pytest.mark.parametrize("family", [Independent(), Marginals(iterations=50), Copula(), Trees()], ids=lambda f: f.name)
def test_families_hold_ordered_categories(family):
    rng = np.random.default_rng(0)
    at = rng.integers(0, 40, 800)
    frame = pd.DataFrame({"degree": np.array(DEGREES)[at], "pay": at * 10 + rng.integers(0, 50, 800)})
    schema = Schema((DEGREE, Column("pay", "integer", bounds=(0, 500))))
    rows = model.fit(family, read(frame, schema), Ledger(), Secret.fixed(0)).sample(800, np.random.default_rng(1))
    read(rows, schema)
    together = np.corrcoef(rows["degree"].cat.codes, rows["pay"].astype(float))[0, 1]
    assert together < 0.2 if family.name == "independent" else together > 0.9
