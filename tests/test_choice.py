"""`auto` is settled by public facts, before a ledger is opened, and leaves the name of what it chose."""

import json
import sys
from dataclasses import replace

import pandas as pd
import pytest

from tabsynth import Ledger, TabularSynthesizer, choice, datasets
from tabsynth.choice import FEWEST_ROWS, MOST_CELLS, choose
from tabsynth.errors import InputError, ModelError, SchemaError
from tabsynth.fitting import Auto, make_synthesizer
from tabsynth.gate import GateSettings
from tabsynth.privacy.noise import Secret
from tabsynth.schema import Column, Schema
from tabsynth.synthesizers import model
from tabsynth.table import read
from tabsynth.walk import fit_table, release_table

VISITS = datasets.clinic_visits(rows=600)
TWO = Schema((Column("age", "integer"), Column("ill", "boolean")))


@pytest.mark.parametrize(
    ("rows", "budgeted", "name"),
    [
        (FEWEST_ROWS, False, "rows"),
        (FEWEST_ROWS - 1, False, "marginals"),
        (MOST_CELLS // 2, False, "rows"),
        (MOST_CELLS // 2 + 1, False, "marginals"),
        (None, False, "marginals"),
        (FEWEST_ROWS, True, "marginals"),
        (None, True, "marginals"),
    ],
)
def test_the_rule(rows, budgeted, name):
    assert choose(replace(TWO, rows=rows), budgeted=budgeted).name == name


def test_identifiers_and_groups_are_no_columns_to_learn():
    wide = Schema((*TWO.columns, Column("key", "categorical", roles=("identifier",))), rows=MOST_CELLS // 2)
    assert choose(wide, budgeted=False).name == "rows"


def test_free_text_leaves_one_family(monkeypatch):
    noted = replace(TWO, columns=(*TWO.columns, Column("note", "text")), rows=MOST_CELLS)
    assert {choose(noted, budgeted=budgeted).name for budgeted in (True, False)} == {"text"}
    frame = pd.DataFrame({"age": [1, 2], "ill": [True, False], "note": ["a", "b"]})
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ModelError, match=r"needs the package 'transformers': pip install 'tabsynth\[llm\]'"):
        TabularSynthesizer("auto", schema=noted).fit(frame)
    with pytest.raises(SchemaError, match=r"Column 'note' is free text, which the synthesizer 'marginals' cannot hold"):
        TabularSynthesizer(schema=noted).fit(frame)


def test_a_fit_carries_the_name_and_the_reason(monkeypatch):
    monkeypatch.setattr(choice, "FEWEST_ROWS", 601)
    schema = replace(VISITS.schema, rows=600)
    fitted = TabularSynthesizer("auto", schema=schema, seed=4).fit(VISITS.frame).model_
    assert fitted.name == "marginals"
    assert fitted.settings["bins"] == make_synthesizer("marginals").bins
    assert fitted.privacy["notes"][0].startswith("auto chose the model marginals, because fewer than 601 rows")


def test_it_is_settled_before_the_ledger_is_opened(monkeypatch, tmp_path):
    chosen = []
    monkeypatch.setattr("tabsynth.fitting.choose", lambda *facts, **more: chosen.append(0) or choose(*facts, **more))

    def opened(number=None):
        assert chosen == [0]
        raise KeyboardInterrupt

    gated = {"asked": GateSettings("small")}
    for walk, folder, more in ((fit_table, (), {}), (release_table, (tmp_path / "release",), gated)):
        chosen.clear()
        with pytest.raises(KeyboardInterrupt):
            walk(VISITS.frame, make_synthesizer("auto"), opened, *folder, budgeted=False, schema=VISITS.schema, **more)


def test_a_release_names_what_was_chosen(tmp_path):
    checks = tmp_path / "policy.yaml"
    checks.write_text("checks: [{metric: tvd1, at_most: 0.9}]\n", encoding="utf-8")
    where = tmp_path / "release"
    release_table(
        VISITS.frame,
        make_synthesizer("auto"),
        Ledger,
        where,
        budgeted=False,
        schema=VISITS.schema,
        asked=GateSettings(checks),
        seed=1,
    )
    written = json.loads((where / "provenance.json").read_text(encoding="utf-8"))
    assert written["generator"]["name"] == "marginals"
    assert any(note.startswith("auto chose the model marginals") for note in written["privacy"]["notes"])


def test_auto_takes_no_settings_and_is_no_family():
    assert make_synthesizer("auto", 5) == Auto(seed=5)
    with pytest.raises(InputError, match=r"auto has no setting 'bins'. It has: seed"):
        make_synthesizer("auto", bins=8)
    with pytest.raises(InputError, match="auto is no family"):
        model.fit(Auto(), read(VISITS.frame, VISITS.schema), Ledger(), Secret())
