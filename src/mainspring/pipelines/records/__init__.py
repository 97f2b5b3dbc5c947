"""Tables of this room and their queries. Every query is of the caller's project."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from mainspring.core.caller import caller
from mainspring.core.later import later
from mainspring.core.values import dataclass
from mainspring.pipelines.model import (
    Artifact,
    Decision,
    Json,
    KeyParts,
    Kind,
    Measured,
    PipelineRun,
    Resources,
    RunState,
    StepRun,
    StepState,
)
from mainspring.storage.prepared import Prepared
from mainspring.storage.sql import sa

if TYPE_CHECKING:
    from mainspring.pipelines.records import tables
else:
    tables = later("mainspring.pipelines.records.tables")  # a small run needs its prepared statements only

_HERE = "mainspring.pipelines.records.statements"
_PLANNED = 500
"""How many steps are written at once: what SQLAlchemy makes of their rows is several times as large as they are."""
ACTIVE = (RunState.QUEUED, RunState.RUNNING)
"""States of a run that has a job on the queue."""
UNFINISHED = (*ACTIVE, RunState.WAITING, RunState.PAUSED)

_Row: TypeAlias = "Mapping[str, Any] | sa.RowMapping"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPlan:
    """What the drawing says about a step that the ledger has to know, and that other steps may share."""

    may_reuse: bool
    retries: int = 0
    retry_in_s: float = 0.0
    timeout_s: float | None = None
    cpu: float = 0.0
    memory: int = 0
    gpu: int = 0
    ending: bool = False

    @classmethod
    def from_json(cls, plain: Mapping[str, Json]) -> StepPlan:
        """The plan of a step as the runner sent it: the same object for all that say the same."""
        return _plan_with(tuple([(name, plain[name]) for name in _PLANNED_NAMES if name in plain]))

    @property
    def resources(self) -> Resources:
        """What the step takes of a machine."""
        return Resources(self.cpu, self.memory, self.gpu)


_PLANNED_NAMES = tuple(each.name for each in fields(StepPlan))


@lru_cache(maxsize=1024)
def _plan_with(values: tuple[tuple[str, Json], ...]) -> StepPlan:
    return StepPlan(**dict(values))  # type: ignore[arg-type]


@dataclass(slots=True)
class StepRow:
    """A step of a run that is being worked on, as its ledger keeps it in mind. `key` and `started_at` are of one that
    is running: of the others the table has them."""

    id: str
    parent: str
    plan: StepPlan
    state: StepState = StepState.WAITING
    attempt: int = 0
    failures: int = 0
    key: str = ""
    started_at: int = 0
    is_barred: bool = False  # whether its result cannot be compared with others


@dataclass(frozen=True, slots=True)
class Cached:
    """A stored result."""

    output: Artifact
    reads: Mapping[str, int]
    run: str


def add_run(conn: sa.Connection, run: PipelineRun) -> bool:
    """Add a run; False when its id is there already."""
    names = ("id", "pipeline", "target", "state", "engine", "job_id", "created_at", "cache", "priority", "actor")
    row = {name: getattr(run, name) for name in names}
    return _ADD_RUN.run(conn, {**row, "project": caller().project, "params": dict(run.params), **_UNTOUCHED}) == 1


_UNTOUCHED: Mapping[str, object] = dict.fromkeys(("attempt", "started_at", "finished_at"), 0) | {
    **dict.fromkeys(("error", "error_code"), ""),
    "tracked": False,
    "pausing": False,
    "pins": {},
    "code": {},
    "result": None,
}
_ADD_RUN, _FIND_RUN = Prepared(f"{_HERE}:add_run"), Prepared(f"{_HERE}:find_run")


def find_run(conn: sa.Connection, run_id: str, *, with_steps: bool = True) -> PipelineRun | None:
    """A run, with its steps or without."""
    rows = _FIND_RUN.named(conn, {"project": caller().project, "id": run_id})
    return next((_run(row, steps_of(conn, run_id) if with_steps else ()) for row in rows), None)


def state_of(conn: sa.Connection, run_id: str) -> RunState:
    """The state of a run that is there."""
    return RunState(_STATE.rows(conn, {"project": caller().project, "id": run_id})[0][0])


def find_runs(
    conn: sa.Connection, *, pipeline: str, states: Sequence[str], before: int, limit: int
) -> list[PipelineRun]:
    """Runs without their steps, newest first."""
    query = tables.pipeline_run.select().where(tables.RUN.project == caller().project)
    query = query.where(tables.RUN.pipeline == pipeline) if pipeline else query
    query = query.where(tables.RUN.state.in_(states)) if states else query
    query = query.where(tables.RUN.created_at < before) if before else query
    rows = conn.execute(query.order_by(tables.RUN.created_at.desc(), tables.RUN.id.desc()).limit(limit)).mappings()
    return [_run(row, ()) for row in rows]


def active(conn: sa.Connection, after: tuple[str, str], *, limit: int) -> list[tuple[str, str, str]]:
    """Project, id and job id of runs of every project that should have a job, behind a project and id."""
    query = sa.select(tables.RUN.project, tables.RUN.id, tables.RUN.job_id).where(
        tables.RUN.state.in_(ACTIVE), sa.tuple_(tables.RUN.project, tables.RUN.id) > after
    )
    return [
        (row.project, row.id, row.job_id)
        for row in conn.execute(query.order_by(tables.RUN.project, tables.RUN.id).limit(limit))
    ]


def ended_since(conn: sa.Connection, at: int, *, limit: int) -> list[tuple[str, str, RunState]]:
    """Project, id and state of runs of every project that have ended since, the latest first."""
    query = sa.select(tables.RUN.project, tables.RUN.id, tables.RUN.state).where(
        tables.ENDED, tables.RUN.finished_at >= at
    )
    rows = conn.execute(query.order_by(tables.RUN.finished_at.desc()).limit(limit))
    return [(row.project, row.id, RunState(row.state)) for row in rows]


def ended_of(conn: sa.Connection, ids: Sequence[str]) -> list[str]:
    """Those of some runs, of whatever project, that have ended."""
    return list(conn.execute(sa.select(tables.RUN.id).where(tables.RUN.id.in_(ids), tables.ENDED)).scalars())


def change_run(conn: sa.Connection, run_id: str, values: Mapping[str, object], *, states: Iterable[RunState]) -> bool:
    """Change a run when it is in one of `states`; False when it is not."""
    here = {"at_project": caller().project, "at_run": run_id}
    return _change_run_of(tuple(values), tuple(states)).run(conn, {**values, **here}) == 1


@cache
def _change_run_of(names: tuple[str, ...], states: tuple[RunState, ...]) -> Prepared:
    return Prepared(f"{_HERE}:change_run", names, states)


def job_of(conn: sa.Connection, run_id: str) -> str:
    """The job that a run has now."""
    query = sa.select(tables.RUN.job_id).where(tables.RUN.project == caller().project, tables.RUN.id == run_id)
    return str(conn.execute(query).scalar_one())


def fixed_of(conn: sa.Connection, run_id: str) -> tuple[dict[str, str], dict[str, str]]:
    """What a run was fixed to when it began: the dataset versions, and the digest of each step's code."""
    pins, code = _FIXED.rows(conn, {"project": caller().project, "id": run_id})[0]
    return pins, code


_FIXED, _STATE, _PAUSING = Prepared(f"{_HERE}:fixed"), Prepared(f"{_HERE}:state"), Prepared(f"{_HERE}:pausing")


def is_pausing(conn: sa.Connection, run_id: str) -> bool:
    """Whether somebody asked the run to stop after the steps that are under way."""
    return bool(_PAUSING.rows(conn, {"project": caller().project, "id": run_id})[0][0])


def plan_steps(conn: sa.Connection, run_id: str, plans: Sequence[Mapping[str, Json]], *, parent: str = "") -> None:
    """Add the steps that are not there yet, and drop those of the same parent that the pipeline no longer has."""
    own = {"project": caller().project, "run": run_id, "parent": parent}
    known = {step for (step,) in _STEPS_OF_PARENT.rows(conn, own)}
    wanted = {str(plan["id"]) for plan in plans}
    for gone in known - wanted:
        here = (tables.STEP.project == caller().project, tables.STEP.run == run_id)
        inner = sa.or_(tables.STEP.step == gone, tables.STEP.parent == gone)
        conn.execute(tables.step_run.delete().where(*here, inner))
    for start in range(0, len(plans), _PLANNED):
        rows = []
        for position, plan in enumerate(plans[start : start + _PLANNED], start):
            values = {"position": position, "function": plan["function"], "plan": plan}
            if plan["id"] in known:
                change_step(conn, run_id, str(plan["id"]), values)
            else:
                rows.append({**own, **_fresh(plan), **values})
        if rows:
            _add_step(tuple(rows[0])).run_all(conn, rows)


@cache
def _add_step(names: tuple[str, ...]) -> Prepared:
    return Prepared(f"{_HERE}:add_step", names)


def plans_of(conn: sa.Connection, run_id: str, parent: str) -> Sequence[Mapping[str, Json]]:
    """What the runner said of the items of a list."""
    query = sa.select(tables.STEP.plan).where(
        tables.STEP.project == caller().project, tables.STEP.run == run_id, tables.STEP.parent == parent
    )
    return conn.execute(query).scalars().all()


def begun_of(conn: sa.Connection, run_id: str, parent: str) -> dict[str, tuple[StepState, int, int]]:
    """State, attempt and failures of the steps of one parent that are not as they were planned."""
    rows = _BEGUN.rows(conn, {"project": caller().project, "run": run_id, "parent": parent})
    return {step: (StepState(state), attempt, failures) for step, state, attempt, failures in rows}


_STEPS_OF_PARENT, _BEGUN = Prepared(f"{_HERE}:steps_of_parent"), Prepared(f"{_HERE}:begun")


def change_step(conn: sa.Connection, run_id: str, step: str, values: Mapping[str, object]) -> None:
    """Change a step of a run."""
    here = {"at_project": caller().project, "at_run": run_id, "at_step": step}
    _change_of(tuple(values)).run(conn, {**values, **here})


@cache
def _change_of(names: tuple[str, ...]) -> Prepared:
    return Prepared(f"{_HERE}:change_step", names)


def end_steps(conn: sa.Connection, run_id: str, *, running: StepState, at: int) -> None:
    """Close the steps of a run that will not go on: running ones become `running`, waiting ones skipped."""
    here = {"at_project": caller().project, "at_run": run_id}
    _STOP.run(conn, {**here, "state": running, "finished_at": at})
    _SKIP.run(conn, here)


_STOP, _SKIP = Prepared(f"{_HERE}:stop_steps"), Prepared(f"{_HERE}:skip_steps")


def is_answered(conn: sa.Connection, run_id: str) -> bool:
    """Whether no question of a run is open."""
    here = (tables.STEP.project == caller().project, tables.STEP.run == run_id, tables.STEP.state == StepState.ASKED)
    found = conn.execute(sa.select(tables.STEP.decision).where(*here)).scalars().all()
    return all(decision and decision["approved"] is not None for decision in found)


def open_questions(conn: sa.Connection, now: int) -> list[tuple[str, str, str]]:
    """Project, run and step of every question of every project whose time is over: for settling."""
    query = (
        sa.select(tables.STEP.project, tables.STEP.run, tables.STEP.step, tables.STEP.decision)
        .where(tables.STEP.state == StepState.ASKED)
        .limit(500)
    )
    found = [(row.project, row.run, row.step, row.decision) for row in conn.execute(query)]
    return [(p, r, s) for p, r, s, d in found if d["approved"] is None and 0 < d["until"] <= now]


def change_states(conn: sa.Connection, run_id: str, before: StepState, values: Mapping[str, object]) -> None:
    """Change all steps of a run that are in one state."""
    here = (tables.STEP.project == caller().project, tables.STEP.run == run_id, tables.STEP.state == before)
    conn.execute(tables.step_run.update().where(*here).values(dict(values)))


def keep_log(conn: sa.Connection, run_id: str, step: str, log: str) -> None:
    """Give a cancelled step its log. Nothing else is changed: whoever stopped it has no lease any more."""
    here = (tables.STEP.project == caller().project, tables.STEP.run == run_id, tables.STEP.step == step)
    stopped = (tables.STEP.state == StepState.CANCELLED, tables.STEP.log == "")
    conn.execute(tables.step_run.update().where(*here, *stopped).values(log=log))


def steps_of(conn: sa.Connection, run_id: str) -> tuple[StepRun, ...]:
    """The steps of a run in the order of the drawing; items of a list behind the step that goes through it."""
    shared, found, last = _Shared(), list[tuple[int, StepRun]](), ""
    here, more = {"project": caller().project, "run": run_id}, True
    while more:  # by pages: the driver of Postgres keeps all rows of an answer
        rows = _STEPS_PAGE.named(conn, {**here, "step": last})
        found += [(row["position"], _step(row, shared)) for row in rows]
        more = len(rows) == _PLANNED
        last = rows[-1]["step"] if more else ""
    found.sort(key=lambda each: each[0])
    return _in_order(step for _, step in found)


_STEPS_PAGE = Prepared(f"{_HERE}:page_of_steps", _PLANNED)


def outline_of(conn: sa.Connection, run_id: str, *, most: int) -> tuple[StepRun, ...]:
    """As `steps_of`, with less of them where there may be many: items of lists, and all steps when more than `most`
    are no items, have their name, state, times and error only."""
    here = (tables.STEP.project == caller().project, tables.STEP.run == run_id)
    names = (
        tables.STEP.step,
        tables.STEP.parent,
        tables.STEP.function,
        tables.STEP.state,
        tables.STEP.attempt,
        tables.STEP.error,
        tables.STEP.started_at,
        tables.STEP.finished_at,
    )
    brief = sa.select(*names).where(*here).order_by(tables.STEP.position)
    tops: list[StepRun] = []
    if conn.execute(sa.select(sa.func.count()).where(*here, tables.STEP.parent == "")).scalar_one() <= most:
        whole = tables.step_run.select().where(*here, tables.STEP.parent == "").order_by(tables.STEP.position)
        tops = [_step(row) for row in conn.execute(whole).mappings()]
        brief = brief.where(tables.STEP.parent != "")
    rest = [
        StepRun(
            id=step,
            parent=parent,
            function=function,
            needs=(),
            state=StepState(state),
            attempt=attempt,
            error=error,
            started_at=started,
            finished_at=finished,
        )
        for step, parent, function, state, attempt, error, started, finished in conn.execute(brief)
    ]
    return _in_order([*tops, *rest])


def _in_order(steps: Iterable[StepRun]) -> tuple[StepRun, ...]:
    inner: dict[str, list[StepRun]] = {}
    for step in steps:
        inner.setdefault(step.parent, []).append(step)
    tops = inner.pop("", [])
    return tuple(each for top in tops for each in (top, *inner.get(top.id, ())))


def step_of(conn: sa.Connection, run_id: str, step: str) -> StepRun | None:
    """One step of a run."""
    rows = _STEP.named(conn, {"at_project": caller().project, "at_run": run_id, "at_step": step})
    return next((_step(row) for row in rows), None)


_STEP = Prepared(f"{_HERE}:step")


def measured(conn: sa.Connection, pipeline: str, *, runs: int) -> list[Measured]:
    """What the steps of the latest runs of a pipeline asked for and took; items of a list count for their step."""
    latest = sa.select(tables.RUN.id).where(tables.RUN.project == caller().project, tables.RUN.pipeline == pipeline)
    latest = latest.order_by(tables.RUN.created_at.desc()).limit(runs)
    names = (
        tables.STEP.step,
        tables.STEP.parent,
        tables.STEP.plan,
        tables.STEP.started_at,
        tables.STEP.finished_at,
        tables.STEP.cpu_us,
        tables.STEP.memory,
    )
    query = sa.select(*names).where(
        tables.STEP.project == caller().project, tables.STEP.run.in_(latest), tables.STEP.memory > 0
    )
    return [
        Measured(
            step=row.parent or row.step,
            asks=StepPlan.from_json(row.plan).resources,
            seconds=(row.finished_at - row.started_at) / 1e6,
            cpu_s=row.cpu_us / 1e6,
            memory=row.memory,
        )
        for row in conn.execute(query.where(tables.STEP.state == StepState.FINISHED))
    ]


def step_plan(conn: sa.Connection, run_id: str, step: str) -> tuple[StepRun, StepPlan, int]:
    """A step as it stands, what the drawing says about it, and how often it has failed."""
    here = (tables.STEP.project == caller().project, tables.STEP.run == run_id, tables.STEP.step == step)
    row = conn.execute(tables.step_run.select().where(*here)).mappings().one()
    return _step(row), StepPlan.from_json(row["plan"]), int(row["failures"])


def earlier_step(conn: sa.Connection, run: PipelineRun, step: StepRun) -> tuple[str, StepRun] | None:
    """The same step in the latest run of the pipeline before `run` that had its key, with that run's id."""
    joined = tables.step_run.join(
        tables.pipeline_run, sa.and_(tables.RUN.project == tables.STEP.project, tables.RUN.id == tables.STEP.run)
    )
    query = (
        sa.select(*tables.step_run.c)
        .select_from(joined)
        .where(
            tables.STEP.project == caller().project,
            tables.STEP.step == step.id,
            tables.RUN.pipeline == run.pipeline,
            tables.STEP.key != "",
        )
        .where(tables.RUN.created_at <= run.created_at, tables.RUN.id != run.id)
        .order_by(tables.RUN.created_at.desc(), tables.RUN.id.desc())
        .limit(1)
    )
    row = conn.execute(query).mappings().first()
    return (str(row["run"]), _step(row)) if row else None


def find_cached(conn: sa.Connection, key: str) -> Cached | None:
    """The stored result under a key."""
    rows = _FIND_CACHED.rows(conn, {"project": caller().project, "key": key})
    return next((Cached(Artifact.from_json(output), reads, run) for output, reads, run in rows), None)


def store_cached(conn: sa.Connection, key: str, cached: Cached, at: int) -> None:
    """Keep a result under a key, instead of an older one."""
    values = {"output": cached.output.to_json(), "reads": dict(cached.reads), "run": cached.run, "created_at": at}
    _STORE_CACHED.run(conn, {"project": caller().project, "key": key, **values})


def is_made_elsewhere(conn: sa.Connection, key: str, *, run_id: str, now: int) -> bool:
    """Whether a step of another run, which a worker holds, is making the result of this key."""
    given = {"project": caller().project, "key": key, "run": run_id, "now": now}
    return bool(_MADE_ELSEWHERE.rows(conn, given))


def only_one(conn: sa.Connection, key: str) -> None:
    """Wait until no other transaction decides who makes the result of this key; on SQLite only one writes anyway."""
    if conn.dialect.name == "postgresql":
        _ONLY_ONE.rows(conn, {"key": f"{caller().project}/{key}"})


_MADE_ELSEWHERE, _ONLY_ONE = Prepared(f"{_HERE}:is_made_elsewhere"), Prepared(f"{_HERE}:only_one")
_FIND_CACHED, _STORE_CACHED = Prepared(f"{_HERE}:find_cached"), Prepared(f"{_HERE}:store_cached")


def _fresh(plan: Mapping[str, Json]) -> dict[str, Json]:
    texts = dict.fromkeys(("key", "error", "error_code", "log", "source"), "")
    counts = dict.fromkeys(("attempt", "failures", "cpu_us", "memory", "started_at", "finished_at"), 0)
    return {"step": plan["id"], "state": StepState.WAITING, **texts, **counts}


def _run(row: _Row, steps: tuple[StepRun, ...]) -> PipelineRun:
    names = ("id", "pipeline", "target", "params", "engine", "job_id", "attempt", "tracked", "error", "error_code")
    more = ("cache", "priority", "actor", "created_at", "started_at", "finished_at")
    result = (row["result"] or {}).get("value")
    known = {name: row[name] for name in (*names, *more)}
    return PipelineRun(**known, state=RunState(row["state"]), result=result, steps=steps)


class _Shared:
    """What was read already, for the steps of a run to share: of ten thousand, most say the same."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}
        self._digests: dict[tuple[tuple[str, str], ...], Mapping[str, str]] = {}
        self._nothing: Mapping[str, Json] = {}

    def text(self, text: str) -> str:
        return self._texts.setdefault(text, text)

    def parts(self, plain: Mapping[str, Json]) -> KeyParts:
        found = KeyParts.from_json(plain)
        return replace(
            found,
            function=self.text(found.function),
            lock=self.text(found.lock),
            code=self._digests.setdefault(tuple(found.code.items()), found.code),
            params=found.params or self._nothing,
            inputs={self.text(name): each for name, each in found.inputs.items()},
            datasets=found.datasets or cast("Mapping[str, str]", self._nothing),
            files=found.files or cast("Mapping[str, str]", self._nothing),
            env=found.env or cast("Mapping[str, str]", self._nothing),
        )


def _step(row: _Row, shared: _Shared | None = None) -> StepRun:
    shared = shared or _Shared()
    names = ("attempt", "key", "error", "error_code", "log", "source", "started_at", "finished_at")
    decision = cast("Mapping[str, Json] | None", row["decision"])
    return StepRun(
        **{name: row[name] for name in names},
        id=shared.text(row["step"]),
        parent=shared.text(row["parent"]),
        function=shared.text(row["function"]),
        memory=row["memory"],
        group=row["plan"].get("group", ""),
        kind=Kind(row["plan"].get("kind", Kind.CALL)),
        cpu_s=row["cpu_us"] / 1e6,
        decision=Decision.from_json(decision) if decision else None,
        needs=tuple(map(shared.text, row["plan"]["needs"])),
        state=StepState(row["state"]),
        parts=shared.parts(row["parts"]) if row["parts"] else None,
        output=Artifact.from_json(row["output"]) if row["output"] else None,
    )
