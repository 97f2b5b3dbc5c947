"""What runs in the child process of a pipeline run: open the house, load the pipeline, run its steps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from mainspring.core.caller import Caller, calling
from mainspring.core.wiring import Wiring
from mainspring.engines import Ask, Engine, Message, ProcessEngine, RayEngine, Task
from mainspring.engines.ray import cores
from mainspring.pipelines.crew import Crew
from mainspring.pipelines.hand import ENTRY as HAND
from mainspring.pipelines.machine import find_out
from mainspring.pipelines.model import Json
from mainspring.pipelines.opening import open_house
from mainspring.pipelines.runner import Runner
from mainspring.pipelines.secrets import Secrets
from mainspring.pipelines.targets import AnyPipeline, load_target

ENTRY = f"{__name__}:run_pipeline"
MOST_HANDS = 64
_HAND_BEAT_S = 0.05


@dataclass(frozen=True, slots=True)
class Held:
    """What a caller in the same process has open already: the house, and the pipeline.

    `is_target` says that another process can load the pipeline by its target.
    """

    wiring: Wiring
    pipeline: AnyPipeline | None = None
    is_target: bool = False


_held: ContextVar[Held | None] = ContextVar("held", default=None)


@contextmanager
def holding(held: Held | None) -> Iterator[None]:
    """Let `run_pipeline` in this thread use what is open already; with None, it opens its own."""
    token = _held.set(held)
    try:
        yield
    finally:
        _held.reset(token)


def run_pipeline(payload: Message, ask: Ask) -> Message:
    """Run the pipeline that the payload describes. The entry of the engines."""
    held = _held.get()
    who = Caller(str(payload["actor"]), str(payload["project"]))
    with calling(who):
        wiring = held.wiring if held else open_house(str(payload["house"]))
        try:
            pipeline = held.pipeline if held and held.pipeline else None
            runner = Runner(
                ask,
                wiring,
                run_id=str(payload["run"]),
                folder=Path(str(payload["folder"])),
                owns_process=held is None,
                secrets=Secrets(Path(str(payload["secrets"])) if payload["secrets"] else None),
                crew=(lambda: _crew(payload)) if payload["house"] and (held is None or held.is_target) else None,
            )
            params = cast("dict[str, Json]", payload["params"])
            loaded = pipeline or load_target(str(payload["target"]), Path(str(payload["root"])))
            return runner.run(loaded, params, cast("Message | None", payload.get("failed")))
        finally:
            if held is None:
                wiring.close()


def _crew(payload: Message) -> Crew:
    """Hands beside this process, or anywhere in its cluster."""
    engine: Engine = ProcessEngine(beat_s=_HAND_BEAT_S)
    most = int(find_out().cpu)
    if payload["engine"] == "ray":
        engine, most = RayEngine(beat_s=_HAND_BEAT_S), cores()
    folder, env = Path(str(payload["folder"])), cast("dict[str, str]", payload["house_env"])

    def task(number: int) -> Task:
        root = Path(str(payload["root"]))
        return Task(entry=HAND, payload=payload, folder=folder / f"hand-{number}", cwd=root, env=env)

    return Crew(engine, task, max(1, min(most, MOST_HANDS)))
