"""Signs that the evaluation rows or the label were known in training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mainspring.gates.rules.delong import midranks, placements, variance
from mainspring.gates.rules.finding import LEAST_PER_CLASS, NORMAL

Floats = NDArray[np.float64]
_MOST_CLASSES = 20


def columns_equal_to(frame: pl.DataFrame, label: str, columns: Sequence[str]) -> list[str]:
    """Columns that say the label outright: on every row the same value, or one value per class and no other.

    Args:
        frame: Evaluation rows with the label.
        label: Name of the label column.
        columns: Names of the inputs to look at.
    """
    classes = frame[label].n_unique()
    if classes < 2:
        return []
    return [
        name
        for name in columns
        if name in frame.columns
        and name != label
        and frame[name].n_unique() <= classes
        and frame.select(name, label).n_unique() == classes == frame[name].n_unique()
    ]


def too_good(
    frame: pl.DataFrame, truth: Floats, columns: Sequence[str], *, many: bool, limit: float, alpha: float
) -> list[tuple[str, float]]:
    """Inputs that alone say nearly everything about the label, as a code of the outcome or a later measurement does.

    Args:
        frame: Evaluation rows.
        truth: The truth per row as numbers, shape (rows,).
        columns: Names of the inputs.
        many: Whether the truth is the place of one of many classes.
        limit: The largest area under the ROC curve (of numbers: absolute rank correlation) that one input may have.
        alpha: Level at which it has to be shown to lie above that.
    Returns: Name and value of those shown to lie above, the best first.
    """
    found = []
    for name in columns:
        if name in frame.columns and frame[name].n_unique() > 1:
            value, se = _single(frame[name], truth, many=many)
            if value - NORMAL.inv_cdf(1 - alpha) * se > limit:
                found.append((name, value))
    return sorted(found, key=lambda pair: -pair[1])


def _single(values: pl.Series, truth: Floats, *, many: bool) -> tuple[float, float]:
    """How well one input alone orders the rows, and its standard error."""
    classes = np.unique(truth)
    if many:
        rows = [truth == place for place in classes[:_MOST_CLASSES]]
        return max((_area(_scores(values, one.astype(np.float64)), one) for one in rows), default=(0.0, 0.0))
    if len(classes) == 2:
        return _area(_scores(values, truth), truth == classes[1])
    a, b = midranks(_scores(values, truth)), midranks(truth)
    spread = float(a.std() * b.std())
    rho = abs(float(((a - a.mean()) * (b - b.mean())).mean()) / spread) if spread > 0 else 0.0
    return rho, (1 - rho**2) / max(len(truth) - 1, 1) ** 0.5


def _area(scores: Floats, positive: NDArray[np.bool_]) -> tuple[float, float]:
    if min(int(positive.sum()), int((~positive).sum())) < LEAST_PER_CLASS:
        return 0.0, 0.0
    found = placements(positive.astype(np.float64), scores)
    return max(found.auc, 1 - found.auc), variance(found.influence) ** 0.5


def _scores(values: pl.Series, truth: Floats) -> Floats:
    """The input as numbers; each level of a text as the mean label of the other half of the rows, which is not its own.

    A missing value lies below all others.
    """
    if values.dtype.is_numeric() or values.dtype.is_temporal():
        numbers = values.to_physical().cast(pl.Float64).fill_nan(None)
        low = numbers.min()
        bottom = float(low) - 1 if isinstance(low, (int, float)) else 0.0
        return numbers.fill_null(bottom).to_numpy()
    _, codes = np.unique(values.cast(pl.String).fill_null("").to_numpy().astype(str), return_inverse=True)
    scores, odd = np.empty(len(truth)), np.arange(len(truth)) % 2 == 1
    for half in (odd, ~odd):
        sums = np.bincount(codes[~half], weights=truth[~half], minlength=codes.max() + 1)
        counts = np.bincount(codes[~half], minlength=codes.max() + 1)
        scores[half] = ((sums + truth.mean()) / (counts + 1))[codes[half]]
    return scores


def shared_rows(training: pl.DataFrame, evaluation: pl.DataFrame, columns: Sequence[str]) -> int:
    """How many evaluation rows have all of `columns` equal to a training row; two missing values are equal."""
    names = [name for name in columns if name in training.columns and name in evaluation.columns]
    if not names:
        return 0
    right = evaluation.select(pl.col(name).cast(training.schema[name], strict=False) for name in names)
    return right.join(training.select(names).unique(), on=names, how="semi", nulls_equal=True).height


def rows_before(training: pl.DataFrame, evaluation: pl.DataFrame, time: str) -> int:
    """How many evaluation rows are earlier than the last training row, by the column `time`."""
    last = training[time].max()
    return int(evaluation.select((pl.col(time) < last).sum()).item())
