"""The names of the metrics, known without loading anything numeric."""

from __future__ import annotations

import math

from mainspring.core.errors import Invalid, did_you_mean

CLASSIFICATION = (
    "roc_auc",
    "accuracy",
    "balanced_accuracy",
    "recall",
    "precision",
    "specificity",
    "f1",
    "mcc",
    "brier",
    "log_loss",
)
REGRESSION = ("mae", "rmse", "r2")
MULTICLASS = ("accuracy", "balanced_accuracy", "f1", "log_loss")
METRIC_NAMES = (*CLASSIFICATION, *REGRESSION)
_RANGES = {
    "mcc": (-1.0, 1.0),
    "r2": (-math.inf, 1.0),
    "log_loss": (0.0, math.inf),
    "mae": (0.0, math.inf),
    "rmse": (0.0, math.inf),
}
"""The values that a metric can have, where they are not those of a share."""
_DEFAULTS = {"classification": "roc_auc", "multiclass": "accuracy", "regression": "rmse"}


def default_metric(task: str) -> str:
    """The metric of a check that names none."""
    return _DEFAULTS[task]


def check_metric(name: str) -> str:
    """Return `name` when it is a metric.

    Raises:
        Invalid: It is not, with the near names.
    """
    if name in METRIC_NAMES:
        return name
    hint = did_you_mean(name, METRIC_NAMES) or f"known: {', '.join(METRIC_NAMES)}"
    raise Invalid(f"unknown metric {name!r}", hint=hint)


def check_line(metric: str, line: float) -> None:
    """Return when a metric can have this value.

    Raises:
        Invalid: It can not, so a floor or a ceiling there would say the same of every model.

    >>> check_line("roc_auc", 0.7)
    >>> check_line("recall", 70)
    Traceback (most recent call last):
        ...
    mainspring.core.errors.Invalid: recall is never 70
    try: use a number from 0 to 1
    """
    low, high = _RANGES.get(metric, (0.0, 1.0))
    if not low <= line <= high or math.isinf(line):
        ends = [f"from {low:g}"] * math.isfinite(low) + [f"to {high:g}"] * math.isfinite(high)
        raise Invalid(f"{metric} is never {line:g}", hint=f"use a number {' '.join(ends)}")


def check_size(metric: str, size: float) -> None:
    """Return when two values of a metric can differ by this much.

    Raises:
        Invalid: They can not, so the margin would pass every model.
    """
    low, high = _RANGES.get(metric, (0.0, 1.0))
    if math.isfinite(low) and size >= high - low:
        what = f"values of {metric} never differ by more than {high - low:g}"
        raise Invalid(f"the margin is {size:g}, and {what}", hint='0.005, or "2%" of the value it is held against')


def check_task(metric: str, task: str) -> None:
    """Return when the metric fits a model of that task, "classification" (of two classes), "multiclass", "regression".

    Raises:
        Invalid: It does not.
    """
    fitting = {"classification": CLASSIFICATION, "multiclass": MULTICLASS}.get(task, REGRESSION)
    if metric not in fitting:
        raise Invalid(f"{metric} does not fit a model of {task}", hint=f"use {', '.join(fitting)}")
