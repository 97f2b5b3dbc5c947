"""Columns of a window beside the reference, in few enough bars to look at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mainspring.core.values import dataclass

if TYPE_CHECKING:
    from mainspring.data.sketch import ColumnSketch
    from mainspring.data.sketch.derivation import VectorColumn

_BARS = 16
_LEVELS = 8
_MISSING, _OTHER = "missing", "other"


@dataclass(frozen=True, slots=True)
class HistogramPair:
    """A column of a window beside the reference.

    Attributes:
        column: Its name.
        labels: What is under each bar: the lower end of a part of a number, or a level.
        reference: Share of the rows of the reference.
        window: Share of the rows of the window.
        places: For the regions of vectors where each bar lies along the first two directions.
    """

    column: str
    labels: tuple[str, ...]
    reference: tuple[float, ...]
    window: tuple[float, ...]
    places: tuple[tuple[float, float], ...] = ()


def histogram_pair(reference: ColumnSketch, window: ColumnSketch) -> HistogramPair:
    """A column in bars: parts of equal width between the 1st and the 99th percentile of the reference, or levels.

    The outermost bars hold what lies beyond. Rows without a value are a bar of their own where there are any.
    """
    labels, before, now = _numbers(reference, window) if reference.cells.is_number else _levels(reference, window)
    lost = (reference.nulls + reference.invalid, window.nulls + window.invalid)
    if any(lost):
        labels, before, now = [*labels, _MISSING], [*before, lost[0]], [*now, lost[1]]
    return HistogramPair(reference.cells.name, tuple(labels), _shares(before), _shares(now))


def region_map(vector: VectorColumn, reference: ColumnSketch, window: ColumnSketch) -> HistogramPair:
    """The regions of vectors, all of them, each with where it lies."""
    lies = {f"{at:02}": (float(x), float(y)) for at, (x, y) in enumerate(vector.map)}
    labels = reference.cells.levels
    shares = (tuple((side.counts[:-1] / max(side.rows, 1)).tolist()) for side in (reference, window))
    places = tuple(lies[label] for label in labels)
    return HistogramPair(reference.cells.name, labels, next(shares), next(shares), places)


def _shares(rows: Sequence[float]) -> tuple[float, ...]:
    whole = sum(rows)
    return tuple(float(count) / whole for count in rows) if whole else tuple(0.0 for _ in rows)


def _numbers(reference: ColumnSketch, window: ColumnSketch) -> tuple[list[str], list[float], list[float]]:
    low, high = reference.quantile(0.01), reference.quantile(0.99)
    if low is None or high is None or not high > low:
        level = f"{low:g}" if low is not None else "value"
        return [level], [reference.present], [window.present]
    edges = np.linspace(low, high, _BARS + 1)
    cuts = reference.cells.edges
    ends = np.concatenate(([cuts[0]], (cuts[:-1] + cuts[1:]) / 2, [cuts[-1]])) if len(cuts) else np.array([low])
    ends = np.nan_to_num(ends, posinf=high, neginf=low)
    bars = np.clip(np.searchsorted(edges, ends, side="left") - 1, 0, _BARS - 1)
    before, now = (np.bincount(bars, weights=side.counts, minlength=_BARS).tolist() for side in (reference, window))
    return [f"{edge:.3g}" for edge in edges[:-1]], before, now


def _levels(reference: ColumnSketch, window: ColumnSketch) -> tuple[list[str], list[float], list[float]]:
    if reference.cells.kind != "categorical":
        return ["present"], [reference.present], [window.present]
    before, now = reference.levels(), window.levels()
    names = sorted(before, key=lambda name: (-max(_share(before, name), _share(now, name)), name))[:_LEVELS]
    rest = [
        side.present - sum(known.get(name, 0) for name in names) for side, known in ((reference, before), (window, now))
    ]
    bars: tuple[list[str], list[float], list[float]] = (
        names,
        [before[name] for name in names],
        [now.get(name, 0) for name in names],
    )
    if any(rest):
        return [*bars[0], _OTHER], [*bars[1], rest[0]], [*bars[2], rest[1]]
    return bars


def _share(levels: dict[str, int], name: str) -> float:
    return levels.get(name, 0) / max(sum(levels.values()), 1)
