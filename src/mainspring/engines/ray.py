"""The engine on a cluster: each task runs in a child process of an actor of Ray, wherever Ray has room for it.

The actor runs the task as the engine `process` does here, and carries questions and answers. The task's folder, and
whatever its payload names, must be at the same paths on every node. However the task ends, nothing of it is left: an
actor that is killed takes its child along.
"""

from __future__ import annotations

import os
import time
from importlib.util import find_spec
from queue import Empty, SimpleQueue
from typing import Any, cast

from mainspring.core.errors import Failed, Fenced, Unavailable
from mainspring.engines.port import Message, Outcome, OutcomeState, Task, Watch
from mainspring.engines.process import ProcessEngine


class RayEngine:
    """Runs each task in an actor of its own.

    Args:
        address: Of the cluster; "" takes RAY_ADDRESS, then one that runs here, else starts one on this machine.
        cores: That Ray keeps free for a task.
        beat_s: How often the watcher's `beat` is called while the task says nothing.
        grace_s: How long a stopped task has between SIGTERM and SIGKILL.
    """

    name = "ray"

    def __init__(self, *, address: str = "", cores: float = 1.0, beat_s: float = 0.5, grace_s: float = 5.0) -> None:
        self._address, self._cores = address, cores
        self._beat_s, self._grace_s = beat_s, grace_s

    def run(self, task: Task, watch: Watch) -> Outcome:
        """Start the actor, answer its task, and wait for the end. What `watch` raises stops it and passes through.

        Raises: Unavailable: Ray is not installed, or the cluster can't be reached.
        """
        ray, started = connected(self._address), time.monotonic()
        actor = ray.remote(Runner).options(num_cpus=self._cores, max_concurrency=3).remote(self._grace_s)
        try:
            done = actor.run.remote(task)
            return self._attend(ray, actor, done, watch)
        except ray.exceptions.RayError as reason:
            error = Failed(f"the task's actor is gone: {str(reason).splitlines()[0]}", where=task.entry)
            return Outcome(state=OutcomeState.DIED, seconds=time.monotonic() - started, error=error)
        finally:
            ray.kill(actor)

    def _attend(self, ray: Any, actor: Any, done: Any, watch: Watch) -> Outcome:
        try:
            while True:
                left_s = watch.beat()
                if left_s is not None and left_s <= 0:
                    ray.get(actor.stop.remote(is_late=True))
                    return cast(Outcome, ray.get(done))
                wait_s = self._beat_s if left_s is None else min(self._beat_s, left_s)
                question = ray.get(actor.question.remote(wait_s))
                if question is not None:
                    ray.get(actor.reply.remote(watch.answer(question)))
                if ray.wait([done], timeout=0)[0]:
                    return cast(Outcome, ray.get(done))
        except ray.exceptions.RayError:
            raise
        except BaseException:
            ray.get(actor.stop.remote(is_late=False))
            ray.wait([done], timeout=self._grace_s + 1)
            raise


class Runner:
    """What runs on a node: one task in a child process, and what is said between it and its watcher."""

    def __init__(self, grace_s: float) -> None:
        self._engine = ProcessEngine(beat_s=0.1, grace_s=grace_s)
        self._asked: SimpleQueue[Message | None] = SimpleQueue()
        self._answers: SimpleQueue[Message | None] = SimpleQueue()
        self._is_stopped = self._is_late = False

    def run(self, task: Task) -> Outcome:
        """Run the task to its end."""
        try:
            return self._engine.run(task, self)
        finally:
            self._asked.put(None)  # who waits for a question need not wait on

    def question(self, wait_s: float) -> Message | None:
        """The next question of the task; None when there was none for so long, or it is over."""
        try:
            return self._asked.get(timeout=wait_s)
        except Empty:
            return None

    def reply(self, answer: Message) -> None:
        """The watcher's answer to it."""
        self._answers.put(answer)

    def stop(self, *, is_late: bool) -> None:
        """Have the task be stopped, because its time is over or for another reason."""
        self._is_stopped, self._is_late = True, is_late
        self._answers.put(None)

    def answer(self, message: Message) -> Message:
        """What the child asks, for `Watch`."""
        self._asked.put(message)
        found = self._answers.get()
        if found is None:
            raise Fenced("the task was stopped")
        return found

    def beat(self) -> float | None:
        """Whether it may go on, for `Watch`."""
        if self._is_stopped and not self._is_late:
            raise Fenced("the task was stopped")
        return 0.0 if self._is_late else None


def connected(address: str = "") -> Any:
    """Ray, with this process connected to a cluster.

    Args:
        address: Of the cluster; "" takes RAY_ADDRESS, then one that runs here, else starts one on this machine.
    Raises: Unavailable: Ray is not installed, or the cluster can't be reached.
    """
    if find_spec("ray") is None:
        raise Unavailable("Ray is not installed", where="engine ray", hint="pip install 'mainspring[ray]'")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody
    import ray

    if not ray.is_initialized():
        try:
            ray.init(address=address or None, log_to_driver=False, logging_level="ERROR", include_dashboard=False)
        except (OSError, RuntimeError, ValueError) as reason:
            said = str(reason).splitlines()[0]
            hint = "start one with `ray start --head`, or leave RAY_ADDRESS empty"
            raise Unavailable(f"no cluster of Ray: {said}", where=address or "RAY_ADDRESS", hint=hint) from None
    return ray


def cores(address: str = "") -> int:
    """How many processors the cluster has now.

    Raises: Unavailable: Ray is not installed, or the cluster can't be reached.
    """
    return int(connected(address).cluster_resources().get("CPU", 1))
