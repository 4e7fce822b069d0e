"""Attacks on membership: each gives every attacked row a score, higher where it looks trained on.

Every attack is a function of the row, the known rows and the synthetic rows, so that guessing is all it can do where
the synthetic rows follow from the population alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from tabsynth.metrics.coding import Floats, binned
from tabsynth.metrics.costs import boosting, neighbours, passes
from tabsynth.metrics.likelihood import FIRST_ROWS, log_ratio
from tabsynth.metrics.neighbours import nearest, place
from tabsynth.metrics.sides import Sides

DISTANCES = ("distance", "calibrated distance", "density ratio")
ATTACKS = (*DISTANCES, "classifier", "queries", "likelihood ratio")
LEARNED = 20_000  # rows of either kind that the classifier is trained on
QUERIES = 100  # counts asked for each row
WIDEST = 8  # columns of a count


def attack(sides: Sides, attacks: Sequence[str], rng: np.random.Generator) -> dict[str, Floats]:
    """Return the scores of each of `attacks` (of ATTACKS), members first."""
    found: dict[str, Floats] = {}
    if set(attacks) & set(DISTANCES):
        found |= by_distance(sides)
    if "classifier" in attacks:
        found["classifier"] = by_classifier(sides, rng)
    if "queries" in attacks:
        found["queries"] = by_queries(sides, rng)
    if "likelihood ratio" in attacks:
        found["likelihood ratio"] = log_ratio(sides)
    return {name: found[name] for name in attacks}


def seconds(attacked: int, known: int, rows: int, width: int) -> dict[str, float]:
    """Return what each of ATTACKS takes on so many rows."""
    every = attacked + known + rows
    near = neighbours(attacked, rows + min(known, rows), width) + passes(every, width)
    learned = min(rows, LEARNED) + min(known, LEARNED)
    return {
        **dict.fromkeys(DISTANCES, near),
        "classifier": 2 * boosting(learned, width, guessed=attacked) + passes(every, width),  # trees of 63 leaves
        "queries": passes(every, 1, QUERIES),
        "likelihood ratio": passes(every, width) + passes(min(known, FIRST_ROWS), width * width / 4),
    }


def by_distance(sides: Sides) -> dict[str, Floats]:
    """Score by the distance to the closest synthetic row, the same less the distance to the closest known row, and the
    log ratio of the distances to the fifth closest (a local density ratio, after DOMIAS, 2302.12580).
    """  # noqa: D205  (one sentence)
    # ranks among the known rows: a scale made from the members would give them away
    attacked, points, known = (place(f, sides.known, sides.columns) for f in (sides.attacked, sides.rows, sides.known))
    to_rows = nearest(attacked, points, k=5).astype(np.float64)
    # the known rows are as many as the synthetic ones where they can be, so that their distances compare
    to_known = nearest(attacked, known[: len(points)], k=5).astype(np.float64)
    scores = (
        -to_rows[:, 0],
        to_known[:, 0] - to_rows[:, 0],
        np.log((to_known[:, 4] + 1e-3) / (to_rows[:, 4] + 1e-3)),
    )
    return dict(zip(DISTANCES, scores, strict=True))


def by_classifier(sides: Sides, rng: np.random.Generator) -> Floats:
    """Score by the log odds, learned by gradient boosting, that a row is synthetic rather than known.

    That is the log ratio of two densities (as in DOMIAS) without a choice of distance: it sees where the synthetic
    table holds too much of a region, such as around rows that were copied many times.
    """
    attacked, points, known = (place(f, sides.known, sides.columns) for f in (sides.attacked, sides.rows, sides.known))
    points, known = (each[rng.permutation(len(each))[:LEARNED]] for each in (points, known))
    learned, synthetic = np.concatenate([points, known]), np.arange(len(points) + len(known)) < len(points)
    model = HistGradientBoostingClassifier(
        max_iter=100, max_leaf_nodes=63, min_samples_leaf=5, early_stopping=False, random_state=int(rng.integers(2**31))
    )
    with threadpool_limits(limits=1):
        return np.asarray(model.fit(learned, synthetic).decision_function(attacked), dtype=np.float64)


def by_queries(sides: Sides, rng: np.random.Generator) -> Floats:
    """Score by counts around the row: how many synthetic rows agree with it on a few columns, against known rows.

    The mean log ratio of both counts over 100 random sets of two to eight columns, numbers cut at the 20-quantiles of
    the known rows. It needs no distance at all, and counts are what query-based attacks read (TAPAS, 2211.06550).
    """
    width = len(sides.columns)
    odd = rng.integers(2**62, size=width, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    frames = sides.attacked, sides.rows, sides.known
    cells = [
        binned(column, sides.known[column.name], *(frame[column.name] for frame in frames)) for column in sides.columns
    ]
    # cells of a set of columns are told apart by a sum of random multiples
    hashed = [
        np.stack([each[i].astype(np.uint64) * odd[c] for c, each in enumerate(cells)]) for i in range(len(frames))
    ]
    share = len(sides.known) / len(sides.rows)
    score = np.zeros(len(sides.attacked))
    for _ in range(QUERIES):
        size = int(rng.integers(min(2, width), min(WIDEST, width) + 1))
        chosen = rng.choice(width, size, replace=False)
        asked, synthetic, known = (each[chosen].sum(axis=0) for each in hashed)
        score += np.log((_count(asked, synthetic) * share + 0.5) / (_count(asked, known) + 0.5))
    return score / QUERIES


def _count(
    asked: np.ndarray[tuple[int], np.dtype[np.uint64]], among: np.ndarray[tuple[int], np.dtype[np.uint64]]
) -> Floats:
    """Return how often each value occurs among others."""
    ordered = np.sort(among)
    return (np.searchsorted(ordered, asked, "right") - np.searchsorted(ordered, asked, "left")).astype(np.float64)
