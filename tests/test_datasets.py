"""The embedded tables: what their docstrings promise, and the loader's bad days."""

import gzip
import re
from urllib.error import URLError

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score

from tabsynth import datasets
from tabsynth.errors import InputError, TableError
from tabsynth.schema import Schema
from tabsynth.table import read

ADULT_ROW = (
    "39, State-gov, 77516, Bachelors, 13, Never-married, Adm-clerical, Not-in-family, White, Male, 2174, 0, 40, "
    "United-States, <=50K"
)
ADULT_GAPS = "25, ?, 226802, 11th, 7, Never-married, ?, Own-child, Black, Male, 0, 0, 40, ?, >50K"
ADULT_NAMES = ",".join(datasets.adult_schema().names)


def breaks(frame: pd.DataFrame, schema: Schema) -> list[str]:
    """List the columns that hold a value which their schema does not allow, the slow and obvious way."""
    broken = []
    for column in schema:
        values = frame[column.name]
        present = values.dropna()
        if column.levels:
            allowed = {str(value) for value in present} <= set(column.levels)
        elif column.bounds:
            axis = present.astype("datetime64[s]").astype("int64") if column.kind == "datetime" else present
            allowed = column.bounds[0] <= axis.min() and axis.max() <= column.bounds[1]
        else:
            allowed = True
        if not allowed or (values.isna().any() and not column.nullable):
            broken.append(column.name)
    return broken


@pytest.fixture(scope="module")
def visits():
    return datasets.clinic_visits(rows=20_000, seed=3).frame


def test_clinic_visits_fit_their_complete_schema(visits):
    schema = datasets.clinic_schema()
    assert tuple(visits.columns) == schema.names
    assert schema.undeclared() == ()
    assert schema.target == "readmitted"
    assert breaks(visits, schema) == []
    assert breaks(visits.assign(age=101, region="Atlantis"), schema) == ["region", "age"]


def test_clinic_visits_say_that_they_are_simulated():
    visits = datasets.load("clinic_visits", rows=5)
    assert visits.simulated
    assert "simulated" in visits.name
    assert "SIMULATED" in visits.description
    assert "SIMULATED" in (datasets.clinic_visits.__doc__ or "")
    assert not datasets.breast_cancer().simulated


def test_clinic_visits_repeat_with_their_seed_only():
    first, again, other = (datasets.clinic_visits(300, seed).frame for seed in (7, 7, 8))
    pd.testing.assert_frame_equal(first, again)
    assert not first.equals(other)


@pytest.mark.parametrize("rows", [1, 2])
def test_clinic_visits_of_hardly_any_rows(rows):
    assert len(datasets.clinic_visits(rows).frame) == rows


def test_clinic_visits_of_no_rows():
    with pytest.raises(InputError, match="rows must be a whole number of at least 1"):
        datasets.clinic_visits(0)


def test_the_clinic_decides_the_region_and_nothing_else_does(visits):
    assert (visits.groupby("clinic")["region"].nunique() == 1).all()
    assert (visits.groupby("region")["clinic"].nunique() > 1).any()
    assert (visits.groupby("department")["region"].nunique() == 4).all()


def test_copay_has_a_spike_at_zero_and_a_long_tail(visits):
    paid = visits["copay"][visits["copay"] > 0]
    assert 0.45 < (visits["copay"] == 0).mean() < 0.60
    assert paid.skew() > 2
    assert np.allclose(paid, paid.round(2), atol=1e-9)


def test_what_is_missing_depends_on_the_department_for_systolic_only(visits):
    seldom = visits["department"].isin(["Dermatology", "Paediatrics"])

    def z_score(name):
        gaps = visits[name].isna()
        shares, rows = gaps.groupby(seldom).mean(), seldom.value_counts()
        pooled = gaps.mean() * (1 - gaps.mean())
        return (shares[True] - shares[False]) / np.sqrt(pooled / rows[True] + pooled / rows[False])

    assert z_score("systolic") > 50
    assert abs(z_score("waiting_minutes")) < 4
    assert abs(z_score("smoker")) < 4
    assert set(visits.columns[visits.isna().any()]) == {"smoker", "systolic", "waiting_minutes"}


def test_readmission_is_rare_and_can_be_learned(visits):
    rate = visits["readmitted"].mean()
    assert 0.015 < rate < 0.027
    features = pd.get_dummies(visits.drop(columns=["visit_id", "visit_day", "readmitted"]), dummy_na=True)
    features = features.astype("float64").fillna(-1)
    half = len(features) // 2
    forest = RandomForestClassifier(100, min_samples_leaf=10, random_state=0)

    def auc(target):
        scores = forest.fit(features[:half], target[:half]).predict_proba(features[half:])[:, 1]
        return roc_auc_score(target[half:], scores)

    assert 0.80 < auc(visits["readmitted"].to_numpy()) < 0.93
    shuffled = np.random.default_rng(0).permutation(visits["readmitted"].to_numpy())
    assert 0.40 < auc(shuffled) < 0.60


def test_breast_cancer_lies_within_its_published_bounds():
    table = datasets.breast_cancer()
    assert table.frame.shape == (569, 31)
    assert tuple(table.frame.columns) == table.schema.names
    assert table.schema.rows == len(table.frame)
    assert breaks(table.frame, table.schema) == []
    assert table.frame["diagnosis"].value_counts().to_dict() == {"benign": 357, "malignant": 212}


def test_breast_cancer_bounds_are_those_of_the_published_description():
    from sklearn.datasets import load_breast_cancer

    pattern = re.compile(r"^([a-z ]+) \((mean|standard error|worst)\): +([\d.]+) +([\d.]+)$", re.MULTILINE)
    published = pattern.findall(load_breast_cancer().DESCR)
    assert len(published) == 30
    for measure, kind, low, high in published:
        name = f"{measure} error" if kind == "standard error" else f"{kind} {measure}"
        ours = datasets.breast_cancer().schema[name].bounds
        assert ours[0] <= float(low) < ours[0] + 0.25 * float(high)
        assert float(high) <= ours[1] <= 1.1 * float(high) + 0.1


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(InputError, match=r"No data set 'iris'\. There are: adult, breast_cancer, clinic_visits\."):
        datasets.load("iris")


@pytest.mark.parametrize(
    "text",
    [
        f"{ADULT_ROW}\n{ADULT_GAPS}\n",
        f"{ADULT_NAMES}\n{ADULT_ROW}\n{ADULT_GAPS}\n",
        f"{ADULT_NAMES.replace('-', '.')}\n{ADULT_ROW}\n{ADULT_GAPS}\n",
        f"{ADULT_NAMES.replace('-', '_').replace('income', 'class')}\n{ADULT_ROW}\n{ADULT_GAPS}\n",
        f"|1x3 Cross validator\n{ADULT_ROW}.\n{ADULT_GAPS}.\n\n",
    ],
    ids=["as at UCI", "header", "dotted names", "OpenML's names", "UCI's test half"],
)
@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gzip"])
def test_adult_reads_every_form_of_its_file(tmp_path, text, zipped):
    path = tmp_path / ("adult.csv.gz" if zipped else "adult.data")
    path.write_bytes(gzip.compress(text.encode()) if zipped else text.encode())
    table = datasets.load("adult", source=path)
    assert tuple(table.frame.columns) == table.schema.names
    assert table.frame.astype(str).to_numpy().tolist() == [ADULT_ROW.split(", "), ADULT_GAPS.split(", ")]
    assert {name for name in table.frame if table.frame[name].dtype == "int64"} == {
        column.name for column in table.schema if column.kind == "integer"
    }
    assert breaks(table.frame, table.schema) == []
    assert table.schema.target == "income"


def test_adult_declares_its_whole_codebook():
    schema = datasets.adult_schema()
    assert schema.undeclared() == ()
    sizes = {column.name: len(column.categories) for column in schema if column.categories}
    assert sizes == {
        "workclass": 9,
        "education": 16,
        "marital-status": 7,
        "occupation": 15,
        "relationship": 6,
        "race": 5,
        "sex": 2,
        "native-country": 42,
        "income": 2,
    }


def test_adult_without_its_file(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.csv: no such file"):
        datasets.adult(tmp_path / "nowhere.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "bad.csv: not a readable CSV file"),
        ("age,workclass\n39,Private\n", "bad.csv: column 'fnlwgt' of Adult is missing"),
        (ADULT_ROW.replace("39", "old"), "bad.csv: column 'age' must hold whole numbers only"),
        (ADULT_ROW.replace("40", "39.5"), "bad.csv: column 'hours-per-week' must hold whole numbers only"),
        (ADULT_ROW.replace("39,", ",", 1), "bad.csv: column 'age' must hold whole numbers only"),
    ],
    ids=["empty", "another table", "text in a number", "a fraction", "a gap"],
)
def test_adult_from_a_bad_file(tmp_path, text, message):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(TableError, match=re.escape(message)) as caught:
        datasets.adult(path)
    assert "39" not in str(caught.value).replace(str(path), "")


def test_adult_from_openml_has_the_same_form(tmp_path, monkeypatch):
    path = tmp_path / "adult.data"
    path.write_text(f"{ADULT_ROW}\n{ADULT_GAPS}\n")
    local = datasets.adult(path).frame

    def fetch(**asked):
        assert asked["data_id"] == 1590
        frame = local.rename(columns={"income": "class"}).replace("?", np.nan)
        return type("Bunch", (), {"frame": frame.astype({"workclass": "category", "age": "float64"})})

    monkeypatch.setattr("sklearn.datasets.fetch_openml", fetch)
    pd.testing.assert_frame_equal(datasets.adult().frame, local)


def test_adult_when_openml_cannot_be_reached(monkeypatch):
    def fetch(**asked):
        raise URLError("no route")

    monkeypatch.setattr("sklearn.datasets.fetch_openml", fetch)
    with pytest.raises(InputError, match=r"OpenML \(URLError\); give the path of a local file"):
        datasets.adult()


@pytest.mark.parametrize("form", ["frame", "CSV", "Parquet"])
@pytest.mark.parametrize("table", [datasets.clinic_visits(rows=800), datasets.breast_cancer()], ids=lambda t: t.name)
def test_embedded_tables_are_read_as_declared(tmp_path, table, form):
    source = {"frame": table.frame, "CSV": tmp_path / "table.csv", "Parquet": tmp_path / "table.parquet"}[form]
    if form == "CSV":
        table.frame.to_csv(source, index=False)
    if form == "Parquet":
        table.frame.to_parquet(source)
    private = read(source, table.schema).private
    kept = [name for name in table.schema.names if name != "visit_id"]
    assert list(private) == kept
    assert private.isna().sum().to_dict() == table.frame[kept].isna().sum().to_dict()
    for name in kept:
        assert private[name].dropna().astype(str).tolist() == table.frame[name].dropna().astype(str).tolist()


def test_adult_is_read_as_declared(tmp_path):
    path = tmp_path / "adult.data"
    path.write_text(f"{ADULT_ROW}\n{ADULT_GAPS}\n")
    table = datasets.adult(path)
    assert read(table.frame, table.schema).private["workclass"].astype(str).tolist() == ["State-gov", "?"]
