"""A client of the model server: connections that are kept, arrays sent as bytes, and nothing but the standard library.

NumPy is imported when arrays are sent.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, TypeAlias
from urllib.parse import quote

from mainspring.core.errors import Failed, Invalid
from mainspring.core.ids import new_id
from mainspring.core.values import dataclass
from mainspring.serving.channel import Channel
from mainspring.serving.modelserver.explaining import BASE, REASONS
from mainspring.serving.wire import Answer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Value = float | int | bool | str | None
Arrays: TypeAlias = "Mapping[str, NDArray[np.generic]] | NDArray[np.generic]"
"""Columns by feature name, or one matrix with a column for each feature in the model's order."""
_HEADER = "inference-header-content-length"


@dataclass(frozen=True, slots=True)
class Reasons:
    """The reason codes of one row: with the base they add up to the raw output of the model.

    Attributes:
        base: The raw output of a row that is like training on average.
        contributions: How much each input moved it, the strongest first.
        scale: What the numbers are: log-odds, score, prediction, log or probability.
    """

    base: float
    contributions: dict[str, float]
    scale: str


@dataclass(frozen=True, slots=True)
class Prediction:
    """An answer: its request id, the version and arm that gave it, and the outputs by name, one entry a row.

    `rules` names the rules of the endpoint that held, as "ROW NAME:ACTION" and joined by commas. `reasons` has an entry
    a row where they were asked for: None for a row that a rule answered.
    """

    id: str
    version: str
    arm: str
    outputs: dict[str, list[object]]
    rules: str = ""
    reasons: tuple[Reasons | None, ...] = ()

    @property
    def ids(self) -> list[str]:
        """The prediction id of each row: the request id for one row, "REQUEST.i" for several."""
        return _ids(self.id, max((len(values) for values in self.outputs.values()), default=0))


@dataclass(frozen=True, slots=True, eq=False)
class ArrayPrediction:
    """The same with outputs as arrays, (rows,) or (rows, classes)."""

    id: str
    version: str
    arm: str
    outputs: dict[str, NDArray[np.generic]]
    rules: str = ""

    @property
    def ids(self) -> list[str]:
        """The prediction id of each row, as `Prediction` has them."""
        return _ids(self.id, max((len(values) for values in self.outputs.values()), default=0))


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request says beside its rows.

    Args:
        version: Names a version, and so bypasses the traffic split.
        request_id: Key for late feedback; one is made when absent, so that a repeated request is the same request.
        event_time: When the thing happened, ISO 8601 or microseconds; default now.
        routing_key: Whoever has the same key keeps the same arm; default the request id.
        outputs: Names of those that are wanted; all when absent.
        caller: A name for the log.
        explain: True asks for reason codes, "keep" puts them into the log, too.
    """

    version: int | None = None
    request_id: str = ""
    event_time: str | int | None = None
    routing_key: str = ""
    outputs: Sequence[str] = ()
    caller: str = ""
    explain: bool | Literal["keep"] = False


class Client:
    """Asks a model server. Safe to share between threads.

    A request is sent again, with the same id, where nothing was done: when no connection could be made, and when the
    server said 429 or 503. One that was sent and not answered is not: it may be in the log.

    Args:
        url: Such as http://127.0.0.1:7601.
        timeout_s: How long a call may take altogether. The server is told, and stops when nobody waits any more.
        retries: How often a request is sent again.
    """

    def __init__(self, url: str, *, timeout_s: float = 30.0, retries: int = 2) -> None:
        self._channel = Channel(url, timeout_s=timeout_s, retries=retries)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def predict(
        self,
        deployment: str,
        columns: Mapping[str, Sequence[Value]],
        *,
        version: int | None = None,
        request_id: str = "",
        event_time: str | int | None = None,
        routing_key: str = "",
        outputs: Sequence[str] = (),
        caller: str = "",
        explain: bool | Literal["keep"] = False,
        timeout_s: float | None = None,
    ) -> Prediction:
        """Ask for one answer a row.

        Args:
            deployment: The endpoint.
            columns: Values by feature name, all of the same length.
            version: As the other arguments but the last, see `Asked`.
            timeout_s: For this call.
        Raises:
            Invalid: The request is not right. NotFound: No such endpoint or version. Overloaded: Too much waits there.
            Unavailable: Nobody answered, or the model is not loaded. Timeout, Failed: The model did not answer.
            Refused: A rule refuses, or the model has no exact reason codes.
        """
        asked = Asked(version, request_id or new_id(), event_time, routing_key, outputs, caller, explain)
        inputs = [_tensor(name, list(values)) for name, values in columns.items()]
        body = _encoded(_question(asked, inputs, {"content_type": "pd"}))
        answer = self._infer(deployment, asked, body, {"content-type": "application/json"}, timeout_s)
        about, tensors = _told(answer.body)
        named = {str(entry["name"]): _rows(entry["shape"], entry["data"]) for entry in tensors}
        reasons = _reasons(named, answer.body) if explain else ()
        return Prediction(about["id"], about["version"], about["arm"], named, about["rules"], reasons)

    def predict_arrays(
        self, deployment: str, arrays: Arrays, asked: Asked | None = None, *, timeout_s: float | None = None
    ) -> ArrayPrediction:
        """The same for NumPy arrays, which travel as bytes in both directions: for many rows at once.

        Args:
            deployment: The endpoint.
            arrays: A matrix (rows, features) of numbers, or arrays (rows,) by feature name.
            asked: Id, version and so on.
            timeout_s: For this call.
        Raises: As `predict`.
        """
        from mainspring.serving.modelserver.protocols.binary import packed

        given = asked or Asked()
        asked = replace(given, request_id=given.request_id or new_id())
        named = arrays if isinstance(arrays, Mapping) else {"rows": arrays}
        style = "pd" if isinstance(arrays, Mapping) else "np"
        inputs, raw = [], []
        for name, array in named.items():
            datatype, data = packed(array)
            size = {"binary_data_size": len(data)}
            inputs.append({"name": name, "shape": list(array.shape), "datatype": datatype, "parameters": size})
            raw.append(data)
        head = _encoded(_question(asked, inputs, {"content_type": style, "binary_data_output": True}))
        headers = {"content-type": "application/octet-stream", _HEADER: str(len(head))}
        answer = self._infer(deployment, asked, b"".join([head, *raw]), headers, timeout_s)
        return _arrays(answer)

    def metadata(self, deployment: str) -> dict[str, object]:
        """Name, versions, inputs and outputs of an endpoint."""
        return self.call("GET", _path(deployment))

    def document(self, deployment: str) -> dict[str, object]:
        """The OpenAPI document of an endpoint: exact types, and requests that work."""
        return self.call("GET", f"{_path(deployment)}/docs")

    def call(self, method: str, path: str, body: Mapping[str, object] | None = None) -> dict[str, object]:
        """One request, its JSON answer.

        Raises: MainspringError: The answer is an error, or there was none.
        """
        data = None if body is None else _encoded(body)
        answer = self._channel.ask(method, path, data, {"content-type": "application/json"})
        return _object(answer.body)

    def close(self) -> None:
        """Let the connections go."""
        self._channel.close()

    def _infer(
        self, deployment: str, asked: Asked, body: bytes, headers: Mapping[str, str], timeout_s: float | None
    ) -> Answer:
        version = "" if asked.version is None else f"/versions/{asked.version}"
        told = {**headers, "x-caller": asked.caller} if asked.caller else headers
        return self._channel.ask("POST", f"{_path(deployment)}{version}/infer", body, told, timeout_s=timeout_s)


def _path(deployment: str) -> str:
    return f"/v2/models/{quote(deployment, safe='')}"


def _ids(request_id: str, rows: int) -> list[str]:
    return [request_id] if rows == 1 else [f"{request_id}.{i}" for i in range(rows)]


def _question(
    asked: Asked, inputs: Sequence[Mapping[str, object]], parameters: Mapping[str, object]
) -> dict[str, object]:
    about = dict(parameters)
    if asked.event_time is not None:
        about["event_time"] = asked.event_time
    if asked.routing_key:
        about["routing_key"] = asked.routing_key
    if asked.explain:
        about["explain"] = asked.explain
    body: dict[str, object] = {"id": asked.request_id, "parameters": about, "inputs": inputs}
    return {**body, "outputs": [{"name": name} for name in asked.outputs]} if asked.outputs else body


def _encoded(body: Mapping[str, object]) -> bytes:
    try:
        return json.dumps(body, allow_nan=False).encode()
    except (TypeError, ValueError) as reason:
        raise Invalid(f"the request is not JSON: {reason}", hint="send numbers, texts, truth values and None") from None


def _tensor(name: str, values: list[Value]) -> dict[str, object]:
    clean = [None if isinstance(value, float) and math.isnan(value) else value for value in values]
    first = next((value for value in clean if value is not None), 0.0)
    datatype = "BYTES" if isinstance(first, str) else "BOOL" if isinstance(first, bool) else "FP64"
    if datatype == "FP64" and all(isinstance(value, int) for value in clean):
        datatype = "INT64"
    return {"name": name, "shape": [len(clean)], "datatype": datatype, "data": clean}


def _object(body: bytes) -> dict[str, object]:
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Failed(f"the answer is no JSON object: {body[:100]!r}", hint="is this the address of a model server?")
    return found


def _told(head: bytes) -> tuple[dict[str, str], list[dict[str, object]]]:
    """What an answer says of itself (id, version, arm, rules), and its tensors."""
    found = _object(head)
    given, tensors = found.get("parameters"), found.get("outputs")
    if not isinstance(tensors, list):
        raise Failed("the answer has no outputs", hint="is this the address of a model server?")
    more = given if isinstance(given, dict) else {}
    about = {"id": found.get("id"), "version": found.get("model_version"), "arm": more.get("arm")}
    return {name: str(value or "") for name, value in {**about, "rules": more.get("rules")}.items()}, tensors


def _rows(shape: object, data: object) -> list[object]:
    if not isinstance(data, list) or not isinstance(shape, list):
        raise Failed("an output has no data")
    if len(shape) < 2:
        return data
    return [data[i : i + shape[1]] for i in range(0, len(data), shape[1])]


def _reasons(named: dict[str, list[object]], head: bytes) -> tuple[Reasons | None, ...]:
    """Take the reason codes out of the outputs of an answer."""
    codes, bases = named.pop(REASONS, []), named.pop(BASE, [])
    about = _object(head).get("parameters")
    columns, scale = (about.get(f"reasons_{key}") if isinstance(about, dict) else None for key in ("columns", "scale"))
    if not isinstance(columns, list):
        raise Failed("the answer has no reason codes", hint="is this an older model server?")
    return tuple(
        Reasons(base, strongest(dict(zip(columns, row, strict=True))), str(scale))
        if isinstance(base, int | float) and isinstance(row, list) else None
        for row, base in zip(codes, bases, strict=True)
    )  # fmt: skip


def strongest(contributions: Mapping[str, float]) -> dict[str, float]:
    """Contributions in the order of their size, whatever their sign."""
    return dict(sorted(contributions.items(), key=lambda item: -abs(item[1])))


def _arrays(answer: Answer) -> ArrayPrediction:
    import numpy as np

    from mainspring.serving.modelserver.protocols.binary import fill
    from mainspring.serving.modelserver.protocols.tensors import Tensor

    size = int(answer.headers.get(_HEADER, len(answer.body)))
    about, entries = _told(answer.body[:size])
    tensors = [Tensor(str(e["name"]), _shape(e), str(e["datatype"]), e.get("data"), _parameters(e)) for e in entries]
    fill(tensors, memoryview(answer.body)[size:])
    outputs: dict[str, NDArray[np.generic]] = {}
    for tensor in tensors:
        outputs[tensor.name] = np.asarray(tensor.data).reshape(tensor.shape)
    return ArrayPrediction(about["id"], about["version"], about["arm"], outputs, about["rules"])


def _shape(entry: Mapping[str, object]) -> list[int]:
    found = entry["shape"]
    return [int(size) for size in found] if isinstance(found, list) else []


def _parameters(entry: Mapping[str, object]) -> dict[str, object] | None:
    found = entry.get("parameters")
    return found if isinstance(found, dict) else None
