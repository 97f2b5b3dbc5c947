"""The tables of tracking."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from mainspring.storage import schema


def upgrade() -> None:
    _arrival()
    _artifact()
    _assessment()
    _evaluation_record()
    _evaluation_set()
    _evaluation_set_experiment()
    _evaluation_set_tag()
    _experiment()
    _experiment_tag()
    _input_dataset()
    _logged_model()
    _logged_model_metric()
    _logged_model_param()
    _logged_model_tag()
    _metric()
    _metric_column()
    _metric_column_late()
    _metric_column_state()
    _metric_key()
    _metric_latest()
    _param()
    _run()
    _run_input()
    _run_model()
    _run_view()
    _scorer()
    _span()
    _tag()
    _trace()
    _trace_link()
    _trace_metadata()
    _trace_tag()


def _arrival() -> None:
    op.create_table(
        "arrival",
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("source", schema.Id(), nullable=False),
        sa.Column("subject", schema.Id(), nullable=False),
        sa.Column("stamp", schema.Id(), nullable=False),
        sa.Column("at", schema.Micros(), nullable=False),
        sa.PrimaryKeyConstraint("project", "source", "subject", name=op.f("pk_arrival")),
        sqlite_strict=True,
    )


def _artifact() -> None:
    op.create_table(
        "artifact",
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("path", schema.Id(), nullable=False),
        sa.Column("digest", schema.Id(), nullable=False),
        sa.Column("size_bytes", schema.Micros(), nullable=False),
        sa.Column("at", schema.Micros(), nullable=False),
        sa.PrimaryKeyConstraint("project", "path", name=op.f("pk_artifact")),
        sqlite_strict=True,
    )
    op.create_index("ix_artifact_digest", "artifact", ["digest"], unique=False)


def _assessment() -> None:
    op.create_table(
        "assessment",
        sa.Column("trace", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("id", schema.Id(), nullable=False),
        sa.Column("name", schema.Id(), nullable=False),
        sa.Column("content", schema.Json(), nullable=False),
        sa.Column("kind", schema.Id(), nullable=False),
        sa.Column("value", sa.Text(), nullable=True),
        sa.Column("number", schema.Real(), nullable=True),
        sa.PrimaryKeyConstraint("trace", "id", name=op.f("pk_assessment")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )


def _evaluation_record() -> None:
    op.create_table(
        "evaluation_record",
        sa.Column("evaluation_set", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("inputs_digest", schema.Id(), nullable=False),
        sa.Column("id", schema.Id(), nullable=False),
        sa.Column("content", schema.Json(), nullable=False),
        sa.Column("created_at", schema.Micros(), nullable=False),
        sa.Column("updated_at", schema.Micros(), nullable=False),
        sa.Column("created_by", schema.Id(), nullable=False),
        sa.Column("updated_by", schema.Id(), nullable=False),
        sa.PrimaryKeyConstraint("evaluation_set", "inputs_digest", name=op.f("pk_evaluation_record")),
        sqlite_strict=True,
    )
    op.create_index(
        "ix_evaluation_record_evaluation_set_id", "evaluation_record", ["evaluation_set", "id"], unique=False
    )


def _evaluation_set() -> None:
    op.create_table(
        "evaluation_set",
        sa.Column("number", schema.Micros(), sa.Identity(always=False), nullable=False),
        sa.Column("id", schema.Id(), nullable=False),
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("name", schema.Id(), nullable=False),
        sa.Column("created_at", schema.Micros(), nullable=False),
        sa.Column("updated_at", schema.Micros(), nullable=False),
        sa.Column("created_by", schema.Id(), nullable=False),
        sa.Column("updated_by", schema.Id(), nullable=False),
        sa.Column("schema", schema.Json(), nullable=True),
        sa.Column("size", schema.Micros(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_evaluation_set")),
        sa.UniqueConstraint("id", name=op.f("uq_evaluation_set_id")),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    op.create_index("ix_evaluation_set_project_created_at", "evaluation_set", ["project", "created_at"], unique=False)


def _evaluation_set_experiment() -> None:
    op.create_table(
        "evaluation_set_experiment",
        sa.Column("evaluation_set", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("experiment", schema.Micros(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("evaluation_set", "experiment", name=op.f("pk_evaluation_set_experiment")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_evaluation_set_experiment_experiment", "evaluation_set_experiment", ["experiment"], unique=False
    )


def _evaluation_set_tag() -> None:
    op.create_table(
        "evaluation_set_tag",
        sa.Column("evaluation_set", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("key", schema.Id(), nullable=False),
        sa.Column("value", schema.Id(), nullable=False),
        sa.PrimaryKeyConstraint("evaluation_set", "key", name=op.f("pk_evaluation_set_tag")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )


def _experiment() -> None:
    op.create_table(
        "experiment",
        sa.Column("number", schema.Micros(), sa.Identity(always=False), nullable=False),
        sa.Column("id", schema.Id(), nullable=False),
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("name", schema.Id(), nullable=False),
        sa.Column("location", sa.Text(), nullable=False),
        sa.Column("created_at", schema.Micros(), nullable=False),
        sa.Column("updated_at", schema.Micros(), nullable=False),
        sa.Column("deleted_at", schema.Micros(), nullable=True),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_experiment")),
        sa.UniqueConstraint("project", "id", name=op.f("uq_experiment_project_id")),
        sa.UniqueConstraint("project", "name", name=op.f("uq_experiment_project_name")),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )


def _experiment_tag() -> None:
    op.create_table(
        "experiment_tag",
        sa.Column("experiment", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("key", schema.Id(), nullable=False),
        sa.Column("value", schema.Id(), nullable=False),
        sa.PrimaryKeyConstraint("experiment", "key", name=op.f("pk_experiment_tag")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )


def _input_dataset() -> None:
    op.create_table(
        "input_dataset",
        sa.Column("number", schema.Micros(), sa.Identity(always=False), nullable=False),
        sa.Column("experiment", schema.Micros(), nullable=False),
        sa.Column("name", schema.Id(), nullable=False),
        sa.Column("digest", schema.Id(), nullable=False),
        sa.Column("source_type", schema.Id(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("schema", sa.Text(), nullable=False),
        sa.Column("profile", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_input_dataset")),
        sa.UniqueConstraint("experiment", "name", "digest", name=op.f("uq_input_dataset_experiment_name_digest")),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    op.create_index("ix_input_dataset_source", "input_dataset", ["source"], unique=False)


def _logged_model() -> None:
    op.create_table(
        "logged_model",
        sa.Column("number", schema.Micros(), sa.Identity(always=False), nullable=False),
        sa.Column("id", schema.Id(), nullable=False),
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("experiment", schema.Micros(), nullable=False),
        sa.Column("name", schema.Id(), nullable=False),
        sa.Column("kind", schema.Id(), nullable=False),
        sa.Column("status", schema.Id(), nullable=False),
        sa.Column("run_id", schema.Id(), nullable=False),
        sa.Column("created_at", schema.Micros(), nullable=False),
        sa.Column("updated_at", schema.Micros(), nullable=False),
        sa.Column("deleted_at", schema.Micros(), nullable=True),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_logged_model")),
        sa.UniqueConstraint("id", name=op.f("uq_logged_model_id")),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    op.create_index(
        "ix_logged_model_experiment_created_at_id", "logged_model", ["experiment", "created_at", "id"], unique=False
    )
    op.create_index("ix_logged_model_run_id", "logged_model", ["run_id"], unique=False)


def _logged_model_metric() -> None:
    op.create_table(
        "logged_model_metric",
        sa.Column("model", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("key", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("run", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("dataset_name", schema.Id(), nullable=False),
        sa.Column("dataset_digest", schema.Id(), nullable=False),
        sa.Column("step", schema.Micros(), nullable=False),
        sa.Column("at", schema.Micros(), nullable=False),
        sa.Column("sort", schema.Micros(), nullable=False),
        sa.Column("value", schema.Real(), nullable=False),
        sa.PrimaryKeyConstraint(
            "model", "key", "run", "dataset_name", "dataset_digest", name=op.f("pk_logged_model_metric")
        ),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index("ix_logged_model_metric_run", "logged_model_metric", ["run"], unique=False)


def _logged_model_param() -> None:
    op.create_table(
        "logged_model_param",
        sa.Column("model", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("key", schema.Id(), nullable=False),
        sa.Column("value", schema.Id(), nullable=False),
        sa.PrimaryKeyConstraint("model", "key", name=op.f("pk_logged_model_param")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )


def _logged_model_tag() -> None:
    op.create_table(
        "logged_model_tag",
        sa.Column("model", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("key", schema.Id(), nullable=False),
        sa.Column("value", schema.Id(), nullable=False),
        sa.PrimaryKeyConstraint("model", "key", name=op.f("pk_logged_model_tag")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )


def _metric() -> None:
    op.create_table(
        "metric",
        sa.Column("run", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("key", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("step", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("at", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("sort", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("value", schema.Real(), nullable=False),
        sa.PrimaryKeyConstraint("run", "key", "step", "at", "sort", "value", name=op.f("pk_metric")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )


def _metric_column() -> None:
    op.create_table(
        "metric_column",
        sa.Column("key", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("block", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("runs", sa.LargeBinary(), nullable=False),
        sa.Column("numbers", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("key", "block", name=op.f("pk_metric_column")),
        sqlite_strict=True,
    )


def _metric_column_late() -> None:
    op.create_table(
        "metric_column_late",
        sa.Column("run", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("turn", schema.Micros(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("run", "turn", name=op.f("pk_metric_column_late")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )


def _metric_column_state() -> None:
    op.create_table(
        "metric_column_state",
        sa.Column("turn", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("announced", schema.Micros(), nullable=False),
        sa.Column("built", schema.Micros(), nullable=False),
        sa.PrimaryKeyConstraint("turn", name=op.f("pk_metric_column_state")),
        sqlite_strict=True,
    )


def _metric_key() -> None:
    op.create_table(
        "metric_key",
        sa.Column("number", schema.Micros(), sa.Identity(always=False), nullable=False),
        sa.Column("experiment", schema.Micros(), nullable=False),
        sa.Column("name", schema.Id(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_metric_key")),
        sa.UniqueConstraint("experiment", "name", name=op.f("uq_metric_key_experiment_name")),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )


def _metric_latest() -> None:
    op.create_table(
        "metric_latest",
        sa.Column("run", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("key", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("step", schema.Micros(), nullable=False),
        sa.Column("at", schema.Micros(), nullable=False),
        sa.Column("sort", schema.Micros(), nullable=False),
        sa.Column("value", schema.Real(), nullable=False),
        sa.PrimaryKeyConstraint("run", "key", name=op.f("pk_metric_latest")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_metric_latest_key_sort_value",
        "metric_latest",
        ["key", "sort", "value"],
        unique=False,
        postgresql_include=["run"],
    )


def _param() -> None:
    op.create_table(
        "param",
        sa.Column("run", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("key", schema.Id(), nullable=False),
        sa.Column("value", schema.Id(), nullable=False),
        sa.PrimaryKeyConstraint("run", "key", name=op.f("pk_param")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_param_key_long",
        "param",
        ["key"],
        unique=False,
        sqlite_where=sa.text("length(value) > 100"),
        postgresql_where=sa.text("length(value) > 100"),
    )
    op.create_index(
        "ix_param_key_value", "param", ["key", "value"], unique=False, postgresql_where=sa.text("length(value) <= 100")
    )


def _run() -> None:
    op.create_table(
        "run",
        sa.Column("number", schema.Micros(), sa.Identity(always=False), nullable=False),
        sa.Column("id", schema.Id(), nullable=False),
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("experiment", schema.Micros(), nullable=False),
        sa.Column("name", schema.Id(), nullable=False),
        sa.Column("parent", schema.Id(), nullable=False),
        sa.Column("status", schema.Id(), nullable=False),
        sa.Column("started_at", schema.Micros(), nullable=False),
        sa.Column("ended_at", schema.Micros(), nullable=True),
        sa.Column("duration", schema.Micros(), sa.Computed("ended_at - started_at", persisted=True), nullable=True),
        sa.Column("deleted_at", schema.Micros(), nullable=True),
        sa.Column("seed", schema.Micros(), nullable=True),
        sa.Column("created_by", schema.Id(), nullable=False),
        sa.Column("user_id", schema.Id(), nullable=False),
        sa.Column("code", schema.Json(), nullable=True),
        sa.Column("environment", schema.Json(), nullable=True),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_run")),
        sa.UniqueConstraint("id", name=op.f("uq_run_id")),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    op.create_index(
        "ix_run_deleted_at",
        "run",
        ["deleted_at"],
        unique=False,
        sqlite_where=sa.text("deleted_at IS NOT NULL"),
        postgresql_where=sa.text("deleted_at IS NOT NULL"),
    )
    op.create_index("ix_run_experiment_duration", "run", ["experiment", "duration"], unique=False)
    op.create_index("ix_run_experiment_ended_at", "run", ["experiment", "ended_at"], unique=False)
    op.create_index("ix_run_experiment_name", "run", ["experiment", "name"], unique=False)
    op.create_index("ix_run_experiment_started_at_id", "run", ["experiment", "started_at", "id"], unique=False)
    op.create_index("ix_run_experiment_status_started_at", "run", ["experiment", "status", "started_at"], unique=False)
    op.create_index("ix_run_parent", "run", ["parent"], unique=False)
    op.create_index("ix_run_project_started_at_id", "run", ["project", "started_at", "id"], unique=False)


def _run_input() -> None:
    op.create_table(
        "run_input",
        sa.Column("run", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("dataset", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("context", schema.Id(), nullable=False),
        sa.Column("tags", schema.Json(), nullable=False),
        sa.PrimaryKeyConstraint("run", "dataset", "context", name=op.f("pk_run_input")),
        sqlite_strict=True,
    )
    op.create_index("ix_run_input_dataset", "run_input", ["dataset"], unique=False)


def _run_model() -> None:
    op.create_table(
        "run_model",
        sa.Column("run", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("side", schema.Id(), nullable=False),
        sa.Column("model_id", schema.Id(), nullable=False),
        sa.Column("step", schema.Micros(), nullable=False),
        sa.PrimaryKeyConstraint("run", "side", "model_id", name=op.f("pk_run_model")),
        sqlite_strict=True,
    )
    op.create_index("ix_run_model_model_id", "run_model", ["model_id"], unique=False)


def _run_view() -> None:
    op.create_table(
        "run_view",
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("name", schema.Id(), nullable=False),
        sa.Column("experiment", schema.Id(), nullable=False),
        sa.Column("filter", sa.Text(), nullable=False),
        sa.Column("order_by", schema.Json(), nullable=False),
        sa.Column("columns", schema.Json(), nullable=False),
        sa.Column("changed_at", schema.Micros(), nullable=False),
        sa.Column("changed_by", schema.Id(), nullable=False),
        sa.PrimaryKeyConstraint("project", "name", name=op.f("pk_run_view")),
        sqlite_strict=True,
    )


def _scorer() -> None:
    op.create_table(
        "scorer",
        sa.Column("experiment", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("name", schema.Id(), nullable=False),
        sa.Column("version", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("id", schema.Id(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("created_at", schema.Micros(), nullable=False),
        sa.PrimaryKeyConstraint("experiment", "name", "version", name=op.f("pk_scorer")),
        sqlite_strict=True,
    )


def _span() -> None:
    op.create_table(
        "span",
        sa.Column("trace", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("id", schema.Id(), nullable=False),
        sa.Column("started_ns", schema.Micros(), nullable=False),
        sa.Column("name", schema.Id(), nullable=False),
        sa.Column("kind", schema.Id(), nullable=False),
        sa.Column("status", schema.Id(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("trace", "id", name=op.f("pk_span")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )


def _tag() -> None:
    op.create_table(
        "tag",
        sa.Column("run", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("key", schema.Id(), nullable=False),
        sa.Column("value", schema.Id(), nullable=False),
        sa.PrimaryKeyConstraint("run", "key", name=op.f("pk_tag")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_tag_key_long",
        "tag",
        ["key"],
        unique=False,
        sqlite_where=sa.text("length(value) > 100"),
        postgresql_where=sa.text("length(value) > 100"),
    )
    op.create_index(
        "ix_tag_key_value",
        "tag",
        ["key", "value"],
        unique=False,
        sqlite_where=sa.text("length(value) <= 100"),
        postgresql_where=sa.text("length(value) <= 100"),
    )


def _trace() -> None:
    op.create_table(
        "trace",
        sa.Column("number", schema.Micros(), sa.Identity(always=False), nullable=False),
        sa.Column("id", schema.Id(), nullable=False),
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("experiment", schema.Micros(), nullable=False),
        sa.Column("name", schema.Id(), nullable=False),
        sa.Column("state", schema.Id(), nullable=False),
        sa.Column("run_id", schema.Id(), nullable=False),
        sa.Column("client_id", schema.Id(), nullable=False),
        sa.Column("started_at", schema.Micros(), nullable=False),
        sa.Column("duration_us", schema.Micros(), nullable=True),
        sa.Column("asked", sa.Text(), nullable=False),
        sa.Column("answered", sa.Text(), nullable=False),
        sa.Column("told", schema.Flag(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_trace")),
        sa.UniqueConstraint("project", "id", name=op.f("uq_trace_project_id")),
        sqlite_strict=True,
    )
    op.create_index("ix_trace_experiment_started_at_id", "trace", ["experiment", "started_at", "id"], unique=False)


def _trace_link() -> None:
    op.create_table(
        "trace_link",
        sa.Column("trace", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("kind", schema.Id(), nullable=False),
        sa.Column("target", schema.Id(), nullable=False),
        sa.PrimaryKeyConstraint("trace", "kind", "target", name=op.f("pk_trace_link")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index("ix_trace_link_kind_target", "trace_link", ["kind", "target"], unique=False)


def _trace_metadata() -> None:
    op.create_table(
        "trace_metadata",
        sa.Column("trace", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("key", schema.Id(), nullable=False),
        sa.Column("value", schema.Id(), nullable=False),
        sa.PrimaryKeyConstraint("trace", "key", name=op.f("pk_trace_metadata")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )


def _trace_tag() -> None:
    op.create_table(
        "trace_tag",
        sa.Column("trace", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("key", schema.Id(), nullable=False),
        sa.Column("value", schema.Id(), nullable=False),
        sa.PrimaryKeyConstraint("trace", "key", name=op.f("pk_trace_tag")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
