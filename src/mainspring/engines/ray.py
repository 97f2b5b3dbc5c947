"""The engine on a cluster: each task runs in a child process of an actor of Ray, wherever Ray has room for it.

The actor runs the task as the engine `process` does here, and carries questions and answers. The project's folder
travels with the connection, so that a task finds its code on every node. However the task ends, nothing of it is left:
an actor that is killed takes its child along, and one whose node is lost has died for its watcher.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from queue import SimpleQueue
from typing import Any, cast

from mainspring.core.errors import Failed, Fenced, Invalid, Refused, Timeout, Unavailable
from mainspring.engines.port import Message, Outcome, OutcomeState, Task, Wants, Watch
from mainspring.engines.process import ProcessEngine, timed_out

NAME, SCHEME = "ray", "ray://"
_connecting = threading.Lock()
_ANSWER_S = 30.0
PLACES = 5
"""How many actors are made for a task at most, before one of them answers."""


class RayEngine:
    """Runs each task in an actor of its own, which takes of its node what the task wants.

    Args:
        address: Of the cluster; "" takes RAY_ADDRESS, then one that runs here, else starts one on this machine.
        project: Folder that nodes get a copy of, in which tasks run; None for none.
        hidden: Files and folders in it that stay here.
        beat_s: How often the watcher's `beat` is called while the task says nothing.
        grace_s: How long a stopped task has between SIGTERM and SIGKILL.
    """

    name = NAME

    def __init__(
        self,
        *,
        address: str = "",
        project: Path | None = None,
        hidden: Sequence[Path] = (),
        beat_s: float = 0.5,
        grace_s: float = 5.0,
    ) -> None:
        self._address, self._project, self._hidden = address, project, tuple(hidden)
        self._beat_s, self._grace_s = beat_s, grace_s

    def run(self, task: Task, watch: Watch) -> Outcome:
        """Start the actor, answer its task, and wait for the end. What `watch` raises stops it and passes through.

        Raises: Unavailable: Ray is not installed, or the cluster can't be reached.
        """
        ray, started = connected(self._address, self._project, self._hidden), time.monotonic()
        actor = None
        try:
            actor = self._placed(ray, task.wants, watch)
            if actor is None:
                seconds = time.monotonic() - started
                late = Timeout(f"no node had begun it after {seconds:.1f} s", where=task.entry)
                return Outcome(state=OutcomeState.TIMED_OUT, seconds=seconds, error=late)
            done = actor.run.remote(task, _release())
            return self._attend(ray, actor, done, watch)
        except (ray.exceptions.RayError, ConnectionError) as reason:
            hint = "its node was lost, or has no Mainspring of this release"
            error = Failed(f"the task's actor is gone: {_first_line(reason)}", where=task.entry, hint=hint)
            return Outcome(state=OutcomeState.DIED, seconds=time.monotonic() - started, error=error)
        finally:
            _let_go(ray, actor)

    def _placed(self, ray: Any, wants: Wants, watch: Watch) -> Any:
        """An actor that has answered; None when the time was up before.

        A cluster hears of a lost node late, and sends actors there meanwhile. Nothing of the task has begun
        with those, so that another one takes their place.
        """
        made = ray.remote(Runner).options(**_taking(wants), max_concurrency=3)
        for left in reversed(range(PLACES)):
            actor = made.remote(self._grace_s)
            try:
                there = actor.is_there.remote()
                while not ray.wait([there], timeout=self._beat_s)[0]:
                    left_s = watch.beat()
                    if left_s is not None and left_s <= 0:
                        _let_go(ray, actor)
                        return None
                ray.get(there)
            except ray.exceptions.RayActorError as reason:
                _let_go(ray, actor)
                if not left or reason.actor_init_failed:
                    raise
            except BaseException:
                _let_go(ray, actor)
                raise
            else:
                return actor
        return None

    def _attend(self, ray: Any, actor: Any, done: Any, watch: Watch) -> Outcome:
        try:
            said = actor.exchange.remote(None)
            while True:
                left_s = watch.beat()
                if left_s is not None and left_s <= 0:
                    ray.get(actor.stop.remote(is_late=True))
                    return cast(Outcome, ray.get(done))
                if not ray.wait([said], timeout=self._beat_s if left_s is None else min(self._beat_s, left_s))[0]:
                    continue
                question = ray.get(said)
                if question is None:
                    return cast(Outcome, ray.get(done))
                said = actor.exchange.remote(watch.answer(question))
        except (ray.exceptions.RayError, ConnectionError):
            raise
        except BaseException:
            with suppress(ray.exceptions.RayError):  # it may never have begun
                ray.get(actor.stop.remote(is_late=False), timeout=self._grace_s)
                ray.wait([done], timeout=self._grace_s + 1)
            raise


class _Late(Exception):
    """The time of the task was up while it waited for an answer."""


class Runner:
    """What runs on a node: one task in a child process, and what is said between it and its watcher."""

    def __init__(self, grace_s: float) -> None:
        self._engine = ProcessEngine(beat_s=0.1, grace_s=grace_s)
        self._asked: SimpleQueue[Message | None] = SimpleQueue()
        self._answers: SimpleQueue[Message | None] = SimpleQueue()
        self._is_stopped = self._is_late = False

    def run(self, task: Task, release: str) -> Outcome:
        """Run the task to its end, in a folder of this node.

        Args:
            task: The task.
            release: Of Mainspring, that of the watcher.
        """
        node, folder = socket.gethostname(), Path(tempfile.mkdtemp(prefix="mainspring-task-"))
        try:
            if release != _release():
                what = f"Mainspring is {release} where the run is watched, and {_release()} on a node"
                error = Refused(what, where=f"node {node}", hint="install the same release on every node")
                return Outcome(state=OutcomeState.FAILED, seconds=0.0, error=error)
            env = {**task.env, "TMPDIR": str(folder)}  # what is left in it goes with it
            task, started = replace(task, folder=folder / "task", cwd=None, env=env), time.monotonic()
            try:
                outcome = self._engine.run(task, self)
            except _Late:
                outcome = timed_out(task, time.monotonic() - started)
            return _told(outcome, node)
        finally:
            self._asked.put(None)  # who waits for a question need not wait on
            shutil.rmtree(folder, ignore_errors=True)

    def is_there(self) -> bool:
        """Asked before the task is sent."""
        return True

    def exchange(self, answer: Message | None) -> Message | None:
        """Give the answer to the last question, if there was one, and wait for the next; None when the task is over."""
        if answer is not None:
            self._answers.put(answer)
        return self._asked.get()

    def stop(self, *, is_late: bool) -> None:
        """Have the task be stopped, because its time is over or for another reason."""
        self._is_stopped, self._is_late = True, is_late
        self._answers.put(None)

    def answer(self, message: Message) -> Message:
        """What the child asks, for `Watch`."""
        self._asked.put(message)
        found = self._answers.get()
        if found is None:  # calls of an actor may overtake each other, so there may be an answer behind it
            raise _Late if self._is_late else Fenced("the task was stopped")
        return found

    def beat(self) -> float | None:
        """Whether it may go on, for `Watch`."""
        if self._is_stopped and not self._is_late:
            raise Fenced("the task was stopped")
        return 0.0 if self._is_late else None


def connected(address: str = "", project: Path | None = None, hidden: Sequence[Path] = ()) -> Any:
    """Ray, with this process connected to a cluster.

    Args:
        address: Of the cluster; "" takes RAY_ADDRESS, then one that runs here, else starts one on this machine.
        project: Folder that nodes get a copy of, without what its `.gitignore` names; for the first call of a process.
        hidden: Files and folders in it that stay here.
    Raises: Unavailable: Ray is not installed, or the cluster can't be reached.
    """
    if find_spec("ray") is None:
        raise Unavailable("Ray is not installed", where="engine ray", hint="pip install 'mainspring[ray]'")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # nothing is told to anybody
    import ray

    with _connecting:
        if not ray.is_initialized():
            _connect(ray, address, _carried(project, hidden) if project else None)
    return ray


def check_address(engine: str, where: str) -> str:
    """The address in the name of an engine: "" in "ray", the whole of it in "ray://HOST:PORT".

    Raises: Invalid: It has another form.
    """
    host, colon, port = engine.removeprefix(SCHEME).rpartition(":")
    if engine == NAME:
        return ""
    if not engine.startswith(SCHEME) or not (host and colon and port.isdigit()):
        hint = 'write "ray" for the cluster that RAY_ADDRESS names, or "ray://HOST:10001"'
        raise Invalid(f"{engine!r} names no cluster of Ray", where=where, hint=hint)
    return engine


def cores(address: str = "") -> int:
    """How many processors the cluster has now.

    Raises: Unavailable: Ray is not installed, or the cluster can't be reached.
    """
    return int(connected(address).cluster_resources().get("CPU", 1))


def places(address: str = "") -> list[Wants]:
    """What each node of the cluster has to give, whether it is taken or not.

    Raises: Unavailable: Ray is not installed, or the cluster can't be reached.
    """
    alive = [node["Resources"] for node in connected(address).nodes() if node["Alive"]]
    return [Wants(has.get("CPU", 0.0), int(has.get("memory", 0)), has.get("GPU", 0.0)) for has in alive]


def unseen(paths: Sequence[Path], address: str = "") -> dict[str, Path]:
    """The nodes that do not see all of these files and folders of this machine, each with the first that is missing.

    Only nodes with cores are asked; one that does not answer, such as one that was lost a moment ago, is left out.

    Raises: Unavailable: Ray is not installed, or the cluster can't be reached.
    """
    ray = connected(address)
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    asked: dict[Any, str] = {}
    for node in ray.nodes():
        if node["Alive"] and node["Resources"].get("CPU"):
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            look = ray.remote(_missing).options(num_cpus=0, max_retries=0, scheduling_strategy=there)
            asked[look.remote([str(path) for path in paths])] = node["NodeName"]
    found: dict[str, Path] = {}
    for answer in ray.wait(list(asked), num_returns=len(asked), timeout=_ANSWER_S)[0] if asked else []:
        with suppress(ray.exceptions.RayError):
            missing = ray.get(answer)
            found |= {asked[answer]: Path(missing)} if missing else {}
    return found


def _missing(paths: list[str]) -> str:
    """The first of the paths that is not on this node; "" when all are."""
    return next((path for path in paths if not Path(path).exists()), "")


def _connect(ray: Any, address: str, carried: dict[str, object] | None) -> None:
    given: dict[str, object] = {"address": address} if address else {"include_dashboard": False}
    try:
        ray.init(**given, runtime_env=carried, log_to_driver=False, logging_level="ERROR")
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as reason:
        hint = (
            "start one with `ray start --head`; one with tokens wants RAY_AUTH_MODE=token and its token here, "
            "in RAY_AUTH_TOKEN or the file of RAY_AUTH_TOKEN_PATH"
        )
        where = address or os.environ.get("RAY_ADDRESS", "") or "RAY_ADDRESS"
        raise Unavailable(f"no cluster of Ray: {_first_line(reason)}", where=where, hint=hint) from None


def _let_go(ray: Any, actor: Any) -> None:
    with suppress(Exception):  # a cluster that is gone has no actors
        ray.kill(actor)


def _carried(project: Path, hidden: Sequence[Path]) -> dict[str, object]:
    inside = [path.relative_to(project).as_posix() for path in hidden if project in path.parents]
    return {"working_dir": str(project), "excludes": ["__pycache__", *(f"/{path}" for path in inside)]}


def _taking(wants: Wants) -> dict[str, object]:
    """The options of an actor that takes so much of its node; a task that says nothing takes a core."""
    memory = {"memory": wants.memory} if wants.memory else {}
    return {"num_cpus": wants.cpu or 1.0, "num_gpus": wants.gpu, **memory}


def _told(outcome: Outcome, node: str) -> Outcome:
    """The outcome without its log, which stays on the node: an error tells the last line of it."""
    error = outcome.error
    if error is not None and outcome.log is not None and error.where == str(outcome.log):
        last = outcome.log.read_text(errors="replace").rstrip().rpartition("\n")[2] if outcome.log.exists() else ""
        error = type(error)(error.what, where=f"node {node}", hint=f"its last words: {last[:500]}" if last else "")
    return replace(outcome, error=error, log=None)


def _release() -> str:
    from importlib.metadata import PackageNotFoundError, version  # here, as most runs need no cluster

    try:
        return version("mainspring")
    except PackageNotFoundError:
        return "a source folder"


def _first_line(reason: Exception) -> str:
    """What went wrong in one line: the first, or the last where the first only announces a trace."""
    lines = [line.strip() for line in str(reason).splitlines() if line.strip()] or [type(reason).__name__]
    return (lines[-1] if lines[0].endswith(":") else lines[0])[:500]
