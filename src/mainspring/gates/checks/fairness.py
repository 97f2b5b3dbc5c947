"""Whether a rate is about the same in all groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from mainspring.core.errors import Invalid

if TYPE_CHECKING:
    from mainspring.gates.case import Case
    from mainspring.gates.rules.finding import Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """`{fairness = "tpr", group = "sex", max_gap = 0.05}`.

    Args:
        fairness: "tpr" and "fpr": decisions for class 1 among rows of class 1, of class 0; "positive_rate": among all
            rows; "accuracy".
        group: Column with the groups.
        max_gap: The largest difference between two groups, in (0, 1).
        bound: "upper": the upper confidence bound of the difference has to keep the limit.
        min_rows: A group with fewer rows that could count is left out, and named.
    """

    SIGNS: ClassVar[tuple[str, ...]] = ("fairness",)
    fairness: Literal["tpr", "fpr", "positive_rate", "accuracy"]
    group: str
    max_gap: float
    bound: Literal["upper"] = "upper"
    min_rows: int = 30

    def __post_init__(self) -> None:
        if not 0 < self.max_gap < 1:
            raise Invalid(f"max_gap is {self.max_gap}", hint="use a difference in (0, 1), such as 0.05")
        if self.min_rows < 10:
            raise Invalid(f"min_rows is {self.min_rows}", hint="use at least 10")

    def title(self) -> str:
        """The check in a few words."""
        return f"{self.fairness} gap over {self.group} at most {self.max_gap}"

    def measure(self, case: Case) -> Finding:
        """The widest difference between two groups."""
        import numpy as np

        from mainspring.gates.rules.fairness import rates_within

        many = case.task == "multiclass"
        if case.task == "regression" or (many and self.fairness != "accuracy"):
            hint = 'fairness = "accuracy"' if many else "take the check out of this gate"
            raise Invalid(f"{self.fairness} is for models that decide on one of two classes", hint=hint)
        groups = case.column(self.group).cast(str).fill_null("(missing)").to_numpy()
        said, is_so = case.answers.decision == 1, case.truth == 1
        hits = case.answers.decision == case.truth if self.fairness == "accuracy" else said
        could = {"tpr": is_so, "fpr": ~is_so}.get(self.fairness, np.ones(case.n, dtype=bool))
        counts = {
            str(name): (int((hits & could & (groups == name)).sum()), int((could & (groups == name)).sum()))
            for name in np.unique(groups)
        }
        return rates_within(counts, limit=self.max_gap, n=case.n, alpha=case.alpha, least=self.min_rows)
