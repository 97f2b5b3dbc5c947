"""Both samples of a column as shares of the same bars."""

from __future__ import annotations

import math

from mainspring.data.charts import number_bars
from mainspring.data.sketch import ColumnSketch

LEVELS = 12


def pair(reference: ColumnSketch, current: ColumnSketch) -> tuple[list[float], list[float], str, str]:
    """Shares of the rows in each bar, before and now, and what the first and the last bar are called.

    The last bar is the missing values, when there are any. Bars are those of the reference; what lies beyond is in the
    outer ones.
    """
    before, now, first, last = _bars(reference, current)
    missing = [side.nulls + side.invalid for side in (reference, current)]
    if any(missing):
        before, now, last = [*before, missing[0]], [*now, missing[1]], "missing"
    return _shares(before, reference.rows), _shares(now, current.rows), first, last


def _bars(reference: ColumnSketch, current: ColumnSketch) -> tuple[list[float], list[float], str, str]:
    kind = reference.cells.kind
    if kind == "categorical":
        return _levels(reference, current)
    if not reference.cells.is_number or not math.isfinite(reference.least):
        return [float(reference.present)], [float(current.present)], "present", "present"
    bars, starts = number_bars(reference)
    like = number_bars(current, like=reference)[0]
    names = ("false", "true") if kind == "boolean" else (_number(starts[0]), _number(starts[-1]))
    return [float(n) for n in bars], [float(n) for n in like], names[0], names[1]


def _levels(reference: ColumnSketch, current: ColumnSketch) -> tuple[list[float], list[float], str, str]:
    shown = list(reference.levels())[:LEVELS]
    now = current.levels()
    before_bars = [float(reference.levels()[level]) for level in shown]
    now_bars = [float(now[level]) for level in shown]
    rest = reference.present - sum(before_bars), current.present - sum(now_bars)
    if any(rest):
        before_bars, now_bars = [*before_bars, rest[0]], [*now_bars, rest[1]]
    names = [*shown, *(["others"] if any(rest) else [])] or ["no levels"]
    return before_bars or [0.0], now_bars or [0.0], names[0], names[-1]


def _shares(counts: list[float], rows: int) -> list[float]:
    return [count / rows for count in counts] if rows else [0.0] * len(counts)


def _number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 10_000 or abs(value) >= 1e7 else f"{value:,.0f}"
