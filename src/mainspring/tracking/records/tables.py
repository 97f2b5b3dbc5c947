"""The tables of tracking. Experiments, runs, metric names and datasets are interned: a point is five numbers."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from mainspring.storage.references import names_blob, names_no_blob
from mainspring.storage.schema import Flag, Id, Json, Micros, Real, metadata


def _number(name: str) -> sa.Column[int]:
    """A column that is part of a key and holds the number of a row of another table."""
    return sa.Column(name, Micros, primary_key=True, autoincrement=False)


INDEXED_TEXT = 100
"""Runs are found by texts of so many characters; Postgres takes none into an index that are as long as texts may be."""


def _interned(name: str, *columns: sa.schema.SchemaItem) -> sa.Table:
    """A table whose rows get a number. It is never given twice, also after a row was removed: processes remember it."""
    return sa.Table(
        name,
        metadata,
        sa.Column("number", Micros, sa.Identity(), primary_key=True),
        *columns,
        sqlite_strict=True,
        sqlite_autoincrement=True,
    )


def _latest() -> list[sa.Column[Any]]:
    """The columns of the latest point of a metric."""
    whole: list[sa.Column[Any]] = [sa.Column(name, Micros, nullable=False) for name in ("step", "at", "sort")]
    return [*whole, sa.Column("value", Real, nullable=False)]


def _texts(name: str, owner: str) -> sa.Table:
    return sa.Table(
        name,
        metadata,
        _number(owner),
        sa.Column("key", Id, primary_key=True),
        sa.Column("value", Id, nullable=False),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )


experiment = _interned(
    "experiment",
    sa.Column("id", Id, nullable=False),
    sa.Column("project", Id, nullable=False),
    sa.Column("name", Id, nullable=False),
    sa.Column("location", sa.Text, nullable=False),
    sa.Column("created_at", Micros, nullable=False),
    sa.Column("updated_at", Micros, nullable=False),
    sa.Column("deleted_at", Micros),
    sa.UniqueConstraint("project", "id"),
    sa.UniqueConstraint("project", "name"),
)
"""`id` is what clients see: "0" for the project's `Default`, else a decimal number. `location` is where its runs keep
their files. A deleted experiment keeps its name."""

experiment_tag = _texts("experiment_tag", "experiment")

run = _interned(
    "run",
    sa.Column("id", Id, nullable=False, unique=True),
    sa.Column("project", Id, nullable=False),
    sa.Column("experiment", Micros, nullable=False),
    sa.Column("name", Id, nullable=False),
    sa.Column("parent", Id, nullable=False),
    sa.Column("status", Id, nullable=False),
    sa.Column("started_at", Micros, nullable=False),
    sa.Column("ended_at", Micros),
    sa.Column("duration", Micros, sa.Computed("ended_at - started_at", persisted=True)),
    sa.Column("deleted_at", Micros),
    sa.Column("seed", Micros),
    sa.Column("created_by", Id, nullable=False),
    sa.Column("user_id", Id, nullable=False),
    sa.Column("code", Json),
    sa.Column("environment", Json),
    sa.Index("ix_run_experiment_started_at_id", "experiment", "started_at", "id"),
    sa.Index("ix_run_project_started_at_id", "project", "started_at", "id"),
    sa.Index("ix_run_experiment_ended_at", "experiment", "ended_at"),
    sa.Index("ix_run_experiment_duration", "experiment", "duration"),
    sa.Index("ix_run_experiment_name", "experiment", "name"),
    sa.Index("ix_run_experiment_status_started_at", "experiment", "status", "started_at"),
    sa.Index("ix_run_parent", "parent"),
    sa.Index(
        "ix_run_deleted_at",
        "deleted_at",
        sqlite_where=sa.text("deleted_at IS NOT NULL"),
        postgresql_where=sa.text("deleted_at IS NOT NULL"),
    ),
)
"""`created_by` is who was let in, `user_id` who the client says it works for."""

run_view = sa.Table(
    "run_view",
    metadata,
    sa.Column("project", Id, primary_key=True),
    sa.Column("name", Id, primary_key=True),
    sa.Column("experiment", Id, nullable=False),
    sa.Column("filter", sa.Text, nullable=False),
    sa.Column("order_by", Json, nullable=False),
    sa.Column("columns", Json, nullable=False),
    sa.Column("changed_at", Micros, nullable=False),
    sa.Column("changed_by", Id, nullable=False),
    sqlite_strict=True,
)
"""Searches of runs under a name; `experiment` is a name too, so a view may be there before it."""

metric_key = _interned(
    "metric_key",
    sa.Column("experiment", Micros, nullable=False),
    sa.Column("name", Id, nullable=False),
    sa.UniqueConstraint("experiment", "name"),
)
"""Names of metrics, each experiment's its own: an index that begins with the number of a name holds the runs of one
experiment, so no search meets the values of others."""

metric = sa.Table(
    "metric",
    metadata,
    _number("run"),
    _number("key"),
    _number("step"),
    _number("at"),
    _number("sort"),
    sa.Column("value", Real, primary_key=True),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
"""Every point. `sort` tells NaN (-2) and the infinities (-1, 1) from numbers (0): see `rules.split`."""

metric_latest = sa.Table(
    "metric_latest",
    metadata,
    _number("run"),
    _number("key"),
    *_latest(),
    sa.Index("ix_metric_latest_key_sort_value", "key", "sort", "value", postgresql_include=["run"]),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

metric_column = sa.Table(
    "metric_column",
    metadata,
    _number("key"),
    _number("block"),
    sa.Column("runs", sa.LargeBinary, nullable=False),
    sa.Column("numbers", sa.LargeBinary, nullable=False),
    sqlite_strict=True,
)
"""The latest values of a metric of those runs whose numbers are in one block, to be read at once: see `columns`."""

metric_column_late = sa.Table(
    "metric_column_late",
    metadata,
    _number("run"),
    _number("turn"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
"""Runs that measured something since a turn in which blocks were built: their values in blocks are not the latest."""

metric_column_state = sa.Table(
    "metric_column_state",
    metadata,
    _number("turn"),
    sa.Column("announced", Micros, nullable=False),
    sa.Column("built", Micros, nullable=False),
    sqlite_strict=True,
)
"""One row, or none before the first turn. Who measures something for a run below `announced` notes it as late; blocks
are there for the runs below `built`."""

param = _texts("param", "run")
tag = _texts("tag", "run")
_SHORT = sa.text(f"length(value) <= {INDEXED_TEXT}")
_LONG = sa.text(f"length(value) > {INDEXED_TEXT}")
sa.Index("ix_param_key_value", param.c.key, param.c.value, postgresql_where=_SHORT)
sa.Index("ix_tag_key_value", tag.c.key, tag.c.value, sqlite_where=_SHORT, postgresql_where=_SHORT)
for _texts_of_runs in (param, tag):
    _name = f"ix_{_texts_of_runs.name}_key_long"
    sa.Index(_name, _texts_of_runs.c.key, sqlite_where=_LONG, postgresql_where=_LONG)
"""Runs are also sorted by params, which on SQLite only an index that has all of them can give; tags may be long. The
second index tells of which names there are texts that are not in the first."""

artifact = sa.Table(
    "artifact",
    metadata,
    sa.Column("project", Id, primary_key=True),
    sa.Column("path", Id, primary_key=True),
    sa.Column("digest", Id, nullable=False, info=names_blob()),
    sa.Column("size_bytes", Micros, nullable=False),
    sa.Column("at", Micros, nullable=False),
    sa.Index("ix_artifact_digest", "digest"),
    sqlite_strict=True,
)
"""Every file that runs and models keep, by its path below the project's artifact root; the bytes are blobs."""

input_dataset = _interned(
    "input_dataset",
    sa.Column("experiment", Micros, nullable=False),
    sa.Column("name", Id, nullable=False),
    sa.Column("digest", Id, nullable=False, info=names_no_blob("rows, by whoever logged them")),
    sa.Column("source_type", Id, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("schema", sa.Text, nullable=False),
    sa.Column("profile", sa.Text, nullable=False, info=names_no_blob("nothing: text of whoever logged it")),
    sa.UniqueConstraint("experiment", "name", "digest"),
    sa.Index("ix_input_dataset_source", "source"),
)
"""What runs read. One of our own dataset versions has the source type `mainspring` and its reference as source."""

run_input = sa.Table(
    "run_input",
    metadata,
    _number("run"),
    _number("dataset"),
    sa.Column("context", Id, primary_key=True),
    sa.Column("tags", Json, nullable=False),
    sa.Index("ix_run_input_dataset", "dataset"),
    sqlite_strict=True,
)
"""`context` is what the dataset was read for; `tags` are all tags a client gave it, that one among them."""

logged_model = _interned(
    "logged_model",
    sa.Column("id", Id, nullable=False, unique=True),
    sa.Column("project", Id, nullable=False),
    sa.Column("experiment", Micros, nullable=False),
    sa.Column("name", Id, nullable=False),
    sa.Column("kind", Id, nullable=False),
    sa.Column("status", Id, nullable=False),
    sa.Column("run_id", Id, nullable=False),
    sa.Column("created_at", Micros, nullable=False),
    sa.Column("updated_at", Micros, nullable=False),
    sa.Column("deleted_at", Micros),
    sa.Index("ix_logged_model_experiment_created_at_id", "experiment", "created_at", "id"),
    sa.Index("ix_logged_model_run_id", "run_id"),
)
"""Models that runs made, before or without a name in the registry. `run_id` is the run that made it."""

logged_model_param = _texts("logged_model_param", "model")
logged_model_tag = _texts("logged_model_tag", "model")

logged_model_metric = sa.Table(
    "logged_model_metric",
    metadata,
    _number("model"),
    _number("key"),
    _number("run"),
    sa.Column("dataset_name", Id, primary_key=True),
    sa.Column("dataset_digest", Id, primary_key=True, info=names_no_blob("rows, by whoever logged them")),
    *_latest(),
    sa.Index("ix_logged_model_metric_run", "run"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
"""The latest value a run measured of a model on a dataset ("": on none that was named)."""

run_model = sa.Table(
    "run_model",
    metadata,
    _number("run"),
    sa.Column("side", Id, primary_key=True),
    sa.Column("model_id", Id, primary_key=True),
    sa.Column("step", Micros, nullable=False),
    sa.Index("ix_run_model_model_id", "model_id"),
    sqlite_strict=True,
)
"""Models a run read (`side` "input") or made ("output")."""

arrival = sa.Table(
    "arrival",
    metadata,
    sa.Column("project", Id, primary_key=True),
    sa.Column("source", Id, primary_key=True),
    sa.Column("subject", Id, primary_key=True),
    sa.Column("stamp", Id, nullable=False),
    sa.Column("at", Micros, nullable=False),
    sqlite_strict=True,
)
"""What has come here whole from another tracker, and what it looked like there, so that it is not brought twice."""

trace = sa.Table(
    "trace",
    metadata,
    sa.Column("number", Micros, sa.Identity(), primary_key=True),
    sa.Column("id", Id, nullable=False),
    sa.Column("project", Id, nullable=False),
    sa.Column("experiment", Micros, nullable=False),
    sa.Column("name", Id, nullable=False),
    sa.Column("state", Id, nullable=False),
    sa.Column("run_id", Id, nullable=False),
    sa.Column("client_id", Id, nullable=False),
    sa.Column("started_at", Micros, nullable=False),
    sa.Column("duration_us", Micros),
    sa.Column("asked", sa.Text, nullable=False),
    sa.Column("answered", sa.Text, nullable=False),
    sa.Column("told", Flag, nullable=False),
    sa.UniqueConstraint("project", "id"),
    sa.Index("ix_trace_experiment_started_at_id", "experiment", "started_at", "id"),
    sqlite_strict=True,
)
"""One execution of a traced function. `asked` and `answered` are previews of what went in and came out; `told` is
false while all that is known of it was read off its spans."""

trace_tag = _texts("trace_tag", "trace")
trace_metadata = _texts("trace_metadata", "trace")

span = sa.Table(
    "span",
    metadata,
    _number("trace"),
    sa.Column("id", Id, primary_key=True),
    sa.Column("started_ns", Micros, nullable=False),
    sa.Column("name", Id, nullable=False),
    sa.Column("kind", Id, nullable=False),
    sa.Column("status", Id, nullable=False),
    sa.Column("content", sa.Text, nullable=False),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
"""Spans of traces; `content` is the span as OpenTelemetry writes it as JSON."""

trace_link = sa.Table(
    "trace_link",
    metadata,
    _number("trace"),
    sa.Column("kind", Id, primary_key=True),
    sa.Column("target", Id, primary_key=True),
    sa.Index("ix_trace_link_kind_target", "kind", "target"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
"""What somebody tied a trace to: runs by id (`kind` "run"), versions of prompts as NAME/VERSION ("prompt")."""

assessment = sa.Table(
    "assessment",
    metadata,
    _number("trace"),
    sa.Column("id", Id, primary_key=True),
    sa.Column("name", Id, nullable=False),
    sa.Column("content", Json, nullable=False),
    sa.Column("kind", Id, nullable=False),
    sa.Column("value", sa.Text),
    sa.Column("number", Real),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
"""What people and programs thought of traces, as they said it. What filters ask is also apart: `kind` is feedback or
expectation, or empty for one that another took the place of; `value` its text or JSON, `number` its number."""

scorer = sa.Table(
    "scorer",
    metadata,
    _number("experiment"),
    sa.Column("name", Id, primary_key=True),
    _number("version"),
    sa.Column("id", Id, nullable=False),
    sa.Column("content", sa.Text, nullable=False),
    sa.Column("created_at", Micros, nullable=False),
    sqlite_strict=True,
)
"""Versions of scorers, all of one name with one `id`. `content` is what a client wrote, and nothing here runs it."""

evaluation_set = _interned(
    "evaluation_set",
    sa.Column("id", Id, nullable=False, unique=True),
    sa.Column("project", Id, nullable=False),
    sa.Column("name", Id, nullable=False),
    sa.Column("created_at", Micros, nullable=False),
    sa.Column("updated_at", Micros, nullable=False),
    sa.Column("created_by", Id, nullable=False),
    sa.Column("updated_by", Id, nullable=False),
    sa.Column("schema", Json),
    sa.Column("size", Micros, nullable=False),
    sa.Index("ix_evaluation_set_project_created_at", "project", "created_at"),
)
"""Questions to judge answers by; `size` is how many records it has, `created_by` who the client says it works for."""

evaluation_set_tag = _texts("evaluation_set_tag", "evaluation_set")

evaluation_set_experiment = sa.Table(
    "evaluation_set_experiment",
    metadata,
    _number("evaluation_set"),
    _number("experiment"),
    sa.Index("ix_evaluation_set_experiment_experiment", "experiment"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
"""The experiments that an evaluation set is tied to."""

evaluation_record = sa.Table(
    "evaluation_record",
    metadata,
    _number("evaluation_set"),
    sa.Column("inputs_digest", Id, primary_key=True, info=names_no_blob("the inputs of the record")),
    sa.Column("id", Id, nullable=False),
    sa.Column("content", Json, nullable=False),
    sa.Column("created_at", Micros, nullable=False),
    sa.Column("updated_at", Micros, nullable=False),
    sa.Column("created_by", Id, nullable=False),
    sa.Column("updated_by", Id, nullable=False),
    sa.Index("ix_evaluation_record_evaluation_set_id", "evaluation_set", "id"),
    sqlite_strict=True,
)
"""Records of evaluation sets; `content` has what it was asked, answered and expected, its tags and its source."""
