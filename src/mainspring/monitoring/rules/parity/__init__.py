"""The numbers of other tools, for people who move over: their formulas on rows, never their alarms.

One file for each tool, found by its name; each has `SAYS` and `scores(reference, current)`.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from functools import cache
from typing import Protocol, cast

import numpy as np
import polars as pl

from mainspring.monitoring.rules.methods import methods_in

__all__ = ["Peer", "Scores", "names", "peer"]
Scores = dict[str, tuple[float | None, ...]]
_PARTS = ("rows",)


class Peer(Protocol):
    """What a module in this folder offers."""

    SAYS: str
    """Which release it follows, and how it cuts the current rows."""

    def scores(self, reference: pl.Series, current: pl.Series) -> Scores:
        """The values by the name that tool has for its measure, one for each part of the current rows.

        None stands for a part without values. Nothing at all when the tool has no measure for this kind of column.
        """


@cache
def names() -> tuple[str, ...]:
    """The tools.

    >>> names()
    ('evidently', 'nannyml')
    """
    return methods_in(__path__, besides=_PARTS)


def peer(name: str) -> Peer:
    """A tool by its name, one of `names()`."""
    return cast(Peer, importlib.import_module(f"{__name__}.{name}"))


def finite(values: Sequence[float]) -> tuple[float | None, ...]:
    """Values with None for those that are none."""
    return tuple(float(value) if np.isfinite(value) else None for value in values)
