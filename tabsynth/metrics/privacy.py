"""Privacy: what the synthetic table gives away about the rows it was made from, against rows that it never saw.

The metrics live one idea a file: `membership` (attacks of `attacks`, worth by `roc`), `attribute`, `wp29`, `replay` and
`closest`. Each compares training rows with holdout rows (`sides`).
"""

from tabsynth.metrics.attacks import ATTACKS, DISTANCES
from tabsynth.metrics.membership import (
    Attacked,
    MembershipAdvantage,
    MembershipAUC,
    MembershipTPR,
    membership,
    panel,
)
from tabsynth.metrics.replay import ExactMatch, UniqueReplay
from tabsynth.metrics.roc import tpr_at

__all__ = [
    "ATTACKS",
    "DISTANCES",
    "Attacked",
    "ExactMatch",
    "MembershipAUC",
    "MembershipAdvantage",
    "MembershipTPR",
    "UniqueReplay",
    "membership",
    "panel",
    "tpr_at",
]
