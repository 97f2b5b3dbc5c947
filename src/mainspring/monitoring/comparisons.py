"""The values of comparisons of whole vectors: what was compared, what was found, and why nothing was."""

from __future__ import annotations

from mainspring.core.values import dataclass
from mainspring.monitoring.readings import Reading


@dataclass(frozen=True, slots=True)
class VectorFigures:
    """How the vectors of a window compare with those of the reference.

    Attributes:
        name: The input, or what its numbered inputs have in common.
        width: How many places a vector has.
        rows: Rows of the window that were compared, at most 2,000.
        missing: Rows that were drawn as well and have no whole vector of that width.
        reference_rows: Rows of the reference that were compared.
        energy: The energy distance along the main directions of the reference, without an interval.
        energy_usual: What it stays below in 95 of 100 cases when rows of both are mixed, None without a distance.
        energy_p: How often mixed rows lie at least that far apart.
        classifier: Area under the ROC curve of telling window and reference apart, with its 95 % interval, on rows held
            out from learning it; 0.5 is no difference.
        classifier_p: How often it would be as large when nothing differs.
        usual: The same area of the training data's own newest stretch, as long as the window and with as many rows,
            against all before it: as far apart as quiet days are.
    """

    name: str
    width: int
    rows: int
    missing: int
    reference_rows: int
    energy: Reading
    classifier: Reading
    energy_usual: float | None = None
    energy_p: float | None = None
    classifier_p: float | None = None
    usual: Reading = Reading()


@dataclass(frozen=True, slots=True)
class VectorComparison:
    """The vectors of a stretch of traffic beside those of the training data.

    Attributes:
        deployment: What is watched.
        version: Version of the model that answered.
        window_start: First microsecond, event time.
        window_end: First microsecond after it.
        reference: Dataset version it is compared with, "" where the version has none.
        vectors: The figures, one for each vector among the inputs.
        why: "" or why there are no figures.
        alarm: Id of the alarm it was made for, "" for none.
        made_at: Wall time.
    """

    deployment: str
    version: int
    window_start: int
    window_end: int
    reference: str = ""
    vectors: tuple[VectorFigures, ...] = ()
    why: str = ""
    alarm: str = ""
    made_at: int = 0
