"""How good a candidate is: scores with intervals on the rows that folds held out, size, latency, and fairness."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from mainspring.core.errors import Invalid
from mainspring.core.values import dataclass
from mainspring.gates.rules.bootstrap import Grouping, bootstrap
from mainspring.gates.rules.delong import auc_above, compare_auc
from mainspring.gates.rules.metrics import METRICS as SUMS
from mainspring.gates.rules.metrics import Metric, metric_named
from mainspring.training.model import METRICS, Estimate

if TYPE_CHECKING:
    import polars as pl

Floats = NDArray[np.float64]
ALPHA = 0.025
"""Each end of an interval is a one-sided bound at this level, so the interval covers 95 %."""
_REPEATS = 400
_TRIES = 15
_LEAST_OF_GROUP = 10


@dataclass(frozen=True, slots=True)
class Answers:
    """What a candidate said to rows, as the gates understand it.

    Args:
        score: The value, or the probability of the second class, or of many classes that of the true one; (rows,).
        decision: The value, or the place of the chosen class; (rows,).
    """

    score: Floats
    decision: Floats


@dataclass(frozen=True, slots=True)
class Judge:
    """Scores candidates on the same rows.

    Args:
        task: "binary", "multiclass" or "regression".
        metric: What they are ordered by.
        truth: The value, or the place of the true class; (rows,).
        seed: Of the resampling, which is the same for all candidates.
        grouping: Rows that belong together; None when they are independent.
    """

    task: str
    metric: str
    truth: Floats
    seed: int = 0
    grouping: Grouping | None = None

    def score(self, said: Answers) -> Estimate:
        """The metric with its interval, which is left out when there are too few rows for one."""
        if self.metric == "roc_auc":
            return self._estimate(
                self.value(said, "roc_auc"),
                lambda: _ends(auc_above(self.truth, said.score, floor=0.5, alpha=ALPHA, grouping=self.grouping)),
            )
        metric = self._metric(self.metric)
        parts = metric.rows(self.truth, said.score, said.decision)
        return self._estimate(self.value(said, self.metric), lambda: self._resampled(parts, metric.value))

    def difference(self, said: Answers, best: Answers) -> Estimate:
        """The metric of a candidate minus that of the best, on the same rows and the same resamples."""
        value = self.value(said, self.metric) - self.value(best, self.metric)
        if self.metric == "roc_auc":
            return self._estimate(
                value,
                lambda: _ends(
                    compare_auc(self.truth, said.score, best.score, threshold=0.0, alpha=ALPHA, grouping=self.grouping)
                ),
            )
        metric = self._metric(self.metric)
        both = [metric.rows(self.truth, each.score, each.decision) for each in (said, best)]
        width = both[0].shape[1]

        def minus(totals: Floats) -> Floats:
            return metric.value(totals[..., :width]) - metric.value(totals[..., width:])

        return self._estimate(value, lambda: self._resampled(np.hstack(both), minus))

    def value(self, said: Answers, metric: str) -> float:
        """One metric, without an interval."""
        if metric == "roc_auc":
            from sklearn.metrics import roc_auc_score

            return float(roc_auc_score(self.truth, said.score))
        found = self._metric(metric)
        return float(found.value(found.rows(self.truth, said.score, said.decision).sum(axis=0)))

    def metrics(self, said: Answers) -> dict[str, float]:
        """All metrics of the task that exist on these rows."""
        found = {name: self.value(said, name) for name in METRICS[self.task]}
        return {name: value for name, value in found.items() if np.isfinite(value)}

    def _metric(self, name: str) -> Metric:
        return metric_named(name, self.task) if self.task == "multiclass" else SUMS[name]

    def _resampled(self, parts: Floats, statistic: Callable[[Floats], Floats]) -> tuple[float, float]:
        drawn = bootstrap(parts, statistic, seed=self.seed, repeats=_REPEATS, alpha=ALPHA, grouping=self.grouping)
        return drawn.interval(ALPHA)

    def _estimate(self, value: float, ends: Callable[[], tuple[float, float]]) -> Estimate:
        try:
            return Estimate(value, *ends())
        except Invalid:
            return Estimate(value)


def _ends(finding: object) -> tuple[float, float]:
    low, high = cast("tuple[float, float]", (finding.low, finding.high))  # type: ignore[attr-defined]
    return low, high


def answers_of(model: object, rows: pl.DataFrame, task: str, truth: Floats, classes: int) -> Answers:
    """What a fitted model says to rows.

    Args:
        model: A scikit-learn estimator whose classes are the places 0, 1, ... of the labels.
        rows: Its inputs.
        task: The task.
        truth: Of many classes the place of the true one, (rows,).
        classes: How many classes there are; a fold may lack some.
    """
    if task == "regression":
        said = np.asarray(model.predict(rows), dtype=np.float64).reshape(-1)  # type: ignore[attr-defined]
        return Answers(said, said)
    seen = np.asarray(model.classes_, dtype=np.intp)  # type: ignore[attr-defined]
    shares = np.zeros((rows.height, classes))
    shares[:, seen] = model.predict_proba(rows)  # type: ignore[attr-defined]
    if task == "binary":
        return Answers(shares[:, 1], (shares[:, 1] > 0.5).astype(np.float64))
    return Answers(shares[np.arange(rows.height), truth.astype(np.intp)], shares.argmax(axis=1).astype(np.float64))


def latency_ms(model: object, rows: pl.DataFrame) -> float:
    """How long one row takes, as a frame of one row: the median of some, in milliseconds."""
    ask = getattr(model, "predict_proba", None) or model.predict  # type: ignore[attr-defined]
    one = [rows[place : place + 1] for place in range(min(_TRIES, rows.height))]
    ask(one[0])
    took = []
    for row in one:
        started = time.perf_counter()
        ask(row)
        took.append(time.perf_counter() - started)
    return statistics.median(took) * 1000


def gap(task: str, truth: Floats, said: Answers, groups: Sequence[object]) -> float | None:
    """The largest difference between two groups of at least ten rows, None when there are no two.

    Of two classes it is the rate at which the second is decided for, of many the accuracy, of numbers the mean error.
    """
    per_row = {"binary": said.decision, "regression": said.score - truth}.get(task)
    per_row = (said.decision == truth).astype(np.float64) if per_row is None else per_row
    names, codes = np.unique(np.array([str(group) for group in groups]), return_inverse=True)
    counts = np.bincount(codes, minlength=len(names))
    large = counts >= _LEAST_OF_GROUP
    if large.sum() < 2:
        return None
    means = np.bincount(codes, weights=per_row, minlength=len(names))[large] / counts[large]
    return float(means.max() - means.min())
