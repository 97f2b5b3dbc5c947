"""The event log on SQL tables."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from mainspring.core.caller import caller
from mainspring.core.clock import Clock, SystemClock
from mainspring.core.events import Event, Fact
from mainspring.storage.commits import after_commit
from mainspring.storage.ports import Tables
from mainspring.storage.prepared import Prepared
from mainspring.storage.sql import sa, schema
from mainspring.storage.upsert import insert_into

POLL_S = 0.2
"""How often `wait` looks for events of other processes."""
_LOCK = 0x6D61696E_6576656E  # "maineven": held on Postgres from the first append of a transaction to its commit
_HERE = "mainspring.storage.statements"
_TAKE_TURN = Prepared(f"{_HERE}:take_turn", _LOCK)
_NEWEST = Prepared(f"{_HERE}:newest")
_ADD = Prepared(f"{_HERE}:add_event")


class SqlJournal:
    """The journal port on `Tables`; see `ports.Journal`.

    Args:
        tables: Where the log is.
        clock: Stamps the events.
    """

    def __init__(self, tables: Tables, clock: Clock | None = None) -> None:
        self._tables = tables
        self._clock = clock or SystemClock()
        self._news = threading.Condition()
        self._commits = 0

    def append(self, conn: sa.Connection, *facts: Fact) -> int:
        """See `ports.Journal.append`."""
        self._take_turn(conn)
        last = int(_NEWEST.rows(conn, {})[0][0]) if len(facts) != 1 else 0
        if not facts:
            return last
        rows = self._rows(facts)
        after_commit(conn, self._tell)
        if len(rows) == 1:
            return int(_ADD.rows(conn, rows[0])[0][0])
        conn.execute(schema.event.insert(), [{**row, "seq": seq} for seq, row in enumerate(rows, last + 1)])
        return last + len(facts)

    def add(self, conn: sa.Connection, *facts: Fact) -> None:
        """See `ports.Journal.add`."""
        if not facts:
            return
        self._take_turn(conn)
        for row in self._rows(facts):
            _ADD.run(conn, row)
        after_commit(conn, self._tell)

    def _take_turn(self, conn: sa.Connection) -> None:
        if self._tables.dialect == "postgresql":
            _TAKE_TURN.run(conn, {})

    def _rows(self, facts: Sequence[Fact]) -> list[dict[str, object]]:
        at, who = self._clock.now(), caller()
        return [
            {
                "at": at,
                "actor": who.actor,
                "project": who.project,
                "kind": fact.kind,
                "subject": fact.subject,
                "payload": fact.payload(),
                "request_id": who.request_id,
            }
            for fact in facts
        ]

    def read(
        self, after: int = 0, *, limit: int = 500, kinds: Sequence[str] = (), subject: str = "", project: str = ""
    ) -> list[Event]:
        """See `ports.Journal.read`."""
        query = schema.event.select().where(schema.event.c.seq > after).order_by(schema.event.c.seq).limit(limit)
        if kinds:
            query = query.where(schema.event.c.kind.in_(kinds))
        if subject:
            query = query.where(_under(subject))
        if project:
            query = query.where(schema.event.c.project == project)
        with self._tables.read() as conn:
            return [_event(row) for row in conn.execute(query)]

    def last(self) -> int:
        """See `ports.Journal.last`."""
        with self._tables.read() as conn:
            return int(_NEWEST.rows(conn, {})[0][0])

    def offset(self, consumer: str) -> int:
        """See `ports.Journal.offset`."""
        query = sa.select(schema.consumer_offset.c.seq).where(schema.consumer_offset.c.consumer == consumer)
        with self._tables.read() as conn:
            return int(conn.execute(query).scalar() or 0)

    def advance(self, conn: sa.Connection, consumer: str, seq: int) -> bool:
        """See `ports.Journal.advance`."""
        insert = insert_into(conn, schema.consumer_offset).values(consumer=consumer, seq=seq, at=self._clock.now())
        moved = insert.on_conflict_do_update(
            index_elements=["consumer"],
            set_={"seq": insert.excluded.seq, "at": insert.excluded.at},
            where=schema.consumer_offset.c.seq < insert.excluded.seq,
        )
        return conn.execute(moved).rowcount == 1

    def wait(self, after: int, timeout_s: float) -> bool:
        """See `ports.Journal.wait`."""
        deadline = time.monotonic() + timeout_s
        while True:
            seen = self._commits
            if self.last() > after:
                return True
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            with self._news:
                self._news.wait_for(lambda seen=seen: self._commits != seen, min(left, POLL_S))  # type: ignore[misc]

    def _tell(self) -> None:
        with self._news:
            self._commits += 1
            self._news.notify_all()


def _under(subject: str) -> sa.ColumnElement[bool]:
    """The subject itself or below it; "0" is the character after "/", and the column sorts by bytes."""
    return sa.or_(
        schema.event.c.subject == subject,
        sa.and_(schema.event.c.subject > f"{subject}/", schema.event.c.subject < f"{subject}0"),
    )


def _event(row: sa.Row[tuple[object, ...]]) -> Event:
    return Event(**row._mapping)  # the columns carry the names of the fields
