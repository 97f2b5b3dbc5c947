"""The loop's tables: cycles and switches here, triggers and what was declared beside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import sqlalchemy as sa
from sqlalchemy import Connection

from mainspring.core.caller import caller
from mainspring.loop.model import OPEN_STATES, Cycle, Switch
from mainspring.loop.records import plans as plans
from mainspring.loop.records import triggers as triggers
from mainspring.storage.schema import Flag, Id, Micros, metadata
from mainspring.storage.upsert import insert_into

cycle = sa.Table(
    "cycle",
    metadata,
    sa.Column("project", Id, nullable=False),
    sa.Column("id", Id, primary_key=True),
    sa.Column("policy", Id, nullable=False),
    sa.Column("deployment", Id, nullable=False),
    sa.Column("model", Id, nullable=False),
    sa.Column("state", Id, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("trigger_seq", Micros, nullable=False),
    sa.Column("as_of", Micros, nullable=False),
    sa.Column("started_at", Micros, nullable=False),
    sa.Column("ended_at", Micros),
    sa.Column("pipeline_run", Id, nullable=False),
    sa.Column("version", Micros),
    sa.Column("verdict", Id, nullable=False),
    sa.Column("rollout", Id, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Index("ix_cycle_project_deployment_started_at", "project", "deployment", "started_at"),
    sqlite_strict=True,
)
_one_open = cycle.c.state.in_(OPEN_STATES)
sa.Index(
    "uq_cycle_open",
    cycle.c.project,
    cycle.c.deployment,
    unique=True,
    sqlite_where=_one_open,
    postgresql_where=_one_open,
)

policy_switch = sa.Table(
    "policy_switch",
    metadata,
    sa.Column("project", Id, primary_key=True),
    sa.Column("policy", Id, primary_key=True),
    sa.Column("enabled", Flag, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("at", Micros, nullable=False),
    sa.Column("by", Id, nullable=False),
    sqlite_strict=True,
)

_NAMES = [entry.name for entry in fields(Cycle)]
_COLUMNS = [cycle.c[name] for name in _NAMES]


def add_cycle(conn: Connection, new: Cycle) -> None:
    """Store a new cycle."""
    values = {name: getattr(new, name) for name in _NAMES}
    conn.execute(cycle.insert().values(project=caller().project, **values))


def change_cycle(conn: Connection, cycle_id: str, **values: object) -> None:
    """Change columns of a cycle."""
    conn.execute(cycle.update().where(cycle.c.id == cycle_id).values(**values))


def find_cycle(conn: Connection, cycle_id: str) -> Cycle | None:
    """The cycle with this id."""
    row = conn.execute(sa.select(*_COLUMNS).where(cycle.c.id == cycle_id)).one_or_none()
    return None if row is None else Cycle(**row._mapping)


def find_cycles(conn: Connection, *, deployment: str = "", states: Sequence[str] = (), limit: int = 100) -> list[Cycle]:
    """Cycles of the project, newest first."""
    query = sa.select(*_COLUMNS).where(cycle.c.project == caller().project)
    if deployment:
        query = query.where(cycle.c.deployment == deployment)
    if states:
        query = query.where(cycle.c.state.in_(states))
    rows = conn.execute(query.order_by(cycle.c.started_at.desc(), cycle.c.id.desc()).limit(limit))
    return [Cycle(**row._mapping) for row in rows]


def put_switch(conn: Connection, switch: Switch) -> None:
    """Store how a policy is switched."""
    values = {"enabled": switch.enabled, "reason": switch.reason, "at": switch.at, "by": switch.by}
    insert = insert_into(conn, policy_switch).values(project=caller().project, policy=switch.policy, **values)
    conn.execute(insert.on_conflict_do_update(index_elements=["project", "policy"], set_=values))


def find_switches(conn: Connection) -> list[Switch]:
    """Every switch of the project that was ever touched."""
    columns = [policy_switch.c[name] for name in ("policy", "enabled", "reason", "at", "by")]
    rows = conn.execute(sa.select(*columns).where(policy_switch.c.project == caller().project))
    return [Switch(**row._mapping) for row in rows]
