"""How good forecasts are: their error against that of repeating the last season, and whether intervals hold."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mainspring.monitoring.readings import Reading, unknown


def mase(history: Sequence[float], truth: Sequence[float], forecast: Sequence[float], *, season: int = 1) -> Reading:
    """Mean absolute error of forecasts over that of repeating the value one season before, within the history.

    Args:
        history: What was known when the model was made, in order of time.
        truth: What came, shape (rows,).
        forecast: What was said, shape (rows,).
        season: Steps of a season, 1 for the last value.
    Returns: Below 1 is better than repeating; with a 95 % interval over the rows.
    Source: Hyndman, Koehler (2006), Another look at measures of forecast accuracy, section 3.

    >>> mase([1.0, 2.0, 3.0], [4.0, 5.0], [3.0, 5.0]).value
    0.5
    """
    naive = [abs(now - before) for before, now in zip(history, history[season:], strict=False)]
    errors = [abs(said - true) for true, said in zip(truth, forecast, strict=True) if math.isfinite(said - true)]
    if not errors:
        return unknown("no forecast has its value yet")
    scale = math.fsum(naive) / len(naive) if naive else 0.0
    if not scale > 0:
        return unknown("the history does not change, so that repeating it has no error")
    scaled = [error / scale for error in errors]
    mean = math.fsum(scaled) / len(scaled)
    if len(scaled) < 2:
        return Reading(mean)
    sure = math.sqrt(math.fsum((one - mean) ** 2 for one in scaled) / (len(scaled) - 1) / len(scaled))
    return Reading.of(mean, max(0.0, mean - 1.96 * sure), mean + 1.96 * sure)


def interval_coverage(truth: Sequence[float], low: Sequence[float], high: Sequence[float]) -> Reading:
    """Share of values within their interval, with its 95 % interval.

    Source: Wilson (1927); the score interval.

    >>> interval_coverage([1.0, 5.0], [0.0, 0.0], [2.0, 2.0]).value
    0.5
    """
    from mainspring.monitoring.rules.performance import coverage_of

    rows = [(true, least, most) for true, least, most in zip(truth, low, high, strict=True)
            if all(map(math.isfinite, (true, least, most)))]  # fmt: skip
    if not rows:
        return unknown("no forecast with an interval has its value yet")
    held = coverage_of(0, len(rows), sum(least <= true <= most for true, least, most in rows))
    return Reading(held.share, held.low, held.high)
