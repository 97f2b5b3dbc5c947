"""A small client of the model server: one keep-alive connection, the standard library only."""

from __future__ import annotations

import http.client
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from mainspring.core.errors import (
    Failed,
    Invalid,
    MainspringError,
    NotFound,
    Overloaded,
    Timeout,
    TooLarge,
    Unavailable,
)

Value = float | int | bool | str | None
_ERRORS: dict[int, type[MainspringError]] = {
    400: Invalid,
    404: NotFound,
    413: TooLarge,
    429: Overloaded,
    503: Unavailable,
    504: Timeout,
}


@dataclass(frozen=True, slots=True)
class Prediction:
    """An answer: its request id, the version and arm that gave it, and the outputs by name, one entry a row."""

    id: str
    version: str
    arm: str
    outputs: dict[str, list[object]]

    @property
    def ids(self) -> list[str]:
        """The prediction id of each row: the request id for one row, "REQUEST.i" for several."""
        rows = max((len(values) for values in self.outputs.values()), default=0)
        return [self.id] if rows == 1 else [f"{self.id}.{i}" for i in range(rows)]


class Client:
    """Asks a model server. Not to be shared between threads: it is one connection.

    Args:
        url: Such as http://127.0.0.1:7601.
        timeout_s: For connecting and for each answer.
    """

    def __init__(self, url: str, *, timeout_s: float = 30.0) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise Invalid(f"{url!r} is no address of a model server", hint="http://127.0.0.1:7601")
        self._http = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=timeout_s)

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
    ) -> Prediction:
        """Ask for one answer a row.

        Args:
            deployment: The endpoint.
            columns: Values by feature name, all of the same length.
            version: Names a version, and so bypasses the traffic split.
            request_id: Key for late feedback; one is made when absent.
            event_time: When the thing happened, ISO 8601 or microseconds; default now.
            routing_key: Whoever has the same key keeps the same arm; default the request id.
        Raises: Invalid: The request is not right. NotFound: No such endpoint or version. Unavailable, Timeout, Failed.
        """
        about: dict[str, object] = {"content_type": "pd"}
        if event_time is not None:
            about["event_time"] = event_time
        if routing_key:
            about["routing_key"] = routing_key
        inputs = [_tensor(name, list(values)) for name, values in columns.items()]
        body: dict[str, object] = {"id": request_id, "parameters": about, "inputs": inputs}
        path = f"/v2/models/{quote(deployment, safe='')}"
        answer = self.call("POST", f"{path}/infer" if version is None else f"{path}/versions/{version}/infer", body)
        return _prediction(answer)

    def metadata(self, deployment: str) -> dict[str, object]:
        """Name, versions, inputs and outputs of an endpoint."""
        return self.call("GET", f"/v2/models/{quote(deployment, safe='')}")

    def call(self, method: str, path: str, body: Mapping[str, object] | None = None) -> dict[str, object]:
        """One request, its JSON answer.

        Raises: MainspringError: The answer is an error, or there was none.
        """
        data = None if body is None else json.dumps(body, allow_nan=False).encode()
        try:
            self._http.request(method, path, data, {"content-type": "application/json"})
            response = self._http.getresponse()
            raw = response.read()
        except TimeoutError:
            self._http.close()
            raise Timeout("no answer in time", where=path) from None
        except (OSError, http.client.HTTPException) as reason:
            self._http.close()
            raise Unavailable(f"no answer: {reason!r}", where=path, hint="mainspring up") from None
        answer: dict[str, object] = json.loads(raw)
        if response.status >= 400:
            raise _ERRORS.get(response.status, Failed)(str(answer.get("error", response.reason)), where=path)
        return answer

    def close(self) -> None:
        """Let the connection go."""
        self._http.close()


def _tensor(name: str, values: list[Value]) -> dict[str, object]:
    clean = [None if isinstance(value, float) and math.isnan(value) else value for value in values]
    first = next((value for value in clean if value is not None), 0.0)
    datatype = "BYTES" if isinstance(first, str) else "BOOL" if isinstance(first, bool) else "FP64"
    if datatype == "FP64" and all(isinstance(value, int) for value in clean):
        datatype = "INT64"
    return {"name": name, "shape": [len(clean)], "datatype": datatype, "data": clean}


def _prediction(answer: Mapping[str, object]) -> Prediction:
    about, outputs = answer.get("parameters"), answer["outputs"]
    if not isinstance(outputs, list):
        raise Failed("the answer has no outputs")
    arm = str(about.get("arm", "")) if isinstance(about, dict) else ""
    named = {str(entry["name"]): _rows(entry["shape"], entry["data"]) for entry in outputs}
    return Prediction(str(answer["id"]), str(answer.get("model_version", "")), arm, named)


def _rows(shape: Sequence[int], data: list[object]) -> list[object]:
    if len(shape) < 2:
        return data
    return [data[i : i + shape[1]] for i in range(0, len(data), shape[1])]
