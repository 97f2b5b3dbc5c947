"""A column as these tools see it: values without what is missing, as numbers or as levels."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mainspring.data.sketch.grid import Floats

Counts = NDArray[np.float64]


def numbers(column: pl.Series) -> Floats:
    """The values in the order of the rows, without missing ones and infinities."""
    values: Floats = column.cast(pl.Float64, strict=False).drop_nulls().to_numpy()
    return values[np.isfinite(values)]


def level_counts(column: pl.Series) -> dict[Hashable, int]:
    """Rows for each level, missing ones left out."""
    known = column.drop_nulls()
    if known.dtype.is_float():
        known = known.filter(known.is_finite())
    counted = known.rename("level").value_counts()
    return dict(zip(counted["level"].to_list(), counted["count"].to_list(), strict=True))


def paired(before: dict[Hashable, int], now: dict[Hashable, int]) -> tuple[Counts, Counts]:
    """Counts of both over all levels, in one order."""
    levels = sorted({*before, *now}, key=lambda level: (str(type(level)), str(level)))
    first, second = (np.array([side.get(level, 0) for level in levels], np.float64) for side in (before, now))
    return first, second


def jensen_shannon(p: Floats, q: Floats, base: float) -> float:
    """The Jensen-Shannon distance of two vectors that are scaled to shares.

    Source: Endres, Schindelin (2003), A new metric for probability distributions.
    """
    p, q = p / p.sum(), q / q.sum()
    half = (p + q) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = sum(np.where(side > 0, side * np.log(side / half), 0.0).sum() for side in (p, q))
    return float(np.sqrt(max(0.0, float(terms)) / np.log(base) / 2))
