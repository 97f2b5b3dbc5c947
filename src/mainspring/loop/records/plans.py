"""The tables of plans: what was applied, and who is applying."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy import Connection

from mainspring.core.caller import caller
from mainspring.loop.planning.model import Applied, Object
from mainspring.storage.schema import Id, Json, Micros, metadata
from mainspring.storage.upsert import insert_into

declaration = sa.Table(
    "declaration",
    metadata,
    sa.Column("project", Id, primary_key=True),
    sa.Column("kind", Id, primary_key=True),
    sa.Column("name", Id, primary_key=True),
    sa.Column("spec", Json, nullable=False),
    sa.Column("by", Id, nullable=False),
    sa.Column("at", Micros, nullable=False),
    sqlite_strict=True,
)
plan_state = sa.Table(
    "plan_state",
    metadata,
    sa.Column("project", Id, primary_key=True),
    sa.Column("serial", Micros, nullable=False),
    sa.Column("holder", Id, nullable=False),
    sa.Column("held_by", Id, nullable=False),
    sa.Column("held_at", Micros, nullable=False),
    sa.Column("held_until", Micros, nullable=False),
    sqlite_strict=True,
)
"""How often something was applied in a project, and who has the right to apply until when."""

_d, _s = declaration.c, plan_state.c


def serial_of(conn: Connection) -> int:
    """How many objects were changed by applies; 0 when nothing was ever applied."""
    return conn.execute(sa.select(_s.serial).where(_s.project == caller().project)).scalar_one_or_none() or 0


def list_applied(conn: Connection) -> list[Applied]:
    """What was applied, by kind and name."""
    query = sa.select(declaration).where(_d.project == caller().project).order_by(_d.kind, _d.name)
    return [Applied(Object(row.kind, row.name, row.spec), row.by, row.at) for row in conn.execute(query)]


def put_applied(conn: Connection, new: Applied) -> None:
    """Note that an object was applied."""
    values = {"spec": dict(new.object.spec), "by": new.by, "at": new.at}
    keys = {"project": caller().project, "kind": new.object.kind, "name": new.object.name}
    insert = insert_into(conn, declaration).values(**keys, **values)
    conn.execute(insert.on_conflict_do_update(index_elements=list(keys), set_=values))


def drop_applied(conn: Connection, gone: Object) -> None:
    """Note that an object lives no more."""
    where = _d.project == caller().project, _d.kind == gone.kind, _d.name == gone.name
    conn.execute(declaration.delete().where(*where))


def take_hold(conn: Connection, holder: str, *, serial: int, now: int, until: int) -> bool:
    """Take the right to apply. False when another has it, or the state is not that of `serial`."""
    fresh = {"serial": 0, "holder": "", "held_by": "", "held_at": 0, "held_until": 0}
    insert = insert_into(conn, plan_state).values(project=caller().project, **fresh)
    conn.execute(insert.on_conflict_do_nothing(index_elements=["project"]))
    free = sa.or_(_s.holder == "", _s.held_until < now)
    where = _s.project == caller().project, _s.serial == serial, free
    values = {"holder": holder, "held_by": caller().actor, "held_at": now, "held_until": until}
    return conn.execute(plan_state.update().where(*where).values(**values)).rowcount == 1


def keep_hold(conn: Connection, holder: str, *, until: int, steps: int) -> bool:
    """Keep the right to apply, in the transaction of what is applied. False when it was lost."""
    where = _s.project == caller().project, _s.holder == holder
    values = {"held_until": until, "serial": _s.serial + steps}
    return conn.execute(plan_state.update().where(*where).values(**values)).rowcount == 1


def end_hold(conn: Connection, holder: str) -> None:
    """Give the right to apply back."""
    where = _s.project == caller().project, _s.holder == holder
    conn.execute(plan_state.update().where(*where).values(holder="", held_until=0))


def holder_of(conn: Connection, now: int) -> tuple[str, int] | None:
    """Who is applying, and since when."""
    where = _s.project == caller().project, _s.holder != "", _s.held_until >= now
    row = conn.execute(sa.select(_s.held_by, _s.held_at).where(*where)).one_or_none()
    return None if row is None else (row.held_by, row.held_at)


def sections(found: Sequence[Applied], kind: str) -> dict[str, object]:
    """The applied objects of a kind as a table of `mainspring.toml`."""
    return {each.object.name: dict(each.object.spec) for each in found if each.object.kind == kind}
