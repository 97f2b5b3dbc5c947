"""The engine without a process: the task runs in the caller's thread. For tests, notebooks and the SDK."""

from __future__ import annotations

import time

from mainspring.engines.port import Message, Outcome, OutcomeState, Task, Watch, find_entry, pack_error, unpack_error


class InlineEngine:
    """Runs a task as a plain call. It cannot interrupt: a stop or a time limit counts from the task's next question."""

    name = "inline"

    def run(self, task: Task, watch: Watch) -> Outcome:
        """Call the task's function and wait."""
        started = time.monotonic()
        refused: list[Exception] = []

        def ask(message: Message) -> Message:
            try:
                return watch.answer(message)
            except Exception as reason:
                refused.append(reason)
                raise

        try:
            result = find_entry(task.entry)(task.payload, ask)
        except Exception as reason:  # noqa: BLE001 - the edge of a task: the reason is the outcome
            if refused:
                raise refused[0] from None
            error = unpack_error(pack_error(reason))
            error.__cause__ = reason
            return Outcome(state=OutcomeState.FAILED, seconds=time.monotonic() - started, error=error)
        return Outcome(state=OutcomeState.FINISHED, seconds=time.monotonic() - started, result=result)
