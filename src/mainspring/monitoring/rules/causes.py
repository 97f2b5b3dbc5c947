"""What a change of a column looks like: missing values, another unit, a level nobody saw before."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mainspring.core.clock import iso
from mainspring.core.values import dataclass
from mainspring.data.sketch import ColumnSketch
from mainspring.monitoring.rules.dispersion import cells_of

_UNITS = {
    1000.0: "a factor of 1000",
    100.0: "a factor of 100 (a share became per cent)",
    60.0: "a factor of 60 (hours, minutes or seconds)",
    24.0: "a factor of 24 (days became hours)",
    3600.0: "a factor of 3600 (hours became seconds)",
    1.609344: "a factor of 1.609 (miles became kilometres)",
    3.28084: "a factor of 3.281 (metres became feet)",
    2.204623: "a factor of 2.205 (kilograms became pounds)",
}
_NEAR = 0.03
_LARGE, _NEAR_LARGE = 20.0, 0.2  # of incomes and the like means vary by more than 3 %, and nothing else grows so much
_PARTS = {
    ": content": "the texts are about other things",
    ": region": "the vectors lie elsewhere: more of them in region {most}",
    ": off the directions": "the vectors have more or less that the main directions of the reference do not explain",
}
"""What it means when a column that stands for a text or a vector moved."""
_LEAST_SHARE = 0.01
_LOPSIDED = 0.1


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found: absent, missing, invalid, encoding, unit, unseen, constant, season or moved, and a text."""

    kind: str
    text: str


@dataclass(frozen=True, eq=False)
class Days:
    """Single days of a column of the reference, those with rows.

    Attributes:
        starts: When each began, microseconds; 0 where time is not known.
        least: Rows of the one with the fewest.
        shares: The share of its rows up to each cell, shape (days, cells + 2).
    """

    starts: Sequence[int]
    least: int
    shares: NDArray[np.float64]

    @classmethod
    def of(cls, days: Sequence[tuple[int, ColumnSketch]]) -> Days | None:
        """Of the start and the column of each day; None where none has rows, or none is known by its time."""
        held = [(at, day) for at, day in days if day.rows]
        if not held or not any(at for at, _ in days):
            return None
        shares = np.array([np.cumsum(cells_of(day)) / day.rows for _, day in held])
        return cls([at for at, _ in held], min(day.rows for _, day in held), shares)


def cause(reference: ColumnSketch, window: ColumnSketch, days: Days | None = None) -> Finding:
    """The simplest account of why a window of a column differs from the reference.

    Args:
        reference: The column of the reference.
        window: That of the window.
        days: Single days of the reference: a window that looks like one of them is a season.
    """
    if not window.rows or not reference.rows:
        return Finding("moved", "no rows to compare")
    return (
        _missing(reference, window)
        or _stands_for(reference, window)
        or _encoding(reference, window)
        or _unseen(reference, window)
        or _unit(reference, window)
        or _season(reference, window, days)
        or _moved(reference, window)
    )


def _encoding(reference: ColumnSketch, window: ColumnSketch) -> Finding | None:
    """The same values, written differently: another case, spaces, a number with a point, true for false."""
    if reference.cells.kind == "boolean" and reference.present and window.present:
        before, now = (side.counts[-2] / side.present for side in (reference, window))
        if abs(before - 0.5) > _LOPSIDED and abs(now - (1 - before)) < 0.3 * abs(before - 0.5):
            return Finding("encoding", "true and false have changed places")
    if reference.cells.kind != "categorical" or not window.unseen:
        return None
    known = {_bare(level): level for level in reference.cells.levels}
    alike = {level: rows for level, rows in window.unseen.items() if _bare(level) in known}
    if sum(alike.values()) < 0.5 * sum(window.unseen.values()) or sum(alike.values()) < _LEAST_SHARE * window.rows:
        return None
    level = max(alike, key=lambda name: (alike[name], name))
    return Finding("encoding", f"levels are written differently: {level!r} for {known[_bare(level)]!r}")


def _bare(level: str) -> str:
    return level.strip().casefold().removesuffix(".0").replace("-", "_").replace(" ", "_")


def _season(reference: ColumnSketch, window: ColumnSketch, days: Days | None) -> Finding | None:
    if reference.cells.kind == "categorical" or days is None:
        return None
    before, now = (np.cumsum(cells_of(side)) / side.rows for side in (reference, window))
    apart = np.abs(days.shares - now).max(1)
    nearest, at = min(zip(apart.tolist(), days.starts, strict=True))
    moved = float(np.abs(before - now).max())
    noise = 1.36 * math.sqrt(1 / window.rows + 1 / days.least)
    if nearest > min(noise, 0.4 * moved):
        return None
    return Finding("season", f"it looks like {iso(at)[:10]}, which is in the reference")


def _missing(reference: ColumnSketch, window: ColumnSketch) -> Finding | None:
    if window.nulls == window.rows and reference.nulls < reference.rows:
        return Finding("absent", "every value is missing")
    before, now = reference.nulls / reference.rows, window.nulls / window.rows
    if abs(now - before) >= 0.02:
        return Finding("missing", f"{now:.1%} of the values are missing, {before:.1%} in the reference")
    if window.invalid / window.rows - reference.invalid / reference.rows >= 0.02:
        return Finding(
            "invalid", f"{window.invalid / window.rows:.1%} of the values cannot be read as {reference.cells.kind}"
        )
    return None


def _unseen(reference: ColumnSketch, window: ColumnSketch) -> Finding | None:
    if reference.cells.kind != "categorical" or not window.unseen:
        return None
    share = window.other / window.rows - reference.other / reference.rows
    if share < _LEAST_SHARE:
        return None
    level, rows = max(window.unseen.items(), key=lambda item: (item[1], item[0]))
    return Finding(
        "unseen", f"{share:.1%} more rows have a level outside the reference, most often {level!r} ({rows} rows)"
    )


def _unit(reference: ColumnSketch, window: ColumnSketch) -> Finding | None:
    if not reference.cells.is_number:
        return None
    centre, spread = _ratio(window.mean, reference.mean), _ratio(window.deviation, reference.deviation)
    if centre is None or spread is None:
        return None
    for factor, text in _UNITS.items():
        near = _NEAR if factor < _LARGE else _NEAR_LARGE
        if abs(math.log(centre / spread)) <= 2 * near and abs(abs(math.log(centre)) - math.log(factor)) < near:
            return Finding("unit", f"the values changed by {text}")
    return None


def _ratio(now: float | None, before: float | None) -> float | None:
    if now is None or before is None or not before or now / before <= 0:
        return None
    return now / before


def _moved(reference: ColumnSketch, window: ColumnSketch) -> Finding:
    if reference.cells.kind == "numeric" and window.present and not math.isfinite(window.least):
        return Finding("constant", "no value is finite")
    if reference.cells.kind == "numeric" and window.least == window.most != reference.most:
        return Finding("constant", f"every value is {window.least:g}")
    if reference.mean is not None and window.mean is not None:
        return Finding("moved", f"mean {window.mean:.4g}, {reference.mean:.4g} in the reference")
    return Finding("moved", "the shares of the levels changed")


def _stands_for(reference: ColumnSketch, window: ColumnSketch) -> Finding | None:
    part = reference.cells.name.removeprefix(reference.cells.source)
    if not reference.cells.source or part not in _PARTS:
        return None
    return Finding("moved", _PARTS[part].format(most=_gained(reference, window)))


def _gained(reference: ColumnSketch, window: ColumnSketch) -> str:
    """The level whose share grew most."""
    more = window.counts / max(window.rows, 1) - reference.counts / max(reference.rows, 1)
    return next(iter(reference.cells.levels[int(more.argmax()) :]), "(other)")
