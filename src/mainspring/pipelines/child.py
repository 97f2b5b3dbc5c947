"""What runs in the child process of a pipeline run: open the house, load the pipeline, run its steps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import field
from pathlib import Path
from typing import cast

from mainspring.core.caller import Caller, calling
from mainspring.core.values import dataclass
from mainspring.core.wiring import Wiring
from mainspring.engines import Ask, Message, ProcessEngine, RayEngine, Task
from mainspring.engines.ray import connected, cores, places, unseen
from mainspring.pipelines.crew import Crew
from mainspring.pipelines.hand import ENTRY as HAND
from mainspring.pipelines.machine import find_out
from mainspring.pipelines.model import Json, Resources
from mainspring.pipelines.nodes import check_storage, for_nodes, leave_mark
from mainspring.pipelines.opening import open_house
from mainspring.pipelines.parts.model import Part
from mainspring.pipelines.parts.runner import PartRunner
from mainspring.pipelines.runner import Drawn, Runner
from mainspring.pipelines.secrets import Secrets
from mainspring.pipelines.targets import AnyPipeline, load_target

ENTRY = f"{__name__}:run_pipeline"
MOST_HANDS = 64
_HAND_BEAT_S = 0.05
_FAR_BEAT_S = 0.2


@dataclass(frozen=True, slots=True)
class Held:
    """What a caller in the same process has open already: the house, and the pipeline.

    `drawn` has the drawing of the pipeline, to be taken out by who runs it, so that nobody keeps it. `is_target` says
    that another process can load the pipeline by its target.
    """

    wiring: Wiring
    pipeline: AnyPipeline | None = None
    drawn: list[Drawn] = field(default_factory=list)
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
            kind = PartRunner if payload.get("part") else Runner
            runner = kind(
                ask,
                wiring,
                run_id=str(payload["run"]),
                folder=Path(str(payload["folder"])),
                owns_process=held is None,
                secrets=Secrets(Path(str(payload["secrets"])) if payload["secrets"] else None),
                crew=(lambda: _crew({**payload, "module": loaded.function.__module__}))
                if payload["house"] and (held is None or held.is_target)
                else None,
                nodes=(lambda: _nodes(payload)) if payload["engine"] == "ray" else None,
            )
            params = cast("dict[str, Json]", payload["params"])
            loaded = pipeline or load_target(str(payload["target"]), Path(str(payload["root"])))
            if isinstance(runner, PartRunner):
                return runner.run_part(loaded, params, Part.from_json(cast(Message, payload["part"])))
            drawn = held.drawn if held else []
            return runner.run(loaded, params, cast("Message | None", payload.get("failed")), drawn)
        finally:
            if held is None:
                wiring.close()


def _crew(payload: Message) -> Crew:
    """Hands beside this process, or anywhere in a cluster."""
    if payload["engine"] == "ray":
        return _far_crew(payload)
    root, folder = Path(str(payload["root"])), Path(str(payload["folder"]))
    env = cast("dict[str, str]", payload["house_env"])

    def task(number: int) -> Task:
        return Task(entry=HAND, payload=payload, folder=folder / f"hand-{number}", cwd=root, env=env)

    return Crew(ProcessEngine(beat_s=_HAND_BEAT_S), task, max(1, min(int(find_out().cpu), MOST_HANDS)))


def _far_crew(payload: Message) -> Crew:
    folder, env = Path(str(payload["folder"])), cast("dict[str, str]", payload["house_env"])
    engine = _ray(payload)
    there = for_nodes(payload, leave_mark(folder))
    most = cores(str(payload["cluster"]))

    def task(_: int) -> Task:
        return Task(entry=HAND, payload=there, folder=folder, env=env)

    return Crew(engine, task, max(1, min(most, MOST_HANDS)), is_far=True)


def _ray(payload: Message) -> RayEngine:
    """Connect to the cluster, with the project's folder but not what is kept in it."""
    root, env = Path(str(payload["root"])), cast("dict[str, str]", payload["house_env"])
    kept = (payload["folder"], payload["secrets"], env.get("MAINSPRING_STORAGE_DATA", ""))
    hidden = [Path(str(path)) for path in kept if path]
    connected(str(payload["cluster"]), root, hidden)
    return RayEngine(address=str(payload["cluster"]), beat_s=_FAR_BEAT_S)


def _nodes(payload: Message) -> list[Resources]:
    _ray(payload)
    check_storage(payload, lambda paths: unseen(paths, str(payload["cluster"])))
    return [Resources(each.cpu, each.memory, int(each.gpu)) for each in places(str(payload["cluster"]))]
