"""Identifiers made anew: alike within a row, unique where asked, the same for the same seed, and nobody's."""

import sys

import numpy as np
import pandas as pd
import pytest

from tabsynth.errors import InputError, SchemaError
from tabsynth.identifiers import DOMAINS, MADE, Identifiers
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.schema import Column, Schema
from tabsynth.synthesizers import model
from tabsynth.synthesizers.independent import Independent
from tabsynth.table import read

AGE = Column("age", "integer", bounds=(0, 99))


def identifier(provider, locale=None, *, unique=False):
    return Column(provider, "categorical", roles=("identifier",), provider=provider, locale=locale, unique=unique)


def fitted(*columns):
    """Return a model of a table whose identifiers are all 'Zebedee-4711'."""
    frame = pd.DataFrame({"age": np.arange(100)} | {c.name: "Zebedee-4711" for c in columns})
    return model.fit(Independent(), read(frame, Schema((AGE, *columns))), Ledger(), Secret.fixed(0))


@pytest.fixture(scope="module")
def german():
    return fitted(*(identifier(provider, "de_DE", unique=provider == "email") for provider in MADE))


def test_a_row_shows_one_person_at_one_address(german):
    rows = german.sample(60, np.random.default_rng(0))
    for row in rows.itertuples():
        assert row.name == f"{row.first_name} {row.last_name}"
        assert row.address == f"{row.street}, {row.postcode} {row.city}"
        assert row.email.split("@")[0].rstrip("0123456789") == row.username
        assert row.email.split("@")[1] in DOMAINS
    assert rows["email"].is_unique
    assert rows["uuid"].is_unique
    assert rows["uuid"].str.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}").all()
    assert rows["postcode"].str.fullmatch(r"\d{5}").all()
    assert rows["iban"].str.startswith("DE").all()
    assert not (rows.drop(columns="age") == "").any().any()


def test_the_same_randomness_gives_the_same_people(german):
    first, again, other = (german.sample(10, np.random.default_rng(seed)) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first, again)
    assert (first["name"] != other["name"]).any()


def test_what_is_modelled_does_not_depend_on_the_identifiers(german):
    rows = german.sample(10, np.random.default_rng(1))
    bare = german.sampler.sample(10, np.random.default_rng(1))
    assert rows["age"].tolist() == bare["age"].tolist()


def test_no_real_identifier_comes_out_or_is_saved(german, tmp_path):
    german.save(tmp_path / "model")
    saved = b"".join(path.read_bytes() for path in (tmp_path / "model").iterdir())
    assert b"Zebedee" not in saved
    rows = model.load(tmp_path / "model").sample(20, np.random.default_rng(0))
    assert not rows.astype(str).apply(lambda column: column.str.contains("Zebedee")).any().any()
    assert rows["email"].str.contains("@").all()


@pytest.mark.parametrize("provider", MADE)
def test_unique_is_unique_over_all_calls(provider):
    column = identifier(provider, unique=True)
    made = Identifiers(Schema((AGE, column)))
    rows = pd.DataFrame({"age": [1] * 500, provider: ""})
    found = pd.concat([made.filled(rows, np.random.default_rng(0)) for _ in range(2)])  # the same people twice
    assert found[provider].is_unique


def test_people_of_two_locales_stand_side_by_side():
    columns = (identifier("name", "ja_JP"), identifier("city", "fr_FR"))
    rows = fitted(*columns).sample(5, np.random.default_rng(0))
    assert not any(name.isascii() for name in rows["name"])
    assert all(any(letter.isalpha() for letter in city) for city in rows["city"])


def test_a_name_that_no_address_can_spell_gets_a_number():
    rows = fitted(identifier("email", "ja_JP"), identifier("username", "ja_JP")).sample(20, np.random.default_rng(0))
    assert rows["email"].str.fullmatch(r"[a-z0-9.]+@example\.(com|net|org)").all()
    assert (rows["email"].str.split("@").str[0] == rows["username"]).all()


def test_shards_hold_different_people(tmp_path, monkeypatch):
    monkeypatch.setattr("tabsynth.shards.BLOCK", 100)
    folder = fitted(identifier("email", unique=True)).sample(300, np.random.default_rng(0), to=tmp_path / "rows")
    assert pd.read_parquet(folder)["email"].is_unique


def test_without_faker_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "faker", None)
    with pytest.raises(InputError, match=r"Provider 'email' of column 'email' needs.*tabsynth\[faker\]"):
        fitted(identifier("email"))
    assert fitted(identifier("uuid")).sample(3, np.random.default_rng(0))["uuid"].is_unique


def test_an_unknown_locale_is_named_before_anything_is_charged():
    ledger = Ledger()
    table = read(pd.DataFrame({"age": [1, 2], "name": "x"}), Schema((AGE, identifier("name", "xx_YY"))))
    with pytest.raises(InputError, match="Column 'name': Faker has no locale 'xx_YY'"):
        model.fit(Independent(), table, ledger, Secret())
    assert ledger.charges == ()


WRONG = {
    "of a modelled column": (
        {"kind": "categorical", "provider": "name"},
        "belong to a column with the role identifier",
    ),
    "of a number": ({"kind": "integer", "role": "identifier", "provider": "name"}, "a categorical identifier"),
    "unknown": ({"kind": "categorical", "role": "identifier", "provider": "iris"}, "one of name, first_name"),
    "a locale alone": ({"kind": "categorical", "role": "identifier", "locale": "de_DE"}, "locale needs a provider"),
    "unique alone": ({"kind": "categorical", "unique": True}, "belong to a column with the role identifier"),
    "unique as text": ({"kind": "categorical", "role": "identifier", "unique": "yes"}, "unique must be true or false"),
    "latitude of a text": ({"kind": "categorical", "role": "latitude"}, "a latitude must be a float"),
    "far north": ({"kind": "float", "role": "latitude", "bounds": [0, 91]}, "a latitude lies between -90 and 90"),
}


@pytest.mark.parametrize(("facts", "rule"), WRONG.values(), ids=WRONG)
def test_what_a_provider_may_not_be(facts, rule):
    with pytest.raises(SchemaError, match="Column 'a': .*" + rule):
        Column.from_dict({"name": "a"} | facts)


def test_a_provider_comes_back_from_plain_values():
    column = identifier("email", "de_DE", unique=True)
    assert Column.from_dict(column.to_dict()) == column


def test_places_know_their_bounds():
    column = Column.from_dict({"name": "a", "kind": "float", "role": ["longitude", "sensitive"], "decimals": 2})
    assert (column.bounds, column.decimals) == ((-180, 180), 2)
    near = Column("b", "float", roles=("latitude",), bounds=(47, 55))
    assert (near.bounds, near.decimals) == ((47, 55), 4)
    assert Column.from_dict(near.to_dict()) == near
    frame = pd.DataFrame({"a": np.linspace(-180, 180, 200), "b": np.linspace(47, 55, 200)})
    rows = model.fit(Independent(), read(frame, Schema((column, near))), Ledger(), Secret.fixed(0)).sample(
        200, np.random.default_rng(0)
    )
    read(rows, Schema((column, near)))
    assert abs(rows["b"].mean() - 51) < 1
