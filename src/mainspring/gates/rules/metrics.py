"""The metrics a gate knows, each as sums over rows: that makes them quick to resample by rows, clusters and blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from mainspring.core.errors import Invalid
from mainspring.core.values import dataclass
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


def _cells(truth: Floats, _: Floats, decision: Floats) -> Floats:
    """True positives, false negatives, false positives, true negatives."""
    return _columns(truth * decision, truth * (1 - decision), (1 - truth) * decision, (1 - truth) * (1 - decision))


def _balanced(totals: Floats) -> Floats:
    tp, fn, fp, tn = (totals[..., part] for part in range(4))
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Floats = (tp / (tp + fn) + tn / (tn + fp)) / 2
    return found


def _mcc(totals: Floats) -> Floats:
    """0 when all decisions, or all truths, are of one class, as scikit-learn has it."""
    tp, fn, fp, tn = (totals[..., part] for part in range(4))
    spread = np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Floats = np.where(spread > 0, (tp * tn - fp * fn) / spread, 0.0)
    return found


METRICS: dict[str, Metric] = {
    "accuracy": Metric("classification", True, lambda y, s, d: _columns(y == d, np.ones_like(y)), _ratio, True),
    "balanced_accuracy": Metric("classification", True, _cells, _balanced),
    "mcc": Metric("classification", True, _cells, _mcc),
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


def _by_class(truth: Floats, _: Floats, decision: Floats) -> Floats:
    """For every class of the truth: rows it got right, rows of it, rows decided for it."""
    classes = np.arange(int(truth.max()) + 1)
    of, said = truth[:, None] == classes, decision[:, None] == classes
    return np.hstack([of & said, of, said]).astype(np.float64)


def _over_classes(numerator: Floats, denominator: Floats, present: Floats) -> Floats:
    """The mean of a ratio over the classes that occur."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(present > 0, numerator / denominator, 0.0)
        found: Floats = ratios.sum(axis=-1) / (present > 0).sum(axis=-1)
    return found


def _recall_of_classes(totals: Floats) -> Floats:
    right, of, _ = np.split(totals, 3, axis=-1)
    return _over_classes(right, of, of)


def _f1_of_classes(totals: Floats) -> Floats:
    right, of, said = np.split(totals, 3, axis=-1)
    return _over_classes(2 * right, of + said, of)


_OF_MANY = {
    "log_loss": Metric("classification", False, _log_loss_of_true, _ratio),
    "balanced_accuracy": Metric("classification", True, _by_class, _recall_of_classes),
    "f1": Metric("classification", True, _by_class, _f1_of_classes),
}


def metric_named(name: str, task: str = "") -> Metric:
    """The metric of that name. `roc_auc` is not a sum over rows and has its own rules in `delong`.

    Raises: Invalid: There is no such metric.
    """
    if task == "multiclass" and name in _OF_MANY:
        return _OF_MANY[name]
    if name not in METRICS:
        raise Invalid(f"metric {name!r} is unknown", hint=f"known: roc_auc, {', '.join(METRICS)}")
    return METRICS[name]
