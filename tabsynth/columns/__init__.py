"""One column and its public domain: what it may hold, where values lie on the real axis, and how they are written."""

from tabsynth.columns.column import KINDS, NUMERIC, OTHER, PROVIDERS, ROLES, Column, Kind, Provider, Role
from tabsynth.columns.times import DAY

__all__ = ["DAY", "KINDS", "NUMERIC", "OTHER", "PROVIDERS", "ROLES", "Column", "Kind", "Provider", "Role"]
