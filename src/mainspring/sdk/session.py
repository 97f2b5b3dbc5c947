"""A session: where runs go, and the runs that are open."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from mainspring.core.caller import caller
from mainspring.core.errors import Invalid, MainspringError, Unavailable
from mainspring.core.ids import new_id
from mainspring.core.settings import load
from mainspring.sdk.run import ActiveRun
from mainspring.sdk.sinks import EmbeddedSink, HttpSink, Sink
from mainspring.tracking.model import DEFAULT
from mainspring.tracking.spool import Spool, recover

if TYPE_CHECKING:
    from mainspring.core.wiring import Wiring
    from mainspring.tracking.model import CodeState, Environment
    from mainspring.tracking.wire import Batch

T = TypeVar("T")
URL_VARIABLE = "MAINSPRING_URL"
TOKEN_VARIABLE = "MAINSPRING_TOKEN"  # noqa: S105  # the name of a variable, not a token
SPOOL = Path("spool") / "runs"
_CLOSE_S = 30.0


class Session:
    """Opens runs on one target. Starting a session sends what killed processes left for that target.

    Args:
        sink: Where runs go.
        spool: Folder of the spool files.
        wiring: The house, when it is open in this process; closed with the session.
        close_s: How long the end of a run waits for the target.
    """

    def __init__(self, sink: Sink, spool: Path, *, wiring: Wiring | None = None, close_s: float = _CLOSE_S) -> None:
        self._sink = sink
        self._spool = spool
        self._wiring = wiring
        self._close_s = close_s
        self._runs: list[ActiveRun] = []
        self._lock = threading.Lock()
        self.recovered: list[str] = []
        with suppress(Unavailable):  # the target is down: leave the spools for the next session
            self.recovered = recover(spool, sink.target, take=self._take, end=sink.finish)

    def run(
        self,
        name: str = "",
        *,
        experiment: str = DEFAULT,
        params: Mapping[str, object] | None = None,
        tags: Mapping[str, object] | None = None,
        parent: str = "",
        seed: int | None = None,
        capture: bool = True,
    ) -> ActiveRun:
        """Start a run.

        Args:
            name: What people call it; made up when absent.
            experiment: Under which runs are kept together.
            params: Logged at once.
            tags: Set at once.
            parent: Id of the run this one is part of.
            seed: The seed that randomness was started with.
            capture: Record git state, packages and hardware.
        Raises:
            Unavailable: The target does not answer.
        """
        run_id = new_id()
        code, environment = _captured() if capture else (None, None)
        kept = {key: str(value) for key, value in (tags or {}).items()}
        spool = Spool(self._spool, run_id, target=self._sink.target, project=caller().project)
        try:
            name = self._sink.create(
                run_id,
                experiment=experiment,
                name=name,
                parent=parent,
                tags=kept,
                seed=seed,
                code=code,
                environment=environment,
            )
        except BaseException:
            spool.close(remove=True)
            raise
        started = ActiveRun(run_id, name, sink=self._sink, spool=spool, close_s=self._close_s)
        with self._lock:
            self._runs.append(started)
        if params:
            started.params(params)
        return started

    def get(self, kind: type[T]) -> T:
        """A room of the house that is open in this process, such as `mainspring.registry.Registry`.

        Raises:
            Unavailable: The session speaks to a server.
        """
        if self._wiring is None:
            hint = "unset MAINSPRING_URL to open the data folder in this process"
            raise Unavailable(f"no {kind.__name__} in this process", where=self._sink.target, hint=hint)
        return self._wiring.get(kind)

    def close(self, status: str = "finished") -> None:
        """End the runs that are still open with `status`, and let go of the target."""
        with self._lock:
            runs, self._runs = self._runs, []
        for entry in runs:
            with suppress(MainspringError):
                entry.finish(status)
        self._sink.close()
        if self._wiring is not None:
            self._wiring.close()

    def _take(self, run_id: str, batch: Batch) -> None:
        from mainspring.tracking.wire import encode

        self._sink.log(run_id, encode(batch.points(), params=batch.params, tags=batch.tags))


def connect(target: str | Path = "", *, token: str = "") -> Session:
    """Open a session, which `mainspring.run` uses from now on.

    Args:
        target: Address of a server, or a data folder; "" takes `MAINSPRING_URL`, else this project's data folder.
        token: For servers that ask who is there; "" takes `MAINSPRING_TOKEN`.
    Raises:
        Invalid: The address is not http or https.
        Unavailable: The database does not answer.
    """
    global _default
    opened = _open(str(target) or os.environ.get(URL_VARIABLE, ""), token or os.environ.get(TOKEN_VARIABLE, ""))
    with _lock:
        before, _default = _default, opened
    if before is not None:
        before.close()
    return opened


def run(
    name: str = "",
    *,
    experiment: str = DEFAULT,
    params: Mapping[str, object] | None = None,
    tags: Mapping[str, object] | None = None,
    parent: str = "",
    seed: int | None = None,
) -> ActiveRun:
    """Start a run on the session of this process, opened now if there is none: see `Session.run` and `connect`."""
    if _default is None:
        connect()
    assert _default is not None
    return _default.run(name, experiment=experiment, params=params, tags=tags, parent=parent, seed=seed)


_default: Session | None = None
_lock = threading.Lock()


def _open(target: str, token: str) -> Session:
    if "://" in target:
        if not target.startswith(("http://", "https://")):
            hint = "use http://127.0.0.1:7600 or a data folder"
            raise Invalid(f"{target!r} is no address of a server", where=URL_VARIABLE, hint=hint)
        settings = load()
        sink = HttpSink(target, token=token, project=settings.project.name)
        return Session(sink, settings.data_dir / SPOOL)
    from mainspring.server.house import open_house
    from mainspring.tracking import Files, Tracking

    settings = load(flags={"storage.data": target or None})
    wiring = open_house(settings)
    return Session(EmbeddedSink(wiring.get(Tracking), wiring.get(Files)), settings.data_dir / SPOOL, wiring=wiring)


def _captured() -> tuple[CodeState, Environment]:
    from mainspring.tracking.capture import code_state, environment

    return code_state(), environment()


def _close_default() -> None:
    if _default is not None:
        _default.close("failed" if hasattr(sys, "last_value") else "finished")


def _forget_after_fork() -> None:
    global _default, _lock
    _default, _lock = None, threading.Lock()


atexit.register(_close_default)
os.register_at_fork(after_in_child=_forget_after_fork)
