"""Open Inference Protocol v2 over gRPC, with health checks and reflection, on a port of its own (extra `grpc`).

A request costs more than over HTTP, and arrays travel as bytes there too. This is for clients that speak nothing else.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from importlib.metadata import version as release
from typing import TYPE_CHECKING, Any

from mainspring.core.errors import Failed, Invalid, MainspringError, NotFound, Overloaded, Unavailable
from mainspring.core.ids import new_id
from mainspring.serving.modelserver.answering import Call, read_headers
from mainspring.serving.modelserver.asking import Answered
from mainspring.serving.modelserver.batching import Line
from mainspring.serving.modelserver.exchange import said
from mainspring.serving.modelserver.protocols import binary
from mainspring.serving.modelserver.protocols.messages import METHODS, SERVICE, message, pool
from mainspring.serving.modelserver.protocols.openinference import index, metadata, refused_unload
from mainspring.serving.modelserver.protocols.tensors import (
    EXTENSIONS,
    Inference,
    InferRequest,
    Tensor,
    Wanted,
    tensors,
)
from mainspring.serving.modelserver.served import Served

if TYPE_CHECKING:
    from mainspring.serving.modelserver.plan import Limits

_CODES = {
    "invalid": "INVALID_ARGUMENT",
    "not_found": "NOT_FOUND",
    "refused": "FAILED_PRECONDITION",
    "too_large": "RESOURCE_EXHAUSTED",
    "overloaded": "RESOURCE_EXHAUSTED",
    "unavailable": "UNAVAILABLE",
    "timeout": "DEADLINE_EXCEEDED",
}
_SLOTS = {
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "BOOL": "bool_contents",
    "INT64": "int64_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
_COME_AGAIN = ("overloaded", "unavailable")
_PUSHBACK = "grpc-retry-pushback-ms"  # what gRPC's clients wait before they ask again
_WATCH_S = 0.5
_MAX_LEFT_S = 3600.0
_SMALL_BYTES = 64 * 1024
_log = logging.getLogger(__name__)


class RpcServer:
    """Serves gRPC beside HTTP: the same models, batches, log and errors.

    Args:
        served: What is asked.
        limits: Those of HTTP: a message may be as large as a body, and calls under way as many as connections.
    """

    def __init__(self, served: Served, limits: Limits) -> None:
        try:
            import grpc
        except ImportError:
            raise Unavailable("gRPC is not installed", hint="pip install 'mainspring[grpc]'") from None
        self._ending = asyncio.Event()
        self._served = served
        self._limits = limits
        options = [
            ("grpc.max_receive_message_length", limits.max_body_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 1),
        ]
        self._server: Any = grpc.aio.server(options=options, maximum_concurrent_rpcs=limits.max_connections)
        self._server.add_generic_rpc_handlers([self._inference(grpc), self._health(grpc)])
        _reflect(self._server)

    async def start(self, host: str, port: int) -> int:
        """Listen. Workers of one server may share a port.

        Returns: The port, which is a free one for port 0.
        Raises: Unavailable: It is taken.
        """
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            bound: int = self._server.add_insecure_port(address)
        except RuntimeError:
            raise Unavailable(f"port {port} of {host} is taken", hint="choose another serving.grpc_port") from None
        await self._server.start()
        return bound

    async def stop(self, grace_s: float) -> None:
        """Take no new calls, and finish those under way within that time."""
        self._ending.set()
        await self._server.stop(grace_s)

    def _inference(self, grpc: Any) -> Any:
        methods: dict[str, Callable[[Any, Call], Awaitable[dict[str, object]]]] = {
            "ServerLive": self._server_live,
            "ServerReady": self._server_ready,
            "ModelReady": self._model_ready,
            "ServerMetadata": self._server_metadata,
            "ModelMetadata": self._model_metadata,
            "ModelInfer": self._infer,
            "RepositoryIndex": self._index,
            "RepositoryModelLoad": self._load,
            "RepositoryModelUnload": self._unload,
        }
        handlers = {name: self._handler(grpc, name, method) for name, method in methods.items()}
        return grpc.method_handlers_generic_handler(SERVICE, handlers)

    def _handler(self, grpc: Any, name: str, method: Callable[[Any, Call], Awaitable[dict[str, object]]]) -> Any:
        takes, gives = (message(entry) for entry in METHODS[name])

        async def handle(request: Any, context: Any) -> Any:
            try:
                call = _call(context)
                return gives(**await method(request, call))
            except MainspringError as error:
                code, text = getattr(grpc.StatusCode, _CODES.get(error.code, "INTERNAL")), said(error)
                if error.code in _COME_AGAIN:
                    context.set_trailing_metadata(((_PUSHBACK, str(1000 * self._served.retry_s)),))
            except Exception:  # noqa: BLE001 - the edge of a call: the client hears of it, the log says why
                _log.exception("a call failed that should not have")
                code, text = grpc.StatusCode.INTERNAL, Failed("the model server failed", hint="see its log").what
            await context.abort(code, text)
            return None

        return grpc.unary_unary_rpc_method_handler(handle, takes.FromString, lambda made: made.SerializeToString())

    async def _server_live(self, _request: Any, _call: Call) -> dict[str, object]:
        return {"live": True}

    async def _server_ready(self, _request: Any, _call: Call) -> dict[str, object]:
        return {"ready": self._served.is_ready}

    async def _model_ready(self, request: Any, _call: Call) -> dict[str, object]:
        try:
            self._served.model(request.name, request.version or None)
        except Unavailable:
            return {"ready": False}
        return {"ready": not self._served.draining}

    async def _server_metadata(self, _request: Any, _call: Call) -> dict[str, object]:
        return {"name": "mainspring", "version": release("mainspring"), "extensions": EXTENSIONS}

    async def _model_metadata(self, request: Any, _call: Call) -> dict[str, object]:
        found = metadata(self._served, request.name, request.version or None)
        found.pop("parameters")
        return found

    async def _index(self, request: Any, _call: Call) -> dict[str, object]:
        return {"models": index(self._served, only_ready=request.ready)}

    async def _load(self, request: Any, _call: Call) -> dict[str, object]:
        name = _named(request)
        await self._served.load(name)
        return {"model_name": name, "isLoaded": True}

    async def _unload(self, request: Any, _call: Call) -> dict[str, object]:
        name = _named(request)
        self._served.table.find(name)
        raise refused_unload(name)

    async def _infer(self, request: Any, call: Call) -> dict[str, object]:
        size = request.ByteSize()
        if size > _SMALL_BYTES and self._served.held_bytes + size > self._limits.max_held_bytes:
            raise Overloaded(
                f"requests of {self._served.held_bytes} bytes wait already", hint="send it again in a second"
            )
        self._served.held_bytes += size
        try:
            question = Inference(_read(request), new_id)
            answered = await self._served.ask(request.model_name, request.model_version or None, question, call)
            return _response(answered, raw=bool(request.raw_input_contents))
        finally:
            self._served.held_bytes -= size

    def _health(self, grpc: Any) -> Any:
        from grpc_health.v1 import health_pb2

        answer, asked = health_pb2.HealthCheckResponse, health_pb2.HealthCheckRequest

        def status(service: str) -> int:
            if service not in ("", SERVICE):
                try:
                    self._served.model(service)
                except NotFound:
                    return int(answer.SERVICE_UNKNOWN)
                except MainspringError:
                    return int(answer.NOT_SERVING)
            return int(answer.SERVING if self._served.is_ready else answer.NOT_SERVING)

        async def check(request: Any, context: Any) -> Any:
            found = status(request.service)
            if found == answer.SERVICE_UNKNOWN:
                await context.abort(grpc.StatusCode.NOT_FOUND, f"no service {request.service[:100]!r}")
            return answer(status=found)

        async def watch(request: Any, _context: Any) -> AsyncIterator[Any]:
            before = None
            while not self._ending.is_set():  # else one who watches would hold up the end
                if (found := status(request.service)) != before:
                    before = found
                    yield answer(status=found)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._ending.wait(), _WATCH_S)

        ends = (asked.FromString, answer.SerializeToString)
        handlers = {
            "Check": grpc.unary_unary_rpc_method_handler(check, *ends),
            "Watch": grpc.unary_stream_rpc_method_handler(watch, *ends),
        }
        return grpc.method_handlers_generic_handler("grpc.health.v1.Health", handlers)


def _named(request: Any) -> str:
    """The model of a request to the repository; clients of KServe have its name where others name the repository."""
    return str(request.model_name or request.repository_name)


def _call(context: Any) -> Call:
    told = {str(name).encode(): str(value).encode() for name, value in context.invocation_metadata() or ()}
    call, left = Call(Line()), context.time_remaining()
    read_headers(call, told)
    if left is not None and left < _MAX_LEFT_S:
        call.timeout_s = max(left, 1e-3)
    return call


def _reflect(server: Any) -> None:
    """Let clients ask what is served, from the pool of our own messages."""
    from grpc_health.v1 import health_pb2
    from grpc_reflection.v1alpha import reflection, reflection_pb2

    for known in (health_pb2, reflection_pb2):
        pool().AddSerializedFile(known.DESCRIPTOR.serialized_pb)
    names = (SERVICE, "grpc.health.v1.Health", reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server, pool=pool())


def _read(request: Any) -> InferRequest:
    """A call as the same request that comes over HTTP."""
    raw = list(request.raw_input_contents)
    if raw and (len(raw) != len(request.inputs) or any(entry.HasField("contents") for entry in request.inputs)):
        raise Invalid(f"{len(raw)} raw contents for {len(request.inputs)} inputs, or contents beside them")
    inputs = []
    for number, entry in enumerate(request.inputs):
        made = Tensor(entry.name, list(entry.shape), entry.datatype, None, _plain(entry.parameters))
        made.data = binary.array_of(made, memoryview(raw[number])) if raw else _contents(entry)
        inputs.append(made)
    wanted = [Wanted(entry.name) for entry in request.outputs]
    return InferRequest(inputs, request.id, _plain(request.parameters), wanted or None)


def _contents(entry: Any) -> list[object]:
    slot = _SLOTS.get(entry.datatype)
    filled = [field.name for field, _ in entry.contents.ListFields()]
    if slot is not None and any(name != slot for name in filled):
        raise Invalid(f"input {entry.name[:100]!r} has {filled[0]}, its datatype {entry.datatype} takes {slot}")
    values = list(getattr(entry.contents, slot)) if slot is not None else []
    if entry.datatype != "BYTES":
        return values
    try:
        return [value.decode() for value in values]
    except UnicodeDecodeError:
        raise Invalid(f"input {entry.name[:100]!r} has an element that is not UTF-8 text") from None


def _plain(parameters: Mapping[str, Any]) -> dict[str, object] | None:
    if not parameters:
        return None
    found = {name: (value, value.WhichOneof("parameter_choice")) for name, value in parameters.items()}
    return {name: getattr(value, choice) for name, (value, choice) in found.items() if choice}


def _response(answered: Answered, *, raw: bool) -> dict[str, object]:
    """The answer in the form of the question: raw, or in typed fields."""
    found, about = tensors(answered.outputs), {"arm": answered.arm, "rules": answered.rules}
    about["reasons_scale"] = answered.scale
    made: dict[str, object] = {
        "model_name": answered.model,
        "model_version": answered.version,
        "id": answered.request_id,
        "parameters": {name: message("InferParameter")(string_param=value) for name, value in about.items() if value},
        "outputs": found,
    }
    packed = []
    for entry in found:
        datatype, data = str(entry["datatype"]), entry.pop("data")
        values = data if isinstance(data, list) else []
        if raw:
            packed.append(binary.bytes_of(datatype, values))
        else:
            typed = [str(value).encode() for value in values] if datatype == "BYTES" else values
            typed = [math.nan if value is None else value for value in typed]
            entry["contents"] = {_SLOTS[datatype]: typed}
    return {**made, "raw_output_contents": packed} if raw else made
