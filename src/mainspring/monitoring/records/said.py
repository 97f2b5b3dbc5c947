"""What people said of predictions, other than labels, counted by the day."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, fields

import sqlalchemy as sa
from sqlalchemy import Connection

from mainspring.core.caller import caller
from mainspring.monitoring.rules.feedback import Said
from mainspring.storage.schema import Id, Micros, Real, metadata
from mainspring.storage.upsert import insert_into

feedback_window = sa.Table(
    "feedback_window",
    metadata,
    sa.Column("project", Id, primary_key=True),
    sa.Column("deployment", Id, primary_key=True),
    sa.Column("kind", Id, primary_key=True),
    sa.Column("start", Micros, primary_key=True, autoincrement=False),
    sa.Column("rows", Micros, nullable=False),
    sa.Column("numbers", Micros, nullable=False),
    sa.Column("total", Real, nullable=False),
    sa.Column("squares", Real, nullable=False),
    sqlite_strict=True,
)
"""What people said of predictions, other than labels, per kind and day at which it became known."""


def add_said(conn: Connection, deployment: str, said: Iterable[Said]) -> None:
    """Add feedback to its days."""
    for one in said:
        values = {"project": caller().project, "deployment": deployment, **asdict(one)}
        insert = insert_into(conn, feedback_window).values(values)
        c = feedback_window.c
        sums = {name: c[name] + insert.excluded[name] for name in ("rows", "numbers", "total", "squares")}
        keys = ["project", "deployment", "kind", "start"]
        conn.execute(insert.on_conflict_do_update(index_elements=keys, set_=sums))


def list_said(conn: Connection, deployment: str, *, since: int = 0) -> list[Said]:
    """Feedback other than labels by kind and day, in order."""
    c = feedback_window.c
    query = sa.select(*(c[field.name] for field in fields(Said))).where(
        c.project == caller().project, c.deployment == deployment, c.start >= since
    )
    return [Said(*row) for row in conn.execute(query.order_by(c.kind, c.start))]
