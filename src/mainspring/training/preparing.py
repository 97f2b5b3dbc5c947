"""From the rows of a dataset to what models are trained on: how each column is read, and what the target means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING

from mainspring.core.errors import Invalid, did_you_mean
from mainspring.core.values import dataclass
from mainspring.training.rules import LEAST_ROWS

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_MOST_CLASSES = 100
_ON_ONE_LINE = 1 - 1e-9
_WORDS = 3


@dataclass(frozen=True, slots=True)
class Look:
    """What a table is found to be.

    Attributes:
        task: "binary", "multiclass" or "regression".
        classes: Labels in their order; empty for regression.
        columns: Features and how they are read: "number", "category", "date" or "text".
        left_out: Columns that are no features, with the reason.
        warnings: What may make scores too good.
    """

    task: str
    classes: tuple[str | int | float | bool, ...]
    columns: Mapping[str, str]
    left_out: Mapping[str, str]
    warnings: tuple[str, ...] = field(default=())


def look_at(frame: pl.DataFrame, target: str, *, task: str, leave_out: Sequence[str], folds: int) -> Look:
    """Find out the task and the features.

    Raises:
        Invalid: The target is missing or says nothing, there are too few rows, or no features.
    """
    from mainspring.data import describe_frame, guess_task

    guessed = guess_task(frame, target)
    known = frame.filter(frame[target].is_not_null())
    if known.height < LEAST_ROWS:
        hint = f"bring {LEAST_ROWS} rows or more"
        raise Invalid(f"{known.height} rows with a {target} are too few to learn from", where="data", hint=hint)
    task = task or guessed
    classes = () if task == "regression" else _classes(known, target, task, folds)
    if task == "regression" and not known[target].dtype.is_numeric():
        raise Invalid(f"{target} is {known[target].dtype}, not a number", where="task", hint="use a task of classes")
    for name in leave_out:
        if name not in frame.columns:
            raise Invalid(f"no column {name!r}", where="leave out", hint=did_you_mean(name, frame.columns))
    asked = {name: "left out by request" for name in leave_out if name != target}
    found = describe_frame(known.drop(list(asked)), target)
    columns = {name: "category" if name in found.text else "number" for name in found.features}
    left_out = asked | dict(found.left_out)
    for name, reason in found.left_out.items():
        read = {"tells the time": "date", "free text": "text"}.get(reason)
        if reason == "looks like an id" and _says_words(known[name]):
            read = "text"
        if read and not (read == "date" and known[name].dtype.base_type().__name__ in ("Time", "Duration")):
            columns[name] = read
            del left_out[name]
    says = _says_target(known, target, columns, task)
    for name in says:
        left_out[name] = f"says {target} outright"
        del columns[name]
    if not columns:
        hint = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise Invalid("no column to learn from", where="data", hint=hint)
    ordered = {name: columns[name] for name in frame.columns if name in columns}
    warnings = tuple(f"{name} {left_out[name]}, so it was left out: is it known before {target} is?" for name in says)
    return Look(task, classes, ordered, left_out, warnings)


def features_of(frame: pl.DataFrame, columns: Mapping[str, str]) -> pl.DataFrame:
    """The features as a model gets them when it serves: numbers, booleans and text; times as ISO text."""
    import polars as pl

    found = []
    for name, read in columns.items():
        column = frame[name]
        if read == "date":
            column = column.dt.to_string("iso:strict") if column.dtype == pl.Datetime else column.cast(pl.String)
        elif read in ("category", "text"):
            column = column.cast(pl.String)
        elif column.dtype == pl.Boolean or column.dtype.is_decimal():
            column = column.cast(pl.Float64) if column.dtype != pl.Boolean else column
        found.append(column.alias(name))
    return pl.DataFrame(found)


def as_served(features: pl.DataFrame) -> pl.DataFrame:
    """The same as the model server hands it to the model: every number a float, missing as NaN."""
    import polars as pl

    text = [name for name, dtype in features.schema.items() if dtype == pl.String]
    return features.with_columns(
        pl.exclude(text).cast(pl.Float64).fill_null(float("nan"))
        if text
        else pl.all().cast(pl.Float64).fill_null(float("nan"))
    )


def truth_of(frame: pl.DataFrame, target: str, classes: Sequence[object]) -> Floats:
    """The target as numbers: its value, or the place of its class; NaN where it is missing."""
    import numpy as np
    import polars as pl

    if not classes:
        return frame[target].cast(pl.Float64).fill_null(np.nan).to_numpy().astype(np.float64)
    places = {label: float(place) for place, label in enumerate(classes)}
    return np.array([places.get(value, np.nan) for value in frame[target].to_list()], dtype=np.float64)


def shared_with_test(features: pl.DataFrame, truth: Floats, sealed: NDArray[np.bool_]) -> int:
    """How many sealed rows are, column by column, also rows to train on."""
    import polars as pl

    from mainspring.gates.rules.leakage import shared_rows

    whole = features.with_columns(pl.Series("\0target", truth))
    return shared_rows(whole.filter(pl.Series(~sealed)), whole.filter(pl.Series(sealed)), whole.columns)


def _classes(known: pl.DataFrame, target: str, task: str, folds: int) -> tuple[str | int | float | bool, ...]:
    counts = known[target].value_counts().sort("count")
    if task == "binary" and counts.height != 2:
        raise Invalid(f"{target} has {counts.height} values, not two", where="task", hint="use --task multiclass")
    if counts.height > _MOST_CLASSES:
        hint = "put rare classes together, or use --task regression"
        raise Invalid(
            f"{target} has {counts.height} classes, at most {_MOST_CLASSES} are told apart", where="task", hint=hint
        )
    rare, rows = counts.row(0)
    if rows < 2 * folds:
        hint = f"bring {2 * folds} rows of each class, use fewer folds, or put rare classes together"
        raise Invalid(f"only {rows} rows have the {target} {rare!r}", where="target", hint=hint)
    return tuple(sorted(counts[target].to_list()))


def _says_words(column: pl.Series) -> bool:
    """Whether every row has a text of its own because people wrote it, and not because it is a number of something."""
    if column.dtype.base_type().__name__ != "String":
        return False
    words = column.str.count_matches(r"\S+").mean()
    return isinstance(words, float) and words >= _WORDS


def _says_target(known: pl.DataFrame, target: str, columns: Mapping[str, str], task: str) -> list[str]:
    """Columns with one value for each class and no other; of numbers those that lie on one line with the target."""
    if task != "regression":
        from mainspring.gates.rules.leakage import columns_equal_to

        return columns_equal_to(known, target, list(columns))
    import polars as pl

    numbers = [name for name, read in columns.items() if read == "number"]
    found = known.select(pl.corr(pl.col(name).cast(pl.Float64), pl.col(target).cast(pl.Float64)) for name in numbers)
    return [name for name in numbers if abs(found[name].fill_null(0.0).item()) > _ON_ONE_LINE]
