"""Runs and what they read. Functions take the project, as batches are stored by a thread that no caller is known to."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields, replace
from functools import cache
from typing import TYPE_CHECKING, cast

from mainspring.storage import bare
from mainspring.storage.prepared import Prepared
from mainspring.storage.sql import sa
from mainspring.tracking.model import CodeState, Environment, InputDataset, Run, RunInput, Shown, run_folder
from mainspring.tracking.records import points, statements, tables

if TYPE_CHECKING:
    from sqlalchemy import Connection

_HERE = "mainspring.tracking.records.statements"
_ADD, _HELD = Prepared(f"{_HERE}:add_run"), Prepared(f"{_HERE}:held_run")
OWN = (
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
_ALL = Shown()
_AT_ONCE = 1000
"""How many runs are loaded by one statement."""
_PLACE = "SELECT number, experiment, deleted_at FROM run WHERE project = ? AND id = ?"
_PLACES = "SELECT id, number, experiment, deleted_at FROM run WHERE project = ? AND id = ANY(?)"


def add_run(conn: Connection, project: str, experiment_number: int, made: Run) -> bool:
    """Insert a run; False when a run of this id is there."""
    row = {name: getattr(made, name) for name in OWN}
    for name, each in (("code", made.code), ("environment", made.environment)):
        row[name] = None if each is None else {field.name: getattr(each, field.name) for field in fields(each)}
    return bool(_ADD.rows(conn, {"project": project, "experiment": experiment_number, **row}))


def add_texts(conn: Connection, number: int, *, tags: Mapping[str, str], params: Mapping[str, str]) -> None:
    """Insert the tags and params of a run that was added in this transaction."""
    for table, texts in (("tag", tags), ("param", params)):
        added = f"INSERT INTO {table} (run, key, value) VALUES (?, ?, ?)"
        bare.run_all(conn, added, [(number, key, value) for key, value in sorted(texts.items())])


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
    found = sa.select(tables.experiment.c.location, tables.experiment.c.id).select_from(statements.RUN_FROM)
    row = conn.execute(found.where(tables.run.c.project == project, tables.run.c.id == run_id)).first()
    return None if row is None else run_folder(row.location, row.id, run_id)


def state_of(conn: Connection, project: str, run_id: str) -> tuple[int, Run] | None:
    """The number of a run and the run without its texts, metrics and inputs; on Postgres the row is held until the
    transaction ends."""
    for row in _HELD.named(conn, {"project": project, "id": run_id}):
        number, code = row.pop("number"), row.pop("code")
        return number, Run(**row, code=_code(code))
    return None


def status_of(conn: Connection, number: int) -> str:
    """The status of a run."""
    return cast(str, conn.execute(sa.select(tables.run.c.status).where(tables.run.c.number == number)).scalar_one())


def change(conn: Connection, number: int, values: Mapping[str, object]) -> None:
    """Set columns of a run."""
    _change_of(tuple(values)).run(conn, {**values, "at_number": number})


@cache
def _change_of(names: tuple[str, ...]) -> Prepared:
    return Prepared(f"{_HERE}:change_run", names)


def find_run(conn: Connection, project: str, run_id: str) -> Run | None:
    """One run with all that is known of it."""
    found = sa.select(
        tables.run.c.number, tables.run.c.code, tables.run.c.environment, *statements.RUN_SHOWN
    ).select_from(statements.RUN_FROM)
    rows = conn.execute(found.where(tables.run.c.project == project, tables.run.c.id == run_id)).all()
    return runs_of(conn, rows)[0] if rows else None


def load_runs(conn: Connection, numbers: Sequence[int], shown: Shown) -> list[Run]:
    """Runs by what they are interned as, in that order; those that are gone are left out."""
    found: dict[int, Run] = {}
    for first in range(0, len(numbers), _AT_ONCE):
        some = numbers[first : first + _AT_ONCE]
        code = tables.run.c.code if shown.code else sa.null().label("code")
        environment = tables.run.c.environment if shown.environment else sa.null().label("environment")
        wanted = (
            sa.select(tables.run.c.number, code, environment, *statements.RUN_SHOWN)
            .select_from(statements.RUN_FROM)
            .where(tables.run.c.number.in_(some))
        )
        rows = conn.execute(wanted).all()
        found |= dict(zip([row.number for row in rows], runs_of(conn, rows, shown), strict=True))
    return [found[number] for number in numbers if number in found]


def runs_of(conn: Connection, rows: Sequence[sa.Row[tuple[object, ...]]], shown: Shown = _ALL) -> list[Run]:
    """Runs from rows with the columns of `find_run`."""
    numbers = [row.number for row in rows]
    if not numbers:
        return []
    params, tags = (
        points.texts_of(conn, tables.param, numbers, shown.params),
        points.texts_of(conn, tables.tag, numbers, shown.tags),
    )
    metrics, inputs = points.latest_of(conn, numbers, shown.metrics), _inputs(conn, numbers) if shown.inputs else {}
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
        **{c.name: getattr(row, c.name) for c in statements.RUN_SHOWN},
        code=_code(row.code),
        environment=_environment(row.environment),
    )


def _environment(plain: dict[str, object] | None) -> Environment | None:
    if plain is None:
        return None
    gpus = tuple(cast("list[str]", plain.get("gpus", ())))
    return Environment(**{**plain, "gpus": gpus})  # type: ignore[arg-type]  # as asdict wrote it


def _inputs(conn: Connection, numbers: Sequence[int]) -> dict[int, tuple[RunInput, ...]]:
    shown = [tables.input_dataset.c[name] for name in ("name", "digest", "source_type", "source")]
    found = sa.select(tables.run_input.c.run, tables.run_input.c.context, *shown)
    found = found.join(tables.input_dataset, tables.input_dataset.c.number == tables.run_input.c.dataset).where(
        tables.run_input.c.run.in_(numbers)
    )
    inputs: dict[int, tuple[RunInput, ...]] = {}
    for row in conn.execute(
        found.order_by(tables.input_dataset.c.name, tables.input_dataset.c.digest, tables.run_input.c.context)
    ):
        dataset = InputDataset(row.name, row.digest, row.source_type, row.source)
        inputs[row.run] = (*inputs.get(row.run, ()), RunInput(dataset.ref, row.context))
    return inputs
