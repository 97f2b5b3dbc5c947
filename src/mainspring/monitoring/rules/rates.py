"""Whether a share of rows (missing values, slow or failed answers) is above what is accepted."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_BLOCKS = (1, 2, 4, 8)
_LEAST_BLOCKS = 3


def divergence(share: float, bar: float) -> float:
    """Kullback-Leibler divergence of one coin from another, in nats; infinite where `bar` rules out what was seen.

    >>> round(divergence(0.05, 0.02), 4)
    0.0163
    """
    total = 0.0
    for seen, expected in ((share, bar), (1 - share, 1 - bar)):
        if seen > 0:
            total += seen * math.log(seen / expected) if expected > 0 else math.inf
    return total


def rate_p_value(bad: int, rows: int, bar: float, dispersion: float = 1.0) -> float:
    """How surprising so many bad rows are if their share is at most `bar`.

    Args:
        bad: Rows that are bad.
        rows: All rows.
        bar: The share that is still accepted, in [0, 1].
        dispersion: How much more windows vary than rows drawn independently, at least 1.
    Returns: In (0, 1]; 1 when the share is not above the bar.
    Source: Hoeffding (1963), theorem 1 (the bound of Chernoff for a binomial).

    >>> rate_p_value(20, 1000, 0.02)
    1.0
    """
    if not rows or bad / rows <= bar:
        return 1.0
    return max(1e-300, math.exp(-min(rows / dispersion * divergence(bad / rows, bar), 690.0)))


def upper_share(bad: int, rows: int, *, dispersion: float, risk: float) -> float:
    """The largest share that so many bad rows are still likely under, but for a risk: the upper end of an interval.

    >>> round(upper_share(0, 1000, dispersion=1.0, risk=0.001), 4)
    0.0069
    """
    if not rows:
        return 1.0
    share, limit = bad / rows, math.log(1 / risk) * dispersion / rows
    low, high = share, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if divergence(share, middle) < limit else (low, middle)
    return high


def rate_dispersion(bad: Floats, rows: Floats) -> float:
    """How much more the share of bad rows varies between windows than if each row drew its own lot.

    The same is done for runs of 2, 4 and 8 consecutive windows and the largest is taken, so that bad days that follow
    each other do not count as independent. A share that is a fact of the day (a sensor that is off) gives a large one.

    Args:
        bad: Bad rows of each window, shape (windows,).
        rows: All rows of each window, shape (windows,).
    Returns: At least 1; 1 under 3 windows, or when no row, or every one, was bad.
    """
    largest = 1.0
    share = bad.sum() / max(rows.sum(), 1)
    if not 0 < share < 1:
        return 1.0
    for size in _BLOCKS:
        blocks = len(bad) // size
        if blocks < _LEAST_BLOCKS:
            break
        ill, all_ = (side[: blocks * size].reshape(blocks, size).sum(1) for side in (bad, rows))
        kept = all_ > 0
        ill, all_ = ill[kept], all_[kept]
        rest = max(rows.sum(), 1) - all_
        others = (bad.sum() - ill) / np.maximum(rest, 1)
        effective = all_ * rest / rows.sum()
        statistic = effective * np.square(ill / all_ - others) / (share * (1 - share))
        largest = max(largest, float(statistic.mean()) * (1 + 1.7 / math.sqrt(blocks)))
    return largest
