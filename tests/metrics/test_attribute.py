import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tabsynth.errors import InputError
from tabsynth.metrics import Evidence, NotApplicable, NotMeasured
from tabsynth.metrics.attribute import GUESSERS, Asked, AttributeInference, secret_columns
from tabsynth.metrics.neighbours import closest
from tabsynth.schema import Column, Schema


def table(rng, size=1500, learned=0.0):
    """A secret that follows another column nine times in ten; the rows know the training rows' by a share."""
    schema = Schema(
        (Column("x", "categorical"), Column("y", "float"), Column("secret", "categorical", roles=("sensitive",)))
    )

    def draw():
        x, y = rng.integers(4, size=size), rng.random(size)
        secret = np.where(rng.random(size) < 0.9, x, rng.integers(4, size=size))
        return pd.DataFrame({"x": x.astype(str), "y": y, "secret": secret.astype(str)})

    train, holdout, rows = draw(), draw(), draw()
    copied = int(learned * size)
    return Evidence(schema, train, holdout, pd.concat([train.iloc[:copied], rows.iloc[copied:]]))


def test_the_closest_is_the_one_with_the_smallest_distance(rng):
    for size in (1, 511, 512, 1100):
        queries, points = rng.random((9, 4), dtype=np.float32) * 3, rng.random((size, 4), dtype=np.float32) * 3
        slow = np.minimum(np.abs(queries[:, None] - points[None]), 1).sum(axis=2).argmin(axis=1)
        assert closest(queries, np.ascontiguousarray(points.T)).tolist() == slow.tolist()


@pytest.mark.parametrize("attack", GUESSERS)
def test_what_the_population_teaches_is_no_leak(attack):
    metric, found = AttributeInference(attacks=(attack,), level=0.9), []
    for seed in range(15):
        found.append(metric(table(np.random.default_rng(seed), 400), np.random.default_rng(seed)))
    shares = [float(re.search(r"guessed right ([\d.]+)%", one.note)[1]) for one in found]
    assert min(shares) > 60  # often right, of anyone
    assert (
        np.mean([one.low <= 0 <= one.high for one in found]) >= 0.7
    )  # 11 of 15; fewer has a chance of one in a hundred
    error = np.std([one.value for one in found]) / np.sqrt(len(found))
    assert abs(np.mean([one.value for one in found])) < 3.5 * error


def test_a_secret_learned_from_training_rows_is_found():
    for seed in range(5):
        leak = table(np.random.default_rng(seed), learned=1.0)
        # of every secret the tenth that does not follow the other column is there for the nearest alone
        found = AttributeInference(attacks=("nearest",))(leak, np.random.default_rng(seed))
        assert found.low > 0.1
        assert found.value == pytest.approx(1 - 0.863, abs=0.05)  # one row in ten by another's chance


@pytest.mark.parametrize("learned", [0.0, 1.0])
def test_a_secret_of_few_integers_is_guessed_as_one_of_categories(learned):
    named = table(np.random.default_rng(0), learned=learned)
    columns = tuple(replace(one, kind="integer") if one.name == "secret" else one for one in named.columns)
    frames = [frame.astype({"secret": int}) for frame in (named.train, named.holdout, named.rows)]
    found = AttributeInference()(Evidence(Schema(columns), *frames), np.random.default_rng(1))
    assert found == AttributeInference()(named, np.random.default_rng(1))


def test_a_rare_secret_of_a_copy_is_found_and_of_a_fresh_sample_is_not(draw):
    for seed in range(2):
        fresh = draw(3000, 1500, 3000, seed)
        assert AttributeInference()(fresh, np.random.default_rng(seed)).low <= 0
        copy = replace(fresh, rows=fresh.train)
        assert AttributeInference()(copy, np.random.default_rng(seed)).low > 0.4


def test_a_number_is_guessed_when_its_rank_is_near(draw):
    fresh = draw(800, 400, 800)
    found = AttributeInference(columns=["systolic"])(replace(fresh, rows=fresh.train), np.random.default_rng(0))
    assert found.low > 0.5
    assert "column 'systolic'" in found.note
    assert AttributeInference(columns=["systolic"])(fresh, np.random.default_rng(0)).low <= 0


def test_the_commonest_value_and_missing_ones_are_not_asked_about(draw):
    fresh = draw(400, 200, 400)
    asked = Asked(fresh, 5000, np.random.default_rng(0))
    for side, real in enumerate((fresh.train, fresh.holdout)):
        assert asked.asked(fresh.schema["readmitted"], side).sum() == real["readmitted"].sum()
        assert asked.asked(fresh.schema["systolic"], side).sum() == real["systolic"].notna().sum()


def test_where_few_hold_another_than_the_commonest_value_all_are_asked_about(draw):
    fresh = draw(800, 400, 800)
    few, column = int(fresh.holdout["readmitted"].sum()), fresh.schema["readmitted"]
    assert few < 100
    assert [side.sum() for side in Asked(fresh, 5000, np.random.default_rng(0)).of_interest(column)] == [800, 400]
    found = AttributeInference(columns=["readmitted"])(fresh, np.random.default_rng(0))
    assert "of 800 against" in found.note
    assert found.low < 0.02
    assert found.high < 0.3


def test_secrets_are_named_declared_or_there_are_none(fresh, rng):
    assert [column.name for column in secret_columns(fresh)] == ["diagnosis", "readmitted"]
    assert [column.name for column in secret_columns(fresh, ["age"])] == ["age"]
    with pytest.raises(InputError, match="No column 'salary' to infer"):
        AttributeInference(columns=["salary"])(fresh, rng)
    bare = Evidence(
        Schema((Column("age", "integer"),)), *(e[["age"]] for e in (fresh.train, fresh.holdout, fresh.rows))
    )
    with pytest.raises(NotApplicable, match="none is the target"):
        AttributeInference()(bare, rng)
    with pytest.raises(NotApplicable, match="no column besides"):
        AttributeInference(columns=["age"])(bare, rng)


def test_a_secret_of_a_single_value_is_no_question(fresh, rng):
    tables = [table.assign(readmitted=False) for table in (fresh.train, fresh.holdout, fresh.rows)]
    with pytest.raises(NotApplicable, match="a single value in the real rows"):
        AttributeInference(columns=["readmitted"])(Evidence(fresh.schema, *tables), rng)


def test_few_rows_or_no_holdout_measure_nothing(draw, fresh, rng):
    with pytest.raises(NotMeasured, match="30 rows of either side with a known secret"):
        AttributeInference(columns=["readmitted"])(draw(200, 29, 200), rng)
    with pytest.raises(NotMeasured, match="needs a holdout"):
        AttributeInference()(replace(fresh, holdout=None), rng)


@pytest.mark.parametrize("settings", [{"attacks": ()}, {"attacks": ("oracle",)}, {"columns": "age"}, {"queries": 3}])
def test_settings_are_checked(settings):
    with pytest.raises(InputError):
        AttributeInference(**settings)
