"""The model server's processes: who works there now, and how their number changed."""

from __future__ import annotations

from dataclasses import dataclass

from mainspring.serving.events import WorkersChanged
from mainspring.serving.guards import living, resident_mb
from mainspring.serving.modelserver.watching import Change, changes_since
from mainspring.serving.reviews import ReviewDesk

_CONSUMER = "serving.workers"
_SHOWN = 100


@dataclass(frozen=True, slots=True)
class WorkerState:
    """One living worker: its process, the generation of the plan that it serves, and the memory it holds."""

    pid: int
    generation: int
    memory_mb: float


@dataclass(frozen=True, slots=True)
class Workers:
    """The workers of the model server, and the newest changes of their number, newest first."""

    workers: list[WorkerState]
    changes: list[Change]


class Processes(ReviewDesk):
    """The part of serving that looks at the processes that answer."""

    def workers(self) -> Workers:
        """Who works now; nobody where no model server runs."""
        found = [WorkerState(one.pid, one.generation, round(resident_mb(one.pid), 1)) for one in living(self.folder)]
        changes = changes_since(self.folder, 0)[-_SHOWN:]
        return Workers(sorted(found, key=lambda one: one.pid), changes[::-1])

    def note_workers(self) -> int:
        """Bring changes of the number of workers into the event log, each once. Returns how many were new.

        The model server has no database, so it leaves them in a file. How far that was read is kept, in the
        transaction that writes the events, as the time of the last one.
        """
        changes = changes_since(self.folder, self._journal.offset(_CONSUMER))
        if not changes:
            return 0
        with self._tables.write() as conn:
            if not self._journal.advance(conn, _CONSUMER, changes[-1].at):
                return 0  # another process was quicker
            self._journal.append(conn, *(_fact(change) for change in changes))
        return len(changes)


def _fact(change: Change) -> WorkersChanged:
    return WorkersChanged(
        subject="workers",
        before=change.before,
        after=change.after,
        reason=change.reason,
        busy=round(change.busy, 3),
        wait_ms=round(change.wait_ms, 1),
        changed_at=change.at,
    )
