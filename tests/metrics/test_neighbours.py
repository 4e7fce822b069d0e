import numpy as np
import pandas as pd
import pytest

from tabsynth.metrics import Evidence
from tabsynth.metrics.neighbours import BLOCK, nearest, place
from tabsynth.schema import Column, Schema
from tabsynth.table import read


def slow_gower(a, b, train, columns):
    """The distance of two rows as its definition reads."""
    total = 0.0
    for column in columns:
        x, y, known = a[column.name], b[column.name], train[column.name]
        if pd.isna(x) or pd.isna(y):
            total += 0.0 if pd.isna(x) and pd.isna(y) else 1.0
        elif not column.numeric:
            total += float(x != y)
        else:
            rank = [sum((other < value) + (other <= value) for other in known) / 2 / len(known) for value in (x, y)]
            total += abs(rank[0] - rank[1])
    return total


def slow_nearest(queries, train, columns):
    """All distances from each query to the training rows, in order."""
    known = {column.name: train[column.name].dropna().tolist() for column in columns}
    points = train.to_dict("records")
    return [sorted(slow_gower(a, b, known, columns) for b in points) for a in queries.to_dict("records")]


def test_each_code_among_numbers_is_a_value_of_its_own():
    column = Column("wage", "integer", bounds=(0, 90), codes=("refused", 99), nullable=True)
    frame = read(pd.DataFrame({"wage": [10, 20, "refused", 99, None, "refused"]}), Schema((column,))).private
    points = place(frame, frame, (column,))
    apart = np.minimum(np.abs(points - points.T), 1)
    assert apart[2].tolist() == [1, 1, 0, 1, 1, 0]
    assert apart[4].tolist() == [1, 1, 1, 1, 0, 1]
    assert apart[0, 1] == 0.5


def test_the_kernel_agrees_with_the_definition_on_mixed_rows_with_gaps(draw):
    evidence = draw(30, 6, 6)
    columns, train = evidence.columns, evidence.train
    points = place(train, train, columns)
    found = nearest(points[:10], points, k=4)
    assert found == pytest.approx(np.array(slow_nearest(train.iloc[:10], train, columns))[:, :4], abs=1e-5)
    # a holdout value between two training values is placed between their ranks, by its definition at the step there
    found = nearest(place(evidence.holdout, train, columns), points, k=3)
    slow = np.array(slow_nearest(evidence.holdout, train, columns))[:, :3]
    assert found == pytest.approx(slow, abs=len(columns) / 2 / len(train))


@pytest.mark.parametrize("size", [1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 3])
def test_blocks_leave_no_point_out(size, rng):
    queries, points = rng.random((7, 3), dtype=np.float32) * 2, rng.random((size, 3), dtype=np.float32) * 2
    slow = np.sort(np.minimum(np.abs(queries[:, None] - points[None]), 1).sum(axis=2), axis=1)[:, :5]
    found = nearest(queries, points, k=5)
    assert found[:, : slow.shape[1]] == pytest.approx(slow, abs=1e-5)
    assert (found[:, slow.shape[1] :] == 3).all()


def test_missing_equals_missing_only_and_values_outside_the_training_range_keep_their_place():
    schema = Schema((Column("x", "float", nullable=True),))
    train = pd.DataFrame({"x": [0.0, 1.0, 2.0, np.nan]})
    evidence = Evidence(schema, train, None, pd.DataFrame({"x": [np.nan, 99.0]}))
    points = [place(frame, evidence.train, evidence.columns) for frame in (evidence.rows, evidence.train)]
    assert nearest(points[0], points[1], k=4)[0].tolist() == [0, 1, 1, 1]
    assert nearest(points[0], points[1], k=1)[1].tolist() == [0]


def test_a_column_without_a_known_value_is_no_obstacle():
    schema = Schema((Column("x", "float", nullable=True),))
    evidence = Evidence(schema, pd.DataFrame({"x": [np.nan]}), None, pd.DataFrame({"x": [1.0]}))
    points = place(evidence.rows, evidence.train, evidence.columns)
    assert nearest(points, place(evidence.train, evidence.train, evidence.columns), k=1).tolist() == [[1]]
