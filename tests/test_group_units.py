"""The privacy unit as a column's value, from the schema to the card: k rows a unit, k times the noise, one name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import chi2

from tabsynth.cli import run
from tabsynth.errors import Refused, SchemaError
from tabsynth.intake import take_in
from tabsynth.privacy import dpsgd, mechanisms
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.marginals import one_way
from tabsynth.privacy.noise import Secret
from tabsynth.privacy.units import bound_contributions
from tabsynth.release import release
from tabsynth.schema import Column, Schema
from tabsynth.schema_file import write_schema
from tabsynth.synthesizers.base import silent
from tabsynth.synthesizers.ctgan import CTGAN
from tabsynth.synthesizers.independent import Independent
from tabsynth.table import Table, read, split
from tabsynth.walk import release_table

K = 3
BUDGET = Budget(3.0, 1e-5)
SCHEMA = Schema(
    (
        Column("who", "categorical", roles=("group",)),
        Column("age", "integer", bounds=(0, 99), bins=(0, 25, 50, 75, 100)),
        Column("city", "categorical", categories=("Bonn", "Ulm")),
        Column("ill", "boolean", roles=("target",)),
    ),
    rows_per_unit=K,
)


def visits(people: int = 600, most: int = 7, seed: int = 0) -> pd.DataFrame:
    """People with 1 to `most` visits each."""
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(people), rng.integers(1, most + 1, people))
    age = rng.integers(0, 100, people)[who]
    rows = len(who)
    return pd.DataFrame(
        {
            "who": [f"p{one:04}" for one in who],
            "age": age,
            "city": rng.choice(["Bonn", "Ulm"], rows),
            "ill": rng.random(rows) < age / 100,
        }
    ).sample(frac=1, random_state=seed, ignore_index=True)


def parts(event: Any) -> list[Any]:
    """List an event's own parts."""
    return [each for one in event.events for each in parts(one)] if hasattr(event, "events") else [event]


def test_the_walk_bounds_units_and_keeps_them_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is fitted, what is held out and what the gate takes for training rows all hold at most k rows a unit."""
    seen: dict[str, Table] = {}
    real = Independent.fit

    def watched(self: Independent, table: Table, *rest: Any) -> Any:
        seen["fitted"] = table
        return real(self, table, *rest)

    def judged(evidence: Any, *_: Any) -> Any:
        seen["evidence"] = evidence
        return ()

    monkeypatch.setattr(Independent, "fit", watched)
    monkeypatch.setattr("tabsynth.gate.evaluate", judged)
    ledger = Ledger(BUDGET)
    with pytest.raises(Refused):
        release_table(visits(), Independent(), lambda: ledger, tmp_path / "out", budgeted=True, schema=SCHEMA, seed=1)
    fitted = seen["fitted"].private["who"].value_counts()
    fitted = fitted[fitted > 0]
    whole = visits()["who"].value_counts()
    assert fitted.max() == K
    assert (fitted == whole[fitted.index.astype(str)].clip(upper=K).to_numpy()).all(), "each fitted unit whole, up to k"
    assert len(seen["evidence"].train) == len(seen["fitted"].private)
    assert len(seen["evidence"].train) + len(seen["evidence"].holdout) == whole.clip(upper=K).sum()


def test_a_split_never_parts_a_unit() -> None:
    train, held = split(read(visits(), SCHEMA), 0.3, np.random.default_rng(0))
    assert not set(train.private["who"].astype(str)) & set(held.private["who"].astype(str))


def test_every_charge_of_a_grouped_fit_has_the_sensitivity_k() -> None:
    table = read(visits(), SCHEMA)
    for synthesizer in (Independent(), CTGAN(critic_steps=2, warm_steps=2, generator_width=16, generator_batch=64)):
        ledger = Ledger(BUDGET)
        synthesizer.fit(table, ledger, Secret(), silent)
        of = [(c.why, one.sensitivity) for c in ledger.charges for one in parts(c.event) if hasattr(one, "sensitivity")]
        assert ("number of privacy units", 1) in of
        rest = [sensitivity for why, sensitivity in of if why != "number of privacy units"]
        assert set(rest) == {K}
        assert len(rest) >= 4, "the row count and three columns at least"
        assert ledger.spent.epsilon <= 3 * (1 + 1e-9)


def test_noise_of_counts_is_k_times_as_large_for_units_of_k_rows() -> None:
    """The spread of measured counts around the true ones, k = 1 against k = 3, at one share of one budget."""
    tokens = np.zeros((500, 40), np.int32)
    spread = {}
    for k in (1, K):
        ledger = Ledger(Budget(50.0, 1e-5))
        names = [f"c{place}" for place in range(40)]
        sizes = [10] * 40
        measured = one_way(tokens, sizes, names, share=1.0, rows_per_unit=k, ledger=ledger, secret=Secret())
        true = np.array([500.0, *[0.0] * 9])
        errors = np.concatenate([each.counts - true for each in measured])
        sigma = ledger.charges[0].event.sigma
        low, high = chi2.ppf([1e-7, 1 - 1e-7], len(errors)) / len(errors)
        assert low < np.square(errors).mean() / sigma**2 < high
        spread[k] = float(errors.std())
    assert spread[K] / spread[1] == pytest.approx(K, rel=0.25)
    assert abs(spread[K] / spread[1] - 1) > 0.25, "noise for one row would be seen"


def test_a_unit_of_many_rows_moves_measured_counts_by_at_most_k(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over many runs: exact counts with and without a unit of 9 rows, 3 of which are drawn anew each time."""
    others = visits(people=60, most=K)
    nine = pd.DataFrame({"who": "big", "age": [5] * 5 + [90] * 4, "city": "Ulm", "ill": True})
    schema = replace(SCHEMA, rows=200)
    counts: list[np.ndarray] = []
    monkeypatch.setattr(mechanisms, "_discrete_gaussian", lambda exact, *_: (counts.append(exact), exact)[1])

    def measured(frame: pd.DataFrame) -> list[np.ndarray]:
        counts.clear()
        Independent().fit(read(frame, schema), Ledger(BUDGET), Secret(), silent)
        return list(counts)

    without = measured(others)
    gaps = [
        [int(np.abs(a - b).sum()) for a, b in zip(measured(pd.concat([others, nine])), without, strict=True)]
        for _ in range(40)
    ]
    assert {tuple(each) for each in gaps} == {(K, 1, *[K] * (len(without) - 2))}
    monkeypatch.setattr("tabsynth.synthesizers.independent.bound_contributions", lambda table, secret: table)
    monkeypatch.setattr("tabsynth.privacy.discovery.assert_bounded", lambda table: None)
    unbounded = measured(pd.concat([others, nine]))
    assert max(int(np.abs(a - b).sum()) for a, b in zip(unbounded, without, strict=True)) == 9, "it would be seen"


def test_which_rows_are_kept_is_drawn_anew() -> None:
    table = read(visits(people=5, most=7), SCHEMA)
    kept = {bound_contributions(table, Secret()).private["ill"].to_numpy().tobytes() for _ in range(20)}
    assert len(kept) > 1


def test_dpsgd_draws_units_and_clips_their_rows_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every batch of a CTGAN fit holds all rows of its units; its clipped sum is at most one gradient a unit long."""
    batches = []
    real = dpsgd.DPSGD.step

    def watched(self: Any, batch: Any, total: Any, *rest: Any, **more: Any) -> None:
        length = float(sum(part.double().square().sum() for part in total)) ** 0.5
        batches.append((batch, length / self.settings.max_grad_norm))
        real(self, batch, total, *rest, **more)

    monkeypatch.setattr(dpsgd.DPSGD, "step", watched)
    table = bound_contributions(read(visits(people=200), SCHEMA), Secret())
    settings = CTGAN(
        critic_steps=12, warm_steps=2, generator_width=16, generator_batch=64, batch=50, critic_widths=(8,)
    )
    ledger = Ledger(Budget(50.0, 1e-3))
    settings.fit(table, ledger, Secret(), silent)
    units = table.units()
    assert units is not None
    assert {type(part) for part, _ in batches} == {dpsgd.Batch}
    for batch, length in batches:
        assert sorted(batch.rows) == sorted(np.flatnonzero(np.isin(units, batch.units)))
        assert length <= len(batch.units) * (1 + 1e-4)
    (critic,) = [charge.event for charge in ledger.charges if charge.why == "critic"]
    rate = critic.event.sampling_probability
    assert rate == pytest.approx(50 / 200, rel=0.15), "of units, as measured, not of rows"
    assert torch.isfinite(torch.tensor([length for _, length in batches])).all()


def test_release_names_the_unit_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    visits(people=2500, most=2).to_csv("visits.csv", index=False)
    write_schema(replace(SCHEMA, rows_per_unit=2), "visits.yaml")
    (tmp_path / "easy.yaml").write_text("checks: [{metric: tvd1, at_most: 0.9}]")
    command = ["release", "visits.csv", "--schema", "visits.yaml", "--model", "independent", "--policy", "easy.yaml"]
    assert run([*command, "--epsilon", "3", "--delta", "1e-5", "-o", "out", "--json"]) == 0
    said = capsys.readouterr()
    unit = "all rows (at most 2) that share one value of the column 'who'"
    account = json.loads((tmp_path / "out" / "provenance.json").read_text(encoding="utf-8"))
    assert account["privacy"]["unit"] == {"column": "who", "rows": 2, "in_words": unit}
    assert unit in " ".join(said.err.split())
    assert json.loads(said.out)["privacy"]["meaning"] == account["privacy"]["meaning"]
    inside = json.loads((tmp_path / "out.inside" / "report.json").read_text(encoding="utf-8"))
    assert inside["ledger"]["unit"] == unit
    assert inside["ledger"]["meaning"] == account["privacy"]["meaning"]
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    for sentence in account["privacy"]["meaning"]:
        assert sentence.split(" of the column")[0].replace("'", "") in card.replace("'", "").replace("\\", "")
    fit = ["fit", "visits.csv", "--schema", "visits.yaml", "--model", "independent", "--epsilon", "3", "-o", "model"]
    assert run(fit) == 0
    assert unit in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"rows_per_unit": 0}, "rows_per_unit must be at least 1"),
        ({"rows_per_unit": -2}, "rows_per_unit must be at least 1"),
        ({"rows_per_unit": 33}, "at most 32 rows of one 'who'"),
        ({"rows_per_unit": 1.5}, "whole numbers"),
        ({"columns": [c.to_dict() for c in SCHEMA if c.name != "who"]}, "needs a column with the role 'group'"),
        ({"columns": [c.to_dict() | ({"role": "group"} if c.name == "city" else {}) for c in SCHEMA]}, "Only one"),
    ],
)
def test_a_wrong_bound_is_an_error_before_any_charge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, change: dict[str, Any], rule: str
) -> None:
    monkeypatch.chdir(tmp_path)
    visits(people=50).to_csv("visits.csv", index=False)
    (tmp_path / "visits.json").write_text(json.dumps(SCHEMA.to_dict() | change), encoding="utf-8")
    command = ["release", "visits.csv", "--schema", "visits.json", "--model", "independent", "--epsilon", "1"]
    assert run([*command, "--ledger", "l.jsonl", "-o", "out"]) == 2
    assert rule in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "l.jsonl").exists()


@pytest.mark.parametrize("gap", [None, ""])
def test_a_row_without_its_unit_is_an_error_before_any_charge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, gap: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    frame = visits(people=50)
    frame.loc[3, "who"] = gap
    frame.to_csv("visits.csv", index=False)
    write_schema(SCHEMA, "visits.yaml")
    command = ["release", "visits.csv", "--schema", "visits.yaml", "--model", "independent", "--epsilon", "1"]
    assert run([*command, "--ledger", "l.jsonl", "-o", "out"]) == 2
    assert "'who': a value is missing, and every row needs its privacy unit" in " ".join(
        capsys.readouterr().err.split()
    )
    assert not (tmp_path / "l.jsonl").exists()


def test_a_table_of_one_unit_cannot_be_split(tmp_path: Path) -> None:
    frame = visits(people=40).assign(who="p1")
    with pytest.raises(Exception, match="fewer than two rows"):
        release_table(
            frame, Independent(), lambda: Ledger(BUDGET), tmp_path / "out", budgeted=True, schema=SCHEMA, seed=1
        )


def test_without_a_budget_any_bound_may_stand() -> None:
    large = replace(SCHEMA, rows_per_unit=500)
    assert take_in(visits(people=20), large, budgeted=False).table.schema.unit.rows == 500
    with pytest.raises(SchemaError, match="at most 32"):
        take_in(visits(people=20), large, budgeted=True)


def test_a_release_of_units_says_which_it_protects_even_when_made_by_hand(tmp_path: Path) -> None:
    table = read(visits(people=100), SCHEMA)
    ledger = Ledger(BUDGET)
    sampler = Independent().fit(table, ledger, Secret(), silent)
    with pytest.raises(Refused, match="no check was made"):
        release(
            sampler.sample(10, np.random.default_rng(0)),
            sampler.schema,
            Independent(),
            ledger,
            (),
            tmp_path / "out",
            inside=type("Inside", (), {"files": lambda self: {"report.html": "", "report.json": "{}"}})(),
        )
