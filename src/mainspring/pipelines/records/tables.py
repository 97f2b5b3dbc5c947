"""Tables of this room."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import sqlalchemy as sa

from mainspring.pipelines.model import GROUPS, Artifact, Json, RunState, StepState
from mainspring.storage.references import names_blob, names_blobs, names_no_blob
from mainspring.storage.schema import Flag, Id, Micros, metadata
from mainspring.storage.schema import Json as JsonColumn


def _stored(plain: Mapping[str, Json]) -> Iterator[str]:
    """Digests of the blobs of a result; a group has none of its own, nor has a value that stands in the row."""
    pending = [Artifact.from_json(plain)]
    while pending:
        made = pending.pop()
        pending += [item for _, item in made.items]
        if made.codec not in GROUPS and made.text is None:
            yield made.digest


def _lock(parts: Mapping[str, Json]) -> Iterator[str]:
    """The list of installed packages, which `why` shows the difference of."""
    if parts.get("lock"):
        yield str(parts["lock"])


pipeline_run = sa.Table(
    "pipeline_run",
    metadata,
    sa.Column("project", Id, primary_key=True),
    sa.Column("id", Id, primary_key=True),
    sa.Column("pipeline", Id, nullable=False),
    sa.Column("target", sa.Text, nullable=False),
    sa.Column("params", JsonColumn, nullable=False),
    sa.Column("state", Id, nullable=False),
    sa.Column("engine", Id, nullable=False),
    sa.Column("job_id", Id, nullable=False),
    sa.Column("attempt", Micros, nullable=False),
    sa.Column("tracked", Flag, nullable=False),
    sa.Column("cache", Flag, nullable=False),
    sa.Column("pausing", Flag, nullable=False),
    sa.Column("priority", Micros, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("pins", JsonColumn, nullable=False),
    sa.Column("code", JsonColumn, nullable=False),
    sa.Column("result", JsonColumn),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("error_code", Id, nullable=False),
    sa.Column("created_at", Micros, nullable=False),
    sa.Column("started_at", Micros, nullable=False),
    sa.Column("finished_at", Micros, nullable=False),
    sa.Index("ix_pipeline_run_pipeline", "project", "pipeline", "created_at"),
    sa.Index("ix_pipeline_run_created_at", "project", "created_at"),
    sa.Index("ix_pipeline_run_state", "state"),
    sqlite_strict=True,
)
"""Runs. `result` is wrapped as {"value": ...}, so that a pipeline may return null; `code` has the digest of each step's
code when the run began."""

step_run = sa.Table(
    "step_run",
    metadata,
    sa.Column("project", Id, primary_key=True),
    sa.Column("run", Id, primary_key=True),
    sa.Column("step", Id, primary_key=True),
    sa.Column("parent", Id, nullable=False),
    sa.Column("position", Micros, nullable=False),
    sa.Column("function", Id, nullable=False),
    sa.Column("plan", JsonColumn, nullable=False),
    sa.Column("state", Id, nullable=False),
    sa.Column("attempt", Micros, nullable=False),
    sa.Column("failures", Micros, nullable=False),
    sa.Column("key", Id, nullable=False, info=names_no_blob("what a result depends on")),
    sa.Column("parts", JsonColumn, info=names_blobs(_lock)),
    sa.Column("output", JsonColumn, info=names_blobs(_stored)),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("error_code", Id, nullable=False),
    sa.Column("log", Id, nullable=False, info=names_blob()),
    sa.Column("source", Id, nullable=False),
    sa.Column("cpu_us", Micros, nullable=False),
    sa.Column("memory", Micros, nullable=False),
    sa.Column("decision", JsonColumn, info=names_no_blob("digests of what a person was shown")),
    sa.Column("started_at", Micros, nullable=False),
    sa.Column("finished_at", Micros, nullable=False),
    sqlite_strict=True,
)
"""Steps of runs, in the order of the drawing; the items of a step that goes through a list have it as `parent`."""

_asked = step_run.c.state == StepState.ASKED.value
sa.Index("ix_step_run_asked", step_run.c.project, step_run.c.run, sqlite_where=_asked, postgresql_where=_asked)
_making = step_run.c.state == StepState.RUNNING.value
sa.Index("ix_step_run_making", step_run.c.project, step_run.c.key, sqlite_where=_making, postgresql_where=_making)

step_cache = sa.Table(
    "step_cache",
    metadata,
    sa.Column("project", Id, primary_key=True),
    sa.Column("key", Id, primary_key=True, info=names_no_blob("what a result depends on")),
    sa.Column("output", JsonColumn, nullable=False, info=names_blobs(_stored)),
    sa.Column("reads", JsonColumn, nullable=False),
    sa.Column("run", Id, nullable=False),
    sa.Column("created_at", Micros, nullable=False),
    sqlite_strict=True,
)
"""Results by cache key, the newest for each. `reads` are datasets read without a version, and the version they had."""

RUN, STEP, CACHE = pipeline_run.c, step_run.c, step_cache.c
"""Their columns."""
ENDED = RUN.state.in_([state for state in RunState if state.is_final])
