"""The latest values of metrics by columns, so that a search reads those of a million runs at once.

Of each metric the values of 4,096 runs with numbers that follow each other are one value of the database: a block. They
are rounded to 32 bits, which tells where to look and takes half the time to read; rows say what the value is.
Blocks are built behind the writers, in turns that any process may take:

1. A turn announces, up to which number there will be blocks, and gets a number itself. From then on whoever measures
   something for a run below notes it as late, with the number of the turn. On Postgres the lock of one moment has all
   those finish first who could not know yet; a database with one writer needs none.
2. So what is read now are the values of all runs, but for those that are noted with this turn.
3. Blocks are kept, and the notes of earlier turns on their runs forgotten, if no other turn has begun meanwhile.

A search takes the values of runs that are late, or above what is built, from their rows.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

import sqlalchemy as sa
from sqlalchemy import Connection

from mainspring.core.values import dataclass
from mainspring.storage import bare
from mainspring.storage.upsert import insert_into
from mainspring.tracking.records.tables import metric_column, metric_column_late, metric_column_state, run

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

BLOCK = 4096
"""How many numbers of runs a block has; as an offset each is two bytes."""
_VALUES = "SELECT key, run, sort, value FROM metric_latest WHERE run >= ? AND run < ?"
_PATIENCE = "SET LOCAL lock_timeout = '200ms'"
_TAKE = "LOCK TABLE metric_latest IN SHARE MODE"
_BUSY = "55P03"
_state, _late, _column = metric_column_state.c, metric_column_late.c, metric_column.c

Block: TypeAlias = "dict[int, tuple[bytes, bytes]]"
"""By the number of a metric: places of runs in the block (none when all are there), and their values."""


@dataclass(frozen=True, slots=True)
class State:
    """Up to which numbers of runs, exclusively, blocks are announced and built, and in which turn."""

    announced: int = 0
    built: int = 0
    turn: int = 0


def state(conn: Connection) -> State:
    """Where the building of columns is."""
    row = conn.execute(sa.select(_state.announced, _state.built, _state.turn)).first()
    return State(*row) if row else State()


def whole(conn: Connection) -> int:
    """Up to which number there are runs in whole blocks."""
    greatest = conn.execute(sa.select(sa.func.max(run.c.number))).scalar() or 0
    return (greatest + 1) // BLOCK * BLOCK


def late(conn: Connection, below: int, limit: int) -> list[int]:
    """The runs below a number that are late, so many at most."""
    found = sa.select(_late.run).where(_late.run < below).distinct().limit(limit)
    return list(conn.execute(found).scalars())


def gone(conn: Connection, below: int) -> bool:
    """Whether some of the runs in blocks were removed for good."""
    found = sa.select(sa.exists().where(_late.run < below, _is_gone()))
    return bool(conn.execute(found).scalar())


def crowded(conn: Connection, found: State, limit: int) -> list[int]:
    """Of the blocks that are built, those with the most runs that were removed, or late before this turn: so many."""
    block = (_late.run // BLOCK).label("block")
    blocks = sa.select(block).where(_late.turn < found.turn, _late.run < found.built).group_by(block)
    removed = sa.func.count(sa.case((_is_gone(), 1)))
    return list(conn.execute(blocks.order_by(removed.desc(), sa.func.count().desc()).limit(limit)).scalars())


def _is_gone() -> sa.ColumnElement[bool]:
    return sa.not_(sa.exists().where(run.c.number == _late.run).correlate(metric_column_late))


def announce(conn: Connection, before: State, upto: int) -> State | None:
    """Begin a turn, in a short transaction of its own. None when writers take too long, or another turn has begun.

    Args:
        before: The state that was found.
        upto: Up to which number there will be blocks; never less than before.
    """
    if conn.dialect.name == "postgresql" and not _alone(conn):
        return None
    begun = State(max(upto, before.announced), before.built, before.turn + 1)
    if before.turn:
        moved = sa.update(metric_column_state).where(_state.turn == before.turn)
        if conn.execute(moved.values(announced=begun.announced, turn=begun.turn)).rowcount != 1:
            return None
    else:
        first = {"announced": begun.announced, "built": 0, "turn": begun.turn}
        if conn.execute(insert_into(conn, metric_column_state).on_conflict_do_nothing(), [first]).rowcount != 1:
            return None
    again = metric_column_late.alias()
    conn.execute(  # noted in two turns is noted once
        sa.delete(metric_column_late).where(
            sa.exists().where(again.c.run == _late.run, again.c.turn > _late.turn).correlate(metric_column_late)
        )
    )
    return begun


def _alone(conn: Connection) -> bool:
    """Wait until whoever writes has finished. False when that takes long: others wait behind us."""
    try:
        with conn.begin_nested():
            conn.exec_driver_sql(_PATIENCE)
            conn.exec_driver_sql(_TAKE)
    except sa.exc.OperationalError as reason:
        if getattr(reason.orig, "sqlstate", "") != _BUSY:
            raise
        return False
    return True


def read(conn: Connection, block: int) -> Block:
    """A block as the rows of its runs have it."""
    import numpy as np

    kind = np.dtype([("key", "<i8"), ("run", "<i8"), ("sort", "<i8"), ("value", "<f8")])
    rows = np.fromiter(map(tuple, bare.rows(conn, _VALUES, (block * BLOCK, (block + 1) * BLOCK))), kind)
    if not len(rows):
        return {}  # runs that measured nothing
    rows = rows[np.lexsort((rows["run"], rows["key"]))]
    keys, starts = np.unique(rows["key"], return_index=True)
    made: Block = {}
    for key, own in zip(keys.tolist(), np.split(rows, starts[1:]), strict=True):
        places = (own["run"] - block * BLOCK).astype("<u2").tobytes() if len(own) < BLOCK else b""
        made[key] = places, rounded(own["value"], own["sort"]).tobytes()
    return made


def rounded(values: npt.NDArray[np.float64], sorts: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Back from `rules.split`, for many, to 32 bits: none is beyond another that it was not beyond before."""
    import numpy as np

    whole = np.choose(sorts + 2, [np.nan, -np.inf, values, np.inf]) if sorts.any() else values
    with np.errstate(over="ignore"):
        return whole.astype("<f4")


def keep(conn: Connection, found: State, block: int, values: Block) -> State | None:
    """Keep a block that was read after the turn was announced. None when another turn has begun since."""
    first, end = block * BLOCK, (block + 1) * BLOCK
    built = max(found.built, end)
    moved = sa.update(metric_column_state).where(_state.turn == found.turn, _state.built == found.built)
    if conn.execute(moved.values(built=built)).rowcount != 1:
        return None
    conn.execute(sa.delete(metric_column).where(_column.block == block))
    rows = [{"key": key, "block": block, "runs": runs, "numbers": some} for key, (runs, some) in values.items()]
    if rows:
        conn.execute(sa.insert(metric_column), rows)
    over = sa.delete(metric_column_late).where(_late.run >= first, _late.run < end, _late.turn < found.turn)
    conn.execute(over)
    return replace(found, built=built)


def note(conn: Connection, number: int) -> None:
    """Note that a run is late, as it is when it has no values any more."""
    noted = sa.select(sa.literal(number, sa.BigInteger), _state.turn).where(_state.announced > number)
    conn.execute(insert_into(conn, metric_column_late).from_select(["run", "turn"], noted).on_conflict_do_nothing())
