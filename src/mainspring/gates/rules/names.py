"""The names of the metrics, known without loading anything numeric."""

from __future__ import annotations

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


def check_task(metric: str, task: str) -> None:
    """Return when the metric fits a model of that task, "classification" (of two classes), "multiclass", "regression".

    Raises:
        Invalid: It does not.
    """
    fitting = {"classification": CLASSIFICATION, "multiclass": MULTICLASS}.get(task, REGRESSION)
    if metric not in fitting:
        raise Invalid(f"{metric} does not fit a model of {task}", hint=f"use {', '.join(fitting)}")
