"""The tables of serving."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from mainspring.storage import schema


def upgrade() -> None:
    _bandit()
    _deployment()
    _feedback()
    _replay()
    _review()
    _rollout()
    _traffic_change()


def _bandit() -> None:
    op.create_table(
        "bandit",
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("id", schema.Id(), nullable=False),
        sa.Column("deployment", schema.Id(), nullable=False),
        sa.Column("versions", schema.Json(), nullable=False),
        sa.Column("spec", schema.Json(), nullable=False),
        sa.Column("state", schema.Id(), nullable=False),
        sa.Column("started_at", schema.Micros(), nullable=False),
        sa.Column("ended_at", schema.Micros(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("arms", schema.Json(), nullable=False),
        sa.Column("learned_at", schema.Micros(), nullable=False),
        sa.PrimaryKeyConstraint("project", "id", name=op.f("pk_bandit")),
        sqlite_strict=True,
    )
    op.create_index("ix_bandit_project_deployment_id", "bandit", ["project", "deployment", "id"], unique=False)
    op.create_index(
        "uq_bandit_running",
        "bandit",
        ["project", "deployment"],
        unique=True,
        sqlite_where=sa.text("state = 'running'"),
        postgresql_where=sa.text("state = 'running'"),
    )


def _deployment() -> None:
    op.create_table(
        "deployment",
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("name", schema.Id(), nullable=False),
        sa.Column("endpoint", schema.Id(), nullable=False),
        sa.Column("model", schema.Id(), nullable=False),
        sa.Column("traffic", schema.Json(), nullable=False),
        sa.Column("options", schema.Json(), nullable=False),
        sa.Column("created_at", schema.Micros(), nullable=False),
        sa.Column("updated_at", schema.Micros(), nullable=False),
        sa.PrimaryKeyConstraint("project", "name", name=op.f("pk_deployment")),
        sa.UniqueConstraint("endpoint", name=op.f("uq_deployment_endpoint")),
        sqlite_strict=True,
    )


def _feedback() -> None:
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


def _replay() -> None:
    op.create_table(
        "replay",
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("id", schema.Id(), nullable=False),
        sa.Column("deployment", schema.Id(), nullable=False),
        sa.Column("version", schema.Micros(), nullable=False),
        sa.Column("since", schema.Micros(), nullable=True),
        sa.Column("until", schema.Micros(), nullable=True),
        sa.Column("state", schema.Id(), nullable=False),
        sa.Column("rows", schema.Micros(), nullable=False),
        sa.Column("done", schema.Micros(), nullable=False),
        sa.Column("started_at", schema.Micros(), nullable=False),
        sa.Column("beat_at", schema.Micros(), nullable=False),
        sa.Column("ended_at", schema.Micros(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("report", schema.Json(), nullable=False),
        sa.PrimaryKeyConstraint("project", "id", name=op.f("pk_replay")),
        sqlite_strict=True,
    )
    op.create_index("ix_replay_project_deployment_id", "replay", ["project", "deployment", "id"], unique=False)


def _review() -> None:
    op.create_table(
        "review",
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("id", schema.Id(), nullable=False),
        sa.Column("deployment", schema.Id(), nullable=False),
        sa.Column("prediction_id", schema.Id(), nullable=False),
        sa.Column("version", schema.Micros(), nullable=False),
        sa.Column("marks", schema.Json(), nullable=False),
        sa.Column("answer", schema.Json(), nullable=False),
        sa.Column("asked_at", schema.Micros(), nullable=False),
        sa.Column("state", schema.Id(), nullable=False),
        sa.Column("decision", schema.Json(), nullable=False),
        sa.Column("decided_by", sa.Text(), nullable=False),
        sa.Column("decided_at", schema.Micros(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("project", "id", name=op.f("pk_review")),
        sa.UniqueConstraint(
            "project", "deployment", "prediction_id", name=op.f("uq_review_project_deployment_prediction_id")
        ),
        sqlite_strict=True,
    )
    op.create_index("ix_review_project_state_id", "review", ["project", "state", "id"], unique=False)


def _rollout() -> None:
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
        sa.Column("standing", schema.Json(), nullable=False),
        sa.PrimaryKeyConstraint("project", "id", name=op.f("pk_rollout")),
        sqlite_strict=True,
    )
    op.create_index("ix_rollout_project_deployment_id", "rollout", ["project", "deployment", "id"], unique=False)
    op.create_index(
        "uq_rollout_open",
        "rollout",
        ["project", "deployment"],
        unique=True,
        sqlite_where=sa.text("state IN ('running', 'paused', 'held')"),
        postgresql_where=sa.text("state IN ('running', 'paused', 'held')"),
    )


def _traffic_change() -> None:
    op.create_table(
        "traffic_change",
        sa.Column("seq", schema.Micros(), sa.Identity(always=False), nullable=False),
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("deployment", schema.Id(), nullable=False),
        sa.Column("at", schema.Micros(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("traffic", schema.Json(), nullable=False),
        sa.Column("redact", schema.Json(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_traffic_change")),
        sqlite_strict=True,
    )
    op.create_index(
        "ix_traffic_change_project_deployment_seq", "traffic_change", ["project", "deployment", "seq"], unique=False
    )
