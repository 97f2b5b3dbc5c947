"""Splits: which rows of a dataset version train, which validate, and which are sealed for the last test.

Nouns: split, part, use. Invariants: a split is of one version of a dataset and never changes; the same rows and the
same wish give the same split, digest for digest; every opening of the sealed rows is counted before they are read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mainspring.data.splits.model import HISTORY, TEST, Part, Split, SplitSpec

if TYPE_CHECKING:
    from mainspring.data.splits.service import Splits

__all__ = ["HISTORY", "TEST", "Part", "Split", "SplitSpec", "Splits"]


def __getattr__(name: str) -> object:
    if name != "Splits":  # it needs SQL, and SQL needs the values here
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mainspring.data.splits.service import Splits

    return Splits
