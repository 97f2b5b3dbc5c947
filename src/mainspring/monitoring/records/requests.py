"""Requests, counted by stretches of wall time."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from mainspring.core.caller import caller
from mainspring.core.clock import HOUR_US
from mainspring.monitoring.rules.requests import ServiceCounts
from mainspring.storage.schema import Id, Json, Micros, metadata
from mainspring.storage.upsert import insert_into

service_window = sa.Table(
    "service_window",
    metadata,
    sa.Column("project", Id, primary_key=True),
    sa.Column("deployment", Id, primary_key=True),
    sa.Column("version", Micros, primary_key=True, autoincrement=False),
    sa.Column("start", Micros, primary_key=True, autoincrement=False),
    sa.Column("requests", Micros, nullable=False),
    sa.Column("counts", Json, nullable=False),
    sa.Index("ix_service_window_start", "project", "deployment", "start"),
    sqlite_strict=True,
)
"""Requests per version and five minutes of wall time."""


def add_service(conn: Connection, deployment: str, counted: Mapping[tuple[int, int], ServiceCounts]) -> None:
    """Add requests to their windows, by version and start."""
    if not counted:
        return
    before = _stored(conn, deployment, [start for _, start in counted])
    rows = []
    for (version, start), more in counted.items():
        counts = before[version, start].merge(more) if (version, start) in before else more
        keys = {"project": caller().project, "deployment": deployment, "version": version, "start": start}
        rows.append({**keys, "requests": counts.requests, "counts": msgspec.to_builtins(counts, str_keys=True)})
    insert = insert_into(conn, service_window)
    changed = {name: insert.excluded[name] for name in ("requests", "counts")}
    conn.execute(insert.on_conflict_do_update(index_elements=list(service_window.primary_key), set_=changed), rows)


def _stored(conn: Connection, deployment: str, starts: Collection[int]) -> dict[tuple[int, int], ServiceCounts]:
    """The windows from the first to the last of these starts, by version and start."""
    c = service_window.c
    query = sa.select(c.version, c.start, c.counts).where(c.project == caller().project, c.deployment == deployment)
    found = conn.execute(query.where(c.start >= min(starts), c.start <= max(starts)))
    return {(row.version, row.start): _counts(row.counts) for row in found}


def list_service(
    conn: Connection, deployment: str, *, version: int = 0, since: int = 0
) -> list[tuple[int, ServiceCounts]]:
    """The windows that begin at `since` or later, in order; 0 = those of every version, one after the other."""
    c = service_window.c
    where = [c.project == caller().project, c.deployment == deployment, c.start >= since]
    where += [c.version == version] if version else []
    query = sa.select(c.start, c.counts).where(*where).order_by(c.start, c.version)
    return [(row.start, _counts(row.counts)) for row in conn.execute(query)]


def hourly_requests(conn: Connection, deployment: str, *, since: int) -> dict[int, int]:
    """Requests of all versions by the hour, by its start; hours without any are not there."""
    c = service_window.c
    hour = c.start - c.start % HOUR_US
    query = sa.select(hour.label("hour"), sa.func.sum(c.requests).label("requests"))
    query = query.where(c.project == caller().project, c.deployment == deployment, c.start >= since)
    return {int(row.hour): int(row.requests) for row in conn.execute(query.group_by(hour))}


def last_service(conn: Connection, deployment: str) -> int:
    """The start of the newest window of any version, 0 before the first request."""
    c = service_window.c
    query = sa.select(sa.func.max(c.start)).where(c.project == caller().project, c.deployment == deployment)
    return int(conn.execute(query).scalar() or 0)


def forget_service(conn: Connection, deployment: str, before: int) -> None:
    """Let go of windows from before a time."""
    c = service_window.c
    conn.execute(
        sa.delete(service_window).where(c.project == caller().project, c.deployment == deployment, c.start < before)
    )


def _counts(plain: object) -> ServiceCounts:
    return msgspec.convert(plain, ServiceCounts, strict=False)
