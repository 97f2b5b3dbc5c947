"""MLflow's scoring server: `/invocations`, `/ping`, `/health` and `/version`; as SageMaker asks its containers."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import Callable
from importlib.metadata import version as release

import msgspec

from mainspring.core.errors import Invalid, MainspringError, NotFound
from mainspring.core.ids import new_id
from mainspring.serving.modelserver.columns import Column, Features
from mainspring.serving.modelserver.exchange import (
    TEXT,
    Reply,
    Request,
    WrongMedia,
    in_json,
    read_json,
    require,
    said,
)
from mainspring.serving.modelserver.protocols.parquet import read_parquet
from mainspring.serving.modelserver.protocols.rows import (
    Rows,
    answers,
    of_columns,
    of_inputs,
    of_list,
    of_texts,
    transposed,
)
from mainspring.serving.modelserver.served import Served

_IDS = (b"x-request-id", b"x-amzn-sagemaker-inference-id")
_PARQUET = ("application/vnd.apache.parquet", "application/x-parquet", "application/parquet")
_CODES = {400: "BAD_REQUEST", 404: "RESOURCE_DOES_NOT_EXIST", 405: "BAD_REQUEST", 413: "REQUEST_LIMIT_EXCEEDED"}
_CODES |= {415: "BAD_REQUEST", 422: "BAD_REQUEST", 429: "REQUEST_LIMIT_EXCEEDED", 503: "TEMPORARILY_UNAVAILABLE"}
_CODES |= {504: "DEADLINE_EXCEEDED"}
_encode = msgspec.json.Encoder().encode


class Split(msgspec.Struct):
    """A frame as pandas writes it in "split" orientation; its index is left alone."""

    columns: list[str | int | float | bool]
    data: list[list[object]]


class Invocation(msgspec.Struct):
    """A JSON body: exactly one form of the rows, and parameters."""

    dataframe_split: Split | None = None
    dataframe_records: list[dict[str, object]] | None = None
    instances: list[object] | None = None
    inputs: object = None
    params: dict[str, object] | None = None


_FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
_decoder = msgspec.json.Decoder(Invocation)


class Scoring:
    """Speaks it. `/invocations` is for a server of one model; of several, one is named in the path."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._release = release("mainspring")

    async def answer(self, request: Request) -> Reply:
        """Answer one request."""
        match request.path:
            case ["ping" | "health"]:
                require(request, "GET", "HEAD")
                return self._health()
            case ["version"]:
                require(request, "GET", "HEAD")
                return Reply(200, TEXT, self._release.encode())
            case ["invocations"]:
                return await self._invoke(request, "", None)
            case ["models", name, "invocations"]:
                return await self._invoke(request, name, None)
            case ["models", name, "versions", version, "invocations"]:
                return await self._invoke(request, name, version)
        raise NotFound("nothing at this path", hint="POST /invocations")

    def refuse(self, status: int, error: MainspringError) -> Reply:
        """An error as MLflow has it, without a stack and without the input."""
        return in_json(status, {"error_code": _CODES.get(status, "INTERNAL_ERROR"), "message": said(error)})

    def _health(self) -> Reply:
        if not self._served.table.plan.endpoints:
            raise NotFound("no model is served here", hint="mainspring deploy")
        return Reply(200 if self._served.is_ready else 503, TEXT, b"\n")

    async def _invoke(self, request: Request, name: str, version: str | None) -> Reply:
        require(request, "POST")
        name = name or self._served.lone()
        request_id = next((given for header in _IDS if (given := request.text(header))), "")
        rows = await self._rows(request, request_id)
        answered = await self._served.ask(name, version, rows, request.call)
        body = _encode({"predictions": answers(answered)})
        return Reply(200, b"application/json", body, answered.headers)

    async def _rows(self, request: Request, request_id: str) -> Rows:
        kind, limit = request.media, self._served.table.plan.limits.max_rows
        if kind in ("", "application/json"):
            asked = read_json(await request.body(), _decoder, "an invocation")
            return Rows(request_id, asked.params, _reader(asked), new_id)
        if kind in ("text/csv", "application/csv"):
            return Rows(request_id, None, _of_csv(await request.body(), limit), new_id)
        if kind in _PARQUET:
            columns = await asyncio.to_thread(read_parquet, await request.body(), limit)
            return Rows(request_id, None, of_columns(columns), new_id)
        raise WrongMedia(f"content type {kind[:60]!r} is not read here", hint="send application/json or text/csv")


def _reader(asked: Invocation) -> Callable[[Features], list[Column]]:
    """How the rows of a JSON body become columns.

    Raises: Invalid: It has none of the forms, or several.
    """
    given = [form for form in _FORMS if getattr(asked, form) is not None]
    if len(given) != 1:
        found = " and ".join(given) or "none of them"
        raise Invalid(f"expected exactly one of {', '.join(_FORMS)}; found {found}")
    if asked.dataframe_split is not None:
        names = [str(name) for name in asked.dataframe_split.columns]
        return of_columns(transposed(names, asked.dataframe_split.data, "dataframe_split"))
    if asked.dataframe_records is not None:
        return of_list(asked.dataframe_records, "dataframe_records")
    return of_inputs(asked.inputs if asked.instances is None else asked.instances, given[0])


def _of_csv(body: bytes, limit: int) -> Callable[[Features], list[Column]]:
    rows: list[list[str]] = []
    try:
        lines = csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True)
        for number, row in enumerate(lines):
            if number > limit:
                raise Invalid(f"a request has 1 to {limit} rows, found more")
            if row:
                rows.append(row)
    except UnicodeDecodeError:
        raise Invalid("the CSV is not UTF-8") from None
    except csv.Error as reason:
        raise Invalid(f"not CSV: {reason}") from None
    if not rows:
        raise Invalid("the CSV is empty", hint="its first line names the columns")
    return of_texts(transposed(rows[0], rows[1:], "the CSV"))
