"""The verbs of upkeep."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from mainspring.core.clock import DAY_US, SECOND_US, Clock
from mainspring.core.errors import NotFound, Unavailable
from mainspring.core.settings import RetentionSettings, check_grace
from mainspring.core.values import dataclass
from mainspring.storage.jobs import NewJob, job_id
from mainspring.storage.ports import BlobTrash, TrashedBlob
from mainspring.storage.references import references
from mainspring.storage.schema import metadata
from mainspring.upkeep.collecting import Collector
from mainspring.upkeep.events import BlobRestored, GarbageCollected
from mainspring.upkeep.model import Report
from mainspring.upkeep.tables import TableKeeper

if TYPE_CHECKING:
    from mainspring.storage.jobs import Lease
    from mainspring.storage.ports import Blobs, Journal, Queue, Tables

QUEUE = "upkeep"
JOB = "upkeep.turn"
SUBJECT = "upkeep"
START_US = 300 * SECOND_US
"""How long a turn waits after it was put on the queue: a server that has just started has better things to do."""

Pause = Callable[[], None]
"""Called between small pieces of work; raises when the work is to stop."""


@dataclass(frozen=True, slots=True)
class Remover:
    """Removes deleted things of one room.

    Args:
        count: Takes the time before which they were deleted; returns how many, by kind.
        remove: Takes that time and a pause; returns how many went.
        grace: The setting of `[retention]` that holds for them.
    """

    count: Callable[[int], Mapping[str, int]]
    remove: Callable[[int, Pause], Mapping[str, int]]
    grace: str = "deleted"


class Upkeep:
    """Takes away what nobody needs, after a grace in which everything can be brought back.

    Args:
        removers: What the rooms remove, in this order: what names other things goes first.
        keeper: Makes the keeper of the Delta tables, when a turn needs it.
    """

    def __init__(
        self,
        *,
        tables: Tables,
        journal: Journal,
        queue: Queue,
        blobs: Blobs,
        clock: Clock,
        settings: RetentionSettings,
        removers: tuple[Remover, ...] = (),
        keeper: Callable[[], TableKeeper] | None = None,
        pause: Pause = lambda: None,
    ) -> None:
        self._tables, self._journal, self._queue, self._blobs = tables, journal, queue, blobs
        self._clock, self._settings, self._removers, self._pause = clock, settings, removers, pause
        self._scheduled, self._keeper = "", keeper

    def run(self, *, dry_run: bool = False, grace: str = "") -> Report:
        """One turn: remove for good what was deleted long ago, then blobs that no row names, then tables.

        It may be cut off anywhere and run again, and two may run at once.

        Args:
            dry_run: Only say what would be done.
            grace: In place of every grace of the settings, such as "2d".
        Raises:
            Invalid: The grace is no span of time, or shorter than an hour.
            Unavailable: The database is at the step of another release.
        """
        if grace:
            check_grace(grace, "grace")
        now = self._clock.now()
        removed: dict[str, int] = {}
        for each in self._removers:
            before = now - self._grace(each.grace, grace)
            removed |= each.count(before) if dry_run else each.remove(before, self._pause)
        collector = Collector(self._trash(), lambda: references(self._tables, metadata), self._clock, self._pause)
        blobs = collector.collect(self._grace("blobs", grace), dry_run=dry_run)
        tables = self._keeper().keep(self._grace("tables", grace), dry_run=dry_run) if self._keeper else (0, 0, ())
        files, size, compacted = tables
        report = Report(
            dry_run=dry_run, removed=removed, blobs=blobs, files=files, files_bytes=size, compacted=compacted
        )
        if not dry_run and not report.is_idle:
            self._note(report)
        return report

    def trash(self) -> list[TrashedBlob]:
        """What is in the trash, oldest first."""
        return sorted(self._trash().trashed(), key=lambda entry: (entry.at, entry.digest))

    def restore(self, digest: str) -> str:
        """Take a blob out of the trash. It stays for a grace, as if it had just been put.

        Args:
            digest: Its digest, or the first 8 digits or more when they are enough to tell it.
        Returns: The whole digest.
        Raises:
            NotFound: No such blob in the trash.
        """
        found = {entry.digest for entry in self._trash().trashed() if entry.digest.startswith(digest)}
        if len(digest) < 8 or len(found) != 1 or not self._trash().restore(whole := found.pop()):
            raise NotFound(f"no one blob {digest[:12]!r} in the trash", where="blobs", hint="mainspring gc ls")
        with self._tables.write() as conn:
            self._journal.append(conn, BlobRestored(subject=SUBJECT, digest=whole))
        return whole

    def schedule(self) -> None:
        """Put today's turn on the queue. Whoever of several servers is first puts it; the others find it there."""
        if not self._settings.enabled:
            return
        now = self._clock.now()
        name = job_id(JOB, now // DAY_US)
        if name != self._scheduled:
            with self._tables.write() as conn:
                self._queue.put(conn, NewJob(queue=QUEUE, kind=JOB, id=name, run_at=now + START_US))
            self._scheduled = name

    def work(self, lease: Lease) -> Mapping[str, object]:
        """Do the turn of a job."""
        report = self.run()
        return {"removed": dict(report.removed), "discarded": report.blobs.discarded, "purged": report.blobs.purged}

    def _grace(self, name: str, given: str) -> int:
        return check_grace(given or str(getattr(self._settings, name)), f"retention.{name}")

    def _trash(self) -> BlobTrash:
        if not isinstance(self._blobs, BlobTrash):
            raise Unavailable("these blobs have no trash", where="storage.blobs", hint="use files or S3")
        return self._blobs

    def _note(self, report: Report) -> None:
        fact = GarbageCollected(
            subject=SUBJECT,
            removed=dict(report.removed),
            discarded=report.blobs.discarded,
            restored=report.blobs.restored,
            purged=report.blobs.purged,
            purged_bytes=report.blobs.purged_bytes,
            files=report.files,
            compacted=report.compacted,
        )
        with self._tables.write() as conn:
            self._journal.append(conn, fact)
