"""Estimation: the graphical model that fits noisy marginals best, by mbi's mirror descent.

What is measured may be coarser than what is modelled: a measurement counts groups of tokens, and the model is
maximum-entropy within a group but for what other measurements say.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tabsynth.errors import ModelError
from tabsynth.graphical.elimination import Clique, Factor

STEPS = 50  # of the descent, compiled as one program
OPTIONS = {"xla_backend_optimization_level": 0}  # compiling takes longer than running


@dataclass(frozen=True, eq=False, slots=True)
class Measurement:
    """Noisy counts over `columns`, an axis each, with the noise's standard deviation in rows (a number, or per count).

    `groups` says, per column, which count each of its tokens belongs to.
    """

    columns: Clique
    groups: tuple[NDArray[np.int64], ...]
    counts: NDArray[np.float64]
    scale: NDArray[np.float64] | float


def estimate(
    measurements: Sequence[Measurement], sizes: Sequence[int], total: float, iterations: int
) -> tuple[Factor, ...]:
    """Return the log potentials of the graphical model over all columns that is nearest to the measurements.

    Nearest is by squares in units of the noise; `total` is the number of rows.

    Raises ModelError when mbi is not installed.
    """
    mbi = _mbi()
    domain = mbi.Domain([str(column) for column in range(len(sizes))], list(sizes))
    queries = [
        mbi.LinearMeasurement(
            (measured.counts / np.maximum(measured.scale, _least_scale(measured))).ravel(),
            tuple(map(str, measured.columns)),
            stddev=1.0,
            query=_Grouped(measured),
        )
        for measured in measurements
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        potentials = _descend(mbi, domain, queries, total, iterations)
    return tuple(
        Factor(tuple(int(name) for name in clique), np.asarray(potentials[clique].values, np.float64))
        for clique in potentials.cliques
    )


def _descend(mbi: ModuleType, domain: Any, queries: Sequence[Any], total: float, iterations: int) -> Any:
    """Return the potentials after this many steps of mbi's mirror descent.

    mbi's own loop compiles its start op by op and every program with costly passes; this one runs the same steps.
    """
    import jax

    loss = mbi.marginal_loss.from_linear_measurements(list(queries), domain)
    descent = mbi.estimation.MirrorDescent()
    compiled = partial(jax.jit, compiler_options=OPTIONS)

    def step(state: Any, _: None, loss: Any) -> tuple[Any, None]:
        return descent._step(state, loss, total), None

    @compiled
    def steps(state: Any, loss: Any) -> Any:
        return jax.lax.scan(partial(step, loss=loss), state, None, length=STEPS)[0]

    state = compiled(lambda loss: descent._init(domain, loss, total))(loss)
    for _ in range(-(-iterations // STEPS)):
        state = steps(state, loss)
    return state.potentials


def _least_scale(measured: Measurement) -> float:
    """Return the scale that exact counts are weighted with, since a weight has to be finite."""
    return 1e-6 + 0.01 * float(np.sqrt(max(float(measured.counts.mean()), 1.0)))


class _Grouped:
    """A query to mbi: a factor's cells summed by group, in units of the noise."""

    def __init__(self, measured: Measurement) -> None:
        self._groups = measured.groups
        self._shape = measured.counts.shape
        scale = np.maximum(measured.scale, _least_scale(measured))
        self._weights = np.broadcast_to(1 / scale, self._shape)

    def __call__(self, factor: Any) -> Any:
        import jax.numpy as jnp

        values = factor.values
        for axis, (groups, size) in enumerate(zip(self._groups, self._shape, strict=True)):
            if len(groups) != size or not np.array_equal(groups, np.arange(size)):
                summing = (groups[:, None] == np.arange(size)).astype(np.float64)
                values = jnp.moveaxis(jnp.tensordot(values, summing, axes=(axis, 0)), -1, axis)
        return (values * self._weights).ravel()

    def op_norm_sq(self) -> float:
        """Return the squared operator norm: the largest group times the largest weight squared."""
        largest = [np.bincount(groups).max() for groups in self._groups]
        return float(np.prod(largest) * np.max(self._weights) ** 2)


def _mbi() -> ModuleType:
    """Import mbi over JAX, in 64 bit and without JAX's compilation cache, which slows down many small programs."""
    try:
        config: Any = import_module("jax").config
        config.update("jax_enable_x64", True)
        config.update("jax_enable_compilation_cache", False)
        return import_module("mbi")
    except ImportError as error:
        raise ModelError(f"Graphical models are estimated by mbi; pip install mbi ({error.name} is missing).") from None
