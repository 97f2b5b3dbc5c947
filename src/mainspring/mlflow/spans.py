"""Where OpenTelemetry's exporters send spans: one address, not of MLflow's protocol but used by its clients."""

from __future__ import annotations

import asyncio
import zlib

from litestar import Request, Response, post
from litestar.datastructures import State
from litestar.handlers import BaseRouteHandler

from mainspring.core.errors import Invalid, TooLarge
from mainspring.core.wiring import Wiring
from mainspring.mlflow.otlp import spans_of, traces_of
from mainspring.tracking.traces import Traces

KINDS = ("application/x-protobuf", "application/json")
MAX_UNPACKED = 64 * 1024 * 1024
"""How large a packed body may be when it is unpacked."""
_EXPERIMENT = "x-mlflow-experiment-id"


@post("/v1/traces", opt={"permission": "runs:write"}, include_in_schema=False, status_code=200)
async def take_spans(request: Request[object, object, State], wiring: Wiring) -> Response[bytes]:
    """Keep spans that an exporter sends: all of a request or none."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in KINDS:
        raise Invalid(f"spans can't come as {kind[:60]!r}", where="Content-Type", hint=f"use {' or '.join(KINDS)}")
    experiment_id = request.headers.get(_EXPERIMENT, "")
    if not experiment_id:
        raise Invalid("it is not said to which experiment the spans belong", where=_EXPERIMENT, hint="set this header")
    body, packed = await request.body(), request.headers.get("content-encoding", "").strip().lower()

    def keep() -> None:
        spans = spans_of(_unpacked(body, packed), kind)
        wiring.get(Traces).add_spans(traces_of(spans, experiment_id))

    await asyncio.to_thread(keep)
    return Response(b"{}" if kind.endswith("json") else b"", media_type=kind, status_code=200)


def _unpacked(body: bytes, packed: str) -> bytes:
    if packed in ("", "identity"):
        return body
    if packed not in ("gzip", "deflate"):
        raise Invalid(f"spans can't be packed with {packed[:40]!r}", where="Content-Encoding", hint="use gzip")
    try:
        unpacking = zlib.decompressobj(zlib.MAX_WBITS | 32 if packed == "gzip" else zlib.MAX_WBITS)
        found = unpacking.decompress(body, MAX_UNPACKED)
    except zlib.error as reason:
        raise Invalid(f"the body is not what {packed} makes: {reason}", where="body") from None
    if unpacking.unconsumed_tail:
        raise TooLarge(f"the spans are more than {MAX_UNPACKED} bytes", where="body", hint="send fewer at a time")
    return found


handlers: list[BaseRouteHandler] = [take_spans]
