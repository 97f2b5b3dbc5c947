"""The job queue on SQL tables: leases, fencing by attempt number, limits that count live leases only."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from functools import cache

from mainspring.core.caller import caller
from mainspring.core.clock import SECOND_US
from mainspring.core.errors import Conflict, Fenced, Invalid, NotFound, Unavailable
from mainspring.core.ids import new_id
from mainspring.storage.jobs import Job, JobState, Lease, NewJob, QueueMode, QueueStatus
from mainspring.storage.ports import Tables
from mainspring.storage.prepared import Prepared
from mainspring.storage.sql import sa, schema
from mainspring.storage.upsert import insert_into

FIND_LIMIT = 500
PRUNE_LIMIT = 1_000
"""Most jobs that are forgotten in one transaction."""
_SWEEP_LIMIT = 100
_UNFINISHED = [JobState.QUEUED, JobState.RUNNING]
_HERE = "mainspring.storage.statements"
_LOOK, _IS_SET, _MODE = Prepared(f"{_HERE}:look"), Prepared(f"{_HERE}:is_set"), Prepared(f"{_HERE}:mode")
_IS_DUE, _GIVE_ONE = Prepared(f"{_HERE}:is_due"), Prepared(f"{_HERE}:give_one")
_LOST_RACES = 3
"""So often the next job is asked for before it is looked for with care: another worker may just have taken it."""
_Due = tuple[int, int, int, str]
"""What orders jobs (priority turned round, `run_at`, `created_at`) and the id."""
_NO_CONTROL = (QueueMode.OPEN, 0, 0)


class SqlQueue:
    """The queue port on `Tables`, and `QueueControl`; see `ports.Queue`.

    Args:
        tables: Where the jobs are.
        now: The time in epoch microseconds; the database's by default, which is the same for all processes.
    """

    def __init__(self, tables: Tables, now: Callable[[sa.Connection], int] | None = None) -> None:
        self._tables = tables
        self._now = now or tables.now
        self._is_asked = now is None and tables.dialect == "postgresql"  # the time costs a question of its own there
        self._is_idle = True

    def put(self, conn: sa.Connection, job: NewJob) -> str:
        """See `ports.Queue.put`."""
        _check(job)
        if (QueueMode.DRAINING,) in _MODE.rows(conn, {"queue": job.queue}):
            raise Unavailable(f"queue {job.queue!r} is draining", where=job.queue, hint="open it again, or wait")
        row = self._new_row(conn, job)
        for _ in range(10):  # the job that held the key may finish between the two statements
            if _put_of(tuple(row)).run(conn, row) == 1:
                return str(row["id"])
            if (known := conn.execute(_same(job, str(row["project"]))).scalar()) is not None:
                return str(known)
        raise Conflict(f"the key {job.key!r} keeps changing hands", where=job.queue, hint="put the job again")

    def lease(self, worker: str, queues: Sequence[str], *, lease_s: float = 30) -> Lease | None:
        """See `ports.Queue.lease`."""
        if self._is_idle:
            with self._tables.read() as conn:  # an idle worker costs a read, not a write
                if not _anything(conn, queues, self._now(conn)):
                    return None
        with self._tables.write() as conn:
            found = self._first(conn, queues, worker, round(lease_s * SECOND_US))
            if found is None:
                found = self._next(conn, queues, worker, round(lease_s * SECOND_US))
        self._is_idle = found is None
        if found is None:
            return None
        job = job_from(found)
        return Lease(job, worker, job.attempt, job.lease_until)

    def renew(self, conn: sa.Connection, lease: Lease, *, lease_s: float = 30) -> Lease:
        """See `ports.Queue.renew`."""
        until = self._write(conn, lease, {}, "lease_until", round(lease_s * SECOND_US))
        return Lease(lease.job, lease.worker, lease.attempt, until)

    def finish(self, conn: sa.Connection, lease: Lease, result: dict[str, object]) -> None:
        """See `ports.Queue.finish`."""
        done = {"state": JobState.FINISHED, "result": result, "error": "", "lease_until": 0}
        self._write(conn, lease, done, "finished_at")

    def fail(
        self, conn: sa.Connection, lease: Lease, error: str, *, retry_in_s: float | None, counts: bool = True
    ) -> None:
        """See `ports.Queue.fail`."""
        values: dict[str, object] = {"lease_until": 0, "error": error}
        if not counts:
            values["max_attempts"] = lease.job.max_attempts + 1  # attempts themselves go on counting: they fence
        if retry_in_s is not None and (lease.attempt < lease.job.max_attempts or not counts):
            values |= {"state": JobState.QUEUED, "worker": ""}
            self._write(conn, lease, values, "run_at", round(retry_in_s * SECOND_US))
        else:
            self._write(conn, lease, values | {"state": JobState.DEAD}, "finished_at")

    def cancel(self, conn: sa.Connection, job_id: str) -> bool:
        """See `ports.Queue.cancel`."""
        stop = schema.job.update().where(schema.job.c.id == job_id, schema.job.c.state.in_(_UNFINISHED))
        values = {"state": JobState.CANCELLED, "finished_at": self._now(conn), "lease_until": 0}
        return conn.execute(stop.values(values)).rowcount == 1

    def get(self, job_id: str) -> Job:
        """See `ports.Queue.get`."""
        with self._tables.read() as conn:
            row = conn.execute(schema.job.select().where(schema.job.c.id == job_id)).mappings().first()
        if row is None:
            raise NotFound(f"no job {job_id!r}", where="queue", hint="mainspring pipeline ls")
        return job_from(row)

    def find(self, *, states: Sequence[JobState] = (), queue: str = "") -> list[Job]:
        """See `ports.Queue.find`."""
        query = schema.job.select().where(schema.job.c.project == caller().project)
        if states:
            query = query.where(schema.job.c.state.in_(states))
        if queue:
            query = query.where(schema.job.c.queue == queue)
        with self._tables.read() as conn:
            newest = query.order_by(schema.job.c.created_at.desc(), schema.job.c.id.desc()).limit(FIND_LIMIT)
            return [job_from(row) for row in conn.execute(newest).mappings()]

    def set_mode(self, queue: str, mode: QueueMode) -> None:
        """See `ports.QueueControl.set_mode`."""
        self._set_control(queue, {"mode": QueueMode(mode)})

    def set_limits(self, queue: str, *, limit: int = 0, group_limit: int = 0) -> None:
        """See `ports.QueueControl.set_limits`."""
        if limit < 0 or group_limit < 0:
            raise Invalid(f"limits {limit} and {group_limit} asked for", where=queue, hint="use 0 for no limit")
        self._set_control(queue, {"running_limit": limit, "group_limit": group_limit})

    def set_quota(self, queue: str, project: str, limit: int) -> None:
        """See `ports.QueueControl.set_quota`."""
        if limit < 0:
            raise Invalid(f"a quota of {limit}", where=queue, hint="use 0 for none")
        with self._tables.write() as conn:
            conn.execute(
                schema.queue_quota.delete().where(
                    schema.queue_quota.c.queue == queue, schema.queue_quota.c.project == project
                )
            )
            if limit:
                conn.execute(schema.queue_quota.insert().values(queue=queue, project=project, running_limit=limit))

    def quotas(self, queue: str) -> dict[str, int]:
        """See `ports.QueueControl.quotas`."""
        with self._tables.read() as conn:
            return {project: limit for (_, project), limit in _quotas(conn, [queue]).items()}

    def status(self, queue: str) -> QueueStatus:
        """See `ports.QueueControl.status`."""
        count = (
            sa.select(schema.job.c.state, sa.func.count())
            .where(schema.job.c.queue == queue)
            .group_by(schema.job.c.state)
        )
        live = sa.select(sa.func.count()).where(schema.job.c.queue == queue, schema.job.c.state == JobState.RUNNING)
        with self._tables.read() as conn:
            mode, limit, group_limit = _controls(conn, [queue])[queue]
            counts = {state: int(n) for state, n in conn.execute(count)}
            running = int(conn.execute(live.where(schema.job.c.lease_until >= self._now(conn))).scalar_one())
        lapsed = counts.get(JobState.RUNNING, 0) - running  # nobody holds them: as good as queued
        queued, dead = counts.get(JobState.QUEUED, 0) + max(0, lapsed), counts.get(JobState.DEAD, 0)
        return QueueStatus(
            queue=queue, mode=mode, limit=limit, group_limit=group_limit, queued=queued, running=running, dead=dead
        )

    def revive(self, job_id: str) -> bool:
        """See `ports.QueueControl.revive`."""
        job = self.get(job_id)
        again = schema.job.update().where(schema.job.c.id == job_id, schema.job.c.state == JobState.DEAD)
        more = {"max_attempts": schema.job.c.max_attempts + schema.job.c.attempt}  # attempts go on counting: they fence
        try:
            with self._tables.write() as conn:
                values = {"state": JobState.QUEUED, "run_at": self._now(conn), "finished_at": 0, "worker": "", **more}
                return conn.execute(again.values(values)).rowcount == 1
        except sa.exc.IntegrityError:
            raise Conflict(f"a newer job has the key {job.key!r}", where=job_id, hint="wait for it to finish") from None

    def prune(self, before: int, *, dry_run: bool = False) -> int:
        """See `ports.QueueControl.prune`."""
        over = sa.and_(schema.job.c.state.not_in(_UNFINISHED), schema.job.c.finished_at < before)
        if dry_run:
            with self._tables.read() as conn:
                return int(conn.execute(sa.select(sa.func.count()).where(over)).scalar_one())
        some = sa.select(schema.job.c.id).where(over).limit(PRUNE_LIMIT)
        total, count = 0, PRUNE_LIMIT
        while count == PRUNE_LIMIT:
            with self._tables.write() as conn:
                count = conn.execute(schema.job.delete().where(schema.job.c.id.in_(some))).rowcount
            total += count
        return total

    def _first(
        self, conn: sa.Connection, queues: Sequence[str], worker: str, lease_us: int
    ) -> dict[str, object] | None:
        """The next job of one queue without limits and quotas, where no lease ran out: in one statement, not ten.

        None is no word about what is there: it is looked for with care then.
        """
        if len(queues) != 1:
            return None
        now = 0 if self._is_asked else self._now(conn)
        values = {"given_queue": queues[0], "given_now": now, "given_worker": worker, "given_lease": lease_us}
        for lost in range(_LOST_RACES if self._is_asked else 1):
            if lost == 1 and _IS_SET.rows(conn, {"given_queue": queues[0]})[0][0]:
                return None
            if found := _give_first(asks=self._is_asked).named(conn, values):
                return found[0]
        return None

    def _next(self, conn: sa.Connection, queues: Sequence[str], worker: str, lease_us: int) -> dict[str, object] | None:
        """The next job of some queues, after leases that ran out were taken back."""
        now = self._now(conn)
        _sweep(conn, now)
        due = _next(conn, queues, now)
        if due is None:
            return None
        values = {"given_id": due, "given_worker": worker, "given_now": now, "given_lease": lease_us}
        return _GIVE_ONE.named(conn, values)[0]

    def _write(
        self, conn: sa.Connection, lease: Lease, values: dict[str, object], timed: str, later_us: int = 0
    ) -> int:
        """Set columns of a job that a lease still holds, and the column `timed` to so much later than now: that time.

        Raises:
            Fenced: It holds no more.
        """
        at = later_us if self._is_asked else self._now(conn) + later_us
        held = {"held_id": lease.job.id, "held_attempt": lease.attempt}
        found = _held(tuple(values), timed, adds=self._is_asked).rows(conn, {**values, **held, timed: at})
        if not found:
            raise Fenced(
                f"attempt {lease.attempt} of job {lease.job.id} lost its lease",
                where=f"{lease.job.queue}/{lease.job.kind}",
                hint="drop the result: another worker has the job, or it was cancelled",
            )
        return int(found[0][0])

    def _new_row(self, conn: sa.Connection, job: NewJob) -> dict[str, object]:
        now, who = self._now(conn), caller()
        return {
            "id": job.id or new_id(),
            "project": who.project,
            "actor": who.actor,
            "queue": job.queue,
            "kind": job.kind,
            "payload": dict(job.payload),
            "dedup_key": job.key,
            "job_group": job.group,
            "priority": job.priority,
            "state": JobState.QUEUED,
            "attempt": 0,
            "max_attempts": job.max_attempts,
            "run_at": job.run_at or now,
            "created_at": now,
            "finished_at": 0,
            "worker": "",
            "lease_until": 0,
            "error": "",
        }

    def _set_control(self, queue: str, values: dict[str, object]) -> None:
        with self._tables.write() as conn:
            fresh = {"queue": queue, "mode": QueueMode.OPEN, "running_limit": 0, "group_limit": 0} | values
            insert = insert_into(conn, schema.queue_control).values(fresh)
            conn.execute(insert.on_conflict_do_update(index_elements=["queue"], set_=values))


def _check(job: NewJob) -> None:
    if not job.queue or not job.kind:
        raise Invalid("a job needs a queue and a kind", where=f"{job.queue}/{job.kind}")
    if job.max_attempts < 1:
        raise Invalid(f"max_attempts is {job.max_attempts}", where=f"{job.queue}/{job.kind}", hint="use at least 1")


def _same(job: NewJob, project: str) -> sa.Select[tuple[str]]:
    """The id of the job that stands in the way of inserting `job`."""
    unfinished = schema.job.c.state.in_(_UNFINISHED)
    keyed = sa.and_(
        schema.job.c.project == project, schema.job.c.queue == job.queue, schema.job.c.dedup_key == job.key, unfinished
    )
    return sa.select(schema.job.c.id).where(
        sa.or_(schema.job.c.id == job.id, sa.and_(sa.true() if job.key else sa.false(), keyed))
    )


def _anything(conn: sa.Connection, queues: Sequence[str], now: int) -> bool:
    """Whether there may be something to give out, or a lapsed lease to sweep."""
    for queue in queues:
        asked = {"given_queue": queue, "given_now": now}
        has_lapsed, level = _LOOK.rows(conn, asked)[0]
        if has_lapsed:
            return True
        if level is not None and (
            _IS_DUE.rows(conn, {**asked, "given_level": level}) or _first_due(conn, queue, now) is not None
        ):
            return True
    return False


def _sweep(conn: sa.Connection, now: int) -> None:
    """Take back the leases that ran out: to be given out again, or aside when all attempts are used."""
    lapsed = sa.select(schema.job.c.id).where(schema.job.c.state == JobState.RUNNING, schema.job.c.lease_until < now)
    some = lapsed.limit(_SWEEP_LIMIT).with_for_update(skip_locked=True)
    used_up = schema.job.c.attempt >= schema.job.c.max_attempts
    conn.execute(
        schema.job.update()
        .where(schema.job.c.id.in_(some))
        .values(
            state=sa.case((used_up, JobState.DEAD), else_=JobState.QUEUED),
            finished_at=sa.case((used_up, now), else_=0),
            error=sa.case((used_up, "the worker was lost: its lease ran out"), else_=schema.job.c.error),
            worker="",
            lease_until=0,
        )
    )


def _next(conn: sa.Connection, queues: Sequence[str], now: int) -> str | None:
    """The job to give out next, locked against other workers on Postgres."""
    controls = _controls(conn, queues, lock=True)
    quotas = _quotas(conn, queues, lock=True)
    live: Counter[str] = Counter()
    shares: Counter[tuple[str, str]] = Counter()
    full: defaultdict[str, list[sa.ColumnElement[bool]]] = defaultdict(list)
    running = sa.select(schema.job.c.queue, schema.job.c.project, schema.job.c.job_group, sa.func.count()).where(
        schema.job.c.state == JobState.RUNNING, schema.job.c.lease_until >= now, schema.job.c.queue.in_(queues)
    )
    is_limited = bool(quotas) or any(limit or group_limit for _, limit, group_limit in controls.values())
    counts = (
        conn.execute(running.group_by(schema.job.c.queue, schema.job.c.project, schema.job.c.job_group))
        if is_limited
        else ()
    )
    for queue, project, group, count in counts:
        live[queue] += count
        shares[queue, project] += count
        if group and 0 < controls[queue][2] <= count:
            full[queue].append(sa.and_(schema.job.c.project == project, schema.job.c.job_group == group))
    for (queue, project), quota in quotas.items():
        if shares[queue, project] >= quota:
            full[queue].append(schema.job.c.project == project)
    ready = [q for q in queues if controls[q][0] != QueueMode.PAUSED and not 0 < controls[q][1] <= live[q]]
    due = [_first_due(conn, queue, now, without=full[queue], lock=True) for queue in ready]
    first = min((found for found in due if found is not None), default=None)
    return None if first is None else first[-1]


def _first_due(
    conn: sa.Connection, queue: str, now: int, *, without: Sequence[sa.ColumnElement[bool]] = (), lock: bool = False
) -> _Due | None:
    """The first due job of one queue, by steps along the index: never all due jobs are read, let alone sorted.

    For each priority that jobs wait with, from the highest, the index begins with the earliest `run_at`.
    """
    waiting = sa.and_(schema.job.c.state == JobState.QUEUED, schema.job.c.queue == queue)
    top = sa.select(schema.job.c.priority).where(waiting).order_by(schema.job.c.priority.desc()).limit(1)
    level = conn.execute(top).scalar()
    while level is not None:
        first = sa.select(schema.job.c.run_at, schema.job.c.created_at, schema.job.c.id).where(
            waiting, schema.job.c.priority == level
        )
        first = first.where(schema.job.c.run_at <= now, *(sa.not_(group) for group in without))
        first = first.order_by(schema.job.c.run_at, schema.job.c.created_at, schema.job.c.id).limit(1)
        found = conn.execute(first.with_for_update(skip_locked=True) if lock else first).first()
        if found is not None:
            return (-level, *found)
        level = conn.execute(top.where(schema.job.c.priority < level)).scalar()
    return None


def _controls(
    conn: sa.Connection, queues: Sequence[str], *, lock: bool = False
) -> dict[str, tuple[QueueMode, int, int]]:
    """Mode, limit and group limit of each queue. With `lock`, workers of queues that have limits take turns."""
    query = (
        schema.queue_control.select()
        .where(schema.queue_control.c.queue.in_(queues))
        .order_by(schema.queue_control.c.queue)
    )
    if lock:
        query = query.with_for_update()
    found = {row.queue: (QueueMode(row.mode), row.running_limit, row.group_limit) for row in conn.execute(query)}
    return {queue: found.get(queue, _NO_CONTROL) for queue in queues}


def _quotas(conn: sa.Connection, queues: Sequence[str], *, lock: bool = False) -> dict[tuple[str, str], int]:
    """Most running jobs by queue and project. With `lock`, workers of queues that have quotas take turns."""
    query = (
        schema.queue_quota.select()
        .where(schema.queue_quota.c.queue.in_(queues))
        .order_by(schema.queue_quota.c.queue, schema.queue_quota.c.project)
    )
    found = conn.execute(query.with_for_update() if lock else query)
    return {(row.queue, row.project): int(row.running_limit) for row in found}


@cache
def _give_first(*, asks: bool) -> Prepared:
    return Prepared(f"{_HERE}:give_first", asks)


@cache
def _put_of(names: tuple[str, ...]) -> Prepared:
    return Prepared(f"{_HERE}:put", names)


@cache
def _held(names: tuple[str, ...], timed: str, *, adds: bool) -> Prepared:
    return Prepared(f"{_HERE}:held", names, timed, adds)


def job_from(row: sa.RowMapping | dict[str, object]) -> Job:
    """A row of the table as a job."""
    values = dict(row)
    key, group = values.pop("dedup_key"), values.pop("job_group")
    return Job(**{**values, "key": key, "group": group, "state": JobState(str(values["state"]))})
