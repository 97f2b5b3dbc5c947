"""The ASGI application: paths, limits and statuses of the Open Inference Protocol v2."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from importlib.metadata import version as release
from typing import Any

import msgspec

from mainspring.core.errors import Invalid, MainspringError, NotFound, Timeout, TooLarge
from mainspring.core.ids import new_id
from mainspring.serving.modelserver import wire
from mainspring.serving.modelserver.batching import Batcher, Columns, Outputs
from mainspring.serving.modelserver.metrics import Metrics
from mainspring.serving.modelserver.models import LoadedModel
from mainspring.serving.modelserver.spool import Row, Spool, pack
from mainspring.serving.modelserver.traffic import Choice, Table

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Answer = tuple[int, bytes, bytes]  # status, content type, body

STATUS = {"invalid": 400, "not_found": 404, "too_large": 413, "overloaded": 503, "unavailable": 503, "timeout": 504}
EXTENSIONS = ["prediction_log", "versions"]
_JSON, _TEXT = b"application/json", b"text/plain; version=0.0.4; charset=utf-8"
_encode = msgspec.json.Encoder().encode


class App:
    """Answers requests with whatever `table` is at that moment; a request keeps the table it started with.

    Args:
        batcher: Predicts.
        spool: Logs; an answer leaves after its rows are committed.
    """

    def __init__(self, batcher: Batcher, spool: Spool) -> None:
        self.table = Table()
        self.draining = False
        self._batcher = batcher
        self._spool = spool
        self._metrics = Metrics()
        self._release = release("mainspring")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One HTTP request (anything else is left unanswered)."""
        if scope["type"] != "http":
            return
        try:
            status, kind, body = await self._answer(scope, receive)
        except MainspringError as error:
            status = STATUS.get(error.code, 500)
            text = f"{error.what} ({error.hint})" if error.hint else error.what
            kind, body = _JSON, _encode({"error": text})
        headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
        if status == 503:
            headers.append((b"retry-after", b"1"))
        if self.draining or status == 413:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        path = scope["path"].rstrip("/").split("/")[1:]
        if path[:2] == ["v2", "models"] and path[-1] == "infer" and len(path) in (4, 6):
            if scope["method"] != "POST":
                return 405, _JSON, _encode({"error": "send it with POST"})
            body = await self._body(scope, receive)
            return await self._infer(path[2], _version(path), body)
        if scope["method"] not in ("GET", "HEAD"):
            return 405, _JSON, _encode({"error": f"nothing at this path takes {scope['method'][:10]}"})
        return self._get(path)

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        limit = self.table.plan.max_body_bytes
        said = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if said.isdigit() and int(said) > limit:
            raise TooLarge(f"the body is over {limit} bytes")
        parts, size, more = [], 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Invalid("the client went away")
            part = message.get("body", b"")
            size += len(part)
            if size > limit:
                raise TooLarge(f"the body is over {limit} bytes")
            parts.append(part)
            more = message.get("more_body", False)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _get(self, path: list[str]) -> Answer:
        match path:
            case ["v2"]:
                return _ok({"name": "mainspring", "version": self._release, "extensions": EXTENSIONS})
            case ["v2", "health", "live"]:
                return _ok({"live": True})
            case ["v2", "health", "ready"]:
                ready = self.table.ready and not self.draining
                body = {"ready": ready, "live": ready, "generation": self.table.plan.generation}
                return (200 if ready else 503), _JSON, _encode(body)
            case ["v2", "models"]:
                return _ok({"models": sorted(self.table.endpoints)})
            case ["v2", "models", name] | ["v2", "models", name, "versions", _]:
                return _ok(self._metadata(name, _version(path)))
            case ["v2", "models", name, "ready"] | ["v2", "models", name, "versions", _, "ready"]:
                self.table.find(name).choose("", _version(path))
                return (503 if self.draining else 200), _JSON, _encode({"name": name, "ready": not self.draining})
            case ["metrics"]:
                return 200, _TEXT, self._metrics.text(self._gauges()).encode()
        raise NotFound("nothing at this path", hint="see GET /v2")

    def _gauges(self) -> dict[str, float]:
        return {
            "mainspring_queued_rows": self._batcher.queued_rows,
            "mainspring_batches_total": self._batcher.batches,
            "mainspring_batched_rows_total": self._batcher.batched_rows,
            "mainspring_log_rows_total": self._spool.rows,
            "mainspring_log_failures_total": self._spool.failures,
            "mainspring_plan_generation": self.table.plan.generation,
        }

    def _metadata(self, name: str, version: str | None) -> dict[str, object]:
        endpoint = self.table.find(name)
        model = endpoint.champion if version is None else endpoint.choose("", version).model
        signature = model.predictor.signature
        return {
            "name": name,
            "versions": endpoint.versions,
            "platform": "mainspring",
            "inputs": wire.described(signature.inputs),
            "outputs": wire.described(signature.outputs),
            "parameters": {
                "content_type": "pd",
                "version": str(model.version),
                **({"classes": list(model.predictor.classes)} if model.predictor.classes else {}),
            },
        }

    async def _infer(self, name: str, version: str | None, body: bytes) -> Answer:
        started = time.perf_counter()
        table = self.table
        endpoint = table.find(name)
        request = wire.decode(body)
        about = wire.context(request, new_id)
        choice = endpoint.choose(about.key, version)
        columns = choice.model.features.columns(request)
        _check_wanted(request, choice.model)
        labels = (name, str(choice.model.version), choice.arm)
        outputs: Outputs | None = None
        failure: MainspringError | None = None
        try:
            async with asyncio.timeout((about.timeout_ms or table.plan.deadline_ms) / 1000):
                outputs = await self._batcher.submit(choice.model, columns)
        except TimeoutError:
            failure = Timeout("the deadline passed before the model answered")
        except MainspringError as error:
            failure = error
        status = STATUS.get(failure.code, 500) if failure else 200
        seconds = time.perf_counter() - started
        if status != 503:
            rows = _rows(name, about, choice, columns, outputs, (status, failure, int(seconds * 1e6)))
            await self._spool.append(rows)
        self._metrics.observe(labels, status, time.perf_counter() - started)
        if failure is not None or outputs is None:
            raise failure or Timeout("no answer")
        return _ok(
            {
                "model_name": name,
                "model_version": labels[1],
                "id": about.request_id,
                "parameters": {"arm": choice.arm},
                "outputs": wire.tensors(outputs, request.outputs),
            }
        )


def _ok(value: dict[str, object]) -> Answer:
    return 200, _JSON, _encode(value)


def _version(path: list[str]) -> str | None:
    if len(path) < 5:
        return None
    if path[3] != "versions":
        raise NotFound("nothing at this path", hint="see GET /v2")
    return path[4]


def _check_wanted(request: wire.InferRequest, model: LoadedModel) -> None:
    for entry in request.outputs or ():
        if entry.name not in model.outputs:
            raise Invalid(f"no output {entry.name[:100]!r}", hint=f"outputs are {', '.join(model.outputs)}")


def _rows(
    name: str,
    about: wire.Context,
    choice: Choice,
    columns: Columns,
    outputs: Outputs | None,
    end: tuple[int, MainspringError | None, int],
) -> list[Row]:
    """The log rows of one request. One row has the request's id; of several, row i has the id "REQUEST.i"."""
    status, failure, latency_us = end
    error = f"{failure.what}: {failure.where}".rstrip(": ") if failure else ""
    at = time.time_ns() // 1000
    event_at = at if about.event_at is None else about.event_at
    count = len(columns[0])
    answers = [pack({k: v[i] for k, v in outputs.items()}) for i in range(count)] if outputs else [None] * count
    ids = [about.request_id] if count == 1 else [f"{about.request_id}.{i}" for i in range(count)]
    version, rollout = choice.model.version, choice.rollout
    return [
        (name, ids[i], about.request_id, at, event_at, version, choice.arm, choice.propensity, about.key, rollout,
         pack(cells), answers[i], latency_us, status, error)
        for i, cells in enumerate(zip(*columns, strict=True))
    ]  # fmt: skip
