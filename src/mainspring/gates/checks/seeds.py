"""How much a metric moves when the same training is run again with other seeds."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from mainspring.core.errors import Invalid
from mainspring.core.values import dataclass
from mainspring.gates.rules.names import check_metric, check_task, default_metric

if TYPE_CHECKING:
    from mainspring.gates.case import Answers, Case
    from mainspring.gates.rules.finding import Finding, NotApplicable


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """`{seeds = 5, max_sd = 0.01}`.

    Args:
        seeds: How many times the pipeline of the version is run again, with `seed` = 1, 2, ...
        max_sd: The largest standard deviation of the metric over these trainings.
        metric: Name of the metric; by default roc_auc for two classes, accuracy for many, rmse for numbers.
        wait_s: How long to wait for the trainings; they go on after that, and the next verdict finds them.
    """

    SIGNS: ClassVar[tuple[str, ...]] = ("seeds",)
    seeds: int
    max_sd: float
    metric: str = ""
    wait_s: float = 60.0

    def __post_init__(self) -> None:
        if not 2 <= self.seeds <= 50:
            raise Invalid(f"{self.seeds} trainings asked for", hint="use 2 to 50")
        if not 0 < self.max_sd < math.inf:
            raise Invalid(f"max_sd is {self.max_sd}", hint="use a limit above 0, such as 0.01")
        if not 0 <= self.wait_s <= 3600:
            raise Invalid(f"wait_s is {self.wait_s}", hint="use 0 to 3600 seconds")
        if self.metric:
            check_metric(self.metric)

    def title(self) -> str:
        """The check in a few words."""
        return f"{self.metric or 'metric'} over {self.seeds} seeds varies at most {self.max_sd}"

    def measure(self, case: Case) -> Finding | NotApplicable:
        """The spread over the trainings, on the same rows; nothing when no pipeline can make the version again."""
        from mainspring.gates.rules.finding import NotApplicable, Part
        from mainspring.gates.rules.spread import spread_below

        metric = self.metric or default_metric(case.task)
        check_task(metric, case.task)
        if case.retrained is None:
            return NotApplicable("not estimable: nothing can be trained again here")
        found = case.retrained(self.seeds, self.wait_s)
        if isinstance(found, NotApplicable):
            return found
        values = [_value(metric, case, answers) for answers in found]
        parts = [Part(name=f"seed {place}", value=value, n=case.n) for place, value in enumerate(values, start=1)]
        return replace(spread_below(values, limit=self.max_sd, n=case.n, alpha=case.alpha), parts=tuple(parts))


def _value(name: str, case: Case, answers: Answers) -> float:
    from mainspring.gates.rules.delong import placements
    from mainspring.gates.rules.metrics import metric_named

    if name == "roc_auc":
        return placements(case.truth, answers.score).auc
    metric = metric_named(name, case.task)
    return float(metric.value(metric.rows(case.truth, answers.score, answers.decision).sum(axis=0)))
