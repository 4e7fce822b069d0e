"""What a saboteur is, and where all of them are found.

A saboteur is a context manager of a few lines that puts one real mistake of a published library into the product while
it is open. Each names the tool that must catch it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from unittest import mock

Sabotage = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True)
class Fault:
    """One mistake: its name, the saboteur that makes it, and the examiner that must catch it."""

    name: str
    sabotage: Sabotage
    caught_by: str

    @property
    def mistake(self) -> str:
        """What goes wrong, and where it has been seen."""
        return " ".join((self.sabotage.__doc__ or "").split())


FAULTS: dict[str, Fault] = {}


def caught_by(examiner: str):
    """Register a saboteur under its function's name."""

    def register(function):
        sabotage = contextmanager(function)
        name = function.__name__.replace("_", " ")
        FAULTS[name] = Fault(name, sabotage, examiner)
        return sabotage

    return register


def swapped(target, name, value):
    """Return a context manager in which `target.name` is `value`."""
    return mock.patch.object(target, name, value)
