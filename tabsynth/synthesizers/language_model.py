"""Hugging Face causal language models behind four verbs: build, load, compute logits, write down.

A model is a small GPT-2 from scratch, or a pretrained one from a local folder or the local cache: nothing is fetched
while a private table is open. Its vocabulary is cut to the ids that spell something of the schema, so that no noise is
spent on the others and the saved model is as small as what it says. Dropout is off, always: a row's loss is a function
of the row and the weights. With `lora`, adapters alone are trained and saved, with the base model's name and digest.

`transformers` and `peft` are the extra `llm`; they are imported here, and only when a model is needed.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from tabsynth.errors import ModelError
from tabsynth.synthesizers.base import Arrays
from tabsynth.synthesizers.text_grammar import piece_bytes, text_bytes
from tabsynth.synthesizers.text_reader import Reader
from tabsynth.synthesizers.text_vocabulary import Spelling


@dataclass(frozen=True, slots=True)
class Base:
    """The pretrained model that adapters of this rank belong to: its name, and the SHA-256 of its weights."""

    name: str
    digest: str
    lora: int


class LanguageModel:
    """A causal language model of a cut vocabulary, on the device that it was moved to; `base` when it is adapters."""

    def __init__(self, net: nn.Module, base: Base | None = None) -> None:
        self.net, self.base = net.eval(), base
        inner: Any = net.get_base_model() if base else net  # type: ignore[operator]
        self._config = inner.config
        accepted = inspect.signature(inner.forward).parameters
        self._numbered = "position_ids" in accepted
        self.memory = "cache" if "cache" in accepted else "past_key_values"  # the older name

    @property
    def longest(self) -> int:
        """The most ids that a row may have."""
        return int(getattr(self._config, "max_position_embeddings", None) or 2**31)

    @property
    def size(self) -> int:
        """The number of ids."""
        return int(self.net.get_input_embeddings().weight.shape[0])  # type: ignore[operator]

    @property
    def remembered(self) -> int:
        """The numbers that are kept of each id while rows are read: its keys and values."""
        width, depth = getattr(self._config, "hidden_size", 1024), getattr(self._config, "num_hidden_layers", 24)
        return 2 * int(width) * int(depth)

    def logits(self, ids: Tensor) -> Tensor:
        """Return logits (rows, places, vocabulary) for what follows each of the ids (rows, places)."""
        found: Tensor = self._run(ids, 0, use_cache=False).logits
        return found

    def reader(self, longest: int) -> Reader:
        """Return a reader that takes rows of up to `longest` ids bit by bit."""
        return Reader(self._step, longest)

    def cut(self, kept: Sequence[int]) -> None:
        """Keep these ids of the vocabulary, numbered from 0."""
        before, after = self.net.get_input_embeddings(), self.net.get_output_embeddings()  # type: ignore[operator]
        tied, rows = after.weight is before.weight, torch.tensor(kept)
        for layer, size in ((before, "num_embeddings"), (after, "out_features")):
            if not (layer is after and tied):
                layer.weight = nn.Parameter(layer.weight.detach()[rows].clone(), layer.weight.requires_grad)
            setattr(layer, size, len(kept))
        if tied:
            after.weight = before.weight
        if getattr(after, "bias", None) is not None:
            after.bias = nn.Parameter(after.bias.detach()[rows].clone(), after.bias.requires_grad)
        before.padding_idx = None
        self._config.vocab_size = len(kept)
        self._config.bos_token_id = self._config.eos_token_id = self._config.pad_token_id = None

    def state(self) -> tuple[dict[str, Any], Arrays]:
        """Return JSON values and the trained weights, each once though layers may share it."""
        trained = {name: p for name, p in self.net.named_parameters() if p.requires_grad}
        arrays = {name: p.detach().cpu().numpy() for name, p in trained.items()}
        if self.base:
            return {"base": asdict(self.base)}, arrays
        config = json.loads(self._config.to_json_string(use_diff=False))
        return {"config": {name: value for name, value in config.items() if name not in _OF_NO_USE}}, arrays

    @classmethod
    def from_state(cls, values: Mapping[str, Any], arrays: Arrays, kept: Sequence[int]) -> Self:
        """Return the model that `state` described; raise ModelError when its base is not there, or is another one."""
        if "base" in values:
            base = Base(**values["base"])
            model = cls(*_adapted(base.name, base.lora, seed=0))
            if model.base != base:
                raise ModelError(f"The base model {base.name!r} is here with other weights than when this was fitted.")
            model.cut(kept)
        else:
            model = cls(_from_config(values["config"], seed=0))
        trained = {name: p for name, p in model.net.named_parameters() if p.requires_grad}
        if trained.keys() != arrays.keys():
            raise ModelError("The saved weights are not those of the saved configuration.")
        with torch.no_grad():
            for name, p in trained.items():
                if p.shape != arrays[name].shape:
                    raise ModelError(f"The saved weights {name!r} have another shape than the configuration says.")
                p.copy_(torch.tensor(arrays[name]))
        return model

    def _step(self, ids: Tensor, start: int, past: Any) -> tuple[Tensor, Any]:
        found = self._run(ids, start, use_cache=True, **{self.memory: past})
        return found.logits[:, -1], found[self.memory]

    def _run(self, ids: Tensor, start: int, **settings: Any) -> Any:
        if self._numbered:  # each row its own: a layer that is given one for all hides the rows' gradients
            settings["position_ids"] = torch.arange(start, start + ids.shape[1], device=ids.device).expand(ids.shape)
        return self.net(input_ids=ids, **settings)


class PretrainedSpeller:
    """Text to the ids of a pretrained model's tokenizer; values follow a space, as words do in running text."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._before = " "  # free text

    def phrase(self, text: str) -> list[int]:
        """Spell a part of the frame."""
        return list(self._tokenizer.encode(text, add_special_tokens=False))

    def value(self, text: str) -> list[int]:
        """Spell a value."""
        return self.phrase(f" {text}")

    def texts(self, texts: Sequence[str]) -> list[list[int]]:
        """Spell free texts as the tokenizer does."""
        if not texts:
            return []
        asked = [self._before + text for text in texts]
        return [list(ids) for ids in self._tokenizer(asked, add_special_tokens=False)["input_ids"]]

    def pieces_of_text(self) -> tuple[list[bytes], bytes]:
        """Return the bytes of each id, none for the tokenizer's signs; see `Speller`."""
        pieces, probe = piece_bytes(self._tokenizer), "An 8, ü\n北京 \U0001f600?"
        single = {piece for piece in pieces if len(piece) == 1}
        for before in (" ", ""):  # some tokenizers put a space before a text by themselves
            self._before = before
            (found,) = self.texts([probe])
            back = b"".join(pieces[i] for i in found) == f" {probe}".encode()
            if back and self.close and all(bytes([byte]) in single for byte in text_bytes()):
                return pieces, b" "
        raise ModelError(
            "The model's tokenizer cannot spell every text byte by byte, or has no sign for an end, so no text column "
            "can be written with it. Take a model with a byte-level tokenizer, or none (pretrained='')."
        )

    @property
    def reach(self) -> int:
        """Two: in most languages a token of running text is longer."""
        return 2

    @property
    def close(self) -> list[int]:
        """The sign for an end, which no text holds."""
        last = self._tokenizer.eos_token_id
        return [] if last is None else [last]

    @property
    def start(self) -> list[int]:
        """The sign for a beginning, where there is one."""
        first = self._tokenizer.bos_token_id
        return [] if first is None else [first]

    @property
    def end(self) -> list[int]:
        """The sign for an end, or a new line."""
        last = self._tokenizer.eos_token_id
        return self.phrase("\n") if last is None else [last]

    @property
    def pieces(self) -> list[str]:
        """The text of each id."""
        return list(map(str, self._tokenizer.convert_ids_to_tokens(range(len(self._tokenizer)))))


def untrained(size: int, longest: int, *, width: int, depth: int, heads: int, seed: int) -> LanguageModel:
    """Return a GPT-2 of this shape with random weights, for rows of `longest` ids out of `size`."""
    shape = {"vocab_size": size, "n_positions": longest, "n_embd": width, "n_layer": depth, "n_head": heads}
    off = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    rest: dict[str, Any] = {"bos_token_id": None, "eos_token_id": None}
    rest["activation_function"] = "gelu_pytorch_tanh"  # GPT-2's own in one kernel, not eight
    return LanguageModel(_from_config({"model_type": "gpt2", **shape, **off, **rest}, seed))


def pretrained(name: str, *, lora: int, seed: int) -> tuple[LanguageModel, PretrainedSpeller]:
    """Return the model of this name or folder, with new adapters of rank `lora` unless that is 0, and its speller.

    Raises ModelError when it is not there or cannot be read: nothing is downloaded, and nothing is unpickled.
    """
    speller = _speller(name)
    model = LanguageModel(*_adapted(name, lora, seed)) if lora else LanguageModel(_weights_of(name))
    after = model.net.get_output_embeddings()  # type: ignore[operator]
    if len(getattr(after, "weight", ())) != model.size or len(speller.pieces) > model.size:
        raise ModelError(f"The pretrained model {name!r} lacks an input or an output for some id of its tokenizer.")
    return model, speller


def speller_of(name: str, spelling: Spelling) -> PretrainedSpeller:
    """Return the speller that `spelling` was made with, from the tokenizer of the pretrained model of this name.

    Raises ModelError when it is not there, or its ids stand for other texts than they did.
    """
    speller = _speller(name)
    spelled, _ = speller.pieces_of_text()
    now = [spelled[i].decode("latin-1") if i < len(spelled) else None for i in spelling.kept]
    if now != list(spelling.spelled):
        raise ModelError(f"The tokenizer of {name!r} is here with other pieces than when this was fitted.")
    return speller


def require_extra(lora: int) -> None:
    """Raise ModelError, saying what to install, unless the packages are there that the settings need."""
    try:
        import transformers  # noqa: F401

        if lora:
            import peft  # noqa: F401
    except ImportError as error:
        raise ModelError(
            f"The synthesizer 'text' needs the package {error.name!r}: pip install 'tabsynth[llm]'."
        ) from None


def find(name: str) -> Path:
    """Return the folder of a pretrained model: `name` itself, or its place in the local cache."""
    from huggingface_hub import snapshot_download

    if Path(name).is_dir():
        return Path(name)
    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (OSError, ValueError):
        raise ModelError(
            f"No pretrained model {name!r} here: it is neither a folder nor in the local cache, and nothing is "
            f"downloaded while a private table is open. Get it first with `hf download {name}`, or give the path of a "
            "folder that holds config.json, model.safetensors and the tokenizer's files."
        ) from None


def _speller(name: str) -> PretrainedSpeller:
    from transformers import AutoTokenizer

    folder = find(name)
    with _quiet(), _named(name):
        return PretrainedSpeller(AutoTokenizer.from_pretrained(folder, local_files_only=True))


def _weights_of(name: str) -> nn.Module:
    from transformers import AutoModelForCausalLM

    folder = find(name)
    with _quiet(), _named(name):
        net = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    whole: nn.Module = net.float()
    return whole


def _adapted(name: str, lora: int, seed: int) -> tuple[nn.Module, Base]:
    """Return a pretrained model with new adapters at all its linear layers, and what it was."""
    require_extra(lora)
    from peft import LoraConfig, get_peft_model

    net = _weights_of(name)
    base = Base(name, _digest(net), lora)
    shape = LoraConfig(
        task_type="CAUSAL_LM", r=lora, lora_alpha=2 * lora, lora_dropout=0.0, target_modules="all-linear"
    )
    with _quiet(), _named(name), _seeded(seed):
        return get_peft_model(net, shape), base


def _from_config(plain: Mapping[str, Any], seed: int) -> nn.Module:
    from transformers import AutoConfig, AutoModelForCausalLM

    with _quiet(), _seeded(seed):
        net: nn.Module = AutoModelForCausalLM.from_config(AutoConfig.for_model(**plain))
    return net.float()


def _digest(net: nn.Module) -> str:
    """Return the SHA-256 of all weights, by name."""
    found = hashlib.sha256()
    for name, value in sorted(net.state_dict().items()):
        array = np.ascontiguousarray(value.numpy())
        found.update(f"{name} {array.dtype.str} {array.shape}".encode())
        found.update(array.data)
    return found.hexdigest()


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Use random numbers of this seed inside, and nobody's random state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Raise ModelError naming the pretrained model for what goes wrong inside."""
    try:
        yield
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, AttributeError) as error:
        raise ModelError(
            f"The pretrained model {name!r} cannot be read as a causal language model ({type(error).__name__}). Its "
            "folder must hold config.json, model.safetensors and the tokenizer's files; weights that are pickled are "
            "not read."
        ) from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the libraries' progress bars, and their warnings about one another, to themselves."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    level = logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()


_OF_NO_USE = {"_name_or_path", "architectures", "id2label", "label2id", "transformers_version", "dtype", "torch_dtype"}
