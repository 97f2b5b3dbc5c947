"""The tables of loop."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from mainspring.storage import schema


def upgrade() -> None:
    _cycle()
    _declaration()
    _hook_delivery()
    _plan_state()
    _policy_switch()
    _trigger()
    _trigger_fire()


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


def _declaration() -> None:
    op.create_table(
        "declaration",
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("kind", schema.Id(), nullable=False),
        sa.Column("name", schema.Id(), nullable=False),
        sa.Column("spec", schema.Json(), nullable=False),
        sa.Column("by", schema.Id(), nullable=False),
        sa.Column("at", schema.Micros(), nullable=False),
        sa.PrimaryKeyConstraint("project", "kind", "name", name=op.f("pk_declaration")),
        sqlite_strict=True,
    )


def _hook_delivery() -> None:
    op.create_table(
        "hook_delivery",
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("trigger", schema.Id(), nullable=False),
        sa.Column("key", schema.Id(), nullable=False),
        sa.Column("at", schema.Micros(), nullable=False),
        sa.Column("seq", schema.Micros(), nullable=False),
        sa.PrimaryKeyConstraint("project", "trigger", "key", name=op.f("pk_hook_delivery")),
        sqlite_strict=True,
    )


def _plan_state() -> None:
    op.create_table(
        "plan_state",
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("serial", schema.Micros(), nullable=False),
        sa.Column("holder", schema.Id(), nullable=False),
        sa.Column("held_by", schema.Id(), nullable=False),
        sa.Column("held_at", schema.Micros(), nullable=False),
        sa.Column("held_until", schema.Micros(), nullable=False),
        sa.PrimaryKeyConstraint("project", name=op.f("pk_plan_state")),
        sqlite_strict=True,
    )


def _policy_switch() -> None:
    op.create_table(
        "policy_switch",
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("policy", schema.Id(), nullable=False),
        sa.Column("enabled", schema.Flag(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", schema.Micros(), nullable=False),
        sa.Column("by", schema.Id(), nullable=False),
        sa.PrimaryKeyConstraint("project", "policy", name=op.f("pk_policy_switch")),
        sqlite_strict=True,
    )


def _trigger() -> None:
    op.create_table(
        "trigger",
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("name", schema.Id(), nullable=False),
        sa.Column("watches", schema.Id(), nullable=False),
        sa.Column("spec", schema.Json(), nullable=False),
        sa.Column("since", schema.Micros(), nullable=False),
        sa.Column("mark", schema.Micros(), nullable=False),
        sa.Column("created_at", schema.Micros(), nullable=False),
        sa.Column("paused_at", schema.Micros(), nullable=False),
        sa.Column("paused_by", schema.Id(), nullable=False),
        sa.Column("paused_why", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("project", "name", name=op.f("pk_trigger")),
        sqlite_strict=True,
    )


def _trigger_fire() -> None:
    op.create_table(
        "trigger_fire",
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("trigger", schema.Id(), nullable=False),
        sa.Column("id", schema.Id(), nullable=False),
        sa.Column("key", schema.Id(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("outcome", schema.Id(), nullable=False),
        sa.Column("code", schema.Id(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", schema.Micros(), nullable=False),
        sa.Column("started", schema.Id(), nullable=False),
        sa.Column("times", schema.Micros(), nullable=False),
        sa.PrimaryKeyConstraint("project", "trigger", "id", name=op.f("pk_trigger_fire")),
        sqlite_strict=True,
    )
    op.create_index("ix_trigger_fire_key", "trigger_fire", ["project", "trigger", "key"], unique=False)
