"""What the workers of the model server used of the machine, by stretches of wall time."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy import Connection

from mainspring.core.caller import caller
from mainspring.monitoring.rules.usage import UsageWindow
from mainspring.storage.schema import Id, Micros, Real, metadata
from mainspring.storage.upsert import insert_into

usage_window = sa.Table(
    "usage_window",
    metadata,
    sa.Column("project", Id, primary_key=True),
    sa.Column("start", Micros, primary_key=True, autoincrement=False),
    sa.Column("worker", Id, primary_key=True),
    sa.Column("pid", Micros, nullable=False),
    sa.Column("seconds", Real, nullable=False),
    sa.Column("cores", Real, nullable=False),
    sa.Column("memory_mb", Real, nullable=False),
    sa.Column("models", Id, nullable=False),
    sqlite_strict=True,
)
"""Cores and memory per worker of the model server and five minutes of wall time."""


def add_usage(conn: Connection, windows: Iterable[UsageWindow]) -> None:
    """Keep windows; those that are there stay as they are."""
    rows = [{"project": caller().project, **{name: getattr(one, name) for name in _FIELDS}} for one in windows]
    if rows:
        conn.execute(insert_into(conn, usage_window).on_conflict_do_nothing(), rows)


def list_usage(conn: Connection, *, since: int = 0) -> list[UsageWindow]:
    """The windows that begin at `since` or later, in order of time, then of workers."""
    c = usage_window.c
    query = sa.select(*(c[name] for name in _FIELDS)).where(c.project == caller().project, c.start >= since)
    return [UsageWindow(*row) for row in conn.execute(query.order_by(c.start, c.worker))]


def last_usage(conn: Connection) -> int:
    """The start of the newest window of any worker, 0 before the first."""
    query = sa.select(sa.func.max(usage_window.c.start)).where(usage_window.c.project == caller().project)
    return int(conn.execute(query).scalar() or 0)


def forget_usage(conn: Connection, before: int) -> None:
    """Let go of windows from before a time."""
    c = usage_window.c
    conn.execute(sa.delete(usage_window).where(c.project == caller().project, c.start < before))


_FIELDS = ("start", "worker", "pid", "seconds", "cores", "memory_mb", "models")
