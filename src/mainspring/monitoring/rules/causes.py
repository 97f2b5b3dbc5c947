"""What a change of a column looks like: missing values, another unit, a level nobody saw before."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mainspring.data.sketch import ColumnSketch

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
_LEAST_SHARE = 0.01


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found: absent, missing, invalid, unit, unseen, constant or moved, and a text for people."""

    kind: str
    text: str


def cause(reference: ColumnSketch, window: ColumnSketch) -> Finding:
    """The simplest account of why a window of a column differs from the reference."""
    if not window.rows or not reference.rows:
        return Finding("moved", "no rows to compare")
    return (
        _missing(reference, window)
        or _unseen(reference, window)
        or _unit(reference, window)
        or _moved(reference, window)
    )


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
    if centre is None or spread is None or abs(math.log(centre / spread)) > 2 * _NEAR:
        return None
    for factor, text in _UNITS.items():
        if any(abs(math.log(centre / unit)) < _NEAR for unit in (factor, 1 / factor)):
            return Finding("unit", f"the values changed by {text}")
    return None


def _ratio(now: float | None, before: float | None) -> float | None:
    if now is None or before is None or not before or now / before <= 0:
        return None
    return now / before


def _moved(reference: ColumnSketch, window: ColumnSketch) -> Finding:
    if reference.cells.kind == "numeric" and window.least == window.most != reference.most:
        return Finding("constant", f"every value is {window.least:g}")
    if reference.mean is not None and window.mean is not None:
        return Finding("moved", f"mean {window.mean:.4g}, {reference.mean:.4g} in the reference")
    return Finding("moved", "the shares of the levels changed")
