"""Saved views of runs."""

from __future__ import annotations

from dataclasses import asdict

import sqlalchemy as sa
from sqlalchemy import Connection

from mainspring.storage.upsert import insert_into
from mainspring.tracking.model import View
from mainspring.tracking.records.tables import run_view

_SHOWN = [run_view.c[name] for name in View.__dataclass_fields__]


def put(conn: Connection, project: str, view: View) -> None:
    """Insert or replace a view."""
    row = {**asdict(view), "order_by": list(view.order_by), "columns": list(view.columns)}
    added = insert_into(conn, run_view).values(project=project, **row)
    conn.execute(added.on_conflict_do_update(index_elements=["project", "name"], set_=row))


def list_all(conn: Connection, project: str) -> list[View]:
    """Views by name."""
    found = sa.select(*_SHOWN).where(run_view.c.project == project).order_by(run_view.c.name)
    rows = [dict(row._mapping) for row in conn.execute(found)]
    return [View(**{**row, "order_by": tuple(row["order_by"]), "columns": tuple(row["columns"])}) for row in rows]


def remove(conn: Connection, project: str, name: str) -> bool:
    """Delete a view; False when there is none."""
    gone = sa.delete(run_view).where(run_view.c.project == project, run_view.c.name == name)
    return conn.execute(gone).rowcount > 0
