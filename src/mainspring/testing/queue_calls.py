"""A queue as its contract asks it: each call in a transaction of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from mainspring.storage.jobs import Lease, NewJob
from mainspring.storage.ports import Queue, QueueControl, Tables

Database = Callable[[], Tables]
LEASE_S = 30.0
PROJECTS = ("default", "other")


class FullQueue(Queue, QueueControl, Protocol):
    """Both halves of a queue."""


def put(tables: Tables, queue: Queue, name: str = "q", kind: str = "work", **more: object) -> str:
    with tables.write() as conn:
        return queue.put(conn, NewJob(queue=name, kind=kind, **more))  # type: ignore[arg-type]


def finish(tables: Tables, queue: Queue, lease: Lease) -> None:
    with tables.write() as conn:
        queue.finish(conn, lease, {"ok": True})


def cancel(tables: Tables, queue: Queue, job_id: str) -> bool:
    with tables.write() as conn:
        return queue.cancel(conn, job_id)


def fail(tables: Tables, queue: Queue, lease: Lease, retry_in_s: float | None) -> None:
    with tables.write() as conn:
        queue.fail(conn, lease, "it broke", retry_in_s=retry_in_s)
