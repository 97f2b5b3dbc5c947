"""The tracked run of a pipeline run: same id, with code, environment, parameters and datasets.

What is slow to find out (the git state) is looked up on the side while the pipeline is being drawn, so that a run that
takes everything from the cache does not wait for it twice.
"""

from __future__ import annotations

import json
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from mainspring.core.errors import Conflict, NotFound
from mainspring.pipelines.lock import places
from mainspring.pipelines.model import PipelineRun, RunState

if TYPE_CHECKING:
    from mainspring.tracking import CodeState, Environment, Tracking

_STATUS = {RunState.FINISHED: "finished", RunState.FAILED: "failed", RunState.CANCELLED: "killed"}
_PARAM_CHARACTERS = 500


class TrackedRun:
    """Opens the tracked run when the first step starts, and ends it with the pipeline run.

    Args:
        tracking: The tracking room; None when runs are not tracked.
        run_id: Id of the pipeline run.
        root: Folder whose git state is recorded.
        target: Entry point that is recorded.
    """

    def __init__(self, tracking: Tracking | None, run_id: str, *, root: Path, target: str) -> None:
        self._tracking = tracking
        self._run_id = run_id
        self._inputs: list[tuple[str, str]] = []
        self._is_open = False
        self._root, self._target = root, target
        self._code: Future[CodeState] | None = None
        if tracking is not None and _is_in_a_repository(root):
            side = ThreadPoolExecutor(1, thread_name_prefix="code-state")
            self._code = side.submit(_code_state, root, target)
            side.shutdown(wait=False)

    @property
    def is_tracked(self) -> bool:
        """Whether there is a tracking room."""
        return self._tracking is not None

    def open(self, run: PipelineRun) -> None:
        """Create the tracked run, unless that was done."""
        if self._tracking is not None and not self._is_open:
            self._made(self._tracking, run, "running")

    def close(self, run: PipelineRun, state: RunState) -> None:
        """End the tracked run as the pipeline run ended; where no step opened it, all of it is told now."""
        if self._tracking is not None and (self._is_open or not self._made(self._tracking, run, _STATUS[state])):
            close_tracked(self._tracking, run.id, state)

    def _made(self, tracking: Tracking, run: PipelineRun, status: str) -> bool:
        """Create the tracked run; False when it was there with another status, and is running now."""
        params = {name: _text(value) for name, value in run.params.items()}
        found = tracking.create_run(
            run.pipeline,
            name=f"{run.pipeline}-{run.id[-6:]}",
            tags={"pipeline": run.pipeline, "target": run.target},
            params=params,
            code=self._code.result() if self._code else _code_state(self._root, self._target),
            environment=_environment(places()),
            run_id=run.id,
            started_at=run.started_at,
            status=status,
        )
        if found.status not in (status, "running"):  # the pipeline run was taken up again
            tracking.resume(run.id)
        if found.params != params:  # it was opened before they were known
            tracking.log_batch(run.id, params=params)
        self._is_open = True
        for ref, context in self._inputs:
            tracking.log_input(run.id, ref, context)
        return found.status == status

    def add_input(self, ref: str, context: str) -> None:
        """Note a dataset version that was read."""
        if self._is_open and self._tracking is not None:
            self._tracking.log_input(self._run_id, ref, context)
        else:
            self._inputs.append((ref, context))


def close_tracked(tracking: Tracking | None, run_id: str, state: RunState) -> None:
    """End the tracked run as the pipeline run ended; one that was never opened or has ended stays as it is."""
    if tracking is not None:
        with suppress(NotFound, Conflict):
            tracking.end(run_id, _STATUS[state])


def _is_in_a_repository(root: Path) -> bool:
    from mainspring.tracking.capture import in_a_repository

    return in_a_repository(root)


def _code_state(root: Path, target: str) -> CodeState:
    from mainspring.tracking.capture import code_state

    return code_state(root, entry=target)


@lru_cache(maxsize=2)
def _environment(_: tuple[tuple[str, int], ...]) -> Environment:
    from mainspring.tracking.capture import environment

    return environment()


def _text(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text[:_PARAM_CHARACTERS]
