"""Requests to an MLflow server without the client in between: for what the client itself never sends."""

from __future__ import annotations

import json as jsons
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import pytest
import urllib3

Json = dict[str, Any]
Params = Mapping[str, object] | Iterable[tuple[str, object]]
COMMON = {"Accept": "*/*", "Accept-Encoding": "gzip, deflate"}


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status_code: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def text(self) -> str:
        return self.content.decode()

    def json(self) -> Any:
        return jsons.loads(self.content)


class Http:
    """Speaks to one server; paths are those below `/api/2.0/mlflow/` unless they start with a slash.

    It keeps its connection, and does without what `requests` does for whoever browses: half of what a request costs.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._pool = urllib3.connection_from_url(uri, timeout=30, retries=False, maxsize=4)

    def __enter__(self) -> Http:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.close()

    def send(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        json: object = None,
        data: str | bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """The answer, whatever it is."""
        target = path if path.startswith("/") else f"/api/2.0/mlflow/{path}"
        if params:
            target += "?" + urlencode(params if isinstance(params, Mapping) else [*params], doseq=True)
        sent = {**COMMON, **(headers or {})}
        if json is not None:
            data = jsons.dumps(json, allow_nan=False)
            sent.setdefault("Content-Type", "application/json")
        body = data.encode() if isinstance(data, str) else data
        found = self._pool.request(method, target, body=body, headers=sent)
        return Answer(found.status, found.headers, found.data)

    def call(self, method: str, path: str, /, **fields: Any) -> Answer:
        """The answer to a call with these fields, as query parameters of a GET and as JSON of everything else."""
        return self.send(method, path, params=fields) if method == "GET" else self.send(method, path, json=fields)

    def ok(self, method: str, path: str, /, **fields: Any) -> Json:
        """The answer's fields; the call must be fine."""
        answer = self.call(method, path, **fields)
        assert answer.status_code == 200, answer.text[:400]
        found: Json = answer.json() if answer.content else {}
        return found

    def error(self, method: str, path: str, /, **fields: Any) -> tuple[int, str]:
        """Status and error code; the call must be refused in the form that the client reads."""
        return refusal(self.call(method, path, **fields))

    def new_run(self, experiment: str, **fields: Any) -> str:
        """The id of a run made in this experiment."""
        body = {"experiment_id": experiment, "start_time": 1_700_000_000_000, **fields}
        return str(self.ok("POST", "runs/create", **body)["run"]["info"]["run_id"])

    def get_run(self, run_id: str) -> Json:
        """A run."""
        found: Json = self.ok("GET", "runs/get", run_id=run_id)["run"]
        return found

    def log(self, run_id: str, **fields: Any) -> Json:
        """Log a batch."""
        return self.ok("POST", "runs/log-batch", run_id=run_id, **fields)


def refusal(answer: Answer) -> tuple[int, str]:
    """Status and error code of a refusal, which has a message too."""
    assert answer.status_code >= 400, answer.text[:400]
    body = answer.json()
    assert body["message"], body
    return answer.status_code, str(body["error_code"])


@contextmanager
def refused(code: str, words: str = "") -> Iterator[None]:
    """The client raises its error with this code, and these words in its message."""
    from mlflow.exceptions import MlflowException

    with pytest.raises(MlflowException) as found:
        yield
    assert found.value.error_code == code, found.value
    assert words in str(found.value)


BAD = (400, "INVALID_PARAMETER_VALUE")
GONE = (404, "RESOURCE_DOES_NOT_EXIST")
TAKEN = (400, "RESOURCE_ALREADY_EXISTS")
