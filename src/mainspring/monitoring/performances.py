"""The values of performance: what windows of a version were worth, realized and estimated, and where it is worst."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from mainspring.core.values import dataclass
from mainspring.monitoring.readings import NOT_ESTIMABLE, Reading
from mainspring.monitoring.rules.slices import Slice

PERIODS = ("hour", "day", "week", "all")


@dataclass(frozen=True, slots=True)
class WindowPerformance:
    """Performance of a stretch of event time.

    Attributes:
        start: First microsecond.
        end: First microsecond after it.
        predictions: Rows that were predicted.
        labelled: Those with a label that could be read.
        unread: Labels that are no value of the task.
        realized: Measures of the labelled rows.
        estimated: Measures of all rows, as if their labels were known.
    """

    start: int
    end: int
    predictions: int
    labelled: int
    unread: int
    realized: Mapping[str, Reading] = field(default_factory=dict)
    estimated: Mapping[str, Reading] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SegmentPerformance:
    """Performance of a declared segment, such as "carrier=AA", over the whole time that was asked for."""

    segment: str
    window: WindowPerformance


@dataclass(frozen=True, slots=True)
class Performance:
    """What a version was worth.

    Attributes:
        deployment: What is watched.
        version: Version of the model that answered.
        task: "binary", "multiclass" or "regression".
        by: "hour", "day", "week" or "all".
        segment: "" for all rows.
        windows: In order of time, without windows of no rows.
        total: All of them together.
        classes: For many classes: precision, recall and F1 of each, most frequent first.
        loss: The measure that is watched.
        reference_loss: Its value at validation, 0 when that is not known.
        calibrated_on: What the estimate rests on, or why there is none.
        currency: What money is called.
        notes: What has to be known to read it.
    """

    deployment: str
    version: int
    task: str
    by: str
    segment: str
    windows: tuple[WindowPerformance, ...]
    total: WindowPerformance
    classes: Mapping[str, Mapping[str, Reading]]
    loss: str
    reference_loss: float
    calibrated_on: str
    currency: str
    notes: tuple[str, ...]

    @property
    def rests_on(self) -> str:
        """In words what the estimate rests on, or why there is none; "" when the task has none."""
        if not self.calibrated_on or self.calibrated_on.startswith(NOT_ESTIMABLE):
            return self.calibrated_on
        return f"estimated from: {self.calibrated_on}"

    @property
    def headline(self) -> str:
        """The measure that a chart shows."""
        return {"binary": "roc_auc", "multiclass": "accuracy"}.get(self.task, "mae")


@dataclass(frozen=True, slots=True)
class WorstSlices:
    """Where a version is worst.

    Attributes:
        rows: Labelled rows that were looked at, the newest.
        loss: What was compared: "brier", "error" or "absolute error".
        slices: The worst first; of them a share of 5 % is false on average at most.
        why: "" or why nothing could be looked at.
    """

    rows: int
    loss: str
    slices: tuple[Slice, ...]
    why: str = ""


@dataclass(frozen=True, slots=True)
class FeedbackWindow:
    """What people said in a stretch of time.

    Attributes:
        kind: Such as "rating", "correction" or "click".
        start: First microsecond; feedback counts on the day it became known.
        end: First microsecond after it.
        rows: How many said it.
        mean: Mean of the values that are numbers.
        rate: How many, as a share of the predictions of that time.
    """

    kind: str
    start: int
    end: int
    rows: int
    mean: Reading
    rate: Reading
