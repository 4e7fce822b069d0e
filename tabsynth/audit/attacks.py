"""Scores: how much each canary looks as if it had been in the table. No score sees a coin.

The black box sees synthetic rows only, the white box the model too. Every score is a difference from a reference, the
same synthesizer fitted to the same table without any canary: what a canary looks like by itself is no evidence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabsynth.canonical import to_axis
from tabsynth.encoding.domain import held, inside
from tabsynth.encoding.encoder import Encoder
from tabsynth.metrics.neighbours import nearest
from tabsynth.schema import Schema
from tabsynth.synthesizers.base import Sampler
from tabsynth.synthesizers.independent import IndependentSampler
from tabsynth.synthesizers.scoring import HasLikelihood

Floats = NDArray[np.float64]
CLOSE = 0.05  # a distance from which on a synthetic row is no longer a copy
NEAR = 0.01  # of all ranks: numbers this close count as shared
MISSING = 3.0  # on the axis of ranks: at least 1 away from every number
FLOOR = 1e-12  # of a cell's probability, or of a character's of free text


@runtime_checkable
class HasCritic(Protocol):
    """A sampler that kept what judged its rows in training."""

    def critic_score(self, frame: pd.DataFrame) -> Floats:
        """Return how real each canonical row looks to the critic, shape (n,)."""
        ...


@dataclass(frozen=True, eq=False, slots=True)
class Sight:
    """What an attacker sees of one fit: its sampler (white box) and the rows drawn from it (black box)."""

    sampler: Sampler
    rows: pd.DataFrame


def score_canaries(
    canaries: pd.DataFrame, private: pd.DataFrame, seen: Sight, reference: Callable[[], Sight]
) -> dict[str, Floats]:
    """Return every score that the fit offers, by name, high where a canary looks planted: each of shape (canaries,).

    `reference` is asked for only where a score needs it, because it may cost a fit. Without synthetic rows the black
    box is left out.
    """
    scores: dict[str, Floats] = {}
    if len(seen.rows):
        scores |= black_box(canaries, private, seen.rows, reference().rows, seen.sampler.schema)
    for name, attack in (("likelihood (white box)", likelihoods), ("critic (white box)", critic_scores)):
        found = attack(seen.sampler, canaries)
        usual = None if found is None else attack(reference().sampler, canaries)
        if found is not None and usual is not None:
            scores[name] = found - usual
    if isinstance(seen.sampler, IndependentSampler):
        scores["marginals (white box)"] = excess(seen.sampler, canaries, private)
    return scores


def black_box(
    canaries: pd.DataFrame, private: pd.DataFrame, rows: pd.DataFrame, others: pd.DataFrame, schema: Schema
) -> dict[str, Floats]:
    """Return the scores that need synthetic rows alone, `others` being those of the reference.

    `nearest row`: how much closer the nearest synthetic row is than the reference's. `shared values`: how many more
    synthetic rows share the canary's values, column by column, in units of what chance would make of it.
    """
    frames = _placed([canaries, rows, others, private], schema)
    near = [np.log(CLOSE + nearest(frames[0], points, 1)[:, 0]) for points in frames[1:3]]
    shared = [_sharing(frames[0], points) for points in frames[1:3]]
    return {
        "nearest row (black box)": np.asarray(near[1] - near[0], np.float64),
        "shared values (black box)": ((shared[0] - shared[1]) / np.sqrt(shared[0] + shared[1] + 1)).sum(1),
    }


def likelihoods(sampler: Sampler, frame: pd.DataFrame) -> Floats | None:
    """Return the log-likelihood of each row under the model, floored; None when the model does not know it.

    Rows with a value outside of the domain that the model discovered cannot be drawn: they get the floor.
    """
    if not isinstance(sampler, HasLikelihood):
        return None
    cells = sum(column.max_length or 1 for column in sampler.schema.modelled)
    return _scored(sampler, frame, sampler.log_likelihood, np.log(FLOOR) * cells)


def critic_scores(sampler: Sampler, frame: pd.DataFrame) -> Floats | None:
    """Return the critic's score of each row, 0 outside of its domain; None when the model kept no critic."""
    return _scored(sampler, frame, sampler.critic_score, 0.0) if isinstance(sampler, HasCritic) else None


def _scored(sampler: Any, frame: pd.DataFrame, score: Callable[[pd.DataFrame], Floats], outside: float) -> Floats:
    """Score the rows that the model's domain holds; the others get `outside`, and nothing is below it."""
    known, scores = inside(frame, Encoder(sampler.schema)), np.full(len(frame), outside)
    if known.any():
        found = np.asarray(score(frame[known].reset_index(drop=True)), np.float64)
        scores[known] = np.nan_to_num(found, nan=outside, neginf=outside)
    return np.maximum(scores, outside) if outside < 0 else scores


def excess(sampler: IndependentSampler, frame: pd.DataFrame, private: pd.DataFrame) -> Floats:
    """Return how much each canary is needed to explain what the model's marginals have beyond the table's.

    The attacker knows the table without canaries, so what remains of every cell is the coins of the canaries that share
    it, and noise: a linear model, whose coins are estimated by ridge regression, the noise counting as much as what
    remains varies. With one canary it is the sum of its cells' excess, the most powerful score against Gaussian noise.
    """
    arrays = sampler.state()[1]
    remains, belongs = [], []
    encoder = Encoder(sampler.schema)
    frame, private = encoder.reduced(frame), encoder.reduced(private)
    for place, codec in enumerate(encoder.codecs):
        cells = np.arange(codec.size + 1)  # one more for values outside of a discovered domain
        known = np.bincount(_tokens(codec, private[codec.column.name]), minlength=len(cells))
        found = np.append(arrays[f"column.{place}"], 0.0) * (len(private) + len(frame) / 2)
        remains.append(found - known)
        belongs.append((_tokens(codec, frame[codec.column.name]) == cells[:, None]).astype(np.float64))
    rest, member = np.concatenate(remains), np.concatenate(belongs)
    noise = 4 * np.var(rest) + 1  # in units of a coin's variance, a quarter
    return np.asarray(member.T @ np.linalg.solve(member @ member.T + noise * np.eye(len(rest)), rest))


def _tokens(codec: Any, series: pd.Series) -> NDArray[np.int64]:
    """Return tokens, with one more for values that the domain does not hold."""
    tokens, known = np.full(len(series), codec.size, np.int64), held(series, codec.column)
    tokens[known] = codec.tokens(series[known].reset_index(drop=True))
    return tokens


def _placed(frames: list[pd.DataFrame], schema: Schema) -> list[NDArray[np.float32]]:
    """Place rows of several frames on common axes: ranks among all values together, or category numbers."""
    columns: list[list[Floats]] = []
    for column in schema.modelled:
        series = [frame[column.name] for frame in frames]
        if column.numeric:
            columns.append(_ranks([to_axis(one, column) for one in series]))
        else:
            codes = pd.factorize(pd.concat([one.astype(object).astype(str) for one in series], ignore_index=True))[0]
            columns.append(np.split(codes.astype(np.float64), np.cumsum([len(one) for one in series])[:-1]))
    return [np.ascontiguousarray(np.stack(parts, 1), dtype=np.float32) for parts in zip(*columns, strict=True)]


def _ranks(axes: list[Floats]) -> list[Floats]:
    """Return every value's middle rank among the canaries' and the table's values, in [0, 1]; missing far away."""
    known = np.concatenate([axes[0], axes[-1]])
    levels, counts = np.unique(known[~np.isnan(known)], return_counts=True)
    if not len(levels):
        return [np.where(np.isnan(axis), MISSING, 0.0) for axis in axes]
    ranks = (np.cumsum(counts) - counts / 2) / counts.sum()
    return [np.where(np.isnan(axis), MISSING, np.interp(axis, levels, ranks)) for axis in axes]


def _sharing(queries: NDArray[np.float32], points: NDArray[np.float32]) -> Floats:
    """Count, per query and column, the points whose value is within NEAR of it: shape (queries, columns)."""
    counts = np.empty(queries.shape)
    for place in range(queries.shape[1]):
        ordered = np.sort(points[:, place])
        high = np.searchsorted(ordered, queries[:, place] + NEAR, side="right")
        counts[:, place] = high - np.searchsorted(ordered, queries[:, place] - NEAR, side="left")
    return counts
