"""From the buffer to the spool and on to the target: two threads, so that a slow target keeps nothing unsafe."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import chain, repeat
from pathlib import Path

from mainspring.core.errors import MainspringError, NoRoom, Timeout
from mainspring.sdk.sinks import LATER, Sink
from mainspring.tracking.rules import MAX_METRICS
from mainspring.tracking.spool import Spool, deliver
from mainspring.tracking.wire import encode_rows

SPOOL_S = 0.05
"""How long points are gathered before they are written to the spool."""
_RETRY_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
log = logging.getLogger("mainspring.sdk")

Row = tuple[str, float | str, int, int]
"""Name, value as `wire.number_or_word` gives it, step, and time in microseconds."""


class Sender:
    """Sends what one run logs: points in the background, all else at once, or in the background while nobody answers.

    Args:
        run_id: The run.
        sink: Where it goes.
        spool: Where it is safe until then.
        offline: Send nothing; the spool keeps it.
    """

    def __init__(self, run_id: str, sink: Sink, spool: Spool, *, offline: bool = False) -> None:
        self._run_id = run_id
        self._sink = sink
        self._spool = spool
        self._offline = offline
        self._behind = offline or spool.had_entries
        self._rows: deque[Row] = deque()
        self._has_rows, self._has_lines = threading.Event(), threading.Event()
        self._closing, self._giving_up = threading.Event(), threading.Event()
        self._spooling = threading.Lock()
        self._refusal: MainspringError | None = None
        self._unsafe: NoRoom | None = None
        self._spooler = self._thread("spool", self._spool_rows)
        self._posting = None if offline else self._thread("send", self._send_lines)

    def put(self, row: Row) -> None:
        """Take a point. Never waits."""
        self._rows.append(row)
        if not self._has_rows.is_set():
            self._has_rows.set()

    def tell(self, line: bytes) -> None:
        """Take another entry: it is stored when this returns, or in the spool when the target does not answer.

        Raises:
            MainspringError: The target refuses it.
        """
        if not self._told(lambda: deliver(self._run_id, line, self._sink, self._spool.files)):
            self._keep(lambda: self._spool.append(line))

    def send_file(self, path: str, content: bytes | Path) -> None:
        """The same for a file.

        Raises:
            MainspringError: The target refuses it.
        """
        if not self._told(lambda: self._sink.artifact(self._run_id, path, content)):
            self._keep(lambda: self._spool.append_file(path, content))

    def end(self, status: str, ended_at: int, timeout_s: float) -> None:
        """Send what is left and then the end of the run, again and again while the target does not answer.

        Raises:
            NoRoom, Overloaded, Unavailable, Timeout: The target did not take everything in time; what it did not take
                is in the spool, except for the end.
            MainspringError: The target refused a batch for good.
        """
        until = time.monotonic() + timeout_s
        self._close(timeout_s)
        for wait_s in chain(_RETRY_S, repeat(_RETRY_S[-1])):
            try:
                self._sink.finish(self._run_id, status, ended_at)
                break
            except LATER as reason:
                if time.monotonic() + wait_s > until:
                    raise
                log.warning("run.end_waits run=%s reason=%s", self._run_id, reason.what)
            time.sleep(wait_s)

    def _close(self, timeout_s: float) -> None:
        """Send what is left.

        Raises:
            Timeout: The target did not take everything in time; the rest is in the spool.
            NoRoom: The disk of the spool is full, and the target did not take the points either: they are lost.
            MainspringError: The target refused a batch for good.
        """
        self._closing.set()
        self._has_rows.set()
        self._spooler.join()
        if self._posting is not None:
            self._has_lines.set()
            self._posting.join(timeout_s)
            self._giving_up.set()
            self._posting.join()
        if self._refusal is not None:
            raise self._refusal
        if self._rows and self._unsafe is not None:
            raise self._unsafe
        if self._offline or self._spool.unsent():
            raise Timeout(
                f"{self._sink.target} did not take all points in {timeout_s:.0f} s",
                where=str(self._spool.path),
                hint="they are kept there and sent when the next run starts",
            )

    def _told(self, send: Callable[[], object]) -> bool:
        """Send at once, unless earlier entries still wait: then this one waits behind them."""
        if self._behind:
            return False
        try:
            send()
        except LATER as reason:
            log.warning("run.entry_waits run=%s reason=%s", self._run_id, reason.what)
            self._behind = True
            return False
        return True

    def _keep(self, write: Callable[[], None]) -> None:
        with self._spooling:
            self._behind = True
            write()
        self._has_lines.set()

    def _thread(self, name: str, work: Callable[[], None]) -> threading.Thread:
        made = threading.Thread(target=work, name=f"mainspring-{name}-{self._run_id[-6:]}", daemon=True)
        made.start()
        return made

    def _spool_rows(self) -> None:
        while not (self._closing.is_set() and not self._rows):
            self._has_rows.wait()
            self._closing.wait(SPOOL_S)
            self._has_rows.clear()
            while self._rows:
                taken = [self._rows.popleft() for _ in range(min(len(self._rows), MAX_METRICS))]
                if self._is_safe(encode_rows(taken)):
                    continue
                self._rows.extendleft(reversed(taken))
                if self._closing.is_set():
                    return
                self._closing.wait(_RETRY_S[-1])

    def _is_safe(self, line: bytes) -> bool:
        """Whether points are in the spool now, or at the target when the disk of the spool is full."""
        try:
            with self._spooling:
                self._spool.append(line)
            self._has_lines.set()
        except NoRoom as full:
            try:
                self._sink.log(self._run_id, line)
            except MainspringError:
                log.warning("run.points_wait run=%s reason=%s", self._run_id, full.what)
                self._unsafe = full
                return False
        return True

    def _send_lines(self) -> None:
        failures = 0
        while not self._giving_up.is_set():
            with self._spooling:
                line = self._spool.unsent()
                self._behind = self._behind and bool(line)
            if not line:
                if self._closing.is_set() and not self._spooler.is_alive():
                    return
                self._has_lines.wait()
                self._has_lines.clear()
                continue
            try:
                self._spool.deliver(line, self._sink)
                failures = 0
            except LATER as reason:
                log.warning("run.batch_waits run=%s reason=%s", self._run_id, reason.what)
                self._giving_up.wait(_RETRY_S[min(failures, len(_RETRY_S) - 1)])
                failures += 1
                continue
            except MainspringError as reason:
                log.error("run.batch_refused run=%s reason=%s", self._run_id, reason.what)
                self._refusal = self._refusal or reason
            with self._spooling:
                self._spool.took(line)


def micros_now() -> int:
    """Microseconds since 1970 on this machine."""
    return time.time_ns() // 1000
