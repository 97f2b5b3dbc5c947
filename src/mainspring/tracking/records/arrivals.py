"""What has come here from another tracker."""

from __future__ import annotations

from typing import cast

import sqlalchemy as sa
from sqlalchemy import Connection

from mainspring.storage.upsert import insert_into
from mainspring.tracking.records.tables import arrival


def stamp_of(conn: Connection, project: str, source: str, subject: str) -> str:
    """What a subject looked like when it came whole, "" when it has not."""
    found = sa.select(arrival.c.stamp).where(
        arrival.c.project == project, arrival.c.source == source, arrival.c.subject == subject
    )
    return cast("str | None", conn.execute(found).scalar()) or ""


def note(conn: Connection, project: str, source: str, subject: str, *, stamp: str, at: int) -> None:
    """Note that a subject has come whole."""
    row = {"project": project, "source": source, "subject": subject, "stamp": stamp, "at": at}
    added = insert_into(conn, arrival).values(row)
    index = ["project", "source", "subject"]
    conn.execute(added.on_conflict_do_update(index_elements=index, set_={"stamp": stamp, "at": at}))
