"""Features as they were known at the time: joins that never look ahead."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mainspring.core.errors import Invalid, did_you_mean

if TYPE_CHECKING:
    import polars as pl

_ROW = "__row__"
_KNOWN = "__known__"


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

    Args:
        left: Rows with the event time `on` and the entity columns `by`.
        right: Facts about entities: `by`, the event time `on`, and the values to add.
        on: Name of the event time column in both.
        by: Names of the entity columns in both.
        created: Column of `right` that says when a fact was known; without it, at its event time.
        ttl_s: Facts older than this many seconds at the event time of the left row are as good as none.
    Returns: `left` with the values added: the same rows in the same order. `on` and `created` of `right` are left out.
    Raises:
        Invalid: A column is missing in one of the tables, or a value's name is in both.
    Source: Event-time semantics of feature stores: a fact counts when created <= event time < event time of fact + ttl.
    """
    import polars as pl

    _check(left, right, on, by, created)
    values = [name for name in right.columns if name not in (on, created, *by)]
    facts = right.with_columns(pl.max_horizontal(on, created or on).alias(_KNOWN)).drop_nulls(_KNOWN)
    # what became known later but is about an earlier time must not replace what is newer
    facts = facts.sort(_KNOWN, on).with_columns(pl.col(on).cum_max().over(by or pl.lit(1)).alias("__newest__"))
    facts = facts.filter(pl.col(on) == pl.col("__newest__")).drop("__newest__", created or on, strict=False)
    rename = {on: "__at__"} if created else {}
    facts = facts.rename(rename) if created else facts.with_columns(pl.col(_KNOWN).alias("__at__"))
    numbered = left.with_row_index(_ROW)
    timed = numbered.drop_nulls(on).sort(on)
    joined = timed.join_asof(
        facts.sort(_KNOWN),
        left_on=on,
        right_on=_KNOWN,
        by=list(by) or None,
        strategy="backward",
        check_sortedness=False,
    )
    if ttl_s is not None:
        fresh = (pl.col(on) - pl.col("__at__")) < pl.duration(microseconds=int(ttl_s * 1_000_000))
        joined = joined.with_columns(pl.when(fresh).then(pl.col(name)).alias(name) for name in values)
    untimed = numbered.filter(pl.col(on).is_null())
    whole = pl.concat([joined, untimed], how="diagonal")
    return whole.sort(_ROW).select(*left.columns, *values)


def _check(left: pl.DataFrame, right: pl.DataFrame, on: str, by: Sequence[str], created: str) -> None:
    for table, where, names in ((left, "left", (on, *by)), (right, "right", (on, *by, created))):
        for name in filter(None, names):
            if name not in table.columns:
                hint = did_you_mean(name, table.columns) or "it has " + ", ".join(table.columns[:20])
                raise Invalid(f"no column {name!r}", where=f"{where} table of the join", hint=hint)
    both = set(left.columns) & set(right.columns) - {on, created, *by}
    if both:
        raise Invalid(f"{sorted(both)[0]!r} is in both tables", where="join", hint="rename it in one of them")
