"""The queries of the access room: checkpoints, and the event log newest first."""

from __future__ import annotations

from dataclasses import asdict

import sqlalchemy as sa

from mainspring.access.model import Checkpoint
from mainspring.core.events import Event
from mainspring.storage.schema import event, seal
from mainspring.storage.upsert import insert_into


def last_checkpoint(conn: sa.Connection) -> Checkpoint | None:
    """The newest checkpoint, None when nothing is sealed."""
    row = conn.execute(seal.select().order_by(seal.c.number.desc()).limit(1)).first()
    return _checkpoint(row) if row else None


def checkpoints(conn: sa.Connection, *, after: int, limit: int) -> list[Checkpoint]:
    """Checkpoints with a number above `after`, oldest first."""
    query = seal.select().where(seal.c.number > after).order_by(seal.c.number).limit(limit)
    return [_checkpoint(row) for row in conn.execute(query)]


def add_checkpoint(conn: sa.Connection, checkpoint: Checkpoint) -> bool:
    """Store a checkpoint. False when another process stored one with its number first."""
    insert = insert_into(conn, seal).values(**asdict(checkpoint)).on_conflict_do_nothing(index_elements=["number"])
    return conn.execute(insert).rowcount == 1


def newest_events(
    conn: sa.Connection, *, project: str, before: int, limit: int, kind: str, subject: str
) -> list[Event]:
    """Events of a project below number `before` (0: from the end), newest first.

    Args:
        kind: A kind, or the start of one that ends in a dot, such as "registry."; empty = all.
        subject: A subject and what lies under it; empty = all.
    """
    query = event.select().where(event.c.project == project).order_by(event.c.seq.desc()).limit(limit)
    if before:
        query = query.where(event.c.seq < before)
    if kind.endswith("."):
        query = query.where(event.c.kind > kind, event.c.kind < kind[:-1] + "/")  # "/" follows "." in byte order
    elif kind:
        query = query.where(event.c.kind == kind)
    if subject:
        below = sa.and_(event.c.subject > f"{subject}/", event.c.subject < f"{subject}0")  # "0" follows "/"
        query = query.where(sa.or_(event.c.subject == subject, below))
    return [Event(**row._mapping) for row in conn.execute(query)]


def _checkpoint(row: sa.Row[tuple[object, ...]]) -> Checkpoint:
    return Checkpoint(**row._mapping)  # the columns carry the names of the fields
