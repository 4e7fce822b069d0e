"""The look for personal data that is paid for: it sees what is there, by noisy counts alone, and is charged first."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

from tabsynth.errors import LedgerError
from tabsynth.fitting import PrivacyWarning, fit_intake
from tabsynth.intake import Intake
from tabsynth.pii import FORMS, form_of, personal_columns
from tabsynth.privacy import looking
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.looking import look, looked_at
from tabsynth.privacy.noise import Secret
from tabsynth.schema import Column, Schema
from tabsynth.synthesizers.independent import Independent
from tabsynth.table import read

ROWS = 4000
SCHEMA = Schema(
    (
        Column("reach", "categorical"),  # nothing that a name says
        Column("who", "categorical", nullable=True),
        Column("town", "categorical"),
        Column("meant", "categorical", roles=("sensitive",)),
        Column("known", "categorical", categories=("a@b.org", "no")),
        Column("age", "integer", bounds=(0, 99)),
    ),
    rows=ROWS,
)


def table(mails: float = 0.9):
    rng = np.random.default_rng(0)
    mail = np.array([f"p{n}@example.org" for n in range(ROWS)], object)
    frame = pd.DataFrame(
        {
            "reach": np.where(rng.random(ROWS) < mails, mail, "none"),
            "who": rng.choice(["Anna Berg", "Otto Quast", "J. Doe", None], ROWS),
            "town": rng.choice(["Ulm", "Bad Ems", "San Pedro"], ROWS),
            "meant": mail,
            "known": rng.choice(["a@b.org", "no"], ROWS),
            "age": rng.integers(0, 99, ROWS),
        }
    )
    return read(frame, SCHEMA)


def test_only_texts_that_nobody_declared_are_looked_at():
    assert looked_at(SCHEMA) == ("reach", "who", "town")


def test_what_most_texts_are_is_seen_through_the_noise_and_charged():
    ledger = Ledger(Budget(1.0, 1e-6))
    found = look(table(), ledger, Secret())  # noise of 80 rows; every count is 8 times that from being misjudged
    assert [(one.column, one.what) for one in found] == [("reach", "e-mail addresses"), ("who", "people's names")]
    assert [charge.why for charge in ledger.charges] == [f"personal values of {name!r}" for name in looked_at(SCHEMA)]
    assert 0 < ledger.spent.epsilon < 0.2


def test_a_few_addresses_are_not_most_of_a_column():
    found = look(table(mails=0.3), Ledger(Budget(1.0, 1e-6)), Secret.fixed(0))
    assert [one.column for one in found] == ["who"]


def test_what_is_lost_in_the_noise_is_not_said():
    assert look(table(), Ledger(Budget(0.02, 1e-6)), Secret.fixed(0)) == ()


def test_counts_are_those_of_a_slow_count_and_reach_the_ledger_first(monkeypatch):
    private = table()
    counts = looking._count(private, "who")
    slow = [form_of(text) for text in private.private["who"].dropna().astype(str)]
    assert counts.tolist() == [slow.count(form) for form in range(len(FORMS) + 1)]
    monkeypatch.setattr(looking, "_count", lambda *_: pytest.fail("a row was read"))
    closed = Ledger(Budget(1.0, 1e-6))
    closed.close()
    with pytest.raises(LedgerError):
        look(private, closed, Secret.fixed(0))


def test_a_fit_warns_of_what_it_paid_for_and_of_nothing_else():
    intake = Intake(table(), ())
    for looked, columns in ((True, ["reach", "who"]), (False, [])):
        ledger = Ledger(Budget(8.0, 1e-6))
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            fit_intake(intake, Independent(), ledger, looked=looked)
        told = [str(one.message) for one in said if one.category is PrivacyWarning]
        assert [name for name in SCHEMA.names if any(f"Column {name!r} looks" in line for line in told)] == columns
        assert any("personal values" in charge.why for charge in ledger.charges) == looked


def test_declared_categories_are_public_and_looked_at_for_nothing():
    people = tuple(f"{first} {last}" for first in ("Anna", "Peter", "Susan") for last in "ABCDEFGHIJ")
    columns = Column("who", "categorical", categories=people), Column("code", "categorical", categories=people[:5])
    schema = Schema(columns)
    assert [(one.column, one.what) for one in personal_columns(schema)] == [("who", "people's names")]
