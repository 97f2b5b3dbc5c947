# ruff: noqa: E501, PLR0915  a step is as long as it is, and statements stand as they run
"""First schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from mainspring.storage import schema

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

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
    op.create_table(
        "alarm",
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("id", schema.Id(), nullable=False),
        sa.Column("deployment", schema.Id(), nullable=False),
        sa.Column("version", schema.Micros(), nullable=False),
        sa.Column("cause", schema.Id(), nullable=False),
        sa.Column("state", schema.Id(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("evidence", schema.Json(), nullable=False),
        sa.Column("window_start", schema.Micros(), nullable=False),
        sa.Column("window_end", schema.Micros(), nullable=False),
        sa.Column("raised_at", schema.Micros(), nullable=False),
        sa.Column("acknowledged_at", schema.Micros(), nullable=False),
        sa.Column("acknowledged_by", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("project", "id", name=op.f("pk_alarm")),
        sqlite_strict=True,
    )
    op.create_index("ix_alarm_deployment", "alarm", ["project", "deployment", "id"], unique=False)
    op.create_table(
        "alias_change",
        sa.Column("seq", schema.Micros(), sa.Identity(always=False), nullable=False),
        sa.Column("model", schema.Micros(), nullable=False),
        sa.Column("alias", schema.Id(), nullable=False),
        sa.Column("version", schema.Micros(), nullable=True),
        sa.Column("before", schema.Micros(), nullable=True),
        sa.Column("at", schema.Micros(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_alias_change")),
        sqlite_strict=True,
    )
    op.create_index("ix_alias_change_model_alias_seq", "alias_change", ["model", "alias", "seq"], unique=False)
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
    op.create_table(
        "assessment",
        sa.Column("trace", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("id", schema.Id(), nullable=False),
        sa.Column("name", schema.Id(), nullable=False),
        sa.Column("content", schema.Json(), nullable=False),
        sa.PrimaryKeyConstraint("trace", "id", name=op.f("pk_assessment")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "awaiting_label",
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("deployment", schema.Id(), nullable=False),
        sa.Column("prediction_id", schema.Id(), nullable=False),
        sa.Column("version", schema.Micros(), nullable=False),
        sa.Column("event_at", schema.Micros(), nullable=False),
        sa.Column("score", schema.Real(), nullable=True),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column("is_labelled", schema.Flag(), nullable=False),
        sa.PrimaryKeyConstraint("project", "deployment", "prediction_id", name=op.f("pk_awaiting_label")),
        sqlite_strict=True,
    )
    op.create_index("ix_awaiting_label_event_at", "awaiting_label", ["project", "deployment", "event_at"], unique=False)
    op.create_table(
        "card",
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("model", schema.Id(), nullable=False),
        sa.Column("version", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("revision", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("digest", schema.Id(), nullable=False),
        sa.Column("created_at", schema.Micros(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("project", "model", "version", "revision", name=op.f("pk_card")),
        sqlite_strict=True,
    )
    op.create_table(
        "consumer_offset",
        sa.Column("consumer", schema.Id(), nullable=False),
        sa.Column("seq", schema.Micros(), nullable=False),
        sa.Column("at", schema.Micros(), nullable=False),
        sa.PrimaryKeyConstraint("consumer", name=op.f("pk_consumer_offset")),
        sqlite_strict=True,
    )
    op.create_table(
        "cycle",
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("id", schema.Id(), nullable=False),
        sa.Column("policy", schema.Id(), nullable=False),
        sa.Column("deployment", schema.Id(), nullable=False),
        sa.Column("model", schema.Id(), nullable=False),
        sa.Column("state", schema.Id(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("trigger_seq", schema.Micros(), nullable=False),
        sa.Column("as_of", schema.Micros(), nullable=False),
        sa.Column("started_at", schema.Micros(), nullable=False),
        sa.Column("ended_at", schema.Micros(), nullable=True),
        sa.Column("pipeline_run", schema.Id(), nullable=False),
        sa.Column("version", schema.Micros(), nullable=True),
        sa.Column("verdict", schema.Id(), nullable=False),
        sa.Column("rollout", schema.Id(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cycle")),
        sqlite_strict=True,
    )
    op.create_index(
        "ix_cycle_project_deployment_started_at", "cycle", ["project", "deployment", "started_at"], unique=False
    )
    op.create_index(
        "uq_cycle_open",
        "cycle",
        ["project", "deployment"],
        unique=True,
        sqlite_where=sa.text("state IN ('training', 'gating', 'canary')"),
        postgresql_where=sa.text("state IN ('training', 'gating', 'canary')"),
    )
    op.create_table(
        "dataset",
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("name", schema.Id(), nullable=False),
        sa.Column("latest", schema.Micros(), nullable=False),
        sa.Column("rows", schema.Micros(), nullable=False),
        sa.Column("created_at", schema.Micros(), nullable=False),
        sa.Column("changed_at", schema.Micros(), nullable=False),
        sa.PrimaryKeyConstraint("project", "name", name=op.f("pk_dataset")),
        sqlite_strict=True,
    )
    op.create_table(
        "dataset_version",
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("dataset", schema.Id(), nullable=False),
        sa.Column("number", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("id", schema.Id(), nullable=False),
        sa.Column("rows", schema.Micros(), nullable=False),
        sa.Column("quarantined", schema.Micros(), nullable=False),
        sa.Column("columns", schema.Json(), nullable=False),
        sa.Column("checks", schema.Json(), nullable=False),
        sa.Column("digest", schema.Id(), nullable=False),
        sa.Column("profile", schema.Id(), nullable=False),
        sa.Column("parents", schema.Json(), nullable=False),
        sa.Column("created_at", schema.Micros(), nullable=False),
        sa.Column("delta_version", schema.Micros(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("time_column", schema.Id(), nullable=False),
        sa.Column("dedup_key", schema.Id(), nullable=False),
        sa.PrimaryKeyConstraint("project", "dataset", "number", name=op.f("pk_dataset_version")),
        sa.UniqueConstraint("id", name=op.f("uq_dataset_version_id")),
        sqlite_strict=True,
    )
    op.create_index(
        "uq_dataset_version_key",
        "dataset_version",
        ["project", "dataset", "dedup_key"],
        unique=True,
        sqlite_where=sa.text("dedup_key != ''"),
        postgresql_where=sa.text("dedup_key != ''"),
    )
    op.create_table(
        "deployment",
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("name", schema.Id(), nullable=False),
        sa.Column("endpoint", schema.Id(), nullable=False),
        sa.Column("model", schema.Id(), nullable=False),
        sa.Column("traffic", schema.Json(), nullable=False),
        sa.Column("created_at", schema.Micros(), nullable=False),
        sa.Column("updated_at", schema.Micros(), nullable=False),
        sa.PrimaryKeyConstraint("project", "name", name=op.f("pk_deployment")),
        sa.UniqueConstraint("endpoint", name=op.f("uq_deployment_endpoint")),
        sqlite_strict=True,
    )
    op.create_table(
        "early_label",
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("deployment", schema.Id(), nullable=False),
        sa.Column("prediction_id", schema.Id(), nullable=False),
        sa.Column("value", schema.Json(), nullable=False),
        sa.Column("at", schema.Micros(), nullable=False),
        sa.PrimaryKeyConstraint("project", "deployment", "prediction_id", name=op.f("pk_early_label")),
        sqlite_strict=True,
    )
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
    op.create_table(
        "experiment_tag",
        sa.Column("experiment", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("key", schema.Id(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("experiment", "key", name=op.f("pk_experiment_tag")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "feedback",
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("deployment", schema.Id(), nullable=False),
        sa.Column("prediction_id", schema.Id(), nullable=False),
        sa.Column("kind", schema.Id(), nullable=False),
        sa.Column("seq", schema.Micros(), nullable=False),
        sa.Column("number", schema.Real(), nullable=True),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("at", schema.Micros(), nullable=False),
        sa.Column("stored_at", schema.Micros(), nullable=False),
        sa.PrimaryKeyConstraint("project", "deployment", "prediction_id", "kind", name=op.f("pk_feedback")),
        sqlite_strict=True,
    )
    op.create_index("ix_feedback_seq", "feedback", ["project", "deployment", "seq"], unique=True)
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
    op.create_table(
        "logged_model_param",
        sa.Column("model", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("key", schema.Id(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("model", "key", name=op.f("pk_logged_model_param")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "logged_model_tag",
        sa.Column("model", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("key", schema.Id(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("model", "key", name=op.f("pk_logged_model_tag")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
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
    op.create_index("ix_metric_latest_key_sort_value", "metric_latest", ["key", "sort", "value"], unique=False)
    op.create_table(
        "model",
        sa.Column("serial", schema.Micros(), sa.Identity(always=False), nullable=False),
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("name", schema.Id(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("counted", schema.Micros(), nullable=False),
        sa.Column("created_at", schema.Micros(), nullable=False),
        sa.Column("updated_at", schema.Micros(), nullable=False),
        sa.Column("deleted_at", schema.Micros(), nullable=True),
        sa.PrimaryKeyConstraint("serial", name=op.f("pk_model")),
        sqlite_strict=True,
    )
    op.create_index("ix_model_project_name", "model", ["project", "name"], unique=False)
    op.create_index(
        "uq_model_living_name",
        "model",
        ["project", "name"],
        unique=True,
        sqlite_where=sa.text("deleted_at IS NULL"),
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_table(
        "model_redirect",
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("name", schema.Id(), nullable=False),
        sa.Column("model", schema.Micros(), nullable=False),
        sa.Column("at", schema.Micros(), nullable=False),
        sa.PrimaryKeyConstraint("project", "name", name=op.f("pk_model_redirect")),
        sqlite_strict=True,
    )
    op.create_index("ix_model_redirect_model", "model_redirect", ["model"], unique=False)
    op.create_table(
        "model_tag",
        sa.Column("model", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("key", schema.Id(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("model", "key", name=op.f("pk_model_tag")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "model_version",
        sa.Column("serial", schema.Micros(), sa.Identity(always=False), nullable=False),
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("model", schema.Micros(), nullable=False),
        sa.Column("number", schema.Micros(), nullable=False),
        sa.Column("key", schema.Id(), nullable=True),
        sa.Column("digest", schema.Id(), nullable=False),
        sa.Column("manifest", sa.Text(), nullable=False),
        sa.Column("signature", schema.Json(), nullable=True),
        sa.Column("flavour", schema.Id(), nullable=False),
        sa.Column("task", schema.Id(), nullable=False),
        sa.Column("classes", schema.Json(), nullable=False),
        sa.Column("example", schema.Json(), nullable=False),
        sa.Column("run_id", schema.Id(), nullable=False),
        sa.Column("datasets", schema.Json(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("metrics", schema.Json(), nullable=False),
        sa.Column("size_bytes", schema.Micros(), nullable=False),
        sa.Column("environment", schema.Json(), nullable=False),
        sa.Column("signed_by", schema.Id(), nullable=False),
        sa.Column("seal", sa.Text(), nullable=False),
        sa.Column("created_at", schema.Micros(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("updated_at", schema.Micros(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("source", schema.Id(), nullable=False),
        sa.Column("location", sa.Text(), nullable=False),
        sa.Column("run_link", sa.Text(), nullable=False),
        sa.Column("status", schema.Id(), nullable=False),
        sa.Column("status_message", sa.Text(), nullable=False),
        sa.Column("stage", schema.Id(), nullable=False),
        sa.Column("model_id", schema.Id(), nullable=False),
        sa.Column("deleted_at", schema.Micros(), nullable=True),
        sa.PrimaryKeyConstraint("serial", name=op.f("pk_model_version")),
        sa.UniqueConstraint("model", "key", name=op.f("uq_model_version_model_key")),
        sa.UniqueConstraint("model", "number", name=op.f("uq_model_version_model_number")),
        sqlite_strict=True,
    )
    op.create_index("ix_model_version_digest", "model_version", ["digest"], unique=False)
    op.create_index("ix_model_version_project_run_id", "model_version", ["project", "run_id"], unique=False)
    op.create_index("ix_model_version_project_updated_at", "model_version", ["project", "updated_at"], unique=False)
    op.create_table(
        "model_version_tag",
        sa.Column("version", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("key", schema.Id(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("version", "key", name=op.f("pk_model_version_tag")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "monitor",
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("deployment", schema.Id(), nullable=False),
        sa.Column("created_at", schema.Micros(), nullable=False),
        sa.Column("watermark", schema.Micros(), nullable=False),
        sa.Column("predictions", schema.Micros(), nullable=False),
        sa.Column("labels", schema.Micros(), nullable=False),
        sa.Column("position", sa.Text(), nullable=False),
        sa.Column("feedback_seq", schema.Micros(), nullable=False),
        sa.PrimaryKeyConstraint("project", "deployment", name=op.f("pk_monitor")),
        sqlite_strict=True,
    )
    op.create_table(
        "monitor_judgement",
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("deployment", schema.Id(), nullable=False),
        sa.Column("version", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("cause", schema.Id(), nullable=False),
        sa.Column("window_end", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("window_start", schema.Micros(), nullable=False),
        sa.Column("rows", schema.Micros(), nullable=False),
        sa.Column("evidence", schema.Real(), nullable=False),
        sa.Column("level", schema.Real(), nullable=False),
        sa.Column("state", schema.Id(), nullable=False),
        sa.Column("details", schema.Json(), nullable=False),
        sa.PrimaryKeyConstraint(
            "project", "deployment", "version", "cause", "window_end", name=op.f("pk_monitor_judgement")
        ),
        sqlite_strict=True,
    )
    op.create_table(
        "monitor_version",
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("deployment", schema.Id(), nullable=False),
        sa.Column("version", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("model", schema.Id(), nullable=False),
        sa.Column("task", schema.Id(), nullable=False),
        sa.Column("reference", schema.Id(), nullable=False),
        sa.Column("loss", schema.Id(), nullable=False),
        sa.Column("reference_loss", schema.Real(), nullable=False),
        sa.Column("problem", sa.Text(), nullable=False),
        sa.Column("drift_until", schema.Micros(), nullable=False),
        sa.Column("loss_until", schema.Micros(), nullable=False),
        sa.Column("state", schema.Json(), nullable=False),
        sa.PrimaryKeyConstraint("project", "deployment", "version", name=op.f("pk_monitor_version")),
        sqlite_strict=True,
    )
    op.create_table(
        "monitor_window",
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("deployment", schema.Id(), nullable=False),
        sa.Column("version", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("start", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("rows", schema.Micros(), nullable=False),
        sa.Column("sketch", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("project", "deployment", "version", "start", name=op.f("pk_monitor_window")),
        sqlite_strict=True,
    )
    op.create_table(
        "param",
        sa.Column("run", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("key", schema.Id(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("run", "key", name=op.f("pk_param")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_param_key_value",
        "param",
        ["key", "value"],
        unique=False,
        sqlite_where=sa.text("length(value) <= 100"),
        postgresql_where=sa.text("length(value) <= 100"),
    )
    op.create_table(
        "performance_window",
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("deployment", schema.Id(), nullable=False),
        sa.Column("version", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("start", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("outcomes", schema.Json(), nullable=False),
        sa.PrimaryKeyConstraint("project", "deployment", "version", "start", name=op.f("pk_performance_window")),
        sqlite_strict=True,
    )
    op.create_table(
        "pipeline_run",
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("id", schema.Id(), nullable=False),
        sa.Column("pipeline", schema.Id(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("params", schema.Json(), nullable=False),
        sa.Column("state", schema.Id(), nullable=False),
        sa.Column("engine", schema.Id(), nullable=False),
        sa.Column("job_id", schema.Id(), nullable=False),
        sa.Column("attempt", schema.Micros(), nullable=False),
        sa.Column("tracked", schema.Flag(), nullable=False),
        sa.Column("pins", schema.Json(), nullable=False),
        sa.Column("result", schema.Json(), nullable=True),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("created_at", schema.Micros(), nullable=False),
        sa.Column("started_at", schema.Micros(), nullable=False),
        sa.Column("finished_at", schema.Micros(), nullable=False),
        sa.PrimaryKeyConstraint("project", "id", name=op.f("pk_pipeline_run")),
        sqlite_strict=True,
    )
    op.create_index("ix_pipeline_run_created_at", "pipeline_run", ["project", "created_at"], unique=False)
    op.create_index("ix_pipeline_run_pipeline", "pipeline_run", ["project", "pipeline", "created_at"], unique=False)
    op.create_index("ix_pipeline_run_state", "pipeline_run", ["state"], unique=False)
    op.create_table(
        "policy_switch",
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("policy", schema.Id(), nullable=False),
        sa.Column("enabled", schema.Flag(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", schema.Micros(), nullable=False),
        sa.PrimaryKeyConstraint("project", "policy", name=op.f("pk_policy_switch")),
        sqlite_strict=True,
    )
    op.create_table(
        "queue_control",
        sa.Column("queue", schema.Id(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("running_limit", schema.Micros(), nullable=False),
        sa.Column("group_limit", schema.Micros(), nullable=False),
        sa.PrimaryKeyConstraint("queue", name=op.f("pk_queue_control")),
        sqlite_strict=True,
    )
    op.create_table(
        "rollout",
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("id", schema.Id(), nullable=False),
        sa.Column("deployment", schema.Id(), nullable=False),
        sa.Column("champion", schema.Micros(), nullable=False),
        sa.Column("version", schema.Micros(), nullable=False),
        sa.Column("share", schema.Real(), nullable=False),
        sa.Column("step", schema.Micros(), nullable=False),
        sa.Column("spec", schema.Json(), nullable=False),
        sa.Column("state", schema.Id(), nullable=False),
        sa.Column("started_at", schema.Micros(), nullable=False),
        sa.Column("ended_at", schema.Micros(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("decision", schema.Json(), nullable=False),
        sa.PrimaryKeyConstraint("project", "id", name=op.f("pk_rollout")),
        sqlite_strict=True,
    )
    op.create_index("ix_rollout_project_deployment_id", "rollout", ["project", "deployment", "id"], unique=False)
    op.create_index(
        "uq_rollout_open",
        "rollout",
        ["project", "deployment"],
        unique=True,
        sqlite_where=sa.text("state IN ('running', 'held')"),
        postgresql_where=sa.text("state IN ('running', 'held')"),
    )
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
    op.create_index("ix_run_experiment_started_at_id", "run", ["experiment", "started_at", "id"], unique=False)
    op.create_index("ix_run_parent", "run", ["parent"], unique=False)
    op.create_index("ix_run_project_started_at_id", "run", ["project", "started_at", "id"], unique=False)
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
    op.create_table(
        "span",
        sa.Column("trace", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("id", schema.Id(), nullable=False),
        sa.Column("started_ns", schema.Micros(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("trace", "id", name=op.f("pk_span")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "stage_change",
        sa.Column("seq", schema.Micros(), sa.Identity(always=False), nullable=False),
        sa.Column("model", schema.Micros(), nullable=False),
        sa.Column("version", schema.Micros(), nullable=False),
        sa.Column("stage", schema.Id(), nullable=False),
        sa.Column("before", schema.Id(), nullable=False),
        sa.Column("at", schema.Micros(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_stage_change")),
        sqlite_strict=True,
    )
    op.create_index("ix_stage_change_model_version_seq", "stage_change", ["model", "version", "seq"], unique=False)
    op.create_table(
        "step_cache",
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("key", schema.Id(), nullable=False),
        sa.Column("output", schema.Json(), nullable=False),
        sa.Column("reads", schema.Json(), nullable=False),
        sa.Column("run", schema.Id(), nullable=False),
        sa.Column("created_at", schema.Micros(), nullable=False),
        sa.PrimaryKeyConstraint("project", "key", name=op.f("pk_step_cache")),
        sqlite_strict=True,
    )
    op.create_table(
        "step_run",
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("run", schema.Id(), nullable=False),
        sa.Column("step", schema.Id(), nullable=False),
        sa.Column("position", schema.Micros(), nullable=False),
        sa.Column("function", schema.Id(), nullable=False),
        sa.Column("plan", schema.Json(), nullable=False),
        sa.Column("state", schema.Id(), nullable=False),
        sa.Column("attempt", schema.Micros(), nullable=False),
        sa.Column("failures", schema.Micros(), nullable=False),
        sa.Column("key", schema.Id(), nullable=False),
        sa.Column("parts", schema.Json(), nullable=True),
        sa.Column("output", schema.Json(), nullable=True),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("log", schema.Id(), nullable=False),
        sa.Column("source", schema.Id(), nullable=False),
        sa.Column("started_at", schema.Micros(), nullable=False),
        sa.Column("finished_at", schema.Micros(), nullable=False),
        sa.PrimaryKeyConstraint("project", "run", "step", name=op.f("pk_step_run")),
        sqlite_strict=True,
    )
    op.create_table(
        "tag",
        sa.Column("run", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("key", schema.Id(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("run", "key", name=op.f("pk_tag")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_tag_key_value",
        "tag",
        ["key", "value"],
        unique=False,
        sqlite_where=sa.text("length(value) <= 100"),
        postgresql_where=sa.text("length(value) <= 100"),
    )
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
    op.create_table(
        "trace_metadata",
        sa.Column("trace", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("key", schema.Id(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("trace", "key", name=op.f("pk_trace_metadata")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "trace_tag",
        sa.Column("trace", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("key", schema.Id(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("trace", "key", name=op.f("pk_trace_tag")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "traffic_change",
        sa.Column("seq", schema.Micros(), sa.Identity(always=False), nullable=False),
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("deployment", schema.Id(), nullable=False),
        sa.Column("at", schema.Micros(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("traffic", schema.Json(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_traffic_change")),
        sqlite_strict=True,
    )
    op.create_index(
        "ix_traffic_change_project_deployment_seq", "traffic_change", ["project", "deployment", "seq"], unique=False
    )
    op.create_table(
        "verdict",
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("id", schema.Id(), nullable=False),
        sa.Column("gate", schema.Id(), nullable=False),
        sa.Column("model", schema.Id(), nullable=False),
        sa.Column("version", schema.Micros(), nullable=False),
        sa.Column("champion", schema.Micros(), nullable=True),
        sa.Column("outcome", schema.Id(), nullable=False),
        sa.Column("undecided", sa.Text(), nullable=False),
        sa.Column("checks", schema.Json(), nullable=False),
        sa.Column("spec", schema.Json(), nullable=False),
        sa.Column("n", schema.Micros(), nullable=False),
        sa.Column("data_ref", schema.Id(), nullable=False),
        sa.Column("use", schema.Micros(), nullable=False),
        sa.Column("alpha", schema.Real(), nullable=False),
        sa.Column("seed", schema.Micros(), nullable=False),
        sa.Column("candidate_digest", schema.Id(), nullable=False),
        sa.Column("champion_digest", schema.Id(), nullable=False),
        sa.Column("idempotency_key", schema.Id(), nullable=False),
        sa.Column("created_at", schema.Micros(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("project", "id", name=op.f("pk_verdict")),
        sqlite_strict=True,
    )
    op.create_index("ix_verdict_data_ref", "verdict", ["project", "data_ref"], unique=False)
    op.create_index("ix_verdict_model", "verdict", ["project", "model", "id"], unique=False)
    op.create_index(
        "uq_verdict_key",
        "verdict",
        ["project", "idempotency_key"],
        unique=True,
        sqlite_where=sa.text("idempotency_key != ''"),
        postgresql_where=sa.text("idempotency_key != ''"),
    )
    op.create_table(
        "webhook",
        sa.Column("id", schema.Id(), nullable=False),
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("name", schema.Id(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("events", schema.Json(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("status", schema.Id(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("since", schema.Micros(), nullable=False),
        sa.Column("created_at", schema.Micros(), nullable=False),
        sa.Column("updated_at", schema.Micros(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook")),
        sqlite_strict=True,
    )
    op.create_index("ix_webhook_project_id", "webhook", ["project", "id"], unique=False)

    for statement in EVENT_TRIGGERS[op.get_bind().dialect.name]:
        op.execute(statement)
