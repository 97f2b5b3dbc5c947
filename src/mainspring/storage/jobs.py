"""Values of the job queue: what is put on it, what it gives out, and how long to wait before trying again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum

from mainspring.core.canonical import canonical_json, digest
from mainspring.core.values import dataclass

APART = "apart-"
"""What names of queues begin with that one run has for itself: they are not on the list of queues."""


class JobState(StrEnum):
    """Where a job stands. `queued` and `running` are unfinished; the others are final (a `dead` job can be revived)."""

    QUEUED = "queued"
    RUNNING = "running"
    FINISHED = "finished"
    CANCELLED = "cancelled"
    DEAD = "dead"

    @property
    def is_final(self) -> bool:
        """Whether no worker will touch the job any more."""
        return self not in (JobState.QUEUED, JobState.RUNNING)


class QueueMode(StrEnum):
    """What a queue lets through: `open` both ways, `paused` nothing out, `draining` nothing in."""

    OPEN = "open"
    PAUSED = "paused"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """A job to put on a queue.

    Args:
        queue: Name of the queue, for instance "pipelines".
        kind: What the worker should do with it, for instance "pipeline_run".
        payload: JSON object the worker gets.
        key: While an unfinished job of this project and queue has the same key, putting again returns it. "" = no key.
        group: Jobs of one group share the queue's `group_limit`. "" = no group.
        id: A deterministic id (see `job_id`): put twice, even after it finished, it is the same job. "" = a new id.
        priority: Higher goes first; within one priority the earliest `run_at` goes first.
        run_at: Epoch microseconds before which nobody gets it; 0 = now, by the database's clock.
        max_attempts: How often it may be leased before it is put aside as dead.
    """

    queue: str
    kind: str
    payload: Mapping[str, object] = field(default_factory=dict)
    key: str = ""
    group: str = ""
    id: str = ""
    priority: int = 0
    run_at: int = 0
    max_attempts: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as the queue knows it. Times are epoch microseconds, 0 when it has not happened."""

    id: str
    project: str
    actor: str
    queue: str
    kind: str
    payload: dict[str, object]
    key: str
    group: str
    priority: int
    state: JobState
    attempt: int
    max_attempts: int
    run_at: int
    created_at: int
    finished_at: int = 0
    worker: str = ""
    lease_until: int = 0
    result: dict[str, object] | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on a job until `until`. `attempt` is the fencing token: every write names it."""

    job: Job
    worker: str
    attempt: int
    until: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueStatus:
    """One queue at a glance. `running` counts live leases only; a limit of 0 means no limit."""

    queue: str
    mode: QueueMode
    limit: int
    group_limit: int
    queued: int
    running: int
    dead: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStatus:
    """A process that takes jobs. `jobs` are those it holds; times are epoch microseconds of the database's clock."""

    name: str
    host: str
    queues: tuple[str, ...]
    threads: int
    has: Mapping[str, object]
    started_at: int
    seen_at: int
    jobs: tuple[Job, ...] = ()


def job_id(*parts: object) -> str:
    """A deterministic id: the same parts give the same id in every process, so that a job is put once.

    For a schedule the parts are its name and the time it was due; whoever notices first puts the job.

    >>> job_id("nightly", 1364774400000000)
    '0570a8f68c42af73ba7f1577c0b46ea8'
    """
    return digest(canonical_json(list(parts)))[:32]


def backoff_s(attempt: int, *, seed: str, base_s: float = 1.0, most_s: float = 300.0) -> float:
    """Seconds to wait after a failed attempt: doubling, capped, and spread over the upper half so that jobs part.

    Args:
        attempt: The attempt that failed, 1 for the first.
        seed: What the spread follows, for instance the job's id: the same seed and attempt give the same wait.
        base_s: Longest wait after the first attempt, above 0.
        most_s: Longest wait after any.
    Returns: Between half and all of `min(most_s, base_s * 2 ** (attempt - 1))`.
    Source: M. Brooker, Exponential Backoff and Jitter (2015), "equal jitter".

    >>> 2.0 <= backoff_s(3, seed="a") <= 4.0
    True
    """
    longest = min(most_s, base_s * 2.0 ** min(attempt - 1, 60))
    share = int(job_id(seed, attempt)[:8], 16) / 0xFFFF_FFFF
    return longest * (0.5 + 0.5 * share)
