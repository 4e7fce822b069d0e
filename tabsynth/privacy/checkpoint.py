"""Taking a killed fit up again: the same answers, the same noise, the same model, and nothing charged twice.

A fit is a function of what its mechanisms answered, of one stream of noise, and of the settings. A checkpoint keeps the
three in a folder: each answer as it is given, the stream's key, and from time to time the state of a training. A fit
that is started again with the folder goes the same way from its beginning. Its charges are held against those that the
ledger has of it and not made again (`Ledger.open`), a mechanism's answer is the one that was kept, and a training goes
on from its last kept state with the noise that it would have had. So the resumed fit gives what the killed one would
have given, which is what was paid for. An answer that was charged and lost with the process was seen by nobody; its
mechanism answers anew.

**The folder is as private as the table.** With the key, the noise of the finished model can be taken off again. Only
its owner can read it (mode 0700), and `discard` removes it: call that as soon as the model is saved.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from tabsynth.atomic import replace_file
from tabsynth.errors import InputError
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.noise import Secret

Answer = TypeVar("Answer")
FORMAT = 1
EVERY = 60.0  # seconds between two kept states of a training
START, ANSWERS, STATES = "checkpoint.json", "answers.jsonl", "states"

_current: ContextVar[Checkpoint | None] = ContextVar("checkpoint", default=None)


class Stateful(Protocol):
    """What can be kept: a module, an optimizer, or anything else that tells its state and takes it back."""

    def state_dict(self) -> Mapping[str, Any]:
        """Return plain values, arrays and tensors, in dictionaries and lists."""
        ...

    def load_state_dict(self, state_dict: Any, /) -> Any:
        """Take back what `state_dict` returned."""
        ...


class Randomness:
    """A torch generator as something that can be kept."""

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator

    def state_dict(self) -> dict[str, Any]:
        """Return the generator's state."""
        return {"state": self._generator.get_state()}

    def load_state_dict(self, state_dict: Mapping[str, Any], /) -> None:
        """Go on where that state was taken."""
        self._generator.set_state(state_dict["state"])


def current() -> Checkpoint | None:
    """Return the checkpoint of the fit that is running here, if it has one."""
    return _current.get()


def taken_up(name: str, parts: Mapping[str, Stateful]) -> int:
    """Return how many steps of the training called `name` a killed fit had kept, and give its parts back; 0: none."""
    checkpoint = current()
    return checkpoint.taken_up(name, parts) if checkpoint else 0


def keep(name: str, step: int, parts: Mapping[str, Stateful], *, last: bool = False) -> None:
    """Keep the parts of a training after `step` steps, where there is a checkpoint and it is time to, or the end."""
    if checkpoint := current():
        checkpoint.keep(name, step, parts, last=last)


def discard(folder: Path | str) -> None:
    """Remove a checkpoint's folder and all that is in it, the key first."""
    (Path(folder) / START).unlink(missing_ok=True)
    shutil.rmtree(folder)


class Checkpoint:
    """One fit's folder. `fit` is the number that the ledger's file has given it, None before or without a file."""

    def __init__(self, folder: Path, start: Mapping[str, Any], every: float) -> None:
        self.folder, self.every = folder, every
        self.fit: int | None = start["fit"]
        self.resumed = start["budget"] is not None
        self._start = dict(start)
        self._answers = _read_answers(folder / ANSWERS)
        self._place = 0
        self._kept = time.monotonic()

    @classmethod
    def open(cls, folder: Path | str, *, described: Mapping[str, Any], data: bytes, every: float = EVERY) -> Checkpoint:
        """Open the checkpoint of a fit, or begin one in a new folder.

        `described` says in plain values what makes two fits the same; `data` is a digest of the table, of which only a
        keyed code is kept. Raises InputError when the folder is another fit's, or not a checkpoint's.
        """
        folder = Path(folder)
        if not folder.exists():
            return cls(folder, _begin(folder, described, data), every)
        try:
            start = json.loads((folder / START).read_text("utf-8"))
            key, code = bytes.fromhex(start["key"]), str(start["data"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{folder}: not a checkpoint ({type(error).__name__}).") from None
        if start.get("format") != FORMAT:
            raise InputError(f"{folder}: a checkpoint of format {start.get('format')!r}; this version reads {FORMAT}.")
        if start["described"] != json.loads(json.dumps(described)):
            raise InputError(f"{folder}: the checkpoint of a fit with other settings, schema or version.")
        if not hmac.compare_digest(code, _code(key, data)):
            raise InputError(f"{folder}: the checkpoint of a fit to another table.")
        return cls(folder, start, every)

    def secret(self, seed: int | None = None) -> Secret:
        """Return the fit's stream of noise from its beginning; from a known `seed` when one is given."""
        return Secret.fixed(seed) if seed is not None else Secret.kept(bytes.fromhex(self._start["key"]))

    def begun(self, fit: int | None, budget: Budget | None) -> None:
        """Keep the fit's budget and its number in the ledger; InputError when the killed fit had another budget."""
        if self.resumed and self._start["budget"] != repr(budget):
            raise InputError(f"{self.folder}: the checkpoint of a fit with another budget.")
        self.fit = self._start["fit"] = fit
        self._start["budget"] = repr(budget)
        replace_file(self.folder / START, json.dumps(self._start).encode())

    @contextmanager
    def active(self) -> Iterator[None]:
        """Make this the checkpoint of the fit that runs inside."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)

    def answer(self, answer: Answer, *, why: str) -> Answer:
        """Return the answer that was kept in this place, or keep this one; on disk when it returns.

        Raises InputError when the killed fit asked for something else here.
        """
        if self._place == len(self._answers):
            line = {"why": why, "answer": _plain(answer)}
            with (self.folder / ANSWERS).open("ab") as file:
                file.write(json.dumps(line).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
            self._answers.append(line)
        found = self._answers[self._place]
        self._place += 1
        if found["why"] != why:
            raise InputError(f"{self.folder}: the checkpoint of another fit, which measured {found['why']!r} here.")
        kept: Answer = _answer(found["answer"])
        return kept

    def taken_up(self, name: str, parts: Mapping[str, Stateful]) -> int:
        """See `taken_up` of the module; raise InputError when the state is damaged or another training's."""
        place = self._state(name)
        if not place.exists():
            return 0
        try:
            with safe_open(place, "numpy") as file:
                skeleton = json.loads((file.metadata() or {})["skeleton"])
                arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  (it is no mapping)
            state = _joined(skeleton, arrays)
            for part, own in parts.items():
                own.load_state_dict(state["parts"][part])
        except (OSError, SafetensorError, LookupError, ValueError, RuntimeError) as error:
            raise InputError(f"{place}: not the state of this training ({type(error).__name__}).") from None
        return int(state["step"])

    def keep(self, name: str, step: int, parts: Mapping[str, Stateful], *, last: bool = False) -> None:
        """See `keep` of the module."""
        if not last and time.monotonic() - self._kept < self.every:
            return
        arrays: dict[str, NDArray[Any]] = {}
        state = {"step": step, "parts": {part: own.state_dict() for part, own in parts.items()}}
        skeleton = json.dumps(_parted(state, arrays))
        place = self._state(name)
        place.parent.mkdir(exist_ok=True)
        replace_file(place, save(arrays, {"skeleton": skeleton}))
        self._kept = time.monotonic()

    def _state(self, name: str) -> Path:
        return self.folder / STATES / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.safetensors"


def _begin(folder: Path, described: Mapping[str, Any], data: bytes) -> dict[str, Any]:
    """Make the folder and write down what the fit is and which key it has."""
    key = os.urandom(32)
    start = {"format": FORMAT, "described": dict(described), "key": key.hex(), "data": _code(key, data)}
    start |= {"fit": None, "budget": None}
    try:
        folder.mkdir(mode=0o700)
        replace_file(folder / START, json.dumps(start).encode())
    except OSError as error:
        raise InputError(f"{folder}: the checkpoint cannot be written ({error.strerror}).") from None
    return start


def _code(key: bytes, data: bytes) -> str:
    return hmac.new(key, b"data\0" + data, hashlib.sha256).hexdigest()


def _read_answers(place: Path) -> list[dict[str, Any]]:
    """Return the answers that were kept whole; what was torn off by a kill is cut away."""
    if not place.exists():
        return []
    content = place.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        with place.open("r+b") as file:
            file.truncate(len(whole))
    try:
        return [json.loads(line) for line in whole.splitlines()]
    except ValueError:
        raise InputError(f"{place}: not the answers of a checkpoint.") from None


def _plain(answer: Any) -> dict[str, Any]:
    """Return a mechanism's answer as JSON has it; floats come back exactly."""
    if isinstance(answer, np.ndarray):
        return {"array": answer.reshape(-1).tolist(), "shape": answer.shape, "dtype": str(answer.dtype)}
    if isinstance(answer, Mapping):
        return {"cells": [[name, value] for name, value in answer.items()]}
    if isinstance(answer, int | float | str):
        return {"value": answer}
    raise TypeError(f"An answer of type {type(answer).__name__} cannot be kept.")


def _answer(plain: Mapping[str, Any]) -> Any:
    """Return the answer that `_plain` wrote."""
    if "array" in plain:
        return np.asarray(plain["array"], dtype=plain["dtype"]).reshape(plain["shape"])
    return dict(plain["cells"]) if "cells" in plain else plain["value"]


def _parted(value: Any, arrays: dict[str, NDArray[Any]]) -> Any:
    """Return a tree of values with its arrays and tensors taken out, as JSON has it."""
    if isinstance(value, Mapping):
        return {"items": [[key, _parted(each, arrays)] for key, each in value.items()]}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return {"list": [_parted(each, arrays) for each in value]}
    if isinstance(value, torch.Tensor):
        return {"tensor": _put(value.detach().cpu().numpy(), arrays)}
    return {"array": _put(value, arrays)} if isinstance(value, np.ndarray) else {"value": value}


def _put(array: NDArray[Any], arrays: dict[str, NDArray[Any]]) -> str:
    """Add an array under a name of its own, and return that; a scalar stays one."""
    name = str(len(arrays))
    arrays[name] = np.ascontiguousarray(array).reshape(array.shape)
    return name


def _joined(skeleton: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Any:
    """Return the tree that `_parted` took apart."""
    ((kind, content),) = skeleton.items()
    if kind == "items":
        return {key: _joined(each, arrays) for key, each in content}
    if kind == "list":
        return [_joined(each, arrays) for each in content]
    if kind == "tensor":
        return torch.from_numpy(arrays[content].copy())
    return arrays[content].copy() if kind == "array" else content
