"""Clipped sums of language models against one backward pass a row, for every kind of layer and for tied weights."""

import math

import pytest
import torch
from torch.nn import functional

pytest.importorskip("transformers")

from tabsynth.errors import ConformanceError, ModelError
from tabsynth.privacy.clipping import check_clipped_sum
from tabsynth.synthesizers import layer_gradients
from tabsynth.synthesizers.language_model import untrained
from tabsynth.synthesizers.layer_gradients import Outer, Whole, clipped_sum, per_row, require_exact

SIZE, LONGEST, ROWS = 11, 7, 9


def model_of(longest=LONGEST, **config):
    """A small GPT-2 in float64, its weights as far from symmetric as trained ones."""
    model = untrained(SIZE, longest, width=8, depth=2, heads=2, seed=1)
    if config:
        from transformers import GPT2Config, GPT2LMHeadModel

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            model.net = GPT2LMHeadModel(GPT2Config.from_dict(model._config.to_dict() | config)).eval()
    model.net.double()
    rng = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for p in model.net.parameters():
            p.add_(0.5 * torch.randn(p.shape, generator=rng, dtype=p.dtype))
    return model


def ids_of(longest=LONGEST, rows=ROWS):
    return torch.randint(SIZE, (rows, longest), generator=torch.Generator().manual_seed(3))


def losses_of(model):
    def losses(ids):
        logits = model.logits(ids)[:, :-1].transpose(1, 2)
        return functional.cross_entropy(logits, ids[:, 1:], reduction="none").sum(1)

    return losses


def slowly(model, ids):
    """Every row's whole gradient by a backward pass of its own."""
    parameters = [p for p in model.net.parameters() if p.requires_grad]
    return [torch.autograd.grad(losses_of(model)(row[None]).sum(), parameters) for row in ids]


@pytest.mark.parametrize("longest", [3, 7, 40])
@pytest.mark.parametrize("config", [{}, {"tie_word_embeddings": False}], ids=["tied", "untied"])
@pytest.mark.parametrize("part", [0.2, 0.9, 1e6])
def test_the_clipped_sum_is_that_of_per_row_gradients(longest, config, part):
    model, ids = model_of(longest, **config), ids_of(longest)
    slow = slowly(model, ids)
    norms = sorted(math.sqrt(sum(float(g.square().sum()) for g in each)) for each in slow)
    bound = part * norms[-1]
    check_clipped_sum(slow, clipped_sum(model.net, losses_of(model), [ids], bound, chunk=4), bound, tolerance=1e-9)


@pytest.mark.parametrize("longest", [7, 40])
def test_squared_norms_are_those_of_per_row_gradients(longest):
    model, ids = model_of(longest), ids_of(longest)
    assert model.net.lm_head.weight is model.net.transformer.wte.weight
    rows = per_row(model.net, losses_of(model), [ids])
    assert sorted(map(len, rows.values()))[-1] == 2  # the tied weight's two parts
    found = layer_gradients._squares(rows, len(ids), torch.device("cpu"))
    slow = torch.stack([sum(g.square().sum() for g in each) for each in slowly(model, ids)])
    torch.testing.assert_close(found, slow, rtol=1e-10, atol=0)


def test_single_precision_is_within_what_clipping_leaves_for_rounding():
    model, ids = model_of(40), ids_of(40)
    slow = torch.stack([sum(g.square().sum() for g in each) for each in slowly(model, ids)])
    model.net.float()
    found = layer_gradients._squares(per_row(model.net, losses_of(model), [ids]), len(ids), torch.device("cpu"))
    assert float((found / slow - 1).abs().max()) < 1e-5


def test_a_tied_weight_taken_for_two_is_noticed(monkeypatch):
    model, ids = model_of(), ids_of()
    slow, losses = slowly(model, ids), losses_of(model)
    inner = Outer.inner
    monkeypatch.setattr(Outer, "inner", lambda one, other: inner(one, other) * (one is other))
    with pytest.raises(ConformanceError, match="clipped one unit at a time"):
        check_clipped_sum(slow, clipped_sum(model.net, losses, [ids], 1.0), 1.0)
    with pytest.raises(ModelError, match="cannot be told apart exactly"):
        require_exact(model.net, losses, [ids])


def test_inner_products_of_both_forms_agree():
    rng = torch.Generator().manual_seed(0)
    ids = torch.randint(4, (3, 5), generator=rng)
    left, right, other = (torch.randn(3, 5, n, generator=rng, dtype=torch.float64) for n in (4, 6, 6))
    numbered, vectors = Outer(ids, right), Outer(left, other)
    whole = Whole(functional.one_hot(ids, 4).double().transpose(1, 2) @ right)
    spread = Whole(left.transpose(1, 2) @ other)
    for one, two in ((numbered, vectors), (vectors, numbered), (whole, vectors), (numbered, spread), (vectors, whole)):
        torch.testing.assert_close(one.inner(two), whole.inner(spread))
    torch.testing.assert_close(numbered.inner(numbered), whole.inner(whole))


def test_without_a_bound_the_sum_is_the_plain_gradient():
    model, ids = model_of(), ids_of()
    parameters = list(model.net.parameters())
    plain = torch.autograd.grad(losses_of(model)(ids).sum(), parameters)
    for found, expected in zip(clipped_sum(model.net, losses_of(model), [ids], math.inf, chunk=4), plain, strict=True):
        torch.testing.assert_close(found, expected)


def test_rows_of_a_unit_share_a_factor_however_they_are_chunked():
    model, ids = model_of(), ids_of()
    owner = torch.arange(ROWS) // 4
    whole = clipped_sum(model.net, losses_of(model), [ids], 0.3, owner=owner)
    for found, each in zip(
        clipped_sum(model.net, losses_of(model), [ids], 0.3, owner=owner, chunk=2), whole, strict=True
    ):
        torch.testing.assert_close(found, each)
    one = clipped_sum(model.net, losses_of(model), [ids[:4]], 0.3, owner=owner[:4])
    assert math.sqrt(sum(float(p.square().sum()) for p in one)) <= 0.3


def test_a_row_without_a_finite_gradient_adds_nothing():
    model, ids = model_of(), ids_of()
    scale = torch.ones(ROWS, dtype=torch.float64)
    scale[2] = torch.nan

    def losses(own, scales):
        return losses_of(model)(own) * scales

    kept = torch.arange(ROWS) != 2
    for bound in (0.3, math.inf):
        found = clipped_sum(model.net, losses, [ids, scale], bound)
        for one, other in zip(found, clipped_sum(model.net, losses, [ids[kept], scale[kept]], bound), strict=True):
            torch.testing.assert_close(one, other)


def test_an_input_that_rows_share_is_refused():
    model, ids = model_of(), ids_of()

    def losses(own):
        logits = model.net(input_ids=own).logits  # GPT-2 then looks the positions up once for all rows
        return functional.cross_entropy(logits[:, :-1].transpose(1, 2), own[:, 1:], reduction="none").sum(1)

    with pytest.raises(ModelError, match="Embedding is given one input for all rows"):
        clipped_sum(model.net, losses, [ids], 1.0)


def test_a_layer_of_several_inputs_is_refused():
    class Between(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Bilinear(2, 2, 1)

        def forward(self, x):
            return self.layer(x, x)

    net = Between()
    with pytest.raises(ModelError, match="Bilinear has not one input and one output"):
        clipped_sum(net, lambda x: net(x).sum(1), [torch.ones(3, 2)], 1.0)


def test_layers_of_another_kind_are_refused_by_name():
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = {"vocab_size": SIZE, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    with torch.random.fork_rng(devices=[]):
        net = LlamaForCausalLM(LlamaConfig(**shape, num_attention_heads=2, num_key_value_heads=1))
    with pytest.raises(ModelError, match=r"LlamaRMSNorm have weights of a form that is not known.*lora=8"):
        clipped_sum(net, lambda own: net(input_ids=own).logits.sum((1, 2)), [ids_of()], 1.0)
