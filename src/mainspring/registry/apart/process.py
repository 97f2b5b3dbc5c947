"""The parent's side of a model in a process of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, cast

from mainspring.core.errors import Failed, Invalid, Refused, Timeout, TooLarge
from mainspring.core.values import dataclass
from mainspring.registry.apart.wire import MOST, Gone, Head, receive, send

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from mainspring.registry.reasons import Cells

_KEPT = ("PATH", "LANG", "LC_ALL", "TZ", "PYTHONPATH", "LD_LIBRARY_PATH", "SSL_CERT_FILE")
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")
_START_S = 60.0
_MOST_THREADS = 4


@dataclass(frozen=True, slots=True)
class Own:
    """What a process has of its own.

    Args:
        python: The interpreter, which may be of another environment; "" is the one that runs here.
        threads: How many threads numeric libraries take; 0 leaves it to the one that starts it.
        cores: Cores it runs on; empty lets the system choose.
    """

    python: str = ""
    threads: int = 0
    cores: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Job:
    """What the process shall be.

    Args:
        kind: "python", "pickle", or "kept" for a format that is data.
        settings: Plain JSON for it.
        files: Files it gets, by path below its folder.
        deadline_s: Longest time of one answer.
        memory_mb: Most memory it may ask for.
        what: What errors call it.
        own: Its interpreter, threads and cores.
    """

    kind: str
    settings: Head
    files: Mapping[str, bytes] = field(repr=False)
    deadline_s: float = 10.0
    memory_mb: int = 4096
    what: str = "the model"
    own: Own = Own()


@dataclass(slots=True)
class _Child:
    process: subprocess.Popen[bytes]
    sock: socket.socket
    folder: Path
    said: Head

    def end(self) -> None:
        """Kill the process with all it started, and remove its folder."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.sock.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class Apart:
    """A model in a process of its own. Started on first use, again after it died; safe to share between threads."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._lock = threading.Lock()
        self._living: list[_Child] = []
        self._finalizer = weakref.finalize(self, _end_all, self._living)

    def describe(self) -> Head:
        """What the process says about the model once it is loaded.

        Raises:
            Failed: It can't be loaded.
            Timeout: It takes too long.
        """
        with self._lock:
            return self._child().said

    def score(self, inputs: NDArray[np.float64] | pl.DataFrame) -> NDArray[np.float64]:
        """Scores of rows, float64 (rows,) or (rows, classes).

        Raises:
            Failed: The model raised, or its process died.
            Timeout: No answer within the deadline; the process is ended, the next call starts it again.
        """
        return self._asked({"do": "score"}, inputs)

    def explainer(self, cells: Sequence[Cells] | None) -> ExplainedApart:
        """How to explain the model, in its process: the same numbers to the last bit as with it here.

        Args:
            cells: What training had of each input; None where that is not known.
        Raises:
            Refused: There are no exact reason codes for it.
            Failed, Timeout: As `score`.
        """
        with self._lock:
            said, _ = self._exchange(self._child(), {"do": "explainer", "cells": cells}, b"", self._job.deadline_s)
        return ExplainedApart(self, cells, str(said["scale"]))

    def explain(self, inputs: NDArray[np.float64] | pl.DataFrame, cells: Sequence[Cells] | None) -> NDArray[np.float64]:
        """Shares of the columns in the raw outputs, (rows, columns + 1, outputs). Raises: As `explainer`."""
        return self._asked({"do": "explain", "cells": cells}, inputs)

    def _asked(self, what: Head, inputs: NDArray[np.float64] | pl.DataFrame) -> NDArray[np.float64]:
        import numpy as np

        head, body = _packed(inputs)
        if len(body) > MOST:
            raise TooLarge(f"{len(body)} bytes of rows at once", where=self._job.what, hint="send fewer rows")
        with self._lock:
            said, answer = self._exchange(self._child(), {**what, **head}, body, self._job.deadline_s)
        shape = tuple(int(size) for size in cast("list[int]", said["shape"]))
        return np.frombuffer(answer, dtype=np.float64).reshape(shape)

    def close(self) -> None:
        """End the process."""
        with self._lock:
            _end_all(self._living)

    def _child(self) -> _Child:
        if not self._living:
            child = _start(self._job)
            self._living.append(child)
            files = [{"path": path, "size": len(data)} for path, data in self._job.files.items()]
            head: Head = {"kind": self._job.kind, "settings": self._job.settings, "files": files}
            child.said, _ = self._exchange(child, head, b"".join(self._job.files.values()), _START_S, ended=True)
        return self._living[0]

    def _exchange(
        self, child: _Child, head: Head, body: bytes, seconds: float, *, ended: bool = False
    ) -> tuple[Head, bytes]:
        """One question and its answer. A process that did not answer is ended; one that said no only when `ended`."""
        until = time.monotonic() + seconds
        try:
            child.sock.settimeout(seconds)
            send(child.sock, head, body)
            said, answer = receive(child.sock, until)
        except TimeoutError:
            _end_all(self._living)
            what = f"no answer within {seconds:g} seconds"
            raise Timeout(what, where=self._job.what, hint="the process was ended; make the model faster") from None
        except Gone:
            raise self._died(child) from None
        if "error" in said:
            if ended:
                _end_all(self._living)
            known = {"invalid": Invalid, "refused": Refused if head.get("do") == "explainer" else Failed}
            kind = known.get(str(said.get("code")), Failed)
            raise kind(str(said["error"])[:1000], where=self._job.what, hint=str(said.get("hint", ""))[:300])
        return said, answer

    def _died(self, child: _Child) -> Failed:
        try:
            code = child.process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            code = -signal.SIGKILL
        _end_all(self._living)
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        hint = f"it may ask for {self._job.memory_mb} MB; the next request starts it again"
        return Failed(f"the process of the model {how}", where=self._job.what, hint=hint)


class ExplainedApart:
    """Explains a model in its process, which is started again with all it needs after it died."""

    def __init__(self, process: Apart, cells: Sequence[Cells] | None, scale: str) -> None:
        self.scale = scale
        self._process = process
        self._cells = cells

    def explain(self, inputs: NDArray[np.float64] | pl.DataFrame) -> NDArray[np.float64]:
        """One question to the process."""
        return self._process.explain(inputs, self._cells)


def _end_all(living: list[_Child]) -> None:
    while living:
        living.pop().end()


def _start(job: Job) -> _Child:
    folder = Path(tempfile.mkdtemp(prefix="mainspring-apart-"))
    ours, theirs = socket.socketpair()
    command = [job.own.python or sys.executable, "-P", "-m", "mainspring.registry.apart.child"]
    command += [str(theirs.fileno()), str(folder), str(job.memory_mb)]
    try:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=_environment(folder, job.own),
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        if job.own.cores:  # threads that it starts later are on these cores too
            os.sched_setaffinity(process.pid, job.own.cores)
    except FileNotFoundError:
        ours.close()
        shutil.rmtree(folder, ignore_errors=True)
        hint = "deploy it again: its environment is made anew"
        raise Failed(f"there is no Python at {command[0]}", where=job.what, hint=hint) from None
    finally:
        theirs.close()
    return _Child(process, ours, folder, {})


def _environment(folder: Path, own: Own) -> dict[str, str]:
    """Nothing of ours that could be a secret: what Python needs to start, and how many threads it may use."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    if own.python:
        kept.pop("PYTHONPATH", None)  # packages of ours that its own environment has in another version
    threads = str(min(_MOST_THREADS, os.cpu_count() or 1))
    counted = {name: str(own.threads) if own.threads else os.environ.get(name, threads) for name in _THREADS}
    return {**kept, **counted, "HOME": str(folder), "TMPDIR": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}


def _packed(inputs: NDArray[np.float64] | pl.DataFrame) -> tuple[Head, bytes]:
    import io

    import numpy as np
    import polars as pl

    if isinstance(inputs, pl.DataFrame):
        made = io.BytesIO()
        inputs.write_ipc(made)
        return {"frame": True, "rows": inputs.height}, made.getvalue()
    matrix = np.ascontiguousarray(inputs, dtype=np.float64)
    return {"frame": False, "rows": len(matrix), "shape": list(matrix.shape)}, matrix.tobytes()
