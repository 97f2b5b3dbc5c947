"""The gate's job: it loads models and data, so it runs in a child process of its own and is gone when it is done."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Mapping
from pathlib import Path

from mainspring.core.wiring import Wiring
from mainspring.engines import Ask, Engine, Message, OutcomeState, Task
from mainspring.loop.service import Loop
from mainspring.pipelines.worker import Watching
from mainspring.storage.jobs import Lease


class GateWork:
    """Handles `loop.gate` jobs.

    Args:
        engine: Runs the child.
        opener: `module:function` that opens the house in the child.
        cwd: Folder of `mainspring.toml`.
        env: Variables that give the child the settings of this process.
    """

    def __init__(self, *, engine: Engine, opener: str, cwd: Path, env: Mapping[str, str]) -> None:
        self._engine, self._opener, self._cwd, self._env = engine, opener, cwd, env

    def __call__(self, lease: Lease) -> Message:
        """Judge the version that the job names; the verdict is stored by the child, once, under the cycle's id.

        When the lease is lost or the worker is to stop, the child is ended; whoever gets the job then judges anew.
        """
        with tempfile.TemporaryDirectory(prefix="mainspring-gate-") as folder:
            task = Task(
                entry="mainspring.loop.judging:judge_in_child",
                payload={**lease.job.payload, "opener": self._opener},
                folder=Path(folder),
                cwd=self._cwd,
                env=self._env,
            )
            outcome = self._engine.run(task, Watching())
        if outcome.state is not OutcomeState.FINISHED:
            raise outcome.error or RuntimeError(f"the gate's process {outcome.state}")
        return outcome.result


def judge_in_child(payload: Message, ask: Ask) -> Message:
    """Open the house and put the version before the gate."""
    module, _, name = str(payload["opener"]).partition(":")
    wiring: Wiring = getattr(importlib.import_module(module), name)()
    try:
        verdict = wiring.get(Loop).judge(
            str(payload["cycle"]), int(str(payload["version"])), str(payload["evaluation"]), str(payload["label"])
        )
        return {"verdict": verdict.id, "outcome": str(verdict.outcome)}
    finally:
        wiring.close()
