"""How few runs a filter lets through, as far as an index tells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import Connection

from mainspring.core.values import dataclass
from mainspring.storage.matching import matches
from mainspring.tracking.grammar.paging import Key
from mainspring.tracking.grammar.tree import ATTRIBUTES, And, Compare, Field, Node, Not, Or
from mainspring.tracking.records.search.columns import Stored, tells_of
from mainspring.tracking.records.search.conditions import RANGES, Condition, number_matches, number_ranges
from mainspring.tracking.records.search.keys import Keys
from mainspring.tracking.records.search.paged import Narrowed, Numbers, among_numbers
from mainspring.tracking.records.tables import INDEXED_TEXT, metric_latest, param, run, tag

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

TEXTS = {"params": param, "tags": tag}
"""Where the texts of runs are."""
KEPT_TAGS = {Field("tags", "mlflow.runName"): run.c.name, Field("tags", "mlflow.parentRunId"): run.c.parent}
"""Tags of MLflow that are attributes here, and no tags."""
_UNIQUE = {
    Field(ATTRIBUTES, "id"): run.c.id,
    Field(ATTRIBUTES, "parent"): run.c.parent,
    Field("tags", "mlflow.parentRunId"): run.c.parent,
}
"""Columns with an index of their own, of which few runs have the same value, if it is not empty."""
_MOST_BYTES = 2**25
"""So many bytes are taken at most to mark runs with."""
SAMPLE = 400
"""So many runs tell whether a comparison lets through most of them."""
_OPPOSITE = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}
"""What lets through the other numbers."""
_LIMIT = sa.literal_column(str(INDEXED_TEXT), sa.Integer)
"""As indexes say it: no planner knows what a parameter is."""
WALKED = {name: run.c[name] for name in ("started_at", "ended_at", "duration", "name", "status")}
"""Columns with an index that holds the runs of each experiment together."""


def narrowest(
    conn: Connection, node: Node, keys: Keys, experiments: Sequence[int] | None, *, most: int
) -> Narrowed | None:
    """The fewest runs among which all are that a filter lets through; None when no index tells of so few.

    Args:
        experiments: In which one looks, by number; None for all.
    """
    if isinstance(node, And):
        found = (narrowest(conn, part, keys, experiments, most=most) for part in node.parts)
        return min((part for part in found if part is not None), key=lambda part: part.count, default=None)
    if isinstance(node, Or):
        either = [narrowest(conn, part, keys, experiments, most=most) for part in node.parts]
        known = [part.runs for part in either if part is not None]
        return _counted(conn, _either(known), most) if known and len(known) == len(either) else None
    return None if isinstance(node, Not) else _counted(conn, _indexed(node, keys, experiments), most)


def marked(
    conn: Connection,
    node: Node,
    keys: Keys,
    experiments: Sequence[int] | None,
    *,
    most: int,
    columns: Stored | None = None,
) -> npt.NDArray[np.bool_] | None:
    """A mark for the number of each run: those among which all are that a filter lets through.

    None when neither columns nor an index tell of so few of them, or when there are too many runs for it. Parts of the
    filter that let through many more than others are not looked at: marking these takes longer than looking them up on
    the way.
    """
    passed = columns.passed(node) if columns is not None else None
    if columns is not None and passed is not None:
        return _fewer(conn, passed, node, keys, experiments, most // 5)
    greatest = conn.execute(sa.select(sa.func.max(run.c.number))).scalar() or 0
    if greatest > _MOST_BYTES:
        return None
    parts = node.parts if isinstance(node, And) else (node,)
    known = [(part, runs) for part in parts if (runs := _together(part, keys, experiments)) is not None]
    for bound in (most // 20, most // 5) if len(known) > 1 else ():
        few = [_Side(runs) for _, runs in known if _has_at_most(conn, runs, bound)]
        if few:
            return _marks(conn, few, greatest, bound)
    shorter = [_shorter(conn, part, runs, keys, experiments, greatest) for part, runs in known]
    return _marks(conn, shorter, greatest, most)


def deleted(conn: Connection, *, most: int) -> npt.NDArray[np.int64] | None:
    """The runs that are deleted; None when they are more than so many."""
    gone = sa.select(run.c.number).where(run.c.deleted_at.is_not(None))
    found = _listed(conn, gone, most)
    return found if len(found) <= most else None


@dataclass(frozen=True, slots=True)
class _Side:
    """The runs that a comparison lets through, or those that it does not."""

    runs: Numbers
    through: bool = True


def _fewer(
    conn: Connection,
    marks: npt.NDArray[np.bool_],
    node: Node,
    keys: Keys,
    experiments: Sequence[int] | None,
    most: int,
) -> npt.NDArray[np.bool_]:
    """Of marked runs those that parts of a filter let through of which columns do not tell, but an index."""
    for part in node.parts if isinstance(node, And) else ():
        runs = _together(part, keys, experiments) if not tells_of(part) else None
        if runs is not None and _has_at_most(conn, runs, most):
            own = _marks(conn, [_Side(runs)], len(marks) - 1, most)
            marks = marks if own is None else marks & own
    return marks


def _marks(conn: Connection, sides: Sequence[_Side], greatest: int, most: int) -> npt.NDArray[np.bool_] | None:
    import numpy as np

    found = np.ones(greatest + 1, np.bool_)
    for side in sides:
        numbers = _listed(conn, side.runs, most)
        if len(numbers) > most:
            return None
        own = np.full(greatest + 1, not side.through)
        own[numbers[numbers <= greatest]] = side.through
        found &= own
    return found if sides else None


def _shorter(
    conn: Connection, part: Node, runs: Numbers, keys: Keys, experiments: Sequence[int] | None, greatest: int
) -> _Side:
    """The shorter side of a comparison of a metric, as runs here and there tell; else what a part lets through."""
    if not isinstance(part, Compare) or part.field.entity != "metrics" or part.op not in _OPPOSITE:
        return _Side(runs)
    last = metric_latest
    matching = number_matches(last.c.sort, last.c.value, part.op, part.value)
    mine = sa.and_(last.c.run == run.c.number, keys.is_(last.c.key, part.field.key))
    some = among_numbers(run.c.number, range(1, greatest + 1, greatest // SAMPLE + 1), conn.dialect.name)
    counted = sa.select(sa.func.count(), sa.func.count(sa.case((matching, 1))))
    counted = counted.select_from(run.outerjoin(last, mine)).where(some)
    if experiments is not None:
        counted = counted.where((run.c.experiment + 0).in_(experiments))  # no index: that would be gone through
    met, through = conn.execute(counted).one()
    opposite = _indexed(replace(part, op=_OPPOSITE[part.op]), keys, experiments)
    return _Side(opposite, through=False) if opposite is not None and 2 * through > met > SAMPLE // 10 else _Side(runs)


def _together(node: Node, keys: Keys, experiments: Sequence[int] | None) -> Numbers | None:
    """The runs that a part of a filter lets through, where indexes hold them together."""
    if isinstance(node, Compare):
        return _indexed(node, keys, experiments)
    if not isinstance(node, Or) or not node.parts:
        return None
    either = [_together(part, keys, experiments) for part in node.parts]
    known = [runs for runs in either if runs is not None]
    return _either(known) if len(known) == len(either) else None


def _either(several: Sequence[Numbers]) -> Numbers:
    """The runs of all of these. Unions are not nested, which SQLite does not read."""
    return sa.union(*(sa.select(runs.subquery().c[0]) for runs in several))


def _listed(conn: Connection, runs: Numbers, most: int) -> npt.NDArray[np.int64]:
    """Numbers, one more than so many if there are. They come as one text: rows take six times as long."""
    import numpy as np

    number = runs.limit(most + 1).subquery().c[0]
    if conn.dialect.name == "sqlite":
        text = conn.execute(sa.select(sa.func.json_group_array(number))).scalar_one()[1:-1]
    else:
        text = conn.execute(sa.select(sa.func.string_agg(sa.cast(number, sa.Text), ","))).scalar()
    return np.fromstring(text, np.int64, sep=",") if text else np.empty(0, np.int64)


def _has_at_most(conn: Connection, runs: Numbers, count: int) -> bool:
    return conn.execute(runs.limit(1).offset(count)).first() is None


def _counted(conn: Connection, runs: Numbers | None, most: int) -> Narrowed | None:
    if runs is None:
        return None
    some = runs.limit(most + 1).subquery()
    count = conn.execute(sa.select(sa.func.count()).select_from(some)).scalar_one()
    return Narrowed(runs, count) if count <= most else None


def _indexed(asked: Compare, keys: Keys, experiments: Sequence[int] | None) -> Numbers | None:
    """The runs that a comparison lets through, where an index holds them together."""
    if asked.field.entity == "metrics" and asked.op in RANGES:
        last = metric_latest
        runs = sa.select(last.c.run).where(keys.is_(last.c.key, asked.field.key))
        first, *others = (runs.where(*stretch) for stretch in number_ranges(last.c.sort, last.c.value, asked))
        return sa.union_all(first, *others) if others else first
    if asked.field.entity in TEXTS and asked.field not in KEPT_TAGS:
        return _indexed_text(TEXTS[asked.field.entity], asked)
    if asked.field.entity == ATTRIBUTES and asked.field.key in WALKED and experiments is not None:
        if asked.op not in (*RANGES, "IN") or isinstance(asked.value, float):
            return None
        mine = run.c.experiment.in_(experiments)
        return sa.select(run.c.number).where(mine, matches(WALKED[asked.field.key], asked.op, asked.value, ""))
    column = _UNIQUE.get(asked.field)
    if column is None or asked.op not in ("=", "IN") or not asked.value:
        return None
    return sa.select(run.c.number).where(matches(column, asked.op, asked.value, ""))


def shared(
    conn: Connection,
    columns: Sequence[sa.ColumnElement[Any]],
    where: Sequence[Condition],
    *,
    descending: bool,
    begin: Sequence[Key],
    steps: int,
) -> tuple[Any, ...] | None:
    """The first value along an index, if more than so many of its rows have it.

    Args:
        columns: What the value is of.
        where: What the index holds together.
        begin: Values before this one are over; none are when it is empty.
    """
    found, row = sa.select(*columns).where(*where), sa.tuple_(*columns)
    if begin:
        found = found.where(row <= sa.tuple_(*begin) if descending else row >= sa.tuple_(*begin))
    found = found.order_by(*(column.desc() if descending else column for column in columns)).limit(1)
    first, last = (conn.execute(found.offset(place)).first() for place in (0, steps))
    return None if first is None or first != last else tuple(first)


def shared_texts(conn: Connection, field: Field) -> tuple[sa.ColumnElement[str], list[Condition]] | None:
    """The texts of a param or tag and what holds them together in an index; None when some are too long for it."""
    table = TEXTS[field.entity]
    mine = table.c.key == field.key
    if table is param and conn.dialect.name == "sqlite":  # where its index has all of them
        return table.c.value, [mine]
    # all are counted: looking for the first one, Postgres takes a walk through the table for the shorter way
    if conn.execute(sa.select(sa.func.count()).where(mine, _length(table) > _LIMIT)).scalar():
        return None
    return table.c.value, [mine, _length(table) <= _LIMIT]


def _length(table: sa.Table) -> sa.ColumnElement[int]:
    """How long a text is, to be compared with `INDEXED_TEXT` as indexes do."""
    return sa.literal_column(f"length({table.name}.value)", sa.Integer)


def _indexed_text(table: sa.Table, asked: Compare) -> sa.Select[int] | None:
    values = asked.value if isinstance(asked.value, tuple) else (asked.value,)
    if asked.op not in ("=", "IN") or any(len(str(value)) > INDEXED_TEXT for value in values):
        return None
    mine = table.c.key == asked.field.key
    return sa.select(table.c.run).where(mine, table.c.value.in_(values), _length(table) <= _LIMIT)
