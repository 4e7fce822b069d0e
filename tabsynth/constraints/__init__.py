"""Rules between columns, or between rows, as a schema declares them: what they say, and which rows break them.

A rule is public, as the schema is. It says nothing about a row in which one of its columns is missing. A rule that
settles a column from others can also derive it, so that no row has to be thrown away for it.
"""

from tabsynth.constraints.categories import Combinations, Dependency
from tabsynth.constraints.numbers import Inequality, OneHot, Sum
from tabsynth.constraints.predicate import Predicate
from tabsynth.constraints.reading import KINDS, constraint_from_dict
from tabsynth.constraints.rule import Constraint, Mask
from tabsynth.constraints.together import check_constraints, domains_of, judged, narrowed
from tabsynth.constraints.unique import Seen, Unique, room

__all__ = [
    "KINDS",
    "Combinations",
    "Constraint",
    "Dependency",
    "Inequality",
    "Mask",
    "OneHot",
    "Predicate",
    "Seen",
    "Sum",
    "Unique",
    "check_constraints",
    "constraint_from_dict",
    "domains_of",
    "judged",
    "narrowed",
    "room",
]
