"""The table of verdicts. Rows are written once and never changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import msgspec
import sqlalchemy as sa

from mainspring.gates.approving import Approval
from mainspring.gates.model import CheckResult, HeldOut, Verdict
from mainspring.storage.references import names_no_blob
from mainspring.storage.schema import Id, Json, Micros, Real, metadata
from mainspring.storage.upsert import insert_into

verdict = sa.Table(
    "verdict",
    metadata,
    sa.Column("project", Id, primary_key=True),
    sa.Column("id", Id, primary_key=True),
    sa.Column("gate", Id, nullable=False),
    sa.Column("model", Id, nullable=False),
    sa.Column("version", Micros, nullable=False),
    sa.Column("champion", Micros),
    sa.Column("outcome", Id, nullable=False),
    sa.Column("undecided", sa.Text, nullable=False),
    sa.Column("checks", Json, nullable=False),
    sa.Column("spec", Json, nullable=False),
    sa.Column("n", Micros, nullable=False),
    sa.Column("data_ref", Id, nullable=False),
    sa.Column("use", Micros, nullable=False),
    sa.Column("alpha", Real, nullable=False),
    sa.Column("seed", Micros, nullable=False),
    sa.Column("candidate_digest", Id, nullable=False, info=names_no_blob("a version, which the registry keeps")),
    sa.Column("champion_digest", Id, nullable=False, info=names_no_blob("a version, which the registry keeps")),
    sa.Column("idempotency_key", Id, nullable=False),
    sa.Column("created_at", Micros, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("label", sa.Text, nullable=False),
    sa.Column("scores", Json, nullable=False),
    sa.Column("approve", Json, nullable=False),
    sa.Index("ix_verdict_model", "project", "model", "id"),
    sa.Index("ix_verdict_data_ref", "project", "data_ref"),
    sqlite_strict=True,
)
"""Verdicts with their evidence; `idempotency_key` is empty when none was given, `scores` when they are of no two
classes."""

approval = sa.Table(
    "gate_approval",
    metadata,
    sa.Column("project", Id, primary_key=True),
    sa.Column("verdict", Id, primary_key=True),
    sa.Column("decision", Id, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("actor", Id, primary_key=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("at", Micros, nullable=False),
    sa.Column("digest", Id, nullable=False, info=names_no_blob("a version, which the registry keeps")),
    sa.Column("evidence", Id, nullable=False, info=names_no_blob("the content of a verdict, which is a row")),
    sqlite_strict=True,
)
"""What people decided about verdicts; written once by each."""

_keyed = verdict.c.idempotency_key != ""
sa.Index(
    "uq_verdict_key",
    verdict.c.project,
    verdict.c.idempotency_key,
    unique=True,
    sqlite_where=_keyed,
    postgresql_where=_keyed,
)
_PLAIN = [field.name for field in fields(Verdict)]


def add(conn: sa.Connection, project: str, found: Verdict, held_out: HeldOut, *, spec: object, key: str) -> bool:
    """Store a verdict; False when one with the same key is there already."""
    values: dict[str, object] = msgspec.to_builtins(found)
    values.update(project=project, spec=msgspec.to_builtins(spec), idempotency_key=key)
    values.update(label=held_out.label, scores=held_out.scores)
    insert = insert_into(conn, verdict).values(values)
    if key:
        insert = insert.on_conflict_do_nothing(index_elements=["project", "idempotency_key"], index_where=_keyed)
    return conn.execute(insert).rowcount == 1


def lock(conn: sa.Connection, project: str, verdict_id: str) -> None:
    """Let nobody else decide about a verdict until the transaction ends."""
    conn.execute(
        sa.select(verdict.c.id).where(verdict.c.project == project, verdict.c.id == verdict_id).with_for_update()
    )


def add_approval(conn: sa.Connection, project: str, found: Approval) -> None:
    """Store a decision."""
    conn.execute(approval.insert().values(project=project, **msgspec.to_builtins(found)))


def approvals(conn: sa.Connection, project: str, verdicts: Sequence[str]) -> dict[str, list[Approval]]:
    """The decisions on some verdicts, by the id of the verdict, in order."""
    names = [field.name for field in fields(Approval)]
    query = sa.select(*(approval.c[name] for name in names)).where(approval.c.project == project)
    found: dict[str, list[Approval]] = {}
    for row in conn.execute(query.where(approval.c.verdict.in_(verdicts)).order_by(approval.c.at, approval.c.actor)):
        found.setdefault(row.verdict, []).append(msgspec.convert(dict(zip(names, row, strict=True)), Approval))
    return found


def by_id(conn: sa.Connection, project: str, verdict_id: str) -> Verdict | None:
    """The verdict of that id."""
    return _one(conn, verdict.c.project == project, verdict.c.id == verdict_id)


def by_key(conn: sa.Connection, project: str, key: str) -> Verdict | None:
    """The verdict that was stored under an idempotency key."""
    return _one(conn, verdict.c.project == project, verdict.c.idempotency_key == key, _keyed)


def spec_of(conn: sa.Connection, project: str, verdict_id: str) -> object:
    """The gate as it was when the verdict was reached, plain."""
    where = verdict.c.project == project, verdict.c.id == verdict_id
    return conn.execute(sa.select(verdict.c.spec).where(*where)).scalar()


def newest(
    conn: sa.Connection, project: str, *, model: str = "", gate: str = "", before: str = "", limit: int = 100
) -> list[Verdict]:
    """Verdicts, newest first, those older than the id `before`."""
    query = sa.select(*(verdict.c[name] for name in _PLAIN)).where(verdict.c.project == project)
    for column, value in ((verdict.c.model, model), (verdict.c.gate, gate)):
        query = query.where(column == value) if value else query
    query = query.where(verdict.c.id < before) if before else query
    return [_verdict(row) for row in conn.execute(query.order_by(verdict.c.id.desc()).limit(limit))]


def held_out(conn: sa.Connection, project: str, model: str, version: int) -> HeldOut | None:
    """The rows of the newest verdict over a version that say where they are."""
    c = verdict.c
    query = sa.select(c.data_ref, c.label, c.n, c.scores).where(c.project == project, c.model == model)
    query = query.where(c.version == version, c.outcome != "error", c.data_ref != "", c.label != "")
    row = conn.execute(query.order_by(c.id.desc()).limit(1)).first()
    if row is None:
        return None
    scores = msgspec.convert(row.scores, dict[str, tuple[float, float, float]], strict=False)
    return HeldOut(data_ref=row.data_ref, label=row.label, rows=row.n, scores=scores)


def last_label(conn: sa.Connection, project: str, model: str) -> str:
    """The column that the newest verdict on a model took for the truth; "" when there is none."""
    c = verdict.c
    query = sa.select(c.label).where(c.project == project, c.model == model, c.label != "")
    return str(conn.execute(query.order_by(c.id.desc()).limit(1)).scalar() or "")


def uses(conn: sa.Connection, project: str, data_ref: str) -> int:
    """How many verdicts rest on a data version."""
    where = verdict.c.project == project, verdict.c.data_ref == data_ref
    return int(conn.execute(sa.select(sa.func.count()).where(*where)).scalar_one())


def _one(conn: sa.Connection, *where: sa.ColumnElement[bool]) -> Verdict | None:
    row = conn.execute(sa.select(*(verdict.c[name] for name in _PLAIN)).where(*where)).first()
    return None if row is None else _verdict(row)


def _verdict(row: sa.Row[tuple[object, ...]]) -> Verdict:
    values: dict[str, object] = dict(zip(_PLAIN, row, strict=True))
    values["checks"] = msgspec.convert(values["checks"], tuple[CheckResult, ...])
    return msgspec.convert(values, Verdict)
