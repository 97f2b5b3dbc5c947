"""A metric that has to reach a floor, or stay under a ceiling."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, ClassVar

from mainspring.core.errors import Invalid
from mainspring.core.values import dataclass
from mainspring.gates.rules.names import check_line, check_metric, check_task

if TYPE_CHECKING:
    from mainspring.gates.case import Case
    from mainspring.gates.rules.bootstrap import Floats, Grouping
    from mainspring.gates.rules.finding import Finding
    from mainspring.gates.rules.metrics import Metric


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """`{metric = "recall", floor = 0.70, slices = ["region"], min_rows = 200}`.

    Args:
        metric: Name of the metric.
        floor: The least value, for metrics where more is better.
        ceiling: The largest value, for metrics where less is better.
        cluster: Column whose values group rows that are not independent.
        block: Length of blocks of neighbouring rows, for rows in order of time.
        slices: Columns; no slice may be shown to miss the floor.
        min_rows: A slice with fewer rows is not tested.
    """

    SIGNS: ClassVar[tuple[str, ...]] = ("floor", "ceiling")
    metric: str
    floor: float | None = None
    ceiling: float | None = None
    cluster: str = ""
    block: int = 0
    slices: list[str] = field(default_factory=list)
    min_rows: int = 200

    def __post_init__(self) -> None:
        check_metric(self.metric)
        if (self.floor is None) == (self.ceiling is None):
            raise Invalid("give a floor or a ceiling, not both", hint="floor = 0.7")
        less_is_better = self.metric in ("brier", "log_loss", "mae", "rmse")
        if less_is_better == (self.ceiling is None):
            better, line = ("less", "ceiling") if less_is_better else ("more", "floor")
            raise Invalid(f"of {self.metric} {better} is better", hint=f"give it a {line}")
        check_line(self.metric, self.floor if self.floor is not None else float(self.ceiling or 0.0))
        if self.cluster and self.block:
            raise Invalid("cluster and block exclude each other", hint="give one of them")

    def title(self) -> str:
        """The check in a few words."""
        return (
            f"{self.metric} at least {self.floor}" if self.ceiling is None else f"{self.metric} at most {self.ceiling}"
        )

    def measure(self, case: Case) -> Finding:
        """The metric of the candidate, exactly for proportions, by DeLong for the AUC, by the bootstrap else."""
        from mainspring.gates.rules.delong import auc_above
        from mainspring.gates.rules.metrics import metric_named

        check_task(self.metric, case.task)
        grouping = case.grouping(self.cluster, self.block)
        if self.floor is not None and self.metric == "roc_auc":
            return auc_above(case.truth, case.answers.score, floor=self.floor, alpha=case.alpha, grouping=grouping)
        metric = metric_named(self.metric, case.task)
        parts = metric.rows(case.truth, case.answers.score, case.answers.decision)
        if self.floor is not None and metric.share and grouping is None:
            return self._share(parts, self.floor, case)
        return self._resampled(metric, parts, case, grouping)

    def _share(self, parts: Floats, floor: float, case: Case) -> Finding:
        from mainspring.gates.rules.proportion import share_above

        hits, of = (int(total) for total in parts.sum(axis=0))
        if of == 0:
            raise Invalid(
                f"{self.metric} does not exist: no row counts for it", hint="use a set with rows of both classes"
            )
        return share_above(hits, of, floor=floor, alpha=case.alpha, rows=case.n)

    def _resampled(self, metric: Metric, parts: Floats, case: Case, grouping: Grouping | None) -> Finding:
        from mainspring.gates.rules.bootstrap import bootstrap
        from mainspring.gates.rules.finding import Finding

        draws = bootstrap(parts, metric.value, seed=case.seed, alpha=case.alpha, grouping=grouping)
        line = self.floor if self.floor is not None else float(self.ceiling or 0.0)
        above, below = draws.p_above(line), draws.p_below(line)
        low, high = draws.interval(case.alpha)
        return Finding(
            value=draws.value,
            low=low,
            high=high,
            threshold=line,
            better="higher" if metric.higher else "lower",
            p_pass=above if metric.higher else below,
            p_fail=below if metric.higher else above,
            se=draws.se,
            n=case.n,
            method="bootstrap" + (f" by {self.cluster}" if self.cluster else " of blocks" if self.block else ""),
        )
