"""The verbs of a run's life: started, changed, ended, deleted, restored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from mainspring.core.caller import caller
from mainspring.core.clock import Clock
from mainspring.core.errors import Conflict, Invalid, NotFound
from mainspring.core.ids import is_id, new_id
from mainspring.tracking.events import RunDeleted, RunEnded, RunRestored, RunResumed, RunStarted
from mainspring.tracking.experiments import active_experiment, check_active, experiment_of_run
from mainspring.tracking.model import ENDED, STATUSES, Experiment, Run, RunChange, RunStart
from mainspring.tracking.names import name_for
from mainspring.tracking.records import experiments, points, runs, tables
from mainspring.tracking.rules import MAX_TAG, MAX_VALUE, appended, check_status, check_texts, filled

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from mainspring.storage.ports import Journal, Tables

MAX_NAME = 250
"""Most characters of a run's name; a longer one is cut."""


class Runs:
    """Starts runs and keeps what becomes of them. A deleted run takes no more writes until it is restored."""

    def __init__(self, *, tables: Tables, journal: Journal, clock: Clock) -> None:
        self._tables = tables
        self._journal = journal
        self._clock = clock

    def start(self, start: RunStart, *, parent_is_here: bool = False) -> Run:
        """Start a run. With the `run_id` of a run that is there, that run is given back.

        Args:
            start: What it starts with.
            parent_is_here: Refuse a parent that is not there. Clients of MLflow name the parent in a tag, which may be
                of a run that comes later or is kept elsewhere.
        Raises:
            Invalid: The id or a tag is malformed, or it would be its own parent.
            Conflict: The id belongs to a run of another project, or the experiment was deleted.
            NotFound: There is no such experiment or parent.
        """
        check_texts(start.tags, "tag", MAX_TAG)
        check_texts(start.params, "param", MAX_VALUE)
        if start.status not in ("running", "scheduled"):
            check_status(start.status)
        if start.run_id and not is_id(start.run_id):
            raise Invalid(f"{start.run_id[:40]!r} is no run id", where="run_id", hint="leave it out: 32 hex digits")
        project, made_id = caller().project, start.run_id or new_id()
        with self._tables.write() as conn:
            owner, kept = self._experiment(conn, start)
            made = _started(start, made_id, kept, self._clock.now())
            if runs.add_run(conn, project, owner, made):
                _check_parent(made)
                if parent_is_here and made.parent:
                    place_of(conn, project, made.parent)
                if start.tags or start.params:
                    runs.add_texts(conn, place_of(conn, project, made.id)[0], tags=start.tags, params=start.params)
                fact = RunStarted(subject=made.ref, experiment=kept.name, name=made.name, parent=made.parent)
                self._journal.append(conn, fact)
                if made.status in ENDED:
                    self._journal.append(conn, RunEnded(subject=made.ref, experiment=kept.name, status=made.status))
                return made
            known = runs.find_run(conn, project, made_id)
        if known is None:
            raise Conflict("the run id is taken", where=f"runs/{made_id}", hint="leave the id out")
        return known

    def change(self, run_id: str, change: RunChange) -> Run:
        """Change status, end, name, parent or code of a run; gives it back without its texts, metrics and inputs.

        Raises:
            Invalid: No such status.
            NotFound: No such run.
            Conflict: The run was deleted.
        """
        with self._tables.write() as conn:
            return change_run(conn, self._journal, run_id, change, self._clock.now())

    def finish(self, run_id: str, status: str, ended_at: int = 0) -> Run:
        """End a run as finished, failed or killed, now unless said when. Doing it again changes nothing.

        Raises:
            NotFound: No such run.
            Conflict: It ended in another way, or was deleted.
        """
        with self._tables.write() as conn:
            self._end(conn, run_id, status, ended_at)
            ended = runs.find_run(conn, caller().project, run_id)
        assert ended is not None
        return ended

    def end(self, run_id: str, status: str) -> None:
        """As `finish`, now, and without a look at what it holds: for whoever has no use for that."""
        with self._tables.write() as conn:
            self._end(conn, run_id, status)

    def _end(self, conn: Connection, run_id: str, status: str, ended_at: int = 0) -> None:
        check_status(status)
        number, found = active(conn, run_id)
        if found.status not in ENDED:
            _change(conn, self._journal, number, found, RunChange(status, ended_at or None), self._clock.now())
        elif found.status != status:
            raise Conflict(f"the run is {found.status} already", where=found.ref, hint="start a new run")

    def delete(self, run_id: str) -> None:
        """Delete a run; `restore` brings it back. Deleting it again changes nothing.

        Raises:
            NotFound: No such run.
        """
        with self._tables.write() as conn:
            number, found = _held(conn, run_id)
            if found.deleted_at is None:
                runs.change(conn, number, {"deleted_at": self._clock.now()})
                self._journal.append(conn, RunDeleted(subject=found.ref, experiment=found.experiment))

    def restore(self, run_id: str) -> None:
        """Bring back a deleted run. Restoring one that is there changes nothing.

        Raises:
            NotFound: No such run.
            Conflict: Its experiment was deleted.
        """
        with self._tables.write() as conn:
            number, found = _held(conn, run_id)
            owner = experiments.by_id(conn, caller().project, found.experiment_id)
            if found.deleted_at is not None and owner is not None:
                check_active(owner[1])
                runs.change(conn, number, {"deleted_at": None})
                self._journal.append(conn, RunRestored(subject=found.ref, experiment=found.experiment))

    def delete_tag(self, run_id: str, key: str) -> None:
        """Delete a tag of a run.

        Raises:
            NotFound: No such run or tag.
            Conflict: The run was deleted.
        """
        with self._tables.write() as conn:
            number, _ = writable(conn, caller().project, run_id)
            if not points.delete_text(conn, tables.tag, number, key):
                raise NotFound(f"No tag with name: {key[:100]} in run with id {run_id}", where=f"runs/{run_id}")

    def add_to_tag(self, run_id: str, key: str, entry: Mapping[str, object]) -> None:
        """Append to a tag that holds a JSON list.

        Raises:
            Invalid: The tag holds something else.
            TooLarge: The list gets too long.
            NotFound: No such run.
            Conflict: The run was deleted.
        """
        with self._tables.write() as conn:
            number, _ = active(conn, run_id)
            kept = points.texts_of(conn, tables.tag, [number], frozenset((key,)))[number].get(key, "[]")
            text = appended(kept, entry, where=f"tag {key}")
            check_texts({key: text}, "tag", MAX_TAG)
            points.add_texts(conn, tables.tag, number, {key: text}, replace=True)

    def _experiment(self, conn: Connection, start: RunStart) -> tuple[int, Experiment]:
        if not start.experiment_id:
            return experiment_of_run(conn, self._journal, start.experiment, self._clock.now())
        return active_experiment(conn, self._journal, start.experiment_id, self._clock.now())


def change_run(conn: Connection, journal: Journal, run_id: str, change: RunChange, now: int) -> Run:
    """Change a run in a transaction that is open; gives it back without its texts, metrics and inputs.

    Raises:
        Invalid: No such status, or it would be its own parent.
        NotFound: No such run.
        Conflict: The run was deleted.
    """
    number, found = active(conn, run_id)
    return _change(conn, journal, number, found, change, now)


def _change(conn: Connection, journal: Journal, number: int, found: Run, change: RunChange, now: int) -> Run:
    made = _changed(found, change, now)
    if made == found:
        return found
    _check_parent(made)
    columns = ("status", "ended_at", "name", "parent", "user_id")
    code = {} if made.code == found.code or made.code is None else {"code": asdict(made.code)}
    runs.change(conn, number, {name: getattr(made, name) for name in columns} | code)
    if made.status != found.status and made.status in ENDED:
        journal.append(conn, RunEnded(subject=made.ref, experiment=made.experiment, status=made.status))
    elif found.status in ENDED and made.status not in ENDED:
        journal.append(conn, RunResumed(subject=made.ref, experiment=made.experiment, before=found.status))
    return made


def active(conn: Connection, run_id: str) -> tuple[int, Run]:
    """The number of a run that takes writes, and the run without its texts, metrics and inputs.

    Raises:
        NotFound: No such run.
        Conflict: It was deleted.
    """
    number, found = _held(conn, run_id)
    if found.deleted_at is not None:
        raise _deleted(run_id)
    return number, found


def writable(conn: Connection, project: str, run_id: str) -> tuple[int, int]:
    """The numbers of a run that takes writes, and of its experiment.

    Raises:
        NotFound: No such run.
        Conflict: It was deleted.
    """
    number, owner, deleted = place_of(conn, project, run_id)
    if deleted:
        raise _deleted(run_id)
    return number, owner


def writable_runs(conn: Connection, asked: Sequence[tuple[str, str]]) -> list[tuple[int, int]]:
    """As `writable`, for runs by project and id."""
    places: dict[tuple[str, str], tuple[int, int, bool]] = {}
    for project in {project for project, _ in asked}:
        ids = {run_id for owner, run_id in asked if owner == project}
        places |= {(project, run_id): place for run_id, place in runs.places(conn, project, ids).items()}
    for project, run_id in asked:
        if (project, run_id) not in places:
            raise no_run(run_id)
        if places[project, run_id][2]:
            raise _deleted(run_id)
    return [places[one][:2] for one in asked]


def place_of(conn: Connection, project: str, run_id: str) -> tuple[int, int, bool]:
    """The numbers of a run and of its experiment, and whether the run was deleted.

    Raises:
        NotFound: No such run.
    """
    found = runs.place(conn, project, run_id)
    if found is None:
        raise no_run(run_id)
    return found


def no_run(run_id: str) -> NotFound:
    """Nothing has this id."""
    what = f"Run with id={run_id[:40]} not found: there is no run {run_id[:40]!r}"
    return NotFound(what, where="runs", hint="mainspring runs ls")


def _check_parent(made: Run) -> None:
    if made.parent == made.id:
        raise Invalid("a run can't be its own parent", where=made.ref, hint="name another run, or none")


def _deleted(run_id: str) -> Conflict:
    what = f"The run {run_id} must be in the 'active' state; it was deleted"
    return Conflict(what, where=f"runs/{run_id}", hint=f"mainspring runs restore {run_id}")


def _held(conn: Connection, run_id: str) -> tuple[int, Run]:
    found = runs.state_of(conn, caller().project, run_id)
    if found is None:
        raise no_run(run_id)
    return found


def _started(start: RunStart, made_id: str, kept: Experiment, now: int) -> Run:
    return Run(
        id=made_id,
        experiment=kept.name,
        experiment_id=kept.id,
        location=kept.location,
        name=start.name[:MAX_NAME] or name_for(made_id),
        parent=start.parent,
        status=start.status,
        started_at=now if start.started_at is None else start.started_at,
        ended_at=now if start.status in ENDED else None,
        seed=start.seed,
        created_by=caller().actor,
        user_id=start.user_id,
        tags=dict(sorted(start.tags.items())),
        params=dict(sorted(start.params.items())),
        code=start.code,
        environment=start.environment,
    )


def _changed(found: Run, change: RunChange, now: int) -> Run:
    """The run after a change. What goes on has no end unless told; what ends without being told when, ends now."""
    if change.status is not None and change.status not in STATUSES:
        hint = f"use one of {', '.join(STATUSES)}"
        raise Invalid(f"a run can't be {change.status!r}", where="status", hint=hint)
    status = change.status or found.status
    ended_at = found.ended_at if change.ended_at is None else change.ended_at
    if status not in ENDED and change.ended_at is None and status != found.status:
        ended_at = None
    elif status in ENDED and ended_at is None:
        ended_at = now
    return replace(
        found,
        status=status,
        ended_at=ended_at,
        name=change.name[:MAX_NAME] if change.name else found.name,
        parent=found.parent if change.parent is None else change.parent,
        user_id=found.user_id if change.user_id is None else change.user_id,
        code=found.code if change.code is None else filled(found.code, change.code),
    )
