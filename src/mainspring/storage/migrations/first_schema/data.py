"""The tables of data."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from mainspring.storage import schema


def upgrade() -> None:
    _dataset()
    _dataset_version()
    _feature_materialization()
    _feature_view()
    _split()
    _split_use()


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


def _feature_materialization() -> None:
    op.create_table(
        "feature_materialization",
        sa.Column("id", schema.Id(), nullable=False),
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("view", schema.Id(), nullable=False),
        sa.Column("number", schema.Micros(), nullable=False),
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.Column("as_of", schema.Micros(), nullable=False),
        sa.Column("entities", schema.Micros(), nullable=False),
        sa.Column("size_bytes", schema.Micros(), nullable=False),
        sa.Column("made_at", schema.Micros(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_feature_materialization")),
        sqlite_strict=True,
    )
    op.create_index(
        "ix_feature_materialization_view", "feature_materialization", ["project", "view", "id"], unique=False
    )


def _feature_view() -> None:
    op.create_table(
        "feature_view",
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("name", schema.Id(), nullable=False),
        sa.Column("number", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("spec", schema.Json(), nullable=False),
        sa.Column("keys", schema.Json(), nullable=False),
        sa.Column("columns", schema.Json(), nullable=False),
        sa.Column("digest", schema.Id(), nullable=False),
        sa.Column("created_at", schema.Micros(), nullable=False),
        sa.PrimaryKeyConstraint("project", "name", "number", name=op.f("pk_feature_view")),
        sqlite_strict=True,
    )


def _split() -> None:
    op.create_table(
        "split",
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("name", schema.Id(), nullable=False),
        sa.Column("number", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("dataset", schema.Id(), nullable=False),
        sa.Column("dataset_digest", schema.Id(), nullable=False),
        sa.Column("spec", schema.Json(), nullable=False),
        sa.Column("parts", schema.Json(), nullable=False),
        sa.Column("digest", schema.Id(), nullable=False),
        sa.Column("assignment", schema.Id(), nullable=False),
        sa.Column("uses", schema.Micros(), nullable=False),
        sa.Column("created_at", schema.Micros(), nullable=False),
        sa.PrimaryKeyConstraint("project", "name", "number", name=op.f("pk_split")),
        sa.UniqueConstraint("project", "name", "dataset", "digest", name=op.f("uq_split_project_name_dataset_digest")),
        sqlite_strict=True,
    )


def _split_use() -> None:
    op.create_table(
        "split_use",
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("name", schema.Id(), nullable=False),
        sa.Column("number", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("use", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("actor", schema.Id(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("at", schema.Micros(), nullable=False),
        sa.PrimaryKeyConstraint("project", "name", "number", "use", name=op.f("pk_split_use")),
        sqlite_strict=True,
    )
