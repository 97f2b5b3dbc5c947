"""Realized performance from counts: per class and cell of the score, how many labelled rows, and their losses."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from typing import TypeVar

from mainspring.core.scores import LEAST_SCORE, score_cell
from mainspring.core.values import dataclass
from mainspring.monitoring.model import Coverage

LOSSES = ("brier", "error", "mae")
TOLERANCE = 0.05
LEAST_ROWS = 30
_CAP = 10.0
_HUGE = 1e60
BETWEEN = " < "
"""Stands between the answer and the truth in the keys of a confusion."""
MOMENTS = ("rows", "absolute", "error", "square", "fourth", "truth", "truth_square")
"""What is summed over rows of a regression: 1; of e = predicted - truth |e|, e, e^2, e^4; of the truth y, y^2."""
_MOST_ENTRIES = 2_500
MOST_AREAS = 20
"""Of so many classes at most every probability is counted."""
_OTHERS = f"others{BETWEEN}others"


Amount = TypeVar("Amount", int, float)
Classed = Mapping[int, Mapping[int, Sequence[int]]]
"""By the place of a class and the cell of its probability: rows that were predicted, labelled rows of other classes,
and those of it."""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Labelled rows of a stretch of time, counted; merging is adding.

    Attributes:
        predictions: Rows that were predicted, labelled or not.
        counts: Labelled rows per cell of the score: of class 0 and of class 1; of many classes those answered wrong
            and those answered right, by the probability of the answer. Empty for a regression.
        scores: Sum of the scores per cell, for the calibration.
        rows: Labelled rows.
        correct: Labelled rows whose answer was right.
        loss: Sum of the loss that is watched.
        log_loss: Sum of the negative log likelihood, binary only.
        unread: Labels that are no value of the task.
        scored: Predictions per cell of the score, labelled or not: [rows, sum of the scores].
        confusion: Labelled rows per answer and truth, for many classes.
        moments: Sums over labelled rows of a regression, as `MOMENTS` says; empty for other tasks.
        classed: For many classes every probability, as `Classed` says; empty over 20 classes.
    """

    predictions: int = 0
    counts: dict[int, list[int]] = field(default_factory=dict)
    scores: dict[int, float] = field(default_factory=dict)
    rows: int = 0
    correct: int = 0
    loss: float = 0.0
    log_loss: float = 0.0
    unread: int = 0
    scored: dict[int, list[float]] = field(default_factory=dict)
    confusion: dict[str, int] = field(default_factory=dict)
    moments: list[float] = field(default_factory=list)
    classed: dict[int, dict[int, list[int]]] = field(default_factory=dict)

    @property
    def coverage(self) -> float:
        """Share of the predictions that have a label, in [0, 1]."""
        return min(1.0, (self.rows + self.unread) / self.predictions) if self.predictions else 0.0

    @property
    def mean_loss(self) -> float | None:
        """Mean loss, None without labels."""
        return self.loss / self.rows if self.rows else None

    def merge(self, other: Outcomes) -> Outcomes:
        """The outcomes of both sets of rows."""
        return Outcomes.total((self, other))

    @staticmethod
    def total(parts: Iterable[Outcomes]) -> Outcomes:
        """The outcomes of any number of sets of rows, also none."""
        every = list(parts)
        scores: dict[int, float] = {}
        for part in every:
            for cell, score in part.scores.items():
                scores[cell] = scores.get(cell, 0.0) + score
        return Outcomes(
            predictions=sum(part.predictions for part in every),
            counts=_added(part.counts for part in every),
            scores=scores,
            rows=sum(part.rows for part in every),
            correct=sum(part.correct for part in every),
            loss=math.fsum(part.loss for part in every),
            log_loss=math.fsum(part.log_loss for part in every),
            unread=sum(part.unread for part in every),
            scored=_added(part.scored for part in every),
            confusion=_bounded(part.confusion for part in every),
            classed=_classed(part.classed for part in every),
            moments=[math.fsum(sums) for sums in zip(*(part.moments for part in every if part.moments), strict=True)],
        )


def _bounded(tables: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """The most frequent entries; a stream of labels nobody knows must not grow a row without end."""
    whole: Counter[str] = Counter()
    for table in tables:
        whole.update(table)
    if len(whole) <= _MOST_ENTRIES:
        return dict(whole)
    kept = dict(whole.most_common(_MOST_ENTRIES))
    return {**kept, _OTHERS: kept.get(_OTHERS, 0) + whole.total() - sum(kept.values())}


def _classed(parts: Iterable[Classed]) -> dict[int, dict[int, list[int]]]:
    """Rows by class and cell, added up."""
    whole: dict[int, dict[int, list[int]]] = {}
    for part in parts:
        for place, cells in part.items():
            mine = whole.setdefault(place, {})
            for cell, rows in cells.items():
                mine[cell] = [a + b for a, b in zip(mine.get(cell, (0, 0, 0)), rows, strict=True)]
    return whole


def _added(tables: Iterable[dict[int, list[Amount]]]) -> dict[int, list[Amount]]:
    """Pairs by cell, added up."""
    whole: dict[int, list[Amount]] = {}
    for table in tables:
        for cell, (first, second) in table.items():
            pair = whole.get(cell)
            if pair is None:
                whole[cell] = [first, second]
            else:
                pair[0] += first
                pair[1] += second
    return whole


class Tally:
    """Labelled rows of one stretch of time, counted one by one: what adding up the outcomes of each would give."""

    __slots__ = ("_classed", "_confusion", "_correct", "_counts", "_log_losses", "_losses", "_moments", "_scores",
                 "_unread")  # fmt: skip

    def __init__(self) -> None:
        self._counts: dict[int, list[int]] = {}
        self._scores: dict[int, float] = {}
        self._losses: list[float] = []
        self._log_losses: list[float] = []
        self._moments: list[list[float]] = []
        self._confusion: Counter[str] = Counter()
        self._classed: dict[int, dict[int, list[int]]] = {}
        self._correct = self._unread = 0

    def add(self, task: str, score: float | None, answer: str, label: object, reference_loss: float) -> None:
        """Count a row, as `outcome` does."""
        if task == "multiclass":
            truth_text = _text(label)
            right = truth_text == answer
            if score is not None and 0 <= score <= 1:
                self._count(score, int(right))
            self._correct += right
            self._losses.append(float(not right))
            self._confusion[f"{answer}{BETWEEN}{truth_text}"] += 1
            return
        truth = number_of(label)
        if truth is None or score is None or not math.isfinite(score):
            self._unread += 1
        elif task == "regression":
            self._add_number(score, truth, reference_loss)
        elif truth not in (0.0, 1.0) or not 0 <= score <= 1:
            self._unread += 1
        else:
            yes = int(truth)
            p = min(max(score, LEAST_SCORE), 1 - LEAST_SCORE)
            self._count(score, yes)
            self._correct += (score >= 0.5) == bool(yes)
            self._losses.append(round((score - yes) ** 2, 12))
            self._log_losses.append(-math.log(p if yes else 1 - p))

    def _count(self, score: float, yes: int) -> None:
        cell = score_cell(score)
        pair = self._counts.get(cell)
        if pair is None:
            self._counts[cell], self._scores[cell] = [1 - yes, yes], score
        else:
            pair[yes] += 1
            self._scores[cell] += score

    def _add_number(self, score: float, truth: float, reference_loss: float) -> None:
        cap = _CAP * reference_loss if reference_loss > 0 else math.inf
        error = score - truth
        self._losses.append(min(abs(error), cap))
        if abs(error) < _HUGE and abs(truth) < _HUGE:
            self._moments.append([1.0, abs(error), error, error**2, error**4, truth, truth**2])

    def add_classes(self, cells: str, classes: Sequence[str], label: object) -> None:
        """Count what a label says of the probability of each class, as `classed_outcome` does."""
        truth = _text(label)
        if len(cells) != 2 * len(classes) or truth not in classes:
            return
        for at, cell in enumerate(bytes.fromhex(cells)):
            found = self._classed.setdefault(at, {}).setdefault(cell, [0, 0, 0])
            found[1 + (classes[at] == truth)] += 1

    @property
    def outcomes(self) -> Outcomes:
        """All that was counted."""
        return Outcomes(
            counts=self._counts,
            scores=self._scores,
            rows=len(self._losses),
            correct=self._correct,
            loss=math.fsum(self._losses),
            log_loss=math.fsum(self._log_losses),
            unread=self._unread,
            confusion=_bounded([self._confusion]),
            classed=self._classed,
            moments=[math.fsum(sums) for sums in zip(*self._moments, strict=True)],
        )


def classed_outcome(cells: str, classes: Sequence[str], label: object) -> Outcomes:
    """What a label says of the probability of each class; nothing where these do not fit, or the label is none of them.

    Args:
        cells: The cell of each probability, two hexadecimal digits each, "" when they were not kept.
        classes: The classes in the order of the probabilities.
        label: What turned out to be true.

    >>> classed_outcome("8040", ("no", "yes"), "yes").classed
    {0: {128: [0, 1, 0]}, 1: {64: [0, 0, 1]}}
    """
    one = Tally()
    one.add_classes(cells, classes, label)
    return one.outcomes


def outcome(task: str, score: float | None, answer: str, label: object, reference_loss: float) -> Outcomes:
    """One labelled row.

    Args:
        task: "binary", "multiclass" or "regression".
        score: The probability of class 1, or the predicted value.
        answer: The class that was answered, as text, for multiclass.
        label: What turned out to be true.
        reference_loss: The absolute error at validation; errors of a regression over 10 times of it count as that.
    Returns:
        Counts of this row; `unread` is 1 when score or label cannot be read.

    >>> outcome("binary", 0.8, "", 1, 0.1).loss
    0.04
    """
    one = Tally()
    one.add(task, score, answer, label, reference_loss)
    return one.outcomes


def number_of(label: object) -> float | None:
    """A label as a number, None when it is none."""
    if isinstance(label, str):
        text = label.strip().lower()
        if text in ("true", "false"):
            return float(text == "true")
        try:
            label = float(text)
        except ValueError:
            return None
    if not isinstance(label, (bool, int, float)) or not math.isfinite(label):
        return None
    return float(label)


def _text(label: object) -> str:
    return str(int(label)) if isinstance(label, float) and label.is_integer() else str(label)


def auc(outcomes: Outcomes) -> float | None:
    """Area under the ROC curve, scores of one cell counting as equal; None when a class is missing.

    Source: Hanley, McNeil (1982): the share of pairs that the score puts in order, ties half.
    """
    below = ordered = 0
    negatives = sum(no for no, _ in outcomes.counts.values())
    positives = sum(yes for _, yes in outcomes.counts.values())
    for cell in sorted(outcomes.counts):
        no, yes = outcomes.counts[cell]
        ordered += yes * (2 * below + no)
        below += no
    return ordered / (2 * negatives * positives) if negatives and positives else None


def calibration(outcomes: Outcomes, *, parts: int = 10) -> list[tuple[float, float, int]]:
    """Mean score, share of class 1 and rows, for at most `parts` groups of about equal rows, in order of the score."""
    groups: list[tuple[float, float, int]] = []
    score = yes = rows = 0.0
    for cell in sorted(outcomes.counts):
        score += outcomes.scores.get(cell, 0.0)
        yes += outcomes.counts[cell][1]
        rows += sum(outcomes.counts[cell])
        if rows >= outcomes.rows / parts:
            groups.append((score / rows, yes / rows, int(rows)))
            score = yes = rows = 0.0
    return [*groups, (score / rows, yes / rows, int(rows))] if rows else groups


def measures(outcomes: Outcomes, task: str) -> dict[str, float]:
    """What can be said of the labelled rows: finite numbers only, nothing without rows."""
    if not outcomes.rows:
        return {}
    if task == "regression":
        return {"mae": outcomes.loss / outcomes.rows}
    found = {"accuracy": outcomes.correct / outcomes.rows}
    if task == "binary":
        found |= {"brier": outcomes.loss / outcomes.rows, "log_loss": outcomes.log_loss / outcomes.rows}
        area = auc(outcomes)
        found |= {} if area is None else {"roc_auc": area}
    return found


def reference_loss(task: str, metrics: dict[str, float]) -> tuple[str, float] | None:
    """The loss that is watched and its value at validation, None when the version does not carry it.

    >>> reference_loss("binary", {"roc_auc": 0.7, "brier": 0.15})
    ('brier', 0.15)
    """
    name = {"binary": "brier", "multiclass": "error", "regression": "mae"}[task]
    if name == "error" and "accuracy" in metrics:
        metrics = {"error": 1 - metrics["accuracy"], **metrics}
    value = metrics.get(name)
    if value is None or not math.isfinite(value) or value <= 0:
        return None
    return name, float(value)


def bar(reference: float, tolerance: float = TOLERANCE) -> float:
    """The loss that is still accepted: the reference and a share of it."""
    return reference * (1 + tolerance)


def cap(task: str, reference: float) -> float:
    """The largest loss a row can have."""
    return _CAP * reference if task == "regression" else 1.0


def interval(days: Sequence[float]) -> tuple[float, float] | None:
    """A 95 % interval of the mean loss over days, the day being the unit; None under 3 days.

    Source: Student (1908); quantiles by the expansion of Fisher, Cornish (1960), within 0.004 from 2 degrees of freedom
        on.
    """
    n = len(days)
    if n < 3:
        return None
    mean = sum(days) / n
    error = math.sqrt(sum((day - mean) ** 2 for day in days) / (n - 1) / n)
    reach = _student(n - 1) * error
    return mean - reach, mean + reach


def _student(freedom: int) -> float:
    """The 97.5 % quantile of Student's t."""
    if freedom == 2:
        return 4.3027
    z = 1.959964
    g1 = (z**3 + z) / 4
    g2 = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    g3 = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    g4 = (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160
    return z + g1 / freedom + g2 / freedom**2 + g3 / freedom**3 + g4 / freedom**4


def coverage_of(version: int, rows: int, within: int) -> Coverage:
    """The share of labels that lay in their interval, with its uncertainty.

    Args:
        version: Whose intervals.
        rows: Labelled predictions that had one, at least 1.
        within: Of these, with the label inside.
    Source: Wilson (1927), Probable inference, the law of succession, and statistical inference; the score interval.

    >>> found = coverage_of(1, 100, 90)
    >>> round(found.low, 4), round(found.high, 4)
    (0.8256, 0.9448)
    """
    z2, share = _Z95 * _Z95, within / rows
    middle = (share + z2 / (2 * rows)) / (1 + z2 / rows)
    half = _Z95 / (1 + z2 / rows) * math.sqrt(share * (1 - share) / rows + z2 / (4 * rows * rows))
    return Coverage(version, rows, within, max(0.0, middle - half), min(1.0, middle + half))


_Z95 = 1.959963984540054
