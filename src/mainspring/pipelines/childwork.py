"""Jobs that load models and data: each runs in a child process of its own and is gone when it is done."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mainspring.core.caller import Caller, calling
from mainspring.core.wiring import Wiring
from mainspring.engines import Engine, Message, OutcomeState, Task
from mainspring.pipelines.worker import Watching
from mainspring.storage.jobs import Lease


class ChildWork:
    """Handles the jobs of one kind, for `Worker`.

    Args:
        entry: The function that does the work in the child, `module:function`; it opens the house with `opened`.
        what: What does the work, for messages, such as "gate".
        engine: Runs the child.
        opener: `module:function` that opens the house in the child.
        cwd: Folder of `mainspring.toml`.
        env: Variables that give the child the settings of this process.
    """

    def __init__(
        self, entry: str, *, what: str, engine: Engine, opener: str, cwd: Path, env: Mapping[str, str]
    ) -> None:
        self._entry, self._what = entry, what
        self._engine, self._opener, self._cwd, self._env = engine, opener, cwd, env

    def __call__(self, lease: Lease) -> Message:
        """Do what the job says; the child stores what it found.

        When the lease is lost or the worker is to stop, the child is ended; whoever gets the job then begins anew.
        """
        job = lease.job
        with tempfile.TemporaryDirectory(prefix=f"mainspring-{self._what}-") as folder:
            task = Task(
                entry=self._entry,
                payload={**job.payload, "opener": self._opener, "actor": job.actor, "project": job.project},
                folder=Path(folder),
                cwd=self._cwd,
                env=self._env,
            )
            outcome = self._engine.run(task, Watching())
        if outcome.state is not OutcomeState.FINISHED:
            raise outcome.error or RuntimeError(f"the {self._what}'s process {outcome.state}")
        return outcome.result


@contextmanager
def opened(payload: Message) -> Iterator[Wiring]:
    """The house that a child works in, on behalf of whose the job is: "actor" and "project" of the payload."""
    module, _, name = str(payload["opener"]).partition(":")
    wiring: Wiring = getattr(importlib.import_module(module), name)()
    try:
        with calling(Caller(str(payload["actor"]), str(payload["project"]))):
            yield wiring
    finally:
        wiring.close()
