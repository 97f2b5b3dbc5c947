"""A session: where runs go, and the runs that are open."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from mainspring.core.errors import Conflict, Invalid, MainspringError, Unavailable
from mainspring.core.ids import is_id, new_id
from mainspring.core.settings import load
from mainspring.sdk import seeds
from mainspring.sdk.run import ActiveRun, current, pairs
from mainspring.sdk.sender import log, micros_now
from mainspring.sdk.sinks import LATER, AbsentSink, EmbeddedSink, HttpSink, Resumed, Sink
from mainspring.tracking.model import DEFAULT, REPRODUCES, REPRODUCES_VARIABLE
from mainspring.tracking.names import name_for
from mainspring.tracking.rules import MAX_TAG, check_experiment, check_texts
from mainspring.tracking.spool import EMBEDDED, RESUMED, Spool, Told, recover, start_in, start_line
from mainspring.tracking.wire import NewRun, decode

if TYPE_CHECKING:
    from mainspring.core.settings import Settings
    from mainspring.core.wiring import Wiring
    from mainspring.tracking.model import CodeState, Environment
    from mainspring.tracking.shelf import RunFiles

T = TypeVar("T")
URL_VARIABLE = "MAINSPRING_URL"
TOKEN_VARIABLE = "MAINSPRING_TOKEN"  # noqa: S105  # the name of a variable, not a token
OFFLINE_VARIABLE = "MAINSPRING_OFFLINE"
SPOOL = Path("spool") / "runs"
ALWAYS, NEVER, AUTO = "always", "never", "auto"
_OFFLINE = {"": NEVER, "0": NEVER, "false": NEVER, "1": ALWAYS, "true": ALWAYS, "auto": AUTO}
_CLOSE_S = 30.0
_AT_START = 64 * 1024**2
"""Larger spools wait for `mainspring sync` rather than hold up a program's start."""


class Session:
    """Opens runs on one target. Starting a session sends what killed processes left for that target.

    Args:
        sink: Where runs go.
        spool: Folder of the spool files.
        wiring: The house, when it is open in this process; closed with the session.
        close_s: How long the end of a run waits for the target.
        offline: "never" refuses to start a run when the target does not answer, "auto" keeps the run in the spool then,
            "always" keeps every run there.
        recovering: Send at once what the spool holds for the target.
    """

    def __init__(
        self,
        sink: Sink,
        spool: Path,
        *,
        wiring: Wiring | None = None,
        close_s: float = _CLOSE_S,
        offline: str = NEVER,
        recovering: bool = True,
    ) -> None:
        self._sink = sink
        self._spool = spool
        self._wiring = wiring
        self._close_s = close_s
        self._offline = offline
        self._runs: list[ActiveRun] = []
        self._started = 0
        self._closed = False
        self._lock = threading.Lock()
        self.recovered: list[str] = []
        if recovering and offline != ALWAYS:
            with suppress(*LATER):  # the target is down: leave the spools for the next session
                self.recovered = self._recover(_AT_START)

    def run(
        self,
        name: str = "",
        *,
        experiment: str = "",
        params: Mapping[str, object] | None = None,
        tags: Mapping[str, object] | None = None,
        parent: ActiveRun | str | None = None,
        seed: int | None = None,
        resume: str = "",
        capture: bool = True,
    ) -> ActiveRun:
        """Start a run, or go on with one.

        Args:
            name: What people call it; made up when absent.
            experiment: Under which runs are kept together; "" = that of the run this one is part of, else `Default`.
            params: Logged at once.
            tags: Set at once.
            parent: The run this one is part of, or its id; None = the run whose block we are in, "" = none.
            seed: The seed that randomness was started with; None takes the one of `mainspring.seed`.
            resume: Id of a run that goes on, whether it ended or was killed; it keeps its name and experiment.
            capture: Record git state, packages and hardware.
        Raises:
            Unavailable: The target does not answer.
            NotFound: There is no run to go on with.
            Conflict: Another process logs the run to go on with, or the session is closed.
        """
        self._check_open()
        kept = {str(key): str(value) for key, value in pairs(tags or {}, "tags")}
        check_texts(kept, "tag", MAX_TAG)
        pairs(params or {}, "params")  # before the run is there
        if resume:
            started = self._resumed(resume.removeprefix("runs/"))
            if kept:
                started.tags(kept)
        else:
            above = current() if parent is None else parent
            inherited = above.experiment if isinstance(above, ActiveRun) else ""
            new = NewRun(
                experiment=check_experiment(experiment or inherited or DEFAULT),
                name=name,
                parent=above.id if isinstance(above, ActiveRun) else above or "",
                tags=kept if above else {**_reproduces(), **kept},
                seed=seeds.last() if seed is None else seed,
                started_at=micros_now(),
            )
            started = self._created(new, capture=capture)
        with self._lock:
            self._runs = [run for run in self._runs if run.is_open]
            self._runs.append(started)
        if params:
            started.params(params)
        return started

    def get(self, kind: type[T]) -> T:
        """A room of the house that is open in this process, such as `mainspring.registry.Registry`.

        Raises:
            Unavailable: The session speaks to a server, or is offline.
            Conflict: The session is closed.
        """
        self._check_open()
        if self._wiring is None:
            hint = "unset MAINSPRING_URL and MAINSPRING_OFFLINE to open the data folder in this process"
            raise Unavailable(f"no {kind.__name__} in this process", where=self._sink.target, hint=hint)
        return self._wiring.get(kind)

    def files(self, run_id: str) -> RunFiles:
        """The files of a run, to list, fetch, add and delete.

        Raises:
            Unavailable: The session is offline.
            Conflict: The session is closed.
        """
        from mainspring.tracking.shelf import RunFiles

        self._check_open()
        return RunFiles(self._sink.shelf(), run_id)

    def sync(self, *, told: Told = lambda progress: None, any_target: bool = False) -> list[str]:
        """Send what killed processes left and what was logged offline. May be stopped at any time and done again.

        Args:
            told: Hears of each entry that was sent, and what became of each run.
            any_target: Send runs here that were meant for another place, too.
        Returns: Ids of the runs that are not in the spool any more.
        Raises:
            Unavailable: The target does not answer.
            Conflict: The session is closed.
        """
        self._check_open()
        return self._recover(1 << 62, told, any_target=any_target)

    @property
    def is_closed(self) -> bool:
        """Whether it takes no more runs."""
        return self._closed

    def close(self, status: str = "finished") -> None:
        """End the runs that are still open with `status`, and let go of the target. The next `mainspring.run` opens
        the same target anew.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
            runs, self._runs = self._runs, []
        for entry in reversed(runs):
            with suppress(MainspringError):
                entry.finish(status)
        self._sink.close()
        if self._wiring is not None:
            self._wiring.close()

    def _check_open(self) -> None:
        if self._closed:
            raise Conflict("this session is closed", where=self._sink.target, hint="open another: mainspring.connect()")

    def _recover(self, most: int, told: Told = lambda progress: None, *, any_target: bool = False) -> list[str]:
        target = "" if any_target else self._sink.target
        return recover(self._spool, target, self._sink, project=self._sink.project, most_bytes=most, told=told)

    def _created(self, new: NewRun, *, capture: bool) -> ActiveRun:
        run_id, offline = new_id(), self._offline == ALWAYS
        with self._lock:
            order, self._started = self._started, self._started + 1
        if capture:
            code, environment = _captured(order)
            new = replace(new, code=code, environment=environment)
        new = replace(new, name=new.name or name_for(run_id))
        spool = self._spool_of(run_id)
        try:
            if not offline:
                offline = self._absent(lambda: self._sink.create(run_id, new))
            if offline:
                spool.append(start_line(new))
        except BaseException:
            spool.close(remove=True)
            raise
        return self._opened(run_id, new.name, new.experiment, spool, offline=offline)

    def _resumed(self, run_id: str) -> ActiveRun:
        if not is_id(run_id):
            raise Invalid(f"{run_id[:40]!r} is no run id", where="resume", hint="give the 32 hex digits of a run's id")
        spool, offline = self._spool_of(run_id), self._offline == ALWAYS
        start = start_in(spool)
        found = Resumed(start.name or name_for(run_id), start.experiment, 0)
        try:
            if not offline:
                answers: list[Resumed] = []
                offline = self._absent(lambda: answers.append(self._sink.resume(run_id)))
                found = answers[0] if answers else found
            next_step = max(found.next_step, _next_step(spool))
            if offline or spool.had_entries:
                spool.append(RESUMED)  # after the end that is in there
        except BaseException:
            spool.close(remove=not spool.had_entries)
            raise
        return self._opened(run_id, found.name, found.experiment, spool, next_step=next_step, offline=offline)

    def _absent(self, ask: Callable[[], object]) -> bool:
        """Ask the target for something; True when it does not answer and may stay away."""
        try:
            ask()
        except LATER as reason:
            if self._offline != AUTO:
                raise
            log.warning("run.offline target=%s reason=%s", self._sink.target, reason.what)
            return True
        return False

    def _spool_of(self, run_id: str) -> Spool:
        return Spool(self._spool, run_id, target=self._sink.target, project=self._sink.project)

    def _opened(
        self, run_id: str, name: str, experiment: str, spool: Spool, *, next_step: int = 0, offline: bool
    ) -> ActiveRun:
        return ActiveRun(
            run_id,
            name,
            experiment=experiment,
            sink=self._sink,
            spool=spool,
            close_s=self._close_s,
            next_step=next_step,
            offline=offline,
        )


def connect(target: str | Path = "", *, token: str = "", offline: bool | None = None) -> Session:
    """Open a session, which `mainspring.run` uses from now on.

    Args:
        target: Address of a server, or a data folder; "" takes `MAINSPRING_URL`, else this project's data folder.
        token: For servers that ask who is there; "" takes `MAINSPRING_TOKEN`.
        offline: Keep whole runs on disk, for `mainspring sync` or the next session that is not offline. None takes
            `MAINSPRING_OFFLINE`: "1" is always, "auto" when the target does not answer as a run starts.
    Raises:
        Invalid: The address is not http or https.
        Unavailable: The database does not answer.

    Example:
        >>> import mainspring
        >>> session = mainspring.connect(offline=True)
        >>> with mainspring.run("on a train") as run:
        ...     run.log({"loss": 0.5})
        >>> run.offline
        True
        >>> session.close()
    """
    global _default, _asked
    place, way = str(target) or os.environ.get(URL_VARIABLE, ""), _way(offline)
    opened = open_session(place, token or os.environ.get(TOKEN_VARIABLE, ""), way)
    with _lock:
        before, _default = _default, opened
        _asked = partial(connect, target, token=token, offline=offline)
    if before is not None:
        before.close()
    return opened


def run(
    name: str = "",
    *,
    experiment: str = "",
    params: Mapping[str, object] | None = None,
    tags: Mapping[str, object] | None = None,
    parent: ActiveRun | str | None = None,
    seed: int | None = None,
    resume: str = "",
    capture: bool = True,
) -> ActiveRun:
    """Start a run on the session of this process, opened now if there is none: see `Session.run` and `connect`.

    Example:
        >>> import mainspring
        >>> with mainspring.run("outer", experiment="docs") as outer:
        ...     with mainspring.run("inner") as inner:  # a child of outer
        ...         inner.log({"loss": 0.5}, step=1)
        >>> with mainspring.run(resume=outer.id) as again:
        ...     again.tags({"seen": "twice"})
    """
    return default_session().run(
        name,
        experiment=experiment,
        params=params,
        tags=tags,
        parent=parent,
        seed=seed,
        resume=resume,
        capture=capture,
    )


def files(run_id: str) -> RunFiles:
    """The files of a run where the session of this process keeps them: see `Session.files`.

    Example:
        >>> import mainspring
        >>> _ = mainspring.connect()
        >>> with mainspring.run("with a file") as run:
        ...     run.text("notes/first", "hello")
        >>> kept = mainspring.files(run.id)
        >>> [file.path for file in kept.list()], kept.read("notes/first.txt")
        (['notes/first.txt'], b'hello')
    """
    return default_session().files(run_id)


def open_session(target: str, token: str, offline: str = NEVER, *, recovering: bool = True) -> Session:
    """A session that is nobody's default yet: see `connect`."""
    if "://" in target and not target.startswith(("http://", "https://")):
        hint = "use http://127.0.0.1:7600 or a data folder"
        raise Invalid(f"{target!r} is no address of a server", where=URL_VARIABLE, hint=hint)
    remote = "://" in target
    settings = load(flags={"storage.data": None if remote else target or None})
    spool, project = settings.data_dir / SPOOL, settings.project.name
    if offline == ALWAYS:
        return Session(AbsentSink(target.rstrip("/") if remote else EMBEDDED, project), spool, offline=ALWAYS)
    if remote:
        sink = HttpSink(target, token=token, project=project)
        return Session(sink, spool, offline=offline, recovering=recovering)
    try:
        wiring = _house(settings)
    except Unavailable as reason:  # the database is on another machine
        if offline != AUTO:
            raise
        log.warning("session.offline reason=%s", reason.what)
        return Session(AbsentSink(EMBEDDED, project), spool, offline=ALWAYS)
    from mainspring.tracking import Files, Tracking

    taken = EmbeddedSink(wiring.get(Tracking), wiring.get(Files))
    return Session(taken, spool, wiring=wiring, offline=offline, recovering=recovering)


def default_session() -> Session:
    """The session of this process, opened now if there is none, and anew if it was closed."""
    if _default is None or _default.is_closed:
        _asked()
    assert _default is not None
    return _default


_default: Session | None = None
_asked: Callable[[], Session] = connect
"""Opens what was asked for last: after its end nobody's runs go elsewhere than before."""
_lock = threading.Lock()


def _way(offline: bool | None) -> str:
    if offline is not None:
        return ALWAYS if offline else NEVER
    text = os.environ.get(OFFLINE_VARIABLE, "")
    if text.lower() not in _OFFLINE:
        hint = f"{OFFLINE_VARIABLE}=1 keeps all runs on disk, =auto those that start while nobody answers"
        raise Invalid(f"{text!r} is none of 0, 1 and auto", where=OFFLINE_VARIABLE, hint=hint)
    return _OFFLINE[text.lower()]


def _house(settings: Settings) -> Wiring:
    from mainspring.server.house import open_house

    return open_house(settings)


def _captured(order: int) -> tuple[CodeState, Environment]:
    from mainspring.tracking.capture import code_state

    return code_state(order=order), _environment()


@cache
def _environment() -> Environment:
    """Taken once: a process keeps the packages it started with."""
    from mainspring.tracking.capture import environment

    return environment()


def _reproduces() -> dict[str, str]:
    """The tag of a run that `mainspring reproduce` started."""
    original = os.environ.get(REPRODUCES_VARIABLE, "")
    return {REPRODUCES: original} if original else {}


def _next_step(spool: Spool) -> int:
    """The step after the last one among what waits to be sent."""
    batches = (decode(line) for line in spool.entries() if line.startswith(b"{"))
    return 1 + max((point.step for batch in batches for point in batch.metrics), default=-1)


def _close_default() -> None:
    if _default is not None:
        _default.close("failed" if hasattr(sys, "last_value") else "finished")


def _forget_after_fork() -> None:
    global _default, _lock
    _default, _lock = None, threading.Lock()


atexit.register(_close_default)
os.register_at_fork(after_in_child=_forget_after_fork)
