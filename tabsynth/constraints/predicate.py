"""A rule in Python: a function by import path that says which rows may be."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from tabsynth.constraints.rule import Columns, Domain, Mask, Values, wrong


@dataclass(frozen=True, slots=True)
class Predicate:
    """A function that takes a frame of these columns and says for each row whether it may be: `module:name`.

    It is imported when rows are first judged, never when a schema is read.
    """

    columns: Values
    function: str

    kind: ClassVar[str] = "predicate"

    @property
    def over(self) -> Values:
        """The columns that the function is given."""
        return self.columns

    @property
    def words(self) -> str:
        """The rule in a few words."""
        return f"predicate {self.function}"

    def check(self, columns: Columns) -> None:
        """Raise SchemaError unless the function is named by an import path."""
        module, _, name = self.function.partition(":")
        if not self.columns or not name.isidentifier() or not all(part.isidentifier() for part in module.split(".")):
            raise wrong(self, "columns are needed, and a function as 'package.module:name'")

    def narrowed(self, domains: Mapping[str, Domain], columns: Columns) -> dict[str, Domain]:
        """Return nothing: what the function rules out is not known."""
        return {}

    def broken(self, frame: pd.DataFrame, columns: Columns) -> Mask:
        """Return which rows the function refuses; raise SchemaError when it cannot be asked. No value is quoted."""
        function = self._found()
        try:
            good = np.asarray(function(frame[list(self.columns)].copy()))
        except Exception as error:
            raise wrong(self, f"the function raised {type(error).__name__}") from None
        if good.shape != (len(frame),) or good.dtype not in (np.bool_, np.object_):
            raise wrong(self, "the function must return one true or false a row")
        return np.asarray(good == False, bool)  # noqa: E712  (a missing answer is silence)

    def _found(self) -> Callable[[pd.DataFrame], Any]:
        module, _, name = self.function.partition(":")
        try:
            found: Callable[[pd.DataFrame], Any] = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise wrong(self, f"the function cannot be imported ({type(error).__name__})") from None
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return the rule as plain JSON values."""
        return {"kind": self.kind, "columns": list(self.columns), "function": self.function}
