"""Files that runs and models keep, by their paths below the project's artifact root."""

from __future__ import annotations

from dataclasses import asdict

import sqlalchemy as sa
from sqlalchemy import Connection

from mainspring.storage.upsert import insert_into
from mainspring.tracking.model import Artifact
from mainspring.tracking.records.tables import artifact


def put(conn: Connection, project: str, made: Artifact) -> None:
    """Insert or replace a file."""
    row = asdict(made)
    added = insert_into(conn, artifact).values(project=project, **row)
    conn.execute(added.on_conflict_do_update(index_elements=["project", "path"], set_=row))


def below(conn: Connection, project: str, folder: str) -> list[Artifact]:
    """Files below a folder (which ends with a slash), by path, with the paths as they are seen from there."""
    found = sa.select(artifact.c.path, artifact.c.digest, artifact.c.size_bytes, artifact.c.at)
    found = found.where(artifact.c.project == project, artifact.c.path > folder, artifact.c.path < folder[:-1] + "0")
    rows = conn.execute(found.order_by(artifact.c.path))
    return [Artifact(row.path[len(folder) :], row.digest, row.size_bytes, row.at) for row in rows]
