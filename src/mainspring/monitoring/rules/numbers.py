"""Measures of predicted numbers from sums over labelled rows."""

from __future__ import annotations

import math
from collections.abc import Mapping

from mainspring.monitoring.readings import Reading, unknown
from mainspring.monitoring.rules.performance import MOMENTS, Outcomes

MEASURES = ("mae", "rmse", "bias", "r2")
_Z95 = 1.959963984540054


def realized_numbers(outcomes: Outcomes, *, worth: Mapping[str, float] | None = None) -> dict[str, Reading]:
    """Mean absolute and root mean squared error, mean error and share of variance explained, with 95 % intervals.

    The intervals take rows for independent; that of R2 takes the variance of the truth as known.

    Args:
        outcomes: Of the labelled rows.
        worth: "per_unit": what a unit of absolute error is worth, in money; adds the measure "value".
    """
    names = [*MEASURES, "value"] if worth else list(MEASURES)
    if not outcomes.moments:
        return {name: unknown("no row has a label") for name in names}
    sums = dict(zip(MOMENTS, outcomes.moments, strict=True))
    n = sums["rows"]
    mean = {name: sums[name] / n for name in MOMENTS}
    reach = _Z95 / math.sqrt(n)
    mae, mse = mean["absolute"], mean["square"]
    apart = reach * math.sqrt(max(0.0, mse - mae * mae))
    wide = reach * math.sqrt(max(0.0, mean["fourth"] - mse * mse))
    off = reach * math.sqrt(max(0.0, mse - mean["error"] ** 2))
    ends = [math.sqrt(max(0.0, mse - wide)), math.sqrt(mse + wide)]
    found = {
        "mae": Reading.of(mae, max(0.0, mae - apart), mae + apart),
        "rmse": Reading.of(math.sqrt(mse), *ends),
        "bias": Reading.of(mean["error"], mean["error"] - off, mean["error"] + off),
        "r2": _explained(mse, wide, mean["truth_square"] - mean["truth"] ** 2),
    }
    if worth:
        money = worth.get("per_unit", 0.0)
        low, high = sorted((money * (sums["absolute"] - apart * n), money * (sums["absolute"] + apart * n)))
        found["value"] = Reading.of(money * sums["absolute"], low, high)
    return found


def _explained(mse: float, wide: float, variance: float) -> Reading:
    if not variance > 1e-12:
        return unknown("every label is the same number")
    return Reading.of(1 - mse / variance, 1 - (mse + wide) / variance, 1 - max(0.0, mse - wide) / variance)
