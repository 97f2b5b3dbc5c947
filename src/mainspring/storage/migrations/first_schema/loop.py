"""The tables of loop."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from mainspring.storage import schema


def upgrade() -> None:
    _cycle()
    _policy_switch()


def _cycle() -> None:
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


def _policy_switch() -> None:
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
