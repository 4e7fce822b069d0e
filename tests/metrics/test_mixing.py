import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tabsynth.errors import InputError
from tabsynth.metrics import Evidence, NotApplicable
from tabsynth.metrics.mixing import mixing_curve
from tabsynth.schema import Column, Schema


def frame(rng, rows, kind="categorical"):
    x = rng.normal(size=rows)
    signal = x + rng.normal(scale=0.7, size=rows)
    y = signal if kind == "float" else np.array(list("abc"))[np.digitize(signal, [0.5, 1.8])]
    return pd.DataFrame({"x": x, "z": rng.normal(size=rows), "y": y})


def made(rng, kind="categorical"):
    schema = Schema((Column("x", "float"), Column("z", "float"), Column("y", kind, roles=("target",))))
    return Evidence(schema, frame(rng, 1000, kind), frame(rng, 1000, kind), frame(rng, 800, kind))


def test_a_fresh_sample_gives_a_flat_curve_and_a_shuffled_target_a_falling_one(shuffle, rng):
    evidence = made(rng)
    flat = mixing_curve(evidence, rng, shares=(0, 0.5, 1), learner="linear")
    assert [point.share for point in flat] == [0, 0.5, 1]
    assert abs(flat[0].overall.value - flat[2].overall.value) < 0.03
    assert (flat[0].overall.note, flat[0].rare.note) == ("AUC", "average precision")
    assert 0.5 < flat[0].rare.value < flat[0].overall.value
    falling = mixing_curve(
        replace(evidence, rows=shuffle(evidence.rows, "y")), rng, shares=(0, 0.75, 1), learner="linear"
    )
    assert falling[2].overall.high < falling[0].overall.low
    assert falling[2].rare.high < falling[0].rare.low
    assert json.loads(json.dumps(falling[0].to_dict()))["overall"]["low"] == falling[0].overall.low


def test_synthetic_rows_without_the_rare_class_lose_it_first(rng):
    evidence = made(rng)
    without = replace(evidence, rows=evidence.rows.loc[evidence.rows["y"] != "c"])
    first, last = mixing_curve(without, rng, shares=(0, 1), repeats=1, learner="forest")
    share = (evidence.holdout["y"] == "c").mean()
    assert last.rare.value == pytest.approx(share)  # a class that was never seen gets one score everywhere
    assert first.rare.low > 3 * share


def test_of_two_classes_the_rare_one_has_a_score_of_its_own(rng):
    evidence = made(rng)
    tables = [table.assign(y=table["y"] == "c") for table in (evidence.train, evidence.holdout, evidence.rows)]
    columns = (*evidence.columns[:2], Column("y", "boolean", roles=("target",)))
    (point,) = mixing_curve(Evidence(Schema(columns), *tables), rng, shares=(1,), repeats=1, learner="linear")
    assert point.rare.high < point.overall.value


def test_a_numeric_target_has_no_rare_class(rng):
    (point,) = mixing_curve(made(rng, "float"), rng, shares=(1,), repeats=1, learner="linear")
    assert point.rare is None
    assert point.to_dict()["rare"] is None
    assert point.overall.value == pytest.approx(1 / 1.49, abs=0.06)  # the share of variance that x explains
    assert point.overall.note == "R²"


def test_what_is_asked_wrongly_says_so(rng):
    evidence = made(rng)
    for wrong in ({"shares": (2,)}, {"most": 1}, {"repeats": 0}):
        with pytest.raises(InputError):
            mixing_curve(evidence, rng, **wrong)
    untargeted = Schema(tuple(replace(column, roles=()) for column in evidence.columns))
    with pytest.raises(NotApplicable, match="No target"):
        mixing_curve(replace(evidence, schema=untargeted), rng)
