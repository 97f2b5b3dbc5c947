"""The ASGI application: paths, limits and statuses of the Open Inference Protocol v2."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from importlib.metadata import version as release
from typing import Any

import msgspec

from mainspring.core.errors import Invalid, MainspringError, NotFound, Overloaded, TooLarge
from mainspring.core.ids import new_id
from mainspring.serving.modelserver import wire
from mainspring.serving.modelserver.answering import STATUS, Ask, Call, Desk, call_of
from mainspring.serving.modelserver.batching import LINE, Batcher, HungUp
from mainspring.serving.modelserver.metrics import Metrics
from mainspring.serving.modelserver.models import LoadedModel
from mainspring.serving.modelserver.spool import Spool
from mainspring.serving.modelserver.traffic import Table

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Answer = tuple[int, bytes, bytes]  # status, content type, body

_SMALL_BYTES = 64 * 1024  # a body up to this is read however much is held: many small ones are bounded by their number
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
        self.gauges: list[Callable[[], dict[str, float]]] = [self._gauges]
        self.table = Table()
        self.draining = False
        self._batcher = batcher
        self._spool = spool
        self._metrics = Metrics()
        self._desk = Desk(batcher, spool, self._metrics)
        self._held_bytes = 0
        self._release = release("mainspring")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One HTTP request (anything else is left unanswered)."""
        if scope["type"] != "http":
            return
        call = Call()
        try:
            call = call_of(scope["headers"], scope.get(LINE))
            if call.line.refused:
                raise Overloaded("too many connections", hint=f"come again in {self._desk.retry_s} s")
            status, kind, body = await self._answer(scope, receive, call)
        except HungUp:
            return
        except MainspringError as error:
            status = STATUS.get(error.code, 500)
            text = f"{error.what} ({error.hint})" if error.hint else error.what
            kind, body = _JSON, _encode({"error": text})
        finally:
            self._held_bytes -= call.held_bytes
        headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
        if status in (429, 503):
            headers.append((b"retry-after", b"%d" % self._desk.retry_s))
        if self.draining or status == 413 or call.line.refused:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def _answer(self, scope: Scope, receive: Receive, call: Call) -> Answer:
        path = scope["path"].rstrip("/").split("/")[1:]
        if path[:2] == ["v2", "models"] and path[-1] == "infer" and len(path) in (4, 6):
            if scope["method"] != "POST":
                return 405, _JSON, _encode({"error": "send it with POST"})
            body = await self._body(receive, call)
            return await self._infer(path[2], _version(path), body, call)
        if scope["method"] not in ("GET", "HEAD"):
            return 405, _JSON, _encode({"error": f"nothing at this path takes {scope['method'][:10]}"})
        return self._get(path)

    async def _body(self, receive: Receive, call: Call) -> bytes:
        limits = self.table.plan.limits
        if call.length > limits.max_body_bytes:
            raise TooLarge(f"the body is over {limits.max_body_bytes} bytes")
        parts, more = [], True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise HungUp
            part = message.get("body", b"")
            call.held_bytes += len(part)
            self._held_bytes += len(part)
            if call.held_bytes > limits.max_body_bytes:
                raise TooLarge(f"the body is over {limits.max_body_bytes} bytes")
            if self._held_bytes > limits.max_held_bytes and call.held_bytes > _SMALL_BYTES:
                raise Overloaded(f"requests of {self._held_bytes} bytes wait already", hint="send it again in a second")
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
                return 200, _TEXT, self.metrics_text().encode()
        raise NotFound("nothing at this path", hint="see GET /v2")

    def metrics_text(self) -> str:
        """What this worker counted, in the text format of Prometheus."""
        return self._metrics.text({name: value for given in self.gauges for name, value in given().items()})

    def _gauges(self) -> dict[str, float]:
        return {
            "mainspring_queued_rows": self._batcher.queued_rows,
            "mainspring_batches_total": self._batcher.batches,
            "mainspring_batched_rows_total": self._batcher.batched_rows,
            "mainspring_dropped_rows_total": self._batcher.dropped_rows,
            "mainspring_estimated_wait_seconds": self._batcher.wait_s,
            "mainspring_held_bytes": self._held_bytes,
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

    async def _infer(self, name: str, version: str | None, body: bytes, call: Call) -> Answer:
        endpoint = self.table.find(name)
        request = wire.decode(body)
        about = wire.context(request, new_id)
        choice = endpoint.choose(about.key, version)
        columns = choice.model.features.columns(request)
        _check_wanted(request, choice.model)
        outputs = await self._desk.answer(Ask(endpoint, choice, about, columns, call))
        return _ok(
            {
                "model_name": name,
                "model_version": str(choice.model.version),
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
