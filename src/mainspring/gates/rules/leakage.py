"""Signs that the evaluation rows or the label were known in training."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl


def columns_equal_to(frame: pl.DataFrame, label: str, columns: Sequence[str]) -> list[str]:
    """Columns that say the label outright: on every row the same value, or one value per class and no other.

    Args:
        frame: Evaluation rows with the label.
        label: Name of the label column.
        columns: Names of the inputs to look at.
    """
    classes = frame[label].n_unique()
    if classes < 2:
        return []
    return [
        name
        for name in columns
        if name in frame.columns
        and name != label
        and frame[name].n_unique() <= classes
        and frame.select(name, label).n_unique() == classes == frame[name].n_unique()
    ]


def shared_rows(training: pl.DataFrame, evaluation: pl.DataFrame, columns: Sequence[str]) -> int:
    """How many evaluation rows have all of `columns` equal to a training row; two missing values are equal."""
    names = [name for name in columns if name in training.columns and name in evaluation.columns]
    if not names:
        return 0
    right = evaluation.select(pl.col(name).cast(training.schema[name], strict=False) for name in names)
    return right.join(training.select(names).unique(), on=names, how="semi", nulls_equal=True).height


def rows_before(training: pl.DataFrame, evaluation: pl.DataFrame, time: str) -> int:
    """How many evaluation rows are earlier than the last training row, by the column `time`."""
    last = training[time].max()
    return int(evaluation.select((pl.col(time) < last).sum()).item())
