"""Points of metrics, and the texts of runs (params and tags)."""

from __future__ import annotations

import math
import struct
import sys
from array import array
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import chain
from typing import Any, NamedTuple, TypeAlias

import sqlalchemy as sa
from sqlalchemy import Connection

from mainspring.storage import arrays, bare
from mainspring.storage.upsert import insert_into
from mainspring.tracking.model import Metric, Packed
from mainspring.tracking.records.tables import metric, metric_key, metric_latest, run
from mainspring.tracking.rules import Row, joined

_COLUMNS, _CODES = "(run, key, step, at, sort, value)", "qqqqqd"
_MOVE = (
    "ON CONFLICT (run, key) DO UPDATE SET step = excluded.step, at = excluded.at, sort = excluded.sort,"
    " value = excluded.value WHERE (excluded.step, excluded.at, excluded.sort, excluded.value)"
    " > (metric_latest.step, metric_latest.at, metric_latest.sort, metric_latest.value)"
)
_SQLITE_LATE = (
    "INSERT OR IGNORE INTO metric_column_late (run, turn) SELECT ?, turn FROM metric_column_state WHERE announced > ?"
)
"""Notes that a run which stands in columns of values has other values now; see `columns`."""
# Written out: a statement that is built for each batch costs more than the batch. OR IGNORE because for many rows at
# once SQLite takes twice as long over ON CONFLICT DO NOTHING; nothing else in a row of six numbers could be ignored.
_SQLITE = (
    f"INSERT OR IGNORE INTO metric {_COLUMNS} VALUES %s",
    f"INSERT INTO metric_latest {_COLUMNS} VALUES %s {_MOVE}",
)
_ROWS_AT_ONCE = (100, 10, 1)
"""How many rows the statements for SQLite take. One of a hundred rows gives the interpreter's lock away once, not a
hundred times, so the thread that reads requests and the one that writes do not wait for each other at every row."""
_PIECE = 500
"""How many rows are packed at a time."""
_ODD = {
    "postgresql": {1: "'Infinity'::float8", -1: "'-Infinity'::float8", -2: "'NaN'::float8"},
    "sqlite": {1: "9e999", -1: "-9e999"},
}
"""What is no finite number, by the sort of it: see `rules.split`."""
_UNNESTED = "SELECT * FROM unnest(?::bigint[], ?::bigint[], ?::bigint[], ?::bigint[], ?::bigint[], ?::float8[])"
_POSTGRES = (
    f"WITH stored AS (INSERT INTO metric {_COLUMNS} {_UNNESTED} ON CONFLICT DO NOTHING),"
    " late AS (INSERT INTO metric_column_late (run, turn) SELECT run, turn FROM unnest(?::bigint[]) AS given (run)"
    " JOIN metric_column_state ON announced > run ON CONFLICT DO NOTHING)"
    f" INSERT INTO metric_latest {_COLUMNS} {_UNNESTED} {_MOVE}"
)
"""All at once: a turn between here and the server costs as much as either."""
STORED_AT = (
    "WITH active AS (SELECT count(*) FILTER (WHERE (run.experiment, run.project, run.id) = (at.experiment, at.project,"
    " at.id) AND run.deleted_at IS NULL) = ? AS all_of_them"
    " FROM unnest(?::bigint[], ?::bigint[], ?::text[], ?::text[]) AS at (number, experiment, project, id)"
    " JOIN run ON run.number = at.number),"
    f" stored AS (INSERT INTO metric {_COLUMNS} {_UNNESTED} WHERE (SELECT all_of_them FROM active)),"
    " late AS (INSERT INTO metric_column_late (run, turn) SELECT run, turn FROM unnest(?::bigint[]) AS given (run)"
    " JOIN metric_column_state ON announced > run"
    " WHERE (SELECT all_of_them FROM active) ON CONFLICT DO NOTHING),"
    f" moved AS (INSERT INTO metric_latest {_COLUMNS} {_UNNESTED}"
    f" WHERE (SELECT all_of_them FROM active) {_MOVE})"
    " SELECT all_of_them FROM active"
)
"""As `_POSTGRES`, if all of the runs are where they are said to be and none was deleted. A point that is there already
is an error: ON CONFLICT looks for each before it writes it, a quarter of what all of this costs the database. Runs are
joined by their numbers alone, so that it is planned once for few and for many of them."""


_Stored: TypeAlias = "tuple[int, int, int, int, int, float]"
"""A row of `_COLUMNS`."""


class Place(NamedTuple):
    """Where a run is: the numbers of it and of its experiment, its project and id."""

    number: int
    experiment: int
    project: str
    run_id: str


class Ready(NamedTuple):
    """Points of a run as Postgres receives them: the columns packed, and the latest row of each metric."""

    place: Place
    columns: tuple[bytes, ...]
    latest: tuple[_Stored, ...]


def ready(place: Place, rows: Sequence[Row], keys: Mapping[str, int]) -> Ready:
    """Pack points, at least one, while they wait for their turn; `keys` are the numbers of their names."""
    names, steps, times, sorts, values = zip(*rows, strict=True)
    numbers, count = [keys[name] for name in names], len(rows)
    columns = (
        arrays.same(place.number, count),
        arrays.piece(numbers, "q"),
        arrays.piece(steps, "q"),
        arrays.same(times[0], count) if times.count(times[0]) == count else arrays.piece(times, "q"),
        arrays.piece(sorts, "q") if any(sorts) else arrays.same(0, count),
        arrays.piece(values, "d"),
    )
    last: dict[str, Row] = {}
    for row in rows:
        known = last.get(row[0])
        if known is None or row > known:
            last[row[0]] = row
    return Ready(place, columns, tuple((place.number, keys[name], *row[1:]) for name, row in last.items()))


def key_numbers(conn: Connection, owner: int, names: Iterable[str]) -> dict[str, int]:
    """The numbers that metric names are interned as in the experiment `owner`, adding those that are new."""
    wanted = sorted(set(names))
    found = _keys(conn, owner, wanted)
    new = [name for name in wanted if name not in found]
    if new:
        rows = [{"experiment": owner, "name": name} for name in new]
        conn.execute(insert_into(conn, metric_key).on_conflict_do_nothing(), rows)
        found |= _keys(conn, owner, new)
    return found


def add_points(conn: Connection, batches: Iterable[tuple[int, Iterable[Row], Mapping[str, int]]]) -> None:
    """Insert points, and make each the latest of its metric unless a later one is there.

    Points that are there already stay as they are.

    Args:
        conn: The connection.
        batches: Of each the number of its run, its points, and the numbers of their names.
    """
    rows, runs, moved = _sorted(batches)
    if conn.dialect.name == "postgresql":
        bare.run(conn, _POSTGRES, [*_arrays(rows), arrays.whole(runs), *_arrays(moved)])
    else:
        for number in runs:
            bare.run(conn, _SQLITE_LATE, (number, number))
        for statement, several in zip(_SQLITE, (rows, moved), strict=True):
            _insert(conn, statement, several)


def add_points_at(conn: Connection, batches: Sequence[Ready]) -> bool:
    """As `add_points`, by one statement of Postgres, and only if every run is still where it was and not deleted.

    Returns: Whether they were stored; else nothing was.
    Raises:
        sqlalchemy.exc.IntegrityError: A point is there already, and nothing was stored.
    """
    places = sorted({one.place for one in batches})
    numbers, owners, projects, ids = (list(column) for column in zip(*places, strict=True))
    known = (len(places), arrays.whole(numbers), arrays.whole(owners), projects, ids)
    joint = map(arrays.joined, zip(*(one.columns for one in batches), strict=True), _CODES)
    given = (*known, *joint, arrays.whole(numbers), *_arrays(_moved(batches)))
    return bool(bare.rows(conn, STORED_AT, given)[0][0])


def _moved(batches: Iterable[Ready]) -> list[_Stored]:
    """The latest row of each metric, in one order: no two wait for each other."""
    last: dict[tuple[int, int], _Stored] = {}
    for row in chain.from_iterable(one.latest for one in batches):
        known = last.get(row[:2])
        if known is None or row > known:
            last[row[:2]] = row
    return [last[metric] for metric in sorted(last)]


def _sorted(
    batches: Iterable[tuple[int, Iterable[Row], Mapping[str, int]]],
) -> tuple[list[_Stored], list[int], list[_Stored]]:
    """The rows of batches, the runs they are of, and the latest rows of each metric."""
    rows: list[_Stored] = []
    last: dict[int, dict[int, _Stored]] = {}
    for number, points, keys in batches:
        some = [(number, keys[name], step, at, sort, value) for name, step, at, sort, value in points]
        mine = last.setdefault(number, {})
        for row in some:
            known = mine.get(row[1])
            if known is None or row > known:
                mine[row[1]] = row
        rows += some
    runs = sorted(last)
    moved = [last[run][key] for run in runs for key in sorted(last[run])]  # in one order: no two wait for each other
    return rows, runs, moved


def packed(conn: Connection, number: int, key: str) -> Packed:
    """Every point of a metric in the order of step, time and value."""
    mine = sa.and_(metric.c.run == number, metric.c.key == _key_of(number, key))
    found = sa.select(metric.c.step, metric.c.at, _whole(conn.dialect.name)).where(mine)
    found = found.order_by(metric.c.step, metric.c.at, metric.c.sort, metric.c.value)
    columns = _sent_packed(conn, found) if conn.dialect.name == "postgresql" else _packed_here(conn, found)
    return Packed(key, *columns)


def _whole(dialect: str) -> sa.ColumnElement[float]:
    """As `rules.joined`; SQLite has no NaN, and gives null."""
    words = _ODD[dialect].items()
    odd: dict[int, sa.ColumnElement[float]] = {sort: sa.literal_column(word, sa.Double) for sort, word in words}
    return sa.case({0: metric.c.value, **odd}, value=metric.c.sort).label("value")


def _sent_packed(conn: Connection, found: sa.Select[Any]) -> list[bytes]:
    """By Postgres: three texts of bytes take a tenth of the driver's time for as many rows of numbers."""
    rows = found.subquery().c
    columns = sa.func.int8send(rows.step), sa.func.int8send(rows.at), sa.func.float8send(rows.value)
    joint = (sa.func.string_agg(column, sa.literal_column("''::bytea"), type_=sa.LargeBinary) for column in columns)
    return [_turned(bytes(column or b"")) for column in conn.execute(sa.select(*joint)).one()]


def _turned(column: bytes) -> bytes:
    """Numbers of 8 bytes from the order of the network to that of this machine."""
    found = array("q", column)
    if sys.byteorder == "little":
        found.byteswap()
    return found.tobytes()


def _packed_here(conn: Connection, found: sa.Select[Any]) -> list[bytes]:
    """By this process, while the rows come: numbers that live long cost their collection."""
    columns: tuple[list[bytes], ...] = [], [], []
    with conn.execute(found) as result:
        assert result.cursor is not None, "a SELECT has rows"
        while rows := result.cursor.fetchmany(_PIECE):
            steps, times, values = zip(*rows, strict=True)
            if None in values:
                values = tuple(math.nan if value is None else value for value in values)
            for column, kind, piece in zip(columns, "qqd", (steps, times, values), strict=True):
                column.append(struct.pack(f"{len(piece)}{kind}", *piece))
    return [b"".join(column) for column in columns]


def bare_rows(conn: Connection, found: sa.Select[Any]) -> list[tuple[Any, ...]]:
    """Rows of plain numbers as the driver gives them: a hundred thousand are read in a third of the time."""
    with conn.execute(found) as result:
        assert result.cursor is not None, "a SELECT has rows"
        return list(result.cursor.fetchall())


def latest_of(
    conn: Connection, numbers: Sequence[int], names: frozenset[str] | None = None
) -> dict[int, dict[str, Metric]]:
    """The latest point of each metric of runs, or of those of these names, by run and name."""
    if names is not None and not names:
        return {}
    latest = metric_latest.c
    found = sa.select(latest.run, metric_key.c.name, latest.step, latest.at, latest.sort, latest.value)
    found = found.join(metric_key, metric_key.c.number == latest.key).where(latest.run.in_(numbers))
    if names is not None:
        found = found.where(metric_key.c.name.in_(sorted(names)))
    points: dict[int, dict[str, Metric]] = {}
    for number, name, step, at, sort, value in conn.execute(found.order_by(metric_key.c.name)).all():
        points.setdefault(number, {})[name] = Metric(name, joined(value, sort), step, at)
    return points


def add_texts(conn: Connection, table: sa.Table, number: int, texts: Mapping[str, str], *, replace: bool) -> None:
    """Insert params or tags of what is interned as `number`; `replace` decides about those that are there."""
    owner = table.c[0].name
    change = "UPDATE SET value = excluded.value" if replace else "NOTHING"
    added = f"INSERT INTO {table.name} ({owner}, key, value) VALUES (?, ?, ?) ON CONFLICT ({owner}, key) DO {change}"
    bare.run_all(conn, added, [(number, key, value) for key, value in sorted(texts.items())])


def delete_text(conn: Connection, table: sa.Table, number: int, key: str) -> bool:
    """Delete a param or tag of what is interned as `number`; False when there is none."""
    gone = sa.delete(table).where(table.c[0] == number, table.c.key == key)
    return conn.execute(gone).rowcount > 0


def texts_of(
    conn: Connection, table: sa.Table, numbers: Sequence[int], names: frozenset[str] | None = None
) -> dict[int, dict[str, str]]:
    """Params or tags, or those of these names, of what is interned as `numbers`."""
    found: dict[int, dict[str, str]] = {number: {} for number in numbers}
    if names is not None and not names:
        return found
    owner = table.c[0]
    wanted = sa.select(owner, table.c.key, table.c.value).where(owner.in_(numbers)).order_by(table.c.key)
    if names is not None:
        wanted = wanted.where(table.c.key.in_(sorted(names)))
    for number, key, value in conn.execute(wanted).all():
        found[number][key] = value
    return found


def _insert(conn: Connection, statement: str, rows: Sequence[_Stored]) -> None:
    start = 0
    for size in _ROWS_AT_ONCE:
        while len(rows) - start >= size:
            several = list(chain.from_iterable(rows[start : start + size]))
            bare.run(conn, statement % _row_marks(size), several)
            start += size


def _arrays(rows: Sequence[_Stored]) -> list[arrays.Array]:
    columns = zip(*rows, strict=True)
    return [arrays.joined([arrays.piece(column, code)], code) for column, code in zip(columns, _CODES, strict=True)]


@cache
def _row_marks(count: int) -> str:
    return ", ".join(["(?, ?, ?, ?, ?, ?)"] * count)


def _keys(conn: Connection, owner: int, names: Sequence[str]) -> dict[str, int]:
    found = sa.select(metric_key.c.name, metric_key.c.number)
    found = found.where(metric_key.c.experiment == owner, metric_key.c.name.in_(names))
    return {row.name: row.number for row in conn.execute(found)}


def _key_of(number: int, name: str) -> sa.ScalarSelect[int]:
    """The number of a metric's name in the experiment of the run `number`."""
    owner = sa.select(run.c.experiment).where(run.c.number == number).scalar_subquery()
    found = sa.select(metric_key.c.number).where(metric_key.c.experiment == owner, metric_key.c.name == name)
    return found.scalar_subquery()
