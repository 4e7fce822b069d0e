"""`text`: what it learns, that it samples alike everywhere, pretrained models and adapters, and what it refuses."""

import itertools
import json
import shutil
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file

pytest.importorskip("transformers")
pytest.importorskip("peft")

from transformers.activations import ACT2FN

from tabsynth.errors import InputError, ModelError
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.schema import Column, Schema
from tabsynth.synthesizers import model
from tabsynth.synthesizers.language_model import LanguageModel, untrained
from tabsynth.synthesizers.text_rows import Text, TextSampler
from tabsynth.table import read
from tabsynth.testing import awkward_table

QUICK = {"steps": 2, "batch": 200, "warm_steps": 2, "free_batch": 32, "epochs": 1.0, "width": 8, "depth": 1, "heads": 1}
SCHEMA = Schema(
    (
        Column("city", "categorical", categories=("Ulm", "Bonn", "Bonn on Rhine")),
        Column("ill", "boolean", nullable=True),
        Column("age", "integer", bounds=(0, 99), bins=(0, 20, 65, 100)),
    ),
    rows=600,
)


def related():
    """A table whose columns say much about each other."""
    rng = np.random.default_rng(0)
    city = rng.integers(3, size=600)
    ill = pd.array(np.where(rng.random(600) < 0.9, city == 1, city == 2), "boolean")
    ages = np.where(ill, 70, 30) + rng.integers(-5, 6, 600)
    return read(pd.DataFrame({"city": np.array(SCHEMA["city"].categories)[city], "ill": ill, "age": ages}), SCHEMA)


def fit(table, budget=None, **settings):
    ledger = Ledger(budget)
    secret = Secret.fixed(0) if budget is None else Secret()
    return model.fit(Text(**(QUICK | settings)), table, ledger, secret), ledger


@pytest.fixture(scope="module")
def learned():
    found, _ = fit(related(), width=32, depth=1, heads=2, epochs=12, free_rate=5e-3)
    return found


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A folder with a tiny pretrained model and its byte-level tokenizer, as the Hub would hold it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    plain = Tokenizer(models.BPE())
    plain.pre_tokenizer, plain.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    plain.train_from_iterator(
        ["the city is Ulm, the age is 37, missing"],
        trainers.BpeTrainer(vocab_size=300, special_tokens=["<end>"], initial_alphabet=alphabet, show_progress=False),
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, bos_token="<end>", eos_token="<end>")
    shape = {"vocab_size": len(tokenizer), "n_positions": 96, "n_embd": 16, "n_layer": 1, "n_head": 2}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = GPT2LMHeadModel(GPT2Config(**shape, bos_token_id=0, eos_token_id=0))
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tokenizer.save_pretrained(folder)
    net.save_pretrained(folder)
    return folder


def every_row():
    values = itertools.product(SCHEMA["city"].categories, (False, True, None), (10, 30, 80))
    return read(pd.DataFrame(list(values), columns=["city", "ill", "age"]), SCHEMA).private


def test_it_learns_what_columns_say_about_each_other(learned):
    rows = learned.sample(4000, np.random.default_rng(0))
    ill = rows["ill"].fillna(False).astype(bool)
    assert ill[rows["city"] == "Bonn"].mean() == pytest.approx(0.9, abs=0.06)
    assert ill[rows["city"] == "Ulm"].mean() < 0.06
    assert (rows.loc[ill, "age"] >= 65).mean() > 0.9
    assert rows["ill"].isna().mean() < 0.02


def test_likelihoods_are_a_distribution_and_the_one_that_is_drawn_from(learned):
    chances = np.exp(learned.sampler.log_likelihood(every_row()))
    assert chances.sum() == pytest.approx(1.0, abs=1e-5)
    rows = learned.sample(8_000, np.random.default_rng(1))
    drawn = learned.sampler.log_likelihood(rows)
    entropy = -(chances * np.log(chances)).sum()
    assert -drawn.mean() == pytest.approx(entropy, abs=4 * drawn.std() / np.sqrt(len(drawn)))


def test_a_smaller_sample_begins_a_larger_one(learned):
    few, many = (learned.sample(rows, np.random.default_rng(3)) for rows in (5, 1500))
    pd.testing.assert_frame_equal(few, many.iloc[:5])


def test_remembering_what_was_read_changes_nothing(learned):
    own = learned.sampler._model
    ids = torch.randint(own.size, (4, 6), generator=torch.Generator().manual_seed(0))
    reader = own.reader(6)
    with torch.no_grad():
        steps = [reader(part) for part in (ids[:, :2], ids[:, 2:3], ids[:, 3:])]
        whole = own.logits(ids)
    for found, place in zip(steps, (1, 2, 5), strict=True):
        torch.testing.assert_close(found, whole[:, place], rtol=1e-4, atol=1e-5)


def test_a_model_from_scratch_computes_the_activation_of_gpt_2_in_one_kernel():
    (block,) = untrained(10, 8, width=8, depth=1, heads=1, seed=0).net.transformer.h
    x = torch.linspace(-6, 6, 200, requires_grad=True)
    found = block.mlp.act(x)
    torch.testing.assert_close(found, ACT2FN["gelu_new"](x))
    assert found.grad_fn.name() == "GeluBackward0"


def test_what_is_saved_is_json_and_each_weight_once(learned, tmp_path):
    learned.save(tmp_path / "model")
    weights = load_file(tmp_path / "model" / "weights.safetensors")
    assert "transformer.wte.weight" in weights
    assert "lm_head.weight" not in weights
    again = model.load(tmp_path / "model")
    frames = [each.sample(50, np.random.default_rng(0)) for each in (learned, again)]
    pd.testing.assert_frame_equal(*frames)
    pieces = json.loads((tmp_path / "model" / "model.json").read_text("utf-8"))["state"]["spelling"]["pieces"]
    assert {"Bonn", "Rhine", "city is", ", age is"} <= set(pieces)


@pytest.mark.parametrize("lora", [0, 2])
def test_a_pretrained_model_from_a_folder_is_trained_under_a_budget(base, lora, tmp_path):
    fitted, ledger = fit(awkward_table("every kind"), Budget(1.0, 1e-5), pretrained=str(base), lora=lora)
    assert ledger.spent.epsilon <= 1.0
    assert "language model" in {charge.why for charge in ledger.charges}
    fitted.save(tmp_path / "model")
    names = set(load_file(tmp_path / "model" / "weights.safetensors"))
    assert all("lora_" in name for name in names) == bool(lora)
    again = model.load(tmp_path / "model")
    frames = [each.sample(20, np.random.default_rng(0)) for each in (fitted, again)]
    pd.testing.assert_frame_equal(*frames)


def test_a_pretrained_model_writes_free_text_in_its_own_ids(base, tmp_path):
    schema = Schema((Column("ill", "boolean"), Column("note", "text", max_length=15, nullable=True)), rows=60)
    notes = ["the city is", "Ulm <end>", "北京 is missing", None] * 15  # one spells the sign for an end
    table = read(pd.DataFrame({"ill": [True, False] * 30, "note": notes}), schema)
    fitted, ledger = fit(table, Budget(1.0, 1e-5), pretrained=str(base), batch=60)
    assert ledger.spent.epsilon <= 1.0
    chances = fitted.sampler.log_likelihood(table.private)
    assert np.isfinite(chances).all()
    rows = fitted.sample(60, np.random.default_rng(0))
    pd.testing.assert_frame_equal(read(rows, schema).private, rows)
    fitted.save(tmp_path / "model")
    again = model.load(tmp_path / "model")
    pd.testing.assert_frame_equal(again.sample(60, np.random.default_rng(0)), rows)
    np.testing.assert_allclose(again.sampler.log_likelihood(table.private), chances, rtol=1e-4)


def test_free_text_has_no_likelihood_without_the_tokenizer_that_spelled_it(base, tmp_path):
    folder = tmp_path / "base"
    shutil.copytree(base, folder)
    schema = Schema((Column("ill", "boolean"), Column("note", "text", max_length=12)))
    table = read(pd.DataFrame({"ill": [True, False] * 30, "note": ["went home", "stayed here"] * 30}), schema)
    fit(table, pretrained=str(folder))[0].save(tmp_path / "model")
    plain = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    ids = plain["model"]["vocab"]
    ids["a"], ids["b"] = ids["b"], ids["a"]
    (folder / "tokenizer.json").write_text(json.dumps(plain), "utf-8")
    with pytest.raises(ModelError, match=r"The tokenizer of .* is here with other pieces than when this was fitted"):
        model.load(tmp_path / "model").log_likelihood(table.private)
    shutil.rmtree(folder)
    with pytest.raises(ModelError, match=f"No pretrained model '{folder}' here"):
        model.load(tmp_path / "model").log_likelihood(table.private)


def test_pretrained_weights_are_where_training_starts(base):
    trained, _ = fit(awkward_table("every kind"), pretrained=str(base), free_rate=1e-9)
    spelling = trained.sampler._spelling
    found = dict(trained.sampler._model.net.named_parameters())["transformer.wte.weight"]
    expected = load_file(base / "model.safetensors")["transformer.wte.weight"][list(spelling.kept)]
    np.testing.assert_allclose(found.detach().numpy(), expected, atol=1e-5)
    assert len(spelling.kept) < 100


def test_adapters_start_as_the_base_model_and_learn(base):
    table = related()
    still, moved = (
        fit(table, pretrained=str(base), lora=2, free_rate=rate, epochs=3)[0]
        .sampler.log_likelihood(table.private)
        .mean()
        for rate in (1e-12, 2e-2)
    )
    assert moved > still + 0.3


def test_adapters_are_nothing_without_the_base_model_that_they_belong_to(base, tmp_path):
    folder = tmp_path / "base"
    folder.mkdir()
    for path in base.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    fitted, _ = fit(awkward_table("every kind"), pretrained=str(folder), lora=2)
    values, arrays = fitted.sampler.state()
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ModelError, match="here with other weights than when this was fitted"):
        TextSampler.from_state(fitted.schema, values, arrays)
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    with pytest.raises(ModelError, match=f"No pretrained model '{folder}' here"):
        TextSampler.from_state(fitted.schema, values, arrays)


@pytest.mark.parametrize("name", ["no-such/model", "/no/such/folder"])
def test_a_model_that_is_not_there_is_named_before_any_charge(name):
    ledger = Ledger(Budget(1.0, 1e-5))
    with pytest.raises(
        ModelError, match=f"(?s)No pretrained model '{name}' here.*hf download {name}.*path of a folder"
    ):
        Text(pretrained=name).fit(awkward_table("every kind"), ledger, Secret())
    assert not ledger.charges


def test_a_folder_that_holds_no_model_is_named_before_any_charge(tmp_path):
    ledger = Ledger(Budget(1.0, 1e-5))
    with pytest.raises(ModelError, match="cannot be read as a causal language model"):
        Text(pretrained=str(tmp_path)).fit(awkward_table("every kind"), ledger, Secret())
    assert not ledger.charges


def test_a_model_that_does_not_know_its_tokenizers_ids_is_refused_before_any_charge(tmp_path, base):
    from transformers import GPT2Config, GPT2LMHeadModel

    for path in base.iterdir():
        if "token" in path.name:
            (tmp_path / path.name).write_bytes(path.read_bytes())
    with torch.random.fork_rng(devices=[]):
        ends = {"bos_token_id": 0, "eos_token_id": 0}
        GPT2LMHeadModel(GPT2Config(vocab_size=100, n_embd=8, n_layer=1, n_head=1, **ends)).save_pretrained(tmp_path)
    ledger = Ledger(Budget(1.0, 1e-5))
    with pytest.raises(ModelError, match="lacks an input or an output for some id"):
        Text(**QUICK, pretrained=str(tmp_path)).fit(awkward_table("every kind"), ledger, Secret())
    assert not ledger.charges


@pytest.mark.parametrize(("package", "settings"), [("transformers", {}), ("peft", {"pretrained": "x", "lora": 2})])
def test_a_package_that_is_not_installed_is_named(monkeypatch, package, settings):
    monkeypatch.setitem(sys.modules, package, None)
    ledger = Ledger(Budget(1.0, 1e-5))
    with pytest.raises(ModelError, match=f"needs the package '{package}': pip install"):
        Text(**settings).fit(awkward_table("every kind"), ledger, Secret())
    assert not ledger.charges


def test_a_model_whose_gradients_are_not_known_is_refused_before_any_charge_and_its_adapters_are_not(tmp_path, base):
    from transformers import LlamaConfig, LlamaForCausalLM

    for path in base.iterdir():
        if "token" in path.name:
            (tmp_path / path.name).write_bytes(path.read_bytes())
    shape = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    with torch.random.fork_rng(devices=[]):
        ends = {"bos_token_id": 0, "eos_token_id": 0}
        LlamaForCausalLM(LlamaConfig(vocab_size=300, **shape, num_key_value_heads=1, **ends)).save_pretrained(tmp_path)
    ledger = Ledger(Budget(1.0, 1e-5))
    with pytest.raises(ModelError, match=r"LlamaRMSNorm.*with lora=8"):
        Text(**QUICK, pretrained=str(tmp_path)).fit(awkward_table("every kind"), ledger, Secret())
    assert not ledger.charges
    fitted, _ = fit(awkward_table("every kind"), Budget(1.0, 1e-5), pretrained=str(tmp_path), lora=2)
    assert len(fitted.sample(3, np.random.default_rng(0))) == 3


@pytest.mark.parametrize("settings", [{"tokens": 30}, {"tokens": 4000}])
def test_rows_that_do_not_fit_are_refused_before_any_charge(base, settings):
    many = Schema(tuple(Column(f"column {i}", "boolean") for i in range(12)))
    table = read(pd.DataFrame({column.name: [True, False] for column in many}), many)
    ledger = Ledger(Budget(1.0, 1e-5))
    with pytest.raises(InputError, match="A row of 12 columns needs at least"):
        Text(**QUICK, pretrained=str(base), **settings).fit(table, ledger, Secret())  # its context ends at 96
    assert not ledger.charges


def test_a_fit_that_would_take_too_long_is_refused_before_training_is_charged():
    ledger = Ledger(Budget(1.0, 1e-5))
    with pytest.raises(ModelError, match="The fit would take more than 60 seconds"):
        Text(**QUICK | {"steps": 10**6}, seconds=60).fit(awkward_table("every kind"), ledger, Secret())
    assert "language model" not in {charge.why for charge in ledger.charges}


def test_a_fit_in_time_is_let_through():
    fitted, _ = fit(awkward_table("every kind"), seconds=300)
    assert len(fitted.sample(2, np.random.default_rng(0))) == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lora": 4}, "lora trains adapters of a pretrained model"),
        ({"units": "bytes"}, "units must be one of"),
        ({"width": 9, "heads": 2}, "width must be a multiple of heads"),
        ({"seconds": 0}, "seconds must be"),
        ({"discovery": 0.9, "one_way": 0.2}, "sum to less than 1"),
        ({"tokens": 0}, "tokens must be"),
        ({"device": "abacus"}, "device must be"),
    ],
)
def test_settings_out_of_range_are_named(settings, message):
    with pytest.raises(InputError, match=message):
        Text(**settings)


def test_weights_of_another_configuration_are_refused(learned):
    values, arrays = learned.sampler.state()
    other = {name: array[..., :-1] for name, array in arrays.items()}
    with pytest.raises(ModelError, match="another shape"):
        LanguageModel.from_state(values["model"], other, ())
    with pytest.raises(ModelError, match="not those of the saved configuration"):
        LanguageModel.from_state(values["model"], {}, ())
