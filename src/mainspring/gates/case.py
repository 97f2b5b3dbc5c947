"""What a check gets to see: the two versions, the rows, the truth, and what both versions answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mainspring.core.errors import Invalid, did_you_mean
from mainspring.core.values import dataclass

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from mainspring.gates.rules.bootstrap import Floats, Grouping
    from mainspring.gates.rules.finding import NotApplicable
    from mainspring.registry import ModelVersion

    Mask = NDArray[np.bool_]
    Ask = Callable[[pl.DataFrame], Mapping[str, NDArray[np.generic]]]
LEAST_ROWS = 30
_MOST_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Answers:
    """What a version said about the rows.

    Args:
        score: Probability of class 1, of many classes that of the true one, or the predicted number; shape (rows,).
        decision: The place of the class it decides on (for a number the number itself); shape (rows,).
        confidence: Of many classes the probability of the one it decides on, shape (rows,); else None.
    """

    score: Floats
    decision: Floats
    confidence: Floats | None = None

    def only(self, mask: Mask) -> Answers:
        """The answers to some of the rows."""
        return Answers(
            self.score[mask], self.decision[mask], None if self.confidence is None else self.confidence[mask]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One candidate before one gate.

    Args:
        candidate: The version under judgement; None when only its answers were given.
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
        folder: The project folder, where files of tests lie; None where there is none.
        retrained: The answers of so many trainings of the candidate with other seeds, waited for so long in seconds, or
            why there are none; None where nothing can be trained again.
    """

    candidate: ModelVersion | None
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
    folder: Path | None = None
    retrained: Callable[[int, float], Sequence[Answers] | NotApplicable] | None = None

    @property
    def version(self) -> ModelVersion:
        """The version under judgement, for checks that need more than its answers.

        Raises: Invalid: Only answers were given.
        """
        if self.candidate is None:
            raise Invalid("only answers were given, and this check needs a version", hint="judge a registered version")
        return self.candidate

    def answer(self, rows: pl.DataFrame) -> Answers:
        """What the candidate says to other rows with the same truth, such as disturbed ones."""
        from mainspring.gates.answers import answers_of

        return answers_of(self.predict(rows), self.version, rows.height, self.truth)

    def beliefs(self, rows: pl.DataFrame) -> tuple[Floats, Floats]:
        """What the candidate says to any rows: probabilities (rows, classes) or numbers (rows, 1), and decisions."""
        from mainspring.gates.answers import beliefs_of

        return beliefs_of(self.predict(rows), self.version, rows.height)

    def read(self, name: str) -> str:
        """The text of a file of the project folder.

        Raises: Invalid: There is no folder, the file lies outside it, is not there, or is larger than a megabyte.
        """
        if self.folder is None:
            raise Invalid(f"there is no project folder to find {name!r} in", hint="run the gate from the project")
        root = self.folder.resolve()
        path = (root / name).resolve()
        if not path.is_relative_to(root):
            raise Invalid(f"{name!r} lies outside the project folder", hint="name a file in it")
        if not path.is_file() or path.stat().st_size > _MOST_BYTES:
            raise Invalid(f"{name!r} is no file of at most a megabyte", where=str(root), hint="write the file there")
        try:
            return path.read_text("utf-8")
        except UnicodeDecodeError:
            raise Invalid(f"{name!r} is no text in UTF-8", where=str(root), hint="save it as UTF-8") from None

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
