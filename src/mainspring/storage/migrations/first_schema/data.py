"""The tables of data."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from mainspring.storage import schema


def upgrade() -> None:
    _dataset()
    _dataset_version()


def _dataset() -> None:
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


def _dataset_version() -> None:
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
