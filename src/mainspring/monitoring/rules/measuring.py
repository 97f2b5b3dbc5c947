"""Measures of two classes from counts per cell of the score, for any number of counts at once."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from mainspring.core.scores import CELLS, HALF, cell_middle
from mainspring.monitoring.readings import Reading, unknown

Floats = NDArray[np.float64]
MEASURES = (
    "roc_auc",
    "average_precision",
    "f1",
    "precision",
    "recall",
    "specificity",
    "accuracy",
    "brier",
    "log_loss",
)
OUTCOMES = ("true_positive", "false_positive", "false_negative", "true_negative")
Z95 = 1.959963984540054
_DRAWS = 100
_LEAST = 1e-6
_MIDDLES = np.array([cell_middle(cell) for cell in range(CELLS)])


def mean_scores(rows: Floats, sums: Floats) -> Floats:
    """Mean score per cell, shape (CELLS,); the middle of the cell where there are no rows."""
    return np.where(rows > 0, sums / np.maximum(rows, 1e-300), _MIDDLES)


def confusion(no: Floats, yes: Floats, threshold: float = 0.5) -> dict[str, Floats]:
    """Rows by answer and truth.

    Args:
        no: Rows of class 0 per cell, shape (..., CELLS); may be fractions.
        yes: Rows of class 1, likewise.
        threshold: From this score on class 1 is answered; it is held to the nearest edge of a cell.
    """
    from mainspring.core.scores import score_cell

    first = HALF if threshold == 0.5 else score_cell(threshold)
    return {
        "true_positive": yes[..., first:].sum(-1),
        "false_positive": no[..., first:].sum(-1),
        "false_negative": yes[..., :first].sum(-1),
        "true_negative": no[..., :first].sum(-1),
    }


def measure(
    no: Floats, yes: Floats, scores: Floats, *, threshold: float = 0.5, worth: Mapping[str, float] | None = None
) -> dict[str, Floats]:
    """All measures of two classes.

    Args:
        no: Rows of class 0 per cell, shape (..., CELLS); may be fractions.
        yes: Rows of class 1, likewise.
        scores: Mean score per cell, shape (CELLS,).
        threshold: From this score on class 1 is answered.
        worth: What a row of each of `OUTCOMES` is worth, in money; adds the measure "value", the sum over all rows.
    Returns: Arrays of shape (...,), not a number where rows do not define a measure.
    """
    parts = confusion(no, yes, threshold)
    tp, fp, fn, tn = (parts[name] for name in OUTCOMES)
    rows, positives = tp + fp + fn + tn, tp + fn
    p = np.clip(scores, _LEAST, 1 - _LEAST)
    found = {
        "roc_auc": _area(no, yes),
        "average_precision": _average_precision(no, yes),
        "f1": _share(2 * tp, 2 * tp + fp + fn),
        "precision": _share(tp, tp + fp),
        "recall": _share(tp, positives),
        "specificity": _share(tn, tn + fp),
        "accuracy": _share(tp + tn, rows),
        "brier": _share((yes * (1 - scores) ** 2 + no * scores**2).sum(-1), rows),
        "log_loss": _share(-(yes * np.log(p) + no * np.log(1 - p)).sum(-1), rows),
    }
    if worth:
        value = sum(worth.get(name, 0.0) * parts[name] for name in OUTCOMES)
        found["value"] = np.asarray(value, dtype=np.float64)
    return found


def _share(part: Floats, whole: Floats) -> Floats:
    shares: Floats = np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=whole > 0)
    return shares


def _area(no: Floats, yes: Floats) -> Floats:
    """Source: Hanley, McNeil (1982): the share of pairs that the score puts in order, ties half."""
    below = np.cumsum(no, axis=-1) - no / 2
    return _share((yes * below).sum(-1), yes.sum(-1) * no.sum(-1))


def _average_precision(no: Floats, yes: Floats) -> Floats:
    """The mean of the precision at each row of class 1, rows of one cell counting as equal."""
    right = np.cumsum(yes[..., ::-1], axis=-1)
    said = right + np.cumsum(no[..., ::-1], axis=-1)
    precision = np.divide(right, said, out=np.zeros_like(right), where=said > 0)
    return _share((yes[..., ::-1] * precision).sum(-1), yes.sum(-1))


def realized(
    no: Floats, yes: Floats, sums: Floats, *, seed: int = 0, worth: Mapping[str, float] | None = None
) -> dict[str, Reading]:
    """Measures of labelled rows with 95 % intervals.

    The intervals take the rows for independent of each other: they are those of resampled rows, by counts.

    Args:
        no: Labelled rows of class 0 per cell, shape (CELLS,).
        yes: Those of class 1.
        sums: Sum of the scores per cell.
        seed: Of the resampling.
        worth: As in `measure`.
    Source: Hanley, MacGibbon (2006), Creating non-parametric bootstrap samples using Poisson frequencies.
    """
    names = [*MEASURES, "value"] if worth else list(MEASURES)
    if not no.sum() + yes.sum():
        return {name: unknown("no row has a label") for name in names}
    scores = mean_scores(no + yes, sums)
    at = measure(no, yes, scores, worth=worth)
    filled = np.flatnonzero(no + yes)
    rng = np.random.default_rng(seed)
    drawn_no, drawn_yes = np.zeros((_DRAWS, CELLS)), np.zeros((_DRAWS, CELLS))
    drawn_no[:, filled] = rng.poisson(no[filled], (_DRAWS, len(filled)))
    drawn_yes[:, filled] = rng.poisson(yes[filled], (_DRAWS, len(filled)))
    wide = {name: spread(values) for name, values in measure(drawn_no, drawn_yes, scores, worth=worth).items()}
    why = one_class(float(no.sum()), float(yes.sum()))
    return {name: reading(name, float(at[name]), wide[name], why) for name in names}


def spread(values: Floats) -> float:
    """The standard deviation of those values that are numbers; none under two of them."""
    known = values[np.isfinite(values)]
    return float(known.std(ddof=1)) if len(known) > 1 else float("nan")


def reading(name: str, value: float, deviation: float, why: str = "") -> Reading:
    """A measure with the interval of a standard deviation, held to where the measure can lie."""
    if not np.isfinite(value):
        return unknown(why or "no row was answered so")
    ends = (value - Z95 * deviation, value + Z95 * deviation)
    if name not in ("value", "log_loss"):
        ends = (max(0.0, ends[0]), min(1.0, ends[1]))
    return Reading.of(value, *ends)


def one_class(no: float, yes: float) -> str:
    """Why an area can't be said: the class of which there is no row, "" when there are both."""
    if not no + yes:
        return "no rows"
    return "" if no and yes else f"no row is of class {0 if yes else 1}"
