"""A schema drafted from data, every line of it marked: what is read from private rows is published by keeping it."""

from tabsynth.drafting.draft import HEADER, MARK, Draft, draft
from tabsynth.drafting.facts import MOST_CATEGORIES

__all__ = ["HEADER", "MARK", "MOST_CATEGORIES", "Draft", "draft"]
