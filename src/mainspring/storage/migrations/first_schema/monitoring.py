"""The tables of monitoring."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from mainspring.storage import schema


def upgrade() -> None:
    _alarm()
    _awaiting_label()
    _early_label()
    _feedback_window()
    _monitor()
    _monitor_judgement()
    _monitor_version()
    _monitor_window()
    _performance_window()
    _service_window()
    _silence()
    _usage_window()


def _alarm() -> None:
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
        sa.Column("escalated_at", schema.Micros(), nullable=False),
        sa.Column("closed_at", schema.Micros(), nullable=False),
        sa.Column("closed_by", sa.Text(), nullable=False),
        sa.Column("silence", schema.Id(), nullable=False),
        sa.PrimaryKeyConstraint("project", "id", name=op.f("pk_alarm")),
        sqlite_strict=True,
    )
    op.create_index("ix_alarm_deployment", "alarm", ["project", "deployment", "id"], unique=False)


def _awaiting_label() -> None:
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
        sa.Column("segments", sa.Text(), nullable=False),
        sa.Column("part", sa.Text(), nullable=False),
        sa.Column("low", schema.Real(), nullable=True),
        sa.Column("high", schema.Real(), nullable=True),
        sa.Column("label", schema.Real(), nullable=True),
        sa.Column("cells", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("project", "deployment", "prediction_id", name=op.f("pk_awaiting_label")),
        sqlite_strict=True,
    )
    op.create_index("ix_awaiting_label_event_at", "awaiting_label", ["project", "deployment", "event_at"], unique=False)


def _early_label() -> None:
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


def _feedback_window() -> None:
    op.create_table(
        "feedback_window",
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("deployment", schema.Id(), nullable=False),
        sa.Column("kind", schema.Id(), nullable=False),
        sa.Column("start", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("rows", schema.Micros(), nullable=False),
        sa.Column("numbers", schema.Micros(), nullable=False),
        sa.Column("total", schema.Real(), nullable=False),
        sa.Column("squares", schema.Real(), nullable=False),
        sa.PrimaryKeyConstraint("project", "deployment", "kind", "start", name=op.f("pk_feedback_window")),
        sqlite_strict=True,
    )


def _monitor() -> None:
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


def _monitor_judgement() -> None:
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


def _monitor_version() -> None:
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


def _monitor_window() -> None:
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


def _performance_window() -> None:
    op.create_table(
        "performance_window",
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("deployment", schema.Id(), nullable=False),
        sa.Column("version", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("segment", schema.Id(), nullable=False),
        sa.Column("start", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("outcomes", schema.Json(), nullable=False),
        sa.PrimaryKeyConstraint(
            "project", "deployment", "version", "segment", "start", name=op.f("pk_performance_window")
        ),
        sqlite_strict=True,
    )


def _service_window() -> None:
    op.create_table(
        "service_window",
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("deployment", schema.Id(), nullable=False),
        sa.Column("version", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("start", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("requests", schema.Micros(), nullable=False),
        sa.Column("counts", schema.Json(), nullable=False),
        sa.PrimaryKeyConstraint("project", "deployment", "version", "start", name=op.f("pk_service_window")),
        sqlite_strict=True,
    )
    op.create_index("ix_service_window_start", "service_window", ["project", "deployment", "start"], unique=False)


def _silence() -> None:
    op.create_table(
        "silence",
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("id", schema.Id(), nullable=False),
        sa.Column("deployment", schema.Id(), nullable=False),
        sa.Column("cause", schema.Id(), nullable=False),
        sa.Column("column", sa.Text(), nullable=False),
        sa.Column("until", schema.Micros(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("created_at", schema.Micros(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("ended_at", schema.Micros(), nullable=False),
        sa.Column("ended_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("project", "id", name=op.f("pk_silence")),
        sqlite_strict=True,
    )


def _usage_window() -> None:
    op.create_table(
        "usage_window",
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("start", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("worker", schema.Id(), nullable=False),
        sa.Column("pid", schema.Micros(), nullable=False),
        sa.Column("seconds", schema.Real(), nullable=False),
        sa.Column("cores", schema.Real(), nullable=False),
        sa.Column("memory_mb", schema.Real(), nullable=False),
        sa.Column("models", schema.Id(), nullable=False),
        sa.PrimaryKeyConstraint("project", "start", "worker", name=op.f("pk_usage_window")),
        sqlite_strict=True,
    )
