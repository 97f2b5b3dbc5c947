"""Tables of this room and their queries. Every query is of the caller's project."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import cast

import sqlalchemy as sa
from sqlalchemy import Connection

from mainspring.core.caller import caller
from mainspring.storage.references import names_blob
from mainspring.storage.schema import Id, Json, Micros, metadata
from mainspring.training.model import Candidate, CandidateState, Estimate, Leaderboard, LeaderboardState, TrainRequest
from mainspring.training.rules import ranked

leaderboard = sa.Table(
    "leaderboard",
    metadata,
    sa.Column("project", Id, primary_key=True),
    sa.Column("id", Id, primary_key=True),
    sa.Column("state", Id, nullable=False),
    sa.Column("dataset", Id, nullable=False),
    sa.Column("target", sa.Text, nullable=False),
    sa.Column("plan", Json, nullable=False),
    sa.Column("spent_us", Micros, nullable=False),
    sa.Column("version", Micros, nullable=False),
    sa.Column("test", Json, nullable=False),
    sa.Column("test_use", Micros, nullable=False),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("job_id", Id, nullable=False),
    sa.Column("attempt", Micros, nullable=False),
    sa.Column("created_at", Micros, nullable=False),
    sa.Column("finished_at", Micros, nullable=False),
    sa.Index("ix_leaderboard_created_at", "project", "created_at"),
    sa.Index("ix_leaderboard_state", "state"),
    sqlite_strict=True,
)
"""Leaderboards; `plan` is what was found out of the request before anything was trained."""

candidate = sa.Table(
    "leaderboard_candidate",
    metadata,
    sa.Column("project", Id, primary_key=True),
    sa.Column("leaderboard", Id, primary_key=True),
    sa.Column("position", Micros, primary_key=True, autoincrement=False),
    sa.Column("name", Id, nullable=False),
    sa.Column("family", Id, nullable=False),
    sa.Column("params", Json, nullable=False),
    sa.Column("state", Id, nullable=False),
    sa.Column("run", Id, nullable=False),
    sa.Column("answers", Id, nullable=False, info=names_blob()),
    sa.Column("measured", Json, nullable=False),
    sa.Column("behind", Json, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sqlite_strict=True,
)

_l, _c = leaderboard.c, candidate.c
UNFINISHED = (LeaderboardState.QUEUED, LeaderboardState.RUNNING)
_PLAN = ("split", "task", "metric", "classes", "columns", "left_out", "warnings")
_MEASURED = ("metrics", "latency_ms", "size_bytes", "cpu_s", "gap", "early")


def add(conn: Connection, made: Leaderboard) -> None:
    """Store a leaderboard with its candidates."""
    plan = {name: getattr(made, name) for name in _PLAN} | {"request": asdict(made.request)}
    row: dict[str, object] = {
        "id": made.id,
        "state": made.state,
        "dataset": made.dataset,
        "target": made.request.target,
        "plan": plan,
    }
    row |= {"spent_us": 0, "version": 0, "test": {}, "test_use": 0, "error": "", "job_id": made.job_id, "attempt": 0}
    row |= {"created_at": made.created_at, "finished_at": 0}
    conn.execute(leaderboard.insert().values(project=caller().project, **row))
    for each in made.candidates:
        about = {
            name: getattr(each, name) for name in ("position", "name", "family", "state", "run", "answers", "note")
        }
        about |= {"params": dict(each.params), "measured": {}, "behind": []}
        conn.execute(candidate.insert().values(project=caller().project, leaderboard=made.id, **about))


def find(conn: Connection, leaderboard_id: str) -> Leaderboard | None:
    """A leaderboard with its candidates, the best first."""
    query = leaderboard.select().where(_l.project == caller().project, _l.id == leaderboard_id)
    row = conn.execute(query).mappings().first()
    return _leaderboard(row, _candidates(conn, leaderboard_id)) if row else None


def newest(conn: Connection, *, dataset: str, before: int, limit: int) -> list[Leaderboard]:
    """Leaderboards, newest first, with their candidates."""
    query = leaderboard.select().where(_l.project == caller().project)
    query = query.where(_l.dataset.startswith(f"datasets/{dataset}/", autoescape=True)) if dataset else query
    query = query.where(_l.created_at < before) if before else query
    rows = conn.execute(query.order_by(_l.created_at.desc(), _l.id.desc()).limit(limit)).mappings().all()
    return [_leaderboard(row, _candidates(conn, row["id"])) for row in rows]


def unfinished(conn: Connection) -> list[tuple[str, str, str]]:
    """Project, id and job id of the leaderboards of all projects that are not final: for settling after crashes."""
    query = sa.select(_l.project, _l.id, _l.job_id).where(_l.state.in_(UNFINISHED)).limit(500)
    return [(row.project, row.id, row.job_id) for row in conn.execute(query)]


def change(
    conn: Connection,
    leaderboard_id: str,
    values: Mapping[str, object],
    *,
    states: Iterable[LeaderboardState] = UNFINISHED,
) -> bool:
    """Change a leaderboard when it is in one of `states`; False when it is not."""
    here = (_l.project == caller().project, _l.id == leaderboard_id, _l.state.in_(list(states)))
    return conn.execute(leaderboard.update().where(*here).values(dict(values))).rowcount == 1


def change_request(conn: Connection, leaderboard_id: str, request: TrainRequest) -> None:
    """Put another request in the place of the one that is there: one with a larger budget."""
    here = (_l.project == caller().project, _l.id == leaderboard_id)
    plan = dict(conn.execute(sa.select(_l.plan).where(*here)).scalar_one())
    conn.execute(leaderboard.update().where(*here).values(plan=plan | {"request": asdict(request)}))


def change_candidate(conn: Connection, leaderboard_id: str, position: int, values: Mapping[str, object]) -> None:
    """Change a candidate."""
    here = (_c.project == caller().project, _c.leaderboard == leaderboard_id, _c.position == position)
    conn.execute(candidate.update().where(*here).values(dict(values)))


def change_open(conn: Connection, leaderboard_id: str, *, to: CandidateState, note: str, of: Sequence[str]) -> None:
    """Change all candidates of a leaderboard that are in one of the states `of`."""
    here = (_c.project == caller().project, _c.leaderboard == leaderboard_id, _c.state.in_(list(of)))
    conn.execute(candidate.update().where(*here).values(state=to, note=note))


def _candidates(conn: Connection, leaderboard_id: str) -> list[Candidate]:
    query = candidate.select().where(_c.project == caller().project, _c.leaderboard == leaderboard_id)
    return [_candidate(row) for row in conn.execute(query.order_by(_c.position)).mappings()]


def _candidate(row: sa.RowMapping) -> Candidate:
    names = ("position", "name", "family", "params", "run", "answers", "note")
    measured = dict(row["measured"])
    score = Estimate(*measured["score"]) if measured.get("score") else None
    known = {name: measured[name] for name in _MEASURED if name in measured}
    behind = Estimate(*row["behind"]) if row["behind"] else None
    state = CandidateState(row["state"])
    return Candidate(**{name: row[name] for name in names}, state=state, score=score, behind=behind, **known)


def _leaderboard(row: sa.RowMapping, candidates: Sequence[Candidate]) -> Leaderboard:
    plan = cast("dict[str, object]", dict(row["plan"]))
    request = cast("dict[str, object]", plan.pop("request"))
    for name in ("families", "leave_out"):
        request[name] = tuple(cast("list[str]", request[name]))
    for name in ("classes", "warnings"):
        plan[name] = tuple(cast("list[str]", plan[name]))
    names = ("id", "dataset", "version", "test", "test_use", "error", "job_id", "attempt", "created_at", "finished_at")
    return Leaderboard(
        **{name: row[name] for name in names},
        **plan,  # type: ignore[arg-type]
        request=TrainRequest(**request),  # type: ignore[arg-type]
        state=LeaderboardState(row["state"]),
        spent_s=row["spent_us"] / 1e6,
        candidates=ranked(candidates, str(plan["metric"])),
    )
