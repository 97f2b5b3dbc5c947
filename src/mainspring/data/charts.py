"""How a column of a profile is shown: its numbers in words, and the bars of a histogram."""

from __future__ import annotations

import math

import numpy as np

from mainspring.core.clock import iso
from mainspring.data.model import Column, ColumnShape
from mainspring.data.sketch import ColumnSketch, Profile
from mainspring.data.sketch.grid import Floats

BARS = 20
_LEVELS = 12
_TAIL = 0.005


def column_shapes(columns: tuple[Column, ...], profile: Profile) -> list[ColumnShape]:
    """Every column of a version, in its order."""
    return [_shape(column, profile.sketch.column(column.name)) for column in columns]


def _shape(column: Column, counted: ColumnSketch | None) -> ColumnShape:
    if counted is None or not counted.rows:
        return ColumnShape(column.name, column.dtype, 0.0)
    nulls = counted.nulls / counted.rows
    kind = counted.cells.kind
    if kind == "categorical":
        bars, labels = _level_bars(counted)
        return ColumnShape(column.name, column.dtype, nulls, bars=bars, labels=labels)
    if kind == "boolean" and counted.present:
        true = round((counted.mean or 0.0) * counted.present)
        bars, labels = (counted.present - true, true), ("false", "true")
        return ColumnShape(column.name, column.dtype, nulls, mean=_number(counted.mean), bars=bars, labels=labels)
    if kind not in ("numeric", "timestamp") or not math.isfinite(counted.least):
        return ColumnShape(column.name, column.dtype, nulls)
    shown = _moment if kind == "timestamp" else _number
    bars, starts = number_bars(counted, whole=column.dtype.startswith(("Int", "UInt")))
    return ColumnShape(
        column.name,
        column.dtype,
        nulls,
        least=shown(counted.least),
        median=shown(counted.quantile(0.5)),
        mean=shown(counted.mean),
        most=shown(counted.most),
        bars=bars,
        labels=tuple(shown(start) for start in starts),
    )


def number_bars(
    counted: ColumnSketch, *, whole: bool = False, like: ColumnSketch | None = None
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """At most 20 bars of a column of numbers: rows, and where each bar starts, which `like` fixes when it is given.

    A column of few values gets a bar for each. Else bars are equally wide from the 0.5 % to the 99.5 % quantile, and
    what lies outside is counted in the first and the last. Bars of whole numbers hold equally many numbers each.
    """
    edges, total = counted.cells.edges, int(counted.counts.sum())
    atoms = edges[1::2]
    if len(atoms) <= BARS and len(edges) == 2 * len(atoms) and np.array_equal(edges[::2], np.nextafter(atoms, -np.inf)):
        return tuple(int(n) for n in counted.counts[1::2]), tuple(float(atom) for atom in atoms)
    fixing = like or counted
    low, high = fixing.quantile(_TAIL), fixing.quantile(1 - _TAIL)
    if low is None or high is None or low == high:
        return (total,), (fixing.least,)
    bounds = _bounds(low, high, whole=whole)
    reached = np.interp(bounds[1:-1], edges, np.cumsum(counted.counts)[:-1])
    counts = np.diff(np.round(np.concatenate([[0.0], reached, [float(total)]])))
    return tuple(int(n) for n in counts), tuple(float(start + 0.5 * whole) for start in bounds[:-1])


def _bounds(low: float, high: float, *, whole: bool) -> Floats:
    if not whole:
        return np.linspace(low, high, BARS + 1)
    width = math.ceil((high - low + 1) / BARS)
    return np.arange(low - 0.5, high + width, width)


def _level_bars(counted: ColumnSketch) -> tuple[tuple[int, ...], tuple[str, ...]]:
    levels = list(counted.levels().items())
    shown, rest = levels[:_LEVELS], sum(count for _, count in levels[_LEVELS:]) + counted.other
    if rest:
        shown.append(("others", rest))
    return tuple(count for _, count in shown), tuple(level for level, _ in shown)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}" if abs(value) < 10_000 else f"{value:,.0f}"


def _moment(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return ""
    try:
        return iso(int(value))[:16].replace("T", " ").removesuffix(" 00:00")
    except OverflowError:
        return _number(value)
