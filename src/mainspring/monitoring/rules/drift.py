"""Whether a column of a window differs from the reference by more than ordinary days differ from each other."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mainspring.data.sketch import ColumnSketch
from mainspring.monitoring.rules.dispersion import cells_of

Floats = NDArray[np.float64]
TOLERANCE = 0.02
LEAST_ROWS = 200
_COMMON_ERROR = math.pi / math.sqrt(12)


@dataclass(frozen=True, slots=True)
class Distance:
    """How far apart two windows of a column are.

    Attributes:
        ks: Kolmogorov distance over the cells in their order, then invalid, then null; in [0, 1].
        change: The largest change of the share of a single level, in [0, 1]; 0 for numbers.
        level: The level it is about; "" for numbers and for levels outside the reference.
    """

    ks: float
    change: float = 0.0
    level: str = ""


def shares(column: ColumnSketch) -> Floats:
    """Share of the rows in each cell, the invalid and the null ones last; shape (cells + 2,), zeros without rows."""
    return cells_of(column) / max(column.rows, 1)


def distance(reference: ColumnSketch, window: ColumnSketch, expected: Floats | None = None) -> Distance:
    """The distance of a window from the reference; no values in either of them is no distance but for the nulls.

    Args:
        reference: The column of the reference.
        window: That of the window.
        expected: Shares by cell that the window should have, when they are not those of the reference as a whole.
    """
    before, now = shares(reference) if expected is None else expected, shares(window)
    ks = float(np.abs(np.cumsum(before - now)).max()) if reference.rows and window.rows else 0.0
    if reference.cells.kind != "categorical" or not window.rows:
        return Distance(min(ks, 1.0))
    changes = np.abs(before - now)[: len(reference.counts)]
    at = int(changes.argmax())
    levels = reference.cells.levels
    return Distance(min(ks, 1.0), float(changes[at]), levels[at] if at < len(levels) else "")


def kolmogorov_survival(x: float) -> float:
    """P(K > x) for Kolmogorov's K.

    >>> round(kolmogorov_survival(1.358), 3)
    0.05
    """
    if x < 0.3:
        return 1.0
    return min(1.0, max(0.0, 2 * sum((-1.0) ** (k - 1) * math.exp(-2 * (k * x) ** 2) for k in range(1, 13))))


def p_value(
    d: float,
    *,
    reference_rows: int,
    rows: int,
    dispersion: float,
    columns: int,
    tolerance: float = TOLERANCE,
    is_learnt: bool = False,
) -> float:
    """How surprising a distance is if days differ as they did in the reference.

    Args:
        d: Kolmogorov distance of the window from the reference.
        reference_rows: Rows of the reference.
        rows: Rows of the window.
        dispersion: How much more windows vary than rows drawn independently, at least 1.
        columns: Columns that are watched, which share the risk of an unlucky reference.
        tolerance: A distance up to this is none: at most so many of the rows moved.
        is_learnt: The reference has enough days to know how much they differ. Then the distance counts in full from
            the tolerance on; otherwise only what is beyond it.
    Returns:
        In [0, 1]. With a reference of under 10 windows' rows its own error, common to all windows, is bounded once for
        all of them.
    Source: Massart (1990) for the second branch. The error of the reference is taken off the distance in both.

    >>> p_value(0.01, reference_rows=10_000, rows=1_000, dispersion=1.0, columns=50)
    1.0
    """
    if not rows or not reference_rows or d <= tolerance:
        return 1.0
    if reference_rows < 10 * rows:
        error = math.sqrt(dispersion * math.log(2 * max(columns, 1) / 0.01) / (2 * reference_rows))
        return min(1.0, 2 * math.exp(-2 * rows / dispersion * max(0.0, d - tolerance - error) ** 2))
    effective = reference_rows * rows / (reference_rows + rows) / dispersion
    if is_learnt:
        error = _COMMON_ERROR * math.sqrt(dispersion / reference_rows)
    else:
        error = tolerance + _COMMON_ERROR * math.sqrt(max(0.0, dispersion - 1.5) / reference_rows)
    return kolmogorov_survival(max(0.0, d - error) * math.sqrt(effective))


def level_p_value(
    change: float, *, reference_rows: int, rows: int, dispersion: float, levels: int, tolerance: float = TOLERANCE
) -> float:
    """How surprising the largest change of one of `levels` levels is, by Hoeffding's bound for each of them."""
    if not rows or not reference_rows:
        return 1.0
    effective = reference_rows * rows / (reference_rows + rows) / dispersion
    return min(1.0, 2 * levels * math.exp(-2 * effective * max(0.0, change - tolerance) ** 2))


def smallest_change(
    *, reference_rows: int, rows: int, dispersion: float, columns: int, level: float, is_learnt: bool = False
) -> float:
    """The least distance that raises an alarm in a single window; above 1 when none does."""
    low, high = 0.0, 2.0
    known = {"reference_rows": reference_rows, "rows": rows, "columns": columns}
    for _ in range(30):
        middle = (low + high) / 2
        p = p_value(middle, **known, dispersion=dispersion, is_learnt=is_learnt)
        low, high = (middle, high) if p * level**2 > 0.25 else (low, middle)
    return high


def which_columns(p_values: dict[str, float], effects: dict[str, float], *, rate: float = 0.01) -> list[str]:
    """The columns that moved, by Benjamini-Hochberg at `rate` and an effect above 0, largest effect first.

    Source: Benjamini, Hochberg (1995).

    >>> which_columns({"a": 0.0001, "b": 0.5, "c": 0.004}, {"a": 0.1, "b": 0.2, "c": 0.3})
    ['c', 'a']
    """
    ordered = sorted(p_values.items(), key=lambda item: item[1])
    passed = [i for i, (_, p) in enumerate(ordered, start=1) if p <= rate * i / len(ordered)]
    chosen = [name for name, _ in ordered[: max(passed, default=0)] if effects[name] > 0]
    return sorted(chosen, key=lambda name: (-effects[name], name))
