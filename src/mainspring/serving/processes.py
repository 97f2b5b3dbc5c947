"""The model server's processes: who works there now, and how their number changed."""

from __future__ import annotations

from mainspring.core.clock import SECOND_US
from mainspring.core.values import dataclass
from mainspring.serving.events import WorkersChanged
from mainspring.serving.guards import living
from mainspring.serving.model import Deployment
from mainspring.serving.modelserver import tally
from mainspring.serving.modelserver.usage import WorkerUsage, resident_mb, usages
from mainspring.serving.modelserver.watching import Change, changes_since
from mainspring.serving.overview import healths
from mainspring.serving.reviews import ReviewDesk

_CONSUMER = "serving.workers"
_SHOWN = 100


@dataclass(frozen=True, slots=True)
class WorkerState:
    """One living worker: its process, the generation of the plan that it serves, the memory it holds, and the endpoints
    that it unloaded because nobody asked, as the model server calls them."""

    pid: int
    generation: int
    memory_mb: float
    asleep: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class IdleDeployment:
    """A deployment and how long nobody has asked it.

    Attributes:
        name: Of the deployment.
        model: Behind it.
        asked_at: When it was asked last, wall clock; 0 never, as far as the model server knows.
        idle_s: Since then, or since it was deployed.
        idle_after_s: After how long it is unloaded; 0 never.
        state: As its health says; "asleep" where every worker unloaded it.
    """

    name: str
    model: str
    asked_at: int
    idle_s: int
    idle_after_s: int
    state: str


@dataclass(frozen=True, slots=True)
class Workers:
    """The workers of the model server, and the newest changes of their number, newest first."""

    workers: list[WorkerState]
    changes: list[Change]


class Processes(ReviewDesk):
    """The part of serving that looks at the processes that answer."""

    def workers(self) -> Workers:
        """Who works now; nobody where no model server runs."""
        found = [
            WorkerState(one.pid, one.generation, round(resident_mb(one.pid), 1), tuple(one.asleep))
            for one in living(self.folder)
        ]
        changes = changes_since(self.folder, 0)[-_SHOWN:]
        return Workers(sorted(found, key=lambda one: one.pid), changes[::-1])

    def usage(self) -> list[WorkerUsage]:
        """What each worker used of the machine over the last day, by five minutes of wall time; the dead ones too."""
        return usages(self.folder)

    def idle(self, *, least_s: int = 0) -> list[IdleDeployment]:
        """Deployments that nobody has asked for at least so long, the longest first.

        A request counts once it is answered, within half a second. The time outlives the model server; where its folder
        was lost, it is that of the last change of the deployment.
        """
        now, asked = self._clock.now(), tally.counts_of(self.folder).asked_at
        deployments = self.deployments()
        states = healths(self.folder, [entry.endpoint for entry in deployments])
        found = [_idle(entry, asked.get(entry.endpoint, 0), states[entry.endpoint].state, now) for entry in deployments]
        return sorted((one for one in found if one.idle_s >= least_s), key=lambda one: (-one.idle_s, one.name))

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


def _idle(of: Deployment, asked_at: int, state: str, now: int) -> IdleDeployment:
    idle_s = max(0, now - max(asked_at, of.updated_at)) // SECOND_US
    return IdleDeployment(of.name, of.model, asked_at, idle_s, of.options.idle_s, state)


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
