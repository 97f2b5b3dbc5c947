"""Performance of a classifier of two classes without labels, from its scores: confidence-based estimation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mainspring.core.scores import CELLS
from mainspring.monitoring.readings import Reading, unknown
from mainspring.monitoring.rules.estimating.calibrating import Calibration
from mainspring.monitoring.rules.measuring import (
    MEASURES,
    OUTCOMES,
    Floats,
    confusion,
    mean_scores,
    measure,
    reading,
    spread,
)

LEAST_ROWS = 30
"""A window of fewer rows is not estimated."""
_STEP = 1e-3


def estimate(
    rows: Floats, sums: Floats, calibration: Calibration, *, worth: Mapping[str, float] | None = None
) -> dict[str, Reading]:
    """What the measures of a window will be once its labels are in, as long as scores mean what they meant.

    Args:
        rows: Rows per cell of the score, shape (CELLS,).
        sums: Sum of their scores.
        calibration: The probability behind each score.
        worth: What each outcome is worth; adds the measure "value".
    Returns:
        Each measure with a 95 % interval that holds the realized value: the luck of the window's own labels (delta
        method) and the uncertainty of the calibration (resampling) together.
    Source: Bialek, Kuberski, Perrakis, Bifet (2024), Estimating model performance under covariate shift without
        labels, section 4.
    """
    names = [*MEASURES, "value"] if worth else list(MEASURES)
    total = float(rows.sum())
    if total < LEAST_ROWS:
        return {name: unknown(f"{total:.0f} rows, {LEAST_ROWS} are needed") for name in names}
    scores = mean_scores(rows, sums)
    yes = rows * calibration.p
    at = measure(rows - yes, yes, scores, worth=worth)
    drawn = rows * calibration.draws
    between = measure(rows - drawn, drawn, scores, worth=worth)
    within = _luck(rows, calibration.p, scores, worth)
    return {
        name: reading(
            name,
            float(at[name]),
            float(np.hypot(within[name], spread(between[name]))),
            "no row is likely of a class",
        )
        for name in names
    }


def _luck(rows: Floats, p: Floats, scores: Floats, worth: Mapping[str, float] | None) -> dict[str, float]:
    """The standard deviation of each measure over labels drawn from their probabilities, to first order.

    One row of a cell that turns from class 0 to class 1 moves a measure by its derivative there; labels are
    independent of each other.
    """
    filled = np.flatnonzero(rows)
    step = np.zeros((len(filled), CELLS))
    step[np.arange(len(filled)), filled] = _STEP
    yes = rows * p
    up = measure(rows - yes - step, yes + step, scores, worth=worth)
    down = measure(rows - yes + step, yes - step, scores, worth=worth)
    variance = (rows * p * (1 - p))[filled]
    return {name: float(np.sqrt(np.nansum(variance * ((up[name] - down[name]) / (2 * _STEP)) ** 2))) for name in up}


def estimate_right(rows: Floats, sums: Floats, calibration: Calibration) -> Reading:
    """The share of right answers among many classes, from the probability of each answer.

    Args:
        rows: Rows per cell of the probability of the class that was answered.
        sums: Sum of these probabilities.
        calibration: The probability that such an answer is right.
    """
    total = float(rows.sum())
    if total < LEAST_ROWS:
        return unknown(f"{total:.0f} rows, {LEAST_ROWS} are needed")
    share = float((rows * calibration.p).sum()) / total
    luck = float(np.sqrt((rows * calibration.p * (1 - calibration.p)).sum())) / total
    unsure = float(((calibration.draws * rows).sum(axis=1) / total).std())
    return reading("accuracy", share, float(np.hypot(luck, unsure)))


def expected_confusion(rows: Floats, calibration: Calibration) -> dict[str, float]:
    """Rows of a window by answer and likely truth."""
    yes = rows * calibration.p
    found = confusion(rows - yes, yes)
    return {name: float(found[name]) for name in OUTCOMES}


def gap(estimated: Reading, realized: Reading) -> tuple[float, float] | None:
    """Estimated minus realized, and its standard deviation; None where one of them is not known.

    Estimates can't see a change of concepts, so that a gap is what such a change looks like.
    """
    if estimated.value is None or realized.value is None or estimated.low is None or estimated.high is None:
        return None
    return estimated.value - realized.value, (estimated.high - estimated.low) / (2 * 1.959963984540054)
