"""The ledger of one part: it stores what the part does under the part's own lease, beside others of the same run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from mainspring.core.errors import Failed, MainspringError
from mainspring.core.events import Fact
from mainspring.engines import Message
from mainspring.engines.port import pack_error
from mainspring.pipelines import records
from mainspring.pipelines.desk import Desk
from mainspring.pipelines.ledger import Ledger
from mainspring.pipelines.machine import Machine
from mainspring.pipelines.model import Json, PipelineRun, Resources, RunState, StepRun, StepState
from mainspring.pipelines.parts.model import Part, What
from mainspring.pipelines.rules import same_code
from mainspring.pipelines.tracked import TrackedRun
from mainspring.storage.jobs import Lease

if TYPE_CHECKING:
    from sqlalchemy import Connection

_ROOM = Resources(1e9, 2**60, 64)
"""The platform has found the room before it started the container."""
TRIES = 1000
"""The platform counts tries, and the ledger failures: the job has always another."""


class PartLedger(Ledger):
    """Watches over one part of a run as long as its lease holds, and the run is not cancelled.

    Args:
        desk: Storage and rooms.
        run: The run.
        lease: Of the part's job.
        folder: Scratch space of the part.
        tracked: The run's twin in the tracking room.
        part: The part.
    """

    tries = TRIES

    def __init__(
        self, desk: Desk, run: PipelineRun, lease: Lease, folder: Path, tracked: TrackedRun, part: Part
    ) -> None:
        super().__init__(replace(desk, machine=Machine(_ROOM)), run, lease, folder, tracked)
        self._part = part
        if part.what is not What.OPEN:
            self._answers = {**self._answers, "plan": self._known_plan}
        self._answers = {**self._answers, "standing": self._standing}

    def end_part(self) -> None:
        """The part is over, well or not: its job is finished."""
        self._store(lambda conn: self._desk.queue.finish(conn, self._lease, {"part": self._part.what}))

    def give_back(self, reason: str, *, retry_in_s: float, counts: bool = True) -> None:
        """Another container shall do the part."""

        def work(conn: Connection) -> None:
            for step in self._running:
                values = {"state": StepState.WAITING, "error": reason}
                records.change_step(conn, self._run.id, step, values)
            self._desk.queue.fail(conn, self._lease, reason, retry_in_s=retry_in_s, counts=counts)

        self._store(work)

    def died(self, error: MainspringError) -> bool:
        """The step's process died without a word. Returns whether it may be tried again."""
        self.note_death(error)
        if self.may_go_on_after_death():
            return True
        self.blame(error)
        return False

    def blame(self, error: MainspringError) -> None:
        """Note that the part's step failed for good, unless that is noted."""
        row = self._rows.get(self._part.row)
        if row is None or row.state is StepState.FAILED or row.state.has_result:
            return
        row.state = StepState.FAILED
        values = {"state": row.state, "error": str(error), "error_code": error.code, "finished_at": self._now}
        self._store(lambda conn: records.change_step(conn, self._run.id, self._part.row, values))

    def _known_plan(self, message: Message, batch: object) -> Message:
        """The run is open: what it was fixed to holds for every part."""
        pins, code = self._read(lambda conn: records.fixed_of(conn, self._run.id))
        try:
            same_code(code, cast("dict[str, str]", message["code"]))
        except MainspringError as reason:
            return {"error": pack_error(reason)}
        self._remember(cast("list[Mapping[str, Json]]", message["steps"]))
        if self._part.what is What.ITEM:
            self._remember(
                self._read(lambda conn: records.plans_of(conn, self._run.id, self._part.step)), self._part.step
            )
        return {"pins": pins}

    def _standing(self, message: Message, batch: object) -> Message:
        """What the steps before have given."""
        steps = self._read(lambda conn: records.steps_of(conn, self._run.id))
        parent = str(message["step"])
        shown = [step for step in steps if step.parent in ("", parent or "")]
        outputs: dict[str, Json] = {s.id: s.output.to_json() for s in shown if s.output and s.state.has_result}
        return {
            "outputs": outputs,
            "skipped": [step.id for step in shown if step.state is StepState.SKIPPED],
            "items": sum(bool(parent) and step.parent == parent for step in steps),
            "failed": self._blamed([step for step in steps if not step.parent]),
        }

    def _blamed(self, steps: list[StepRun]) -> Message | None:
        ends = {name for name, row in self._rows.items() if row.plan.ending}
        for step in steps:
            if step.state is StepState.FAILED and step.id not in ends:
                return {"step": step.id, "error": pack_error(self._error_of(step.id))}
        for step in steps:
            if not (step.state.has_result or step.state is StepState.SKIPPED or step.id in ends):
                what = f"step {step.id} was not done: the platform ended the run before"
                hint = "look at its container; `mainspring pipeline resume` goes on without the platform"
                error = Failed(what, where=f"step {step.id}", hint=hint)
                return {"step": step.id, "error": pack_error(error)}
        return None

    def _write(
        self,
        work: Callable[[Connection], object],
        facts: Sequence[Fact],
        run: Mapping[str, object] | None,
        *,
        at_once: bool = False,
    ) -> None:
        """Every write looks at the run too: the part's job does not know when it is cancelled."""
        super()._write(work, facts, run or {"state": RunState.RUNNING}, at_once=at_once)
