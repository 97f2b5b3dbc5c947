"""Whether a rate is about the same in all groups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

from mainspring.core.errors import Invalid, did_you_mean
from mainspring.core.values import dataclass

if TYPE_CHECKING:
    from mainspring.gates.case import Case, Mask
    from mainspring.gates.rules.bootstrap import Floats, Grouping
    from mainspring.gates.rules.fairness import Rate
    from mainspring.gates.rules.finding import Finding

MEASURES = ("tpr", "fpr", "selection_rate", "accuracy", "calibration")


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """`{fairness = ["tpr", "fpr"], group = "sex", max_gap = 0.05}`.

    Args:
        fairness: One or several of: "tpr" and "fpr", decisions for class 1 among rows of class 1, of class 0;
            "selection_rate", among all rows; "accuracy"; "calibration", probability minus what happened.
        group: Column with the groups, or several, each looked at on its own.
        max_gap: The largest difference between two groups, in (0, 1).
        bound: "upper": the upper confidence bound of every difference has to keep the limit (proof of fairness is
            asked for); "lower": it fails only when a lower bound is above the limit (proof of unfairness is).
        min_rows: A group with fewer rows that could count is left out, and named.
        cluster: Column whose values group rows that are not independent.
    """

    SIGNS: ClassVar[tuple[str, ...]] = ("fairness",)
    fairness: str | list[str]
    group: str | list[str]
    max_gap: float
    bound: Literal["upper", "lower"] = "upper"
    min_rows: int = 30
    cluster: str = ""

    def __post_init__(self) -> None:
        if not 0 < self.max_gap < 1:
            raise Invalid(f"max_gap is {self.max_gap}", hint="use a difference in (0, 1), such as 0.05")
        if self.min_rows < 10:
            raise Invalid(f"min_rows is {self.min_rows}", hint="use at least 10")
        if not _several(self.fairness) or not _several(self.group):
            raise Invalid("a measure and a group are needed", hint='fairness = "tpr", group = "sex"')
        for measure in _several(self.fairness):
            if measure not in MEASURES:
                hint = did_you_mean(measure, MEASURES) or f"known: {', '.join(MEASURES)}"
                raise Invalid(f"unknown measure {measure!r}", hint=hint)

    def title(self) -> str:
        """The check in a few words."""
        measures, groups = (" and ".join(_several(names)) for names in (self.fairness, self.group))
        line = "at most" if self.bound == "upper" else "not shown above"
        return f"{measures} gap over {groups} {line} {self.max_gap}"

    def measure(self, case: Case) -> Finding:
        """The widest difference between two groups."""
        from mainspring.gates.rules.fairness import gaps_within

        for measure in _several(self.fairness):
            _check_fits(measure, case)
        grouping = case.grouping(self.cluster, 0)
        families = [
            (f"{measure} over {column}", _rates(measure, column, case, grouping))
            for measure in _several(self.fairness)
            for column in _several(self.group)
        ]
        found = gaps_within(
            families,
            limit=self.max_gap,
            n=case.n,
            alpha=case.alpha,
            least=self.min_rows,
            method="all pairs, " + (f"variance by {self.cluster}" if self.cluster else "Agresti-Caffo"),
        )
        return replace(found, presumed=self.bound == "lower")


def _several(names: str | list[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _check_fits(measure: str, case: Case) -> None:
    many = case.task == "multiclass"
    if case.task == "regression" or (many and measure != "accuracy"):
        hint = 'fairness = "accuracy"' if many else "take the check out of this gate"
        raise Invalid(f"{measure} is for models that decide on one of two classes", hint=hint)


def _rates(measure: str, column: str, case: Case, grouping: Grouping | None) -> Mapping[str, Rate]:
    """The rate of every group: of counts where rows are independent decisions, of means else."""
    import numpy as np

    from mainspring.gates.rules.fairness import rate_of_counts, rate_of_rows

    groups = case.column(column).cast(str).fill_null("(missing)").to_numpy()
    values, could = _values(measure, case)
    found = {}
    for name in np.unique(groups):
        rows = could & (groups == name)
        picked = values[rows]
        clusters = None if grouping is None or grouping.cluster is None else grouping.cluster[rows]
        if clusters is None and measure != "calibration":
            found[str(name)] = rate_of_counts(int(picked.sum()), len(picked))
        else:
            found[str(name)] = rate_of_rows(picked, clusters)
    return found


def _values(measure: str, case: Case) -> tuple[Floats, Mask]:
    """What each row counts for, and which rows could count."""
    import numpy as np

    everywhere = np.ones(case.n, dtype=bool)
    if measure == "accuracy":
        return (case.answers.decision == case.truth).astype(np.float64), everywhere
    if measure == "calibration":
        return case.answers.score - case.truth, everywhere
    said = (case.answers.decision == 1).astype(np.float64)
    could = {"tpr": case.truth == 1, "fpr": case.truth == 0}.get(measure, everywhere)
    return said, could
