"""Whether the vectors of a window are those of the reference, looked at whole: energy distance and classifier.

Both see what no column that stands for a vector need show, such as places that no longer go together. They take rows as
independent, which those of one day are not, and so they stand beside an alarm as evidence and raise none themselves.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from mainspring.data.sketch.derivation import VectorColumn
from mainspring.data.sketch.deriving import vectors_of
from mainspring.monitoring.comparisons import VectorFigures
from mainspring.monitoring.readings import Reading, unknown
from mainspring.monitoring.rules import multivariate
from mainspring.monitoring.rules.multivariate.encoding import LEAST_ROWS, Floats, encode
from mainspring.monitoring.rules.statistics.estimates import Estimate, not_estimable

MOST_ROWS = 2000
_MOST_NUMBERS = 4_000_000
_DIRECTIONS = 64
_ROWS_A_DIRECTION = 4
_ROUNDING = 1e-9


def rows_drawn(width: int) -> int:
    """How many rows of a window are drawn, and twice as many of the reference: 2,000, or 4 million numbers.

    >>> rows_drawn(384), rows_drawn(8000)
    (2000, 500)
    """
    return max(2 * LEAST_ROWS, min(MOST_ROWS, _MOST_NUMBERS // max(width, 1)))


def compare_vectors(vector: VectorColumn, reference: pl.DataFrame, window: pl.DataFrame, *, seed: int) -> VectorFigures:
    """Compare whole vectors: the classifier on every place, the energy distance along the reference's main directions.

    Half of the rows of the reference tell its directions, at most 64, and how far rows spread along each; the other
    half is compared, as rows fit what was learnt from them better than any others do. In units of these spreads a
    change in how places go together is a change in how far rows lie apart, also where no place has moved by itself.

    Args:
        vector: Which.
        reference: Rows of the reference, with the columns of the vector; at most twice `rows_drawn` of them are taken.
        window: Rows of the window, likewise; at most `rows_drawn`.
        seed: Which rows are taken, how they are permuted, and which ones the classifier learns from.
    Returns: The figures; where there are none, why.
    """
    most = rows_drawn(vector.width)
    taken = _taken(reference, 2 * most, seed), _taken(window, most, seed + 1)
    before, now = (_whole(vectors_of(frame, vector)) for frame in taken)
    learnt, held = before[::2], before[1::2]
    missing = taken[1].height - len(now)
    energy, classifier = _compared(vector, learnt, held, now, missing=missing, seed=seed)
    return VectorFigures(
        name=vector.name,
        width=vector.width,
        rows=len(now),
        missing=missing,
        reference_rows=len(held),
        energy=_reading(energy),
        classifier=_reading(classifier),
        energy_usual=energy.usual,
        energy_p=energy.p,
        classifier_p=classifier.p,
    )


def _reading(found: Estimate) -> Reading:
    return unknown(found.reason) if found.value is None else Reading.of(found.value, found.low, found.high)


def _taken(frame: pl.DataFrame, most: int, seed: int) -> pl.DataFrame:
    return frame.sample(min(frame.height, most), shuffle=True, seed=seed)


def _whole(rows: Floats) -> Floats:
    return np.asarray(rows[np.isfinite(rows).all(axis=1)], np.float64)


def _compared(
    vector: VectorColumn, learnt: Floats, held: Floats, now: Floats, *, missing: int, seed: int
) -> tuple[Estimate, Estimate]:
    if not len(now) and missing:
        reason = not_estimable(f"none of {missing} rows has a whole vector of {vector.width} places")
        return reason, reason
    for what, rows in (("the window", len(now)), ("one half of the reference", len(held))):
        if rows < LEAST_ROWS:
            reason = not_estimable(f"{rows} vectors in {what}, {LEAST_ROWS} are needed")
            return reason, reason
    before, after = encode(_framed(np.vstack([learnt, held])), _framed(now))
    if not before.shape[1]:
        reason = not_estimable("no place of the vector varies in the reference")
        return reason, reason
    sides = before[len(learnt) :], after
    energy = multivariate.method("energy").measure(*_along(before[: len(learnt)], *sides), seed=seed)
    return energy, multivariate.method("domain_classifier").measure(*sides, seed=seed)


def _framed(rows: Floats) -> pl.DataFrame:
    return pl.DataFrame({"vector": pl.Series(rows, dtype=pl.Array(pl.Float64, rows.shape[1]))})


def _along(learnt: Floats, *sides: Floats) -> list[Floats]:
    """Rows by their place along the main directions of those that these are learnt from, and how far off they lie.

    Each feature is in units of its spread; directions without any are left out, as are those that few rows tell.
    """
    centre = learnt.mean(axis=0)
    _, sizes, axes = np.linalg.svd(learnt - centre, full_matrices=False)
    spreads = sizes / np.sqrt(len(learnt))
    most = min(_DIRECTIONS, len(learnt) // _ROWS_A_DIRECTION)
    kept = (spreads > _ROUNDING * spreads[0]) & (np.arange(len(sizes)) < most)
    axes, spreads = axes[kept], spreads[kept]

    def placed(rows: Floats) -> tuple[Floats, Floats]:
        flat = (rows - centre) @ axes.T
        whole = np.square(rows - centre).sum(axis=1)
        left = whole - np.square(flat).sum(axis=1)
        return flat / spreads, np.sqrt(np.where(left > _ROUNDING * whole, left, 0.0))

    spread = float(placed(learnt)[1].std())
    parts = [placed(rows) for rows in sides]
    if spread <= _ROUNDING * spreads[0]:  # the directions describe the reference whole
        spread = float(spreads[-1])
    return [np.column_stack([flat, off / spread]) for flat, off in parts]
