"""What the author of a synthesizer runs: conformance checks, neighbour replay and the leak scan."""

from tabsynth.scan import scan_model
from tabsynth.testing.conformance import CHECKS, check_synthesizer, checks
from tabsynth.testing.replay import neighbour_replay, neighbours
from tabsynth.testing.tables import awkward_table, awkward_tables, sealed

__all__ = [
    "CHECKS",
    "awkward_table",
    "awkward_tables",
    "check_synthesizer",
    "checks",
    "neighbour_replay",
    "neighbours",
    "scan_model",
    "sealed",
]
