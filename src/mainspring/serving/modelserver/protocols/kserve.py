"""KServe v1 (and TensorFlow Serving's REST): `/v1/models/NAME:predict` and `:explain`, plain or
as CloudEvents."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from mainspring.core.errors import Invalid, MainspringError, NotFound
from mainspring.core.ids import new_id
from mainspring.serving.modelserver.asking import Answered
from mainspring.serving.modelserver.exchange import (
    Reply,
    Request,
    in_json,
    ok,
    read_json,
    require,
    require_json,
    said,
)
from mainspring.serving.modelserver.protocols.rows import Rows, answers, of_inputs, of_list
from mainspring.serving.modelserver.served import Served

_EVENT = "application/cloudevents+json"
_encode = msgspec.json.Encoder().encode


class PredictRequest(msgspec.Struct):
    """Rows, as `instances` or `inputs`; `parameters` are those of the other protocols."""

    instances: list[object] | None = None
    inputs: object = None
    parameters: dict[str, object] | None = None


class Event(msgspec.Struct):
    """A structured CloudEvent that carries such a request."""

    id: str
    data: PredictRequest
    specversion: str = "1.0"


_requests, _events = msgspec.json.Decoder(PredictRequest), msgspec.json.Decoder(Event)


class KServe:
    """Speaks it, under /v1."""

    def __init__(self, served: Served) -> None:
        self._served = served

    async def answer(self, request: Request) -> Reply:
        """Answer one request."""
        match request.path:
            case ["v1", "models"]:
                require(request, "GET", "HEAD")
                return ok({"models": sorted(self._served.table.endpoints)})
            case ["v1", "models", said_name]:
                name, _, verb = said_name.partition(":")
                if not verb:
                    return self._is_ready(request, name)
                if verb in ("predict", "explain"):
                    return await self._predict(request, name, verb)
        raise NotFound("nothing at this path", hint="POST /v1/models/NAME:predict")

    def refuse(self, status: int, error: MainspringError) -> Reply:
        """An error as the protocol has it."""
        return in_json(status, {"error": said(error)})

    def _is_ready(self, request: Request, name: str) -> Reply:
        require(request, "GET", "HEAD")
        self._served.model(name)
        ready = not self._served.draining
        return in_json(200 if ready else 503, {"name": name, "ready": ready})

    async def _predict(self, request: Request, name: str, verb: str) -> Reply:
        require(request, "POST")
        require_json(request)
        structured, request_id = request.media == _EVENT, request.text(b"x-request-id")
        if structured:
            event = read_json(await request.body(), _events, "a CloudEvent with a prediction request")
            request_id, asked = event.id, event.data
        else:
            asked = read_json(await request.body(), _requests, "a prediction request")
            request_id = request.text(b"ce-id") or request_id
        if verb == "explain":
            given = asked.parameters or {}
            asked.parameters = {**given, "explain": given.get("explain") or True}
        answered = await self._served.ask(name, None, _rows(request_id, asked), request.call)
        data = {"predictions" if verb == "predict" else "explanations": answers(answered)}
        return _reply(answered, data, structured=structured, binary=bool(request.text(b"ce-specversion")))


def _rows(request_id: str, asked: PredictRequest) -> Rows:
    if (asked.instances is None) == (asked.inputs is None):
        raise Invalid("expected either instances or inputs", hint='{"instances": [[1.0, 2.0]]}')
    if asked.instances is not None:
        read = of_list(asked.instances, "instances")
    else:
        read = of_inputs(asked.inputs, "inputs")
    return Rows(request_id, asked.parameters, read, new_id)


def _reply(answered: Answered, data: Mapping[str, object], *, structured: bool, binary: bool) -> Reply:
    """The answers; a CloudEvent is answered with one, in the same mode, under the same id."""
    if not structured and not binary:
        return Reply(200, b"application/json", _encode(data), answered.headers)
    about = {
        "specversion": "1.0",
        "id": answered.request_id,
        "source": f"io.kserve.inference.{answered.model}",
        "type": "io.kserve.inference.response",
        "time": datetime.now(UTC).isoformat(),
    }
    if structured:
        event = {**about, "datacontenttype": "application/json", "data": data}
        return Reply(200, _EVENT.encode(), _encode(event), answered.headers)
    headers = [(f"ce-{name}".encode(), value.encode()) for name, value in about.items()]
    return Reply(200, b"application/json", _encode(data), [*answered.headers, *headers])
