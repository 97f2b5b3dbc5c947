"""The tables of serving and the statements over them. Every statement is of the caller's project, unless it says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from mainspring.core.caller import caller
from mainspring.serving.model import (
    OPEN_STATES,
    Bandit,
    Deployment,
    Feedback,
    Replay,
    Review,
    Rollout,
    StoredFeedback,
    Traffic,
    TrafficChange,
)
from mainspring.serving.modelserver.plan import Options
from mainspring.storage.references import names_no_blob
from mainspring.storage.schema import Id, Json, Micros, Real, metadata
from mainspring.storage.upsert import insert_into

deployment = sa.Table(
    "deployment",
    metadata,
    sa.Column("project", Id, primary_key=True),
    sa.Column("name", Id, primary_key=True),
    sa.Column("endpoint", Id, nullable=False, unique=True),
    sa.Column("model", Id, nullable=False),
    sa.Column("traffic", Json, nullable=False),
    sa.Column("options", Json, nullable=False),
    sa.Column("created_at", Micros, nullable=False),
    sa.Column("updated_at", Micros, nullable=False),
    sqlite_strict=True,
)
"""What each endpoint serves now. `endpoint` is its name at the model server, one for all projects."""

traffic_change = sa.Table(
    "traffic_change",
    metadata,
    sa.Column("seq", Micros, sa.Identity(), primary_key=True),
    sa.Column("project", Id, nullable=False),
    sa.Column("deployment", Id, nullable=False),
    sa.Column("at", Micros, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("traffic", Json, nullable=False),
    sa.Column("redact", Json, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Index("ix_traffic_change_project_deployment_seq", "project", "deployment", "seq"),
    sqlite_strict=True,
)
"""Every traffic an endpoint ever had, and which inputs were not logged then."""

rollout = sa.Table(
    "rollout",
    metadata,
    sa.Column("project", Id, primary_key=True),
    sa.Column("id", Id, primary_key=True),
    sa.Column("deployment", Id, nullable=False),
    sa.Column("champion", Micros, nullable=False),
    sa.Column("version", Micros, nullable=False),
    sa.Column("share", Real, nullable=False),
    sa.Column("step", Micros, nullable=False),
    sa.Column("spec", Json, nullable=False),
    sa.Column("state", Id, nullable=False),
    sa.Column("started_at", Micros, nullable=False),
    sa.Column("ended_at", Micros, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("decision", Json, nullable=False),
    sa.Column("standing", Json, nullable=False),
    sa.Index("ix_rollout_project_deployment_id", "project", "deployment", "id"),
    sqlite_strict=True,
)

_open = rollout.c.state.in_(OPEN_STATES)
sa.Index(
    "uq_rollout_open",
    rollout.c.project,
    rollout.c.deployment,
    unique=True,
    sqlite_where=_open,
    postgresql_where=_open,
)

bandit = sa.Table(
    "bandit",
    metadata,
    sa.Column("project", Id, primary_key=True),
    sa.Column("id", Id, primary_key=True),
    sa.Column("deployment", Id, nullable=False),
    sa.Column("versions", Json, nullable=False),
    sa.Column("spec", Json, nullable=False),
    sa.Column("state", Id, nullable=False),
    sa.Column("started_at", Micros, nullable=False),
    sa.Column("ended_at", Micros, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("arms", Json, nullable=False),
    sa.Column("learned_at", Micros, nullable=False),
    sa.Index("ix_bandit_project_deployment_id", "project", "deployment", "id"),
    sqlite_strict=True,
)
"""Versions whose shares follow their rewards. `arms` is for looking at: what counts is in the log and the feedback."""

_running = bandit.c.state == "running"
sa.Index(
    "uq_bandit_running",
    bandit.c.project,
    bandit.c.deployment,
    unique=True,
    sqlite_where=_running,
    postgresql_where=_running,
)

feedback = sa.Table(
    "feedback",
    metadata,
    sa.Column("project", Id, primary_key=True),
    sa.Column("deployment", Id, primary_key=True),
    sa.Column("prediction_id", Id, primary_key=True),
    sa.Column("kind", Id, primary_key=True),
    sa.Column("seq", Micros, nullable=False),
    sa.Column("number", Real),
    sa.Column("text", sa.Text),
    sa.Column("at", Micros, nullable=False),
    sa.Column("stored_at", Micros, nullable=False),
    sa.Index("ix_feedback_seq", "project", "deployment", "seq", unique=True),
    sqlite_strict=True,
)
"""What is known of a prediction later: a number or a text, numbered in the order of commits for each deployment."""

review = sa.Table(
    "review",
    metadata,
    sa.Column("project", Id, primary_key=True),
    sa.Column("id", Id, primary_key=True),
    sa.Column("deployment", Id, nullable=False),
    sa.Column("prediction_id", Id, nullable=False),
    sa.Column("version", Micros, nullable=False),
    sa.Column("marks", Json, nullable=False),
    sa.Column("answer", Json, nullable=False),
    sa.Column("asked_at", Micros, nullable=False),
    sa.Column("state", Id, nullable=False),
    sa.Column("decision", Json, nullable=False),
    sa.Column("decided_by", sa.Text, nullable=False),
    sa.Column("decided_at", Micros, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.UniqueConstraint("project", "deployment", "prediction_id"),
    sa.Index("ix_review_project_state_id", "project", "state", "id"),
    sqlite_strict=True,
)
"""Predictions that wait for a person, and what was decided. Inputs stay in the log."""

replay = sa.Table(
    "replay",
    metadata,
    sa.Column("project", Id, primary_key=True),
    sa.Column("id", Id, primary_key=True),
    sa.Column("deployment", Id, nullable=False),
    sa.Column("version", Micros, nullable=False),
    sa.Column("since", Micros),
    sa.Column("until", Micros),
    sa.Column("state", Id, nullable=False),
    sa.Column("rows", Micros, nullable=False),
    sa.Column("done", Micros, nullable=False),
    sa.Column("started_at", Micros, nullable=False),
    sa.Column("beat_at", Micros, nullable=False),
    sa.Column("ended_at", Micros, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False, info=names_no_blob("the report beside it")),
    sa.Column("report", Json, nullable=False),
    sa.Index("ix_replay_project_deployment_id", "project", "deployment", "id"),
    sqlite_strict=True,
)
"""Logged traffic that a version was asked again, and what came of it."""

_CHUNK = 400


def put_deployment(conn: Connection, made: Deployment, *, reason: str) -> None:
    """Store what an endpoint serves from now on, and add it to the history."""
    who = caller()
    traffic = msgspec.to_builtins(made.traffic)
    row = {
        "project": who.project,
        "name": made.name,
        "endpoint": made.endpoint,
        "model": made.model,
        "traffic": traffic,
        "options": msgspec.to_builtins(made.options),
    }
    insert = insert_into(conn, deployment).values(**row, created_at=made.created_at, updated_at=made.updated_at)
    changed = {name: insert.excluded[name] for name in ("model", "traffic", "options", "updated_at")}
    conn.execute(insert.on_conflict_do_update(index_elements=["project", "name"], set_=changed))
    entry = {"project": who.project, "deployment": made.name, "at": made.updated_at, "actor": who.actor}
    redact = list(made.options.redact)
    conn.execute(sa.insert(traffic_change).values(**entry, traffic=traffic, redact=redact, reason=reason))


def find_deployment(conn: Connection, name: str, *, lock: bool = False) -> Deployment | None:
    """One endpoint; with `lock` nobody else changes it before the transaction ends."""
    where = deployment.c.project == caller().project, deployment.c.name == name
    query = sa.select(deployment).where(*where)
    row = conn.execute(query.with_for_update() if lock else query).first()
    return None if row is None else _deployment(row)


def last_change(conn: Connection) -> int:
    """The number of the newest change of traffic of any project; 0 before the first."""
    return cast(int, conn.execute(sa.select(sa.func.coalesce(sa.func.max(traffic_change.c.seq), 0))).scalar_one())


def list_deployments(conn: Connection) -> list[Deployment]:
    """All endpoints of the project by name."""
    query = sa.select(deployment).where(deployment.c.project == caller().project).order_by(deployment.c.name)
    return [_deployment(row) for row in conn.execute(query)]


def projects(conn: Connection) -> list[str]:
    """Projects that have a deployment, sorted."""
    return list(conn.execute(sa.select(deployment.c.project).distinct().order_by(deployment.c.project)).scalars())


def find_endpoint(conn: Connection, endpoint: str) -> tuple[str, str] | None:
    """Project and name of the deployment that is called so at the model server. Of all projects."""
    c = deployment.c
    row = conn.execute(sa.select(c.project, c.name).where(c.endpoint == endpoint)).first()
    return None if row is None else (row.project, row.name)


def free_endpoint(conn: Connection, name: str) -> str:
    """What a new deployment of that name is called at the model server."""
    taken = conn.execute(sa.select(deployment.c.endpoint).where(deployment.c.endpoint == name)).first()
    return name if taken is None else f"{caller().project}.{name}"


def every_endpoint(conn: Connection) -> list[tuple[str, Deployment]]:
    """Deployments of all projects, each with its project. For the plan of the model server."""
    rows = conn.execute(sa.select(deployment).order_by(deployment.c.endpoint))
    return [(row.project, _deployment(row)) for row in rows]


def history(conn: Connection, name: str, *, until: int | None = None, limit: int = 100) -> list[TrafficChange]:
    """What an endpoint served, newest first, not later than `until`."""
    c = traffic_change.c
    query = sa.select(traffic_change).where(c.project == caller().project, c.deployment == name)
    query = query if until is None else query.where(c.at <= until)
    return [
        TrafficChange(row.seq, row.deployment, row.at, row.actor, msgspec.convert(row.traffic, Traffic), row.reason)
        for row in conn.execute(query.order_by(c.seq.desc()).limit(limit))
    ]


def traffic_at(conn: Connection, name: str, at: int) -> TrafficChange | None:
    """What an endpoint served at a time, with its end; None before its first change."""
    found = history(conn, name, until=at, limit=1)
    c = traffic_change.c
    query = sa.select(sa.func.min(c.at)).where(c.project == caller().project, c.deployment == name, c.at > at)
    return replace(found[0], until=conn.execute(query).scalar_one() or 0) if found else None


def redacted(conn: Connection, name: str, since: int, until: int) -> set[str]:
    """Inputs of an endpoint that were not logged at some moment between two times (wall clock)."""
    c = traffic_change.c
    mine = c.project == caller().project, c.deployment == name
    first = sa.select(sa.func.max(c.at)).where(*mine, c.at <= since).scalar_subquery()
    query = sa.select(c.redact).where(*mine, c.at >= sa.func.coalesce(first, 0), c.at <= until)
    return {column for row in conn.execute(query).scalars() for column in cast("list[str]", row)}


def last_changed_at(conn: Connection, name: str) -> int:
    """When an endpoint's traffic last changed; -1 before the first time. Call it with the deployment locked."""
    c = traffic_change.c
    query = sa.select(sa.func.coalesce(sa.func.max(c.at), -1)).where(
        c.project == caller().project, c.deployment == name
    )
    return cast(int, conn.execute(query).scalar_one())


def add_rollout(conn: Connection, made: Rollout) -> None:
    """Store a new rollout."""
    conn.execute(sa.insert(rollout).values(project=caller().project, **msgspec.to_builtins(made)))


def change_rollout(conn: Connection, rollout_id: str, **values: object) -> None:
    """Change a rollout."""
    where = rollout.c.project == caller().project, rollout.c.id == rollout_id
    conn.execute(sa.update(rollout).where(*where).values(msgspec.to_builtins(values)))


def find_rollout(conn: Connection, rollout_id: str, *, lock: bool = False) -> Rollout | None:
    """One rollout."""
    query = sa.select(rollout).where(rollout.c.project == caller().project, rollout.c.id == rollout_id)
    row = conn.execute(query.with_for_update() if lock else query).first()
    return None if row is None else _rollout(row)


def list_rollouts(conn: Connection, name: str, *, open_only: bool = False, limit: int = 100) -> list[Rollout]:
    """Rollouts of an endpoint ("" = of all), newest first."""
    query = sa.select(rollout).where(rollout.c.project == caller().project)
    query = query.where(rollout.c.deployment == name) if name else query
    query = query.where(_open) if open_only else query
    return [_rollout(row) for row in conn.execute(query.order_by(rollout.c.id.desc()).limit(limit))]


def add_bandit(conn: Connection, made: Bandit) -> None:
    """Store a new bandit."""
    conn.execute(sa.insert(bandit).values(project=caller().project, **msgspec.to_builtins(made)))


def change_bandit(conn: Connection, bandit_id: str, **values: object) -> None:
    """Change a bandit."""
    where = bandit.c.project == caller().project, bandit.c.id == bandit_id
    conn.execute(sa.update(bandit).where(*where).values(msgspec.to_builtins(values)))


def list_bandits(
    conn: Connection, *, deployment: str = "", bandit_id: str = "", open_only: bool = False, limit: int = 100
) -> list[Bandit]:
    """Bandits, newest first; an empty text asks for all."""
    query = sa.select(bandit).where(bandit.c.project == caller().project)
    query = query.where(bandit.c.deployment == deployment) if deployment else query
    query = query.where(bandit.c.id == bandit_id) if bandit_id else query
    query = query.where(_running) if open_only else query
    rows = conn.execute(query.order_by(bandit.c.id.desc()).limit(limit))
    return [_bandit(row) for row in rows]


def _bandit(row: sa.Row[*tuple[object, ...]]) -> Bandit:
    values = {str(name): value for name, value in row._mapping.items() if name != "project"}
    return msgspec.convert(values, Bandit, strict=False)


def known_feedback(conn: Connection, name: str, items: Sequence[Feedback]) -> dict[tuple[str, str], float | str]:
    """Which of these are stored already, with their values. Call it under `lock_feedback`."""
    found: dict[tuple[str, str], float | str] = {}
    ids = sorted({item.prediction_id for item in items})
    c = feedback.c
    for start in range(0, len(ids), _CHUNK):
        part = c.prediction_id.in_(ids[start : start + _CHUNK])
        query = sa.select(c.prediction_id, c.kind, c.number, c.text)
        for row in conn.execute(query.where(c.project == caller().project, c.deployment == name, part)):
            found[row.prediction_id, row.kind] = _value(row)
    return found


def lock_feedback(conn: Connection, name: str) -> int:
    """Take the right to number feedback of an endpoint until the transaction ends. Returns the last number given."""
    if conn.dialect.name == "postgresql":
        project = caller().project
        conn.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext(f"feedback/{project}/{name}"))))
    return last_feedback(conn, name)


def last_feedback(conn: Connection, name: str) -> int:
    """The last number given to feedback of an endpoint, 0 for none."""
    c = feedback.c
    query = sa.select(sa.func.coalesce(sa.func.max(c.seq), 0))
    query = query.where(c.project == caller().project, c.deployment == name)
    return cast(int, conn.execute(query).scalar_one())


def add_feedback(conn: Connection, name: str, items: Sequence[StoredFeedback]) -> None:
    """Store feedback that is new."""
    project = caller().project
    rows = [
        {
            "project": project,
            "deployment": name,
            "prediction_id": item.prediction_id,
            "kind": item.kind,
            "seq": item.seq,
            "number": None if isinstance(item.value, str) else float(item.value),
            "text": item.value if isinstance(item.value, str) else None,
            "at": item.at,
            "stored_at": item.stored_at,
        }
        for item in items
    ]
    if rows:
        conn.execute(sa.insert(feedback), rows)


def list_feedback(
    conn: Connection, name: str, after: int, limit: int, *, kind: str = "", stored_since: int = 0
) -> list[StoredFeedback]:
    """Feedback of an endpoint in the order of arrival, above the number `after`."""
    c = feedback.c
    query = sa.select(c.seq, c.prediction_id, c.kind, c.number, c.text, c.at, c.stored_at).where(
        c.project == caller().project, c.deployment == name, c.seq > after
    )
    query = query.where(c.kind == kind) if kind else query
    query = query.where(c.stored_at >= stored_since) if stored_since else query
    return [
        StoredFeedback(seq, prediction_id, said, text if number is None else number, at, stored_at)
        for seq, prediction_id, said, number, text, at, stored_at in conn.execute(query.order_by(c.seq).limit(limit))
    ]


def feedback_of(conn: Connection, name: str, prediction_id: str) -> list[StoredFeedback]:
    """Everything that is known of one prediction."""
    c = feedback.c
    where = c.project == caller().project, c.deployment == name, c.prediction_id == prediction_id
    return [
        StoredFeedback(row.seq, row.prediction_id, row.kind, _value(row), row.at, row.stored_at)
        for row in conn.execute(sa.select(feedback).where(*where).order_by(c.seq))
    ]


def add_reviews(conn: Connection, items: Sequence[Review]) -> None:
    """Put predictions before people; those that are there already stay as they are."""
    project = caller().project
    rows = [
        {"project": project, **msgspec.to_builtins(item), "answer": {"value": item.answer}, "decision": {}}
        for item in items
    ]
    for start in range(0, len(rows), _CHUNK):
        insert = insert_into(conn, review).values(rows[start : start + _CHUNK])
        conn.execute(insert.on_conflict_do_nothing(index_elements=["project", "deployment", "prediction_id"]))


def list_reviews(conn: Connection, *, deployment: str, state: str, before: str, limit: int) -> list[Review]:
    """Reviews, newest first; an empty text asks for all."""
    c = review.c
    query = sa.select(review).where(c.project == caller().project)
    query = query.where(c.deployment == deployment) if deployment else query
    query = query.where(c.state == state) if state else query
    query = query.where(c.id < before) if before else query
    return [_review(row) for row in conn.execute(query.order_by(c.id.desc()).limit(limit))]


def known_reviews(conn: Connection, deployment: str, ids: Sequence[str]) -> set[str]:
    """Which of these predictions of an endpoint were put before people."""
    c, found = review.c, set[str]()
    for start in range(0, len(ids), _CHUNK):
        part = c.prediction_id.in_(ids[start : start + _CHUNK])
        query = sa.select(c.prediction_id).where(c.project == caller().project, c.deployment == deployment, part)
        found.update(conn.execute(query).scalars())
    return found


def count_reviews(conn: Connection, *, state: str) -> dict[str, int]:
    """How many reviews are in a state, by deployment."""
    c = review.c
    query = sa.select(c.deployment, sa.func.count().label("n")).where(c.project == caller().project, c.state == state)
    return {row.deployment: row.n for row in conn.execute(query.group_by(c.deployment))}


def find_review(conn: Connection, review_id: str, *, lock: bool = False) -> Review | None:
    """One review; with `lock` nobody else changes it before the transaction ends."""
    query = sa.select(review).where(review.c.project == caller().project, review.c.id == review_id)
    row = conn.execute(query.with_for_update() if lock else query).first()
    return None if row is None else _review(row)


def change_review(conn: Connection, made: Review) -> None:
    """Store what was decided."""
    values = {name: getattr(made, name) for name in ("state", "decided_by", "decided_at", "note")}
    where = review.c.project == caller().project, review.c.id == made.id
    conn.execute(sa.update(review).where(*where).values(**values, decision={"value": made.decision}))


def _review(row: sa.Row[*tuple[object, ...]]) -> Review:
    values = {str(name): value for name, value in row._mapping.items() if name != "project"}
    plain = {name: cast("dict[str, object]", values[name]).get("value") for name in ("answer", "decision")}
    return msgspec.convert({**values, **plain}, Review)


def add_replay(conn: Connection, made: Replay) -> None:
    """Store a new replay."""
    conn.execute(sa.insert(replay).values(project=caller().project, **msgspec.to_builtins(made)))


def change_replay(conn: Connection, replay_id: str, *, only_in: Sequence[str] = (), **values: object) -> bool:
    """Change a replay, where it is in one of these states; without any in every case. Returns whether it was."""
    query = sa.update(replay).where(replay.c.project == caller().project, replay.c.id == replay_id)
    query = query.where(replay.c.state.in_(only_in)) if only_in else query
    return conn.execute(query.values(msgspec.to_builtins(values))).rowcount > 0


def list_replays(conn: Connection, *, deployment: str = "", replay_id: str = "", limit: int = 100) -> list[Replay]:
    """Replays, newest first; an empty text asks for all."""
    c = replay.c
    query = sa.select(replay).where(c.project == caller().project)
    query = query.where(c.deployment == deployment) if deployment else query
    query = query.where(c.id == replay_id) if replay_id else query
    rows = conn.execute(query.order_by(c.id.desc()).limit(limit))
    return [_replay(row) for row in rows]


def _replay(row: sa.Row[*tuple[object, ...]]) -> Replay:
    values = {str(name): value for name, value in row._mapping.items() if name != "project"}
    return msgspec.convert(values, Replay, strict=False)


def _value(row: sa.Row[*tuple[object, ...]]) -> float | str:
    return cast(str, row.text) if row.number is None else cast(float, row.number)


def _deployment(row: sa.Row[*tuple[object, ...]]) -> Deployment:
    traffic = msgspec.convert(row.traffic, Traffic)
    options = msgspec.convert(row.options, Options)
    return Deployment(row.name, row.endpoint, row.model, traffic, row.created_at, row.updated_at, options)


def _rollout(row: sa.Row[*tuple[object, ...]]) -> Rollout:
    values = {str(name): value for name, value in row._mapping.items() if name != "project"}
    return msgspec.convert(values, Rollout, strict=False)
