"""The error of a regression without labels: a model of how far off predictions like these were."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from mainspring.core.values import dataclass
from mainspring.monitoring.readings import Reading, unknown
from mainspring.monitoring.rules.estimating.shift import matrix
from mainspring.monitoring.rules.measuring import Z95, Floats

if TYPE_CHECKING:
    import polars as pl

LEAST_ROWS = 100
LEAST_WINDOW = 30
_FOLDS = 3
_SMALL_LEAF, _LARGE_LEAF = 20, 100
"""Of errors most is luck: leaves of few rows learn it, and are off by more where inputs are rare."""


class _Model(Protocol):
    def predict(self, rows: Floats) -> Floats: ...


@dataclass(frozen=True, eq=False)
class LossModel:
    """Knows how far off predictions are, by their inputs and themselves.

    Attributes:
        absolute: Predicts the absolute error.
        squared: Predicts the squared error.
        frame: The rows it learned from, so that later tables are read alike.
        bias: Mean of the (absolute, squared) error minus what other folds predicted of it.
        error: Standard errors of these means.
        spread: Standard deviation of one row's (absolute, squared) error about its prediction.
    """

    absolute: _Model
    squared: _Model
    frame: pl.DataFrame
    bias: tuple[float, float]
    error: tuple[float, float]
    spread: tuple[float, float]


def learn_loss(inputs: pl.DataFrame, predictions: Floats, truth: Floats, *, seed: int = 0) -> LossModel | str:
    """Learn how far off predictions are, out of fold.

    Args:
        inputs: Inputs of rows the model was not trained on.
        predictions: What it predicted there, shape (rows,).
        truth: What was true.
        seed: Of the trees and the folds.
    Returns: The model, or why there is none.
    Source: the idea of direct loss estimation: predict the loss of the model by another, out of fold.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.model_selection import KFold, cross_val_predict
    from threadpoolctl import threadpool_limits

    known = np.isfinite(predictions) & np.isfinite(truth)
    if int(known.sum()) < LEAST_ROWS:
        return f"{int(known.sum())} labelled rows to learn from, {LEAST_ROWS} are needed"
    inputs = inputs.filter(known)
    rows, categories = _rows(inputs, predictions[known])
    error = np.abs(predictions[known] - truth[known])
    models, bias, sure, spread = [], [], [], []
    for target in (error, error**2):
        model = HistGradientBoostingRegressor(
            max_iter=200,
            learning_rate=0.05,
            min_samples_leaf=min(_LARGE_LEAF, max(_SMALL_LEAF, len(error) // 50)),
            early_stopping=False,
            categorical_features=categories,
            random_state=seed,
        )
        with threadpool_limits(1):
            held = cross_val_predict(model, rows, target, cv=KFold(_FOLDS, shuffle=True, random_state=seed))
            models.append(model.fit(rows, target))
        missed = target - held
        bias.append(float(missed.mean()))
        spread.append(float(missed.std(ddof=1)))
        sure.append(spread[-1] / float(np.sqrt(len(missed))))
    return LossModel(models[0], models[1], inputs, (bias[0], bias[1]), (sure[0], sure[1]), (spread[0], spread[1]))


def _rows(inputs: pl.DataFrame, predictions: Floats, like: pl.DataFrame | None = None) -> tuple[Floats, list[bool]]:
    frames = [inputs] if like is None else [like, inputs]
    rows, categories = matrix(frames)
    rows = rows[-inputs.height :] if inputs.height else rows[:0]
    return np.column_stack([rows, predictions]), [*categories, False]


def estimate_loss(model: LossModel, inputs: pl.DataFrame, predictions: Floats) -> dict[str, Reading]:
    """What the mean absolute and the root mean squared error of a window will be once its labels are in.

    Returns: "mae" and "rmse" with 95 % intervals that hold the realized value: the luck of the window's rows and what
        the model does not know, together.
    """
    known = np.isfinite(predictions)
    rows = int(known.sum())
    if rows < LEAST_WINDOW:
        reason = unknown(f"{rows} rows, {LEAST_WINDOW} are needed")
        return {"mae": reason, "rmse": reason}
    from threadpoolctl import threadpool_limits

    table, _ = _rows(inputs.filter(known), predictions[known], like=model.frame)
    with threadpool_limits(1):
        said = [float(np.mean(part.predict(table))) for part in (model.absolute, model.squared)]
    means = [max(0.0, mean + bias) for mean, bias in zip(said, model.bias, strict=True)]
    errors = [
        float(np.hypot(sure, spread / np.sqrt(rows))) for sure, spread in zip(model.error, model.spread, strict=True)
    ]
    mae = Reading.of(means[0], max(0.0, means[0] - Z95 * errors[0]), means[0] + Z95 * errors[0])
    low, high = max(0.0, means[1] - Z95 * errors[1]), means[1] + Z95 * errors[1]
    return {"mae": mae, "rmse": Reading.of(float(np.sqrt(means[1])), float(np.sqrt(low)), float(np.sqrt(high)))}
