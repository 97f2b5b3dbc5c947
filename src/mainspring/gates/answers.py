"""From the rows and what a model says about them to numbers: the truth, the scores and the decisions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

from mainspring.core.errors import Failed, Invalid, MainspringError, did_you_mean
from mainspring.gates.case import LEAST_ROWS, Answers

if TYPE_CHECKING:
    import polars as pl

    from mainspring.gates.case import Ask
    from mainspring.gates.rules.bootstrap import Floats
    from mainspring.registry import ModelVersion, Registry

Probe = Callable[["ModelVersion", "pl.DataFrame"], Mapping[str, list[float]]]
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
    """The truth as numbers: 1 for the second class of a binary model and 0 for the first, or the value itself.

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
    if version.task != "binary":
        raise Invalid(f"gates judge binary and regression models, this one is {version.task}", where=version.ref)
    return _binary(column, label, version)


def _numbers(column: pl.Series, label: str) -> Floats:
    import numpy as np

    if not (column.dtype.is_numeric() or column.dtype == bool):
        raise Invalid(f"the label is {column.dtype}, not a number", where=label)
    numbers: Floats = column.cast(float).to_numpy().astype(np.float64)
    if not np.isfinite(numbers).all():
        raise Invalid("the label has infinite values", where=label, hint="leave these rows out")
    return numbers


def _binary(column: pl.Series, label: str, version: ModelVersion) -> Floats:
    import numpy as np

    negative, positive = version.classes
    values = column.to_list()
    strange = next((value for value in values if value not in (negative, positive)), None)
    if strange is not None:
        hint = f"the model knows {negative!r} and {positive!r}"
        raise Invalid(f"the label {strange!r} is no class of the model", where=label, hint=hint)
    truth = np.array([value == positive for value in values], dtype=np.float64)
    if truth.min() == truth.max():
        only = positive if truth[0] else negative
        hint = "use rows of both classes"
        raise Invalid(f"all {len(truth)} rows have the label {only!r}", where=label, hint=hint)
    return truth


def answers_of(said: Mapping[str, object], version: ModelVersion, rows: int) -> Answers:
    """What a version said, as scores and decisions.

    Args:
        said: Outputs by name: "probability" and "label", or "prediction"; shape (rows,) each.
        version: The version that said it.
        rows: How many rows it was asked about.
    Raises:
        Invalid: An output is missing, has another length, or is not finite.
    """
    import numpy as np

    score = _output(said, "prediction" if version.task == "regression" else "probability", version, rows)
    if version.task == "regression":
        return Answers(score, score)
    if "label" not in said:
        return Answers(score, (score >= 0.5).astype(np.float64))
    decided = np.asarray(said["label"])
    return Answers(score, (decided == version.classes[1]).astype(np.float64))


def _output(said: Mapping[str, object], name: str, version: ModelVersion, rows: int) -> Floats:
    import numpy as np

    if name not in said:
        raise Invalid(f"the model gives no {name!r}, only {', '.join(sorted(said))}", where=version.ref)
    score: Floats = np.asarray(said[name], dtype=np.float64)
    if score.shape != (rows,):
        raise Invalid(f"{rows} rows were asked and {name} has the shape {score.shape}", where=version.ref)
    if not np.isfinite(score).all():
        count = int((~np.isfinite(score)).sum())
        raise Invalid(f"{count} of {rows} answers are not finite numbers", where=version.ref)
    return score


def inputs_of(version: ModelVersion, rows: pl.DataFrame) -> pl.DataFrame:
    """The model's inputs among the columns, without the label; what is missing is for the model to say."""
    return rows.select([name for name in version.columns if name in rows.columns])


def asking(registry: Registry, version: ModelVersion) -> Ask:
    """A function that asks the version, loaded and verified once. Whatever the model raises becomes a `Failed`."""
    predictor = registry.load(version.model, version.number)
    return _guarded(version, lambda rows: predictor.predict(inputs_of(version, rows)))


def probing(probe: Probe, version: ModelVersion) -> Callable[[pl.DataFrame], Mapping[str, list[float]]]:
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
