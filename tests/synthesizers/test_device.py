"""Where a neural family computes. No GPU is needed: names and refusals are checked, and that losses stay put."""

import pytest
import torch

from tabsynth.errors import InputError
from tabsynth.synthesizers.bookkeeping import Tape
from tabsynth.synthesizers.device import pick
from tabsynth.synthesizers.rows import Rows
from tabsynth.synthesizers.transformer import RowTransformer


def gpus(monkeypatch, count):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


def test_auto_takes_a_gpu_when_there_is_one(monkeypatch):
    gpus(monkeypatch, 0)
    assert pick("auto") == pick("cpu") == torch.device("cpu")
    gpus(monkeypatch, 2)
    assert pick("auto") == pick("cuda") == torch.device("cuda")
    assert pick("cuda:1") == torch.device("cuda:1")
    assert pick("cpu") == torch.device("cpu")


@pytest.mark.parametrize(("device", "count"), [("cuda", 0), ("cuda:0", 0), ("cuda:2", 2)])
def test_a_gpu_that_is_not_there_is_refused(monkeypatch, device, count):
    gpus(monkeypatch, count)
    with pytest.raises(InputError, match=f"device '{device}' is not there: PyTorch sees {count} GPUs"):
        pick(device)


@pytest.mark.parametrize("device", ["gpu", "cuda:", "CPU", "", "cuda:-1", "cpu:0"])
def test_another_name_is_refused(device):
    with pytest.raises(InputError, match="device must be"):
        Rows(device=device)


def test_the_loss_makes_no_tensor_elsewhere():
    """A meta device holds shapes and no numbers; an operation that mixes it with another device raises."""
    model = RowTransformer((3, 2, 4), width=8, depth=2, heads=2).to("meta")
    tokens = torch.zeros(5, 3, dtype=torch.int64, device="meta")
    orders = torch.zeros(5, 3, dtype=torch.int64, device="meta")
    tape = Tape()
    losses = model.losses(tokens, orders, tape)
    assert losses.device.type == "meta"
    for gradient in torch.autograd.grad(losses.sum(), [output for _, _, output in tape.entries]):
        assert gradient.device.type == "meta"
    with pytest.raises((RuntimeError, NotImplementedError)):
        model.losses(tokens.new_zeros(5, 3, device="cpu"), orders)
