"""Silences: what nobody is told of for a while."""

from __future__ import annotations

from dataclasses import fields

import sqlalchemy as sa
from sqlalchemy import Connection

from mainspring.core.caller import caller
from mainspring.monitoring.model import Silence
from mainspring.storage.schema import Id, Micros, metadata

silence = sa.Table(
    "silence",
    metadata,
    sa.Column("project", Id, primary_key=True),
    sa.Column("id", Id, primary_key=True),
    sa.Column("deployment", Id, nullable=False),
    sa.Column("cause", Id, nullable=False),
    sa.Column("column", sa.Text, nullable=False),
    sa.Column("until", Micros, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("created_at", Micros, nullable=False),
    sa.Column("created_by", sa.Text, nullable=False),
    sa.Column("ended_at", Micros, nullable=False),
    sa.Column("ended_by", sa.Text, nullable=False),
    sqlite_strict=True,
)
"""Alarms that fall under one of these are kept, and nobody is told; "" = of every deployment, cause or column."""


def add(conn: Connection, made: Silence) -> None:
    """Store a silence."""
    conn.execute(sa.insert(silence).values(project=caller().project, **{name: getattr(made, name) for name in _FIELDS}))


def end(conn: Connection, silence_id: str, *, at: int, by: str) -> None:
    """End a silence before its time."""
    conn.execute(sa.update(silence).where(*_is(silence_id)).values(ended_at=at, ended_by=by))


def find(conn: Connection, silence_id: str) -> Silence | None:
    """One silence by its id, or by 8 or more characters that only its id begins or ends with."""
    c = silence.c
    if len(silence_id) < 8:
        return None
    same = sa.or_(c.id.startswith(silence_id, autoescape=True), c.id.endswith(silence_id, autoescape=True))
    rows = conn.execute(sa.select(silence).where(c.project == caller().project, same).limit(2)).all()
    return _silence(rows[0]) if len(rows) == 1 else None


def list_silences(conn: Connection, *, holding_at: int | None = None, limit: int = 500) -> list[Silence]:
    """Silences, newest first; with a time only those that hold then."""
    c = silence.c
    query = sa.select(silence).where(c.project == caller().project)
    if holding_at is not None:
        query = query.where(c.ended_at == 0, c.until > holding_at)
    return [_silence(row) for row in conn.execute(query.order_by(c.id.desc()).limit(limit))]


_FIELDS = tuple(entry.name for entry in fields(Silence))


def _is(silence_id: str) -> tuple[sa.ColumnElement[bool], ...]:
    return silence.c.project == caller().project, silence.c.id == silence_id


def _silence(row: sa.Row[tuple[object, ...]]) -> Silence:
    return Silence(**{name: row._mapping[name] for name in _FIELDS})
