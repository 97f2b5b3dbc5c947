"""The tables of triggers: how each stands, what it did, and which deliveries came."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Connection

from mainspring.core.caller import caller
from mainspring.loop.triggers.model import Fire, Trigger, TriggerState, trigger_of
from mainspring.loop.triggers.rules import Spent, day_before
from mainspring.storage.references import names_no_blob
from mainspring.storage.schema import Id, Json, Micros, metadata
from mainspring.storage.upsert import insert_into

trigger = sa.Table(
    "trigger",
    metadata,
    sa.Column("project", Id, primary_key=True),
    sa.Column("name", Id, primary_key=True),
    sa.Column("watches", Id, nullable=False),
    sa.Column("spec", Json, nullable=False),
    sa.Column("since", Micros, nullable=False),
    sa.Column("mark", Micros, nullable=False),
    sa.Column("created_at", Micros, nullable=False),
    sa.Column("paused_at", Micros, nullable=False),
    sa.Column("paused_by", Id, nullable=False),
    sa.Column("paused_why", sa.Text, nullable=False),
    sqlite_strict=True,
)
trigger_fire = sa.Table(
    "trigger_fire",
    metadata,
    sa.Column("project", Id, primary_key=True),
    sa.Column("trigger", Id, primary_key=True),
    sa.Column("id", Id, primary_key=True),
    sa.Column("key", Id, nullable=False, info=names_no_blob("which occurrence it was about")),
    sa.Column("cause", sa.Text, nullable=False),
    sa.Column("outcome", Id, nullable=False),
    sa.Column("code", Id, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("at", Micros, nullable=False),
    sa.Column("started", Id, nullable=False),
    sa.Column("times", Micros, nullable=False),
    sa.Index("ix_trigger_fire_key", "project", "trigger", "key"),
    sqlite_strict=True,
)
"""What triggers did. Of occurrences in a row that came to nothing for one cause there is one row, about the last."""

hook_delivery = sa.Table(
    "hook_delivery",
    metadata,
    sa.Column("project", Id, primary_key=True),
    sa.Column("trigger", Id, primary_key=True),
    sa.Column("key", Id, primary_key=True, info=names_no_blob("which delivery it was")),
    sa.Column("at", Micros, nullable=False),
    sa.Column("seq", Micros, nullable=False),
    sqlite_strict=True,
)
"""Deliveries that were taken, so that none is taken again."""

_t, _f, _d = trigger.c, trigger_fire.c, hook_delivery.c
_FIRE = [_f[name] for name in Fire.__slots__]


def put_trigger(conn: Connection, new: Trigger, *, since: int, mark: int, at: int) -> None:
    """Store a trigger. One that is there keeps its pause; it starts watching anew when it watches something else."""
    values = {"spec": new.to_json(), "watches": new.on}
    fresh = {"since": since, "mark": mark}
    before = find_trigger(conn, new.name)
    insert = insert_into(conn, trigger).values(
        project=caller().project,
        name=new.name,
        **values,
        **fresh,
        created_at=at,
        paused_at=0,
        paused_by="",
        paused_why="",
    )
    moved = values | (fresh if before is not None and _watches(before.trigger) != _watches(new) else {})
    conn.execute(insert.on_conflict_do_update(index_elements=["project", "name"], set_=moved))


def _watches(of: Trigger) -> tuple[object, ...]:
    return of.on, of.cron, of.zone, of.deployment, of.dataset, of.model, of.alias, of.experiment


def drop_trigger(conn: Connection, name: str) -> bool:
    """Forget a trigger; what it did stays. False when there is none."""
    found = conn.execute(trigger.delete().where(_t.project == caller().project, _t.name == name))
    return found.rowcount > 0


def find_trigger(conn: Connection, name: str, *, lock: bool = False) -> TriggerState | None:
    """One trigger; with `lock` nobody else changes it until the transaction ends."""
    query = sa.select(trigger).where(_t.project == caller().project, _t.name == name)
    row = conn.execute(query.with_for_update() if lock else query).one_or_none()
    return None if row is None else _state(row)


def list_triggers(conn: Connection, *, watches: str = "") -> list[TriggerState]:
    """Triggers of the project by name."""
    query = sa.select(trigger).where(_t.project == caller().project).order_by(_t.name)
    return [_state(row) for row in conn.execute(query.where(_t.watches == watches) if watches else query)]


def projects(conn: Connection, watches: str) -> list[str]:
    """Projects that have triggers which watch this."""
    query = sa.select(_t.project).distinct().where(_t.watches == watches).order_by(_t.project)
    return list(conn.execute(query).scalars())


def _state(row: sa.Row[tuple[object, ...]]) -> TriggerState:
    made = trigger_of(row.name, row.spec)
    return TriggerState(made, row.since, row.mark, row.created_at, row.paused_at, row.paused_by, row.paused_why)


def move_mark(conn: Connection, name: str, before: int, after: int) -> bool:
    """Note that a trigger dealt with what came up to `after`. False when somebody else did meanwhile."""
    where = _t.project == caller().project, _t.name == name, _t.mark == before
    return conn.execute(trigger.update().where(*where).values(mark=after)).rowcount == 1


def pause_trigger(conn: Connection, name: str, *, at: int, by: str, why: str) -> None:
    """Pause a trigger, or with `at` 0 resume it."""
    where = _t.project == caller().project, _t.name == name
    conn.execute(trigger.update().where(*where).values(paused_at=at, paused_by=by, paused_why=why))


def add_fire(conn: Connection, new: Fire) -> None:
    """Store what a trigger did. What comes to nothing once more, for the same cause, is counted with the last one."""
    last = next(iter(list_fires(conn, new.trigger, limit=1)), None)
    values = {name: getattr(new, name) for name in Fire.__slots__}
    if last is not None and new.outcome == "not_fired" and (last.outcome, last.code) == (new.outcome, new.code):
        values |= {"times": last.times + new.times}
        where = _f.project == caller().project, _f.trigger == new.trigger, _f.id == last.id
        conn.execute(trigger_fire.update().where(*where).values(values))
        return
    conn.execute(trigger_fire.insert().values(project=caller().project, **values))


def find_fire(conn: Connection, name: str, key: str) -> Fire | None:
    """What a trigger did about an occurrence."""
    where = _f.project == caller().project, _f.trigger == name, _f.key == key
    row = conn.execute(sa.select(*_FIRE).where(*where).order_by(_f.id.desc()).limit(1)).one_or_none()
    return None if row is None else Fire(**row._mapping)


def list_fires(conn: Connection, name: str, *, before: str = "", limit: int = 100) -> list[Fire]:
    """What a trigger did, newest first."""
    query = sa.select(*_FIRE).where(_f.project == caller().project, _f.trigger == name)
    query = query.where(_f.id < before) if before else query
    return [Fire(**row._mapping) for row in conn.execute(query.order_by(_f.id.desc()).limit(limit))]


def last_fires(conn: Connection) -> dict[str, Fire]:
    """The newest of every trigger of the project, by its name."""
    newest = (
        sa.select(_f.trigger, sa.func.max(_f.id).label("id"))
        .where(_f.project == caller().project)
        .group_by(_f.trigger)
        .subquery()
    )
    query = sa.select(*_FIRE).join(newest, sa.and_(_f.trigger == newest.c.trigger, _f.id == newest.c.id))
    return {row.trigger: Fire(**row._mapping) for row in conn.execute(query.where(_f.project == caller().project))}


def spent(conn: Connection, name: str, now: int) -> tuple[Spent, list[str]]:
    """What a trigger did in the last 24 hours, and the references of what it started; what that took is not known."""
    where = _f.project == caller().project, _f.trigger == name, _f.outcome.in_(("fired", "dry_run"))
    last = conn.execute(sa.select(sa.func.max(_f.at)).where(*where)).scalar_one() or 0
    rows = conn.execute(sa.select(_f.started).where(*where, _f.at > day_before(now))).scalars().all()
    return Spent(last, len(rows)), [ref for ref in rows if ref]


def add_delivery(conn: Connection, name: str, key: str, *, at: int) -> bool:
    """Note a delivery. False when it came before."""
    insert = insert_into(conn, hook_delivery).values(project=caller().project, trigger=name, key=key, at=at, seq=0)
    return conn.execute(insert.on_conflict_do_nothing(index_elements=["project", "trigger", "key"])).rowcount == 1


def deliveries_since(conn: Connection, name: str, at: int) -> int:
    """How many deliveries came after a time."""
    where = _d.project == caller().project, _d.trigger == name, _d.at > at
    return conn.execute(sa.select(sa.func.count()).where(*where)).scalar_one()


def number_delivery(conn: Connection, name: str, key: str, seq: int) -> None:
    """Note which event tells of a delivery."""
    where = _d.project == caller().project, _d.trigger == name, _d.key == key
    conn.execute(hook_delivery.update().where(*where).values(seq=seq))


def delivery_seq(conn: Connection, name: str, key: str) -> int:
    """Which event tells of a delivery; 0 when none does."""
    where = _d.project == caller().project, _d.trigger == name, _d.key == key
    return conn.execute(sa.select(_d.seq).where(*where)).scalar_one_or_none() or 0


def drop_deliveries(conn: Connection, before: int, *, dry_run: bool = False) -> int:
    """Forget deliveries of any project that were taken before a time, and say how many.

    Those of GitHub stay: their signature has no time, so nothing else keeps one that somebody recorded from being sent
    again. A standard one is refused by its time then, and who recorded one of GitLab has the token itself.
    """
    rows = conn.execute(sa.select(_t.project, _t.name, _t.spec).where(_t.watches == "webhook"))
    guarded = [(row.project, row.name) for row in rows if row.spec.get("format") == "github"]
    kept = [sa.and_(_d.project == project, _d.trigger == name) for project, name in guarded]
    old = sa.and_(_d.at < before, *(sa.not_(each) for each in kept))
    if dry_run:
        return conn.execute(sa.select(sa.func.count()).select_from(hook_delivery).where(old)).scalar_one()
    return conn.execute(hook_delivery.delete().where(old)).rowcount
