"""The application: limits, and which protocol answers which path."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from urllib.parse import unquote

import httptools

from mainspring.core.errors import Failed, Invalid, MainspringError, NotFound, Overloaded, TooLarge
from mainspring.serving.modelserver.answering import Call, Desk, read_headers
from mainspring.serving.modelserver.batching import Batcher, HungUp, Line
from mainspring.serving.modelserver.connections import Message
from mainspring.serving.modelserver.exchange import (
    Dialect,
    Reply,
    Request,
    in_json,
    ok,
    require,
    said,
    status_of,
)
from mainspring.serving.modelserver.metrics import Counts, Metrics, summed, text
from mainspring.serving.modelserver.pressure import Pressure
from mainspring.serving.modelserver.protocols.kserve import KServe
from mainspring.serving.modelserver.protocols.mlflow import Scoring
from mainspring.serving.modelserver.protocols.openinference import OpenInference
from mainspring.serving.modelserver.served import Served
from mainspring.serving.modelserver.spool import Log
from mainspring.serving.modelserver.usage import resident_mb
from mainspring.serving.modelserver.watching import waited_for_cores_s

_SMALL_BYTES = 64 * 1024  # a body up to this is read however much is held: many small ones are bounded by their number
_MAX_ROUTES = 4096
_METRICS = b"text/plain; version=0.0.4; charset=utf-8"
_log = logging.getLogger(__name__)


class App:
    """Answers requests in the protocol that their path begins with.

    Args:
        batcher: Predicts.
        spool: Logs; an answer leaves after its rows are committed.
    """

    def __init__(self, batcher: Batcher, spool: Log) -> None:
        self.gauges: list[Callable[[], dict[str, float]]] = [self._gauges]
        self.others: Callable[[], list[Counts]] = list
        self.asked_at: Callable[[], dict[str, int]] = dict
        self._batcher = batcher
        self._spool = spool
        self._metrics = Metrics()
        self.pressure = Pressure(batcher.max_wait_s)
        self._desk = Desk(batcher, spool, self._metrics)
        self.served = Served(self._desk)
        self._routes: dict[bytes, tuple[list[str], Dialect]] = {}
        scoring = Scoring(self.served)
        self._dialects: dict[str, Dialect] = {
            "v2": OpenInference(self.served),
            "v1": KServe(self.served),
            **dict.fromkeys(("ping", "health", "version", "invocations", "models"), scoring),
        }

    async def reply(self, message: Message, line: Line) -> Reply | None:
        """The reply to one request; None where nobody waits for one."""
        call = Call(line)
        dialect: Dialect = self
        try:
            path, dialect = self._route(message.target)
            read_headers(call, message.headers)
            if line.refused:
                raise Overloaded("too many connections", hint=f"come again in {self._desk.retry_s} s")
            request = Request(message.method, path, message.headers, call, lambda: self._body(message, call))
            reply = await dialect.answer(request)
        except HungUp:
            return None
        except MainspringError as error:
            reply = dialect.refuse(status_of(error), error)
        except Exception:  # noqa: BLE001 - the edge of a request: the client hears of it, the log says why
            _log.exception("a request failed that should not have")
            reply = dialect.refuse(500, Failed("the model server failed", hint="its log says why"))
        finally:
            self.served.held_bytes -= call.held_bytes
            if call.entered_at:
                self.pressure.leave(call.entered_at)
        if reply.status == 200 and not self.served.draining:
            return reply
        return self._with_headers(reply, line)

    def _with_headers(self, reply: Reply, line: Line) -> Reply:
        more = list(reply.headers)
        if reply.status in (429, 503):
            more.append((b"retry-after", b"%d" % self._desk.retry_s))
        if self.served.draining or reply.status == 413 or line.refused:
            more.append((b"connection", b"close"))
        return reply._replace(headers=more)

    def _route(self, target: bytes) -> tuple[list[str], Dialect]:
        """The words of a path and who answers there; those asked for again and again are looked up."""
        found = self._routes.get(target)
        if found is None:
            path = _path(target).rstrip("/").split("/")[1:]
            found = path, (self._dialects.get(path[0], self) if path else self)
            if len(self._routes) >= _MAX_ROUTES:
                self._routes.clear()
            self._routes[target] = found
        return found

    async def _body(self, message: Message, call: Call) -> bytes:
        limits = self.served.table.plan.limits
        if call.length > limits.max_body_bytes:
            raise TooLarge(f"the body is over {limits.max_body_bytes} bytes")
        parts: list[bytes] = []
        while True:
            part = await message.part()
            call.held_bytes += len(part)
            self.served.held_bytes += len(part)
            if call.held_bytes > limits.max_body_bytes:
                raise TooLarge(f"the body is over {limits.max_body_bytes} bytes")
            if self.served.held_bytes > limits.max_held_bytes and call.held_bytes > _SMALL_BYTES:
                raise Overloaded(
                    f"requests of {self.served.held_bytes} bytes wait already", hint="send it again in a second"
                )
            parts.append(part)
            if message.whole and not message.parts:
                call.entered_at = self.pressure.enter()  # before that the client holds it up, not we
                return part if len(parts) == 1 else b"".join(parts)

    async def answer(self, request: Request) -> Reply:
        """What belongs to no protocol of models: metrics, and health as other servers have it."""
        match request.path:
            case ["metrics"]:
                require(request, "GET", "HEAD")
                return Reply(200, _METRICS, self.metrics_text().encode())
            case ["livez" | "healthz"]:
                require(request, "GET", "HEAD")
                return ok({"live": True})
            case ["readyz"]:
                require(request, "GET", "HEAD")
                ready = self.served.is_ready
                return in_json(200 if ready else 503, {"ready": ready})
        raise NotFound("nothing at this path", hint="see GET /v2")

    def refuse(self, status: int, error: MainspringError) -> Reply:
        """An error where no protocol says how."""
        return in_json(status, {"error": said(error)})

    def metrics_text(self) -> str:
        """What all workers counted, in the text format of Prometheus."""
        return text(summed([self.counts(), *self.others()]))

    def counts(self) -> Counts:
        """What this worker counted."""
        values = {name: value for given in self.gauges for name, value in given().items()}
        return self._metrics.counts(values, self.asked_at())

    def totals(self) -> dict[str, int]:
        """How many requests this worker counted, by endpoint."""
        return self._metrics.totals()

    def _gauges(self) -> dict[str, float]:
        return {
            "mainspring_workers": 1,
            "mainspring_queued_rows": self._batcher.queued_rows,
            "mainspring_batches_total": self._batcher.batches,
            "mainspring_batched_rows_total": self._batcher.batched_rows,
            "mainspring_dropped_rows_total": self._batcher.dropped_rows,
            "mainspring_model_requests_total": self._batcher.requests,
            "mainspring_model_seconds_total": round(self._batcher.model_s, 2),
            "mainspring_waited_seconds_total": round(self._batcher.waited_s, 2),
            "mainspring_cpu_seconds_total": round(time.process_time(), 2),
            "mainspring_resident_memory_bytes": round(1e6 * resident_mb(os.getpid())),
            "mainspring_cpu_waited_seconds_total": round(waited_for_cores_s(), 2),
            "mainspring_estimated_wait_seconds": self._batcher.wait_s,
            "mainspring_requests_under_way": self.pressure.under_way,
            "mainspring_held_bytes": self.served.held_bytes,
            "mainspring_log_rows_total": self._spool.rows,
            "mainspring_log_failures_total": self._spool.failures,
            "mainspring_unlogged_rows_total": self._desk.unlogged_rows,
            "mainspring_plan_generation": self.served.table.plan.generation,
        }


def _path(target: bytes) -> str:
    """The path of a request's target, which may be a whole address.

    Raises: Invalid: It is none.
    """
    try:
        path = httptools.parse_url(target).path or b"/"
        return unquote(path.decode("ascii")) if b"%" in path else path.decode("ascii")
    except (httptools.HttpParserInvalidURLError, UnicodeDecodeError):
        raise Invalid("the target of the request is no address", hint="see GET /v2") from None
