from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tabsynth.metrics import Evidence, NotApplicable, NotMeasured
from tabsynth.metrics.sides import sides
from tabsynth.metrics.wp29 import Inference, Linkability, SinglingOut, _halves
from tabsynth.schema import Column, Schema

GAMES = (SinglingOut(), Linkability(), Inference())


@pytest.mark.parametrize("game", GAMES, ids=lambda game: game.name)
def test_a_fresh_sample_scores_nothing_and_the_interval_covers_that(game, draw):
    found = [replace(game, level=0.9)(draw(600, 300, 600, seed), np.random.default_rng(seed)) for seed in range(25)]
    assert (
        np.mean([one.low <= 0 <= one.high for one in found]) >= 0.72
    )  # 18 of 25; fewer has a chance of one in a hundred
    error = np.std([one.value for one in found]) / np.sqrt(len(found))
    assert abs(np.mean([one.value for one in found])) < 3.5 * error


@pytest.mark.parametrize("game", GAMES, ids=lambda game: game.name)
def test_a_copy_loses_every_game(game, draw):
    for seed in range(3):
        evidence = draw(1500, 750, 1500, seed)
        assert game(replace(evidence, rows=evidence.train), np.random.default_rng(seed)).low > 0.1
        assert game(evidence.as_independent(np.random.default_rng(seed)), np.random.default_rng(seed)).low < 0.03


def test_a_person_is_singled_out_by_what_only_they_have(rng):
    schema = Schema((Column("x", "categorical"), Column("y", "categorical")))
    frames = [pd.DataFrame(rng.integers(30, size=(n, 2)).astype(str), columns=["x", "y"]) for n in (600, 300, 200)]
    evidence = Evidence(schema, *frames)
    drawn = sides(evidence, 5000, np.random.default_rng(7))
    known, guesses = (set(map(tuple, frame.to_numpy())) for frame in (drawn.known, drawn.rows))
    shares = []
    for side in (drawn.members, drawn.others):
        alone = [row for row in map(tuple, side.to_numpy()) if row not in known]
        shares.append(np.mean([row in guesses for row in alone]))
    assert SinglingOut()(evidence, np.random.default_rng(7)).value == pytest.approx(shares[0] - shares[1])


def test_numbers_near_one_another_are_one_guess(draw):
    evidence = draw(1500, 750, 1500)
    near = evidence.train.assign(copay=evidence.train["copay"] * 1.001)
    assert SinglingOut()(replace(evidence, rows=near), np.random.default_rng(0)).low > 0.9


def test_columns_that_depend_on_nothing_are_linked_by_a_coin(rng):
    schema = Schema((Column("x", "float"), Column("y", "float")))
    frames = [pd.DataFrame(rng.random((n, 2)), columns=["x", "y"]) for n in (2000, 1000, 2000)]
    evidence = Evidence(schema, *frames)
    note = Linkability()(evidence, rng).note
    shares = [float(word.rstrip("%")) for word in note.split() if word.endswith("%")]
    assert shares == pytest.approx([50, 50], abs=8)  # of 500 pairs
    constant = replace(evidence, rows=pd.DataFrame({"x": [0.5], "y": [0.5]}))
    assert Linkability()(constant, rng).low <= 0 <= Linkability()(constant, rng).high


def test_the_two_databases_share_no_column_and_are_of_one_size(rng):
    halves = _halves(400, 5, rng)
    assert (halves.sum(axis=1) == 2).all()
    assert halves.mean(axis=0) == pytest.approx([0.4] * 5, abs=0.1)


def test_games_that_cannot_be_played_say_so(draw, rng):
    schema = Schema((Column("x", "boolean"),))
    one = Evidence(schema, *(pd.DataFrame({"x": rng.random(200) < 0.5}) for _ in range(3)))
    for game in GAMES:
        with pytest.raises(NotApplicable):
            game(one, rng)
        with pytest.raises(NotMeasured, match="needs a holdout"):
            game(replace(draw(200, 100, 200), holdout=None), rng)
    with pytest.raises(NotMeasured, match="30 pairs"):
        Linkability()(draw(200, 50, 200), rng)
