"""The tables of training."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from mainspring.storage import schema


def upgrade() -> None:
    _leaderboard()
    _leaderboard_candidate()


def _leaderboard() -> None:
    op.create_table(
        "leaderboard",
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("id", schema.Id(), nullable=False),
        sa.Column("state", schema.Id(), nullable=False),
        sa.Column("dataset", schema.Id(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("plan", schema.Json(), nullable=False),
        sa.Column("spent_us", schema.Micros(), nullable=False),
        sa.Column("version", schema.Micros(), nullable=False),
        sa.Column("test", schema.Json(), nullable=False),
        sa.Column("test_use", schema.Micros(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("job_id", schema.Id(), nullable=False),
        sa.Column("attempt", schema.Micros(), nullable=False),
        sa.Column("created_at", schema.Micros(), nullable=False),
        sa.Column("finished_at", schema.Micros(), nullable=False),
        sa.PrimaryKeyConstraint("project", "id", name=op.f("pk_leaderboard")),
        sqlite_strict=True,
    )
    op.create_index("ix_leaderboard_created_at", "leaderboard", ["project", "created_at"], unique=False)
    op.create_index("ix_leaderboard_state", "leaderboard", ["state"], unique=False)


def _leaderboard_candidate() -> None:
    op.create_table(
        "leaderboard_candidate",
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("leaderboard", schema.Id(), nullable=False),
        sa.Column("position", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("name", schema.Id(), nullable=False),
        sa.Column("family", schema.Id(), nullable=False),
        sa.Column("params", schema.Json(), nullable=False),
        sa.Column("state", schema.Id(), nullable=False),
        sa.Column("run", schema.Id(), nullable=False),
        sa.Column("answers", schema.Id(), nullable=False),
        sa.Column("measured", schema.Json(), nullable=False),
        sa.Column("behind", schema.Json(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("project", "leaderboard", "position", name=op.f("pk_leaderboard_candidate")),
        sqlite_strict=True,
    )
