"""How good an order of risks is when some outcomes are not known yet."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mainspring.monitoring.readings import Reading, unknown

Floats = NDArray[np.float64]
_MOST = 2_000


def concordance(times: Floats, seen: NDArray[np.bool_], risks: Floats, *, seed: int = 0) -> Reading:
    """Share of comparable pairs in which the greater risk came first, ties of risk half.

    A pair is comparable when the earlier time is one at which the event was seen.

    Args:
        times: When the event came, or until when there was none, shape (rows,).
        seen: Whether the event came.
        risks: The greater the sooner.
        seed: Of the sample that is taken of more than 2,000 rows.
    Returns: 0.5 is chance, with a 95 % interval (of rows, by the jackknife).
    Source: Harrell, Califf, Pryor, Lee, Rosati (1982), Evaluating the yield of medical tests.

    >>> concordance(np.array([1.0, 2.0, 3.0]), np.array([True, True, False]), np.array([3.0, 2.0, 1.0])).value
    1.0
    """
    known = np.isfinite(times) & np.isfinite(risks)
    times, seen, risks = times[known], seen[known], risks[known]
    if len(times) > _MOST:
        kept = np.random.default_rng(seed).choice(len(times), _MOST, replace=False)
        times, seen, risks = times[kept], seen[kept], risks[kept]
    later = times[None, :] > times[:, None]
    later |= (times[None, :] == times[:, None]) & ~seen[None, :]
    pairs = later & seen[:, None]
    np.fill_diagonal(pairs, val=False)
    right = np.where(pairs, (risks[:, None] > risks[None, :]) + 0.5 * (risks[:, None] == risks[None, :]), 0.0)
    total = float(pairs.sum())
    if not total:
        return unknown("no two rows can be compared: no event came before another time")
    value = float(right.sum()) / total
    per_pairs = pairs.sum(axis=0) + pairs.sum(axis=1)
    per_right = right.sum(axis=0) + right.sum(axis=1)
    left = total - per_pairs
    without = np.where(left > 0, (right.sum() - per_right) / np.maximum(left, 1), value)
    error = float(np.sqrt((len(without) - 1) / len(without) * ((without - without.mean()) ** 2).sum()))
    return Reading.of(value, max(0.0, value - 1.96 * error), min(1.0, value + 1.96 * error))
