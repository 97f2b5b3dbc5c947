"""What runs in the child process of a pipeline run: open the house, load the pipeline, run its steps."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from mainspring.core.caller import Caller, calling
from mainspring.core.errors import Unavailable
from mainspring.core.wiring import Wiring
from mainspring.engines import Ask, Message
from mainspring.pipelines.model import Json
from mainspring.pipelines.runner import Runner
from mainspring.pipelines.targets import AnyPipeline, load_target

ENTRY = f"{__name__}:run_pipeline"


@dataclass(frozen=True, slots=True)
class Held:
    """What a caller in the same process has open already: the house, and the pipeline when it is an object."""

    wiring: Wiring
    pipeline: AnyPipeline | None = None


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
        wiring = held.wiring if held else _open_house(str(payload["house"]))
        try:
            pipeline = held.pipeline if held and held.pipeline else None
            runner = Runner(
                ask,
                wiring,
                run_id=str(payload["run"]),
                folder=Path(str(payload["folder"])),
                owns_process=held is None,
            )
            params = cast("dict[str, Json]", payload["params"])
            loaded = pipeline or load_target(str(payload["target"]), Path(str(payload["root"])))
            return {"result": runner.run(loaded, params)}
        finally:
            if held is None:
                wiring.close()


def _open_house(opener: str) -> Wiring:
    module, _, name = opener.partition(":")
    if not module or not name:
        raise Unavailable("no house to open in the child process", where="pipelines", hint='set it: "module:function"')
    wiring: Wiring = getattr(importlib.import_module(module), name)()
    return wiring
