"""Runs and what they read. Functions take the project, as batches are stored by a thread that no caller is known to."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields, replace
from functools import cache
from typing import cast

import sqlalchemy as sa
from sqlalchemy import Connection

from mainspring.storage import bare
from mainspring.storage.prepared import Prepared, given
from mainspring.storage.upsert import insert_into
from mainspring.tracking.model import CodeState, Environment, InputDataset, Run, RunInput, Shown, run_folder
from mainspring.tracking.records.points import latest_of, texts_of
from mainspring.tracking.records.tables import experiment, input_dataset, param, run, run_input, tag

_OWN = (
    "id",
    "name",
    "parent",
    "status",
    "started_at",
    "ended_at",
    "deleted_at",
    "seed",
    "created_by",
    "user_id",
)
_SHOWN = [
    *(run.c[name] for name in _OWN),
    experiment.c.name.label("experiment"),
    experiment.c.id.label("experiment_id"),
    experiment.c.location.label("location"),
]
_ALL = Shown()
_AT_ONCE = 1000
"""How many runs are loaded by one statement."""
_FROM = run.join(experiment, experiment.c.number == run.c.experiment)
_PLACE = "SELECT number, experiment, deleted_at FROM run WHERE project = ? AND id = ?"
_PLACES = "SELECT id, number, experiment, deleted_at FROM run WHERE project = ? AND id = ANY(?)"


def add_run(conn: Connection, project: str, experiment_number: int, made: Run) -> bool:
    """Insert a run; False when a run of this id is there."""
    row = {name: getattr(made, name) for name in _OWN}
    for name, each in (("code", made.code), ("environment", made.environment)):
        row[name] = None if each is None else {field.name: getattr(each, field.name) for field in fields(each)}
    return bool(_ADD.rows(conn, {"project": project, "experiment": experiment_number, **row}))


def _add(conn: Connection) -> sa.Executable:
    names = ("project", "experiment", "code", "environment", *_OWN)
    added = insert_into(conn, run).values({name: given(run.c[name]) for name in names})
    return added.on_conflict_do_nothing(index_elements=["id"]).returning(run.c.number)


_ADD = Prepared(_add)


def place(conn: Connection, project: str, run_id: str) -> tuple[int, int, bool] | None:
    """The numbers that a run and its experiment are interned as, and whether the run was deleted."""
    for number, owner, deleted_at in bare.rows(conn, _PLACE, (project, run_id)):
        return number, owner, deleted_at is not None
    return None


def places(conn: Connection, project: str, run_ids: Collection[str]) -> dict[str, tuple[int, int, bool]]:
    """As `place`, for many runs by their ids; those that are not there are left out."""
    if conn.dialect.name == "postgresql" and len(run_ids) > 1:
        rows = bare.rows(conn, _PLACES, (project, sorted(run_ids)))
        return {run_id: (number, owner, deleted_at is not None) for run_id, number, owner, deleted_at in rows}
    found = {run_id: place(conn, project, run_id) for run_id in sorted(run_ids)}
    return {run_id: one for run_id, one in found.items() if one is not None}


def folder(conn: Connection, project: str, run_id: str) -> str | None:
    """Where a run keeps its files, below the project's artifact root; ends with a slash."""
    found = sa.select(experiment.c.location, experiment.c.id).select_from(_FROM)
    row = conn.execute(found.where(run.c.project == project, run.c.id == run_id)).first()
    return None if row is None else run_folder(row.location, row.id, run_id)


def state_of(conn: Connection, project: str, run_id: str) -> tuple[int, Run] | None:
    """The number of a run and the run without its texts, metrics and inputs; on Postgres the row is held until the
    transaction ends."""
    for number, code, *shown in _HELD.rows(conn, {"project": project, "id": run_id}):
        names = (column.name for column in _SHOWN)
        return number, Run(**dict(zip(names, shown, strict=True)), code=_code(code))
    return None


_HELD = Prepared(
    lambda _: (
        sa.select(run.c.number, run.c.code, *_SHOWN)
        .select_from(_FROM)
        .where(run.c.project == given(run.c.project), run.c.id == given(run.c.id))
        .with_for_update(of=run)
    )
)


def status_of(conn: Connection, number: int) -> str:
    """The status of a run."""
    return cast(str, conn.execute(sa.select(run.c.status).where(run.c.number == number)).scalar_one())


def change(conn: Connection, number: int, values: Mapping[str, object]) -> None:
    """Set columns of a run."""
    _change_of(tuple(values)).run(conn, {**values, "at_number": number})


@cache
def _change_of(names: tuple[str, ...]) -> Prepared:
    update = run.update().where(run.c.number == given(run.c.number, "at_number"))
    return Prepared(lambda _: update.values({name: given(run.c[name]) for name in names}))


def find_run(conn: Connection, project: str, run_id: str) -> Run | None:
    """One run with all that is known of it."""
    found = sa.select(run.c.number, run.c.code, run.c.environment, *_SHOWN).select_from(_FROM)
    rows = conn.execute(found.where(run.c.project == project, run.c.id == run_id)).all()
    return runs_of(conn, rows)[0] if rows else None


def load_runs(conn: Connection, numbers: Sequence[int], shown: Shown) -> list[Run]:
    """Runs by what they are interned as, in that order; those that are gone are left out."""
    found: dict[int, Run] = {}
    for first in range(0, len(numbers), _AT_ONCE):
        some = numbers[first : first + _AT_ONCE]
        code = run.c.code if shown.code else sa.null().label("code")
        environment = run.c.environment if shown.environment else sa.null().label("environment")
        wanted = sa.select(run.c.number, code, environment, *_SHOWN).select_from(_FROM).where(run.c.number.in_(some))
        rows = conn.execute(wanted).all()
        found |= dict(zip([row.number for row in rows], runs_of(conn, rows, shown), strict=True))
    return [found[number] for number in numbers if number in found]


def runs_of(conn: Connection, rows: Sequence[sa.Row[tuple[object, ...]]], shown: Shown = _ALL) -> list[Run]:
    """Runs from rows with the columns of `find_run`."""
    numbers = [row.number for row in rows]
    if not numbers:
        return []
    params, tags = texts_of(conn, param, numbers, shown.params), texts_of(conn, tag, numbers, shown.tags)
    metrics, inputs = latest_of(conn, numbers, shown.metrics), _inputs(conn, numbers) if shown.inputs else {}
    return [
        replace(
            _bare(row),
            params=params[row.number],
            tags=tags[row.number],
            metrics=metrics.get(row.number, {}),
            inputs=inputs.get(row.number, ()),
        )
        for row in rows
    ]


def _code(plain: dict[str, object] | None) -> CodeState | None:
    if plain is None:
        return None
    lists = {name: tuple(cast("list[str]", plain.get(name, ()))) for name in ("arguments", "untracked")}
    return CodeState(**{**plain, **lists})  # type: ignore[arg-type]  # as asdict wrote it


def _bare(row: sa.Row[tuple[object, ...]]) -> Run:
    return Run(
        **{c.name: getattr(row, c.name) for c in _SHOWN},
        code=_code(row.code),
        environment=_environment(row.environment),
    )


def _environment(plain: dict[str, object] | None) -> Environment | None:
    if plain is None:
        return None
    gpus = tuple(cast("list[str]", plain.get("gpus", ())))
    return Environment(**{**plain, "gpus": gpus})  # type: ignore[arg-type]  # as asdict wrote it


def _inputs(conn: Connection, numbers: Sequence[int]) -> dict[int, tuple[RunInput, ...]]:
    shown = [input_dataset.c[name] for name in ("name", "digest", "source_type", "source")]
    found = sa.select(run_input.c.run, run_input.c.context, *shown)
    found = found.join(input_dataset, input_dataset.c.number == run_input.c.dataset).where(run_input.c.run.in_(numbers))
    inputs: dict[int, tuple[RunInput, ...]] = {}
    for row in conn.execute(found.order_by(input_dataset.c.name, input_dataset.c.digest, run_input.c.context)):
        dataset = InputDataset(row.name, row.digest, row.source_type, row.source)
        inputs[row.run] = (*inputs.get(row.run, ()), RunInput(dataset.ref, row.context))
    return inputs
