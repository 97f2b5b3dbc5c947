"""Files that runs and models keep, by their paths below the project's artifact root. Folders end with a slash."""

from __future__ import annotations

from dataclasses import asdict
from typing import cast

import sqlalchemy as sa
from sqlalchemy import Connection

from mainspring.storage.upsert import insert_into
from mainspring.tracking.model import Artifact, Entry
from mainspring.tracking.records.tables import artifact

_SHOWN = [artifact.c[name] for name in ("path", "digest", "size_bytes", "at")]


def put(conn: Connection, project: str, made: Artifact) -> None:
    """Insert or replace a file."""
    row = asdict(made)
    added = insert_into(conn, artifact).values(project=project, **row)
    conn.execute(added.on_conflict_do_update(index_elements=["project", "path"], set_=row))


def in_the_way(conn: Connection, project: str, path: str) -> str | None:
    """A file that a file at `path` can't be beside: one that is a folder of it, or is below it."""
    parts = path.split("/")
    above = ["/".join(parts[:count]) for count in range(1, len(parts))]
    found = sa.select(artifact.c.path).where(artifact.c.project == project)
    found = found.where(sa.or_(artifact.c.path.in_(above), _below(f"{path}/"))).limit(1)
    return cast("str | None", conn.execute(found).scalar())


def find(conn: Connection, project: str, path: str) -> Artifact | None:
    """One file."""
    row = conn.execute(sa.select(*_SHOWN).where(artifact.c.project == project, artifact.c.path == path)).first()
    return None if row is None else Artifact(*row)


def keeps(conn: Connection, project: str, digest: str, size_bytes: int) -> bool:
    """Whether a file of the project has this content."""
    found = sa.select(artifact.c.path).where(artifact.c.digest == digest, artifact.c.project == project)
    return conn.execute(found.where(artifact.c.size_bytes == size_bytes).limit(1)).first() is not None


def below(conn: Connection, project: str, folder: str, *, after: str = "", limit: int | None = None) -> list[Artifact]:
    """Files below a folder, by path, with the paths as they are seen from there."""
    found = sa.select(*_SHOWN).where(artifact.c.project == project, _below(folder)).order_by(artifact.c.path)
    found = (found.where(artifact.c.path > folder + after) if after else found).limit(limit)
    rows = conn.execute(found)
    return [Artifact(row.path[len(folder) :], row.digest, row.size_bytes, row.at) for row in rows]


def level(conn: Connection, project: str, folder: str) -> list[Entry]:
    """What is in a folder, by name: files, and folders with the bytes of all that is below them."""
    rest = sa.func.substr(artifact.c.path, len(folder) + 1)
    where = sa.func.instr if conn.dialect.name == "sqlite" else sa.func.strpos
    slash = where(rest, "/")
    name = sa.case((slash > 0, sa.func.substr(rest, 1, slash - 1)), else_=rest).label("name")
    nested = sa.func.max(sa.case((slash > 0, 1), else_=0)).label("nested")
    found = sa.select(name, nested, sa.func.sum(artifact.c.size_bytes).label("size_bytes"))
    found = found.where(artifact.c.project == project, _below(folder)).group_by(name)
    return sorted(
        (Entry(row.name, bool(row.nested), int(row.size_bytes)) for row in conn.execute(found)),
        key=lambda entry: entry.name,
    )


def remove(conn: Connection, project: str, path: str) -> tuple[int, int]:
    """Delete a file, or all files below a folder. Returns how many, and their bytes."""
    chosen = sa.and_(artifact.c.project == project, sa.or_(artifact.c.path == path, _below(f"{path}/")))
    sizes = conn.execute(sa.delete(artifact).where(chosen).returning(artifact.c.size_bytes)).scalars().all()
    return len(sizes), sum(sizes)


def _below(folder: str) -> sa.ColumnElement[bool]:
    """Paths that start with a folder; paths are compared byte by byte, and "0" comes right after "/"."""
    if not folder:
        return sa.true()
    return sa.and_(artifact.c.path > folder, artifact.c.path < folder[:-1] + "0")
