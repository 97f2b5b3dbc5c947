"""The gate's job: it loads models and data, so it runs in a child process of its own and is gone when it is done."""

from __future__ import annotations

from mainspring.engines import Ask, Message
from mainspring.loop.service import Loop
from mainspring.pipelines.childwork import opened

ENTRY = "mainspring.loop.judging:judge_in_child"


def judge_in_child(payload: Message, ask: Ask) -> Message:
    """Open the house and put the version that the job names before the gate.

    The verdict is stored once, under the cycle's id.
    """
    with opened(payload) as wiring:
        verdict = wiring.get(Loop).judge(
            str(payload["cycle"]), int(str(payload["version"])), str(payload["evaluation"]), str(payload["label"])
        )
        return {"verdict": verdict.id, "outcome": str(verdict.outcome)}
