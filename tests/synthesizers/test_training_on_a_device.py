"""Fits on a device that computes on the processor and refuses what a GPU refuses, so that trying needs no GPU."""

from __future__ import annotations

import importlib
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
import torch
from torch import __future__ as future
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing

from tabsynth.privacy.budget import Budget
from tabsynth.privacy.checkpoint import Checkpoint
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.schema import Column, Schema
from tabsynth.synthesizers.base import silent
from tabsynth.synthesizers.ctgan import CTGAN
from tabsynth.synthesizers.hybrid import Hybrid
from tabsynth.synthesizers.rows import Rows
from tabsynth.synthesizers.text_rows import Text
from tabsynth.synthesizers.vae import VAE
from tabsynth.table import read

ELSEWHERE = torch.device("meta")  # besides the processor the one device that every build of PyTorch knows
MOVES = {torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default}
INDEXING = (torch.Tensor.__getitem__, torch.Tensor.__setitem__)
ROWS = 300
PLACES = tuple(f"place {number}" for number in range(300))  # a column that is wide
QUICK = {
    "ctgan": CTGAN(epochs=1, critic_steps=4, warm_steps=3, batch=60, generator_batch=120, bins=8),
    "packed": CTGAN(epochs=1, warm_steps=3, batch=60, generator_batch=120, bins=8, pac=2),
    "vae": VAE(epochs=1, steps=4, warm_steps=3, dream_steps=3, batch=60, match_rows=120, bins=8),
    "rows": Rows(epochs=1, steps=4, batch=60),
    "hybrid": Hybrid(epochs=1, steps=4, batch=60, iterations=50),
    "text": Text(epochs=1, steps=4, batch=60, warm_steps=3, width=16, depth=1, heads=1),
}
BUDGETS = {"budget": Budget(3.0, 1e-5), "none": None}


class Elsewhere(torch.Tensor):
    """A tensor of another device by all that it says of itself, whose numbers are there all the same."""

    @staticmethod
    def __new__(cls, numbers):
        return torch.Tensor._make_wrapper_subclass(
            cls,
            numbers.shape,
            strides=numbers.stride(),
            storage_offset=numbers.storage_offset(),
            dtype=numbers.dtype,
            device=ELSEWHERE,
        )

    is_meta = False  # or PyTorch takes what is loaded into it for lost

    def __init__(self, numbers):
        self.numbers = numbers

    def __repr__(self):
        return f"Elsewhere({self.numbers!r})"

    @classmethod
    def __torch_dispatch__(cls, operation, types, args=(), kwargs=None):
        return computed(operation, args, kwargs or {})


class Device(TorchDispatchMode):
    """Every operation goes through `computed`, those that make a tensor out of nothing too."""

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        return computed(operation, args, kwargs or {})


class Lists(TorchFunctionMode):
    """Lists, which PyTorch makes into tensors of another device past `Device`, are moved there as tensors."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if function is torch.tensor:
            return function(*args, **{**kwargs, "device": None}).to(kwargs.get("device"))
        if function in INDEXING and isinstance(args[0], Elsewhere):
            places = args[1] if isinstance(args[1], tuple) else (args[1],)
            places = tuple(torch.tensor(each).to(ELSEWHERE) if isinstance(each, list) else each for each in places)
            args = (args[0], places, *args[2:])
        return function(*args, **kwargs)


def computed(operation, args, kwargs):
    """Return what the processor makes of an operation on either side; raise where both sides meet in it."""
    given = [each for each in pytree.tree_leaves((args, kwargs)) if isinstance(each, torch.Tensor)]
    moved = [each for each in given if isinstance(each, Elsewhere)]
    if moved and len(moved) < len(given) and operation not in MOVES:
        raise RuntimeError(f"{operation}: tensors of two devices, {[each.device.type for each in given]}.")
    there = bool(moved)
    if kwargs.get("device") is not None:
        there = torch.device(kwargs["device"]) == ELSEWHERE
        kwargs = {**kwargs, "device": torch.device("cpu")}
    if there and torch.Tag.nondeterministic_seeded in operation.tags:
        raise RuntimeError(f"{operation}: random numbers come from the processor's streams.")
    found = operation(*_numbers(args), **_numbers(kwargs))
    if operation is torch.ops.aten.copy_.default:
        return args[0]
    if there:
        found = pytree.tree_map_only(torch.Tensor, Elsewhere, found)
    return return_and_correct_aliasing(operation, args, kwargs, found) if there and moved else found


def _numbers(values):
    return pytree.tree_map_only(Elsewhere, lambda each: each.numbers, values)


@contextmanager
def device():
    """Inside, tensors can be moved to ELSEWHERE and back; a moved weight stays what others hold, as on a GPU."""
    future.set_swap_module_params_on_conversion(True)
    try:
        with Device(), Lists():
            yield
    finally:
        future.set_swap_module_params_on_conversion(False)


@pytest.fixture(name="elsewhere")
def _elsewhere(monkeypatch):
    """Return what runs a function with every family's training on ELSEWHERE."""
    optimizers = importlib.import_module("torch.optim.optimizer")  # which knows where there are fused ones
    monkeypatch.setattr(optimizers, "_get_fused_kernels_supported_devices", lambda: ["cpu", ELSEWHERE.type])

    def run(function, *args, **kwargs):
        with monkeypatch.context() as patch, device():
            for settings in QUICK.values():
                patch.setattr(importlib.import_module(type(settings).__module__), "pick", lambda name: ELSEWHERE)
            return function(*args, **kwargs)

    return run


@pytest.fixture(scope="module", name="tables")
def _tables():
    """Return a table whose units hold several rows, and one with a wide column."""
    rng = np.random.default_rng(0)
    ages = rng.integers(0, 100, ROWS)
    frame = pd.DataFrame({"age": ages, "cost": 10 * rng.random(ROWS), "ill": rng.random(ROWS) < ages / 100})
    columns = (
        Column("age", "integer", bounds=(0, 99)),
        Column("cost", "float", bounds=(0.0, 10.0)),
        Column("ill", "boolean", roles=("target",)),
    )
    who, place = rng.integers(0, 100, ROWS).astype(str), rng.choice(PLACES, ROWS)
    of_units = (Column("who", "categorical", roles=("group",)), *columns)
    wide = (*columns, Column("place", "categorical", categories=PLACES))
    return {
        "units": read(frame.assign(who=who), Schema(of_units, rows=ROWS, rows_per_unit=4)),
        "wide": read(frame.assign(place=place), Schema(wide, rows=ROWS)),
    }


def fit(settings, table, budget, progress=silent):
    return settings.fit(table, Ledger(budget), Secret.fixed(3), progress)


def require_same(one, other):
    """Compare two models, weight by weight, and rows that are drawn from them."""
    weights, others = one.state()[1], other.state()[1]
    assert weights.keys() == others.keys()
    for name, values in weights.items():
        np.testing.assert_array_equal(others[name], values, err_msg=name)
    drawn = [each.draw(50, np.random.default_rng(0)) for each in (one, other)]
    pd.testing.assert_frame_equal(*drawn)


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("table", ["units", "wide"])
@pytest.mark.parametrize("family", ["ctgan", "vae"])
def test_a_model_that_is_trained_elsewhere_is_the_same_and_comes_back(elsewhere, tables, family, table, budget):
    args = QUICK[family], tables[table], BUDGETS[budget]
    require_same(fit(*args), elsewhere(fit, *args))


def test_packed_rows_are_judged_elsewhere(elsewhere, tables):
    args = QUICK["packed"], tables["wide"], None
    require_same(fit(*args), elsewhere(fit, *args))


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("family", ["rows", "hybrid", "text"])
def test_a_transformer_that_is_trained_elsewhere_is_the_same_but_for_rounding(elsewhere, tables, family, budget):
    """PyTorch chooses how attention is computed by device, and Adam makes steps of what is rounding alone."""
    table = tables["units"]
    args = QUICK[family], table, BUDGETS[budget]
    here, there = (found.log_likelihood(table.private) for found in (fit(*args), elsewhere(fit, *args)))
    np.testing.assert_allclose(there, here, atol=1e-3)


def test_a_ctgan_that_was_killed_goes_on_elsewhere(elsewhere, tables, tmp_path):
    """Weights and the optimizers' states come from files, and so from the processor: of matching and of the critic."""

    def killed(step, *_):
        if step > 5:
            raise KeyboardInterrupt

    def resumed(progress=silent):
        checkpoint = Checkpoint.open(tmp_path / "kept", described={}, data=b"", every=0.0)
        checkpoint.begun(None, BUDGETS["budget"])
        with checkpoint.active():
            return fit(*args, progress)

    args = QUICK["ctgan"], tables["units"], BUDGETS["budget"]
    with pytest.raises(KeyboardInterrupt):
        elsewhere(resumed, killed)
    require_same(fit(*args), elsewhere(resumed))


def test_the_device_refuses_what_a_gpu_refuses():
    with device():
        moved = torch.ones(3).to(ELSEWHERE)
        assert float((moved * 2).cpu().sum()) == 6.0
        with pytest.raises(RuntimeError, match="two devices"):
            moved + torch.ones(3)
        with pytest.raises(RuntimeError, match="two devices"):
            torch.nn.Linear(3, 1)(moved)
        with pytest.raises(RuntimeError, match="processor's streams"):
            torch.randn(3, device=ELSEWHERE)
        with pytest.raises(RuntimeError, match="numpy"):
            moved.numpy()
