"""Tables of searches and their queries. Every query is of the caller's project."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy import Connection

from mainspring.core.caller import caller
from mainspring.pipelines.search.model import OPEN, Search, SearchState, Study, Trial, TrialState
from mainspring.pipelines.search.rules import of_plain, to_plain
from mainspring.storage.schema import Id, Json, Micros, metadata
from mainspring.storage.upsert import insert_into

study = sa.Table(
    "search_study",
    metadata,
    sa.Column("project", Id, primary_key=True),
    sa.Column("id", Id, primary_key=True),
    sa.Column("pipeline", Id, nullable=False),
    sa.Column("target", sa.Text, nullable=False),
    sa.Column("search", Json, nullable=False),
    sa.Column("state", Id, nullable=False),
    sa.Column("winner", Id, nullable=False),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("job_id", Id, nullable=False),
    sa.Column("created_at", Micros, nullable=False),
    sa.Column("finished_at", Micros, nullable=False),
    sa.Index("ix_search_study_created_at", "project", "created_at"),
    sqlite_strict=True,
)

trial = sa.Table(
    "search_trial",
    metadata,
    sa.Column("project", Id, primary_key=True),
    sa.Column("study", Id, primary_key=True),
    sa.Column("number", Micros, primary_key=True, autoincrement=False),
    sa.Column("state", Id, nullable=False),
    sa.Column("params", Json, nullable=False),
    sa.Column("run", Id, nullable=False),
    sa.Column("tries", Micros, nullable=False),
    sa.Column("values", Json, nullable=False),
    sa.Column("steps", Json, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("started_at", Micros, nullable=False),
    sa.Column("finished_at", Micros, nullable=False),
    sqlite_strict=True,
)

_s, _t = study.c, trial.c
_TRIAL = ("number", "run", "tries", "note", "started_at", "finished_at")


def add(conn: Connection, made: Study) -> bool:
    """Store a search; False when there is one of that id."""
    names = ("id", "pipeline", "target", "state", "winner", "error", "job_id", "created_at", "finished_at")
    row = {name: getattr(made, name) for name in names}
    insert = insert_into(conn, study).values(project=caller().project, search=to_plain(made.search), **row)
    return conn.execute(insert.on_conflict_do_nothing()).rowcount == 1


def find(conn: Connection, study_id: str) -> Study | None:
    """A search with its trials."""
    row = conn.execute(study.select().where(_s.project == caller().project, _s.id == study_id)).mappings().first()
    return _study(row, trials_of(conn, study_id)) if row else None


def newest(conn: Connection, *, pipeline: str, before: int, limit: int) -> list[Study]:
    """Searches, newest first, with their trials."""
    query = study.select().where(_s.project == caller().project)
    query = query.where(_s.pipeline == pipeline) if pipeline else query
    query = query.where(_s.created_at < before) if before else query
    rows = conn.execute(query.order_by(_s.created_at.desc(), _s.id.desc()).limit(limit)).mappings().all()
    found: dict[str, list[Trial]] = {row["id"]: [] for row in rows}
    theirs = trial.select().where(_t.project == caller().project, _t.study.in_(list(found))).order_by(_t.number)
    for row in conn.execute(theirs).mappings():
        found[row["study"]].append(_trial(row))
    return [_study(row, found[row["id"]]) for row in rows]


def change(
    conn: Connection,
    study_id: str,
    values: Mapping[str, object],
    *,
    states: Iterable[SearchState] = OPEN,
    job_id: str = "",
) -> bool:
    """Change a search when it is in one of `states`, and `job_id` has it, where one is named; else False."""
    here = [_s.project == caller().project, _s.id == study_id, _s.state.in_(list(states))]
    here += [_s.job_id == job_id] if job_id else []
    return conn.execute(study.update().where(*here).values(dict(values))).rowcount == 1


def state_of(conn: Connection, study_id: str) -> tuple[SearchState, str]:
    """Where a search stands, and the job of whoever drives it."""
    query = sa.select(_s.state, _s.job_id).where(_s.project == caller().project, _s.id == study_id)
    state, job_id = conn.execute(query).one()
    return SearchState(state), str(job_id)


def unfinished(conn: Connection) -> list[tuple[str, str, str]]:
    """Project, id and job of the searches of every project that are not over."""
    rows = conn.execute(sa.select(_s.project, _s.id, _s.job_id).where(_s.state.in_(list(OPEN))))
    return [(str(project), str(study_id), str(job_id)) for project, study_id, job_id in rows]


def change_search(conn: Connection, study_id: str, search: Search) -> None:
    """Put another declaration in the place of the one that is there: one with more trials."""
    here = (_s.project == caller().project, _s.id == study_id)
    conn.execute(study.update().where(*here).values(search=to_plain(search)))


def put_trial(conn: Connection, study_id: str, made: Trial) -> None:
    """Store a trial, new or changed."""
    values: dict[str, object] = {name: getattr(made, name) for name in _TRIAL if name != "number"}
    values |= {"state": made.state, "params": dict(made.params), "values": dict(made.values)}
    values |= {"steps": [list(step) for step in made.steps]}
    here = {"project": caller().project, "study": study_id, "number": made.number}
    same = sa.and_(*(trial.c[name] == value for name, value in here.items()))
    if not conn.execute(trial.update().where(same).values(values)).rowcount:
        conn.execute(trial.insert().values(**here, **values))


def trials_of(conn: Connection, study_id: str) -> list[Trial]:
    """The trials of a search in order."""
    query = trial.select().where(_t.project == caller().project, _t.study == study_id).order_by(_t.number)
    return [_trial(row) for row in conn.execute(query).mappings()]


def _trial(row: sa.RowMapping) -> Trial:
    steps = tuple((int(step), float(value)) for step, value in row["steps"])
    known = {name: row[name] for name in _TRIAL}
    return Trial(**known, state=TrialState(row["state"]), params=row["params"], values=row["values"], steps=steps)


def _study(row: sa.RowMapping, trials: Sequence[Trial]) -> Study:
    names = ("id", "pipeline", "target", "winner", "error", "job_id", "created_at", "finished_at")
    known = {name: row[name] for name in names}
    return Study(**known, search=of_plain(row["search"]), state=SearchState(row["state"]), trials=tuple(trials))
