"""Open Inference Protocol v2 over HTTP: JSON, and tensors as bytes behind JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version as release

import msgspec

from mainspring.core.errors import Invalid, MainspringError, NotFound
from mainspring.core.ids import new_id
from mainspring.serving.modelserver.asking import Answered
from mainspring.serving.modelserver.exchange import (
    BYTES,
    Reply,
    Request,
    WrongMedia,
    in_json,
    ok,
    read_json,
    require,
    require_json,
    said,
)
from mainspring.serving.modelserver.protocols import binary
from mainspring.serving.modelserver.protocols.tensors import (
    EXTENSIONS,
    Inference,
    InferRequest,
    Wanted,
    described,
    tensors,
)
from mainspring.serving.modelserver.served import Served

_HEADER = b"inference-header-content-length"
_decoder = msgspec.json.Decoder(InferRequest)
_encode = msgspec.json.Encoder().encode


class IndexRequest(msgspec.Struct):
    """What is asked of the repository: all models, or those that are ready."""

    ready: bool = False


class OpenInference:
    """Speaks it, under /v2."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._release = release("mainspring")

    async def answer(self, request: Request) -> Reply:
        """Answer one request."""
        match request.path:
            case ["v2", "models", name, "infer"]:
                return await self._infer(request, name, None)
            case ["v2", "models", name, "versions", version, "infer"]:
                return await self._infer(request, name, version)
            case ["v2", "repository", *rest]:
                return await self._repository(request, rest)
        require(request, "GET", "HEAD")
        return self._get(request.path)

    def refuse(self, status: int, error: MainspringError) -> Reply:
        """An error as the protocol has it."""
        return in_json(status, {"error": said(error)})

    async def _infer(self, request: Request, name: str, version: str | None) -> Reply:
        require(request, "POST")
        header = request.header(_HEADER)
        if header is None:
            require_json(request)
            asked = decode(await request.body())
        else:
            asked = await _decode_binary(request, header)
        answered = await self._served.ask(name, version, Inference(asked, new_id), request.call)
        found = tensors(answered.outputs)
        raw = _as_bytes(found, asked.parameters, asked.outputs or ()) if asked.parameters or asked.outputs else []
        body = _encode(_response(answered, found))
        if not raw:
            return Reply(200, b"application/json", body)
        return Reply(200, BYTES, b"".join([body, *raw]), [(_HEADER, b"%d" % len(body))])

    def _get(self, path: list[str]) -> Reply:
        served = self._served
        match path:
            case ["v2"]:
                return ok({"name": "mainspring", "version": self._release, "extensions": EXTENSIONS})
            case ["v2", "health", "live"]:
                return ok({"live": True})
            case ["v2", "health", "ready"]:
                ready = served.is_ready
                body = {"ready": ready, "live": ready, "generation": served.table.plan.generation}
                return in_json(200 if ready else 503, body)
            case ["v2", "models"]:
                return ok({"models": sorted(served.table.endpoints)})
            case ["v2", "models", name]:
                return ok(metadata(served, name, None))
            case ["v2", "models", name, "ready"]:
                return self._is_ready(name, None)
            case ["v2", "models", name, "docs"]:
                return ok(self._document(name, None))
            case ["v2", "models", name, "versions", version, "docs"]:
                return ok(self._document(name, version))
            case ["v2", "models", name, "versions", version]:
                return ok(metadata(served, name, version))
            case ["v2", "models", name, "versions", version, "ready"]:
                return self._is_ready(name, version)
        raise NotFound("nothing at this path", hint="see GET /v2")

    def _document(self, name: str, version: str | None) -> dict[str, object]:
        from mainspring.serving.modelserver.protocols.openapi import document

        arm, alone = self._served.arm(name, version), len(self._served.table.plan.endpoints) == 1
        return document(name, arm, version=version, alone=alone)

    def _is_ready(self, name: str, version: str | None) -> Reply:
        self._served.model(name, version)
        draining = self._served.draining
        return in_json(503 if draining else 200, {"name": name, "ready": not draining})

    async def _repository(self, request: Request, rest: Sequence[str]) -> Reply:
        require(request, "POST")
        match rest:
            case ["index"]:
                return ok(index(self._served, only_ready=_index_request(await request.body()).ready))
            case ["models", name, "load"]:
                await self._served.load(name)  # what is planned is loaded already, sleeps, or says why it is not
                return ok({})
            case ["models", name, "unload"]:
                self._served.table.find(name)
                raise refused_unload(name)
        raise NotFound("nothing at this path", hint="see GET /v2")


def decode(body: bytes) -> InferRequest:
    """Read a request.

    Raises: Invalid: Not JSON, or not an inference request.
    """
    return read_json(body, _decoder, "an inference request")


async def _decode_binary(request: Request, header: bytes) -> InferRequest:
    if request.media not in ("", "application/octet-stream", "application/json"):
        raise WrongMedia(f"content type {request.media[:60]!r} is not read here", hint="send application/octet-stream")
    text, rest = binary.split(await request.body(), header)
    asked = decode(text)
    binary.fill(asked.inputs, rest)
    return asked


def _response(answered: Answered, found: Sequence[Mapping[str, object]]) -> dict[str, object]:
    about: dict[str, object] = {"arm": answered.arm}
    if rules := answered.rules:
        about["rules"] = rules
    if answered.scale:
        about |= {"reasons_scale": answered.scale, "reasons_columns": answered.columns}
    return {
        "model_name": answered.model,
        "model_version": answered.version,
        "id": answered.request_id,
        "parameters": about,
        "outputs": found,
    }


def _as_bytes(
    found: Sequence[dict[str, object]], parameters: Mapping[str, object] | None, wanted: Sequence[Wanted]
) -> list[bytes]:
    """Take the data out of the outputs that shall travel as bytes, and give it back as bytes."""
    every = (parameters or {}).get("binary_data_output") is True
    own = {entry.name: (entry.parameters or {}).get("binary_data", every) for entry in wanted}
    raw = []
    for tensor in found:
        if own.get(str(tensor["name"]), every) is True:
            data = tensor.pop("data")
            raw.append(binary.bytes_of(str(tensor["datatype"]), data if isinstance(data, list) else []))
            tensor["parameters"] = {"binary_data_size": len(raw[-1])}
    return raw


def metadata(served: Served, name: str, version: str | None) -> dict[str, object]:
    """What a model takes and gives."""
    model = served.model(name, version)
    signature, classes = model.predictor.signature, model.predictor.classes
    return {
        "name": name,
        "versions": served.table.find(name).versions,
        "platform": "mainspring",
        "inputs": described(signature.inputs),
        "outputs": described(signature.outputs),
        "parameters": {
            "content_type": "pd",
            "version": str(model.version),
            **({"classes": list(classes)} if classes else {}),
        },
    }


def index(served: Served, *, only_ready: bool) -> list[dict[str, str]]:
    """Every version of every model, and whether it can answer."""
    table, found = served.table, []
    for planned in table.plan.endpoints:
        endpoint = table.endpoints.get(planned.name)
        loaded = endpoint.versions if endpoint else []
        reason = table.problems.get(planned.name, "" if endpoint else "it is loading")
        for version in dict.fromkeys([*loaded, *(str(arm.version) for arm in planned.arms)]):
            ready = version in loaded and not served.draining
            if ready or not only_ready:
                state = "READY" if ready else "UNAVAILABLE"
                found.append({"name": planned.name, "version": version, "state": state, "reason": reason})
    return found


def refused_unload(name: str) -> MainspringError:
    """What a client hears that wants to unload a model: what is served is decided where it is deployed."""
    return Invalid(f"model {name!r} is not unloaded from here", hint="what is served is decided by deployments")


def _index_request(body: bytes) -> IndexRequest:
    try:
        return msgspec.json.decode(body, type=IndexRequest) if body.strip() else IndexRequest()
    except (msgspec.MsgspecError, UnicodeDecodeError) as reason:
        raise Invalid(f"not an index request: {reason}") from None
