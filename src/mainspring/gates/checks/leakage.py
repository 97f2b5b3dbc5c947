"""Whether the label, or the evaluation rows themselves, were known in training."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from mainspring.core.errors import Invalid
from mainspring.core.values import dataclass

if TYPE_CHECKING:
    import polars as pl

    from mainspring.gates.case import Case
    from mainspring.gates.rules.finding import Finding

STRONG = 0.99
"""What one input alone must exceed to be named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """`{leakage = true, max_shared = 0.01, time = "departed_at"}`.

    Args:
        leakage: true.
        max_shared: The largest share of evaluation rows that may also be training rows.
        max_single: The largest area under the ROC curve (of numbers: absolute rank correlation) that one input alone
            may reach. Without it an input that reaches 0.99 is named and the check passes: a strong input may be an
            honest one.
        time: Column with the time of a row; the evaluation rows have to be later than the training rows.
    """

    SIGNS: ClassVar[tuple[str, ...]] = ("leakage",)
    leakage: bool
    max_shared: float = 0.01
    max_single: float | None = None
    time: str = ""

    def __post_init__(self) -> None:
        if not self.leakage:
            raise Invalid("leakage = false checks nothing", hint="take the check out")
        if not 0 <= self.max_shared <= 1:
            raise Invalid(f"max_shared is {self.max_shared}", hint="use a share in [0, 1]")
        if self.max_single is not None and not 0.5 <= self.max_single <= 1:
            raise Invalid(f"max_single is {self.max_single}", hint="use an area in [0.5, 1], such as 0.99")

    def title(self) -> str:
        """The check in a few words."""
        return "no leakage"

    def measure(self, case: Case) -> Finding:
        """Label among the inputs, an input that says the label, rows shared with the training set, order of time."""
        from mainspring.gates.rules.finding import fact
        from mainspring.gates.rules.leakage import columns_equal_to, too_good

        inputs = [field.name for field in case.version.inputs]
        found = [f"the label {case.label!r} is an input"] if case.label in inputs else []
        telling = columns_equal_to(case.frame, case.label, inputs)
        found += [f"the input {name!r} says the label" for name in telling]
        others = [name for name in inputs if name not in (*telling, case.label)]
        many = case.task == "multiclass"
        limit = STRONG if self.max_single is None else self.max_single
        good = too_good(case.frame, case.truth, others, many=many, limit=limit, alpha=case.alpha)
        strong = [f"the input {name!r} alone reaches {value:.3f}" for name, value in good]
        found += strong if self.max_single is not None else []
        if case.training is None:
            note = "the training rows are not on record, so shared rows were not looked for"
        else:
            trouble, note = self._against(case.training(), case, inputs)
            found += trouble
        if strong and self.max_single is None:
            note = "; ".join([f"{said}: is it known when the prediction is made?" for said in strong] + [note])
        return fact(not found, value=len(found), n=case.n, method="leakage", note="; ".join(found) or note)

    def _against(self, training: pl.DataFrame, case: Case, inputs: list[str]) -> tuple[list[str], str]:
        from mainspring.gates.rules.leakage import rows_before, shared_rows

        found = []
        shared = shared_rows(training, case.frame, [*inputs, case.label])
        if shared > self.max_shared * case.n:
            found.append(f"{shared} of {case.n} evaluation rows are training rows")
        if self.time:
            case.column(self.time)
            if self.time not in training.columns:
                raise Invalid(f"the training rows have no column {self.time!r}", hint="name a column of both sets")
            if early := rows_before(training, case.frame, self.time):
                found.append(f"{early} evaluation rows are earlier than the last training row")
        return found, f"{shared} rows shared with the training set"
