"""From checked columns to an answer whose rows are in the log: admission, deadline, prediction, log, counts.

Every protocol decodes its own requests and encodes its own answers; what lies between is here, once.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Mapping, Sequence

from mainspring.core.errors import Invalid, MainspringError, Overloaded, Timeout, Unavailable
from mainspring.core.values import dataclass
from mainspring.serving.modelserver.asking import Context, Outputs
from mainspring.serving.modelserver.batching import Batcher, Columns, HungUp, Job, Line, late
from mainspring.serving.modelserver.columns import Cell, Whole, plain
from mainspring.serving.modelserver.explaining import Explaining, hidden, without
from mainspring.serving.modelserver.humility import Judged
from mainspring.serving.modelserver.lookups import Filled, LoggedFeatures
from mainspring.serving.modelserver.metrics import Labels, Metrics
from mainspring.serving.modelserver.plan import Options
from mainspring.serving.modelserver.spool import Log, Row
from mainspring.serving.modelserver.traffic import Choice, Endpoint
from mainspring.serving.rules.assignment import fraction

STATUS = {"invalid": 400, "not_found": 404, "too_large": 413, "refused": 422, "overloaded": 429}
STATUS |= {"unavailable": 503, "timeout": 504}
"""The HTTP status of an error's code; 500 for what is not here."""
HUNG_UP = 499
"""What is counted for a client that went away before its answer. It is sent to nobody."""
TIMEOUTS = (b"request-timeout", b"x-request-timeout")
"""Headers with the seconds after which the client waits no more."""
CALLER = b"x-caller"
"""Header with the name that a client gives itself; it is logged, and proves nothing."""
_NO_HEADERS: Mapping[bytes, bytes] = {}
_MAX_CALLER = 200
_LOG_SALT = "log"  # its own, so that what is logged says nothing about who answered
_UNLOGGED = ("overloaded", "unavailable")
_COMPLAIN_S = 10.0
_LEAST_LOG_S = 0.05
_complaints = logging.getLogger(__name__)
_MAX_TIMEOUT_S = 3600.0


class Call:
    """What is known of a request before its body is read: when it came, on which line, how long the client waits.

    `headers` are by their names in lower case.
    """

    __slots__ = ("caller", "entered_at", "headers", "held_bytes", "length", "line", "started", "timeout_s")

    def __init__(self, line: Line) -> None:
        self.line = line
        self.started = time.perf_counter()
        self.timeout_s: float | None = None
        self.length = 0
        self.held_bytes = 0
        self.entered_at = 0.0
        self.caller = ""
        self.headers: Mapping[bytes, bytes] = _NO_HEADERS


@dataclass(slots=True, eq=False)
class Ask:
    """A request that was read: which version of an endpoint shall answer which rows, and whether it explains them."""

    endpoint: Endpoint
    choice: Choice
    about: Context
    columns: Columns
    call: Call
    judged: Judged | None = None
    explaining: Explaining | None = None


def read_headers(call: Call, headers: Mapping[bytes, bytes]) -> None:
    """Put into a call what the headers of a request say.

    Raises: Invalid: A timeout that is no number of seconds, or a caller's name that is none.
    """
    call.headers = headers
    length = headers.get(b"content-length", b"")
    if length.isdigit():
        call.length = int(length)
    for name in TIMEOUTS:
        if name in headers:
            call.timeout_s = _seconds(name, headers[name])
    if CALLER in headers:
        call.caller = _caller(headers[CALLER])


def _caller(value: bytes) -> str:
    text = value.decode(errors="replace")
    if len(text) > _MAX_CALLER or not text.isprintable():
        raise Invalid(f"{CALLER.decode()} is longer than {_MAX_CALLER} characters or not printable")
    return text


def _seconds(name: bytes, value: bytes) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= _MAX_TIMEOUT_S:
        raise Invalid(f"{name.decode()} is not a number of seconds, above 0 and up to {_MAX_TIMEOUT_S:g}")
    return seconds


class Desk:
    """Where requests are answered.

    Args:
        batcher: Predicts.
        spool: Logs; an answer leaves after its rows are committed.
        metrics: Counts.
        max_unlogged_rows: Rows that may wait for the log before new requests are refused.
    """

    def __init__(self, batcher: Batcher, spool: Log, metrics: Metrics, *, max_unlogged_rows: int = 50_000) -> None:
        self._batcher = batcher
        self._spool = spool
        self._metrics = metrics
        self._max_unlogged = max_unlogged_rows
        self.unlogged_rows = 0
        self._complained_at = -_COMPLAIN_S

    async def answer(self, ask: Ask) -> Outputs:
        """Predict, log, count.

        Raises:
            Overloaded: Too much waits already; nothing was done.
            Timeout: The deadline passed first. Failed: The model can't answer that. Unavailable: The log can't.
            Refused: A rule of the endpoint does not let it be answered.
            HungUp: The client went away before the model was asked.
        """
        labels = ask.choice.labels
        job: Job | None = None
        outputs: Outputs | None = None
        failure: MainspringError | None = None
        try:
            if ask.judged is None:
                job = self._submit(ask, ask.columns)
                outputs = await _outcome(job)
            else:
                ask.judged.check()
                if ask.judged.rows:
                    job = self._submit(ask, ask.judged.columns)
                answered = ask.judged.answers(await _outcome(job) if job else {})
                ask.judged.check()
                outputs = answered
        except MainspringError as error:
            failure = error
        except HungUp:
            self._metrics.observe(labels, HUNG_UP, time.perf_counter() - ask.call.started)
            raise
        status = STATUS.get(failure.code, 500) if failure else 200
        if _is_logged(ask, failure):
            try:
                await self._log(ask, job, _rows(ask, job, outputs, status, failure))
            except MainspringError as error:
                failure, status = error, STATUS.get(error.code, 500)
        self._metrics.observe(labels, status, time.perf_counter() - ask.call.started)
        if failure is not None or outputs is None:
            raise failure or late()
        return outputs

    def _submit(self, ask: Ask, columns: Columns) -> Job:
        options, waiting = ask.endpoint.options, self._spool.waiting_rows
        if waiting > self._max_unlogged and options.on_log_failure == "refuse":
            raise Overloaded(f"{waiting} rows wait for the log", hint=f"send it again in {self.retry_s} s")
        call = ask.call
        about_s = None if ask.about.timeout_ms is None else ask.about.timeout_ms / 1000
        deadline = call.started + (call.timeout_s or about_s or options.deadline_ms / 1000)
        return self._batcher.submit(ask.explaining or ask.choice.model, columns, deadline=deadline, line=call.line)

    async def _log(self, ask: Ask, job: Job | None, rows: list[Row]) -> None:
        """Wait for the commit; where the endpoint answers without a log, no longer than the request may take."""
        if ask.endpoint.options.on_log_failure == "refuse":
            await self._spool.append(ask.endpoint.name, rows)
            return
        try:
            if self._spool.waiting_rows > self._max_unlogged:
                raise Unavailable(f"{self._spool.waiting_rows} rows wait for the log")
            left_s = _LEAST_LOG_S if job is None else max(_LEAST_LOG_S, job.deadline - time.perf_counter())
            await asyncio.wait_for(self._spool.append(ask.endpoint.name, rows), left_s)
        except (Unavailable, Timeout, TimeoutError) as reason:
            self.unlogged_rows += len(rows)
            if time.monotonic() - self._complained_at > _COMPLAIN_S:
                self._complained_at = time.monotonic()
                _complaints.error("%s rows were answered and not logged so far: %s", self.unlogged_rows, reason)

    def count(self, labels: Labels, status: int, call: Call) -> None:
        """Count a request that did not come so far as to be answered."""
        self._metrics.observe(labels, status, time.perf_counter() - call.started)

    @property
    def retry_s(self) -> int:
        """When a refused client should come back, in whole seconds."""
        return self._batcher.retry_s


def _is_logged(ask: Ask, failure: MainspringError | None) -> bool:
    """Whether a request has its rows in the log: not where it was turned away; where a rule held; else its share."""
    if failure is not None and failure.code in _UNLOGGED:
        return False
    if ask.judged is not None and any(ask.judged.marks):
        return True  # a person may have to look at it
    return is_sampled(ask.endpoint.options, ask.about.request_id)


def is_sampled(options: Options, request_id: str) -> bool:
    """Whether a request belongs to the share that is logged."""
    share = options.log_share
    return share >= 1.0 or (share > 0.0 and fraction(_LOG_SALT, request_id) < share)


async def _outcome(job: Job) -> Outputs:
    if job.is_quick:
        return await job.future
    loop = asyncio.get_running_loop()
    timer = loop.call_later(job.deadline - time.perf_counter(), _expire, job)
    try:
        return await job.future
    finally:
        timer.cancel()


def _expire(job: Job) -> None:
    if not job.future.done():
        job.future.set_exception(late())


def _rows(
    ask: Ask, job: Job | None, outputs: Outputs | None, status: int, failure: MainspringError | None
) -> list[Row]:
    """The log rows of one request. One row has the request's id; of several, row i has the id "REQUEST.i"."""
    about, choice, caller = ask.about, ask.choice, ask.call.caller
    latency_us = int((time.perf_counter() - ask.call.started) * 1e6)
    wait_us, model_us = _parts(job)
    error = _told(failure, ask.endpoint.options) if failure else ""
    at = time.time_ns() // 1000
    event_at = at if about.event_at is None else about.event_at
    request_id, version, rollout = about.request_id, choice.model.version, choice.rollout
    cells = _written(ask)
    count = len(cells)
    outputs = _kept(ask, ask.explaining, outputs) if outputs and ask.explaining else outputs
    nothing: list[tuple[()]] = [()] * count
    marks: Sequence[Sequence[str]] = ask.judged.marks if ask.judged is not None else nothing
    features = _looked(ask.columns, ask.endpoint.options.redact) if type(ask.columns) is Filled else nothing
    return [
        (request_id if count == 1 else f"{request_id}.{i}", request_id, at, event_at, version, choice.arm,
         choice.propensity, about.key, rollout, cells[i], {k: v[i] for k, v in outputs.items()} if outputs else None,
         latency_us, status, error, caller, wait_us, model_us, marks[i], features[i])
        for i in range(count)
    ]  # fmt: skip


def _looked(columns: Filled, redact: Sequence[str]) -> Sequence[Sequence[LoggedFeatures]]:
    """For each row what was looked up for it."""
    return [[one.logged(row, redact) for one in columns.looked] for row in range(len(columns[0]))]


def _kept(ask: Ask, explaining: Explaining, outputs: Outputs) -> Outputs:
    """Outputs as the log has them: with reason codes where the request says so, and nothing of redacted inputs."""
    if not ask.about.keep:
        return without(outputs)
    return hidden(explaining.whole(outputs, len(ask.columns[0])), explaining.columns, ask.endpoint.options.redact)


def _written(ask: Ask) -> Sequence[Sequence[Cell] | bytes]:
    """The rows as the log has them: plain values or numbers as bytes, and nothing of those that are redacted."""
    redact = ask.endpoint.options.redact
    if not redact:
        if type(ask.columns) is Whole:
            rows, width = ask.columns.matrix.tobytes(), 8 * len(ask.columns)  # nothing is missing in it
            return [rows[start : start + width] for start in range(0, len(rows), width)]
        return list(zip(*map(plain, ask.columns), strict=True))
    nothing = [None] * len(ask.columns[0])
    named = zip(ask.choice.model.features.names, ask.columns, strict=True)
    return list(zip(*(nothing if name in redact else plain(column) for name, column in named), strict=True))


def _told(failure: MainspringError, options: Options) -> str:
    """A failure as the log has it: what a model said of its inputs is left out where some of them are redacted."""
    return failure.what if options.redact else f"{failure.what}: {failure.where}".rstrip(": ")


def _parts(job: Job | None) -> tuple[int, int]:
    """Microseconds that the rows waited for the model, and that it took for their batch; 0 if they never got there."""
    if job is None or not job.ended_at:
        return 0, 0
    return int((job.started_at - job.queued_at) * 1e6), int((job.ended_at - job.started_at) * 1e6)
