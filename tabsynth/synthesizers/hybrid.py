"""`hybrid`: noisy marginals first, and a row transformer by DP-SGD for what they miss.

Most of the budget pays for a graphical model (see `marginals`). A row transformer starts as exactly that model (see
`anchored`), and the rest of the budget pays for DP-SGD steps on the private rows. One ledger pays for both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from tabsynth import _check
from tabsynth.encoding.domain import inside
from tabsynth.encoding.encoder import Encoder
from tabsynth.errors import InputError
from tabsynth.privacy.discovery import discover
from tabsynth.privacy.dpsgd import DPSGDSettings
from tabsynth.privacy.feasibility import refuse_hopeless
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.privacy.units import bound_contributions
from tabsynth.schema import Schema
from tabsynth.synthesizers.anchored import Anchor, AnchoredTransformer
from tabsynth.synthesizers.base import Arrays, Progress, Sampler, silent
from tabsynth.synthesizers.device import pick
from tabsynth.synthesizers.marginals import Marginals
from tabsynth.synthesizers.marginals_sampler import Graphical, tables_from_state, tables_state
from tabsynth.synthesizers.row_gradients import clipped_sums
from tabsynth.synthesizers.steps import PUBLIC, passes, require_likely, require_room
from tabsynth.synthesizers.training import Training, adam
from tabsynth.synthesizers.transformer import clipped_sum
from tabsynth.table import Table

BLOCK = 8192  # rows that are sampled together at most


class HybridSampler(Sampler):
    """The averaged transformer on its anchor."""

    def __init__(self, schema: Schema, model: AnchoredTransformer) -> None:
        self.schema, self._model = schema, model.eval()
        self._encoder = Encoder(schema)

    def draw(self, rows: int, rng: np.random.Generator) -> pd.DataFrame:
        """Return rows of the model."""
        source = torch.Generator().manual_seed(int(rng.integers(2**63)))
        blocks = math.ceil(rows / BLOCK)
        sizes = [rows // blocks + (block < rows % blocks) for block in range(blocks)]
        tokens = torch.cat([self._model.drawn(size, source) for size in sizes])
        return self._encoder.decode(tokens.numpy().astype(np.int32), rng)

    def log_likelihood(self, frame: pd.DataFrame) -> NDArray[np.float64]:
        """Return the log of each row's probability in nats, shape (rows,).

        A row counts as its cells: a number as its bin, wherever it lies within. Minus infinity stands for a row with a
        value outside of its column's domain, which cannot be drawn.
        """
        return self._likelihood(frame, lambda tokens: self._model.losses(tokens, self._model.orders(len(tokens))))

    def anchored(self, frame: pd.DataFrame) -> NDArray[np.float64]:
        """Return the same under the graphical model alone: what training began with."""
        return self._likelihood(frame, self._model.anchored_losses)

    @torch.no_grad()
    def _likelihood(self, frame: pd.DataFrame, losses: Callable[[Tensor], Tensor]) -> NDArray[np.float64]:
        known = inside(frame, self._encoder)
        tokens = torch.from_numpy(self._encoder.encode(frame[known].reset_index(drop=True)).tokens).long()
        found = np.full(len(frame), -np.inf)
        if len(tokens):
            size = min(BLOCK, self._model.rows_at_once(sum(self._model.sizes)))
            found[known] = -torch.cat([losses(part) for part in torch.split(tokens, size)]).double().numpy()
        return found

    def state(self) -> tuple[dict[str, Any], Arrays]:
        """Return the anchor's tables, the transformer's shape and its weights."""
        anchor = self._model.anchor
        links, arrays = tables_state(anchor.chain, anchor.within)
        arrays |= {f"groups.{column}": group for column, group in enumerate(anchor.groups)}
        arrays |= {f"weights.{name}": value.numpy() for name, value in self._model.state_dict().items()}
        shape = {"width": self._model.width, "depth": len(self._model.blocks), "heads": self._model.heads}
        return {"chain": links, "shape": shape}, arrays

    @classmethod
    def from_state(cls, schema: Schema, values: Mapping[str, Any], arrays: Arrays) -> Self:
        """Return the sampler with this anchor and these weights."""
        chain, within = tables_from_state(values["chain"], arrays)
        anchor = Anchor(chain, [arrays[f"groups.{column}"] for column in range(len(chain))], within)
        model = AnchoredTransformer(
            anchor, **{name: int(values["shape"][name]) for name in ("width", "depth", "heads")}
        )
        start = "weights."
        weights = {name: torch.tensor(value) for name, value in arrays.items() if name.startswith(start)}
        model.load_state_dict({name.removeprefix(start): value for name, value in weights.items()})
        return cls(schema, model)


@dataclass(frozen=True, slots=True)
class Hybrid:
    """Settings of the anchored transformer; defaults are those of the benchmark.

    `discovery` and `marginals` are shares of the budget; DP-SGD takes the rest. `bins`, `pairs`, `rounds`, `iterations`
    and `cells` are settings of the graphical model, see `Marginals`. `steps`, `batch`, `rate`, `average`,
    `max_grad_norm` and `centre`, the number of the model's own rows that a step is centred on (0: not at all), count
    under a budget; without one `epochs` passes are made in batches of `free_batch` with `free_rate` and `free_average`.
    A batch of None: 2,048 rows under a budget and 256 without, or all of a smaller table. `device` is where it trains:
    "auto" (a GPU when there is one), "cpu", "cuda" or "cuda:0".

    Raises InputError naming the setting that is out of range.
    """

    discovery: float = 0.10
    marginals: float = 0.85
    bins: int = 64
    pairs: int = 15
    rounds: int = 3
    iterations: int = 1000
    cells: int = 20_000
    steps: int = 15
    batch: int | None = None
    rate: float = 4e-3
    average: float = 0.9
    max_grad_norm: float = 0.5
    centre: int = 1024
    epochs: float = 16.0
    free_batch: int | None = None
    free_rate: float = 3e-3
    free_average: float = 0.995
    width: int = 64
    depth: int = 1
    heads: int = 2
    seed: int = 0
    device: str = "auto"

    name: ClassVar[str] = "hybrid"
    sampler: ClassVar[type[Sampler]] = HybridSampler

    def __post_init__(self) -> None:
        """Check every setting before a row is read."""
        positive = ("discovery", "marginals", "rate", "max_grad_norm", "epochs", "free_rate")
        _check.settings(self, _check.positive, *positive)
        _check.settings(self, _check.within, "average", "free_average", low=0, high=1)
        graphical, neural = ("bins", "rounds", "iterations", "cells"), ("steps", "width", "depth", "heads")
        _check.settings(self, _check.at_least, *graphical, *neural, "batch", "free_batch", low=1)
        _check.settings(self, _check.at_least, "pairs", "centre", "seed", low=0)
        pick(self.device)
        if self.width % self.heads:
            raise InputError(f"width must be a multiple of heads; got {self.width} and {self.heads}.")
        if self.discovery + self.marginals >= 1:
            raise InputError("discovery and marginals must sum to less than 1, for training takes the rest.")

    def fit(self, table: Table, ledger: Ledger, secret: Secret, progress: Progress = silent) -> Sampler:
        """Discover, measure marginals, estimate, train; see `Synthesizer.fit`.

        Raises, before anything is charged, ModelError when noise would drown the declared number of rows, or the
        graphical model could not hold the columns (see `Marginals.fit`), and InputError when a batch that was asked for
        is larger than that number.
        """
        first = self.first()
        refuse_hopeless(table.schema, ledger, first.one_way * self.marginals, self.discovery)
        first.require_room(table.schema, ledger, self.marginals)
        require_room(table.schema, batch=self.batch, free_batch=self.free_batch)
        table = bound_contributions(table, secret)
        known = discover(table, ledger, secret, share=self.discovery, bins=first.bins_of(table.schema, ledger))
        tokens = Encoder(known.schema).encode(table.private).tokens
        graphical = first.learn(known, tokens, ledger, secret, share=self.marginals)
        model = self.untrained(graphical).to(pick(self.device))
        noisy = ledger.bounded
        steps = self._steps(known.units, noisy=noisy)
        sums = clipped_sums(model, tokens, model.orders, steps.max_grad_norm)
        beside = partial(self.centring, model) if noisy and self.centre else None
        rate, memory = (self.rate, self.average) if noisy else (self.free_rate, self.free_average)
        training = Training(model, adam(model.parameters(), noisy=noisy), rate=rate, memory=memory)
        trained = training.learn(
            steps, sums, table, known.units, ledger=ledger, secret=secret, progress=progress, beside=beside
        )
        tried = trained.anchor.sample(PUBLIC, np.random.default_rng(self.seed))
        with torch.no_grad():
            require_likely(trained.losses(tried, trained.orders(PUBLIC)), len(trained.sizes))
        return HybridSampler(known.schema, trained)

    def _steps(self, units: float, *, noisy: bool) -> DPSGDSettings:
        """Return the steps under a budget; without one, those of passes over so many units."""
        if noisy:
            return DPSGDSettings(self.steps, self.batch or 2048, self.max_grad_norm)
        return passes(self.epochs, self.free_batch or 256, units)

    def centring(self, model: AnchoredTransformer, step: int) -> list[Tensor]:
        """Return less what clipped gradients come to on average over rows of the model itself, fresh ones each step."""
        tokens = model.rows_of_its_own(self.centre, np.random.default_rng([self.seed, step]))
        own = clipped_sum(model, tokens, model.orders(self.centre), self.max_grad_norm)
        return [total / -self.centre for total in own]

    def first(self) -> Marginals:
        """Return the settings of the graphical model."""
        return Marginals(
            bins=self.bins,
            discovery=self.discovery,
            pairs=self.pairs,
            rounds=self.rounds,
            iterations=self.iterations,
            cells=self.cells,
        )

    def untrained(self, graphical: Graphical) -> AnchoredTransformer:
        """Return the transformer before training; nobody's random state is used."""
        anchor = Anchor(graphical.chain, graphical.codes.groups, graphical.within)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return AnchoredTransformer(anchor, width=self.width, depth=self.depth, heads=self.heads)
