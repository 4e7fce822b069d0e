"""Where rows come from: files, frames of three libraries and databases, all as one thing, a `Source`.

A source knows the names and types of its columns and reads its rows in batches, as often as it is asked to. What
consumes rows therefore never sees more of a table than a batch, and never asks what kind of table it is.
"""

from tabsynth.sources.base import BATCH_ROWS, Source
from tabsynth.sources.opening import Readable, file_name, home, identity, is_there, open_source

__all__ = ["BATCH_ROWS", "Readable", "Source", "file_name", "home", "identity", "is_there", "open_source"]
