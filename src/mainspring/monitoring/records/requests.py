"""Requests, counted by stretches of wall time."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from mainspring.core.caller import caller
from mainspring.core.clock import HOUR_US
from mainspring.monitoring.rules.requests import ServiceCounts
from mainspring.storage import bare
from mainspring.storage.schema import Id, Json, Micros, metadata
from mainspring.storage.values import json_text

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

_OF = "from service_window where project = ? and deployment = ?"
_STORED = f"select version, start, counts {_OF} and start >= ? and start <= ?"
_LIST = f"select start, counts {_OF} and start >= ? order by start, version"
_LIST_OF_ONE = f"select start, counts {_OF} and start >= ? and version = ? order by start"
_LAST = f"select max(start) {_OF}"
_FORGET = f"delete {_OF} and start < ?"
_PUT = (
    "insert into service_window (project, deployment, version, start, requests, counts) values (?, ?, ?, ?, ?, ?) "
    "on conflict (project, deployment, version, start) do update "
    "set requests = excluded.requests, counts = excluded.counts"
)
_read = msgspec.json.Decoder(ServiceCounts, strict=False).decode


def add_service(conn: Connection, deployment: str, counted: Mapping[tuple[int, int], ServiceCounts]) -> None:
    """Add requests to their windows, by version and start."""
    if not counted:
        return
    keys, starts = (caller().project, deployment), [start for _, start in counted]
    stored = bare.rows(conn, _STORED, (*keys, min(starts), max(starts)))
    before = {(version, start): _counts(found) for version, start, found in stored}
    rows = []
    for (version, start), more in counted.items():
        counts = before[version, start].merge(more) if (version, start) in before else more
        plain = json_text(msgspec.to_builtins(counts, str_keys=True))
        rows.append((*keys, version, start, counts.requests, plain))
    bare.run_all(conn, _PUT, rows)


def list_service(
    conn: Connection, deployment: str, *, version: int = 0, since: int = 0
) -> list[tuple[int, ServiceCounts]]:
    """The windows that begin at `since` or later, in order; 0 = those of every version, one after the other."""
    keys = caller().project, deployment, since
    rows = bare.rows(conn, _LIST_OF_ONE, (*keys, version)) if version else bare.rows(conn, _LIST, keys)
    return [(start, _counts(counts)) for start, counts in rows]


def hourly_requests(conn: Connection, deployment: str, *, since: int) -> dict[int, int]:
    """Requests of all versions by the hour, by its start; hours without any are not there."""
    c = service_window.c
    hour = c.start - c.start % HOUR_US
    query = sa.select(hour.label("hour"), sa.func.sum(c.requests).label("requests"))
    query = query.where(c.project == caller().project, c.deployment == deployment, c.start >= since)
    return {int(row.hour): int(row.requests) for row in conn.execute(query.group_by(hour))}


def last_service(conn: Connection, deployment: str) -> int:
    """The start of the newest window of any version, 0 before the first request."""
    return int(bare.rows(conn, _LAST, (caller().project, deployment))[0][0] or 0)


def forget_service(conn: Connection, deployment: str, before: int) -> None:
    """Let go of windows from before a time."""
    bare.run(conn, _FORGET, (caller().project, deployment, before))


def _counts(stored: object) -> ServiceCounts:
    """From JSON: text as SQLite has it, values as Postgres gives them."""
    return _read(stored) if isinstance(stored, str) else msgspec.convert(stored, ServiceCounts, strict=False)
