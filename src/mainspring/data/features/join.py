"""Features as they were known at the time: a join that never looks ahead."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mainspring.core.errors import Invalid, did_you_mean

if TYPE_CHECKING:
    import polars as pl

_ROW, _WHEN, _AT = "__row__", "__when__", "__at__"
_KNOWN, _NEWEST = "__known__", "__newest__"
_SECOND = 1_000_000


def point_in_time_join(
    left: pl.DataFrame,
    right: pl.DataFrame,
    *,
    on: str,
    by: Sequence[str] = (),
    created: str = "",
    ttl_s: float | None = None,
) -> pl.DataFrame:
    """Add to each row of `left` the newest row of `right` that was known at its event time.

    Of facts with the same event time, the one that was created last counts: a correction counts from its creation on.

    Args:
        left: Rows with the event time `on` and the entity columns `by`.
        right: Facts about entities: `by`, the event time `on`, and the values to add. A fact without event time,
            without creation time or without entity was never known.
        on: Name of the event time column in both: times, dates, or whole numbers of microseconds.
        by: Names of the entity columns in both.
        created: Column of `right` that says when a fact was known; without it, at its event time.
        ttl_s: Facts this many seconds old or older at the event time of the left row are as good as none.
    Returns: `left` with the values added: the same rows in the same order. `on` and `created` of `right` are left out.
    Raises:
        Invalid: A column is missing in one of the tables, a value's name is in both, or the times cannot be compared.
    Source: Event-time semantics of feature stores: a fact counts when created <= event time < event time of fact + ttl.
    """
    import polars as pl

    _check(left, right, on, by, created)
    values = [name for name in right.columns if name not in (on, created, *by)]
    facts = _known_facts(right, on, by, created, left.schema[on])
    numbered = left.with_row_index(_ROW)
    whole = pl.all_horizontal(pl.col(on, *by).is_not_null())
    rows = numbered.filter(whole).with_columns(micros_of(pl.col(on), left.schema[on]).alias(_WHEN)).sort(_WHEN)
    joined = rows.join_asof(
        facts.select(_KNOWN, _AT, *by, *values),
        left_on=_WHEN,
        right_on=_KNOWN,
        by=list(by) or None,
        strategy="backward",
        check_sortedness=False,
    )
    if ttl_s is not None:
        fresh = pl.col(_WHEN) - pl.col(_AT) < round(ttl_s * _SECOND)
        joined = joined.with_columns(pl.when(fresh).then(pl.col(name)).alias(name) for name in values)
    found = pl.concat([joined, numbered.filter(~whole)], how="diagonal")
    return found.sort(_ROW).select(*left.columns, *values)


def _known_facts(right: pl.DataFrame, on: str, by: Sequence[str], created: str, left_type: pl.DataType) -> pl.DataFrame:
    """Facts by the time they were known, without those that are older than what was known already."""
    import polars as pl

    for name in filter(None, (on, created)):
        _check_comparable(name, right.schema[name], left_type)
    at = micros_of(pl.col(on), right.schema[on])
    known = micros_of(pl.col(created), right.schema[created]) if created else at
    facts = right.with_columns(at.alias(_AT), known.alias(_KNOWN)).drop_nulls([_AT, _KNOWN, *by])
    facts = facts.with_columns(pl.max_horizontal(_AT, _KNOWN).alias(_KNOWN))
    facts = facts.sort(_KNOWN, _AT, *_created_last(created, facts), maintain_order=True)
    newest = pl.col(_AT).cum_max()
    facts = facts.with_columns((newest.over(list(by)) if by else newest).alias(_NEWEST))
    return facts.filter(pl.col(_AT) == pl.col(_NEWEST)).drop(_NEWEST)


def _created_last(created: str, facts: pl.DataFrame) -> list[pl.Expr]:
    import polars as pl

    return [micros_of(pl.col(created), facts.schema[created])] if created else []


def micros_of(time: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """A time as whole microseconds; without a zone it is UTC."""
    import polars as pl

    if dtype.is_integer():
        return time.cast(pl.Int64)
    zoned = isinstance(dtype, pl.Datetime) and dtype.time_zone
    return time.cast(pl.Datetime("us", "UTC" if zoned else None)).to_physical()


def _check_comparable(name: str, dtype: pl.DataType, left_type: pl.DataType) -> None:
    if _time_kind(dtype) != _time_kind(left_type) or not _time_kind(dtype):
        raise Invalid(
            f"{name!r} is {dtype}, the left table's time is {left_type}",
            where="right table of the join",
            hint="make both times with a zone, times without one, or whole microseconds",
        )


def _time_kind(dtype: pl.DataType) -> str:
    import polars as pl

    if isinstance(dtype, pl.Datetime):
        return "zoned" if dtype.time_zone else "naive"
    return "naive" if dtype == pl.Date else "micros" if dtype.is_integer() else ""


def _check(left: pl.DataFrame, right: pl.DataFrame, on: str, by: Sequence[str], created: str) -> None:
    for table, where, names in ((left, "left", (on, *by)), (right, "right", (on, *by, created))):
        for name in filter(None, names):
            if name not in table.columns:
                hint = did_you_mean(name, table.columns) or "it has " + ", ".join(table.columns[:20])
                raise Invalid(f"no column {name!r}", where=f"{where} table of the join", hint=hint)
    both = set(left.columns) & set(right.columns) - {on, created, *by}
    if both:
        raise Invalid(f"{sorted(both)[0]!r} is in both tables", where="join", hint="rename it in one of them")
