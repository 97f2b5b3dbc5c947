"""A case made of answers alone: a table with the truth and with what one or two models said, and no version."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from mainspring.core.canonical import digest
from mainspring.core.errors import Invalid, did_you_mean
from mainspring.core.values import dataclass
from mainspring.gates.case import LEAST_ROWS, Answers, Case

if TYPE_CHECKING:
    import polars as pl

    from mainspring.gates.model import GateSpec
    from mainspring.gates.rules.bootstrap import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """Which columns of a table of answers hold what.

    Args:
        label: The truth: two values (the larger one is class 1), or numbers.
        score: What the candidate said: the probability of class 1, or the predicted number.
        baseline: What the champion said; "" for none.
    """

    label: str
    score: str = "score"
    baseline: str = ""


def answers_digest(frame: pl.DataFrame, column: str) -> str:
    """The digest of a column of answers, which stands in a verdict where that of a package would."""
    if not column or column not in frame.columns:
        return ""
    return digest(frame[column].cast(str).fill_null("").str.join("\n").item().encode())


def case_of_answers(gate: GateSpec, frame: pl.DataFrame, given: Given, *, seed: int) -> Case:
    """The case of a table of answers. Checks that need the model itself come to an error that says so.

    Args:
        gate: Its checks.
        frame: One row per answer.
        given: Which columns hold what.
        seed: Seed of all resampling.
    Raises: Invalid: A column is not there, there are too few rows, or truth and answers are no numbers or of one class.
    """
    import numpy as np

    if frame.height < LEAST_ROWS:
        hint = "use a larger evaluation set"
        raise Invalid(f"{frame.height} rows are too few, {LEAST_ROWS} are needed", where=given.label, hint=hint)
    score = _numbers(frame, given.score)
    values = frame[given.label]
    if values.null_count():
        hint = "leave out the rows whose label is not known yet"
        raise Invalid(f"{values.null_count()} of {frame.height} rows have no label", where=given.label, hint=hint)
    kinds = values.unique().sort().to_list()
    if len(kinds) == 1:
        hint = "use rows of both classes"
        raise Invalid(f"all {frame.height} rows have the label {kinds[0]!r}", where=given.label, hint=hint)
    two = len(kinds) == 2
    truth = (values == kinds[1]).to_numpy().astype(np.float64) if two else _numbers(frame, given.label)
    return Case(
        candidate=None,
        champion=None,
        frame=frame,
        label=given.label,
        task="classification" if two else "regression",
        truth=truth,
        answers=_answers(score, given.score, two=two),
        baseline=_answers(_numbers(frame, given.baseline), given.baseline, two=two) if given.baseline else None,
        alpha=gate.alpha,
        seed=seed,
        predict=_no_model,
    )


def _answers(score: Floats, name: str, *, two: bool) -> Answers:
    if not two:
        return Answers(score, score)
    if score.min() < 0 or score.max() > 1:
        raise Invalid("the scores are no probabilities: some lie outside [0, 1]", where=name)
    return Answers(score, (score >= 0.5).astype(float))


def _numbers(frame: pl.DataFrame, name: str) -> Floats:
    import numpy as np

    if name not in frame.columns:
        hint = did_you_mean(name, frame.columns) or f"columns: {', '.join(frame.columns[:20])}"
        raise Invalid(f"the answers have no column {name!r}", where="answers", hint=hint)
    column = frame[name]
    if not (column.dtype.is_numeric() or column.dtype == bool):
        raise Invalid(f"{name} is {column.dtype}, not a number", where="answers")
    numbers: Floats = column.cast(float).to_numpy().astype(np.float64)
    wrong = int((~np.isfinite(numbers)).sum())
    if wrong:
        raise Invalid(f"{wrong} of {len(numbers)} values of {name} are not finite numbers", where="answers")
    return numbers


def _no_model(_: pl.DataFrame) -> NoReturn:
    raise Invalid("only answers were given, and this check asks the model", hint="judge a registered version")
