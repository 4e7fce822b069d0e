"""One fit from what a caller asks for: the settings, the budget, the randomness, and the fit itself."""

from __future__ import annotations

import math
import warnings
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields, is_dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, NoReturn, get_type_hints

from tabsynth import _check, registry
from tabsynth.choice import choose
from tabsynth.errors import InputError
from tabsynth.intake import Intake
from tabsynth.pii import personal_columns
from tabsynth.privacy.budget import Budget, delta_warning
from tabsynth.privacy.checkpoint import Checkpoint
from tabsynth.privacy.feasibility import noise_warning
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.looking import look, looked_at
from tabsynth.privacy.noise import Secret
from tabsynth.privacy.units import bound_contributions
from tabsynth.schema import Schema
from tabsynth.synthesizers.base import Progress, Sampler, Synthesizer, silent
from tabsynth.synthesizers.language_model import require_extra
from tabsynth.synthesizers.model import Model, fit, require_texts, settings_of
from tabsynth.table import Table, digest

AUTO = "auto"  # as a model's name: whichever `choice.choose` says


class PrivacyWarning(UserWarning):
    """Something that is allowed and weakens what the privacy claim means."""


def fit_intake(
    intake: Intake,
    synthesizer: Synthesizer,
    ledger: Ledger,
    seed: int | None = None,
    progress: Progress = silent,
    *,
    checkpoint: Checkpoint | None = None,
    looked: bool = False,
) -> Model:
    """Fit a synthesizer to a table that was taken in; first warn of its budget and of personal columns.

    With a `checkpoint` (see `open_checkpoint`) a fit that was killed goes on where it stopped. `looked` pays for a
    search for personal data in values that nobody declared (`privacy.looking`); without a budget the search is free.
    """
    active: AbstractContextManager[None]
    warn_of_budget(ledger.budget, intake.table.schema)
    warn_of_personal(intake.table, budgeted=ledger.budget is not None)
    for note in intake.notes:
        ledger.note(note)
    if checkpoint is None:
        active, secret = nullcontext(), make_secret(ledger.budget, seed)
    else:
        checkpoint.begun(ledger.number, ledger.budget)
        active, secret = checkpoint.active(), checkpoint.secret(seed if ledger.budget is None else None)
    with active:
        _warn_by_looking(intake.table, ledger, secret, wanted=looked)
        return fit(synthesizer, intake.table, ledger, secret, progress)


def open_checkpoint(
    folder: Path | str, intake: Intake, synthesizer: Synthesizer, seed: int | None = None
) -> Checkpoint:
    """Return the checkpoint of this fit in `folder`, begun there when it is new; `Ledger.open` takes its `fit`.

    Raises InputError when the folder holds another fit's, or one of another table.
    """
    described = {
        "tabsynth": version("tabsynth"),
        "synthesizer": synthesizer.name,
        "settings": repr(settings_of(synthesizer)),
        "seed": seed,
        "schema": intake.table.schema.fingerprint(),
    }
    return Checkpoint.open(folder, described=described, data=digest(intake.table.private).encode())


def make_synthesizer(model: str | Synthesizer, seed: int | None = None, /, **settings: Any) -> Synthesizer:
    """Return the settings object of a synthesizer given by name or as itself, its own `seed` set when it has one.

    Raises InputError naming what is installed, or a setting that a family does not have or that is of another type.
    """
    if isinstance(model, str):
        family: Any = Auto if model == AUTO else registry.load(registry.SYNTHESIZERS, model)
        known = {field.name for field in fields(family)}
        if unknown := sorted(set(settings) - known):
            raise InputError(f"{model} has no setting {unknown[0]!r}. It has: {', '.join(sorted(known)) or 'none'}.")
        model = family(**_typed(model, family, settings))
    if not is_dataclass(model) or not hasattr(model, "fit"):
        raise InputError(f"model must be a name or a synthesizer's settings; got {type(model).__name__}.")
    seeded = seed is not None and any(field.name == "seed" for field in fields(model))
    return replace(model, seed=seed) if seeded else model


def _typed(model: str, family: type, settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings of the types that the family's fields are annotated with, lists as tuples; raise InputError."""
    try:
        hints = get_type_hints(family)
    except NameError:  # of another package, which imports some of them for type checkers only
        return settings
    for name, value in settings.items():
        _check.of_type(f"{model}: {name}", value, hints[name])
    return {name: value if hints[name] is Any else _fixed(value) for name, value in settings.items()}


def _fixed(value: Any) -> Any:
    """Return a list, and all lists in it, as tuples, and anything else as it is."""
    return tuple(map(_fixed, value)) if isinstance(value, list) else value


@dataclass(frozen=True, slots=True)
class Auto:
    """A synthesizer that is still to be chosen; `settle` puts a family in its place."""

    seed: int | None = None

    name: ClassVar[str] = AUTO
    sampler: ClassVar[type[Sampler]] = Sampler  # type: ignore[type-abstract]

    def fit(self, table: Table, ledger: Ledger, secret: Secret, progress: Progress = silent) -> NoReturn:
        """Raise InputError: nothing was chosen yet."""
        raise InputError("auto is no family: choose one for the table's schema first (fitting.settle).")


def settle(synthesizer: Synthesizer, intake: Intake, *, budgeted: bool) -> tuple[Synthesizer, Intake]:
    """Return the family that `auto` stands for, and the intake with a note of it; anything else as it is.

    Public facts alone decide, so this comes before a ledger is opened. Raises InputError when there is a budget and the
    synthesizer is never private, SchemaError when a column is free text and the synthesizer cannot hold it, ModelError
    when it can and the package that it needs is not there.
    """
    if budgeted and getattr(synthesizer, "never_private", False):
        raise InputError(
            f"{synthesizer.name} is never private: no budget covers it. Use another model, such as "
            f"{registry.DEFAULT_SYNTHESIZER}, or no epsilon. Nothing was run or charged."
        )
    if not isinstance(synthesizer, Auto):
        require_texts(synthesizer, intake.table.schema)
        return synthesizer, intake
    choice = choose(intake.table.schema, budgeted=budgeted)
    if intake.table.schema.texts:
        require_extra(0)
    note = f"auto chose the model {choice.name}, because {choice.why}."
    return make_synthesizer(choice.name, synthesizer.seed), replace(intake, notes=(*intake.notes, note))


def make_budget(epsilon: float | None, delta: float) -> Budget | None:
    """Return the budget asked for; no epsilon, or an infinite one, is no budget. Raises InputError for no number."""
    return None if epsilon is None or epsilon == math.inf else Budget(epsilon, delta)


def make_secret(budget: Budget | None, seed: int | None) -> Secret:
    """Return the randomness of a fit: seeded only where there is no noise to protect."""
    return Secret() if budget is not None or seed is None else Secret.fixed(seed)


def warn_of_personal(table: Table, *, budgeted: bool) -> None:
    """Warn of columns that look like personal data or identifiers: by their names, without a budget by values too.

    A warning names the column and what it looks like. Under a budget no value is read for it.
    """
    for finding in personal_columns(table.schema, None if budgeted else table.private):
        warnings.warn(finding.words, PrivacyWarning, stacklevel=3)


def _warn_by_looking(table: Table, ledger: Ledger, secret: Secret, *, wanted: bool) -> None:
    """Warn of columns whose values look personal, where that is asked for and paid for."""
    if wanted and ledger.budget is not None and looked_at(table.schema):
        for finding in look(bound_contributions(table, secret), ledger, secret):
            warnings.warn(finding.words, PrivacyWarning, stacklevel=3)


def warn_of_budget(budget: Budget | None, schema: Schema) -> None:
    """Warn when delta is above one over the declared number of rows, or counts of an undeclared one will be noise."""
    delta = None if budget is None else delta_warning(budget, schema.rows)
    for message in (delta, noise_warning(budget, schema)):
        if message is not None:
            warnings.warn(message, PrivacyWarning, stacklevel=3)
