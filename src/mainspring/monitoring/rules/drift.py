"""Whether a column of a window differs from the reference by more than ordinary days differ from each other."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mainspring.core.values import dataclass
from mainspring.data.sketch import ColumnSketch
from mainspring.monitoring.rules.dispersion import Usual, cells_of

Floats = NDArray[np.float64]
TOLERANCE = 0.02
LEAST_ROWS = 200
_FEWER_PLACES = 1.5


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


def p_value(d: Floats, variance: Floats, freedom: Floats, moods: Floats) -> Floats:
    """How surprising a distance is: 2 exp(-z^2 / 2) of z standard deviations, with the tails of a t where they are due.

    Args:
        d: Distances, shape (columns,); one below zero is none.
        variance: Of the share below the value where it varies most, shape (columns,).
        freedom: Degrees of freedom of that variance.
        moods: What share of it comes from moods and not from the lot of the rows, shape (columns,).
    Returns: In [0, 1]. Without moods and for a known variance of 1 / (4 n) this is the bound of Massart; for a variance
        that was estimated it is that bound averaged over what the variance may be. Moods move the whole column in one
        direction or a few, so that they exceed a bound in fewer places than the lot does, of which a quarter is kept.
    Source: Massart (1990); Piterbarg (1996), Asymptotic methods in the theory of Gaussian processes, section 8, for the
        number of places.

    >>> one = np.array([1.0])
    >>> float(p_value(0.05 * one, 0.25 / 3000 * one, 1e9 * one, 0 * one).round(9))
    6.12e-07
    """
    squares = np.square(np.maximum(d, 0.0)) / variance
    return np.asarray(
        np.minimum(1.0, (2 - _FEWER_PLACES * moods) * np.exp(-freedom / 2 * np.log1p(squares / freedom))), np.float64
    )


def smallest_change(usual: Usual, *, reference_rows: int, rows: int, windows: int, level: float) -> float:
    """The least distance of which a week of windows raises an alarm, for the column in the middle; above 1: none does.

    Args:
        usual: How windows differ.
        reference_rows: Rows of the reference.
        rows: Rows of a window.
        windows: How many windows say the same.
        level: What evidence must reach.
    """
    many = np.full(len(usual.day), windows * rows * reference_rows / max(windows * rows + reference_rows, 1))
    variance, freedom, _ = usual.test(float(windows), np.maximum(many, 1.0))
    tail = 2 / freedom * math.log(2 * windows * level)
    return max(TOLERANCE, float(np.median(np.sqrt(variance * freedom * np.expm1(np.minimum(tail, 50))))))


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
