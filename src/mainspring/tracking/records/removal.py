"""Removing for good what was deleted long ago, in small pieces.

What is to go is first set apart in one short transaction, with its event: its row moves to a project that nobody can
be in, so it is gone for everyone, and its files lose their names. Then the rows that hang on it are deleted a few
thousand at a time, and its own row last. A turn that is cut off leaves rows set apart, with which the next one begins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import sqlalchemy as sa
from sqlalchemy import Connection

from mainspring.core.values import dataclass
from mainspring.tracking.model import model_folder, run_folder, trace_folder
from mainspring.tracking.records import columns, files
from mainspring.tracking.records import tables as t

APART = "removed/"
"""Before the name of the project that a row was set apart from: no project has a slash in its name."""
ROWS = 5_000
"""Most rows that one transaction deletes."""
_NOWHERE = 0


@dataclass(frozen=True, slots=True)
class Doomed:
    """Something that was deleted long ago, or whose experiment was, and the folder of its files."""

    number: int
    id: str
    project: str
    deleted_at: int | None
    folder: str


def experiments(conn: Connection, before: int, limit: int) -> list[Doomed]:
    """Experiments that were deleted before a time."""
    c = t.experiment.c
    found = sa.select(c.number, c.id, c.project, c.deleted_at).where(c.deleted_at < before, _is_here(t.experiment))
    return [Doomed(*row, trace_folder(row.id)) for row in conn.execute(found.limit(limit))]


def runs(conn: Connection, before: int, limit: int) -> list[Doomed]:
    """Runs that were deleted before a time, or whose experiment is set apart."""
    return _owned(conn, t.run, run_folder, before, limit)


def models(conn: Connection, before: int, limit: int) -> list[Doomed]:
    """Logged models that were deleted before a time, or whose experiment is set apart."""
    return _owned(conn, t.logged_model, model_folder, before, limit)


def count(conn: Connection, before: int) -> dict[str, int]:
    """How many experiments, runs and logged models would go."""
    gone = sa.select(t.experiment.c.number).where(t.experiment.c.deleted_at < before)
    found = {
        "experiments": sa.select(sa.func.count()).where(t.experiment.c.deleted_at < before, _is_here(t.experiment))
    }
    for kind, table in (("runs", t.run), ("logged_models", t.logged_model)):
        either = sa.or_(table.c.deleted_at < before, table.c.experiment.in_(gone))
        found[kind] = sa.select(sa.func.count()).where(either, _is_here(table))
    return {kind: int(conn.execute(query).scalar_one()) for kind, query in found.items()}


def set_apart(conn: Connection, table: sa.Table, doomed: Doomed, before: int) -> bool:
    """Take something from everyone. False when it was restored meanwhile, or another turn was quicker."""
    values: dict[str, object] = {"project": APART + doomed.project}
    still = [table.c.number == doomed.number, table.c.project == doomed.project]
    if table is t.experiment:
        values |= {"name": str(doomed.number), "id": str(doomed.number)}  # both are free for others now
        still.append(table.c.deleted_at < before)
    else:
        owner_gone = sa.select(t.experiment.c.number).where(_is_apart(t.experiment))
        still.append(sa.or_(table.c.deleted_at < before, table.c.experiment.in_(owner_gone)))
        values["experiment"] = _NOWHERE
    if conn.execute(table.update().where(*still).values(values)).rowcount != 1:
        return False
    files.remove(conn, doomed.project, doomed.folder.rstrip("/"))
    return True


def apart(conn: Connection, table: sa.Table, limit: int) -> list[int]:
    """Numbers of what is set apart."""
    return list(conn.execute(sa.select(table.c.number).where(_is_apart(table)).limit(limit)).scalars())


def hanging(table: sa.Table) -> Iterator[tuple[sa.Table, sa.Column[int]]]:
    """The tables whose rows hang on a row of `table`, each with the column that holds its number."""
    yield from {
        t.run.name: _columns(
            "run", t.metric, t.metric_latest, t.param, t.tag, t.run_input, t.run_model, t.logged_model_metric
        ),
        t.logged_model.name: _columns("model", t.logged_model_param, t.logged_model_tag, t.logged_model_metric),
        t.experiment.name: (
            *_columns(
                "trace", t.span, t.assessment, t.trace_link, t.trace_tag, t.trace_metadata
            ),  # before their traces
            *_columns("experiment", t.trace, t.experiment_tag, t.metric_key, t.input_dataset),
            *_columns("experiment", t.scorer, t.evaluation_set_experiment),
        ),
    }[table.name]


def delete_some(conn: Connection, table: sa.Table, column: sa.Column[int], number: int) -> bool:
    """Delete at most `ROWS` of the rows that hang on a number. Returns whether there may be more."""
    keys = list(table.primary_key)
    some = sa.select(*keys).where(_hangs(column, number)).limit(ROWS)
    doomed = keys[0].in_(some) if len(keys) == 1 else sa.tuple_(*keys).in_(some)
    return conn.execute(table.delete().where(doomed)).rowcount == ROWS


def delete_last(conn: Connection, table: sa.Table, number: int) -> None:
    """Delete what was set apart, when nothing hangs on it any more."""
    if table is t.logged_model:
        model = sa.select(table.c.id).where(table.c.number == number).scalar_subquery()
        conn.execute(t.run_model.delete().where(t.run_model.c.model_id == model))
    if table is t.run:
        run_id = sa.select(table.c.id).where(table.c.number == number).scalar_subquery()
        conn.execute(t.trace_link.delete().where(t.trace_link.c.kind == "run", t.trace_link.c.target == run_id))
        columns.note(conn, number)
    conn.execute(table.delete().where(table.c.number == number, _is_apart(table)))


def _owned(
    conn: Connection, table: sa.Table, folder: Callable[[str, str, str], str], before: int, limit: int
) -> list[Doomed]:
    c, e = table.c, t.experiment.c
    found = sa.select(c.number, c.id, c.project, c.deleted_at, e.location, e.id.label("owner"))
    found = found.join(t.experiment, e.number == c.experiment).where(_is_here(table)).limit(limit)
    either = (found.where(c.deleted_at < before), found.where(_is_apart(t.experiment)))
    rows = [row for query in either for row in conn.execute(query)][:limit]
    return [Doomed(*row[:4], folder(row.location, row.owner, row.id)) for row in rows]


def _hangs(column: sa.Column[int], number: int) -> sa.ColumnElement[bool]:
    """Whether a row hangs on a number; what a trace holds hangs on the trace's experiment."""
    if column.name != "trace":
        return column == number
    return column.in_(sa.select(t.trace.c.number).where(t.trace.c.experiment == number))


def _columns(name: str, *tables: sa.Table) -> Sequence[tuple[sa.Table, sa.Column[int]]]:
    return [(table, table.c[name]) for table in tables]


def _is_apart(table: sa.Table) -> sa.ColumnElement[bool]:
    return sa.and_(table.c.project > APART, table.c.project < APART[:-1] + "0")


def _is_here(table: sa.Table) -> sa.ColumnElement[bool]:
    return sa.not_(_is_apart(table))
