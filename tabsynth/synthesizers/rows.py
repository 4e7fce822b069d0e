"""`rows`: a small decoder-only transformer over a row's cells, trained from scratch, with or without privacy.

A row is one token per column: a category, or a number's bin. The row's likelihood is a product of one softmax per
column given the columns before it, each over that column's own tokens, so no value outside the declared domain can be
drawn. Output biases start from the (noisy) one-way marginals, so that training begins at independent columns. Under a
budget every step is one of DP-SGD, and training starts from what the target says of every column (see `starting`).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from tabsynth import _check
from tabsynth.encoding.conditions import Allowed, offsets_of
from tabsynth.encoding.encoder import Encoder
from tabsynth.encoding.partial import Partial
from tabsynth.errors import InputError, ModelError
from tabsynth.privacy.discovery import discover
from tabsynth.privacy.dpsgd import DPSGDSettings
from tabsynth.privacy.feasibility import refuse_hopeless
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.privacy.units import bound_contributions
from tabsynth.schema import Schema
from tabsynth.synthesizers.base import Arrays, Progress, Sampler, silent
from tabsynth.synthesizers.device import pick
from tabsynth.synthesizers.prefixes import blocks_of
from tabsynth.synthesizers.row_gradients import clipped_sums, learn_from_neighbours, some_shuffled
from tabsynth.synthesizers.rows_given import Given, Sight
from tabsynth.synthesizers.rows_recipe import Recipe, usual_recipe
from tabsynth.synthesizers.starting import Ties, measured_start
from tabsynth.synthesizers.steps import enough, independent_rows, passes, require_likely, require_room
from tabsynth.synthesizers.training import Training, adam
from tabsynth.synthesizers.transformer import RowTransformer, Steps
from tabsynth.table import Table

BLOCK = 16384  # rows that are sampled together
SCORED = 4096  # rows whose likelihood is found together
SHARED = "discovery, one_way and with_target must sum to less than 1, for training takes the rest"
ORDERS = ("schema", "fewest", "target")
CELLS = 2**23  # of the widest output of a block
EPOCHS = 14.0  # without a budget
MANY = 16_000  # units from which on there are steps enough without a budget in batches of 256
HELD = 1e-3  # share of the rows that makes a token count when columns are put in order


class RowsSampler(Sampler):
    """The averaged transformer; it samples in the order that most rows were read in, unless told another."""

    def __init__(self, schema: Schema, settings: Rows, model: RowTransformer, order: Sequence[int]) -> None:
        self.schema, self._settings, self._model = schema, settings, model.eval()
        self._encoder = Encoder(schema)
        self._order = tuple(order)
        self._temperature = 1.0

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns' names in the order that rows are sampled in, and that `log_likelihood` is exact for."""
        return tuple(self._encoder.names[place] for place in self._order)

    def draw(self, rows: int, rng: np.random.Generator) -> pd.DataFrame:
        """Return rows of the model; the first rows of a larger sample are those of a smaller one."""
        return self.draw_in_order(rows, rng, self.reads)

    def draw_in_order(self, rows: int, rng: np.random.Generator, order: Sequence[str]) -> pd.DataFrame:
        """Return rows whose columns were drawn in this order.

        The model has learned such an order only as far as its `shuffled` share of training rows went. Raises InputError
        unless `order` names every modelled column once.
        """
        names = self._encoder.names
        if sorted(order) != sorted(names):
            raise InputError(f"The order must name every modelled column once: {', '.join(names)}.")
        places = [names.index(name) for name in order]
        source = torch.Generator().manual_seed(int(rng.integers(2**63)))
        blocks = blocks_of(rows, self._largest)
        steps, heat = Steps(self._model, max(blocks)), self._temperature
        drawn = [
            self._model.draw(torch.rand(block, len(names), generator=source), places, steps=steps, temperature=heat)
            for block in blocks
        ]
        return self._encoder.decode(torch.cat(drawn)[:rows].numpy().astype(np.int32), rng)

    def draw_given(self, rows: int, rng: np.random.Generator, allowed: Mapping[str, Allowed]) -> pd.DataFrame:
        """Return rows of the model given the conditions, exactly, read in the order that begins with their columns.

        That order is as good as the `shuffled` share of training taught. Conditions on several columns that leave more
        combinations than can be written out are left to `sample`, which draws again; see `Given`.
        """
        source, names = torch.Generator().manual_seed(int(rng.integers(2**63))), self._encoder.names
        left = {names.index(name): part for name, part in allowed.items()}
        sight = Sight.of(self._encoder, left)
        shares = {column: torch.ones(self._model.sizes[column]).double() for column in sight.columns}
        shares |= {column: torch.from_numpy(part.share) for column, part in left.items()}
        first = Given.of(self._model, self._order, shares, self._temperature)
        sight = sight.within(first)
        order = [*first.columns, *first.later, *(column for column in self._order if column not in shares)]
        steps, drawn, places = Steps(self._model, min(rows, self._largest)), [], []
        for start in range(0, rows, self._largest):
            uniform = torch.rand(min(self._largest, rows - start), len(order) + 2, generator=source)
            given, within = sight.draw(first, uniform[:, -2:], source)
            places.append(within)
            drawn.append(self._model.draw(uniform, order, given, steps, temperature=self._temperature))
        tokens = torch.cat(drawn).numpy().astype(np.int32)
        met = {column: left[column] for column in first.columns if column in left}
        offsets = offsets_of(tokens, met, rng)
        offsets[:, list(sight.columns)] = np.concatenate(places)
        return self._encoder.decode(tokens, rng, offsets)

    def draw_partial(self, partial: Partial, rng: np.random.Generator) -> pd.DataFrame:
        """Return the rest of every row given its known cells, read in the order that begins with them.

        Of the cells that may not be missing the first one is drawn as a value; rows in which another comes out missing
        are for the caller to draw again, for exactness.
        """
        source = torch.Generator().manual_seed(int(rng.integers(2**63)))
        tokens = torch.from_numpy(partial.tokens).long()
        steps, fresh = Steps(self._model, min(len(partial), self._largest)), partial.fresh
        for pattern, rows in partial.patterns():
            order = sorted(self._order, key=lambda column: not pattern[column])
            free = [column for column in order if not pattern[column]]
            wishes = {} if not free or not fresh[rows[0], free[0]] else {free[0]: self._value_wish(free[0])}
            for part in torch.split(torch.from_numpy(rows), self._largest):
                given = {column: tokens[part, column] for column in range(len(order)) if pattern[column]}
                uniform = torch.rand(len(part), len(order), generator=source)
                heat = self._temperature
                tokens[part] = self._model.draw(uniform, order, given, steps, wishes=wishes, temperature=heat)
        return self._encoder.decode(tokens.numpy().astype(np.int32), rng)

    def tempered(self, temperature: float) -> RowsSampler:
        """Return a sampler that divides every logit by a temperature: below 1 its rows are likelier and more alike.

        They do not follow the model's distribution, and `log_likelihood` is still the model's.
        """
        _check.positive("temperature", temperature)
        found = copy.copy(self)
        found._temperature = temperature
        return found

    @property
    def _largest(self) -> int:
        """How many rows are drawn together at most."""
        sizes = self._encoder.sizes
        return max(1, min(BLOCK, CELLS // max(sizes), BLOCK * 16 // len(sizes)))

    def _value_wish(self, column: int) -> Tensor:
        """Return what added to a column's logits leaves it no missing value."""
        wish = torch.zeros(self._encoder.sizes[column])
        wish[self._encoder.codecs[column].values :] = -torch.inf
        return wish

    def log_likelihood(self, frame: pd.DataFrame) -> NDArray[np.float64]:
        """Return the log of each row's probability in nats, shape (rows,), in the order that rows are sampled in.

        A row counts as its cells: a number as its bin, wherever it lies within. Raises SchemaError when a value lies
        outside its column's domain.
        """
        return self._scores(torch.from_numpy(self._encoder.encode(frame).tokens).long())

    def predict(self, partial: Partial, target: int) -> NDArray[np.float64]:
        """Return the probability of each value of the target given the other cells, (rows, values), exactly.

        Every value is tried in its row, in the order that rows are sampled in: the probabilities are those of the model
        that `sample` draws from, wherever in that order the target stands.
        """
        tokens, scores = torch.from_numpy(partial.tokens).long(), []
        for value in range(self._encoder.codecs[target].values):
            tokens[:, target] = value
            scores.append(self._scores(tokens))
        logs = np.stack(scores, axis=1)
        mass = np.exp(logs - logs.max(axis=1, keepdims=True))
        return np.asarray(mass / mass.sum(axis=1, keepdims=True))

    @torch.no_grad()
    def _scores(self, tokens: Tensor) -> NDArray[np.float64]:
        """Return the log-likelihood of rows of tokens, shape (rows,)."""
        orders = torch.tensor(self._order).expand(tokens.shape)
        parts = [
            self._model.losses(*part)
            for part in zip(torch.split(tokens, SCORED), torch.split(orders, SCORED), strict=True)
            if len(part[0])
        ]
        return np.asarray(-torch.cat(parts).double().numpy() if parts else np.zeros(0))

    def state(self) -> tuple[dict[str, Any], Arrays]:
        """Return the transformer's shape and weights."""
        weights = {name: value.numpy() for name, value in self._model.state_dict().items()}
        shape = {name: getattr(self._settings, name) for name in ("width", "depth", "heads")}
        return {"shape": shape, "order": list(self._order)}, weights

    @classmethod
    def from_state(cls, schema: Schema, values: Mapping[str, Any], arrays: Arrays) -> Self:
        """Return the sampler with these weights; raise ModelError when its order is not one of all columns."""
        settings, order = Rows(**values["shape"]), values["order"]
        encoder = Encoder(schema)
        if sorted(order) != list(range(len(encoder.sizes))):
            raise ModelError("The saved row transformer reads other columns than its schema has.")
        target, table = encoder.target, arrays.get("ties.table")
        ties = None if table is None or target is None else Ties(torch.tensor(table), target, encoder.sizes)
        model = settings.untrained(encoder.sizes, ties=ties)  # its random weights are overwritten
        model.load_state_dict({name: torch.tensor(value) for name, value in arrays.items()})
        return cls(schema, settings, model, order)


@dataclass(frozen=True, slots=True)
class Rows:
    """Settings of the row transformer; defaults are those of the benchmark.

    `steps`, `batch`, `rate`, `average`, `max_grad_norm`, `with_target` and `bins` count under a budget; those that
    are None follow epsilon, see `rows_recipe`. A table smaller than a batch is one batch. Without a budget `epochs`
    passes (None: 14, or as many as make 500 steps) are made in batches of `free_batch` (None: 256 units, or 128 of
    fewer than 16,000) with `free_rate`, `free_average` and `free_bins`. `shuffled` is the share of rows that are
    trained on in an order of their own; the others are read in `order`, in which rows are sampled too: the columns
    with the fewest tokens first ("fewest"), where many rows begin alike and sampling is fast, the same with the
    target last ("target"), or that of the "schema". Without a budget only tokens count that one row in a thousand
    holds. `target_weight` is what a token of the target counts beside others in training. `discovery`, `one_way` and,
    where a target of few classes is declared, `with_target` split the budget; training takes the rest. The last of
    them pays for counts of every column by class of the target, which training then starts from. `device` is where it
    runs: "auto" (a GPU when there is one), "cpu", "cuda" or "cuda:0".

    Raises InputError naming the setting that is out of range.
    """

    steps: int | None = None
    batch: int | None = None
    rate: float | None = None
    average: float = 0.95
    max_grad_norm: float = 0.5
    epochs: float | None = None
    free_batch: int | None = None
    free_rate: float = 3e-3
    free_average: float = 0.995
    shuffled: float = 0.1
    order: str = "fewest"
    target_weight: float = 1.0
    width: int = 64
    depth: int = 2
    heads: int = 2
    bins: int = 32
    free_bins: int = 256
    discovery: float = 0.10
    one_way: float = 0.05
    with_target: float | None = None
    seed: int = 0
    device: str = "auto"

    name: ClassVar[str] = "rows"
    sampler: ClassVar[type[Sampler]] = RowsSampler

    def __post_init__(self) -> None:
        """Check every setting before a row is read."""
        positive = ("rate", "max_grad_norm", "epochs", "free_rate", "target_weight", "discovery", "one_way")
        _check.settings(self, _check.positive, *positive)
        shares = ("average", "free_average", "shuffled", "with_target")
        _check.settings(self, _check.within, *shares, low=0, high=1)
        counts = ("steps", "batch", "free_batch", "width", "depth", "heads", "bins", "free_bins")
        _check.settings(self, _check.at_least, *counts, low=1)
        _check.at_least("seed", self.seed, 0)
        _check.one_of("order", self.order, ORDERS)
        pick(self.device)
        if self.width % self.heads:
            raise InputError(f"width must be a multiple of heads; got {self.width} and {self.heads}.")
        if self.discovery + self.one_way + (self.with_target or 0.0) >= 1:
            raise InputError(f"{SHARED}.")

    def fit(self, table: Table, ledger: Ledger, secret: Secret, progress: Progress = silent) -> Sampler:
        """Discover, measure marginals, train; see `Synthesizer.fit`.

        Raises, before anything is charged, ModelError when noise would drown the declared number of rows, and
        InputError when a batch that was asked for is larger than that number, or nothing is left for training.
        """
        noisy, recipe = ledger.bounded, self.recipe(ledger)
        self._refuse(table.schema, ledger, recipe)
        table = bound_contributions(table, secret)
        known = discover(table, ledger, secret, share=self.discovery, bins=self.bins if noisy else self.free_bins)
        encoder = Encoder(known.schema)
        tokens = encoder.encode(table.private).tokens
        shares, unit = (self.one_way, recipe.with_target if noisy else 0.0), known.schema.unit.rows
        start, ties = measured_start(
            tokens, encoder, known.rows, shares=shares, rows_per_unit=unit, ledger=ledger, secret=secret
        )
        bins = [codec.values if codec.column.ordered else codec.bins for codec in encoder.codecs]
        model = self.untrained(encoder.sizes, bins, start, ties).to(pick(self.device))
        held = encoder.sizes if noisy else [int((one >= HELD).sum()) for one in start]
        order = self.reading_order(held, encoder.target)
        steps = self._steps(recipe if noisy else None, known.units)
        weights = [self.target_weight if place == encoder.target else 1.0 for place in range(len(encoder.sizes))]
        orders = some_shuffled(order, self.shuffled, secret)
        sums = clipped_sums(model, tokens, orders, steps.max_grad_norm, weights=weights)
        training = self._training(model, bins, recipe if noisy else None)
        trained = training.learn(steps, sums, table, known.units, ledger=ledger, secret=secret, progress=progress)
        sampler = RowsSampler(known.schema, self, trained, order)
        tried = torch.from_numpy(independent_rows([each.numpy() for each in start], self.seed))
        require_likely(-torch.from_numpy(sampler._scores(tried)), len(start))
        return sampler

    def _refuse(self, schema: Schema, ledger: Ledger, recipe: Recipe) -> None:
        """Raise what `fit` does before anything is charged."""
        refuse_hopeless(schema, ledger, self.one_way, self.discovery)
        require_room(schema, batch=self.batch, free_batch=self.free_batch)
        if ledger.bounded and schema.target and self.discovery + self.one_way + recipe.with_target >= 1:
            raise InputError(f"{SHARED}; with_target is {recipe.with_target:g} at this epsilon.")

    def _training(self, model: RowTransformer, bins: Sequence[int], recipe: Recipe | None) -> Training[RowTransformer]:
        """Return the training by a recipe under a budget; without one bins learn from those around them."""
        optimizer = adam(model.parameters(), noisy=recipe is not None)
        if recipe:
            return Training(model, optimizer, rate=recipe.rate, memory=self.average)
        learn_from_neighbours(model, optimizer, bins)
        return Training(model, optimizer, rate=self.free_rate, memory=self.free_average)

    def _steps(self, recipe: Recipe | None, units: float) -> DPSGDSettings:
        """Return the steps of a recipe under a budget; without one, of passes over so many units."""
        if recipe:
            return DPSGDSettings(recipe.steps, recipe.batch, self.max_grad_norm)
        batch = self.free_batch or (256 if units >= MANY else 128)
        return passes(self.epochs or enough(EPOCHS, batch, units), batch, units)

    def recipe(self, ledger: Ledger) -> Recipe:
        """Return the settings that count under this ledger's budget: as set, or by its epsilon, a public figure."""
        own = {field.name: getattr(self, field.name) for field in fields(Recipe)}
        return replace(usual_recipe(ledger), **{name: value for name, value in own.items() if value is not None})

    def reading_order(self, sizes: Sequence[int], target: int | None = None) -> tuple[int, ...]:
        """Return the columns in the order that they are read and sampled in, given their numbers of tokens.

        >>> [Rows(order=order).reading_order((9, 2, 5, 2), target=1) for order in ("fewest", "target")]
        [(1, 3, 2, 0), (3, 2, 0, 1)]
        """
        places, last = range(len(sizes)), target if self.order == "target" else None
        return tuple(places if self.order == "schema" else sorted(places, key=lambda at: (at == last, sizes[at])))

    def untrained(
        self,
        sizes: Sequence[int],
        bins: Sequence[int] = (),
        one_way: Sequence[Tensor] | None = None,
        ties: Ties | None = None,
    ) -> RowTransformer:
        """Return the transformer before training, see `RowTransformer.smooth`; nobody's random state is used."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            shape = {"width": self.width, "depth": self.depth, "heads": self.heads}
            model = RowTransformer(sizes, **shape, one_way=one_way, ties=ties)
            model.smooth(bins)
            return model
