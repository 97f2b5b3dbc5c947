"""The tables of registry."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from mainspring.storage import schema


def upgrade() -> None:
    _alias_change()
    _model()
    _model_redirect()
    _model_tag()
    _model_version()
    _model_version_tag()
    _stage_change()
    _webhook()


def _alias_change() -> None:
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


def _model() -> None:
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


def _model_redirect() -> None:
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


def _model_tag() -> None:
    op.create_table(
        "model_tag",
        sa.Column("model", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("key", schema.Id(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("model", "key", name=op.f("pk_model_tag")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )


def _model_version() -> None:
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


def _model_version_tag() -> None:
    op.create_table(
        "model_version_tag",
        sa.Column("version", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("key", schema.Id(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("version", "key", name=op.f("pk_model_version_tag")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )


def _stage_change() -> None:
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


def _webhook() -> None:
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
