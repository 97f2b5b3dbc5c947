"""The tables of pipelines."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from mainspring.storage import schema


def upgrade() -> None:
    _pipeline_run()
    _search_study()
    _search_trial()
    _step_cache()
    _step_run()


def _pipeline_run() -> None:
    op.create_table(
        "pipeline_run",
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("id", schema.Id(), nullable=False),
        sa.Column("pipeline", schema.Id(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("params", schema.Json(), nullable=False),
        sa.Column("state", schema.Id(), nullable=False),
        sa.Column("engine", schema.Id(), nullable=False),
        sa.Column("job_id", schema.Id(), nullable=False),
        sa.Column("attempt", schema.Micros(), nullable=False),
        sa.Column("tracked", schema.Flag(), nullable=False),
        sa.Column("cache", schema.Flag(), nullable=False),
        sa.Column("pausing", schema.Flag(), nullable=False),
        sa.Column("priority", schema.Micros(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("pins", schema.Json(), nullable=False),
        sa.Column("code", schema.Json(), nullable=False),
        sa.Column("result", schema.Json(), nullable=True),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("error_code", schema.Id(), nullable=False),
        sa.Column("created_at", schema.Micros(), nullable=False),
        sa.Column("started_at", schema.Micros(), nullable=False),
        sa.Column("finished_at", schema.Micros(), nullable=False),
        sa.PrimaryKeyConstraint("project", "id", name=op.f("pk_pipeline_run")),
        sqlite_strict=True,
    )
    op.create_index("ix_pipeline_run_created_at", "pipeline_run", ["project", "created_at"], unique=False)
    op.create_index("ix_pipeline_run_pipeline", "pipeline_run", ["project", "pipeline", "created_at"], unique=False)
    op.create_index("ix_pipeline_run_state", "pipeline_run", ["state"], unique=False)


def _search_study() -> None:
    op.create_table(
        "search_study",
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("id", schema.Id(), nullable=False),
        sa.Column("pipeline", schema.Id(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("search", schema.Json(), nullable=False),
        sa.Column("state", schema.Id(), nullable=False),
        sa.Column("winner", schema.Id(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("job_id", schema.Id(), nullable=False),
        sa.Column("created_at", schema.Micros(), nullable=False),
        sa.Column("finished_at", schema.Micros(), nullable=False),
        sa.PrimaryKeyConstraint("project", "id", name=op.f("pk_search_study")),
        sqlite_strict=True,
    )
    op.create_index("ix_search_study_created_at", "search_study", ["project", "created_at"], unique=False)


def _search_trial() -> None:
    op.create_table(
        "search_trial",
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("study", schema.Id(), nullable=False),
        sa.Column("number", schema.Micros(), autoincrement=False, nullable=False),
        sa.Column("state", schema.Id(), nullable=False),
        sa.Column("params", schema.Json(), nullable=False),
        sa.Column("run", schema.Id(), nullable=False),
        sa.Column("tries", schema.Micros(), nullable=False),
        sa.Column("values", schema.Json(), nullable=False),
        sa.Column("steps", schema.Json(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("started_at", schema.Micros(), nullable=False),
        sa.Column("finished_at", schema.Micros(), nullable=False),
        sa.PrimaryKeyConstraint("project", "study", "number", name=op.f("pk_search_trial")),
        sqlite_strict=True,
    )


def _step_cache() -> None:
    op.create_table(
        "step_cache",
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("key", schema.Id(), nullable=False),
        sa.Column("output", schema.Json(), nullable=False),
        sa.Column("reads", schema.Json(), nullable=False),
        sa.Column("run", schema.Id(), nullable=False),
        sa.Column("created_at", schema.Micros(), nullable=False),
        sa.PrimaryKeyConstraint("project", "key", name=op.f("pk_step_cache")),
        sqlite_strict=True,
    )


def _step_run() -> None:
    op.create_table(
        "step_run",
        sa.Column("project", schema.Id(), nullable=False),
        sa.Column("run", schema.Id(), nullable=False),
        sa.Column("step", schema.Id(), nullable=False),
        sa.Column("parent", schema.Id(), nullable=False),
        sa.Column("position", schema.Micros(), nullable=False),
        sa.Column("function", schema.Id(), nullable=False),
        sa.Column("plan", schema.Json(), nullable=False),
        sa.Column("state", schema.Id(), nullable=False),
        sa.Column("attempt", schema.Micros(), nullable=False),
        sa.Column("failures", schema.Micros(), nullable=False),
        sa.Column("key", schema.Id(), nullable=False),
        sa.Column("parts", schema.Json(), nullable=True),
        sa.Column("output", schema.Json(), nullable=True),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("error_code", schema.Id(), nullable=False),
        sa.Column("log", schema.Id(), nullable=False),
        sa.Column("source", schema.Id(), nullable=False),
        sa.Column("cpu_us", schema.Micros(), nullable=False),
        sa.Column("memory", schema.Micros(), nullable=False),
        sa.Column("decision", schema.Json(), nullable=True),
        sa.Column("started_at", schema.Micros(), nullable=False),
        sa.Column("finished_at", schema.Micros(), nullable=False),
        sa.PrimaryKeyConstraint("project", "run", "step", name=op.f("pk_step_run")),
        sqlite_strict=True,
    )
    op.create_index(
        "ix_step_run_asked",
        "step_run",
        ["project", "run"],
        unique=False,
        sqlite_where=sa.text("state = 'asked'"),
        postgresql_where=sa.text("state = 'asked'"),
    )
    op.create_index(
        "ix_step_run_making",
        "step_run",
        ["project", "key"],
        unique=False,
        sqlite_where=sa.text("state = 'running'"),
        postgresql_where=sa.text("state = 'running'"),
    )
