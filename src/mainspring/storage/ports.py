"""The five ports of storage. Rooms know these Protocols and nothing behind them.

Each port has a contract suite in `mainspring.testing`: a class that passes the suite is a backend. A port has at most
eight methods; what only concerns people who run a queue is a second small protocol, `QueueControl`, and what only
concerns the collection of garbage is `BlobTrash`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol, TypeVar, runtime_checkable

from mainspring.core.values import dataclass

if TYPE_CHECKING:
    import polars as pl
    from sqlalchemy import Connection

    from mainspring.core.events import Event, Fact
    from mainspring.storage.jobs import Job, JobState, Lease, NewJob, QueueMode, QueueStatus

T = TypeVar("T")


@runtime_checkable
class Tables(Protocol):
    """Relational tables with transactions. Safe to share between threads; processes share the database.

    The behaviour is fixed by `mainspring.testing.TablesContract`.
    """

    @property
    def dialect(self) -> str:
        """ "sqlite" or "postgresql": for the few statements that differ."""
        ...

    def write(self) -> AbstractContextManager[Connection]:
        """One writing transaction: committed when the block ends, rolled back when it raises.

        Never "database is locked": writers queue up. Do not nest; pass the connection on instead.

        Raises:
            Failed: The thread is already inside a `write()` or a `submit()` work of the same tables.
            Overloaded: The database was busy for too long, or ended this transaction in favour of another: try again.
        """
        ...

    def read(self) -> AbstractContextManager[Connection]:
        """A connection in autocommit: every statement sees what is committed at that moment. Writes are refused."""
        ...

    def submit(self, work: Callable[[Connection], T]) -> Future[T]:
        """Run `work` in a transaction shared with other works (group commit).

        The future resolves after the commit, with the work's value or its exception; a work that raises leaves
        nothing behind and does not hurt its neighbours. `work` must be short, must not commit, and may be run again:
        when it or a neighbour failed, or the database ended it in favour of another transaction (a deadlock).

        Raises:
            Failed: Called inside `write()` or inside a work: waiting there would never end.
            Overloaded: Too many works wait already.
        """
        ...

    def migrate(self) -> None:
        """Bring the schema up to this release. Cheap when it is there already; safe when many processes start at once.

        Raises:
            Unavailable: The database was written by a newer release than this one.
        """
        ...

    def now(self, conn: Connection) -> int:
        """The database's time in epoch microseconds: one clock for all processes, moving inside a transaction too."""
        ...

    def close(self) -> None:
        """Commit what was submitted, then let every connection go. Closing twice is allowed."""
        ...


@runtime_checkable
class Journal(Protocol):
    """The append-only event log, and how far each consumer has read.

    The behaviour is fixed by `mainspring.testing.JournalContract`. Sequence numbers have no gaps, and their order is
    the order of the commits: a reader that has seen `seq` never misses a smaller one.
    """

    def append(self, conn: Connection, *facts: Fact) -> int:
        """Write facts in the caller's transaction, with actor, project and request id of `core.caller.caller()`.

        On Postgres appending transactions wait for each other from here to their commit: append last.

        Returns: The sequence number of the last fact; `last()` when there are none.
        """
        ...

    def add(self, conn: Connection, *facts: Fact) -> None:
        """As `append`, for who does not ask for the number: nothing is waited for, so it goes `together` with more."""
        ...

    def read(
        self, after: int = 0, *, limit: int = 500, kinds: Sequence[str] = (), subject: str = "", project: str = ""
    ) -> list[Event]:
        """Events with a sequence number above `after`, in order, at most `limit`.

        Args:
            kinds: Only these kinds; empty = all.
            subject: Only this subject and what lies under it ("models/flights" finds "models/flights/3").
            project: Only this project; "" = all projects, which is for machinery, not for a door.
        """
        ...

    def last(self) -> int:
        """The highest sequence number that is committed, 0 for an empty log."""
        ...

    def offset(self, consumer: str) -> int:
        """The sequence number up to which `consumer` has handled events, 0 for a new one."""
        ...

    def advance(self, conn: Connection, consumer: str, seq: int) -> bool:
        """Note, in the transaction of its effects, that `consumer` handled events up to `seq`.

        Returns: False when that had been noted before: someone else handled it, so roll the effects back or do none.
        """
        ...

    def wait(self, after: int, timeout_s: float) -> bool:
        """Block until an event above `after` is committed by any process, at most `timeout_s`. True: there is one."""
        ...


@runtime_checkable
class Queue(Protocol):
    """Durable jobs with leases. The behaviour is fixed by `mainspring.testing.QueueContract`.

    At most one worker holds a live lease of a job. A worker that dies loses its lease after `lease_s` and the job is
    given to another; a worker that only seemed dead is refused (`Fenced`) by every method that takes its lease. Time
    is the database's. `put` and the methods that take a lease work in the caller's transaction, so that a result and
    the state of its job are stored together or not at all.
    """

    def put(self, conn: Connection, job: NewJob) -> str:
        """Add a job for the project of `caller()`; it can be leased once the transaction commits.

        Returns: The job's id: an existing one when `job.key` is taken by an unfinished job or `job.id` is known.
        Raises:
            Unavailable: The queue is draining.
            Invalid: No queue, no kind, or `max_attempts` below one.
        """
        ...

    def lease(self, worker: str, queues: Sequence[str], *, lease_s: float = 30) -> Lease | None:
        """Take the next due job of these queues, or None: highest priority, then earliest `run_at`, then oldest.

        Jobs whose lease ran out are given out again with the next attempt number, or put aside as dead after
        `max_attempts`. Respects pauses and limits, which count live leases only.
        """
        ...

    def renew(self, conn: Connection, lease: Lease, *, lease_s: float = 30) -> Lease:
        """Extend a lease. Call it as a heartbeat, and in the transaction that stores a partial result.

        Raises:
            Fenced: The lease ran out and was given to another, or the job was cancelled.
        """
        ...

    def finish(self, conn: Connection, lease: Lease, result: dict[str, object]) -> None:
        """Mark the job finished with its result (a small JSON object).

        Raises:
            Fenced: The lease is lost.
        """
        ...

    def fail(
        self, conn: Connection, lease: Lease, error: str, *, retry_in_s: float | None, counts: bool = True
    ) -> None:
        """Give the job back after a failure, to be tried again in `retry_in_s` seconds (see `jobs.backoff_s`).

        With None, or when `max_attempts` is reached, the job is put aside as dead with its error. When it does not
        count, as of a worker that is told to stop, the job may be leased once more than before.

        Raises:
            Fenced: The lease is lost.
        """
        ...

    def cancel(self, conn: Connection, job_id: str) -> bool:
        """Cancel an unfinished job; its worker is fenced at its next write. False when it was final already."""
        ...

    def get(self, job_id: str) -> Job:
        """One job by id.

        Raises:
            NotFound: No such job.
        """
        ...

    def find(self, *, states: Sequence[JobState] = (), queue: str = "") -> list[Job]:
        """Jobs of the project of `caller()`, newest first, at most 500; empty filters mean all."""
        ...


@runtime_checkable
class QueueControl(Protocol):
    """Running a queue: stop and go, limits, and second chances. Every `Queue` of this package is one too."""

    def set_mode(self, queue: str, mode: QueueMode) -> None:
        """Open it, pause it (nothing is given out, running jobs go on) or drain it (nothing new is taken in)."""
        ...

    def set_limits(self, queue: str, *, limit: int = 0, group_limit: int = 0) -> None:
        """How many live leases the queue, and each `group` in it, may have at once. 0 = no limit."""
        ...

    def set_quota(self, queue: str, project: str, limit: int) -> None:
        """How many live leases one project may have in a queue at once. 0 = no quota."""
        ...

    def quotas(self, queue: str) -> dict[str, int]:
        """The quotas of a queue by project."""
        ...

    def status(self, queue: str) -> QueueStatus:
        """Mode, limits and counts of one queue over all projects."""
        ...

    def revive(self, job_id: str) -> bool:
        """Queue a dead job again with fresh attempts. False when it is not dead.

        Raises:
            NotFound: No such job.
            Conflict: An unfinished job has its key by now.
        """
        ...

    def prune(self, before: int, *, dry_run: bool = False) -> int:
        """Forget jobs that were over before a time, a few at once. Returns how many; with `dry_run` only that.

        A job with a deterministic id that was forgotten can be put again.
        """
        ...


@runtime_checkable
class Blobs(Protocol):
    """Immutable bytes under the blake3 digest of their content (64 hex digits).

    The behaviour is fixed by `mainspring.testing.BlobsContract`. Writing is all or nothing and idempotent; what comes
    back is checked against its digest.
    """

    def put(self, data: bytes) -> str:
        """Keep `data` durably and return its digest. Putting the same bytes again changes nothing."""
        ...

    def put_file(self, path: Path) -> str:
        """Keep the content of a file without loading it whole, and return its digest."""
        ...

    def get(self, digest: str) -> bytes:
        """The bytes under `digest`.

        Raises:
            NotFound: Nothing was put under this digest.
            Corrupt: What is stored no longer has this digest.
        """
        ...

    def fetch(self, digest: str, to: Path) -> None:
        """Write the bytes to a file, verified; `to` is either whole or absent.

        Raises:
            NotFound: Nothing was put under this digest.
            Corrupt: What is stored no longer has this digest.
        """
        ...

    def has(self, digest: str) -> bool:
        """Whether something is stored under `digest`."""
        ...

    def delete(self, digest: str) -> None:
        """Forget the bytes. Deleting what is not there changes nothing."""
        ...

    def digests(self) -> Iterator[str]:
        """Every digest that is stored, in no particular order."""
        ...


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """A blob that is in place: its digest, its size and when it was put there (epoch microseconds)."""

    digest: str
    size_bytes: int
    put_at: int


@dataclass(frozen=True, slots=True)
class TrashedBlob:
    """A blob in the trash: its digest, its size and since when it is there (epoch microseconds)."""

    digest: str
    size_bytes: int
    at: int


@runtime_checkable
class BlobTrash(Protocol):
    """Taking blobs away in two steps, so that none is lost to a row that is about to name it.

    The behaviour is fixed by `mainspring.testing.BlobTrashContract`; every `Blobs` of this package is one too. A blob
    in the trash counts as stored: `get`, `fetch` and `has` put it back in place. `put` never relies on the trash. So
    whoever was told that a blob is stored has, from the moment it is thrown away, the whole grace to commit the row.
    """

    def stored(self) -> Iterator[StoredBlob]:
        """Every blob that is in place, in no particular order."""
        ...

    def discard(self, digest: str, at: int) -> None:
        """Move a blob to the trash, noting the time `at`. Without effect when it is not in place."""
        ...

    def trashed(self) -> Iterator[TrashedBlob]:
        """What is in the trash. A blob that was put and thrown away again is there more than once."""
        ...

    def restore(self, digest: str) -> bool:
        """Put a blob back in place. False when it is neither in the trash nor in place."""
        ...

    def purge(self, entry: TrashedBlob) -> None:
        """Delete this very entry of the trash for good; what else there is of its digest stays."""
        ...

    def sweep(self, before: int) -> int:
        """Remove what killed writers left unfinished before that time. Returns how many there were."""
        ...


@runtime_checkable
class BlobStreams(Protocol):
    """Blobs too large to hold in memory, in and out. Every `Blobs` of this package is one too."""

    def take(self, path: Path, digest: str) -> None:
        """Keep a finished file whose digest is known, and remove it from `path`: moved, where that is possible.

        Args:
            path: A file that nobody writes to any more.
            digest: Of its content, as the caller computed it while writing.
        Raises:
            NotFound: There is no such file.
        """
        ...

    def stream(self, digest: str, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """The bytes from `start` up to and without `stop` (None: the end), in pieces of about a mebibyte.

        Asked for whole, the last piece is only given when all of it had the right digest.

        Raises:
            NotFound: Nothing was put under this digest; raised by the first `next()`.
            Corrupt: What is stored no longer has this digest.
        """
        ...


@runtime_checkable
class BlobFiles(Protocol):
    """Blobs that are files of this machine, so that the kernel can send them."""

    def open(self, digest: str) -> BinaryIO:
        """The file with the bytes, from its start; they are not checked. It stays readable when the blob is deleted.

        Raises:
            NotFound: Nothing was put under this digest.
        """
        ...


@runtime_checkable
class Delta(Protocol):
    """Versioned tables of rows. Table names have slashes: "datasets/flights", "predictions/flights-delay".

    The behaviour is fixed by `mainspring.testing.DeltaContract`. NaN is written as null. Writers of several processes
    may commit to one table at once.
    """

    def append(
        self, table: str, frame: pl.DataFrame, *, app: str, batch: int, personal: Sequence[str] = ()
    ) -> int | None:
        """Add rows exactly once: `batch` must grow for each `app`; a batch at or below the last is a replay.

        New columns widen the table (older rows read as null). No least and greatest values are kept of `personal`
        columns; the first append to a table decides, and also for columns that join it later there are none then. Of
        a table that begins with an append, versions are forgotten that are older than an hour, but for the newest.

        Returns: The new version, or None for a replay.
        Raises:
            Invalid: A column changed to a type that the table's does not hold.
        """
        ...

    def replace(
        self,
        table: str,
        frame: pl.DataFrame | pl.LazyFrame | Iterable[pl.DataFrame],
        *,
        app: str = "",
        batch: int = 0,
        personal: Sequence[str] = (),
    ) -> int:
        """A new version with just these rows, in their order; earlier ones stay readable.

        With `app`, once per batch as in `append`. With `personal` columns, no least and greatest values are kept.

        Returns: The new version; for a replay, the version that is current.
        """
        ...

    def scan(self, table: str, version: int | None = None) -> pl.LazyFrame:
        """The rows of a version, the newest by default, lazily.

        Raises:
            NotFound: No such table or version.
        """
        ...

    def version(self, table: str) -> int | None:
        """The newest version, None when there is no such table."""
        ...

    def batch(self, table: str, app: str) -> int:
        """The last batch that `app` committed to the table, -1 when none."""
        ...

    def compact(self, table: str) -> None:
        """Merge small files and write a checkpoint. Rows and readable versions stay the same."""
        ...

    def names(self) -> list[str]:
        """Every table, sorted."""
        ...


@runtime_checkable
class DeltaUpkeep(Protocol):
    """Taking away files of tables. Every `Delta` of this package is one too, with the same contract."""

    def small_files(self, table: str) -> int:
        """How many files of the newest version are so small that `compact` would merge them."""
        ...

    def vacuum(
        self, table: str, *, older_than_h: int, keep: Sequence[int] = (), dry_run: bool = False
    ) -> tuple[int, int]:
        """Delete files that neither the newest version nor the versions `keep` need, for so many hours or longer.

        Other versions can't be read afterwards. Files of writers that died go too, once they are that old.

        Returns: How many files, and their bytes.
        """
        ...
