"""`ctgan`: a conditional GAN for tables (after Xu et al. 2019), with or without differential privacy.

A row arrives as one token per column (a category, or the mode of a number: a bin) and a place within the bin. The
generator draws every token from a softmax, given noise and one condition "column c has value v". It learns from two
teachers: a Wasserstein critic with gradient penalty, the only part that reads rows, and (noisy) marginals of the table.
Under a budget the critic reads Poisson batches through DP-SGD; a real row's condition is one of its own values, and the
generator's conditions are drawn from the noisy one-way marginals, so that nothing is resampled by condition.

Reading order: settings and fit, the critic's step, the generator's step. Beside this file: `generator` (layout and
network), `embedded` (columns of many tokens), `critic`, `measuring` (which marginals), `matching` (the distance to
them) and `ctgan_sampler`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tabsynth import _check
from tabsynth.encoding.encoder import Encoded, Encoder
from tabsynth.errors import InputError
from tabsynth.privacy.checkpoint import Randomness, Stateful, keep, taken_up
from tabsynth.privacy.discovery import Discovery, discover
from tabsynth.privacy.dpsgd import DPSGD, Batch, DPSGDSettings
from tabsynth.privacy.feasibility import refuse_hopeless
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.privacy.units import bound_contributions
from tabsynth.synthesizers.base import Progress, Sampler, silent
from tabsynth.synthesizers.critic import Critic, clipped_real_sum, generated_gradient
from tabsynth.synthesizers.ctgan_sampler import CTGANSampler
from tabsynth.synthesizers.device import pick
from tabsynth.synthesizers.embedded import in_parts, rows_at_once
from tabsynth.synthesizers.generator import (
    Generator,
    Layout,
    draw_conditions,
    soft_rows,
    surprise,
)
from tabsynth.synthesizers.matching import Targets, distance, joined, match_loss, measure_targets, singled_out
from tabsynth.synthesizers.measuring import Shares
from tabsynth.synthesizers.steps import (
    TRIED,
    average,
    charge_steps,
    passes,
    require_finite,
    require_near,
    require_room,
    warm_up_cosine,
)
from tabsynth.table import Table

WARM_UP = {"warm_up": 0.02, "start": 0.02}  # the first steps count: the rate is never 0
RATES = "generator_rate or critic_rate"


@dataclass(frozen=True, slots=True)
class CTGAN:
    """Settings of the conditional GAN; defaults are those of the benchmark.

    `epochs` (critic passes over the rows) counts without a budget, `critic_steps` under one. `batch` None: 2,048 rows,
    or all of a smaller table. Before the critic starts, the generator takes `warm_steps` on marginals alone; None: 600
    without a budget, 1,000 under one. `critic_weight` is what the critic's opinion counts beside the marginals; None: 1
    without a budget, 0.1 beside a noisy critic. `critic_rate` is its learning rate; None: 1e-3 and 3e-4.
    `max_grad_norm` None: the length of the critic's input, sqrt(columns + 1), which gradients reach where the critic's
    slope is 1. `pac` rows are judged together, 1 under a budget. `discovery` and `shares` split the budget; the critic
    takes the rest. `device` is where training runs: "auto" (a GPU when there is one), "cpu", "cuda" or "cuda:0".

    Raises InputError naming the setting that is out of range.
    """

    epochs: float = 100.0
    critic_steps: int = 200
    warm_steps: int | None = None
    batch: int | None = None
    critic_per_generator: int = 2
    max_grad_norm: float | None = None
    penalty: float = 10.0
    critic_weight: float | None = None
    match_weight: float = 50.0
    condition_weight: float = 1.0
    generator_rate: float = 4e-3
    critic_rate: float | None = None
    average: float = 0.99  # of the generator's weights
    temperature: float = 0.3
    noise_width: int = 64
    generator_width: int = 256
    generator_depth: int = 2
    critic_widths: tuple[int, ...] = (128, 128)
    generator_batch: int = 1024
    pac: int = 1
    bins: int = 32
    weight_floor: float = 2e-3  # smallest expected share that scales a marginal's cell
    discovery: float = 0.10
    shares: Shares = field(default_factory=Shares)
    seed: int = 0
    device: str = "auto"

    name: ClassVar[str] = "ctgan"
    sampler: ClassVar[type[Sampler]] = CTGANSampler

    def __post_init__(self) -> None:
        """Check every setting before a row is read."""
        rates = ("generator_rate", "critic_rate", "max_grad_norm", "temperature")
        _check.settings(self, _check.positive, "epochs", "batch", *rates, "weight_floor", "discovery")
        weights = ("penalty", "critic_weight", "match_weight", "condition_weight")
        _check.settings(self, _check.within, *weights, low=0, high=math.inf)
        _check.within("average", self.average, 0, 1)
        counts = ("critic_steps", "critic_per_generator", "noise_width", "generator_width", "pac", "bins")
        _check.settings(self, _check.at_least, *counts, low=1)
        _check.settings(self, _check.at_least, "generator_depth", "seed", "warm_steps", low=0)
        _check.at_least("generator_batch", self.generator_batch, 2 * self.pac)
        object.__setattr__(self, "critic_widths", tuple(self.critic_widths))
        for width in self.critic_widths:
            _check.at_least("critic_widths", width, 1)
        pick(self.device)
        if isinstance(self.shares, Mapping):
            object.__setattr__(self, "shares", Shares(**self.shares))
        if self.discovery + self.shares.total >= 1:
            raise InputError(
                f"discovery and shares must sum to less than 1, for the critic takes the rest; got {self.discovery:g} "
                f"and {self.shares.total:g}."
            )

    def fit(self, table: Table, ledger: Ledger, secret: Secret, progress: Progress = silent) -> Sampler:
        """Discover, measure, train; see `Synthesizer.fit`.

        Raises, before anything is charged, ModelError when noise would drown the declared number of rows, and
        InputError when `batch` is larger than that number, or `pac` is not 1 under a budget.
        """
        refuse_hopeless(table.schema, ledger, self.shares.one_way, self.discovery)
        require_room(table.schema, batch=self.batch)
        if self.pac > 1 and ledger.bounded:
            raise InputError("pac must be 1 under a budget: a critic that packs rows mixes privacy units.")
        table = bound_contributions(table, secret)
        known = discover(table, ledger, secret, share=self.discovery, bins=self.bins)
        encoder = Encoder(known.schema)
        rows = encoder.encode(table.private)
        targets = measure_targets(
            rows.tokens, encoder, known, shares=self.shares, floor=self.weight_floor, ledger=ledger, secret=secret
        )
        training = _Training(self, Layout(encoder), targets, secret, rows_per_unit=known.rows / known.units)
        dpsgd = self._dpsgd(training, table, known, ledger, secret)
        training.run(dpsgd, rows, progress, ledger.spent.epsilon)
        dpsgd.finish()
        return CTGANSampler(known.schema, training.averaged.cpu(), targets.one_way)

    def generator(self, layout: Layout, one_way: Tensor) -> Generator:
        """Return an untrained generator of these settings."""
        return Generator(
            layout, one_way, noise_width=self.noise_width, width=self.generator_width, depth=self.generator_depth
        )

    def _dpsgd(self, training: _Training, table: Table, known: Discovery, ledger: Ledger, secret: Secret) -> DPSGD:
        """Charge the critic's steps: what is left of the budget."""
        private, batch = ledger.bounded, self.batch or 2048
        clip = self.max_grad_norm or math.sqrt(len(training.layout.sizes) + 1)
        settings = DPSGDSettings(self.critic_steps, batch, clip) if private else passes(self.epochs, batch, known.units)
        rate = self.critic_rate or (3e-4 if private else 1e-3)
        optimizer = torch.optim.Adam(training.critic.parameters(), rate, betas=(0.5, 0.9))
        return charge_steps(settings, optimizer, table, known.units, ledger=ledger, secret=secret, why="critic")


class _Training:
    """The moving parts of one fit. `rng` is public; whatever is drawn for a private row comes from `secret`."""

    def __init__(
        self, settings: CTGAN, layout: Layout, targets: Targets, secret: Secret, *, rows_per_unit: float
    ) -> None:
        self.settings, self.layout, self.secret = settings, layout, secret
        self.device = pick(settings.device)
        self.one_way, self.targets = targets.one_way, targets.to(self.device)  # conditions are drawn on the processor
        self.rows_per_unit = rows_per_unit  # on average, a public number
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.generator = settings.generator(layout, targets.one_way)
            self.critic = Critic(
                (layout.width + len(layout.placed)) * settings.pac, layout.width * settings.pac, settings.critic_widths
            )
        self.generator.to(self.device)  # and the layout, which is a part of it
        self.critic.to(self.device)
        self.averaged = copy.deepcopy(self.generator)
        self.rng = torch.Generator().manual_seed(settings.seed)
        self.optimizer = torch.optim.Adam(self.generator.parameters(), settings.generator_rate, betas=(0.9, 0.99))

    def run(self, dpsgd: DPSGD, private: Encoded, progress: Progress, epsilon: float) -> None:
        """Train the generator on marginals, then against the critic; `epsilon` was charged and is shown as it is."""
        settings, every = self.settings, self.settings.critic_per_generator
        steps = dpsgd.settings.steps
        noisy = dpsgd.noise_multiplier > 0
        warm, weight = settings.warm_steps, settings.critic_weight
        warm = (1000 if noisy else 600) if warm is None else warm
        weight = (0.1 if noisy else 1.0) if weight is None else weight
        total = max(1, warm + steps // every)
        carried: dict[str, Stateful] = {
            "generator": self.generator,
            "averaged": self.averaged,
            "matching": self.optimizer,
            "public": Randomness(self.rng),
        }
        for step in range(taken_up("generator", carried), warm):
            keep("generator", step, carried)
            loss = self.generator_step(warm_up_cosine(step / total, **WARM_UP), critic_weight=0.0)
            if step % 20 == 0:
                progress(step, warm + steps, {"loss": loss, "epsilon": epsilon})
        keep("generator", warm, carried, last=True)
        for batch in dpsgd.batches(critic=self.critic, **carried):
            step, done = batch.step, (warm + batch.step // every) / total
            self.critic_step(dpsgd, batch, private)
            if step % every == 0:
                loss = self.generator_step(warm_up_cosine(done, **WARM_UP), critic_weight=weight)
                progress(warm + step, warm + steps, {"loss": loss, "epsilon": epsilon})
        require_finite(self.averaged.parameters(), RATES)
        require_near(self.shares(), self.targets.one_way, self.targets.noise, self.layout.sizes, RATES)

    @torch.no_grad()
    def shares(self) -> Tensor:
        """Return the mean probability of every token, (tokens,), in TRIED rows of the averaged generator."""
        condition, _ = self.conditions(TRIED)
        hidden, size = self.averaged.hidden(self.noise(TRIED), condition), rows_at_once(self.layout.tokens)
        pieces = zip(torch.split(hidden, size), torch.split(condition, size), strict=True)
        found = [self.layout.softmax(self.averaged.from_hidden(*each)[0]).sum(0) for each in pieces]
        return torch.stack(found).sum(0) / TRIED

    def critic_step(self, dpsgd: DPSGD, batch: Batch, private: Encoded) -> None:
        """Take one critic step: the clipped sum over real rows, noisy, and the generated rows' gradient beside it."""
        settings = self.settings
        fakes, public = self.generated_half(under_dp=math.isfinite(dpsgd.settings.max_grad_norm))
        real, mixed, owner = self.real_inputs(batch, private, fakes)

        def sum_of(places: NDArray[np.int64] | slice) -> list[Tensor]:
            at = places if isinstance(places, slice) else torch.from_numpy(places).to(self.device)
            return clipped_real_sum(
                self.critic,
                real[at],
                mixed[at],
                penalty=settings.penalty,
                max_grad_norm=dpsgd.settings.max_grad_norm,
                owner=None if owner is None else owner[at],
            )

        total = sum_of(slice(None))
        require_finite(total, RATES)  # which clipping guarantees: without a budget it tells of divergence
        if settings.pac > 1:  # a sum over packs stands for pac times as many rows
            total = [part * settings.pac for part in total]
        # the clipped sum is divided by the expected number of units, not of rows
        dpsgd.step(batch, total, [part * self.rows_per_unit for part in public], sum_of=sum_of)

    def generated_half(self, *, under_dp: bool) -> tuple[Tensor, list[Tensor]]:
        """Return generated rows and the gradient of their part of the critic's loss, which reads no private row.

        Under DP it holds a penalty of its own, at points between generated rows. The real rows' penalty is clipped
        with the rest of their gradient: alone it cannot hold a critic whose slope outgrew the clipping bound, while
        the generated rows, unclipped, drive the slope on.
        """
        settings = self.settings
        with torch.no_grad():
            condition, _ = self.conditions(settings.generator_batch)
            fakes = self.fakes(self.generator.hidden(self.noise(settings.generator_batch), condition), condition)
        between = None
        if under_dp:
            weight = torch.rand(len(fakes), 1, generator=self.rng).to(self.device)
            between = self.packed(weight * fakes + (1 - weight) * fakes.roll(1, 0), condition)
        public = generated_gradient(self.critic, self.packed(fakes, condition), between, penalty=settings.penalty)
        require_finite(public, RATES)
        return fakes, public

    def real_inputs(self, batch: Batch, private: Encoded, fakes: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return the critic's inputs for real rows and for their interpolates with generated rows, and their units.

        Every row draws its own condition (one of its own values), partner and mixing weight from the secret stream.
        """
        count, chosen = len(batch.rows), batch.rows
        column, partner, mix = torch.tensor(self.secret.uniform((3, count))).to(self.device)
        if self.settings.pac > 1:  # neighbours in the table are no random pack
            chosen = chosen[np.argsort(self.secret.uniform(count))]
        index = torch.tensor(private.tokens[chosen], dtype=torch.int64).to(self.device) + self.layout.starts
        rows = self.layout.encode(index, torch.tensor(private.offsets[chosen]).to(self.device), self.tables)
        condition = index.gather(1, (column * len(self.layout.sizes)).long()[:, None])[:, 0]
        weight = mix.float()[:, None]
        if self.settings.pac > 1:  # rows that are judged together share one weight
            weight = weight[:: self.settings.pac].repeat_interleave(self.settings.pac, 0)[:count]
        mixed = weight * rows + (1 - weight) * fakes[(partner * len(fakes)).long()]
        shared = len(batch.units) < count and self.settings.pac == 1
        owner = torch.tensor(batch.owner).to(self.device) if shared else None
        return self.packed(rows, condition), self.packed(mixed, condition), owner

    def generator_step(self, rate: float, critic_weight: float) -> float:
        """Take one generator step from the marginals, the condition and the critic; it reads no row."""
        settings = self.settings
        condition, columns = self.conditions(settings.generator_batch)
        hidden = self.generator.hidden(self.noise(settings.generator_batch), condition)
        if self.layout.wide:
            loss, drawn = self.matched_in_parts(hidden, condition, columns, judged=critic_weight > 0)
        else:
            logits, shifts = self.generator.from_hidden(hidden, condition)
            loss = settings.condition_weight * surprise(logits, self.layout.sizes, condition, columns).mean()
            loss = loss + settings.match_weight * match_loss(self.layout.softmax(logits), self.targets)
            drawn = self.draw(logits, shifts) if critic_weight > 0 else hidden
        if critic_weight > 0:
            loss = loss - critic_weight * self.critic(self.packed(drawn, condition)).mean()
        parameters = list(self.generator.parameters())
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        nn.utils.clip_grad_norm_(parameters, 10.0)
        self.optimizer.param_groups[0]["lr"] = settings.generator_rate * rate
        self.optimizer.step()
        average(self.averaged.parameters(), parameters, settings.average)
        require_finite([loss], RATES)
        return float(loss.detach())

    def matched_in_parts(
        self, hidden: Tensor, condition: Tensor, columns: Tensor, *, judged: bool
    ) -> tuple[Tensor, Tensor]:
        """Return the loss before the critic's opinion, and rows where they are `judged`: computed a few at a time."""
        settings, layout = self.settings, self.layout
        seed = torch.randint(2**62, (1,), generator=self.rng).expand(len(hidden)) + torch.arange(len(hidden))

        def part(hidden: Tensor, condition: Tensor, columns: Tensor, seed: Tensor) -> tuple[Tensor, ...]:
            logits, shifts = self.generator.from_hidden(hidden, condition)
            probabilities = layout.softmax(logits)
            found = probabilities.sum(0), *singled_out(probabilities, self.targets)
            lost = surprise(logits, layout.sizes, condition, columns)
            rng = torch.Generator().manual_seed(int(seed[0]))  # the same noise whenever it is called again
            return *found, lost, self.draw(logits, shifts, rng) if judged else hidden

        halves = zip(*(each.chunk(2) for each in (hidden, condition, columns, seed)), strict=True)
        parts = [in_parts(part, half, layout.tokens) for half in halves]
        match = distance([joined([each[:3] for each in half]) for half in parts], self.targets)
        lost, drawn = (torch.cat([each[place] for half in parts for each in half]) for place in (3, 4))
        return settings.condition_weight * lost.mean() + settings.match_weight * match, drawn

    def fakes(self, hidden: Tensor, condition: Tensor) -> Tensor:
        """Return drawn rows, a few at a time where they are wide."""
        size = rows_at_once(self.layout.tokens) if self.layout.wide else len(hidden)
        pieces = zip(torch.split(hidden, size), torch.split(condition, size), strict=True)
        return torch.cat([self.draw(*self.generator.from_hidden(*piece)) for piece in pieces])

    def draw(self, logits: Tensor, shifts: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Return differentiable rows; see `soft_rows`."""
        return soft_rows(
            self.layout, logits, shifts, self.tables, temperature=self.settings.temperature, rng=rng or self.rng
        )

    @property
    def tables(self) -> list[Tensor]:
        """The embeddings of wide columns as the critic is given them: the generator's, which no row has reached."""
        return [each.detach() for each in self.generator.embeddings()]

    def packed(self, rows: Tensor, condition: Tensor) -> Tensor:
        """Return the critic's inputs: `pac` rows side by side, then their conditions."""
        pac = self.settings.pac
        n = len(rows) // pac * pac
        given = self.layout.given(condition[:n], self.tables)
        parts = [part.reshape(n // pac, pac * part.shape[1]) for part in (rows[:n], given)]
        return torch.cat(parts, 1)

    def noise(self, count: int) -> Tensor:
        """Return the generator's input, standard normal."""
        return torch.randn(count, self.settings.noise_width, generator=self.rng).to(self.device)

    def conditions(self, count: int) -> tuple[Tensor, Tensor]:
        """Draw conditions from the measured one-way marginals."""
        condition, columns = draw_conditions(self.one_way, self.layout, count, self.rng)
        return condition.to(self.device), columns.to(self.device)
