"""`vae`: a variational autoencoder for tables (after Kingma and Welling 2014; TVAE of Xu et al. 2019).

A row is one token per column: a category, or a number's bin. The decoder turns a normal latent vector into one softmax
for each column. It has two teachers: (noisy) marginals of the table, matched by rows from the prior, which reads no row
again; and the evidence lower bound of the rows, the only part that reads them, under a budget by DP-SGD. Between the
two the encoder learns from rows that the decoder dreamed, at no cost, so that noisy steps start with a posterior that
fits. What stops the posterior from collapsing into the prior is that each latent unit has some divergence for free.

Reading order: settings and fit, training, the sampler. Beside this file: `autoencoder` (the networks), `bookkeeping`
(clipped sums), `measuring` (which marginals) and `matching` (the distance to them).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
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
from tabsynth.privacy.checkpoint import Randomness, Stateful, keep, taken_up
from tabsynth.privacy.conformance import SumOf
from tabsynth.privacy.discovery import Discovery, discover
from tabsynth.privacy.dpsgd import DPSGD, Batch, DPSGDSettings
from tabsynth.privacy.feasibility import refuse_hopeless
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.privacy.units import bound_contributions
from tabsynth.schema import Schema
from tabsynth.synthesizers.autoencoder import Autoencoder
from tabsynth.synthesizers.base import Arrays, Progress, Sampler, silent
from tabsynth.synthesizers.bookkeeping import clipped_sum
from tabsynth.synthesizers.device import pick
from tabsynth.synthesizers.embedded import rows_at_once
from tabsynth.synthesizers.matching import Targets, match_loss, match_loss_in_parts, measure_targets
from tabsynth.synthesizers.measuring import Shares
from tabsynth.synthesizers.steps import (
    TRIED,
    charge_steps,
    passes,
    require_finite,
    require_near,
    require_room,
    warm_up_cosine,
)
from tabsynth.synthesizers.training import Training
from tabsynth.table import Table

BLOCK = 2048  # rows that are sampled together, always: so what is drawn does not depend on how many are asked for
CELLS = 4_000_000  # of the logits of a block
RATES = "rate, free_rate or warm_rate"
DRAWS = 64  # latent vectors that a likelihood is estimated from
ACTIVE = 0.01  # variance of a unit's posterior mean over rows from which on it is active (Burda et al. 2016)


class VAESampler(Sampler):
    """The averaged autoencoder: rows come from the prior through the decoder, likelihoods use the encoder too."""

    def __init__(self, schema: Schema, settings: VAE, model: Autoencoder) -> None:
        self.schema, self._settings, self._model = schema, settings, model.eval()
        self._encoder = Encoder(schema)

    @torch.no_grad()
    def draw(self, rows: int, rng: np.random.Generator) -> pd.DataFrame:
        """Return rows of the model; the first rows of a larger sample are those of a smaller one."""
        source = torch.Generator().manual_seed(int(rng.integers(2**63)))
        model = self._model
        block = max(1, min(BLOCK, CELLS // sum(model.sizes)))
        drawn = []
        for _ in range(0, rows, block):
            latent = torch.randn(block, model.latent, generator=source)
            uniform = torch.rand(block, len(model.sizes), generator=source)
            drawn.append(model.pick(model.logits(latent), uniform))
        return self._encoder.decode(torch.cat(drawn)[:rows].numpy().astype(np.int32), rng)

    @torch.no_grad()
    def log_likelihood(self, frame: pd.DataFrame) -> NDArray[np.float64]:
        """Return a lower bound of the log of each row's probability in nats, shape (rows,).

        It is the importance-weighted bound (Burda et al. 2016) from DRAWS latent vectors, whose noise is spread evenly
        and the same for every row and every call: below the true value on average over such noise, and the closer the
        better the encoder. A row counts as its cells: a number as its bin, wherever it lies within. Raises SchemaError
        when a value lies outside its column's domain.
        """
        tokens = torch.from_numpy(self._encoder.encode(frame).tokens).long()
        noise = _even_noise(self._model.latent)
        size = max(1, min(BLOCK, CELLS // sum(self._model.sizes)) // DRAWS)
        parts = [self._bound(part, noise) for part in torch.split(tokens, size)]
        return np.asarray(torch.cat(parts).numpy() if len(tokens) else np.zeros(0), np.float64)

    def _bound(self, tokens: Tensor, noise: Tensor) -> Tensor:
        """Return the bound of a few rows, each with the same noise (draws, latent)."""
        mean, log_spread = self._model.posterior(tokens)
        latent = (mean[:, None] + log_spread.exp()[:, None] * noise).flatten(0, 1)
        given = self._model.log_likelihood(self._model.logits(latent), tokens.repeat_interleave(len(noise), 0))
        ratio = log_spread[:, None] + (noise.square() - latent.view(len(tokens), *noise.shape).square()) / 2
        weights = given.view(len(tokens), len(noise)).double() + ratio.double().sum(2)
        return weights.logsumexp(1) - math.log(len(noise))

    @torch.no_grad()
    def active_units(self, frame: pd.DataFrame) -> int:
        """Return how many latent units differ between rows: 0 when the posterior has collapsed into the prior.

        A unit is active when the variance of its posterior mean over these rows is above ACTIVE.
        """
        tokens = torch.from_numpy(self._encoder.encode(frame).tokens).long()
        mean, _ = self._model.posterior(tokens)
        return int((mean.var(0, unbiased=False) > ACTIVE).sum()) if len(tokens) else 0

    def state(self) -> tuple[dict[str, Any], Arrays]:
        """Return the autoencoder's shape and weights."""
        weights = {name: value.numpy() for name, value in self._model.state_dict().items()}
        return {name: getattr(self._settings, name) for name in ("latent", "width", "depth")}, weights

    @classmethod
    def from_state(cls, schema: Schema, values: Mapping[str, Any], arrays: Arrays) -> Self:
        """Return the sampler with these weights."""
        settings = VAE(**values)
        model = settings.untrained(Encoder(schema).sizes)  # its random weights are overwritten
        model.load_state_dict({name: torch.tensor(value) for name, value in arrays.items()})
        return cls(schema, settings, model)


@dataclass(frozen=True, slots=True)
class VAE:
    """Settings of the variational autoencoder; defaults are those of the benchmark.

    `steps`, `batch`, `rate` and `max_grad_norm` count under a budget; without one `epochs` passes are made in
    batches of `free_batch` with `free_rate`. A batch of None: 8,192 rows under a budget and 512 without, or all of
    a smaller table. Before that the decoder takes `warm_steps` on marginals alone, and the encoder `dream_steps` on
    rows of the decoder. `match_weight` is what the marginals count beside the evidence lower bound, `beta` what the
    divergence from the prior counts within it, and `free_bits` what each latent unit may diverge, in nats, before
    it counts. `discovery` and `shares` split the budget; training takes the rest. `device` is where it runs: "auto"
    (a GPU when there is one), "cpu", "cuda" or "cuda:0".

    Raises InputError naming the setting that is out of range.
    """

    steps: int = 50
    batch: int | None = None
    rate: float = 2e-3
    max_grad_norm: float = 2.0
    epochs: float = 30.0
    free_batch: int | None = None
    free_rate: float = 4e-3
    warm_steps: int = 800
    dream_steps: int = 200
    warm_rate: float = 4e-3
    match_weight: float = 100.0
    match_rows: int = 1024
    average: float = 0.99
    beta: float = 1.0
    free_bits: float = 0.05
    latent: int = 32
    width: int = 128
    depth: int = 2
    bins: int = 32
    weight_floor: float = 2e-3  # smallest expected share that scales a marginal's cell
    discovery: float = 0.10
    shares: Shares = field(default_factory=Shares)
    seed: int = 0
    device: str = "auto"

    name: ClassVar[str] = "vae"
    sampler: ClassVar[type[Sampler]] = VAESampler

    def __post_init__(self) -> None:
        """Check every setting before a row is read."""
        positive = ("rate", "max_grad_norm", "epochs", "free_rate", "warm_rate", "weight_floor", "discovery")
        _check.settings(self, _check.positive, *positive)
        _check.settings(self, _check.within, "match_weight", "beta", "free_bits", low=0, high=math.inf)
        _check.within("average", self.average, 0, 1)
        _check.settings(self, _check.at_least, "steps", "latent", "width", "bins", "batch", "free_batch", low=1)
        _check.at_least("match_rows", self.match_rows, 2)
        _check.settings(self, _check.at_least, "warm_steps", "dream_steps", "depth", "seed", low=0)
        pick(self.device)
        if isinstance(self.shares, Mapping):
            object.__setattr__(self, "shares", Shares(**self.shares))
        if self.discovery + self.shares.total >= 1:
            raise InputError(
                f"discovery and shares must sum to less than 1, for training takes the rest; got {self.discovery:g} "
                f"and {self.shares.total:g}."
            )

    def fit(self, table: Table, ledger: Ledger, secret: Secret, progress: Progress = silent) -> Sampler:
        """Discover, measure, train; see `Synthesizer.fit`.

        Raises, before anything is charged, ModelError when noise would drown the declared number of rows, and
        InputError when a batch that was asked for is larger than that number.
        """
        refuse_hopeless(table.schema, ledger, self.shares.one_way, self.discovery)
        require_room(table.schema, batch=self.batch, free_batch=self.free_batch)
        table = bound_contributions(table, secret)
        known = discover(table, ledger, secret, share=self.discovery, bins=self.bins)
        encoder = Encoder(known.schema)
        tokens = encoder.encode(table.private).tokens
        targets = measure_targets(
            tokens, encoder, known, shares=self.shares, floor=self.weight_floor, ledger=ledger, secret=secret
        )
        training = _Training(self, encoder.sizes, targets, secret, rows_per_unit=known.rows / known.units)
        dpsgd = self._dpsgd(training, table, known, ledger, secret)
        model = training.run(dpsgd, tokens, progress, ledger.spent.epsilon)
        return VAESampler(known.schema, self, model)

    def untrained(self, sizes: Sequence[int], one_way: Tensor | None = None) -> Autoencoder:
        """Return the autoencoder before training; nobody's random state is used."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return Autoencoder(sizes, latent=self.latent, width=self.width, depth=self.depth, one_way=one_way)

    def _dpsgd(self, training: _Training, table: Table, known: Discovery, ledger: Ledger, secret: Secret) -> DPSGD:
        """Charge the steps that read rows: what is left of the budget."""
        if ledger.bounded:
            settings = DPSGDSettings(self.steps, self.batch or 8192, self.max_grad_norm)
        else:
            settings = passes(self.epochs, self.free_batch or 512, known.units)
        return charge_steps(
            settings,
            training.optimizer,
            table,
            known.units,
            ledger=ledger,
            secret=secret,
            why="variational autoencoder",
        )


class _Training:
    """The moving parts of one fit. `rng` is public; whatever is drawn for a private row comes from `secret`."""

    def __init__(
        self, settings: VAE, sizes: Sequence[int], targets: Targets, secret: Secret, *, rows_per_unit: float
    ) -> None:
        self.settings, self.secret, self.rows_per_unit = settings, secret, rows_per_unit
        self.device = pick(settings.device)
        self.targets = targets.to(self.device)
        self.model = settings.untrained(sizes, targets.one_way).to(self.device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), betas=(0.9, 0.99))
        self.rng = torch.Generator().manual_seed(settings.seed)
        self.chunk = min(2048, rows_at_once(sum(sizes))) if self.model.wide else 2048  # rows of a clipped sum

    def run(self, dpsgd: DPSGD, private: NDArray[np.int32], progress: Progress, epsilon: float) -> Autoencoder:
        """Take all steps: on marginals, on dreams, on rows; return the averaged model.

        `epsilon` was charged and is shown as it is.
        """
        settings, steps = self.settings, dpsgd.settings.steps
        before = settings.warm_steps + settings.dream_steps

        def told(step: int) -> None:
            progress(step, before + steps, {"epsilon": epsilon})

        self.descend(self.model.writer, self.mismatch, range(settings.warm_steps), "decoder on marginals", told)
        self.descend(self.model.reader, self.dream_loss, range(settings.warm_steps, before), "encoder on dreams", told)
        rate = settings.rate if dpsgd.noise_multiplier > 0 else settings.free_rate
        training = Training(self.model, self.optimizer, rate=rate, memory=settings.average)
        sums = partial(self.sums_of, private, dpsgd.settings.max_grad_norm)
        training.run(
            dpsgd, sums, progress, epsilon, beside=self.public_gradient, before=before, public=Randomness(self.rng)
        )
        require_near(self.shares(training.averaged), self.targets.one_way, self.targets.noise, self.model.sizes, RATES)
        return training.averaged.cpu()

    @torch.no_grad()
    def shares(self, model: Autoencoder) -> Tensor:
        """Return the mean probability of every token, (tokens,), in TRIED rows from the prior."""
        latent = torch.split(self.normal(TRIED), rows_at_once(sum(model.sizes)))
        return torch.stack([model.softmax(model.logits(each)).sum(0) for each in latent]).sum(0) / TRIED

    def descend(
        self,
        parameters: Sequence[nn.Parameter],
        loss_of: Callable[[], Tensor],
        steps: range,
        name: str,
        told: Callable[[int], None],
    ) -> None:
        """Take steps on a loss that reads no row; `name` is what a checkpoint calls them."""
        optimizer = torch.optim.Adam(parameters, betas=(0.9, 0.99))
        carried: dict[str, Stateful] = {"model": self.model, "steps": optimizer, "public": Randomness(self.rng)}
        for step in range(taken_up(name, carried), len(steps)):
            keep(name, step, carried)
            for parameter, gradient in zip(parameters, torch.autograd.grad(loss_of(), parameters), strict=True):
                parameter.grad = gradient
            nn.utils.clip_grad_norm_(parameters, 10.0)
            optimizer.param_groups[0]["lr"] = self.settings.warm_rate * warm_up_cosine((step + 1) / len(steps))
            optimizer.step()
            if step % 20 == 0:
                told(steps[step])
        optimizer.zero_grad(set_to_none=True)
        keep(name, len(steps), carried, last=True)
        require_finite(parameters, RATES)

    def mismatch(self) -> Tensor:
        """Return the weighted distance between the marginals and those of rows from the prior."""
        latent = self.normal(self.settings.match_rows)

        def drawn(latent: Tensor) -> Tensor:
            return self.model.softmax(self.model.logits(latent))

        if self.model.wide:
            return self.settings.match_weight * match_loss_in_parts(drawn, [latent], self.targets)
        return self.settings.match_weight * match_loss(drawn(latent), self.targets)

    def dream_loss(self) -> Tensor:
        """Return minus the mean log-density that the encoder gives to the latent vectors behind dreamed rows."""
        with torch.no_grad():
            latent = self.normal(self.settings.match_rows)
            uniform = torch.rand(len(latent), len(self.model.sizes), generator=self.rng).to(self.device)
            size = rows_at_once(sum(self.model.sizes)) if self.model.wide else len(latent)
            pieces = zip(torch.split(latent, size), torch.split(uniform, size), strict=True)
            tokens = torch.cat([self.model.pick(self.model.logits(each), points) for each, points in pieces])
        mean, log_spread = self.model.posterior(tokens)
        return (log_spread + ((latent - mean) / log_spread.exp()).square() / 2).sum(1).mean()

    def sums_of(self, private: NDArray[np.int32], max_grad_norm: float, batch: Batch) -> SumOf:
        """Return what sums up the clipped gradients of a batch's rows."""
        settings, model = self.settings, self.model
        tokens = torch.from_numpy(private[batch.rows]).long().to(self.device)
        noise = torch.from_numpy(self.secret.normal((len(tokens), model.latent))).float().to(self.device)
        parameters = list(model.parameters())

        def losses(tokens: Tensor, noise: Tensor, tape: Any) -> Tensor:
            return model.losses(tokens, noise, tape, beta=settings.beta, free_bits=settings.free_bits)

        def sum_of(places: NDArray[np.int64]) -> list[Tensor]:
            at = torch.from_numpy(places).to(self.device)
            rows, owner = (tokens[at], noise[at]), batch.owners(places)
            total = clipped_sum(parameters, losses, rows, max_grad_norm, owner=owner, chunk=self.chunk)
            require_finite(total, RATES)  # which clipping guarantees: without a budget it tells of divergence
            return total

        return sum_of

    def public_gradient(self, step: int) -> list[Tensor]:
        """Return the gradient of the mismatch, which reads no row, in proportion to the sum over a unit's rows."""
        parameters = list(self.model.parameters())
        found = torch.autograd.grad(self.mismatch(), parameters, allow_unused=True, materialize_grads=True)
        require_finite(found, RATES)
        return [part * self.rows_per_unit for part in found]

    def normal(self, rows: int) -> Tensor:
        """Return latent vectors of the prior."""
        return torch.randn(rows, self.model.latent, generator=self.rng).to(self.device)


def _even_noise(latent: int) -> Tensor:
    """Return standard normal noise (DRAWS, latent), evenly spread: a scrambled Sobol sequence, always the same."""
    sequence = torch.quasirandom.SobolEngine(latent, scramble=True, seed=0)  # type: ignore[no-untyped-call]
    points = sequence.draw(DRAWS, dtype=torch.float64).clamp(1e-6, 1 - 1e-6)
    noise: Tensor = torch.special.ndtri(points)
    return noise.float()
