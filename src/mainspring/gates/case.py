"""What a check gets to see: the two versions, the rows, the truth, and what both versions answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from mainspring.core.errors import Invalid, did_you_mean

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from mainspring.gates.rules.bootstrap import Floats, Grouping
    from mainspring.registry import ModelVersion

    Mask = NDArray[np.bool_]
    Ask = Callable[[pl.DataFrame], Mapping[str, NDArray[np.generic]]]
LEAST_ROWS = 30


@dataclass(frozen=True, slots=True)
class Answers:
    """What a version said about the rows.

    Args:
        score: Probability of class 1, of many classes that of the true one, or the predicted number; shape (rows,).
        decision: The place of the class it decides on (for a number the number itself); shape (rows,).
    """

    score: Floats
    decision: Floats

    def only(self, mask: Mask) -> Answers:
        """The answers to some of the rows."""
        return Answers(self.score[mask], self.decision[mask])


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One candidate before one gate.

    Args:
        candidate: The version under judgement.
        champion: The version it is compared with, if there is one.
        frame: The evaluation rows.
        label: Column of `frame` with the truth.
        task: What kind of model it is.
        truth: The place of the class per row (of two: 0 or 1), or the number; shape (rows,).
        answers: Of the candidate.
        baseline: Of the champion.
        alpha: One-sided level of the intervals.
        seed: Seed of all resampling.
        predict: Asks the candidate in this process.
        probe: Asks the candidate through the real model server; None where there is none.
        training: Loads the rows the candidate was trained on; None when that is not known.
    """

    candidate: ModelVersion
    champion: ModelVersion | None
    frame: pl.DataFrame
    label: str
    task: Literal["classification", "multiclass", "regression"]
    truth: Floats
    answers: Answers
    baseline: Answers | None
    alpha: float
    seed: int
    predict: Ask
    probe: Callable[[pl.DataFrame], Mapping[str, Sequence[object]]] | None = None
    training: Callable[[], pl.DataFrame] | None = None

    @property
    def n(self) -> int:
        """Rows."""
        return len(self.truth)

    def only(self, mask: Mask) -> Case:
        """The same case on some of the rows."""
        return replace(
            self,
            frame=self.frame.filter(mask),
            truth=self.truth[mask],
            answers=self.answers.only(mask),
            baseline=None if self.baseline is None else self.baseline.only(mask),
        )

    def column(self, name: str) -> pl.Series:
        """A column of the evaluation rows.

        Raises: Invalid: There is no such column, with the near names.
        """
        if name not in self.frame.columns:
            hint = did_you_mean(name, self.frame.columns) or f"columns: {', '.join(self.frame.columns[:20])}"
            raise Invalid(f"the evaluation rows have no column {name!r}", hint=hint)
        return self.frame[name]

    def grouping(self, cluster: str, block: int) -> Grouping | None:
        """Which rows belong together: those with one value of the column `cluster`, or blocks of neighbours."""
        from mainspring.gates.rules.bootstrap import Grouping

        if cluster:
            return Grouping(
                cluster=self.column(cluster).rank("dense").fill_null(0).cast(int).to_numpy() - _first(self, cluster)
            )
        return Grouping(block=block) if block > 1 else None


def _first(case: Case, cluster: str) -> int:
    """Dense ranks start at 1; a missing value (a cluster of its own) takes 0."""
    return 0 if case.column(cluster).null_count() else 1
