"""The evaluator tried on fakes: tables that must be refused, by the check that should notice, and one that must not.

The population is the simulator of clinic visits, which gives fresh samples of any size; so the table of a perfect
synthesizer is known, and every fake is made from it or from the training rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import stats

from tabsynth import _check
from tabsynth.constraints import Dependency
from tabsynth.datasets import CLINICS, clinic_visits
from tabsynth.metrics.evidence import Evidence
from tabsynth.metrics.neighbours import nearest, place
from tabsynth.policy import Check, evaluate
from tabsynth.schema import Column, Schema

FRESH = "fresh sample"
RATE = 0.05  # of fresh samples may be refused
SURE = 0.01  # the chance of that many refusals, at that rate, below which they are held to be too many
SIZES = (8000, 4000, 8000)  # training rows, holdout, synthetic rows
SETTLED = "region"
RULE = Dependency("clinic", SETTLED, tuple(CLINICS.items()))
RARE = 0.1  # share of rows
SAID = (
    "patient", "reports", "mild", "severe", "pain", "fever", "cough", "left", "right", "knee", "arm", "chest", "since",
    "monday", "better", "worse", "after", "rest", "walking", "tablets", "no", "known", "allergy", "family", "history",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fake:
    """A table that must be refused: how it is made, and the metrics of which at least one should notice."""

    make: Callable[[Evidence, np.random.Generator], pd.DataFrame]
    noticed_by: tuple[str, ...]
    of: Callable[[Evidence], Evidence] | None = None  # another table, where the fault needs columns that visits lack

    def meant(self, check: str) -> bool:
        """Say whether a check of this name should notice; names may go on with a metric's settings."""
        return any(check == name or check.startswith(f"{name}_") for name in self.noticed_by)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How often each check refused each table, and each table was refused by a check that should notice.

    `refusals` holds for every table (the fakes and `fresh sample`) and every check the number of seeds.
    """

    checks: tuple[str, ...]
    seeds: int
    refusals: Mapping[str, Mapping[str, int]]
    caught: Mapping[str, int]

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong with the evaluator; empty when it does what is said of it."""
        found = [
            f"{name}: not noticed by {' or '.join(FAKES[name].noticed_by)} in {self.seeds - count} of {self.seeds}"
            for name, count in self.caught.items()
            if name != FRESH and count < self.seeds
        ]
        refused = self.caught[FRESH]
        if refused and stats.binom.sf(refused - 1, self.seeds, RATE) < SURE:
            found.append(f"{FRESH}: refused in {refused} of {self.seeds}, more than {RATE:.0%} explains")
        return tuple(found)


def selftest(
    policy: Sequence[Check],
    seeds: int = 3,
    sizes: tuple[int, int, int] = SIZES,
    progress: Callable[[str, int], None] | None = None,
    only: Sequence[str] | None = None,
) -> Outcome:
    """Judge the fakes (or `only` some) and the fresh sample by a policy, over seeds; the same every time.

    A fake is caught when a check that should notice refuses it, a fresh sample when any check does. `progress` is
    called with a table and a seed before it is judged.
    """
    _check.at_least("seeds", seeds, 1)
    tables = (FRESH, *(FAKES if only is None else only))
    checks = tuple(check.metric.name for check in policy)
    refusals = {table: dict.fromkeys(checks, 0) for table in tables}
    caught = dict.fromkeys(tables, 0)
    for seed in range(seeds):
        evidence = fresh(seed, sizes)
        for table in tables:
            if progress is not None:
                progress(table, seed)
            refused = judge(evidence, table, policy, seed)
            for name in refused:
                refusals[table][name] += 1
            caught[table] += any(table == FRESH or FAKES[table].meant(name) for name in refused)
    return Outcome(checks, seeds, refusals, caught)


def fresh(seed: int, sizes: tuple[int, int, int] = SIZES) -> Evidence:
    """Return training rows, a holdout and a sample of one population: the evidence of a perfect synthesizer."""
    visits = clinic_visits(rows=sum(sizes), seed=seed)
    parts = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:2])
    train, holdout, rows = (visits.frame.iloc[part] for part in parts)
    return Evidence(replace(visits.schema, constraints=(RULE,)), train, holdout, rows)


def judge(evidence: Evidence, table: str, policy: Sequence[Check], seed: int) -> tuple[str, ...]:
    """Return the checks that refuse a table."""
    rng = np.random.default_rng(seed)
    if table != FRESH:
        fake = FAKES[table]
        evidence = evidence if fake.of is None else fake.of(evidence)
        evidence = replace(evidence, rows=fake.make(evidence, rng))
    verdicts = evaluate(evidence, policy, rng, beside=False)
    return tuple(verdict.name for verdict in verdicts if verdict.failed)


def copy(evidence: Evidence, rng: np.random.Generator) -> pd.DataFrame:
    """Return the training rows."""
    return evidence.train


def noisy_copy(evidence: Evidence, rng: np.random.Generator) -> pd.DataFrame:
    """Return the training rows, one cell in a hundred taken from another row."""
    size = len(evidence.train)
    columns = {}
    for name, series in evidence.train.items():
        taken = np.where(rng.random(size) < 0.01, rng.integers(size, size=size), np.arange(size))
        columns[name] = series.iloc[taken].reset_index(drop=True)
    return pd.DataFrame(columns)


def outliers(evidence: Evidence, rng: np.random.Generator) -> pd.DataFrame:
    """Return the fresh sample with a twentieth of it the training rows that lie furthest from all others."""
    points = place(evidence.train, evidence.train, evidence.columns)
    apart = nearest(points, points, k=6)[:, 1:].mean(axis=1)
    return _mixed(evidence, evidence.train.iloc[np.argsort(-apart)[: len(points) // 20]])


def memorized(evidence: Evidence, rng: np.random.Generator) -> pd.DataFrame:
    """Return the fresh sample with a hundredth of the training rows in it."""
    count = len(evidence.train) // 100
    return _mixed(evidence, evidence.train.iloc[rng.choice(len(evidence.train), count, replace=False)])


def constant(evidence: Evidence, rng: np.random.Generator) -> pd.DataFrame:
    """Return one row of the fresh sample, repeated."""
    return evidence.rows.iloc[np.zeros(len(evidence.rows), dtype=int)]


def one_constant(evidence: Evidence, rng: np.random.Generator) -> pd.DataFrame:
    """Return the fresh sample with one column, which is tied to no other, at its middle value in every row."""
    column = evidence.schema["waiting_minutes"].name
    return evidence.rows.assign(**{column: int(evidence.rows[column].median())})


def independent(evidence: Evidence, rng: np.random.Generator) -> pd.DataFrame:
    """Return each column of the training rows drawn by itself."""
    return evidence.as_independent(rng).rows


def collapsed(evidence: Evidence, rng: np.random.Generator) -> pd.DataFrame:
    """Return a hundred rows of the fresh sample, repeated."""
    return evidence.rows.iloc[rng.integers(100, size=len(evidence.rows))]


def one_class(evidence: Evidence, rng: np.random.Generator) -> pd.DataFrame:
    """Return the fresh sample without the rows of the target's rarer class."""
    target = str(evidence.schema.target)
    kept = evidence.rows[target] == evidence.rows[target].mode()[0]
    return evidence.rows.iloc[np.flatnonzero(kept)]


def shuffled(evidence: Evidence, rng: np.random.Generator) -> pd.DataFrame:
    """Return the fresh sample with its target shuffled."""
    target = str(evidence.schema.target)
    order = rng.permutation(len(evidence.rows))
    return evidence.rows.assign(**{target: evidence.rows[target].iloc[order].reset_index(drop=True)})


def gaps_filled(evidence: Evidence, rng: np.random.Generator) -> pd.DataFrame:
    """Return the fresh sample with the commonest value of each column in its gaps."""
    return pd.DataFrame({name: values.fillna(values.mode()[0]) for name, values in evidence.rows.items()})


def loosened(evidence: Evidence, rng: np.random.Generator) -> pd.DataFrame:
    """Return the fresh sample with one column shuffled, which the column of the clinic settles."""
    order = rng.permutation(len(evidence.rows))
    return evidence.rows.assign(**{SETTLED: evidence.rows[SETTLED].iloc[order].reset_index(drop=True)})


def impossible(evidence: Evidence, rng: np.random.Generator) -> pd.DataFrame:
    """Return the fresh sample with an age that nobody has in one row of twenty."""
    return evidence.rows.assign(age=evidence.rows["age"].where(rng.random(len(evidence.rows)) > 0.05, 130))


def twice(evidence: Evidence, rng: np.random.Generator) -> pd.DataFrame:
    """Return every row of one half of the fresh sample twice."""
    return evidence.rows.iloc[np.arange(len(evidence.rows)) // 2]


def without_rare(evidence: Evidence, rng: np.random.Generator) -> pd.DataFrame:
    """Return the fresh sample without the rows that hold a category of less than a tenth of the training rows."""
    kept = np.ones(len(evidence.rows), dtype=np.bool_)
    for column in evidence.columns:
        if column.kind == "categorical":
            shares = evidence.train[column.name].value_counts(normalize=True)
            kept &= ~evidence.rows[column.name].isin(shares.index[shares < RARE]).to_numpy(dtype=bool)
    return evidence.rows.iloc[np.flatnonzero(kept)]


def with_notes(evidence: Evidence) -> Evidence:
    """Return the ages and the target of the visits with a note on each: eight words of a doctor's, drawn at random."""
    rng = np.random.default_rng(len(evidence.train))

    def noted(frame: pd.DataFrame) -> pd.DataFrame:
        drawn = np.array(SAID)[rng.integers(len(SAID), size=(len(frame), 8))]
        return frame[["age", "readmitted"]].assign(note=[" ".join(row) for row in drawn])

    schema = evidence.schema
    columns = (schema["age"], schema["readmitted"], Column("note", "categorical"))
    train, holdout, rows = map(noted, (evidence.train, evidence.unseen(), evidence.rows))
    return Evidence(Schema(columns), train, holdout, rows)


def notes_copied(evidence: Evidence, rng: np.random.Generator) -> pd.DataFrame:
    """Return the fresh sample, one note in twenty being that of a training row with one word changed."""
    size = len(evidence.rows) // 20
    notes = evidence.rows["note"].astype(str)
    for at, note in enumerate(evidence.train["note"].astype(str).iloc[:size]):
        notes.iloc[at] = note.replace(" ", " also ", 1)
    return evidence.rows.assign(note=notes)


def with_readings(evidence: Evidence) -> Evidence:
    """Return numbers of the visits and no target: the blood pressure, a second one that follows it, and the copay."""
    rng = np.random.default_rng(len(evidence.train))

    def read(frame: pd.DataFrame) -> pd.DataFrame:
        second = frame["systolic"] * 0.6 + rng.normal(12, 3, len(frame))
        return frame[["systolic", "copay"]].assign(diastolic=second)

    schema = evidence.schema
    columns = (schema["systolic"], schema["copay"], Column("diastolic", "float", nullable=None))
    train, holdout, rows = map(read, (evidence.train, evidence.unseen(), evidence.rows))
    return Evidence(Schema(columns), train, holdout, rows)


def _mixed(evidence: Evidence, leaked: pd.DataFrame) -> pd.DataFrame:
    """Return the fresh sample with some of its rows replaced by others."""
    return pd.concat([leaked, evidence.rows.iloc[len(leaked) :]], ignore_index=True)


MEMBERSHIP = ("membership_auc", "membership_tpr", "membership_advantage")
FAKES: dict[str, Fake] = {
    "copy": Fake(copy, ("exact_match", *MEMBERSHIP, "attribute_inference", "singling_out", "linkability", "inference")),
    "copy with 1% noise": Fake(noisy_copy, (*MEMBERSHIP, "attribute_inference", "singling_out", "inference")),
    "outliers copied": Fake(outliers, ("unique_replay", "membership_advantage")),
    "1% memorized": Fake(memorized, ("unique_replay",)),
    "constant": Fake(constant, ("ks", "tvd1", "tvd2")),
    "one column constant": Fake(one_constant, ("tvd1_worst", "ks_worst", "jensen_shannon_worst")),
    "independent columns": Fake(independent, ("tstr_ratio",)),
    "independent numbers": Fake(independent, ("association_spearman",), of=with_readings),
    "mode-collapsed": Fake(collapsed, ("tvd2", "tstr_ratio", "duplicates", "coverage", "c2st")),
    "one class dropped": Fake(one_class, ("tstr_ratio",)),
    "shuffled labels": Fake(shuffled, ("tstr_ratio",)),
    "gaps filled": Fake(gaps_filled, ("missing",)),
    "column shuffled": Fake(loosened, ("association_cramers_v", "broken_dependencies", "broken_constraints", "c2st")),
    "impossible values": Fake(impossible, ("out_of_domain",)),
    "every row twice": Fake(twice, ("duplicates",)),
    "notes copied": Fake(notes_copied, ("text_replay",), of=with_notes),
    "rare values lost": Fake(without_rare, ("rare_categories",)),
}
