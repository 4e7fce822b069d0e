"""What a fitted conditional GAN keeps, and how it draws rows: a few thousand at a time, conditions first."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional

from tabsynth.encoding.conditions import Allowed
from tabsynth.encoding.encoder import Encoded, Encoder
from tabsynth.schema import Schema
from tabsynth.synthesizers.base import Arrays, Sampler
from tabsynth.synthesizers.generator import Asked, Generator, Layout, draw_conditions, padded, rarest
from tabsynth.synthesizers.picking import outputs_at, picked

BLOCK = 2048  # rows that are sampled together, always: so what is drawn does not depend on how many are asked for
CELLS = 4_000_000  # of the logits of a block


class CTGANSampler(Sampler):
    """The averaged generator and the one-way marginals that its conditions are drawn from."""

    def __init__(self, schema: Schema, generator: Generator, one_way: Tensor) -> None:
        self.schema, self._generator, self._one_way = schema, generator.eval(), one_way
        self._encoder, self._to_logits = Encoder(schema), padded(generator.to_logits)

    @cached_property
    def _layout(self) -> Layout:
        return Layout(self._encoder)

    def draw_given(self, rows: int, rng: np.random.Generator, allowed: Mapping[str, Allowed]) -> pd.DataFrame:
        """Return rows whose conditional vector meets the rarest condition; others, and rows that disobey, are to go."""
        return self.draw(rows, rng, rarest(self._one_way, self._layout, self._encoder.names, allowed))

    def draw(self, rows: int, rng: np.random.Generator, asked: Asked | None = None) -> pd.DataFrame:
        """Return rows of the generator; the first rows of a larger sample are those of a smaller one."""
        source = torch.Generator().manual_seed(int(rng.integers(2**63)))
        size = max(1, min(BLOCK, CELLS // self._layout.tokens))
        blocks = [self._block(size, source, asked) for _ in range(0, rows, size)]
        tokens = np.concatenate([block.tokens for block in blocks])[:rows]
        return self._encoder.decode(tokens, rng, np.concatenate([block.offsets for block in blocks])[:rows])

    @torch.no_grad()
    def _block(self, rows: int, source: torch.Generator, asked: Asked | None) -> Encoded:
        """Return tokens and places within bins of one block; of the shifts only those that are used are computed."""
        layout, generator = self._layout, self._generator
        condition, _ = draw_conditions(self._one_way, layout, rows, source, asked=asked)
        noise = torch.randn(rows, generator.from_noise.in_features, generator=source)
        hidden = generator.hidden(noise, condition)
        logits = generator.opened(functional.linear(hidden, *self._to_logits))
        logits[torch.arange(rows), condition] += generator.obedience
        uniform = torch.rand(rows, len(layout.sizes), generator=source)
        tokens = picked(logits, torch.cat([layout.starts, torch.tensor([layout.tokens])]), uniform)
        places = torch.full(tokens.shape, 0.5)
        shift = outputs_at(generator.to_shifts, hidden, (tokens + layout.firsts)[:, layout.placed])
        uniform = torch.rand(shift.shape, generator=source).clamp(1e-6, 1 - 1e-6)
        places[:, layout.placed] = torch.sigmoid(uniform.logit() + shift).clamp(max=1 - 1e-6)
        return Encoded(tokens.numpy().astype(np.int32), places.numpy())

    def state(self) -> tuple[dict[str, Any], Arrays]:
        """Return the generator's shape and weights, and the marginals."""
        own = self._generator
        shape = {"noise_width": own.from_noise.in_features, "generator_width": own.from_noise.out_features}
        weights = {f"generator.{name}": value.numpy() for name, value in own.state_dict().items()}
        return shape | {"generator_depth": len(own.blocks)}, weights | {"one_way": self._one_way.numpy()}

    @classmethod
    def from_state(cls, schema: Schema, values: Mapping[str, Any], arrays: Arrays) -> Self:
        """Return the sampler with these weights."""
        one_way = torch.tensor(arrays["one_way"])
        shape = {name.removeprefix("generator_"): int(value) for name, value in values.items()}
        with torch.random.fork_rng(devices=[]):  # the weights are overwritten, and nobody's random state is used
            generator = Generator(Layout(Encoder(schema)), one_way, **shape)
        named = {name.removeprefix("generator."): value for name, value in arrays.items() if name != "one_way"}
        generator.load_state_dict({name: torch.tensor(value) for name, value in named.items()})
        return cls(schema, generator, one_way)
