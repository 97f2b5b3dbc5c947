"""The tables of gates."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from mainspring.storage import schema


def upgrade() -> None:
    _gate_approval()
    _verdict()


def _gate_approval() -> None:
    op.create_table(
        "gate_approval",
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("verdict", schema.Id(), nullable=False),
        sa.Column("decision", schema.Id(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("actor", schema.Id(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", schema.Micros(), nullable=False),
        sa.Column("digest", schema.Id(), nullable=False),
        sa.Column("evidence", schema.Id(), nullable=False),
        sa.PrimaryKeyConstraint("project", "verdict", "actor", name=op.f("pk_gate_approval")),
        sqlite_strict=True,
    )


def _verdict() -> None:
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
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("scores", schema.Json(), nullable=False),
        sa.Column("approve", schema.Json(), nullable=False),
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
