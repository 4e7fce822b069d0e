"""Every error that tabsynth raises on purpose.

    TabsynthError
    ├── InputError            the caller can mend it: a file, a column, an argument      exit 2
    │   ├── SchemaError       the schema contradicts itself or cannot be read
    │   ├── TableError        the table breaks a rule of its schema
    │   ├── LedgerError       the ledger is closed, locked, altered, or for other data
    │   └── ModelError        a saved model cannot be read, or a fit cannot succeed
    ├── ConformanceError      what ran is not what was charged: a fault in a synthesizer  exit 1
    ├── Refused               the gate said no                                           exit 3
    └── BudgetExceeded        the charge would pass the budget; nothing was run          exit 4

Messages quote public facts only (names, declared domains, bounds asked for), never a value or a count read from rows.
"""

from __future__ import annotations


class TabsynthError(Exception):
    """The root of the tree; `exit_code` is what the command line returns for it."""

    exit_code = 1


class InputError(TabsynthError, ValueError):
    """Something the caller gave cannot be used; the message says what was expected, what came and what exists."""

    exit_code = 2


class SchemaError(InputError):
    """A schema contradicts itself, or its file cannot be read."""


class TableError(InputError):
    """A table breaks a rule of its schema: the message names the source, the column and the rule."""


class LedgerError(InputError):
    """A ledger cannot be charged: closed, locked, altered, of another version, or kept for other data."""


class ModelError(InputError):
    """A saved model cannot be read here, or a fit cannot succeed with these settings."""


class ConformanceError(TabsynthError):
    """What a synthesizer ran differs from what it charged; no model is returned."""


class Refused(TabsynthError):
    """The gate did not pass the release; the inside report says why."""

    exit_code = 3


class BudgetExceeded(TabsynthError):
    """A charge would pass the budget; it was not made and nothing was run."""

    exit_code = 4
