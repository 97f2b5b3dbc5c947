"""Whether the probabilities of the candidate mean what they say."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from mainspring.core.errors import Invalid
from mainspring.core.values import dataclass

if TYPE_CHECKING:
    from mainspring.gates.case import Case
    from mainspring.gates.rules.finding import Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """`{calibration = "ece", max = 0.05}`.

    Args:
        calibration: "ece", the expected calibration error; of many classes that of the class decided on.
        max: The largest error, in (0, 1).
        bins: Bins of equal size.
        cluster: Column whose values group rows that are not independent.
        block: Length of blocks of neighbouring rows, for rows in order of time.
    """

    SIGNS: ClassVar[tuple[str, ...]] = ("calibration",)
    calibration: Literal["ece"]
    max: float
    bins: int = 15
    cluster: str = ""
    block: int = 0

    def __post_init__(self) -> None:
        if self.cluster and self.block:
            raise Invalid("cluster and block exclude each other", hint="give one of them")
        if not 0 < self.max < 1:
            raise Invalid(f"max is {self.max}", hint="use a limit in (0, 1), such as 0.05")
        if not 1 <= self.bins <= 100:
            raise Invalid(f"{self.bins} bins asked for", hint="use 1 to 100")

    def title(self) -> str:
        """The check in a few words."""
        return f"calibration error at most {self.max}"

    def measure(self, case: Case) -> Finding:
        """The calibration error with its interval."""
        from mainspring.gates.rules.calibration import calibrated_below

        if case.task == "regression":
            raise Invalid("calibration is for models that give probabilities", hint="take the check out of this gate")
        truth, score = case.truth, case.answers.score
        if case.task == "multiclass":
            if case.answers.confidence is None:
                raise Invalid("the probability of the class decided on is not known", hint="judge a registered version")
            truth, score = (case.answers.decision == case.truth).astype(float), case.answers.confidence
        if float(score.min()) < 0 or float(score.max()) > 1:
            raise Invalid("the scores are no probabilities: some lie outside [0, 1]", hint="calibrate the model")
        grouping = case.grouping(self.cluster, self.block)
        return calibrated_below(
            truth, score, limit=self.max, seed=case.seed, bins=self.bins, alpha=case.alpha, grouping=grouping
        )
