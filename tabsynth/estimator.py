"""`TabularSynthesizer`: the walk's fit and sample as a scikit-learn estimator."""

from __future__ import annotations

import html
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_array, check_is_fitted

from tabsynth.errors import InputError
from tabsynth.fitting import fit_intake, make_budget, make_synthesizer, settle
from tabsynth.frame_kinds import (
    FrameKind,
    alike,
    as_given,
    changed,
    declared_types,
    frame_types,
    in_memory,
    in_words,
    kind_of,
    names_of,
    to_pandas,
    with_column,
    worded,
)
from tabsynth.intake import SchemaLike, take_in
from tabsynth.privacy.ledger import Ledger
from tabsynth.progress import progress_bar
from tabsynth.registry import DEFAULT_SYNTHESIZER
from tabsynth.synthesizers import model as models
from tabsynth.synthesizers.base import Sampler, Synthesizer
from tabsynth.synthesizers.scoring import HasLikelihood
from tabsynth.table import plain


class TabularSynthesizer(BaseEstimator):  # type: ignore[misc]
    """Fit a private table, sample synthetic rows.

    Parameters
    ----------
    model : the name of an installed synthesizer, the settings themselves (`CTGAN(epochs=50)`), or "auto".
    epsilon : the privacy budget; None fits without privacy, and the ledger says so.
    delta : the budget's delta; keep it well below one over the number of rows.
    schema : a `Schema`, plain values, or a YAML or JSON file; what is known for free.
    discover : pay from the budget for every domain that the schema leaves out.
    target : the column to predict, when the schema does not declare it.
    ledger : a `Ledger` to charge instead of a fresh one; its own budget may be no larger than an epsilon given as well.
    seed : fixes what may be fixed. Noise and batches under a budget are never seeded.
    progress : show a bar; None shows it where somebody looks.

    Attributes
    ----------
    model_ : the fitted `Model`; `schema_` its completed schema; `ledger_` what was charged.
    n_features_in_, feature_names_in_ : what `fit` saw, by scikit-learn's convention.

    Examples
    --------
    >>> people = pd.DataFrame({"age": [31, 40, 22, 57], "city": ["Ulm", "Bonn", "Ulm", "Ulm"]})
    >>> rows = TabularSynthesizer("independent", seed=0).fit(people).sample(3)
    >>> rows.shape, set(rows["city"]) <= {"Ulm", "Bonn"}
    ((3, 2), True)
    """

    def __init__(
        self,
        model: str | Synthesizer = DEFAULT_SYNTHESIZER,
        *,
        epsilon: float | None = None,
        delta: float = 1e-6,
        schema: SchemaLike | None = None,
        discover: bool = False,
        target: str | None = None,
        ledger: Ledger | None = None,
        seed: int | None = None,
        progress: bool | None = None,
    ):
        self.model = model
        self.epsilon = epsilon
        self.delta = delta
        self.schema = schema
        self.discover = discover
        self.target = target
        self.ledger = ledger
        self.seed = seed
        self.progress = progress

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit to a frame of pandas or polars, a pyarrow table, or an array, whose columns are named x0, x1, ...

        `y` joins as the target column. Rows are sampled as a table of the same library.

        Raises SchemaError, TableError or InputError before anything is charged, BudgetExceeded before anything runs.
        """
        frame = self._frame(X)
        table, target = _with_target(frame, y, self.target)
        synthesizer = make_synthesizer(self.model, self.seed)
        ledger = self._ledger()
        budgeted = ledger.budget is not None
        intake = take_in(table, self.schema, budgeted=budgeted, discover=self.discover, target=target)
        synthesizer, intake = settle(synthesizer, intake, budgeted=budgeted)
        with progress_bar(synthesizer.name, show=self.progress) as report:
            self.model_ = fit_intake(intake, synthesizer, ledger, self.seed, report)
        self.ledger_ = ledger
        self.schema_ = self.model_.schema
        self.frame_kind_: FrameKind = kind_of(table)
        # what a frame's own types tell of its rows is not paid for
        self.dtypes_ = declared_types(self.schema_, self.frame_kind_) if budgeted else frame_types(table)
        self._worded = () if budgeted else worded(table, self.schema_)
        self._names = {str(name): name for name in names_of(table)}  # those of pandas need not be text
        self._rng = np.random.default_rng(self.seed)
        return self

    def sample(
        self,
        rows: int | None = None,
        *,
        given: Any = None,
        shares: Mapping[str, Mapping[Any, float]] | None = None,
        temperature: float = 1.0,
        seed: int | None = None,
        to: Path | str | None = None,
    ) -> Any:
        """Return synthetic rows, by default as many as the table is known to have, in the dtypes that `fit` saw.

        Under a budget the dtypes follow from the schema alone, since those of a frame follow its rows. Rows come as a
        frame of the library that `fit` got one of; pandas, when the estimator was loaded. With a folder to write `to`
        they become Parquet files there, and the folder is returned; see `Model.sample`.

        `given` are conditions on columns, such as `{"income": ">50K", "age": (30, 40)}`, or a frame of partial rows,
        each of which is completed; `shares`, such as `{"fraud": {"yes": 0.3}}`, say which part of the rows has a value.
        See `Sampler.sample`.

        With a `seed` here the same rows come again; without one each call continues the stream of the estimator's own.
        """
        check_is_fitted(self, "model_")
        given = as_given(given)
        partial = isinstance(given, pd.DataFrame)
        wanted = rows if rows is not None or partial else self.schema_.rows or 1
        asked: dict[str, Any] = {"given": given, "shares": shares, "temperature": temperature}
        if to is not None:
            with progress_bar("Sampling", show=self.progress) as report:
                return self.model_.sample(wanted, self._stream(seed), to=to, progress=report, **asked)
        drawn = self.model_.sample(wanted, self._stream(seed), as_=self.frame_kind_, **asked)
        if self.frame_kind_ != "pandas":
            return alike(in_words(drawn, self.schema_, self._worded), self.dtypes_)
        rows = in_words(plain(drawn, self.schema_), self.schema_, self._worded)
        return alike(rows, self.dtypes_).rename(columns=self._names)

    def impute(self, X: Any, *, columns: Collection[Any] | None = None, seed: int | None = None) -> Any:
        """Return a table with its missing cells drawn from the model given the rest of their row, as a frame like `X`.

        With `columns` only those of these columns are drawn. The other cells stay as they are. This is the caller's own
        use of the rows: nothing is charged, nothing learned. See `Sampler.impute`.
        """
        check_is_fitted(self, "model_")
        return changed(_rows(X), lambda rows: self.model_.impute(rows, self._stream(seed), columns))

    def _knows_probabilities(self) -> bool:
        """Whether the fitted model does; scikit-learn asks by looking for the method."""
        return self.__sklearn_is_fitted__() and type(self.model_.sampler).predict is not Sampler.predict

    @available_if(_knows_probabilities)  # type: ignore[untyped-decorator, unused-ignore]
    def predict_proba(self, X: Any, target: str | None = None) -> pd.DataFrame:
        """Return the probability of each value of a column, by default the target, given the rest of each row.

        For `marginals` and `rows`, exact under the model, and not there for others; nothing is charged. See
        `Sampler.predict_proba`.
        """
        wanted = target or self.schema_.target
        if wanted is None:
            raise InputError("Name the target: the schema declares none.")
        return self.model_.predict_proba(_named(X), str(wanted))

    def _knows_likelihood(self) -> bool:
        """Whether the fitted model does."""
        return self.__sklearn_is_fitted__() and isinstance(self.model_.sampler, HasLikelihood)

    @available_if(_knows_likelihood)  # type: ignore[untyped-decorator, unused-ignore]
    def log_likelihood(self, X: Any) -> pd.Series:
        """Return the log of each row's probability in nats; not there where the model does not know it.

        Nothing is charged. See `Model.log_likelihood`.
        """
        return self.model_.log_likelihood(_named(X))

    def _stream(self, seed: int | None) -> np.random.Generator:
        """Return the estimator's own stream, or that of a seed."""
        return self._rng if seed is None else np.random.default_rng(seed)

    def save(self, folder: Path | str) -> None:
        """Write the fitted model into a new folder; see `Model.save`."""
        check_is_fitted(self, "model_")
        self.model_.save(folder)

    @classmethod
    def load(cls, folder: Path | str) -> Self:
        """Return a fitted estimator from a saved model; raise ModelError naming the file and the rule."""
        model = models.load(folder)
        budget = model.privacy.get("budget") or {}
        self = cls(model.name, schema=model.schema, epsilon=budget.get("epsilon"), delta=budget.get("delta", 1e-6))
        self.model_, self.schema_, self.frame_kind_ = model, model.schema, "pandas"
        self.dtypes_ = declared_types(model.schema, "pandas")
        self._worded = ()
        self._names = {}
        self._rng = np.random.default_rng()
        return self

    def _ledger(self) -> Ledger:
        """Return the ledger that was given, else a fresh one; raise InputError when it allows more than was asked."""
        asked = make_budget(self.epsilon, self.delta)
        if self.ledger is None:
            return Ledger(asked)
        held = self.ledger.budget.epsilon if self.ledger.budget else math.inf
        if asked is not None and held > asked.epsilon:
            raise InputError(f"epsilon is {asked.epsilon:g}, and the ledger allows {held:g}: leave out one of the two.")
        return self.ledger

    def _frame(self, X: Any) -> Any:
        """Return the input as a frame and note its names, as scikit-learn's convention asks."""
        frame = in_memory(X)
        if frame is not None:
            names = names_of(frame)
            if all(isinstance(name, str) for name in names):
                self.feature_names_in_ = np.asarray(names, dtype=object)
        else:
            frame = _numbered(check_array(X, dtype=None, ensure_all_finite=False, ensure_min_samples=2, estimator=self))
        self.n_features_in_ = frame.shape[1]
        return frame

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        tags.non_deterministic = self.epsilon is not None or self.seed is None
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def _repr_html_(self) -> str:
        """Show the settings and, once fitted, the columns and what was charged."""
        if not self.__sklearn_is_fitted__():
            return f"<pre>{html.escape(repr(self))}</pre>"
        return describe(self.model_)


def describe(model: models.Model) -> str:
    """Return a model as a small HTML table: its family, columns and cost."""
    spent = model.privacy.get("spent") or {}
    epsilon = spent.get("epsilon")
    claim = (
        f"epsilon {epsilon:.3g}, delta {spent['delta']:g}"
        if model.privacy.get("private")
        else "<b>not private</b> (epsilon infinite)"
    )
    facts = {
        "Model": html.escape(model.name),
        "Privacy": claim,
        "Charges": str(len(model.privacy.get("charges", ()))),
        "Columns": html.escape(", ".join(f"{column.name} ({column.kind})" for column in model.schema)),
    }
    lines = "".join(f"<tr><th style='text-align:left'>{name}</th><td>{text}</td></tr>" for name, text in facts.items())
    return f"<table class='tabsynth'><caption>Fitted synthesizer</caption>{lines}</table>"


def _with_target(frame: Any, y: Any, target: str | None) -> tuple[Any, str | None]:
    """Join `y` to the frame as its target column."""
    if y is None:
        return frame, target
    if np.ndim(y) != 1 or len(y) != len(frame):
        raise InputError("y must be one-dimensional and as long as X.")
    name = str(getattr(y, "name", None) or "target")
    if name in map(str, names_of(frame)):
        raise InputError(f"y would be the column {name!r}, which X has already: leave it out of X, or rename y.")
    return with_column(frame, name, y), name


def _rows(X: Any) -> Any:
    """Return rows to work on as a frame of `in_memory`, the columns of an array named as in `fit`."""
    frame = in_memory(X)
    return _numbered(check_array(X, dtype=None, ensure_all_finite=False)) if frame is None else frame


def _named(X: Any) -> pd.DataFrame:
    """Return rows as a frame of pandas whose columns have texts for names, as a schema's have."""
    return to_pandas(_rows(X)).rename(columns=str)


def _numbered(array: Any) -> pd.DataFrame:
    """Return an array as a frame with the columns x0, x1, ..."""
    return pd.DataFrame(array, columns=[f"x{place}" for place in range(array.shape[1])]).infer_objects()
