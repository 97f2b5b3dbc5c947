"""The model server's application in this process over real models, asked without a socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
from sklearn.linear_model import LinearRegression, LogisticRegression
from tests.unit.serving.plane import whole

from mainspring.registry.flavours import flavour
from mainspring.registry.packages import Package, build, predictor_of
from mainspring.registry.reasons import Means
from mainspring.serving.modelserver.app import App
from mainspring.serving.modelserver.batching import Batcher, Line
from mainspring.serving.modelserver.models import LoadedModel
from mainspring.serving.modelserver.plan import ArmPlan, EndpointPlan, Plan
from mainspring.serving.modelserver.spool import Spool
from mainspring.serving.modelserver.traffic import Endpoint, ServedArm, Table

MODEL = "late"
"""Binary: delay (float), hour (whole number), carrier (text); takes no missing delay."""
MEANS: Means = {"delay": 0.5, "hour": 12.0, "carrier": {"AA": 0.25, "UA": 0.75}, "a": 1.0, "b": -1.0}
"""Of the training of both."""
PLAIN = "plain"
"""Regression on a and b."""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, object]:
        found = json.loads(self.body)
        assert isinstance(found, dict)
        return found

    @property
    def kind(self) -> str:
        return self.headers["content-type"]


@dataclass
class Doors:
    """Both models behind one application; `ask` is one request."""

    app: App
    loop: asyncio.AbstractEventLoop
    spool: Spool
    models: dict[str, LoadedModel] = field(default_factory=dict)

    def ask(self, method: str, path: str, body: object = b"", *, headers: Mapping[str, str] | None = None) -> Answer:
        """One request; a body that is not bytes is sent as JSON."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        given = {name.lower().encode(): value.encode() for name, value in (headers or {}).items()}
        if not isinstance(body, bytes):
            given.setdefault(b"content-type", b"application/json")
        given.setdefault(b"content-length", str(len(raw)).encode())
        reply = self.loop.run_until_complete(self.app.reply(whole(method, path, given, raw), Line()))
        assert reply is not None
        found = {"content-type": reply.kind.decode()} | {k.decode(): v.decode() for k, v in reply.headers}
        return Answer(reply.status, found, reply.body)

    def serve_only(self, *names: str) -> None:
        """Serve these models and no other."""
        plan = Plan(
            endpoints=[
                EndpointPlan(name=name, arms=[ArmPlan(name="champion", version=1, share=1.0, folder="")])
                for name in names
            ]
        )
        endpoints = {
            wanted.name: Endpoint(wanted.name, (self._arm(wanted.name),), "", "", plan.options_of(wanted))
            for wanted in plan.endpoints
        }
        self.app.served.table = Table(plan, endpoints)

    def _arm(self, name: str) -> ServedArm:
        return ServedArm("champion", 1.0, self.models[name], "")


def packages() -> dict[str, Package]:
    """A classifier with three columns of three types, and a regression."""
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(
        {"delay": rng.normal(size=60), "hour": rng.integers(0, 24, 60), "carrier": rng.choice(["AA", "UA"], 60)}
    )
    numbers = frame.with_columns((pl.col("carrier") == "UA").cast(pl.Float64)).to_numpy()
    classifier = LogisticRegression().fit(numbers, (frame["delay"] > 0).to_numpy().astype(int))
    x = rng.normal(size=(60, 2))
    regression = LinearRegression().fit(x, x @ [1.0, 2.0])
    return {
        MODEL: build(classifier, frame.head(3), levels={"carrier": ["AA", "UA"]}),
        PLAIN: build(regression, pl.DataFrame(x[:3], schema=["a", "b"])),
    }


def loaded(package: Package) -> LoadedModel:
    """A package as a model server has it in memory."""
    kind = flavour(package.manifest.flavour)
    predictor = predictor_of(package.manifest, kind, kind.read(package.files[kind.FILE]), example=package.example)
    model = LoadedModel(1, predictor, max_rows=10_000, means=MEANS)
    model.warm()
    return model


@contextmanager
def doors(folder: Path) -> Iterator[Doors]:
    """Both models, until the block ends."""
    loop = asyncio.new_event_loop()
    batcher = Batcher(loop)
    spool = Spool(folder / "spool.sqlite", "process", loop)
    made = Doors(App(batcher, spool), loop, spool, {name: loaded(package) for name, package in packages().items()})
    made.serve_only(MODEL, PLAIN)
    try:
        yield made
    finally:
        batcher.close()
        spool.close()
        loop.close()
