"""The metrics a gate knows, each as sums over rows: that makes them quick to resample by rows, clusters and blocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mainspring.core.errors import Invalid
from mainspring.gates.rules.bootstrap import Floats

Task = Literal["classification", "regression"]


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric that is a function of sums over rows.

    Args:
        task: The kind of model it is for.
        higher: Whether more is better.
        rows: Truth, score and decision per row to what each row adds, shape (rows, parts).
        value: Sums of shape (..., parts) to values of shape (...).
        share: Whether the value is the first sum over the second, each row adding 0 or 1.
    """

    task: Task
    higher: bool
    rows: Callable[[Floats, Floats, Floats], Floats]
    value: Callable[[Floats], Floats]
    share: bool = False


def _ratio(totals: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio: Floats = totals[..., 0] / totals[..., 1]
    return ratio


def _r2(totals: Floats) -> Floats:
    error, y, y_squared, n = (totals[..., part] for part in range(4))
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Floats = 1 - error / (y_squared - y * y / n)
    return found


def _columns(*columns: Floats) -> Floats:
    return np.column_stack([np.asarray(column, dtype=np.float64) for column in columns])


def _log_loss(truth: Floats, score: Floats, _: Floats) -> Floats:
    tiny = np.finfo(np.float64).eps
    inside = np.clip(score, tiny, 1 - tiny)
    return _columns(-(truth * np.log(inside) + (1 - truth) * np.log1p(-inside)), np.ones_like(truth))


METRICS: dict[str, Metric] = {
    "accuracy": Metric("classification", True, lambda y, s, d: _columns(y == d, np.ones_like(y)), _ratio, True),
    "recall": Metric("classification", True, lambda y, s, d: _columns(y * d, y), _ratio, True),
    "precision": Metric("classification", True, lambda y, s, d: _columns(y * d, d), _ratio, True),
    "specificity": Metric("classification", True, lambda y, s, d: _columns((1 - y) * (1 - d), 1 - y), _ratio, True),
    "f1": Metric("classification", True, lambda y, s, d: _columns(2 * y * d, y + d), _ratio),
    "brier": Metric("classification", False, lambda y, s, d: _columns((y - s) ** 2, np.ones_like(y)), _ratio),
    "log_loss": Metric("classification", False, _log_loss, _ratio),
    "mae": Metric("regression", False, lambda y, s, d: _columns(np.abs(y - s), np.ones_like(y)), _ratio),
    "rmse": Metric(
        "regression", False, lambda y, s, d: _columns((y - s) ** 2, np.ones_like(y)), lambda t: np.sqrt(_ratio(t))
    ),
    "r2": Metric("regression", True, lambda y, s, d: _columns((y - s) ** 2, y, y * y, np.ones_like(y)), _r2),
}


def _log_loss_of_true(_: Floats, score: Floats, __: Floats) -> Floats:
    """Of many classes the score is the probability of the true one."""
    return _log_loss(np.ones_like(score), score, score)


_OF_MANY = {"log_loss": Metric("classification", False, _log_loss_of_true, _ratio)}


def metric_named(name: str, task: str = "") -> Metric:
    """The metric of that name. `roc_auc` is not a sum over rows and has its own rules in `delong`.

    Raises: Invalid: There is no such metric.
    """
    if task == "multiclass" and name in _OF_MANY:
        return _OF_MANY[name]
    if name not in METRICS:
        raise Invalid(f"metric {name!r} is unknown", hint=f"known: roc_auc, {', '.join(METRICS)}")
    return METRICS[name]
