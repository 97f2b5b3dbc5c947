"""Decisions of the data room on tables in memory: which rows fail which check, and what a table seems to be for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from mainspring.core.errors import Invalid, did_you_mean
from mainspring.data.model import Check, ColumnKind, Guess

if TYPE_CHECKING:
    import polars as pl

REASON = "quarantine_reason"
_FEW = 20
_AS_NUMBER = "add a check of kind type with column_kind=number: it quarantines the rows that are none"
_AS_TEXT = "add a check of kind type with column_kind=text"


def split_rows(frame: pl.DataFrame, checks: Sequence[Check]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows that pass every check, and the others with a column that says which checks they failed.

    Both keep the order of the rows; together they are all rows, each once.

    Raises:
        Invalid: A check names a column that is not there, or does not fit its type.
    """
    import polars as pl

    if not checks:
        return frame, frame.clear().with_columns(pl.lit(None, pl.String).alias(REASON))
    if REASON in frame.columns:
        raise Invalid(f"a column is named {REASON!r}", where=REASON, hint="rename it: checks write their reasons there")
    for check in checks:
        _check_there(frame, check)
    parsed = _parsed(frame, checks)
    for check in checks:
        _check_fits(parsed, check)
    mistyped = [check for check in checks if check.kind == "type"]
    fails = [
        *((frame[check.column].is_not_null() & parsed[check.column].is_null(), check) for check in mistyped),
        *((parsed.select(_fails(check)).to_series(), check) for check in checks if check.kind != "type"),
    ]
    said = [pl.when(failed).then(pl.lit(check.text)) for failed, check in fails]
    reasons = frame.select(pl.concat_str(said, separator="; ", ignore_nulls=True).alias(REASON)).to_series()
    failed = reasons != ""
    return parsed.filter(~failed), frame.with_columns(reasons).filter(failed)


def _parsed(frame: pl.DataFrame, checks: Sequence[Check]) -> pl.DataFrame:
    """The rows with the types that checks ask for; a value that is none of its type is null."""
    import polars as pl

    from mainspring.data.columns import parse

    wanted = {check.column: check.column_kind for check in checks if check.kind == "type" and check.column_kind}
    return frame.with_columns(
        parse(frame[name].cast(pl.String), kind) if frame.schema[name] == pl.String else _cast(frame[name], kind)
        for name, kind in wanted.items()
    )


def _cast(column: pl.Series, kind: ColumnKind) -> pl.Series:
    """A column that is not text as a kind; null where that would change the value."""
    import polars as pl

    types: dict[ColumnKind, pl.DataType] = {
        "boolean": pl.Boolean(),
        "integer": pl.Int64(),
        "number": pl.Float64(),
        "date": pl.Date(),
        "time": column.dtype if isinstance(column.dtype, pl.Datetime) else pl.Datetime("us"),
        "text": pl.String(),
    }
    try:
        cast = column.cast(types[kind], strict=False)
        kept = cast.cast(column.dtype, strict=False).eq_missing(column)
    except pl.exceptions.PolarsError:
        raise Invalid(
            f"{column.name} holds {column.dtype}, which is no {kind}", where=f"check {column.name} type {kind}"
        ) from None
    return cast.zip_with(kept, pl.Series([None], dtype=cast.dtype)).alias(column.name)


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
        case "type":
            failed = pl.lit(False)
    return failed.fill_null(False)


def _check_there(frame: pl.DataFrame, check: Check) -> None:
    if check.column not in frame.columns:
        hint = did_you_mean(check.column, frame.columns) or "columns are " + ", ".join(frame.columns[:20])
        raise Invalid(f"no column {check.column!r}", where=f"check {check.text}", hint=hint)


def _check_fits(frame: pl.DataFrame, check: Check) -> None:
    import polars as pl

    where = f"check {check.text}"
    dtype = frame.schema[check.column]
    if check.kind == "in_range" and not dtype.is_numeric():
        raise Invalid(f"{check.column} holds {dtype}, a range needs numbers", where=where, hint=_AS_NUMBER)
    if check.kind == "matches" and dtype != pl.String:
        raise Invalid(f"{check.column} holds {dtype}, a pattern needs text", where=where, hint=_AS_TEXT)
    if check.kind == "matches":
        try:
            pl.Series([""]).str.contains(check.pattern)
        except pl.exceptions.ComputeError:
            raise Invalid(
                f"{check.pattern!r} is no regular expression", where=where, hint="mind the brackets"
            ) from None
    if check.kind == "in_set":
        try:
            frame.clear().select(pl.col(check.column).is_in(list(check.values)))
        except (pl.exceptions.InvalidOperationError, TypeError):
            hint = f"give values of type {dtype}"
            raise Invalid(f"the values do not fit {check.column}", where=where, hint=hint) from None


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
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise Invalid("no column to learn from", where="data", hint=reasons or "bring more columns than the target")
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
    if dtype == pl.String and values > _FEW and (odd := _spoiled_numbers(column)):
        return odd
    if values == len(column) and (dtype == pl.String or (dtype.is_integer() and _counts_up(known))):
        return "looks like an id"
    if dtype == pl.String and values > max(_FEW, len(column) // 4):
        return "free text"
    if not (dtype.is_numeric() or dtype in (pl.String, pl.Boolean)):
        return f"type {dtype}"
    return ""


def _spoiled_numbers(column: pl.Series) -> str:
    """What keeps a column of text from being numbers, when nearly all of it are some; else empty."""
    from mainspring.data.columns import parse

    if column.drop_nulls().str.contains(r"^[+-]?[0-9]+,[0-9]+$").all():
        return "numbers with a comma for the point"
    odd = column.is_not_null() & parse(column, "number").is_null()
    if not 0 < odd.sum() <= len(column) // _FEW:
        return ""
    first = odd.arg_max() or 0
    return f"numbers, but {str(column[first])[:40]!r} in row {first + 1:,}" + f" and {odd.sum() - 1} more" * (
        odd.sum() > 1
    )


def _counts_up(column: pl.Series) -> bool:
    lowest, highest = column.min(), column.max()
    return isinstance(lowest, int) and isinstance(highest, int) and highest - lowest < 10 * len(column)
