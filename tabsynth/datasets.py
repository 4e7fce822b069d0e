"""Tables to try things on: a simulated one, a real one that ships with scikit-learn, and a loader for Adult.

Each comes with a schema whose facts are public: of the simulator because they are its settings, of the two real tables
because the tables themselves are published. The bounds of a private table may not be read off it like this.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabsynth import _check
from tabsynth.errors import InputError, TableError
from tabsynth.schema import Column, Schema


@dataclass(frozen=True, eq=False, slots=True)
class Dataset:
    """A table to try things on: rows that are not private, and the schema that describes them."""

    name: str
    frame: pd.DataFrame
    schema: Schema
    description: str
    simulated: bool = False


def names() -> tuple[str, ...]:
    """Return the names that `load` knows, sorted.

    >>> names()
    ('adult', 'breast_cancer', 'clinic_visits')
    """
    return tuple(sorted(_LOADERS))


def load(name: str, **settings: Any) -> Dataset:
    """Return the data set called `name`, its loader given `settings`; raise InputError naming what there is.

    >>> load("clinic_visits", rows=10).frame.shape
    (10, 14)
    """
    if name not in _LOADERS:
        raise InputError(f"No data set {name!r}. There are: {', '.join(names())}.")
    return _LOADERS[name](**settings)


# --- clinic visits, simulated --------------------------------------------------------------------------------------

CLINICS = {  # each clinic lies in one region: the table's functional dependency
    "Ashford": "North",
    "Birchwood": "North",
    "Cedar Hill": "East",
    "Dunmore": "East",
    "Eastgate": "East",
    "Fairview": "South",
    "Glenside": "South",
    "Harbour": "West",
}
DEPARTMENTS = ("Cardiology", "Dermatology", "Emergency", "General", "Orthopaedics", "Paediatrics")
DIAGNOSES = ("Chronic", "Circulatory", "Infection", "Injury", "Respiratory", "Skin", "Other")
INSURANCES = ("Public", "Private", "Self-pay")

_SHARE_BY_DEPARTMENT = {  # of diagnoses, in the order of DIAGNOSES
    "Cardiology": (0.20, 0.70, 0.02, 0.01, 0.04, 0.01, 0.02),
    "Dermatology": (0.08, 0.01, 0.12, 0.03, 0.01, 0.70, 0.05),
    "Emergency": (0.06, 0.14, 0.16, 0.42, 0.14, 0.03, 0.05),
    "General": (0.28, 0.10, 0.24, 0.05, 0.18, 0.06, 0.09),
    "Orthopaedics": (0.22, 0.01, 0.03, 0.66, 0.01, 0.01, 0.06),
    "Paediatrics": (0.06, 0.01, 0.44, 0.12, 0.22, 0.08, 0.07),
}
_RISK_BY_DIAGNOSIS = dict(zip(DIAGNOSES, (1.3, 1.8, 0.2, -0.8, 0.9, -1.5, 0.0), strict=True))


def clinic_schema() -> Schema:
    """Return the schema of the simulated clinic visits: complete, and public because the simulator's settings are."""
    return Schema(
        (
            Column("visit_id", "integer", roles=("identifier",)),
            Column("visit_day", "datetime", bounds=(_axis("2023-01-01"), _axis("2024-12-31"))),
            Column("clinic", "categorical", categories=tuple(CLINICS)),
            Column("region", "categorical", categories=("North", "East", "South", "West")),
            Column("department", "categorical", categories=DEPARTMENTS),
            Column("diagnosis", "categorical", roles=("sensitive",), categories=DIAGNOSES),
            Column("insurance", "categorical", categories=INSURANCES),
            Column("age", "integer", bounds=(0, 100)),
            Column("smoker", "boolean", nullable=True),
            Column("systolic", "integer", nullable=True, bounds=(70, 220)),
            Column("previous_visits", "integer", bounds=(0, 30)),
            Column("waiting_minutes", "integer", nullable=True, bounds=(0, 240)),
            Column("copay", "float", bounds=(0, 2000), decimals=2),
            Column("readmitted", "boolean", roles=("target",)),
        )
    )


def clinic_visits(rows: int = 5000, seed: int = 0) -> Dataset:
    """Simulate visits to eight clinics. SIMULATED: no row describes a person, no number describes a health system.

    What there is to be found in it, one line a step of the simulation:

    - the clinic decides the region, exactly; the department depends on age, the diagnosis on the department;
    - `copay` is zero for about half of all visits (by insurance and age) and log-normal, so skewed, for the others;
    - `waiting_minutes` is gamma, longest in Emergency, and missing at random in 3% of rows; `smoker` is missing at
      random in 10%; `systolic` depends on age and is missing in 4% of rows, in Dermatology and Paediatrics in 60%;
    - `visit_day` falls in 2023 or 2024, seldom on a weekend outside Emergency;
    - `readmitted` (within 30 days) holds for about 2% of visits; its log-odds add up age, earlier visits, diagnosis,
      smoking, blood pressure and a long wait, whether or not these were written down.

    The same `rows` and `seed` give the same table. Raises InputError unless `rows` is at least 1.

    >>> visits = clinic_visits(rows=200, seed=1)
    >>> visits.name, int(visits.frame.groupby("clinic")["region"].nunique().max())
    ('clinic_visits (simulated)', 1)
    """
    _check.at_least("rows", rows, 1)
    rng = np.random.default_rng(seed)
    spread = np.where(rng.random(rows) < 0.25, rng.gamma(2, 7, rows), rng.normal(52, 19, rows))
    age = _whole(spread, 0, 100)
    clinic = rng.choice(list(CLINICS), rows, p=(0.22, 0.16, 0.14, 0.12, 0.11, 0.10, 0.09, 0.06))
    department = _department(age, rng)
    diagnosis = _rowwise_choice(DIAGNOSES, np.array([_SHARE_BY_DEPARTMENT[name] for name in department]), rng)
    insurance = _insurance(age, rng)
    systolic = 100 + 0.45 * age + 12 * (diagnosis == "Circulatory") + rng.normal(0, 13, rows)
    earlier = rng.negative_binomial(1.2, 1 / (1.6 + 0.03 * age + 2.0 * (diagnosis == "Chronic")))
    waiting = rng.gamma(2.0, np.where(department == "Emergency", 35, 12))
    frame = pd.DataFrame(
        {
            "visit_id": np.arange(1, rows + 1),
            "visit_day": _visit_days(department, rng),
            "clinic": clinic,
            "region": [CLINICS[name] for name in clinic],
            "department": department,
            "diagnosis": diagnosis,
            "insurance": insurance,
            "age": age,
            "smoker": pd.array(rng.random(rows) < np.where(age < 16, 0.0, 0.24 - 0.0015 * age), dtype="boolean"),
            "systolic": pd.array(_whole(systolic, 70, 220), dtype="Int64"),
            "previous_visits": np.minimum(earlier, 30),
            "waiting_minutes": pd.array(_whole(waiting, 0, 240), dtype="Int64"),
            "copay": _copay(insurance, age, department, rng),
        }
    )
    frame["readmitted"] = rng.random(rows) < _readmission(frame)
    description = f"{rows} SIMULATED clinic visits (seed {seed}). No row describes a person."
    return Dataset("clinic_visits (simulated)", _with_gaps(frame, rng), clinic_schema(), description, simulated=True)


def _department(age: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.str_]:
    """Draw a department for each age: children go to Paediatrics, the old more often to Cardiology."""
    child = np.array([0.01, 0.06, 0.18, 0.10, 0.05, 0.60])
    adult = np.tile([0.04, 0.12, 0.22, 0.36, 0.16, 0.0], (len(age), 1))
    adult[:, 0] += 0.004 * age
    shares = np.where((age < 16)[:, None], child, adult)
    return _rowwise_choice(DEPARTMENTS, shares, rng)


def _insurance(age: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.str_]:
    """Draw an insurance for each age: public from 65 on for nearly everyone."""
    shares = np.where((age >= 65)[:, None], np.array([0.90, 0.09, 0.01]), np.array([0.46, 0.44, 0.10]))
    return _rowwise_choice(INSURANCES, shares, rng)


def _copay(
    insurance: NDArray[np.str_], age: NDArray[np.int64], department: NDArray[np.str_], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draw what the patient paid: nothing for many, a skewed amount for the rest."""
    free = np.where(age < 16, 0.85, np.where(insurance == "Public", 0.60, np.where(insurance == "Private", 0.35, 0.05)))
    middle = np.where(insurance == "Self-pay", 4.8, 3.2) + 0.5 * (department == "Emergency")
    amount = np.exp(rng.normal(middle, 0.7))
    return np.where(rng.random(len(age)) < free, 0.0, np.round(np.clip(amount, 1.0, 2000.0), 2))


def _visit_days(department: NDArray[np.str_], rng: np.random.Generator) -> NDArray[np.datetime64]:
    """Draw a day in 2023 or 2024; on a weekend outside Emergency, four in five move to the Monday before."""
    first = np.datetime64("2023-01-02")  # a Monday, so that the day before a year's first weekend stays within bounds
    offset = rng.integers(0, 730, len(department))
    late = np.maximum(offset % 7 - 4, 0) * ((department != "Emergency") & (rng.random(len(department)) < 0.8))
    return (first + (offset - np.where(late > 0, offset % 7, 0))).astype("datetime64[s]")


def _readmission(facts: pd.DataFrame) -> NDArray[np.float64]:
    """Return each visit's probability of readmission within 30 days; `facts` has no gaps yet."""
    logit = (
        facts["diagnosis"].map(_RISK_BY_DIAGNOSIS)
        + 0.030 * facts["age"]
        + 0.20 * facts["previous_visits"]
        + 0.80 * facts["smoker"].astype("float64")
        + 0.020 * (facts["systolic"].astype("float64") - 120)
        + 0.006 * facts["waiting_minutes"].astype("float64")
        - 8.0
    )
    return np.asarray(1 / (1 + np.exp(-logit)), dtype=np.float64)


def _with_gaps(facts: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Leave out what nobody wrote down: blood pressure by department, the two others at random."""
    seldom = facts["department"].isin(["Dermatology", "Paediatrics"])
    share = pd.DataFrame({"systolic": np.where(seldom, 0.60, 0.04), "waiting_minutes": 0.03, "smoker": 0.10})
    gaps = rng.random(share.shape) < share
    return facts.assign(**{name: facts[name].mask(gaps[name]) for name in gaps})


def _whole(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.int64]:
    """Return `values` cut to [low, high] and rounded."""
    return np.rint(np.minimum(np.maximum(values, low), high)).astype(np.int64)


def _rowwise_choice(
    options: tuple[str, ...], shares: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.str_]:
    """Draw one option a row; `shares` is [rows, options] and need not add up to one."""
    upper = np.cumsum(shares, axis=1)
    place = rng.random((len(shares), 1)) * upper[:, -1:]
    chosen: NDArray[np.str_] = np.array(options)[(place >= upper).sum(axis=1)]
    return chosen


def _axis(day: str) -> float:
    """Return a day's place on the numeric axis, in seconds since 1970 UTC."""
    return float(np.datetime64(day, "s").astype(np.int64))


# --- breast cancer, real -------------------------------------------------------------------------------------------

_CELL_BOUNDS = {  # of the mean, its standard error and the worst cell; the published extremes, rounded outwards
    "radius": ((6.9, 28.2), (0.1, 2.9), (7.9, 36.1)),
    "texture": ((9.7, 39.3), (0.3, 4.9), (12.0, 49.6)),
    "perimeter": ((43.7, 188.6), (0.7, 22.0), (50.4, 251.3)),
    "area": ((143, 2501), (6.8, 542.3), (185, 4254)),
    "smoothness": ((0.05, 0.17), (0.001, 0.032), (0.07, 0.23)),
    "compactness": ((0.01, 0.35), (0.002, 0.136), (0.02, 1.06)),
    "concavity": ((0, 0.43), (0, 0.4), (0, 1.26)),
    "concave points": ((0, 0.21), (0, 0.053), (0, 0.3)),
    "symmetry": ((0.1, 0.31), (0.007, 0.079), (0.15, 0.67)),
    "fractal dimension": ((0.04, 0.1), (0.0008, 0.03), (0.05, 0.21)),
}


def breast_cancer() -> Dataset:
    """Return the Wisconsin diagnostic breast cancer table of scikit-learn: 569 real rows, 30 floats, one target.

    The bounds in its schema were published with the data set (its description lists every minimum and maximum), so
    declaring them costs nothing.

    >>> breast_cancer().schema.target
    'diagnosis'
    """
    from sklearn.datasets import load_breast_cancer

    bunch = load_breast_cancer(as_frame=True)
    frame = bunch.data.assign(diagnosis=np.array(["malignant", "benign"])[bunch.target])
    floats = [Column(name, "float", bounds=_cell_bounds(name)) for name in bunch.feature_names]
    target = Column("diagnosis", "categorical", roles=("target",), categories=("malignant", "benign"))
    description = "Wisconsin diagnostic breast cancer (Street, Wolberg, Mangasarian 1993). Public; as in scikit-learn."
    return Dataset("breast_cancer", frame, Schema((*floats, target), rows=569), description)


def _cell_bounds(name: str) -> tuple[float, float]:
    """Return the published bounds of a column such as 'mean radius', 'radius error' or 'worst radius'."""
    kind = next(kind for kind in ("mean", "error", "worst") if kind in name.split())
    measure = " ".join(word for word in name.split() if word != kind)
    return _CELL_BOUNDS[measure][("mean", "error", "worst").index(kind)]


# --- Adult, real, not shipped --------------------------------------------------------------------------------------

_ADULT_BOUNDS = {
    "age": (17, 90),
    "fnlwgt": (10_000, 1_500_000),
    "education-num": (1, 16),
    "capital-gain": (0, 99_999),
    "capital-loss": (0, 5_000),
    "hours-per-week": (1, 99),
}
_ADULT_CATEGORIES = {
    "workclass": "? Federal-gov Local-gov Never-worked Private Self-emp-inc Self-emp-not-inc State-gov Without-pay",
    "education": "Preschool 1st-4th 5th-6th 7th-8th 9th 10th 11th 12th HS-grad Some-college Assoc-voc Assoc-acdm "
    "Bachelors Masters Prof-school Doctorate",
    "marital-status": "Divorced Married-AF-spouse Married-civ-spouse Married-spouse-absent Never-married "
    "Separated Widowed",
    "occupation": "? Adm-clerical Armed-Forces Craft-repair Exec-managerial Farming-fishing Handlers-cleaners "
    "Machine-op-inspct Other-service Priv-house-serv Prof-specialty Protective-serv Sales Tech-support "
    "Transport-moving",
    "relationship": "Husband Not-in-family Other-relative Own-child Unmarried Wife",
    "race": "Amer-Indian-Eskimo Asian-Pac-Islander Black Other White",
    "sex": "Female Male",
    "native-country": "? Cambodia Canada China Columbia Cuba Dominican-Republic Ecuador El-Salvador England France "
    "Germany Greece Guatemala Haiti Holand-Netherlands Honduras Hong Hungary India Iran Ireland Italy Jamaica Japan "
    "Laos Mexico Nicaragua Outlying-US(Guam-USVI-etc) Peru Philippines Poland Portugal Puerto-Rico Scotland South "
    "Taiwan Thailand Trinadad&Tobago United-States Vietnam Yugoslavia",
    "income": "<=50K >50K",
}
_ADULT_ORDER = (
    *("age", "workclass", "fnlwgt", "education", "education-num", "marital-status", "occupation", "relationship"),
    *("race", "sex", "capital-gain", "capital-loss", "hours-per-week", "native-country", "income"),
)


def adult_schema() -> Schema:
    """Return the schema of Adult after its published codebook; "?", which it writes for unknown, is a category."""
    return Schema(tuple(_adult_column(name) for name in _ADULT_ORDER))


def adult(source: Path | str | None = None) -> Dataset:
    """Return Adult (US census of 1994; Becker and Kohavi 1996, CC BY 4.0) from a local file, or else from OpenML.

    The file is a CSV, gzip or not, with a header or, as at UCI, without one; blanks after commas, UCI's comment line
    and the full stop that its test half puts after each income are read over. The schema is declared by hand from the
    published codebook, not read from the rows.

    Raises InputError when there is no such file or OpenML cannot be reached, TableError when a column is missing or
    not of its kind.
    """
    frame = _adult_from_openml() if source is None else _adult_from_file(Path(source))
    origin = "OpenML 1590" if source is None else Path(source).name
    frame = frame.rename(columns=lambda name: str(name).strip().lower().replace(".", "-").replace("_", "-"))
    frame = frame.rename(columns={"class": "income"})
    if absent := [name for name in _ADULT_ORDER if name not in frame.columns]:
        raise TableError(f"{origin}: column {absent[0]!r} of Adult is missing.")
    frame = pd.DataFrame({name: _adult_values(frame[name], name, origin) for name in _ADULT_ORDER})
    return Dataset("adult", frame, adult_schema(), f"Adult, US census 1994, from {origin}. Public; CC BY 4.0.")


def _adult_column(name: str) -> Column:
    """Return one column as the codebook declares it."""
    if name in _ADULT_BOUNDS:
        return Column(name, "integer", bounds=_ADULT_BOUNDS[name])
    roles = {"income": ("target",), "race": ("sensitive",), "sex": ("sensitive",)}.get(name, ())
    return Column(name, "categorical", roles=roles, categories=tuple(_ADULT_CATEGORIES[name].split()))  # type: ignore[arg-type]


def _adult_from_openml() -> pd.DataFrame:
    """Fetch data set 1590 of openml.org."""
    from sklearn.datasets import fetch_openml

    try:
        frame: pd.DataFrame = fetch_openml(data_id=1590, as_frame=True, parser="pandas").frame
    except OSError as error:  # URLError and HTTPError among them
        raise InputError(
            f"Adult could not be fetched from OpenML ({type(error).__name__}); give the path of a local file instead."
        ) from None
    return frame


def _adult_from_file(path: Path) -> pd.DataFrame:
    """Read every value as text; the first field tells whether there is a header."""
    options: dict[str, Any] = {"dtype": str, "keep_default_na": False, "skipinitialspace": True, "comment": "|"}
    try:
        first = pd.read_csv(path, header=None, nrows=1, **options)
        if str(first.iat[0, 0]).strip().lower() != "age":
            options |= {"header": None, "names": list(_ADULT_ORDER)}
        frame: pd.DataFrame = pd.read_csv(path, **options)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file.") from None
    except (OSError, ValueError) as error:  # pandas' own errors are ValueErrors
        raise TableError(f"{path}: not a readable CSV file ({type(error).__name__}).") from None
    return frame


def _adult_values(values: pd.Series[Any], name: str, origin: str) -> pd.Series[Any]:
    """Return one column as whole numbers or clean text."""
    if name in _ADULT_BOUNDS:
        numbers = pd.to_numeric(values, errors="coerce")
        if numbers.isna().any() or (numbers % 1 != 0).any():
            raise TableError(f"{origin}: column {name!r} must hold whole numbers only.")
        return numbers.astype("int64")
    text = values.astype("object").where(values.notna(), "?").astype(str).str.strip()
    return text.str.removesuffix(".") if name == "income" else text


_LOADERS: dict[str, Callable[..., Dataset]] = {
    "adult": adult,
    "breast_cancer": breast_cancer,
    "clinic_visits": clinic_visits,
}
