"""Commits: what runs after one, and how many small works share one (group commit)."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from contextvars import Context, copy_context
from itertools import groupby
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from mainspring.core.errors import Failed, Overloaded

if TYPE_CHECKING:
    from sqlalchemy import Connection

T = TypeVar("T")
G = TypeVar("G")
_HOOKS = "mainspring.after_commit"
_TRIES = 5
_SAVEPOINT = "mainspring_work"
LONGEST = 5000
"""Most works that wait at the same time."""


def after_commit(conn: Connection, call: Callable[[], None]) -> None:
    """Have `call` run once the transaction of `conn` is committed; not at all when it is rolled back.

    A rolled back savepoint does not take `call` away: use it for wake-ups, where one too many does no harm.
    """
    conn.info.setdefault(_HOOKS, []).append(call)


def forget_hooks(conn: Connection) -> None:
    """Drop what waits for a commit that did not come."""
    conn.info.pop(_HOOKS, None)


def run_hooks(conn: Connection) -> None:
    """Run what waits for the commit that has just happened."""
    for call in conn.info.pop(_HOOKS, ()):
        call()


class Joint(Generic[G]):
    """A work that costs less when others like it are done at once, such as rows that one statement can insert.

    Those with an equal `run` that wait next to each other are run by one call; when it fails, each is run alone.

    Args:
        run: Does all that it is given, in this order. It must not ask who is calling: they may be many.
        given: What this work is about.
        at_once: Does the same by statements of which each commits by itself, and says whether it has done all of it.
            It is asked first where the database has use for that and nothing else waits. Then `run` does what it
            has not done, and may be given what was done already.

    >>> Joint(lambda conn, given: print(given), "a")(None)
    ['a']
    """

    def __init__(
        self,
        run: Callable[[Connection, Sequence[G]], None],
        given: G,
        *,
        at_once: Callable[[Connection, Sequence[G]], bool] | None = None,
    ) -> None:
        self.run = run
        self.given = given
        self.at_once = at_once

    def __call__(self, conn: Connection) -> None:
        """Run it alone."""
        self.run(conn, [self.given])


class _Work(Generic[T]):
    """One submitted work: run in the context of its submitter, resolved after the shared commit."""

    def __init__(self, work: Callable[[Connection], T]) -> None:
        self.future: Future[T] = Future()
        self.failure: Exception | None = None
        self.tries = 0
        self._work = work
        self._context: Context = copy_context()
        self._value: list[T] = []

    def kind(self) -> Hashable:
        """Equal for works that can be run at once."""
        return self._work.run if isinstance(self._work, Joint) else self

    def run(self, conn: Connection) -> None:
        """Run in the transaction as it is: when it fails, so does all of it."""
        self.failure, self._value = None, [self._context.run(self._work, conn)]

    def run_with(self, others: Sequence[_Work[Any]], conn: Connection) -> None:
        """As `run`, for others of its kind too."""
        joints = self._joints(others)
        self._context.run(joints[0].run, conn, [joint.given for joint in joints])
        self._done(others)

    def can_at_once(self, others: Sequence[_Work[Any]]) -> bool:
        """Whether these are all of one kind that may do without a transaction around it."""
        joint, kind = self._work, self.kind()
        return isinstance(joint, Joint) and joint.at_once is not None and all(work.kind() == kind for work in others)

    def run_at_once(self, others: Sequence[_Work[Any]], conn: Connection) -> bool:
        """As `run_with` on a connection without a transaction; whether all of it was done."""
        joints = self._joints(others)
        at_once = joints[0].at_once
        done = at_once is not None and self._context.run(at_once, conn, [joint.given for joint in joints])
        if done:
            self._done(others)
        return done

    def _joints(self, others: Sequence[_Work[Any]]) -> list[Joint[Any]]:
        return [work._work for work in (self, *others) if isinstance(work._work, Joint)]

    def _done(self, others: Sequence[_Work[Any]]) -> None:
        for work in (self, *others):
            work.failure, work._value = None, [None]

    def run_apart(self, conn: Connection, plainly: Callable[[], AbstractContextManager[None]]) -> None:
        """Run in a savepoint, so that the neighbours go on when this one fails."""
        self.tries, self.failure, self._value = self.tries + 1, None, []
        # Written out: a nested transaction of SQLAlchemy compiles these statements anew each time.
        conn.exec_driver_sql(f"SAVEPOINT {_SAVEPOINT}")
        try:
            with plainly():
                self._value.append(self._context.run(self._work, conn))
        except Exception as reason:  # noqa: BLE001  the submitter gets it
            self.failure = reason
            conn.exec_driver_sql(f"ROLLBACK TO SAVEPOINT {_SAVEPOINT}")
        conn.exec_driver_sql(f"RELEASE SAVEPOINT {_SAVEPOINT}")

    def resolve(self) -> None:
        if self.failure is not None:
            self.future.set_exception(self.failure)
        else:
            self.future.set_result(self._value[0])


class GroupCommit:
    """Runs submitted works on one thread; all that wait at the same time share one transaction.

    Most of the time all of them go well, so they run one after the other. When one fails, the transaction is rolled
    back, and all run once more in the next one, each in a savepoint: these cost more than small works themselves.

    Works that are `Joint` are run by one call where they are neighbours.

    Args:
        begin: Opens a writing transaction that commits at its end.
        separate: Opens a connection on which each statement commits by itself, where that saves turns between here and
            the database.
        plainly: Turns errors of the driver into those that a submitter can do something about.
        again: Whether a work that failed in this way should be run once more, in a later transaction.
        most: At most so many works in one transaction, so that other writers get their turn.
        longest: At most so many works that wait; more are refused.
    """

    def __init__(
        self,
        begin: Callable[[], AbstractContextManager[Connection]],
        *,
        separate: Callable[[], AbstractContextManager[Connection]] | None = None,
        plainly: Callable[[], AbstractContextManager[None]] = nullcontext,
        again: Callable[[Exception], bool] = lambda _: False,
        most: int = 500,
        longest: int = LONGEST,
    ) -> None:
        self._begin = begin
        self._separate = separate
        self._plainly = plainly
        self._again = again
        self._most = most
        self._longest = longest
        self._waiting: deque[_Work[Any]] = deque()
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def submit(self, work: Callable[[Connection], T]) -> Future[T]:
        """Queue a work for the next commit.

        Raises:
            Failed: Closed already.
            Overloaded: Too many works wait.
        """
        entry = _Work(work)
        with self._wake:
            if self._closed:
                raise Failed("the tables are closed", hint="submit before close()")
            if len(self._waiting) >= self._longest:
                raise Overloaded(f"{self._longest} writes wait for the database", hint="try again in a moment")
            self._waiting.append(entry)
            self._wake.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="mainspring-writer", daemon=True)
                self._thread.start()
        return entry.future

    def close(self) -> None:
        """Commit what waits, then end the thread."""
        with self._wake:
            self._closed = True
            self._wake.notify()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _run(self) -> None:
        while batch := self._next():
            self._commit(batch)

    def _next(self) -> list[_Work[Any]]:
        with self._wake:
            self._wake.wait_for(lambda: self._waiting or self._closed)
            return [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]

    def _commit(self, batch: list[_Work[Any]]) -> None:
        started = [work for work in batch if work.future.running() or work.future.set_running_or_notify_cancel()]
        if not (self._at_once(started) or self._together(started)):
            self._apart(started)
        for work in started:
            if work.failure is not None and work.tries < _TRIES and self._again(work.failure):
                self._waiting.appendleft(work)
            else:
                work.resolve()

    def _at_once(self, works: list[_Work[Any]]) -> bool:
        """Run works of one kind without a transaction around them. False when there is something left to do."""
        if self._separate is None or not works or not works[0].can_at_once(works[1:]):
            return False
        try:
            with self._separate() as conn:
                return works[0].run_at_once(works[1:], conn)
        except Exception:  # noqa: BLE001  it is done once more in a transaction, which finds out whose it is
            return False

    def _together(self, works: list[_Work[Any]]) -> bool:
        """Run works in one transaction. False when one of them failed, and nothing is left of any."""
        inside = False
        try:
            with self._begin() as conn:
                inside = True
                for _, some in groupby(works, _Work.kind):
                    first, *others = some
                    if others:
                        first.run_with(others, conn)
                    else:
                        first.run(conn)
                inside = False
        except Exception as reason:  # noqa: BLE001  the second run finds out whose it is
            if inside:
                return False
            _fail(works, reason)  # the beginning or the commit failed, so every work of it did
        return True

    def _apart(self, works: list[_Work[Any]]) -> None:
        """Run works in one transaction, each in a savepoint."""
        try:
            with self._begin() as conn:
                for work in works:
                    work.run_apart(conn, self._plainly)
        except Exception as reason:  # noqa: BLE001  the commit failed, so every work of it did
            _fail(works, reason)


def _fail(works: list[_Work[Any]], reason: Exception) -> None:
    for work in works:
        work.failure = work.failure or reason
