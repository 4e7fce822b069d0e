"""The gate's dry run: whether a table of this size could pass it at all, asked before anything is spent.

Every check is judged at the unlucky end of its interval, and few rows leave it so wide that nothing could pass. So the
gate first judges what surely learned nothing of anyone: fresh samples of a simulated population, of the same size.
"""

from __future__ import annotations

from collections.abc import Sequence

from tabsynth.errors import InputError
from tabsynth.policy import Check, small_policy
from tabsynth.selftest import FRESH, fresh, judge

SEEDS = 3
ENOUGH, HOLDOUT = 6_000, 0.2  # rows, and the share of the holdout, of which the installed policies let samples through


def refuse_too_few(policy: Sequence[Check], rows: int, holdout: float) -> None:
    """Raise InputError when a privacy check refuses every fresh sample of this size, but not those of more rows.

    `rows` is a public number, of which the share `holdout` is kept from the synthesizer. Fidelity and utility depend on
    the table, and are not tried.
    """
    checks = about_privacy(policy)
    if rows >= ENOUGH or not (lost := refused(checks, rows, holdout)):
        return
    lost -= refused(checks, ENOUGH, HOLDOUT)  # what is refused there too, is so for another reason
    if not lost:
        return
    tried = [rows * 2**times for times in range(1, 20) if rows * 2**times < 2 * ENOUGH]
    enough = next((size for size in tried if not lost & refused(checks, size, holdout, seeds=1)), None)
    instead = f"Some {enough:,} rows" if enough else "A larger holdout"
    small = not refused(about_privacy(small_policy()), rows, holdout, seeds=1)
    less = ", or a policy that asks for less, such as small" if small else ""
    raise InputError(
        f"{rows:,} rows, of which {holdout:.3g} are kept for the holdout, are too few for this policy: even a table "
        f"that tells nothing of anyone would be refused by {' and '.join(sorted(lost))}, whose intervals are too wide. "
        f"{instead} would do{less}. Nothing was charged."
    )


def about_privacy(policy: Sequence[Check]) -> list[Check]:
    """Return a policy's privacy checks, which alone do not depend on the table."""
    return [check for check in policy if check.metric.tier == "privacy"]


def refused(checks: Sequence[Check], rows: int, holdout: float, seeds: int = SEEDS) -> set[str]:
    """Return the checks that refuse each of a few fresh samples of this size."""
    kept = max(round(rows * holdout), 1)
    sizes = (max(rows - kept, 1), kept, max(rows - kept, 1))
    found = {check.metric.name for check in checks}
    for seed in range(seeds):
        if found:
            found &= set(judge(fresh(seed, sizes), FRESH, checks, seed))
    return found
