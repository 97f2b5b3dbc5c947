"""From the rows and what a model says about them to numbers: the truth, the scores and the decisions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from mainspring.core.errors import Failed, Invalid, MainspringError, did_you_mean
from mainspring.gates.case import LEAST_ROWS, Answers

if TYPE_CHECKING:
    import polars as pl

    from mainspring.gates.case import Ask
    from mainspring.gates.rules.bootstrap import Floats
    from mainspring.registry import ModelVersion, Registry

Probe = Callable[["ModelVersion", "pl.DataFrame"], Mapping[str, Sequence[object]]]
"""Asks a version through a real model server: numeric outputs by name."""
Answer = TypeVar("Answer")


def check_label(frame: pl.DataFrame, label: str) -> None:
    """Return when the rows have the label column.

    Raises:
        Invalid: They do not, with the near names.
    """
    if label not in frame.columns:
        hint = did_you_mean(label, frame.columns) or f"columns: {', '.join(frame.columns[:20])}"
        raise Invalid(f"the evaluation rows have no column {label!r}", where="label", hint=hint)


def truth_of(frame: pl.DataFrame, label: str, version: ModelVersion) -> Floats:
    """The truth as numbers: the place of the class among those of the model (of two: 0 or 1), or the value itself.

    Args:
        frame: The evaluation rows.
        label: Name of the column with the truth.
        version: The version whose task and classes say how to read it.
    Returns: Shape (rows,), finite.
    Raises:
        Invalid: Too few rows, a label is missing or no class of the model, or there is only one class.
    """
    if frame.height < LEAST_ROWS:
        hint = "use a larger evaluation set"
        raise Invalid(f"{frame.height} rows are too few, {LEAST_ROWS} are needed", where=label, hint=hint)
    column = frame[label]
    missing = column.null_count() + (int(column.is_nan().sum()) if column.dtype.is_float() else 0)
    if missing:
        hint = "leave out the rows whose label is not known yet"
        raise Invalid(f"{missing} of {frame.height} rows have no label", where=label, hint=hint)
    if version.task == "regression":
        return _numbers(column, label)
    return _places(column, label, version)


def _numbers(column: pl.Series, label: str) -> Floats:
    import numpy as np

    if not (column.dtype.is_numeric() or column.dtype == bool):
        raise Invalid(f"the label is {column.dtype}, not a number", where=label)
    numbers: Floats = column.cast(float).to_numpy().astype(np.float64)
    if not np.isfinite(numbers).all():
        raise Invalid("the label has infinite values", where=label, hint="leave these rows out")
    return numbers


def _places(column: pl.Series, label: str, version: ModelVersion) -> Floats:
    import numpy as np

    places = {value: place for place, value in enumerate(version.classes)}
    values = column.to_list()
    strange = next((value for value in values if value not in places), None)
    if strange is not None:
        hint = "the model knows " + " and ".join(repr(value) for value in version.classes[:20])
        raise Invalid(f"the label {strange!r} is no class of the model", where=label, hint=hint)
    truth = np.array([places[value] for value in values], dtype=np.float64)
    if truth.min() == truth.max():
        hint = "use rows of both classes" if len(places) == 2 else "use rows of all classes"
        only = version.classes[int(truth[0])]
        raise Invalid(f"all {len(truth)} rows have the label {only!r}", where=label, hint=hint)
    return truth


def answers_of(said: Mapping[str, object], version: ModelVersion, rows: int, truth: Floats | None = None) -> Answers:
    """What a version said, as scores and decisions.

    Args:
        said: Outputs by name: "probability" and "label", or "prediction"; shape (rows,) each, or of many classes
            "probability" (rows, classes).
        version: The version that said it.
        rows: How many rows it was asked about.
        truth: For many classes: the place of the true class; the score of a row is the probability of that class.
    Raises:
        Invalid: An output is missing, has another shape, or is not finite.
    """
    import numpy as np

    if version.task == "regression":
        score = _output(said, "prediction", version, (rows,))
        return Answers(score, score)
    many = version.task == "multiclass"
    score = _output(said, "probability", version, (rows, len(version.classes)) if many else (rows,))
    if many:
        chosen = score.argmax(axis=1).astype(np.float64)
        true = np.zeros(rows, dtype=np.intp) if truth is None else truth.astype(np.intp)
        return Answers(score[np.arange(rows), true], chosen, score.max(axis=1))
    if "label" not in said:
        return Answers(score, (score >= 0.5).astype(np.float64))
    decided = np.asarray(said["label"])
    return Answers(score, (decided == version.classes[1]).astype(np.float64))


def beliefs_of(said: Mapping[str, object], version: ModelVersion, rows: int) -> tuple[Floats, Floats]:
    """What a version said, without a truth to hold it against.

    Args:
        said: As for `answers_of`.
        version: The version that said it.
        rows: How many rows it was asked about.
    Returns: Probabilities by the place of the class, shape (rows, classes), or numbers, shape (rows, 1); and the places
        of the classes it decides on (or the numbers), shape (rows,).
    Raises:
        Invalid: As for `answers_of`.
    """
    import numpy as np

    if version.task == "multiclass":
        scores = _output(said, "probability", version, (rows, len(version.classes)))
        return scores, scores.argmax(axis=1).astype(np.float64)
    answers = answers_of(said, version, rows)
    if version.task == "regression":
        return answers.score[:, None], answers.decision
    return np.column_stack([1 - answers.score, answers.score]), answers.decision


def _output(said: Mapping[str, object], name: str, version: ModelVersion, shape: tuple[int, ...]) -> Floats:
    import numpy as np

    if name not in said:
        raise Invalid(f"the model gives no {name!r}, only {', '.join(sorted(said))}", where=version.ref)
    try:
        score: Floats = np.asarray(said[name], dtype=np.float64)
    except (TypeError, ValueError):
        raise Invalid(f"the answers of {name!r} are no numbers", where=version.ref) from None
    if score.shape != shape:
        raise Invalid(f"{shape[0]} rows were asked and {name} has the shape {score.shape}", where=version.ref)
    if not np.isfinite(score).all():
        count = int((~np.isfinite(score)).sum())
        raise Invalid(f"{count} of {score.size} answers are not finite numbers", where=version.ref)
    return score


def inputs_of(version: ModelVersion, rows: pl.DataFrame) -> pl.DataFrame:
    """The model's inputs among the columns, without the label; what is missing is for the model to say."""
    return rows.select([name for name in version.columns if name in rows.columns])


def asking(registry: Registry, version: ModelVersion) -> Ask:
    """A function that asks the version, loaded and verified once. Whatever the model raises becomes a `Failed`."""
    predictor = registry.load(version.model, version.number)
    return _guarded(version, lambda rows: predictor.predict(inputs_of(version, rows)))


def probing(probe: Probe, version: ModelVersion) -> Callable[[pl.DataFrame], Mapping[str, Sequence[object]]]:
    """The same through a real model server."""
    return _guarded(version, lambda rows: probe(version, inputs_of(version, rows)))


def _guarded(version: ModelVersion, ask: Callable[[pl.DataFrame], Answer]) -> Callable[[pl.DataFrame], Answer]:
    def guarded(rows: pl.DataFrame) -> Answer:
        try:
            return ask(rows)
        except MainspringError:
            raise
        except Exception as reason:  # a model is foreign code and may raise anything
            raise Failed(f"{version.ref} cannot answer: {type(reason).__name__}: {reason}") from reason

    return guarded
