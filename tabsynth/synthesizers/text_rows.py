"""`text`: `rows` with the text vocabulary, rows as sentences that a Hugging Face causal language model writes.

A row reads "age is 37, city is Ulm." (as in GReaT, Borisov et al. 2023, arXiv 2210.06280); the model is a small GPT-2
from scratch, or a pretrained one, trained whole or by adapters. What may be written next is decided by an automaton
made from the completed schema: the model's distribution is taken over what is allowed, in training as in sampling.
Columns of free text are sentences of their own, which the model writes byte by byte or token by token.

Under a budget the model first learns the frame and the columns one by one from rows that are drawn from the noisy
one-way marginals, which is free once they are paid for; then every step is one of DP-SGD. Free text is learned by
these steps alone.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tabsynth import _check
from tabsynth.encoding.encoder import Encoder
from tabsynth.errors import InputError
from tabsynth.privacy.conformance import SumOf
from tabsynth.privacy.discovery import discover
from tabsynth.privacy.dpsgd import DPSGD, Batch, DPSGDSettings
from tabsynth.privacy.feasibility import refuse_hopeless
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.marginals import Marginal, one_way
from tabsynth.privacy.noise import Secret
from tabsynth.privacy.units import bound_contributions
from tabsynth.schema import Column, Schema
from tabsynth.synthesizers import language_model, text_vocabulary
from tabsynth.synthesizers.base import Arrays, Progress, Sampler, silent
from tabsynth.synthesizers.constrained import Automaton, Written
from tabsynth.synthesizers.device import pick
from tabsynth.synthesizers.language_model import LanguageModel
from tabsynth.synthesizers.layer_gradients import clipped_sum, require_exact
from tabsynth.synthesizers.steps import (
    charge_steps,
    enough,
    independent_rows,
    passes,
    require_likely,
    require_room,
    warm_up_cosine,
)
from tabsynth.synthesizers.text_cells import Cells, Lines, Scribe
from tabsynth.synthesizers.text_clock import Clock
from tabsynth.synthesizers.text_vocabulary import PublicSpeller, Speller, Spelling
from tabsynth.synthesizers.training import Training, adam
from tabsynth.table import Table

EPOCHS = 4.0  # without a budget
BLOCK = 1024  # rows that are sampled together at most, always the same number for one model
PRICED = 64  # rows whose likelihood is computed at once
REMEMBERED = 200_000_000  # keys and values of a block


class TextSampler(Sampler):
    """A language model of averaged weights, and the automaton that it writes by."""

    def __init__(
        self,
        schema: Schema,
        spelling: Spelling,
        model: LanguageModel,
        speller: Speller | None = None,
        tokenizer: str = "",
    ) -> None:
        self.schema, self._spelling, self._model, self._tokenizer = schema, spelling, model, tokenizer
        self._encoder, self._automaton, self._scribe = Encoder(schema), Automaton(spelling), Scribe(spelling, speller)
        self._tabular = Encoder(schema.with_columns(*(_stand_in(column) for column in schema.texts)))
        self._block = max(8, min(BLOCK, REMEMBERED // (spelling.longest * model.remembered)))

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns' names in the order that rows are written in."""
        return self._encoder.names

    def draw(self, rows: int, rng: np.random.Generator) -> pd.DataFrame:
        """Return rows of the model; the first rows of a larger sample are those of a smaller one."""
        source = torch.Generator().manual_seed(int(rng.integers(2**63)))
        uniforms = (
            torch.rand(self._block, self._spelling.longest, generator=source) for _ in range(0, rows, self._block)
        )
        drawn = [self._automaton.draw(self._model.reader(self._spelling.longest), uniform) for uniform in uniforms]
        frame = self._tabular.decode(np.concatenate([tokens for tokens, _ in drawn])[:rows], rng)
        for place, column in enumerate(self.schema.texts):
            texts = [self._scribe.texts(cells[place]) for _, cells in drawn]
            frame[column.name] = pd.concat(texts, ignore_index=True).iloc[:rows]
        return frame

    @torch.no_grad()
    def log_likelihood(self, frame: pd.DataFrame) -> NDArray[np.float64]:
        """Return the log of each row's probability in nats, shape (rows,), among the rows that can be written.

        A row counts as its cells: a number as its bin, wherever it lies within; a free text as it is spelled, in one of
        several ways where pieces are longer than a byte. It is -inf where a text is too long to be written. Raises
        SchemaError when a value lies outside its column's domain, ModelError for free text when this sampler was loaded
        and the tokenizer of its pretrained model, which is not saved, is not there or has become another.
        """
        if not self._scribe.knows:
            self._scribe = Scribe(self._spelling, language_model.speller_of(self._tokenizer, self._spelling))
        tokens = self._encoder.encode(frame).tokens
        lines, whole = self._scribe.lines(tokens, frame, self._encoder.names, self._automaton.grammars)
        parts = [lines.take(np.arange(len(tokens))[start : start + PRICED]) for start in range(0, len(tokens), PRICED)]
        found = [-_losses(self._model, self._automaton, _written(self._automaton, part)) for part in parts]
        return np.where(whole, torch.cat(found).double().numpy() if found else np.zeros(0), -np.inf)

    def state(self) -> tuple[dict[str, Any], Arrays]:
        """Return the spelling, its tokenizer's name, and the model: configuration, or base; and its trained weights."""
        values, arrays = self._model.state()
        return {"spelling": self._spelling.to_dict(), "tokenizer": self._tokenizer, "model": values}, arrays

    @classmethod
    def from_state(cls, schema: Schema, values: Mapping[str, Any], arrays: Arrays) -> Self:
        """Return the sampler of this state; raise ModelError when a base model is needed and not there."""
        language_model.require_extra(0)
        spelling = Spelling.from_dict(values["spelling"])
        model = LanguageModel.from_state(values["model"], arrays, spelling.kept)
        return cls(schema, spelling, model, tokenizer=values["tokenizer"])


@dataclass(frozen=True, slots=True)
class Text:
    """Settings of `rows` with the text vocabulary.

    `pretrained` names a Hugging Face causal language model in the local cache or a folder; empty, a GPT-2 of `width`,
    `depth` and `heads` starts from random weights, with a vocabulary of the "words" or "characters" (`units`) of names
    and values in the completed schema. `lora` is the rank of the adapters that are trained in place of a pretrained
    model's weights; 0 trains it whole. No row has more than `tokens` tokens; a fit that would take, or takes, more than
    `seconds` ends with an error.

    `steps`, `batch`, `rate`, `average`, `max_grad_norm`, `bins` and `warm_steps` (of `free_batch` rows from noisy
    marginals) count under a budget; without one `epochs` passes (None: 4, or from random weights as many as make 500
    steps) are made in batches of `free_batch` with `free_rate`, `free_average` and `free_bins`. A batch of None:
    2,048 rows under a budget and 128 without, or all of a smaller table. `discovery` and `one_way` split the budget;
    training takes the rest. At most about `chunk` rows are computed at once. `device` is where training runs: "auto",
    "cpu", "cuda" or "cuda:0".

    Raises InputError naming the setting that is out of range.
    """

    pretrained: str = ""
    lora: int = 0
    units: str = "words"
    tokens: int = 512
    seconds: float | None = None
    width: int = 64
    depth: int = 2
    heads: int = 2
    steps: int = 100
    batch: int | None = None
    rate: float = 2e-3
    average: float = 0.95
    max_grad_norm: float = 0.5
    warm_steps: int = 200
    epochs: float | None = None
    free_batch: int | None = None
    free_rate: float = 3e-3
    free_average: float = 0.99
    bins: int = 32
    free_bins: int = 128
    discovery: float = 0.10
    one_way: float = 0.05
    chunk: int = 64
    seed: int = 0
    device: str = "auto"

    name: ClassVar[str] = "text"
    models_text: ClassVar[bool] = True
    sampler: ClassVar[type[Sampler]] = TextSampler

    def __post_init__(self) -> None:
        """Check every setting before a row is read."""
        positive = ("rate", "max_grad_norm", "free_rate", "discovery", "one_way", "epochs", "seconds")
        _check.settings(self, _check.positive, *positive)
        _check.settings(self, _check.within, "average", "free_average", low=0, high=1)
        counts = ("tokens", "width", "depth", "heads", "steps", "batch", "free_batch", "bins", "free_bins", "chunk")
        _check.settings(self, _check.at_least, *counts, low=1)
        _check.settings(self, _check.at_least, "lora", "warm_steps", "seed", low=0)
        _check.one_of("units", self.units, text_vocabulary.UNITS)
        pick(self.device)
        if self.width % self.heads:
            raise InputError(f"width must be a multiple of heads; got {self.width} and {self.heads}.")
        if self.lora and not self.pretrained:
            raise InputError("lora trains adapters of a pretrained model: name one in pretrained.")
        if self.discovery + self.one_way >= 1:
            raise InputError("discovery and one_way must sum to less than 1, for training takes the rest.")

    def fit(self, table: Table, ledger: Ledger, secret: Secret, progress: Progress = silent) -> Sampler:
        """Discover, measure one-way marginals, train; see `Synthesizer.fit`.

        Raises ModelError and InputError, before anything is charged, when a package or the pretrained model is not
        there, when its gradients cannot be clipped exactly, when a row cannot be spelled in `tokens`, when noise
        would drown the declared number of rows, or when a batch that was asked for is larger than that number.
        """
        language_model.require_extra(self.lora)
        refuse_hopeless(table.schema, ledger, self.one_way, self.discovery)
        noisy = ledger.bounded
        require_room(table.schema, batch=self.batch, free_batch=None if noisy else self.free_batch)
        clock = Clock(self.seconds)
        model, speller, longest = self._prepared(table.schema.modelled, noisy)
        table = bound_contributions(table, secret)
        bins = self.bins if noisy else self.free_bins
        known = discover(table, ledger, secret, share=self.discovery, bins=bins)
        encoder = Encoder(known.schema)
        tokens = encoder.encode(table.private).tokens
        ones = one_way(
            tokens,
            encoder.sizes,
            encoder.names,
            share=self.one_way,
            rows_per_unit=table.schema.unit.rows,
            ledger=ledger,
            secret=secret,
        )
        spelling = text_vocabulary.spell(speller, encoder.codecs, longest, known.schema.missing)
        spelling, model = self._fitting(spelling, speller, model)
        training = _Training(self, model, Automaton(spelling), clock, private=noisy)
        lines, _ = Scribe(spelling, speller).lines(tokens, table.private, encoder.names, training.automaton.grammars)
        if noisy:
            training.warm_up(ones)
        dpsgd = training.charge(table, known.units, ledger, secret)
        trained = training.run(dpsgd, lines, progress, ledger.spent.epsilon)
        training.try_on(independent_rows([one.probabilities() for one in ones], self.seed))
        return TextSampler(known.schema, spelling, trained, speller, self.pretrained)

    def _prepared(self, columns: Sequence[Column], noisy: bool) -> tuple[LanguageModel | None, Speller, int]:
        """Return the pretrained model if one is asked for, a speller, and how long a row may be: no row is needed."""
        model: LanguageModel | None = None
        speller: Speller = PublicSpeller(self.units)
        longest = self.tokens
        if self.pretrained:
            model, speller = language_model.pretrained(self.pretrained, lora=self.lora, seed=self.seed)
            longest = min(longest, model.longest)
            if noisy:
                require_exact(model.net, *_of_any_ids(model))
        if any(column.kind == "text" for column in columns):
            speller.pieces_of_text()
        text_vocabulary.require_room(speller, columns, longest)
        return model, speller, longest

    def _fitting(
        self, spelling: Spelling, speller: Speller, model: LanguageModel | None
    ) -> tuple[Spelling, LanguageModel]:
        """Return the spelling in few ids, and a model of these."""
        spelling = text_vocabulary.kept_only(spelling, speller.pieces)
        if model is not None:
            model.cut(spelling.kept)
            return spelling, model
        shape = {"width": self.width, "depth": self.depth, "heads": self.heads, "seed": self.seed}
        return spelling, language_model.untrained(len(spelling.pieces), spelling.longest, **shape)


class _Training:
    """The moving parts of one fit."""

    def __init__(
        self, settings: Text, model: LanguageModel, automaton: Automaton, clock: Clock, *, private: bool
    ) -> None:
        self.settings, self.model, self.automaton, self.clock, self.private = settings, model, automaton, clock, private
        self.device, self.free_batch = pick(settings.device), settings.free_batch or 128
        model.net.to(self.device)
        self.trained = nn.ParameterList(p for p in model.net.parameters() if p.requires_grad)
        self.optimizer = adam(self.trained, noisy=private)

    def warm_up(self, ones: list[Marginal]) -> None:
        """Train on rows of independent columns, drawn from what was paid for: no private row is touched."""
        own, rng = self.settings, np.random.default_rng(self.settings.seed)
        optimizer = torch.optim.Adam(self.trained, betas=(0.9, 0.99))
        for step in range(1, own.warm_steps + 1):
            drawn = [rng.choice(len(p), self.free_batch, p=p) for p in (one.probabilities() for one in ones)]
            total = self.sum_of(self.mute(np.stack(drawn, 1)), math.inf, mute=True)
            for p, gradient in zip(self.trained, total, strict=True):
                p.grad = gradient / self.free_batch
            optimizer.param_groups[0]["lr"] = own.free_rate * warm_up_cosine(step / own.warm_steps)
            optimizer.step()
            self.clock.require()
        optimizer.zero_grad()

    def charge(self, table: Table, units: float, ledger: Ledger, secret: Secret) -> DPSGD:
        """Charge all steps: what is left of the budget."""
        own = self.settings
        if self.private:
            settings = DPSGDSettings(own.steps, own.batch or 2048, own.max_grad_norm)
        else:
            usual = EPOCHS if own.pretrained else enough(EPOCHS, self.free_batch, units)
            settings = passes(own.epochs or usual, self.free_batch, units)
        self.require_time(settings, units)
        return charge_steps(settings, self.optimizer, table, units, ledger=ledger, secret=secret, why="language model")

    def require_time(self, settings: DPSGDSettings, units: float) -> None:
        """Raise ModelError when steps like one on public rows, the first cell of each column, would take too long."""
        if not self.clock.limited:
            return
        rows = min(self.settings.chunk, math.ceil(settings.expected_batch_size))
        lines = self.mute(np.zeros((rows, len(self.automaton.spelling.values)), np.int64))
        start = time.monotonic()
        self.sum_of(lines, settings.max_grad_norm)
        each = (time.monotonic() - start) / rows
        self.clock.require(each * settings.steps * min(settings.expected_batch_size, units))

    def mute(self, tokens: NDArray[np.integer]) -> Lines:
        """Return rows with the same short text in every text column."""
        short = [Cells.of([grammar.shortest()] * len(tokens)) for grammar in self.automaton.grammars]
        return Lines(tokens.astype(np.int32), tuple(short))

    def run(self, dpsgd: DPSGD, private: Lines, progress: Progress, epsilon: float) -> LanguageModel:
        """Take every step that was charged; return the model with averaged weights, on the processor.

        `epsilon` was spent before the first step and is shown as it is.
        """
        own = self.settings
        rate, memory = (own.rate, own.average) if self.private else (own.free_rate, own.free_average)
        training = Training(self.trained, self.optimizer, rate=rate, memory=memory)
        training.run(dpsgd, partial(self.sums_of, private, dpsgd.settings.max_grad_norm), progress, epsilon)
        self.clock.require()
        with torch.no_grad():
            for now, mean in zip(self.trained, training.averaged.parameters(), strict=True):
                now.copy_(mean)
        self.model.net.cpu()
        return self.model

    def sums_of(self, private: Lines, max_grad_norm: float, batch: Batch) -> SumOf:
        """Return what sums up the clipped gradients of a batch's rows, unless the time is up."""
        self.clock.require()
        lines = private.take(batch.rows)

        def sum_of(places: NDArray[np.int64]) -> list[Tensor]:
            return self.sum_of(lines.take(places), max_grad_norm, batch.owners(places))

        return sum_of

    def sum_of(
        self, lines: Lines, max_grad_norm: float, owner: Tensor | None = None, *, mute: bool = False
    ) -> list[Tensor]:
        """Return the clipped sum of these rows' gradients; with `mute` free text has none."""
        written = _written(self.automaton, lines)
        written = self.automaton.without_texts(written) if mute else written

        def losses(ids: Tensor, branches: Tensor) -> Tensor:
            return _losses(self.model, self.automaton, Written(ids, branches))

        inputs = [written.ids.to(self.device), written.branches.to(self.device)]
        return clipped_sum(self.model.net, losses, inputs, max_grad_norm, owner=owner, chunk=self.settings.chunk)

    @torch.no_grad()
    def try_on(self, tokens: NDArray[np.int64]) -> None:
        """Raise ModelError when these public rows are all but impossible under the trained model."""
        written = self.automaton.without_texts(_written(self.automaton, self.mute(tokens)))
        require_likely(_losses(self.model, self.automaton, written), tokens.shape[1])


def _losses(model: LanguageModel, automaton: Automaton, written: Written) -> Tensor:
    """Return each row's negative log-likelihood in nats."""
    return automaton.losses(written, model.logits(written.ids))


def _written(automaton: Automaton, lines: Lines) -> Written:
    """Return rows as ids."""
    return automaton.write(lines.tokens, lines.texts)


def _stand_in(column: Column) -> Column:
    """Return a column that says whether there is a text."""
    return Column(column.name, "categorical", column.roles, column.nullable, categories=("text",))


def _of_any_ids(model: LanguageModel, rows: int = 3, places: int = 5) -> tuple[Any, list[Tensor]]:
    """Return losses of a model as it comes, and a few rows of any ids to compute them for."""
    ids = torch.arange(2, 2 + rows * places).reshape(rows, places) % model.size

    def losses(own: Tensor) -> Tensor:
        logits = model.logits(own)[:, :-1].transpose(1, 2)
        return nn.functional.cross_entropy(logits, own[:, 1:], reduction="none").sum(1)

    return losses, [ids]
