"""How much a metric drops when the inputs are disturbed."""

from __future__ import annotations

from dataclasses import field, replace
from typing import TYPE_CHECKING, ClassVar

from mainspring.core.errors import Invalid, MainspringError
from mainspring.core.values import dataclass
from mainspring.gates.rules.disturbance import Disturbance
from mainspring.gates.rules.margin import margin_of
from mainspring.gates.rules.names import check_metric, default_metric

if TYPE_CHECKING:
    from mainspring.gates.case import Case
    from mainspring.gates.rules.finding import Finding, Part


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """`{robustness = "missing:0.1", max_drop = 0.02}`.

    Args:
        robustness: One or several of "missing:SHARE", "typo:SHARE", "noise:DEVIATIONS", "scale:FACTOR".
        max_drop: How much worse the metric may get, in its units or as a share of its value on the rows as they are:
            "2%".
        metric: Name of the metric; by default roc_auc for two classes, accuracy for many, rmse for numbers.
        columns: The inputs to disturb; by default all that can be.
        cluster: Column whose values group rows that are not independent.
        block: Length of blocks of neighbouring rows, for rows in order of time.
    """

    SIGNS: ClassVar[tuple[str, ...]] = ("robustness",)
    robustness: str | list[str]
    max_drop: float | str
    metric: str = ""
    columns: list[str] = field(default_factory=list)
    cluster: str = ""
    block: int = 0

    def __post_init__(self) -> None:
        if self.metric:
            check_metric(self.metric)
        if margin_of(self.max_drop)[0] <= 0:
            raise Invalid(f"max_drop is {self.max_drop!r}", hint='use a drop above 0: 0.02 or "2%"')
        if not self._texts():
            raise Invalid("no disturbance is named", hint='robustness = "missing:0.1"')
        for text in self._texts():
            Disturbance.of(text)

    def title(self) -> str:
        """The check in a few words."""
        return f"{self.metric or 'metric'} under {' and '.join(self._texts())} drops at most {self.max_drop}"

    def measure(self, case: Case) -> Finding:
        """The drop on the same rows, as a paired comparison of the candidate with itself."""
        from mainspring.gates.rules.finding import Finding, fact

        found = [(text, self._drop(Disturbance.of(text), case)) for text in self._texts()]
        refused = [f"{text}: {drop}" for text, drop in found if isinstance(drop, str)]
        if refused:
            return fact(False, method="paired, against the rows as they are", n=case.n, note="; ".join(refused))
        drops = [(text, drop) for text, drop in found if isinstance(drop, Finding)]
        _, worst = min(drops, key=lambda one: one[1].value)
        return replace(
            worst,
            p_pass=max(drop.p_pass for _, drop in drops),
            p_fail=min(1.0, len(drops) * min(drop.p_fail for _, drop in drops)),
            method=f"{worst.method}, against the rows as they are",
            note=worst.note.replace("candidate", "disturbed").replace("champion", "as they are"),
            parts=tuple(_part(text, drop) for text, drop in drops) if len(drops) > 1 else (),
        )

    def _drop(self, disturbance: Disturbance, case: Case) -> Finding | str:
        """What one disturbance costs; a sentence when the model does not answer such rows at all."""
        from mainspring.gates.checks.compare import Check as Comparison
        from mainspring.gates.rules.changes import disturbed
        from mainspring.gates.rules.finding import Finding

        columns = self.columns or [name for name in case.version.columns if name in case.frame.columns]
        for name in columns:
            case.column(name)
        rows = disturbed(case.frame.drop(case.label), disturbance, columns, seed=case.seed)
        try:
            answers = case.answer(rows)
        except MainspringError as reason:
            return f"the model does not answer such rows: {' '.join(reason.what.split())[:200]}"
        comparison = Comparison(
            metric=self.metric or default_metric(case.task),
            compare="non_inferior",
            margin=self.max_drop,
            cluster=self.cluster,
            block=self.block,
        )
        drop = comparison.measure(replace(case, answers=answers, baseline=case.answers))
        return drop if isinstance(drop, Finding) else drop.reason

    def _texts(self) -> list[str]:
        return [self.robustness] if isinstance(self.robustness, str) else list(self.robustness)


def _part(text: str, drop: Finding) -> Part:
    from mainspring.gates.rules.finding import Part

    return Part(name=text, value=drop.value, low=drop.low, high=drop.high, threshold=drop.threshold, n=drop.n)
