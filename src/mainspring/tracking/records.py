"""The tables of tracking and the statements over them.

Runs and metric names are interned: a point is five numbers. Functions take the project as an argument, because batches
are stored by a writer thread that no caller is known to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import cast

import sqlalchemy as sa
from sqlalchemy import Connection

from mainspring.storage.schema import Id, Json, Micros, Real, metadata
from mainspring.storage.upsert import insert_into
from mainspring.tracking.model import Artifact, CodeState, Environment, Experiment, Metric, Run, RunInput
from mainspring.tracking.rules import joined, split

experiment = sa.Table(
    "experiment",
    metadata,
    sa.Column("project", Id, primary_key=True),
    sa.Column("name", Id, primary_key=True),
    sa.Column("created_at", Micros, nullable=False),
    sqlite_strict=True,
)

run = sa.Table(
    "run",
    metadata,
    sa.Column("number", Micros, sa.Identity(), primary_key=True),
    sa.Column("id", Id, nullable=False, unique=True),
    sa.Column("project", Id, nullable=False),
    sa.Column("experiment", Id, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("parent", Id, nullable=False),
    sa.Column("status", Id, nullable=False),
    sa.Column("started_at", Micros, nullable=False),
    sa.Column("ended_at", Micros),
    sa.Column("seed", Micros),
    sa.Column("created_by", sa.Text, nullable=False),
    sa.Column("code", Json),
    sa.Column("environment", Json),
    sa.Index("ix_run_project_experiment_started_at_id", "project", "experiment", "started_at", "id"),
    sa.Index("ix_run_project_started_at_id", "project", "started_at", "id"),
    sqlite_strict=True,
)

metric_key = sa.Table(
    "metric_key",
    metadata,
    sa.Column("number", Micros, sa.Identity(), primary_key=True),
    sa.Column("name", Id, nullable=False, unique=True),
    sqlite_strict=True,
)

metric = sa.Table(
    "metric",
    metadata,
    sa.Column("run", Micros, primary_key=True, autoincrement=False),
    sa.Column("key", Micros, primary_key=True, autoincrement=False),
    sa.Column("step", Micros, primary_key=True, autoincrement=False),
    sa.Column("at", Micros, primary_key=True, autoincrement=False),
    sa.Column("sort", Micros, primary_key=True, autoincrement=False),
    sa.Column("value", Real, primary_key=True),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
"""Every point. `sort` tells NaN (-2) and the infinities (-1, 1) from numbers (0): see `rules.split`."""

metric_latest = sa.Table(
    "metric_latest",
    metadata,
    sa.Column("run", Micros, primary_key=True, autoincrement=False),
    sa.Column("key", Micros, primary_key=True, autoincrement=False),
    sa.Column("step", Micros, nullable=False),
    sa.Column("at", Micros, nullable=False),
    sa.Column("sort", Micros, nullable=False),
    sa.Column("value", Real, nullable=False),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)


def _texts(name: str) -> sa.Table:
    return sa.Table(
        name,
        metadata,
        sa.Column("run", Micros, primary_key=True, autoincrement=False),
        sa.Column("key", Id, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )


param = _texts("param")
tag = _texts("tag")

artifact = sa.Table(
    "artifact",
    metadata,
    sa.Column("run", Micros, primary_key=True, autoincrement=False),
    sa.Column("path", Id, primary_key=True),
    sa.Column("digest", Id, nullable=False),
    sa.Column("size_bytes", Micros, nullable=False),
    sa.Column("at", Micros, nullable=False),
    sqlite_strict=True,
)

run_input = sa.Table(
    "run_input",
    metadata,
    sa.Column("run", Micros, primary_key=True, autoincrement=False),
    sa.Column("dataset", Id, primary_key=True),
    sa.Column("context", Id, primary_key=True),
    sa.Index("ix_run_input_dataset", "dataset"),
    sqlite_strict=True,
)

_RUN = [c for c in run.c if c.name not in ("number", "project", "code", "environment")]
_SPLIT = ("step", "at", "sort", "value")
_POINTS = sa.text(
    "INSERT INTO metric (run, key, step, at, sort, value) SELECT :run, * FROM unnest("
    "CAST(:key AS bigint[]), CAST(:step AS bigint[]), CAST(:at AS bigint[]), CAST(:sort AS bigint[]),"
    " CAST(:value AS float8[])) ON CONFLICT DO NOTHING"
)


def add_run(conn: Connection, project: str, made: Run) -> bool:
    """Insert a run and its experiment; False when a run of this id is there."""
    first = insert_into(conn, experiment).values(project=project, name=made.experiment, created_at=made.started_at)
    conn.execute(first.on_conflict_do_nothing())
    row = {c.name: getattr(made, c.name) for c in _RUN}
    row["code"] = None if made.code is None else asdict(made.code)
    row["environment"] = None if made.environment is None else asdict(made.environment)
    added = insert_into(conn, run).values(project=project, **row).on_conflict_do_nothing(index_elements=["id"])
    return conn.execute(added.returning(run.c.number)).first() is not None


def run_number(conn: Connection, project: str, run_id: str) -> int | None:
    """The number a run is interned as."""
    found = sa.select(run.c.number).where(run.c.project == project, run.c.id == run_id)
    return cast("int | None", conn.execute(found).scalar())


def end_run(conn: Connection, number: int, status: str, at: int) -> None:
    """Mark a run as ended."""
    conn.execute(sa.update(run).where(run.c.number == number).values(status=status, ended_at=at))


def run_status(conn: Connection, number: int) -> tuple[str, str]:
    """Experiment and status of a run; on Postgres the row is held until the transaction ends."""
    row = conn.execute(sa.select(run.c.experiment, run.c.status).where(run.c.number == number).with_for_update()).one()
    return row.experiment, row.status


def key_numbers(conn: Connection, names: Iterable[str]) -> dict[str, int]:
    """The numbers that metric names are interned as, adding those that are new."""
    wanted = sorted(set(names))
    found = _keys(conn, wanted)
    new = [name for name in wanted if name not in found]
    if new:
        conn.execute(insert_into(conn, metric_key).on_conflict_do_nothing(), [{"name": name} for name in new])
        found |= _keys(conn, new)
    return found


def add_points(conn: Connection, number: int, points: Sequence[Metric], keys: Mapping[str, int]) -> None:
    """Insert points; those that are there already stay as they are."""
    columns: dict[str, list[object]] = {name: [] for name in ("key", *_SPLIT)}
    for point in points:
        value, sort = split(point.value)
        for name, entry in zip(columns, (keys[point.key], point.step, point.at, sort, value), strict=True):
            columns[name].append(entry)
    if conn.dialect.name == "postgresql":
        conn.execute(_POINTS, {"run": number, **columns})
        return
    rows = [(number, *row) for row in zip(*columns.values(), strict=True)]
    conn.exec_driver_sql("INSERT OR IGNORE INTO metric (run, key, step, at, sort, value) VALUES (?,?,?,?,?,?)", rows)


def move_latest(conn: Connection, number: int, points: Iterable[Metric], keys: Mapping[str, int]) -> None:
    """Make each point the latest of its metric, unless a later one is there."""
    rows = []
    for point in points:
        value, sort = split(point.value)
        rows.append(
            {"run": number, "key": keys[point.key], "step": point.step, "at": point.at, "sort": sort, "value": value}
        )
    added = insert_into(conn, metric_latest)
    later = sa.tuple_(*(added.excluded[n] for n in _SPLIT)) > sa.tuple_(*(metric_latest.c[n] for n in _SPLIT))
    changed = {name: added.excluded[name] for name in _SPLIT}
    added = added.on_conflict_do_update(index_elements=["run", "key"], set_=changed, where=later)
    conn.execute(added, sorted(rows, key=lambda row: cast(int, row["key"])))


def add_texts(conn: Connection, table: sa.Table, number: int, texts: Mapping[str, str], *, replace: bool) -> None:
    """Insert params or tags; `replace` decides what happens to those that are there."""
    rows = [{"run": number, "key": key, "value": value} for key, value in sorted(texts.items())]
    added = insert_into(conn, table)
    if replace:
        added = added.on_conflict_do_update(index_elements=["run", "key"], set_={"value": added.excluded.value})
    else:
        added = added.on_conflict_do_nothing()
    conn.execute(added, rows)


def texts_of(conn: Connection, table: sa.Table, numbers: Sequence[int]) -> dict[int, dict[str, str]]:
    """Params or tags of runs."""
    found: dict[int, dict[str, str]] = {number: {} for number in numbers}
    wanted = sa.select(table.c.run, table.c.key, table.c.value).where(table.c.run.in_(numbers)).order_by(table.c.key)
    for row in conn.execute(wanted):
        found[row.run][row.key] = row.value
    return found


def find_run(conn: Connection, project: str, run_id: str) -> Run | None:
    """One run with all that is known of it."""
    found = sa.select(run.c.number, run.c.code, run.c.environment, *_RUN)
    rows = conn.execute(found.where(run.c.project == project, run.c.id == run_id)).all()
    return _runs(conn, rows)[0] if rows else None


def list_runs(conn: Connection, project: str, *, experiment: str, status: str, limit: int, after: str) -> list[Run]:
    """Runs, newest first, those that come after the run `after`; without code and environment."""
    found = sa.select(run.c.number, sa.null().label("code"), sa.null().label("environment"), *_RUN)
    found = found.where(run.c.project == project)
    if experiment:
        found = found.where(run.c.experiment == experiment)
    if status:
        found = found.where(run.c.status == status)
    if after:
        last = sa.select(run.c.started_at, run.c.id).where(run.c.project == project, run.c.id == after)
        row = conn.execute(last).first()
        if row is None:
            return []
        found = found.where(sa.tuple_(run.c.started_at, run.c.id) < sa.tuple_(row.started_at, row.id))
    return _runs(conn, conn.execute(found.order_by(run.c.started_at.desc(), run.c.id.desc()).limit(limit)).all())


def list_experiments(conn: Connection, project: str) -> list[Experiment]:
    """Experiments by name, with how many runs they have."""
    counted = sa.select(sa.func.count()).where(run.c.project == project, run.c.experiment == experiment.c.name)
    found = sa.select(experiment.c.name, experiment.c.created_at, counted.scalar_subquery())
    rows = conn.execute(found.where(experiment.c.project == project).order_by(experiment.c.name))
    return [Experiment(*row) for row in rows]


def list_points(conn: Connection, number: int, key: str) -> list[Metric]:
    """Every point of a metric in the order of step, time and value."""
    found = sa.select(metric.c.step, metric.c.at, metric.c.sort, metric.c.value)
    found = found.join(metric_key, metric_key.c.number == metric.c.key)
    found = found.where(metric.c.run == number, metric_key.c.name == key)
    rows = conn.execute(found.order_by(metric.c.step, metric.c.at, metric.c.sort, metric.c.value))
    return [Metric(key, joined(row.value, row.sort), row.step, row.at) for row in rows]


def put_artifact(conn: Connection, number: int, made: Artifact) -> None:
    """Insert or replace a file of a run."""
    row = asdict(made)
    added = insert_into(conn, artifact).values(run=number, **row)
    conn.execute(added.on_conflict_do_update(index_elements=["run", "path"], set_=row))


def list_artifacts(conn: Connection, number: int) -> list[Artifact]:
    """Files of a run by path."""
    found = sa.select(artifact.c.path, artifact.c.digest, artifact.c.size_bytes, artifact.c.at)
    return [Artifact(*row) for row in conn.execute(found.where(artifact.c.run == number).order_by(artifact.c.path))]


def add_input(conn: Connection, number: int, made: RunInput) -> None:
    """Insert a dataset that a run read, once."""
    row = {"run": number, "dataset": made.dataset, "context": made.context}
    conn.execute(insert_into(conn, run_input).values(row).on_conflict_do_nothing())


def _keys(conn: Connection, names: Sequence[str]) -> dict[str, int]:
    found = sa.select(metric_key.c.name, metric_key.c.number).where(metric_key.c.name.in_(names))
    return {row.name: row.number for row in conn.execute(found)}


def _runs(conn: Connection, rows: Sequence[sa.Row[tuple[object, ...]]]) -> list[Run]:
    numbers = [row.number for row in rows]
    if not numbers:
        return []
    params, tags = texts_of(conn, param, numbers), texts_of(conn, tag, numbers)
    metrics, inputs = _latest(conn, numbers), _inputs(conn, numbers)
    return [
        replace(
            Run(**{c.name: getattr(row, c.name) for c in _RUN}),
            params=params[row.number],
            tags=tags[row.number],
            metrics=metrics.get(row.number, {}),
            inputs=inputs.get(row.number, ()),
            code=None if row.code is None else CodeState(**row.code),
            environment=_environment(row.environment),
        )
        for row in rows
    ]


def _environment(plain: dict[str, object] | None) -> Environment | None:
    if plain is None:
        return None
    gpus = tuple(cast("list[str]", plain.get("gpus", ())))
    return Environment(**{**plain, "gpus": gpus})  # type: ignore[arg-type]  # as asdict wrote it


def _latest(conn: Connection, numbers: Sequence[int]) -> dict[int, dict[str, Metric]]:
    latest = metric_latest.c
    found = sa.select(latest.run, metric_key.c.name, latest.step, latest.at, latest.sort, latest.value)
    found = found.join(metric_key, metric_key.c.number == latest.key).where(latest.run.in_(numbers))
    points: dict[int, dict[str, Metric]] = {}
    for row in conn.execute(found.order_by(metric_key.c.name)):
        points.setdefault(row.run, {})[row.name] = Metric(row.name, joined(row.value, row.sort), row.step, row.at)
    return points


def _inputs(conn: Connection, numbers: Sequence[int]) -> dict[int, tuple[RunInput, ...]]:
    found = sa.select(run_input.c.run, run_input.c.dataset, run_input.c.context).where(run_input.c.run.in_(numbers))
    inputs: dict[int, tuple[RunInput, ...]] = {}
    for row in conn.execute(found.order_by(run_input.c.dataset, run_input.c.context)):
        inputs[row.run] = (*inputs.get(row.run, ()), RunInput(row.dataset, row.context))
    return inputs
