"""A fit that was killed and taken up again gives the model that it would have given, and is charged once."""

import shutil
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from tabsynth import datasets
from tabsynth.errors import InputError, LedgerError
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.checkpoint import Checkpoint, Randomness, discard, keep, taken_up
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.ledger_file import verify
from tabsynth.privacy.noise import Secret
from tabsynth.schema_file import write_schema
from tabsynth.synthesizers.base import Synthesizer
from tabsynth.synthesizers.ctgan import CTGAN
from tabsynth.synthesizers.hybrid import Hybrid
from tabsynth.synthesizers.model import Model, fit
from tabsynth.synthesizers.rows import Rows
from tabsynth.synthesizers.text_rows import Text
from tabsynth.synthesizers.vae import VAE
from tabsynth.testing import awkward_table

DATA = b"the table's digest"
DESCRIBED = {"model": "a", "settings": {"steps": 3}}
BUDGET = Budget(2.0, 1e-5)
FAMILIES = [
    Rows(steps=6, batch=64, width=8, depth=1),
    CTGAN(
        critic_steps=6,
        critic_per_generator=2,
        warm_steps=4,
        batch=32,
        generator_width=16,
        generator_depth=1,
        generator_batch=32,
        critic_widths=(16,),
    ),
    VAE(steps=6, batch=32, warm_steps=2, dream_steps=2, match_rows=16, width=8, depth=1, latent=4),
    Hybrid(pairs=2, rounds=1, iterations=60, cells=2000, steps=6, batch=64, centre=16, width=8, depth=1, heads=1),
    pytest.param(
        Text(steps=6, batch=64, warm_steps=2, width=8, depth=1, heads=1),
        marks=pytest.mark.skipif(find_spec("transformers") is None, reason="needs the extra llm"),
    ),
]


class Killed(BaseException):
    """What stops a fit at once."""


def open_checkpoint(folder: Path, every: float = 0.0) -> Checkpoint:
    return Checkpoint.open(folder, described=DESCRIBED, data=DATA, every=every)


def fit_with(folder: Path, synthesizer: Synthesizer, ledger_path: Path, kill_at: int | None = None) -> Model:
    """Fit with a checkpoint and a ledger file, killed when progress is told for the `kill_at`th time."""
    checkpoint = open_checkpoint(folder)
    ledger = Ledger.open(ledger_path, data=DATA, budget=BUDGET, resumes=checkpoint.fit)
    checkpoint.begun(ledger.number, ledger.budget)
    told = 0

    def progress(*_: object) -> None:
        nonlocal told
        told += 1
        if told == kill_at:
            raise Killed

    with checkpoint.active():
        return fit(synthesizer, awkward_table("every kind"), ledger, checkpoint.secret(), progress)


def copied(folder: Path, ledger: Path, to: Path) -> tuple[Path, Path]:
    """Copy a checkpoint and its ledger, so that it can be taken up twice."""
    to.mkdir()
    for ending in ("", ".key", ".head"):
        shutil.copy(ledger.with_name(ledger.name + ending), to / (ledger.name + ending))
    return Path(shutil.copytree(folder, to / folder.name)), to / ledger.name


def same(a: Model, b: Model) -> bool:
    (values, arrays), (others, other_arrays) = a.sampler.state(), b.sampler.state()
    assert arrays.keys() == other_arrays.keys()
    return values == others and all(np.array_equal(arrays[name], other_arrays[name]) for name in arrays)


@pytest.mark.parametrize("synthesizer", FAMILIES, ids=lambda each: each.name)
def test_a_killed_fit_goes_on_to_the_same_model_and_is_charged_once(synthesizer, tmp_path):
    folder, ledger = tmp_path / "checkpoint", tmp_path / "ledger"
    with pytest.raises(Killed):
        fit_with(folder, synthesizer, ledger, kill_at=1)
    charged = verify(ledger).fits[0].charges
    twin = copied(folder, ledger, tmp_path / "twin")
    whole = fit_with(folder, synthesizer, ledger)
    with pytest.raises(Killed):
        fit_with(twin[0], synthesizer, twin[1], kill_at=2)
    again = fit_with(twin[0], synthesizer, twin[1])
    assert same(whole, again)
    for path in (ledger, twin[1]):
        (only,) = verify(path).fits
        assert only.charges == charged
        assert only.closed
    other = fit_with(tmp_path / "other", synthesizer, tmp_path / "second")
    assert not same(whole, other)


def test_a_training_goes_on_after_its_last_kept_step(tmp_path):
    folder = tmp_path / "checkpoint"
    with open_checkpoint(folder).active():
        layer, public = torch.nn.Linear(2, 2), torch.Generator().manual_seed(1)
        optimizer = torch.optim.Adam(layer.parameters())
        layer(torch.ones(1, 2)).sum().backward()
        optimizer.step()
        parts = {"layer": layer, "optimizer": optimizer, "public": Randomness(public)}
        keep("training", 7, parts)
        expected = torch.rand(3, generator=public)
    with open_checkpoint(folder).active():
        other, fresh = torch.nn.Linear(2, 2), torch.Generator()
        taken = torch.optim.Adam(other.parameters())
        assert taken_up("training", {"layer": other, "optimizer": taken, "public": Randomness(fresh)}) == 7
        assert taken_up("another training", {}) == 0
    assert torch.equal(layer.weight, other.weight)
    assert torch.equal(torch.rand(3, generator=fresh), expected)
    assert torch.equal(taken.state_dict()["state"][0]["exp_avg"], optimizer.state_dict()["state"][0]["exp_avg"])


def test_answers_come_again_in_their_order_and_exactly(tmp_path):
    folder = tmp_path / "checkpoint"
    given = [np.array([[0.1, -3.0]]), {"a": 0.1 + 0.2}, 3, 1 / 3]
    first = open_checkpoint(folder)
    for place, answer in enumerate(given):
        first.answer(answer, why=str(place))
    again = open_checkpoint(folder)
    assert np.array_equal(again.answer(np.zeros((1, 2)), why="0"), given[0])
    assert [again.answer(0, why=str(place)) for place in (1, 2, 3)] == given[1:]
    assert again.answer(9, why="new") == 9
    with pytest.raises(InputError, match="another fit, which measured '0' here"):
        open_checkpoint(folder).answer(0, why="something else")


def test_an_answer_that_was_torn_off_is_given_anew(tmp_path):
    folder = tmp_path / "checkpoint"
    open_checkpoint(folder).answer(1, why="whole")
    with (folder / "answers.jsonl").open("ab") as file:
        file.write(b'{"why": "torn", "ans')
    again = open_checkpoint(folder)
    assert again.answer(0, why="whole") == 1
    assert again.answer(2, why="torn") == 2
    assert open_checkpoint(folder).answer(0, why="whole") == 1


def test_the_stream_goes_on_and_is_never_read_twice(tmp_path):
    checkpoint = open_checkpoint(tmp_path / "checkpoint")
    stream, again = checkpoint.secret(), checkpoint.secret()
    stream.normal(100_000)
    again.load_state_dict(stream.state_dict())
    assert np.array_equal(stream.normal(5), again.normal(5))
    with pytest.raises(Exception, match="never read a second time"):
        again.load_state_dict({"place": 0})
    assert not np.array_equal(checkpoint.secret().normal(5), Secret.kept(bytes(32)).normal(5))


def test_the_folder_is_its_owner_s_and_goes_when_it_is_discarded(tmp_path):
    folder = tmp_path / "checkpoint"
    open_checkpoint(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "checkpoint.json").stat().st_mode & 0o777 == 0o600
    discard(folder)
    assert not folder.exists()


@pytest.mark.parametrize(
    ("described", "data", "message"),
    [
        ({"model": "b"}, DATA, "other settings, schema or version"),
        (DESCRIBED, b"other", "a fit to another table"),
    ],
)
def test_another_fit_s_checkpoint_is_refused(described, data, message, tmp_path):
    open_checkpoint(tmp_path / "checkpoint")
    with pytest.raises(InputError, match=message):
        Checkpoint.open(tmp_path / "checkpoint", described=described, data=data)


def test_a_fit_with_another_budget_is_refused(tmp_path):
    open_checkpoint(tmp_path / "checkpoint").begun(None, BUDGET)
    with pytest.raises(InputError, match="another budget"):
        open_checkpoint(tmp_path / "checkpoint").begun(None, Budget(3.0, 1e-5))


@pytest.mark.parametrize("content", ["", "{}", '{"key": "00", "data": "", "format": 9}'])
def test_what_is_no_checkpoint_is_refused(content, tmp_path):
    (tmp_path / "checkpoint.json").write_text(content)
    with pytest.raises(InputError, match="checkpoint"):
        open_checkpoint(tmp_path)


def test_a_fit_that_the_ledger_does_not_have_cannot_be_taken_up(tmp_path):
    Ledger.open(tmp_path / "ledger", data=DATA, budget=BUDGET)
    for number, budget in ((2, BUDGET), (1, Budget(3.0, 1e-5))):
        with pytest.raises(LedgerError, match="could be taken up"):
            Ledger.open(tmp_path / "ledger", data=DATA, budget=budget, resumes=number)


def test_a_command_that_was_killed_is_started_again(tmp_path):
    table = tmp_path / "visits.csv"
    datasets.clinic_visits(rows=400).frame.to_csv(table, index=False)
    files = ["--schema", tmp_path / "visits.yaml", "-o", tmp_path / "model", "--checkpoint", tmp_path / "kept"]
    settings = ["--model", "rows", "--set", "steps=200", "--set", "batch=64", "--set", "width=8", "--set", "depth=1"]
    write_schema(datasets.clinic_visits(rows=400).schema, tmp_path / "visits.yaml")
    command = [sys.executable, "-m", "tabsynth.cli", "fit", table, *files, *settings, "--epsilon", "3"]
    first = subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while not (tmp_path / "visits.csv.ledger").exists() or not verify(tmp_path / "visits.csv.ledger").fits[0].closed:
        assert first.poll() is None, "the fit was over before it could be killed"
        assert time.monotonic() < until
        time.sleep(0.05)
    first.kill()
    first.wait()
    (killed,) = verify(tmp_path / "visits.csv.ledger").fits
    assert (tmp_path / "kept").exists()
    assert not (tmp_path / "model").exists()
    subprocess.run([*map(str, command)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert verify(tmp_path / "visits.csv.ledger").fits == (killed,)
    assert (tmp_path / "model" / "model.json").exists()
    assert not (tmp_path / "kept").exists()
