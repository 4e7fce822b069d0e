"""Reading rows bit by bit: what is alike is read once, what is over no more, and what is found is the same."""

import pytest
import torch

pytest.importorskip("transformers")

from transformers import AutoConfig, AutoModelForCausalLM, cache_utils

from tabsynth.synthesizers.language_model import LanguageModel
from tabsynth.synthesizers.text_reader import Beginnings

SMALL = {"vocab_size": 20, "hidden_size": 16, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 16, "max_position_embeddings": 32}
PLAIN = {
    "gpt2": {"vocab_size": 20, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32},
    "gpt_neo": {"vocab_size": 20, "hidden_size": 16, "num_layers": 2, "num_heads": 2, "max_position_embeddings": 32}
    | {"attention_types": [[["global"], 2]]},
    "llama": SMALL | HEADS,
    "qwen2": SMALL | HEADS,
}
OTHERS = {"mistral": SMALL | HEADS | {"sliding_window": 4}}


def net_of(kind):
    ends = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))
    config = AutoConfig.for_model(kind, **(PLAIN | OTHERS)[kind], **ends)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return LanguageModel(AutoModelForCausalLM.from_config(config))


def rows_of(rows=40, longest=14):
    """Rows that begin with the same three ids, part bit by bit, and are over after 6 to `longest` ids."""
    rng = torch.Generator().manual_seed(1)
    ids = torch.randint(20, (rows, longest), generator=rng)
    ids[:, :3] = torch.tensor([4, 0, 9])
    ids[:, 3:5] %= 2
    return ids, torch.randint(6, longest + 1, (rows,), generator=rng)


def read(model, ids, lengths):
    """Return logits after every id from the third on, and how many rows the model was given each time."""
    given = []
    model.net.register_forward_pre_hook(lambda _, __, named: given.append(len(named["input_ids"])), with_kwargs=True)
    reader, found = model.reader(ids.shape[1]), []
    with torch.no_grad():
        for place in range(2, ids.shape[1]):
            part = ids[:, :3] if place == 2 else ids[:, place : place + 1]
            found.append(reader(part.masked_fill((lengths <= place)[:, None], -1)))
    return torch.stack(found, 1), given


@pytest.mark.parametrize("kind", PLAIN | OTHERS)
def test_what_is_found_is_what_reading_whole_rows_finds(kind):
    model, (ids, lengths) = net_of(kind), rows_of()
    with torch.no_grad():
        whole = model.logits(ids)[:, 2:]
    found, _ = read(model, ids, lengths)
    going = torch.arange(2, ids.shape[1]) < lengths[:, None]
    torch.testing.assert_close(found[going], whole[going], rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(not hasattr(cache_utils, "DynamicLayer"), reason="this transformers keeps no memory by layers")
@pytest.mark.parametrize("kind", PLAIN)
def test_rows_that_are_alike_are_read_once_and_those_that_are_over_no_more(kind):
    ids, lengths = rows_of()
    _, given = read(net_of(kind), ids, lengths)
    assert given[:3] == [1, 2, 4]
    going = [int((lengths > place).sum()) for place in range(2, ids.shape[1])]
    assert all(number <= left / 0.75 for number, left in zip(given[3:], going[3:], strict=True))


def test_a_memory_of_another_kind_is_left_as_it_is():
    ids, lengths = rows_of()
    _, given = read(net_of("mistral"), ids, lengths)
    assert given == [1, *[len(ids)] * (ids.shape[1] - 2)]


def test_rows_are_told_apart_for_good_where_hardly_any_are_alike():
    rows = Beginnings(4)
    assert rows.grow(torch.zeros(4, 1, dtype=torch.long)) is None
    assert rows.grow(torch.tensor([[1], [2], [3], [3]])).tolist() == [0, 0, 0, 0]
    assert rows.grow(torch.full((4, 1), 5)) is None
    assert rows.read.tolist() == rows.place.tolist() == [0, 1, 2, 3]


def test_a_row_keeps_its_place_when_others_are_over():
    rows = Beginnings(4)
    rows.tell_apart()
    assert rows.grow(torch.tensor([[5], [-1], [-1], [6]])).tolist() == [0, 3]
    assert rows.read.tolist() == [0, 3]
    assert rows.place[[0, 3]].tolist() == [0, 1]
