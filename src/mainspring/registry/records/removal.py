"""What is left of versions that were deleted long ago: number and times, for the history; nothing that names blobs."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Connection

from mainspring.core.values import dataclass
from mainspring.registry.records.tables import model, model_tag, model_version, model_version_tag

_EMPTY: dict[str, object] = {
    "digest": "",
    "manifest": "",
    "seal": "",
    "signature": None,
    "example": {},
    "environment": {},
    "metrics": {},
    "description": "",
    "size_bytes": 0,
}


@dataclass(frozen=True, slots=True)
class Doomed:
    """A version that was deleted long ago and still has its package."""

    serial: int
    project: str
    model: str
    number: int


def versions(conn: Connection, before: int, limit: int) -> list[Doomed]:
    """Versions that were deleted before a time and still have their package."""
    c = model_version.c
    found = sa.select(c.serial, c.project, model.c.name, c.number).join(model, model.c.serial == c.model)
    found = found.where(c.deleted_at < before, c.manifest != "").order_by(c.serial).limit(limit)
    return [Doomed(*row) for row in conn.execute(found)]


def count(conn: Connection, before: int) -> int:
    """How many those are."""
    gone = model_version.c.deleted_at < before, model_version.c.manifest != ""
    return int(conn.execute(sa.select(sa.func.count()).where(*gone)).scalar_one())


def empty(conn: Connection, doomed: Doomed, before: int) -> bool:
    """Take the package from a version. False when another turn was quicker."""
    c = model_version.c
    gone = c.serial == doomed.serial, c.deleted_at < before, c.manifest != ""
    return conn.execute(model_version.update().where(*gone).values(_EMPTY)).rowcount == 1


def drop_tags(conn: Connection, before: int) -> None:
    """Delete the tags of everything that was deleted before a time."""
    for table, owner, column in (
        (model_version_tag, model_version, model_version_tag.c.version),
        (model_tag, model, model_tag.c.model),
    ):
        gone = sa.select(owner.c.serial).where(owner.c.deleted_at < before)
        conn.execute(table.delete().where(column.in_(gone)))
