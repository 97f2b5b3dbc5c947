"""The tables of governance."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from mainspring.storage import schema


def upgrade() -> None:
    _card()


def _card() -> None:
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
