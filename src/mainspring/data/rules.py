"""Decisions of the data room on tables in memory: which rows fail which check, and what a table seems to be for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from mainspring.core.errors import Invalid, did_you_mean
from mainspring.data.model import Check, Guess

if TYPE_CHECKING:
    import polars as pl

REASON = "quarantine_reason"
_FEW = 20


def split_rows(frame: pl.DataFrame, checks: Sequence[Check]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows that pass every check, and the others with a column that says which checks they failed.

    Both keep the order of the rows; together they are all rows, each once.

    Raises:
        Invalid: A check names a column that is not there, or does not fit its type.
    """
    import polars as pl

    if not checks:
        return frame, frame.clear().with_columns(pl.lit(None, pl.String).alias(REASON))
    for check in checks:
        _check_fits(frame, check)
    said = [pl.when(_fails(check)).then(pl.lit(check.text)) for check in checks]
    marked = frame.with_columns(pl.concat_str(said, separator="; ", ignore_nulls=True).alias(REASON))
    failed = pl.col(REASON) != ""
    return marked.filter(~failed).drop(REASON), marked.filter(failed)


def _fails(check: Check) -> pl.Expr:
    import polars as pl

    column = pl.col(check.column)
    match check.kind:
        case "not_null":
            failed = column.is_null()
        case "unique":
            failed = column.is_not_null() & column.is_duplicated()
        case "in_range":
            low = pl.lit(False) if check.low is None else column < check.low
            high = pl.lit(False) if check.high is None else column > check.high
            failed = low | high
        case "in_set":
            failed = ~column.is_in(list(check.values))
        case "matches":
            failed = ~column.str.contains(f"^(?:{check.pattern})$")
    return failed.fill_null(False)


def _check_fits(frame: pl.DataFrame, check: Check) -> None:
    import polars as pl

    where = f"check {check.text}"
    if check.column not in frame.columns:
        hint = did_you_mean(check.column, frame.columns) or "columns are " + ", ".join(frame.columns[:20])
        raise Invalid(f"no column {check.column!r}", where=where, hint=hint)
    dtype = frame.schema[check.column]
    if check.kind == "in_range" and not dtype.is_numeric():
        raise Invalid(f"{check.column} holds {dtype}, a range needs numbers", where=where)
    if check.kind == "matches" and dtype != pl.String:
        raise Invalid(f"{check.column} holds {dtype}, a pattern needs text", where=where)
    if check.kind == "in_set":
        try:
            frame.clear().select(pl.col(check.column).is_in(list(check.values)))
        except (pl.exceptions.InvalidOperationError, TypeError):
            raise Invalid(f"the values do not fit {check.column}, which holds {dtype}", where=where) from None


def guess_task(frame: pl.DataFrame, target: str) -> Literal["binary", "multiclass", "regression"]:
    """What is to be learned: two values are a binary task, text or few whole numbers classes, else a number.

    Raises:
        Invalid: There is no such column, or it holds fewer than two values.
    """
    if target not in frame.columns:
        hint = did_you_mean(target, frame.columns) or "columns are " + ", ".join(frame.columns[:20])
        raise Invalid(f"no column {target!r}", where="target", hint=hint)
    column = frame[target].drop_nulls()
    values = column.n_unique()
    if values < 2:
        raise Invalid(
            f"{target} has {values} value{'s' * (values != 1)}: nothing to learn", where="target", hint="name another"
        )
    if values == 2:
        return "binary"
    if column.dtype.is_numeric() and (column.dtype.is_float() or values > _FEW):
        return "regression"
    if values > max(_FEW, frame.height // 10):
        raise Invalid(
            f"{target} has {values} different texts in {frame.height} rows",
            where="target",
            hint="name a label or number",
        )
    return "multiclass"


def describe_frame(frame: pl.DataFrame, target: str) -> Guess:
    """What a table seems to be for: its task, its features, and which columns are none and why.

    Raises:
        Invalid: There is no such target, or nothing to learn it from.
    """
    import polars as pl

    task = guess_task(frame, target)
    left_out: dict[str, str] = {}
    features: list[str] = []
    times = [name for name, dtype in frame.schema.items() if dtype.is_temporal()]
    for name, dtype in frame.schema.items():
        reason = "" if name == target else _no_feature(frame[name], dtype)
        if reason:
            left_out[name] = reason
        elif name != target:
            features.append(name)
    if not features:
        raise Invalid("no column to learn from", where="data", hint="; ".join(f"{n}: {r}" for n, r in left_out.items()))
    text = [name for name in features if frame.schema[name] == pl.String]
    return Guess(task, tuple(features), tuple(text), left_out, times[0] if len(times) == 1 else "")


def _no_feature(column: pl.Series, dtype: pl.DataType) -> str:
    import polars as pl

    known = column.drop_nulls()
    values = known.n_unique()
    if dtype.is_temporal():
        return "tells the time"
    if values < 2:
        return "constant"
    if values == len(column) and (dtype == pl.String or (dtype.is_integer() and _counts_up(known))):
        return "looks like an id"
    if dtype == pl.String and values > max(_FEW, len(column) // 4):
        return "free text"
    if not (dtype.is_numeric() or dtype in (pl.String, pl.Boolean)):
        return f"type {dtype}"
    return ""


def _counts_up(column: pl.Series) -> bool:
    lowest, highest = column.min(), column.max()
    return isinstance(lowest, int) and isinstance(highest, int) and highest - lowest < 10 * len(column)
