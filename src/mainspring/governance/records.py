"""The table of model cards. The content lies in the blobs under its digest; a row says which version it is about."""

from __future__ import annotations

import sqlalchemy as sa

from mainspring.core.values import dataclass
from mainspring.storage.references import names_blob
from mainspring.storage.schema import Id, Micros, metadata
from mainspring.storage.upsert import insert_into

card = sa.Table(
    "card",
    metadata,
    sa.Column("project", Id, primary_key=True),
    sa.Column("model", Id, primary_key=True),
    sa.Column("version", Micros, primary_key=True, autoincrement=False),
    sa.Column("revision", Micros, primary_key=True, autoincrement=False),
    sa.Column("digest", Id, nullable=False, info=names_blob()),
    sa.Column("created_at", Micros, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sqlite_strict=True,
)
"""Revisions of cards, from 1 for each version."""


@dataclass(frozen=True, slots=True)
class Row:
    """A revision, without its content."""

    model: str
    version: int
    revision: int
    digest: str
    created_at: int
    actor: str


_COLUMNS = (card.c.model, card.c.version, card.c.revision, card.c.digest, card.c.created_at, card.c.actor)


def add(conn: sa.Connection, project: str, row: Row) -> bool:
    """Store a revision; False when that number is taken."""
    values = {
        "project": project,
        "model": row.model,
        "version": row.version,
        "revision": row.revision,
        "digest": row.digest,
        "created_at": row.created_at,
        "actor": row.actor,
    }
    keys = ["project", "model", "version", "revision"]
    insert = insert_into(conn, card).values(values).on_conflict_do_nothing(index_elements=keys)
    return conn.execute(insert).rowcount == 1


def newest(conn: sa.Connection, project: str, model: str, version: int | None = None) -> Row | None:
    """The newest revision of the card of a version; without a version, of the newest version that has one."""
    query = sa.select(*_COLUMNS).where(card.c.project == project, card.c.model == model)
    query = query if version is None else query.where(card.c.version == version)
    found = conn.execute(query.order_by(card.c.version.desc(), card.c.revision.desc()).limit(1)).first()
    return None if found is None else Row(*found)


def revisions(conn: sa.Connection, project: str, model: str, version: int, *, limit: int = 100) -> list[Row]:
    """Revisions of the card of a version, newest first."""
    where = card.c.project == project, card.c.model == model, card.c.version == version
    query = sa.select(*_COLUMNS).where(*where).order_by(card.c.revision.desc()).limit(limit)
    return [Row(*found) for found in conn.execute(query)]
