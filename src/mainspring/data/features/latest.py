"""What is known of every entity at one moment: the online half of a feature view.

It says what a point-in-time join would say of a row at that moment, the time to live left to who asks: the newest fact
that was known, and of equally new ones the one that was created last. Facts are read piece by piece, so that memory
grows with the entities and not with the facts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from mainspring.data.features.join import micros_of

if TYPE_CHECKING:
    import polars as pl

AT = "__at__"
"""Name of the column with the event time in microseconds, in what `latest` gives."""
_CREATED = "__created__"
_PIECE = 250_000


def pieces(facts: pl.LazyFrame, rows: int, *, size: int = _PIECE) -> Iterator[pl.DataFrame]:
    """The rows of a frame in order, some at a time."""
    for start in range(0, rows, size):
        yield facts.slice(start, size).collect()


def latest(facts: Iterable[pl.DataFrame], *, on: str, by: Sequence[str], created: str = "", as_of: int) -> pl.DataFrame:
    """The newest fact about each entity that was known by a moment.

    Args:
        facts: Rows with the entity `by`, the event time `on` and the values, in the order they were stored.
        on: Name of the event time column.
        by: Names of the entity columns.
        created: Name of the column that says when a fact was known; "" is at its event time.
        as_of: The moment, microseconds.
    Returns: `by`, the event time in microseconds as `AT`, and the values; one row an entity.
    """
    import polars as pl

    newest: pl.DataFrame | None = None
    for piece in facts:
        known = _known(piece, on, by, created, as_of)
        both = known if newest is None else pl.concat([newest, known])
        ordered = both.sort(AT, _CREATED, maintain_order=True)
        newest = ordered.unique(by, keep="last", maintain_order=True)
    if newest is None:
        raise ValueError("no piece of facts, not even an empty one")
    return newest.drop(_CREATED)


def _known(piece: pl.DataFrame, on: str, by: Sequence[str], created: str, as_of: int) -> pl.DataFrame:
    import polars as pl

    at = micros_of(pl.col(on), piece.schema[on])
    known = micros_of(pl.col(created), piece.schema[created]) if created else at
    timed = piece.with_columns(at.alias(AT), known.alias(_CREATED)).drop_nulls([AT, _CREATED, *by])
    values = [name for name in piece.columns if name not in (on, created, *by)]
    return timed.filter(pl.max_horizontal(AT, _CREATED) <= as_of).select(*by, AT, _CREATED, *values)
