"""Candidate against champion on the same rows: is it no worse than the margin, or better?"""

from __future__ import annotations

from dataclasses import field, replace
from typing import TYPE_CHECKING, ClassVar, Literal

from mainspring.core.errors import Invalid
from mainspring.core.values import dataclass
from mainspring.gates.rules.margin import margin_of
from mainspring.gates.rules.names import check_metric, check_size, check_task

if TYPE_CHECKING:
    from mainspring.gates.case import Answers, Case
    from mainspring.gates.rules.bootstrap import Floats
    from mainspring.gates.rules.finding import Finding, NotApplicable
    from mainspring.gates.rules.metrics import Metric


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """`{metric = "roc_auc", compare = "non_inferior", margin = 0.005}`.

    Args:
        metric: Name of the metric.
        compare: "non_inferior": worse by less than the margin; "superior": better by more than the margin (0 when not
            given).
        margin: In units of the metric, or as a share of the champion's value: "2%".
        cluster: Column whose values group rows that are not independent.
        block: Length of blocks of neighbouring rows, for rows in order of time.
        slices: Columns; no slice may be shown to be worse than the margin.
        min_rows: A slice with fewer rows is not tested.
    """

    SIGNS: ClassVar[tuple[str, ...]] = ("compare",)
    metric: str
    compare: Literal["non_inferior", "superior"]
    margin: float | str = 0.0
    cluster: str = ""
    block: int = 0
    slices: list[str] = field(default_factory=list)
    min_rows: int = 200

    def __post_init__(self) -> None:
        check_metric(self.metric)
        size, is_share = margin_of(self.margin)
        if not is_share:
            check_size(self.metric, size)
        if size < 0 or (self.compare == "non_inferior" and size == 0):
            raise Invalid(
                f"the margin is {self.margin!r}", hint='non-inferiority needs a margin above 0: 0.005 or "2%"'
            )
        if self.cluster and self.block:
            raise Invalid("cluster and block exclude each other", hint="give one of them")

    def title(self) -> str:
        """The check in a few words."""
        by = f" by {self.margin}" if self.margin else ""
        return f"{self.metric} {self.compare.replace('_', '-')}{by}"

    def measure(self, case: Case) -> Finding | NotApplicable:
        """The paired difference."""
        from mainspring.gates.rules.finding import NO_CHAMPION

        if case.baseline is None:
            return NO_CHAMPION
        size, relative = margin_of(self.margin)
        threshold = size if self.compare == "superior" else -size
        if self.metric == "roc_auc":
            return self._auc(case, case.baseline, threshold, relative)
        if self.metric == "accuracy" and not (relative or self.cluster or self.block):
            return _accuracy(case, case.baseline, threshold)
        return self._resampled(case, case.baseline, threshold, relative)

    def _auc(self, case: Case, baseline: Answers, threshold: float, relative: bool) -> Finding:
        from mainspring.gates.rules.delong import compare_auc, placements

        check_task(self.metric, case.task)
        found = compare_auc(
            case.truth,
            case.answers.score,
            baseline.score,
            threshold=0.0 if relative else threshold,
            share=1 + threshold if relative else 1.0,
            alpha=case.alpha,
            grouping=case.grouping(self.cluster, self.block),
        )
        return _as_share(found, placements(case.truth, baseline.score).auc, threshold) if relative else found

    def _resampled(self, case: Case, baseline: Answers, threshold: float, relative: bool) -> Finding:
        import numpy as np

        from mainspring.gates.rules.bootstrap import bootstrap
        from mainspring.gates.rules.finding import Finding
        from mainspring.gates.rules.metrics import metric_named

        metric = metric_named(self.metric, case.task)
        check_task(self.metric, case.task)
        mine, theirs = (metric.rows(case.truth, one.score, one.decision) for one in (case.answers, baseline))
        split, sign = mine.shape[1], 1 if metric.higher else -1
        slack = threshold if relative else 0.0

        def improvement(totals: Floats) -> Floats:
            champion = metric.value(totals[..., split:])
            gain: Floats = sign * (metric.value(totals[..., :split]) - champion) - slack * np.abs(champion)
            return gain

        grouping = case.grouping(self.cluster, self.block)
        draws = bootstrap(np.hstack([mine, theirs]), improvement, seed=case.seed, alpha=case.alpha, grouping=grouping)
        line = 0.0 if relative else threshold
        low, high = draws.interval(case.alpha)
        values = _both(metric, mine, theirs)
        found = Finding(
            value=draws.value,
            low=low,
            high=high,
            threshold=line,
            p_pass=draws.p_above(line),
            p_fail=draws.p_below(line),
            se=draws.se,
            n=case.n,
            method="paired bootstrap" + (f" by {self.cluster}" if self.cluster else " of blocks" if self.block else ""),
            note=f"candidate {values[0]:.4g}, champion {values[1]:.4g}",
        )
        return _as_share(found, values[1], threshold) if relative else found


def _as_share(found: Finding, champion: float, threshold: float) -> Finding:
    """The same finding as a share of the champion's value, which the test had the margin of taken off."""
    if champion == 0:
        return found
    value, low, high = (number / abs(champion) + threshold for number in (found.value, found.low, found.high))
    note = "; ".join(text for text in (found.note, f"as a share of the champion's {champion:.4g}") if text)
    return replace(found, value=value, low=low, high=high, threshold=threshold, se=found.se / abs(champion), note=note)


def _accuracy(case: Case, baseline: Answers, threshold: float) -> Finding:
    from mainspring.gates.rules.mcnemar import compare_accuracy

    check_task("accuracy", case.task)
    mine, theirs = case.answers.decision == case.truth, baseline.decision == case.truth
    gained, lost = int((mine & ~theirs).sum()), int((theirs & ~mine).sum())
    return compare_accuracy(gained, lost, case.n, threshold=threshold, alpha=case.alpha)


def _both(metric: Metric, mine: Floats, theirs: Floats) -> tuple[float, float]:
    return float(metric.value(mine.sum(axis=0))), float(metric.value(theirs.sum(axis=0)))
