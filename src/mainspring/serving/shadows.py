"""The shadow process: answers once more what users were answered, with versions that nobody depends on.

`python -m mainspring.serving.shadows FOLDER FD`, started by a worker of the model server. It reads rows from a socket,
asks its models the way the server would, and writes what they say to a spool of its own. It has the lowest priority, is
the first to go when memory ends, and ends with its worker.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sqlite3
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from mainspring.core.errors import Corrupt, MainspringError
from mainspring.core.ids import new_id
from mainspring.registry.apart import Own
from mainspring.serving.batch.scoring import score, status_of
from mainspring.serving.modelserver.humility import Humility, humility_of
from mainspring.serving.modelserver.models import LoadedModel, load_model
from mainspring.serving.modelserver.plan import SHADOW, SPOOLS, EndpointPlan, Plan, ShadowPlan, read_plan, shadows_of
from mainspring.serving.modelserver.shadowing import Copied, Inbox
from mainspring.serving.modelserver.spool import INSERT, Row, begin, connect, entries_of

_READ_BYTES = 1 << 18
_MOST_ROWS = 4096
_MAX_ROWS = 1_000_000
_Ready = tuple[LoadedModel, Humility | None]
_log = logging.getLogger(__name__)


class ShadowDesk:
    """Answers rows with shadows and logs what they say.

    Args:
        folder: The plan folder.
        spool: Where rows go; a new file.
    """

    def __init__(self, folder: Path, spool: Path) -> None:
        self.rows = 0
        self._folder = folder
        self._plan = Plan(generation=-1)
        self._alive = begin(spool)
        self._conn = connect(spool, "process")
        self._models: dict[tuple[str, int, str, Own | None], LoadedModel] = {}
        self._ready: dict[tuple[str, int], _Ready | str] = {}

    def answer(self, copies: Sequence[Copied]) -> None:
        """Answer and log rows, those of one shadow together."""
        groups: dict[tuple[str, int], list[Copied]] = {}
        for copied in copies:
            groups.setdefault((copied.endpoint, copied.version), []).append(copied)
        logged: dict[str, list[Row]] = {}
        for (endpoint, version), group in groups.items():
            self._follow(max(copied.generation for copied in group))
            found = self._ready.get((endpoint, version))
            if found is not None:  # else it is no shadow any more
                logged.setdefault(shadows_of(endpoint), []).extend(_answered(found, group))
        if logged:
            self._write(logged)

    def close(self) -> None:
        """Let the spool go."""
        self._conn.close()
        self._alive.close()

    def _write(self, rows: dict[str, list[Row]]) -> None:
        packed, last = entries_of(rows, self.rows)
        try:
            self._conn.execute("begin immediate")
            self._conn.executemany(INSERT, packed)
            self._conn.execute("commit")
            self.rows = last
        except sqlite3.Error as reason:  # nobody waits for these rows: the log says that they are missing
            _log.error("%s rows of shadows are not logged: %s", last - self.rows, reason)
            if self._conn.in_transaction:
                self._conn.execute("rollback")

    def _follow(self, generation: int) -> None:
        """Have what the plan of that generation, or a later one, says."""
        if self._plan.generation >= generation:
            return
        try:
            self._plan = read_plan(self._folder)
        except Corrupt as reason:
            _log.error("the plan can't be read: %s", reason)
            return
        before, self._models, self._ready = self._models, {}, {}
        for endpoint in self._plan.endpoints:
            for shadow in endpoint.shadows:
                arm = shadow.arm
                key = (arm.folder, arm.version, arm.grant, arm.own)
                found = self._loaded(endpoint, shadow, before.get(key))
                self._ready[endpoint.name, arm.version] = found
                if not isinstance(found, str):
                    self._models[key] = found[0]

    def _loaded(self, endpoint: EndpointPlan, shadow: ShadowPlan, before: LoadedModel | None) -> _Ready | str:
        """The model with the rules of the endpoint, or why there is none."""
        key = bytes.fromhex(self._plan.public_key) if self._plan.public_key else None
        try:
            model = before or load_model(shadow.arm, public_key=key, max_rows=_MAX_ROWS)
            return model, humility_of(shadow.arm, model, endpoint.options.rules)
        except Exception as reason:  # noqa: BLE001 - a package may raise anything; each row says that it does
            what = reason.what if isinstance(reason, MainspringError) else f"{type(reason).__name__}: {reason}"
            return f"could not be loaded: {what}"


def _answered(ready: _Ready | str, group: Sequence[Copied]) -> list[Row]:
    """The rows of one shadow as the log has them. Their inputs are in the log of what the user was answered."""
    started, before = time.time_ns() // 1000, time.process_time_ns()
    count = sum(copied.rows for copied in group)
    outputs: dict[str, list[object]] = {}
    marks: Mapping[int, Sequence[str]] = {}
    if isinstance(ready, str):
        reasons = [ready] * count
    else:
        model, humility = ready
        columns = {
            name: [cell for copied in group for cell in copied.columns[place]]
            for place, name in enumerate(model.features.names)
        }
        scored = score(model, humility, columns, count)
        outputs, marks, reasons = scored.outputs, scored.marks, scored.reasons
    model_us = (time.process_time_ns() - before) // 1000  # its own work: others may have had the processor meanwhile
    ended = time.time_ns() // 1000
    rows: list[Row] = []
    for copied in group:
        at = copied.at
        for row in range(copied.rows):
            place = len(rows)
            reason = reasons[place]
            status = 500 if isinstance(ready, str) else status_of(reason)
            rows.append(
                (copied.id_of(row), copied.request_id, at, at if copied.event_at is None else copied.event_at,
                 copied.version, SHADOW, copied.share, copied.key, "", (),
                 None if reason else {name: values[place] for name, values in outputs.items()},
                 max(0, ended - at), status, reason, "", max(0, started - at), model_us, marks.get(place, ()), ())
            )  # fmt: skip
    return rows


def run(folder: Path, sock: socket.socket) -> None:
    """Answer what comes until nobody can send any more."""
    desk = ShadowDesk(folder, folder / SPOOLS / f"{new_id()}.sqlite")
    inbox = Inbox()
    while data := sock.recv(_READ_BYTES):
        copies = inbox.feed(data)
        sock.setblocking(False)
        with suppress(BlockingIOError):  # what came while the last rows were answered is answered together
            while sum(copied.rows for copied in copies) < _MOST_ROWS and (data := sock.recv(_READ_BYTES)):
                copies += inbox.feed(data)
        sock.setblocking(True)
        desk.answer(copies)
    desk.close()


def _step_back() -> None:
    """Leave processor and memory to those that answer users."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # it ends with its worker, which has something to finish
    os.nice(19)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS"):
        os.environ[name] = "1"


if __name__ == "__main__":
    _step_back()
    run(Path(sys.argv[1]), socket.socket(fileno=int(sys.argv[2])))
