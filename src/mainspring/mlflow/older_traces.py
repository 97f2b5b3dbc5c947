"""Traces as clients before 3.0 tell of them: a start, an end, and spans in a file among the artifacts of the trace."""

from __future__ import annotations

from mainspring.core.ids import new_id
from mainspring.mlflow.calls import call
from mainspring.mlflow.traces import NAME, OLD, RUN, Plain, info_of
from mainspring.mlflow.wire import Int64, KeyValue, Message, Text, Word, one_of, pairs_of, texts
from mainspring.mlflow.wire import micros as micros_of
from mainspring.tracking.model import Trace
from mainspring.tracking.traces import Traces

_UNKNOWN = "TRACE_STATUS_UNSPECIFIED"
_STATES = {_UNKNOWN: "state_unspecified", "OK": "ok", "ERROR": "error", "IN_PROGRESS": "in_progress"}
_WORDS = {state: word for word, state in _STATES.items()}


class StartTrace(Message):
    """A trace that begins."""

    experiment_id: Text
    timestamp_ms: Int64
    request_metadata: list[KeyValue] = []
    tags: list[KeyValue] = []


class EndTrace(Message):
    """A trace that ended, and what more is known of it."""

    trace_id: Text
    timestamp_ms: Int64
    status: Word = _UNKNOWN
    request_metadata: list[KeyValue] = []
    tags: list[KeyValue] = []


class ById(Message):
    """A trace by its id."""

    trace_id: Text


class SearchTraces(Message):
    """A search for traces."""

    experiment_ids: list[Text]
    filter: str = ""
    max_results: int = 100
    order_by: list[str] = []
    page_token: str = ""


@call("POST", OLD, "runs:write", conflict="INVALID_PARAMETER_VALUE")
def start(ask: StartTrace, traces: Traces) -> Plain:
    """Keep that a trace begins, as clients before 3.0 tell it."""
    tags, metadata = texts(ask.tags), texts(ask.request_metadata)
    made = Trace(
        new_id(),
        ask.experiment_id,
        tags.get(NAME, ""),
        "in_progress",
        micros_of(ask.timestamp_ms, "timestamp_ms"),
        run_id=metadata.get(RUN, ""),
        tags=tags,
        metadata=metadata,
    )
    return {"trace_info": _older(traces.start(made))}


@call("PATCH", f"{OLD}/{{trace_id:str}}", "runs:write", conflict="INVALID_PARAMETER_VALUE")
def end(ask: EndTrace, traces: Traces) -> Plain:
    """Keep when and how a trace ended, as clients before 3.0 tell it."""
    ended = traces.end(
        ask.trace_id,
        at=micros_of(ask.timestamp_ms, "timestamp_ms"),
        state=one_of(ask.status, _STATES, "status"),
        tags=texts(ask.tags),
        metadata=texts(ask.request_metadata),
    )
    return {"trace_info": _older(ended)}


@call("GET", f"{OLD}/{{trace_id:str}}/info", "runs:read")
def get_info(ask: ById, traces: Traces) -> Plain:
    """A trace without its spans, as clients before 3.0 read it."""
    return {"trace_info": _older(traces.get(ask.trace_id))}


@call("GET", OLD, "runs:read")
def search(ask: SearchTraces, traces: Traces) -> Plain:
    """Traces that a filter finds, as clients before 3.0 read them."""
    page = traces.search(
        ask.experiment_ids,
        ask.filter,
        order_by=ask.order_by,
        limit=ask.max_results,
        page_token=ask.page_token,
        strict=True,
    )
    found: Plain = {"traces": [_older(one) for one in page.items]}
    return {**found, "next_page_token": page.next_token} if page.next_token else found


def _older(found: Trace) -> Plain:
    length = {} if found.duration_us is None else {"execution_time_ms": found.duration_us // 1000}
    tags = info_of(found)["tags"]
    assert isinstance(tags, dict)
    return {
        "request_id": found.id,
        "experiment_id": found.experiment_id,
        "timestamp_ms": found.started_at // 1000,
        **length,
        "status": _WORDS[found.state],
        "request_metadata": pairs_of(found.metadata),
        "tags": pairs_of(tags),
    }


calls = [start, end, get_info, search]
