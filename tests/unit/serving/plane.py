"""A worker's application in this process, over a real batcher and a real spool, with a model that can be held up."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mainspring.registry.flavours import Trait
from mainspring.registry.manifests import Manifest
from mainspring.registry.model import Field, Signature
from mainspring.registry.packages import Predictor
from mainspring.serving.modelserver.app import App
from mainspring.serving.modelserver.batching import Batcher, Line
from mainspring.serving.modelserver.connections import Message
from mainspring.serving.modelserver.humility import Humility
from mainspring.serving.modelserver.models import LoadedModel
from mainspring.serving.modelserver.plan import EndpointPlan, Limits, Options, Plan
from mainspring.serving.modelserver.spool import Spool
from mainspring.serving.modelserver.traffic import Endpoint, ServedArm, Table


class Doubling:
    """Doubles the first column, once its door is open; can't answer 13."""

    def __init__(self) -> None:
        self.calls: list[list[float]] = []
        self.door = threading.Event()
        self.door.set()
        self.reached = threading.Event()

    def score(self, inputs: NDArray[np.float64] | pl.DataFrame) -> NDArray[np.float64]:
        values = np.asarray(inputs)[:, 0]
        self.calls.append(values.tolist())
        self.reached.set()
        assert self.door.wait(30)
        if 13.0 in values:
            raise ValueError("13")
        return values * 2


def model_of(scorer: Doubling, version: int = 1) -> LoadedModel:
    signature = Signature((Field("x", "float64"), Field("name", "string")), (Field("prediction", "float64"),))
    manifest = Manifest("doubling", Trait("regression", (), ("x", "name")), signature, {})
    loaded = LoadedModel(version, Predictor(manifest, scorer), max_rows=100)
    loaded.outputs = ["prediction"]
    return loaded


def whole(method: str, path: str, headers: dict[bytes, bytes], body: bytes) -> Message:
    """A request that has come to its end."""
    message = Message(None, method, path.encode(), headers)
    message.parts, message.whole = [body], True
    return message


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[bytes, bytes]
    body: dict[str, object]


@dataclass
class Plane:
    app: App
    batcher: Batcher
    spool: Spool
    scorer: Doubling = field(default_factory=Doubling)

    async def ask(
        self,
        x: Sequence[float] = (1.0,),
        *,
        name: str = "m",
        headers: Mapping[str, str] | None = None,
        line: Line | None = None,
        body: bytes | None = None,
        **about: object,
    ) -> Reply | None:
        """What the endpoint answers to these rows; None when it hangs up without a word."""
        inputs = [
            {"name": "x", "shape": [len(x)], "datatype": "FP64", "data": list(x)},
            {"name": "name", "shape": [len(x)], "datatype": "BYTES", "data": ["anna"] * len(x)},
        ]
        raw = json.dumps({"inputs": inputs, "parameters": about}).encode() if body is None else body
        return await self.call("POST", f"/v2/models/{name}/infer", raw, headers=headers, line=line)

    async def call(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
        line: Line | None = None,
    ) -> Reply | None:
        given = {key.lower().encode(): value.encode() for key, value in (headers or {}).items()}
        found = await self.app.reply(whole(method, path, given, body), line or Line())
        if found is None:
            return None
        text = found.body
        content = json.loads(text) if text[:1] == b"{" else {"text": text.decode()}
        return Reply(found.status, dict(found.headers), content)

    async def until(self, queued_rows: int) -> None:
        """Wait until that many rows are at the model or before it."""
        while self.batcher.queued_rows != queued_rows:
            await asyncio.sleep(0.001)


@asynccontextmanager
async def plane(folder: Path, limits: Limits | None = None, options: Options | None = None) -> AsyncIterator[Plane]:
    """A plane with one endpoint "m" over version 1."""
    loop, bounds, scorer = asyncio.get_running_loop(), limits or Limits(), Doubling()
    batcher = Batcher(loop, max_queued_rows=bounds.max_queued_rows, max_wait_s=bounds.max_wait_ms / 1000)
    spool = Spool(folder / "spool.sqlite", "process", loop)
    made = Plane(App(batcher, spool), batcher, spool, scorer)
    wanted = EndpointPlan(name="m", arms=[], options=options or Options())
    plan = Plan(endpoints=[wanted], limits=bounds)
    model = model_of(scorer)
    humility = Humility(wanted.options.rules, model, {}) if wanted.options.rules else None
    arm = ServedArm("champion", 1.0, model, "", "", humility)
    made.app.served.table = Table(plan, {"m": Endpoint("m", (arm,), "", "", plan.options_of(wanted))})
    try:
        yield made
    finally:
        scorer.door.set()
        await asyncio.to_thread(batcher.close)
        await asyncio.to_thread(spool.close)
