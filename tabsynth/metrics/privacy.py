"""Privacy: what the synthetic table gives away about the rows it was made from, against rows that it never saw.

The metrics live one idea a file: `membership` (attacks of `attacks`, worth by `roc`), `attribute`, `wp29`, `replay` and
`closest`. Each compares training rows with holdout rows (`sides`).
"""

from tabsynth.metrics.attacks import ATTACKS, DISTANCES
from tabsynth.metrics.attribute import AttributeInference
from tabsynth.metrics.closest import DCR, NNDR
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
from tabsynth.metrics.wp29 import Inference, Linkability, SinglingOut

__all__ = [
    "ATTACKS",
    "DCR",
    "DISTANCES",
    "NNDR",
    "Attacked",
    "AttributeInference",
    "ExactMatch",
    "Inference",
    "Linkability",
    "MembershipAUC",
    "MembershipAdvantage",
    "MembershipTPR",
    "SinglingOut",
    "UniqueReplay",
    "membership",
    "panel",
    "tpr_at",
]
