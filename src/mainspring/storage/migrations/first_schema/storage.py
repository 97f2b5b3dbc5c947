# ruff: noqa: E501  statements stand as they run
"""The tables of storage."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from mainspring.storage import schema

EVENT_TRIGGERS = {
    "sqlite": [
        "CREATE TRIGGER event_no_update BEFORE UPDATE ON event BEGIN SELECT RAISE(ABORT, 'the table event is append-only'); END",
        "CREATE TRIGGER event_no_delete BEFORE DELETE ON event BEGIN SELECT RAISE(ABORT, 'the table event is append-only'); END",
    ],
    "postgresql": [
        "CREATE FUNCTION event_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'the table event is append-only'; END $$",
        "CREATE TRIGGER event_no_change BEFORE UPDATE OR DELETE ON event FOR EACH ROW EXECUTE FUNCTION event_refuse()",
        "CREATE TRIGGER event_no_truncate BEFORE TRUNCATE ON event FOR EACH STATEMENT EXECUTE FUNCTION event_refuse()",
    ],
}


def upgrade() -> None:
    _consumer_offset()
    _event()
    _job()
    _queue_control()
    _queue_quota()
    _queue_worker()
    _seal()


def _consumer_offset() -> None:
    op.create_table(
        "consumer_offset",
        sa.Column("consumer", schema.Id(), nullable=False),
        sa.Column("seq", schema.Micros(), nullable=False),
        sa.Column("at", schema.Micros(), nullable=False),
        sa.PrimaryKeyConstraint("consumer", name=op.f("pk_consumer_offset")),
        sqlite_strict=True,
    )


def _event() -> None:
    op.create_table(
        "event",
        sa.Column("seq", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("at", schema.Micros(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("kind", schema.Id(), nullable=False),
        sa.Column("subject", schema.Id(), nullable=False),
        sa.Column("payload", schema.Json(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_event")),
        sqlite_strict=True,
    )
    op.create_index("ix_event_kind_seq", "event", ["kind", "seq"], unique=False)
    op.create_index("ix_event_project_seq", "event", ["project", "seq"], unique=False)
    op.create_index("ix_event_subject_seq", "event", ["subject", "seq"], unique=False)
    for statement in EVENT_TRIGGERS[op.get_context().dialect.name]:
        op.execute(statement)


def _job() -> None:
    op.create_table(
        "job",
        sa.Column("id", schema.Id(), nullable=False),
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("queue", schema.Id(), nullable=False),
        sa.Column("kind", schema.Id(), nullable=False),
        sa.Column("payload", schema.Json(), nullable=False),
        sa.Column("dedup_key", schema.Id(), nullable=False),
        sa.Column("job_group", schema.Id(), nullable=False),
        sa.Column("priority", schema.Micros(), nullable=False),
        sa.Column("state", schema.Id(), nullable=False),
        sa.Column("attempt", schema.Micros(), nullable=False),
        sa.Column("max_attempts", schema.Micros(), nullable=False),
        sa.Column("run_at", schema.Micros(), nullable=False),
        sa.Column("created_at", schema.Micros(), nullable=False),
        sa.Column("finished_at", schema.Micros(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("lease_until", schema.Micros(), nullable=False),
        sa.Column("result", schema.Json(), nullable=True),
        sa.Column("error", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job")),
        sqlite_strict=True,
    )
    op.create_index("ix_job_next", "job", ["state", "queue", "priority", "run_at", "created_at", "id"], unique=False)
    op.create_index("ix_job_project_created_at", "job", ["project", "created_at"], unique=False)
    op.create_index("ix_job_state_lease_until", "job", ["state", "lease_until"], unique=False)
    op.create_index(
        "uq_job_unfinished_key",
        "job",
        ["project", "queue", "dedup_key"],
        unique=True,
        sqlite_where=sa.text("dedup_key != '' AND state IN ('queued', 'running')"),
        postgresql_where=sa.text("dedup_key != '' AND state IN ('queued', 'running')"),
    )


def _queue_control() -> None:
    op.create_table(
        "queue_control",
        sa.Column("queue", schema.Id(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("running_limit", schema.Micros(), nullable=False),
        sa.Column("group_limit", schema.Micros(), nullable=False),
        sa.PrimaryKeyConstraint("queue", name=op.f("pk_queue_control")),
        sqlite_strict=True,
    )


def _queue_quota() -> None:
    op.create_table(
        "queue_quota",
        sa.Column("queue", schema.Id(), nullable=False),
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("running_limit", schema.Micros(), nullable=False),
        sa.PrimaryKeyConstraint("queue", "project", name=op.f("pk_queue_quota")),
        sqlite_strict=True,
    )


def _queue_worker() -> None:
    op.create_table(
        "queue_worker",
        sa.Column("name", schema.Id(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("queues", schema.Json(), nullable=False),
        sa.Column("threads", schema.Micros(), nullable=False),
        sa.Column("has", schema.Json(), nullable=False),
        sa.Column("started_at", schema.Micros(), nullable=False),
        sa.Column("seen_at", schema.Micros(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_queue_worker")),
        sqlite_strict=True,
    )


def _seal() -> None:
    op.create_table(
        "seal",
        sa.Column("number", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("first_seq", schema.Micros(), nullable=False),
        sa.Column("last_seq", schema.Micros(), nullable=False),
        sa.Column("count", schema.Micros(), nullable=False),
        sa.Column("root", sa.Text(), nullable=False),
        sa.Column("previous", sa.Text(), nullable=False),
        sa.Column("at", schema.Micros(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_seal")),
        sqlite_strict=True,
    )
