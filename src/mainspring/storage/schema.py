"""The one MetaData, the column types of every room, and the tables of the floor.

Types are our own because SQLite's STRICT tables refuse SQLAlchemy's names for them and because both databases must
give back the same values: times are epoch microseconds, JSON is the parsed value, flags are bool, text that is an
id or a name sorts by bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

from mainspring.storage import values

T = TypeVar("T")

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class _AsItIs(values.NotStorable, sa.exc.DontWrapMixin):
    """What SQLAlchemy passes on as it is."""


def _plainly(turn: Callable[[Any], T], value: object) -> T:
    try:
        return turn(value)
    except values.NotStorable as reason:
        raise _AsItIs(reason.what, where=reason.where, hint=reason.hint) from None


class Micros(TypeDecorator[int]):
    """A whole number of 64 bits: epoch microseconds, sequence numbers, counts, sizes."""

    impl = sa.BigInteger
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[int]:
        """INTEGER on SQLite (so that a primary key is the row id), BIGINT on Postgres."""
        return dialect.type_descriptor(sa.Integer() if dialect.name == "sqlite" else sa.BigInteger())

    def process_bind_param(self, value: int | None, dialect: Dialect) -> int | None:
        """The value itself.

        Raises:
            Invalid: It does not fit into 64 bits.
        """
        return _plainly(values.micros, value)


class Id(TypeDecorator[str]):
    """An id, a name or a reference: text that compares and sorts by its bytes on both databases."""

    impl = sa.Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[str]:
        """TEXT; on Postgres with collation "C", which is the order SQLite has anyway."""
        return dialect.type_descriptor(sa.Text() if dialect.name == "sqlite" else sa.Text(collation="C"))

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """The value itself.

        Raises:
            Invalid: It holds the character NUL, which Postgres does not keep.
        """
        return _plainly(values.named, value)


class Real(TypeDecorator[float]):
    """A floating point number of 64 bits."""

    impl = sa.Double
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[float]:
        """REAL on SQLite, FLOAT of 53 bits on Postgres."""
        return dialect.type_descriptor(sa.REAL() if dialect.name == "sqlite" else sa.Double())


class Flag(TypeDecorator[bool]):
    """True or false, kept as 1 or 0."""

    impl = sa.SmallInteger
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[int]:
        """INTEGER on SQLite, SMALLINT on Postgres."""
        return dialect.type_descriptor(sa.Integer() if dialect.name == "sqlite" else sa.SmallInteger())

    def process_bind_param(self, value: bool | None, dialect: Dialect) -> int | None:
        """To 0 or 1."""
        return values.flagged(value)

    def process_result_value(self, value: object, dialect: Dialect) -> bool | None:
        """From 0 or 1."""
        return values.flag_of(value)


class Json(TypeDecorator[Any]):
    """A JSON value: TEXT on SQLite, JSONB on Postgres. None is SQL NULL; NaN, infinities and NUL are refused."""

    impl = sa.Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """TEXT on SQLite, JSONB on Postgres."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(sa.Text())
        return dialect.type_descriptor(postgresql.JSONB(none_as_null=True))

    def process_bind_param(self, value: object, dialect: Dialect) -> object:
        """To text on SQLite; Postgres' own type does it there.

        Raises:
            Invalid: The value is not plain JSON.
        """
        text = _plainly(values.json_or_null, value)
        return text if dialect.name == "sqlite" else value

    def process_result_value(self, value: object, dialect: Dialect) -> object:
        """Back to the value."""
        return values.json_of(value) if dialect.name == "sqlite" else value


event = sa.Table(
    "event",
    metadata,
    sa.Column("seq", Micros, primary_key=True, autoincrement=False),
    sa.Column("at", Micros, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("project", Id, nullable=False),
    sa.Column("kind", Id, nullable=False),
    sa.Column("subject", Id, nullable=False),
    sa.Column("payload", Json, nullable=False),
    sa.Column("request_id", sa.Text, nullable=False),
    sa.Index("ix_event_kind_seq", "kind", "seq"),
    sa.Index("ix_event_subject_seq", "subject", "seq"),
    sa.Index("ix_event_project_seq", "project", "seq"),
    sqlite_strict=True,
)
"""The event log. Triggers refuse update, delete and truncate; see `append_only`."""

consumer_offset = sa.Table(
    "consumer_offset",
    metadata,
    sa.Column("consumer", Id, primary_key=True),
    sa.Column("seq", Micros, nullable=False),
    sa.Column("at", Micros, nullable=False),
    sqlite_strict=True,
)
"""How far each consumer has handled the event log."""

seal = sa.Table(
    "seal",
    metadata,
    sa.Column("number", Micros, primary_key=True, autoincrement=False),
    sa.Column("first_seq", Micros, nullable=False),
    sa.Column("last_seq", Micros, nullable=False),
    sa.Column("count", Micros, nullable=False),
    sa.Column("root", sa.Text, nullable=False),
    sa.Column("previous", sa.Text, nullable=False),
    sa.Column("at", Micros, nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("signature", sa.Text, nullable=False),
    sqlite_strict=True,
)
"""Signed checkpoints over ranges of the log, as `access.model.Checkpoint` describes them."""

job = sa.Table(
    "job",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("project", Id, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("queue", Id, nullable=False),
    sa.Column("kind", Id, nullable=False),
    sa.Column("payload", Json, nullable=False),
    sa.Column("dedup_key", Id, nullable=False),
    sa.Column("job_group", Id, nullable=False),
    sa.Column("priority", Micros, nullable=False),
    sa.Column("state", Id, nullable=False),
    sa.Column("attempt", Micros, nullable=False),
    sa.Column("max_attempts", Micros, nullable=False),
    sa.Column("run_at", Micros, nullable=False),
    sa.Column("created_at", Micros, nullable=False),
    sa.Column("finished_at", Micros, nullable=False),
    sa.Column("worker", sa.Text, nullable=False),
    sa.Column("lease_until", Micros, nullable=False),
    sa.Column("result", Json),
    sa.Column("error", sa.Text, nullable=False),
    sa.Index("ix_job_next", "state", "queue", "priority", "run_at", "created_at", "id"),
    sa.Index("ix_job_state_lease_until", "state", "lease_until"),
    sa.Index("ix_job_project_created_at", "project", "created_at"),
    sqlite_strict=True,
)
"""The job queue."""

_unfinished_key = sa.and_(job.c.dedup_key != "", job.c.state.in_(["queued", "running"]))
sa.Index(
    "uq_job_unfinished_key",
    job.c.project,
    job.c.queue,
    job.c.dedup_key,
    unique=True,
    sqlite_where=_unfinished_key,
    postgresql_where=_unfinished_key,
)

queue_control = sa.Table(
    "queue_control",
    metadata,
    sa.Column("queue", Id, primary_key=True),
    sa.Column("mode", sa.Text, nullable=False),
    sa.Column("running_limit", Micros, nullable=False),
    sa.Column("group_limit", Micros, nullable=False),
    sqlite_strict=True,
)
"""Mode and limits of queues that are not just open and unlimited."""

queue_quota = sa.Table(
    "queue_quota",
    metadata,
    sa.Column("queue", Id, primary_key=True),
    sa.Column("project", Id, primary_key=True),
    sa.Column("running_limit", Micros, nullable=False),
    sqlite_strict=True,
)
"""How many jobs of a project a queue runs at once, for projects with a quota."""

queue_worker = sa.Table(
    "queue_worker",
    metadata,
    sa.Column("name", Id, primary_key=True),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("queues", Json, nullable=False),
    sa.Column("threads", Micros, nullable=False),
    sa.Column("has", Json, nullable=False),
    sa.Column("started_at", Micros, nullable=False),
    sa.Column("seen_at", Micros, nullable=False),
    sqlite_strict=True,
)
"""Processes that take jobs, and when each was last heard of."""


APPEND_ONLY = ("event",)
"""Tables whose rows are never changed, which the database itself sees to."""


def append_only(table: str, dialect: str) -> list[str]:
    """Statements that make the database itself refuse update, delete and truncate of a table."""
    if dialect == "sqlite":
        return [
            f"CREATE TRIGGER {table}_no_{verb} BEFORE {verb.upper()} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, 'the table {table} is append-only'); END"
            for verb in ("update", "delete")
        ]
    return [
        f"CREATE FUNCTION {table}_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION 'the table {table} is append-only'; END $$",
        f"CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE ON {table} "
        f"FOR EACH ROW EXECUTE FUNCTION {table}_refuse()",
        f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {table}_refuse()",
    ]
