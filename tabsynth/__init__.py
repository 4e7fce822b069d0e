"""Private tables into synthetic ones: every fact paid for, audited, and stopped at a gate when not good enough.

The walk is six verbs, each taking what the one before returned: read, split, fit, sample, evaluate, release.

>>> from tabsynth import TabularSynthesizer, datasets
>>> visits = datasets.clinic_visits(rows=500)
>>> synthesizer = TabularSynthesizer("independent", epsilon=1.0, delta=1e-6, schema=visits.schema)
>>> synthesizer.fit(visits.frame).sample(3).shape[0]
3
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tabsynth import datasets, errors
    from tabsynth.drafting import draft
    from tabsynth.estimator import TabularSynthesizer
    from tabsynth.fitting import PrivacyWarning
    from tabsynth.metrics.evidence import Evidence
    from tabsynth.policy import default_policy, evaluate, read_policy
    from tabsynth.privacy.budget import Budget
    from tabsynth.privacy.ledger import Ledger
    from tabsynth.privacy.noise import Secret
    from tabsynth.release import read_release
    from tabsynth.report import build_report
    from tabsynth.schema import Column, Schema
    from tabsynth.schema_file import read_schema, write_schema
    from tabsynth.synthesizers.model import Model, fit, load
    from tabsynth.table import Table, read, split

__version__ = version("tabsynth")
__all__ = [
    "Budget",
    "Column",
    "Evidence",
    "Ledger",
    "Model",
    "PrivacyWarning",
    "Schema",
    "Secret",
    "Table",
    "TabularSynthesizer",
    "build_report",
    "datasets",
    "default_policy",
    "draft",
    "errors",
    "evaluate",
    "fit",
    "load",
    "read",
    "read_policy",
    "read_release",
    "read_schema",
    "split",
    "write_schema",
]

# Where each public name lives; imported at first use, so that `tabsynth --help` does not wait for torch.
_HOMES = {
    "Budget": "privacy.budget",
    "Column": "schema",
    "Evidence": "metrics.evidence",
    "Ledger": "privacy.ledger",
    "Model": "synthesizers.model",
    "PrivacyWarning": "fitting",
    "Schema": "schema",
    "Secret": "privacy.noise",
    "Table": "table",
    "TabularSynthesizer": "estimator",
    "build_report": "report",
    "default_policy": "policy",
    "draft": "drafting",
    "evaluate": "policy",
    "fit": "synthesizers.model",
    "load": "synthesizers.model",
    "read": "table",
    "read_policy": "policy",
    "read_release": "release",
    "read_schema": "schema_file",
    "split": "table",
    "write_schema": "schema_file",
}


def __getattr__(name: str) -> Any:
    """Import a public name from where it lives."""
    if name in ("datasets", "errors"):
        return import_module(f"tabsynth.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'tabsynth' has no attribute {name!r}")
    return getattr(import_module(f"tabsynth.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
