"""What leaves: a folder of synthetic rows with their provenance and card, written whole or refused."""

from tabsynth.release.folder import check_folder, inside_folder
from tabsynth.release.json_schema import json_schema
from tabsynth.release.read import Release, RowProvenance, read_release, row_provenance
from tabsynth.release.refusing import filters, refusals
from tabsynth.release.write import check_release_folder, release, write_inside

__all__ = [
    "Release",
    "RowProvenance",
    "check_folder",
    "check_release_folder",
    "filters",
    "inside_folder",
    "json_schema",
    "read_release",
    "refusals",
    "release",
    "row_provenance",
    "write_inside",
]
