"""What columns may lend each other when each has few windows: which stand out, and how many opinions they are together.

Source: Smyth (2004), Linear models and empirical Bayes methods, section 4, for variances drawn to what they have in
common; Phipson, Lee, Majewski, Alexander, Smyth (2016), Robust hyperparameter estimation, section 2, for those that
stand out and are left as they are.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_STANDS_OUT = 1.96
"""Of the normal distribution one in forty is above it."""


def stands_out(variances: Floats, common: float, error: float) -> NDArray[np.bool_]:
    """Which variances are so far above the common one that they are not to be drawn down to it.

    Args:
        variances: Estimated ones, above 0, shape (columns,).
        common: What they have in common, above 0.
        error: Variance of the logarithm of an estimate.
    Returns: Shape (columns,). Of columns that are alike one in forty stands out by luck; it borrows nothing then.

    >>> stands_out(np.array([1.0, 1.1, 3.0]), 1.0, 0.1)
    array([False, False,  True])
    """
    return np.asarray(np.log(variances / common) > _STANDS_OUT * math.sqrt(error))


def opinions(squares: Floats) -> float:
    """As how many independent columns these count, from how they go together window by window.

    Args:
        squares: Squared distance of each window, any scale, shape (columns, windows).
    Returns: Between 1, where all columns have the same mood every day, and their number. The mean correlation of two
        columns is taken one standard error above what was seen.
    Source: Kish (1965), Survey sampling, section 5.4, for the design effect of a mean.

    >>> alike = np.array([[1.0, 2.0, 4.0, 1.0], [10.0, 20.0, 40.0, 10.0]])
    >>> opinions(alike)
    1.0
    """
    apart = squares - squares.mean(1, keepdims=True)
    size = np.sqrt(np.square(apart).sum(1))
    alive = size > 0
    many = int(alive.sum())
    if many < 2:
        return 1.0
    pairs = many * (many - 1)
    seen = (float(np.square((apart[alive] / size[alive, None]).sum(0)).sum()) - many) / pairs
    error = math.sqrt(2 / pairs / (squares.shape[1] - 1))
    correlation = min(1.0, max(0.0, seen) + error)
    return many / (1 + (many - 1) * correlation)
