"""Traces over the protocol: what a client says of them, their spans, tags, assessments, and searching."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import msgspec

from mainspring.core.clock import iso, micros
from mainspring.core.errors import Invalid
from mainspring.mlflow.calls import call
from mainspring.mlflow.otlp import MAX_PREVIEW
from mainspring.mlflow.wire import UNSET, KeyValue, MaybeInt, MaybeText, Message, Text, chosen
from mainspring.mlflow.wire import micros as micros_of
from mainspring.tracking.model import Assessment, Trace
from mainspring.tracking.traces import Traces

BASE = "/api/3.0/mlflow/traces"
OLD = "/api/2.0/mlflow/traces"
Plain = dict[str, object]
RUN = "mlflow.sourceRun"
NAME = "mlflow.traceName"
_LENGTH = re.compile(r"(-?\d+(?:\.\d+)?)s")


class ExperimentPlace(Message):
    """The experiment that a trace is in."""

    experiment_id: str = ""


class Place(Message):
    """Where a trace is."""

    type: str = "MLFLOW_EXPERIMENT"
    mlflow_experiment: ExperimentPlace = msgspec.field(default_factory=ExperimentPlace)


class TraceInfo(Message):
    """What a client says of a trace."""

    trace_id: Text
    trace_location: Place
    client_request_id: str = ""
    request_preview: str = ""
    response_preview: str = ""
    request_time: MaybeText = UNSET
    execution_duration: MaybeText = UNSET
    state: str = "STATE_UNSPECIFIED"
    trace_metadata: dict[str, str] = {}
    tags: dict[str, str] = {}
    assessments: list[Plain] = []


class Whole(Message):
    """A trace as it comes: its spans come another way."""

    trace_info: TraceInfo


class StartTrace(Message):
    """A trace that is told of."""

    trace: Whole


class ById(Message):
    """A trace by its id."""

    trace_id: Text


class ByIds(Message):
    """Traces by their ids."""

    trace_ids: list[str] = []


class SearchTraces(Message):
    """A search for traces."""

    locations: list[Place] = []
    filter: str = ""
    max_results: int = 100
    order_by: list[str] = []
    page_token: str = ""


class SetTag(KeyValue, kw_only=True):
    """A tag of a trace."""

    trace_id: Text


class DeleteTag(Message):
    """The tag of a trace that goes."""

    trace_id: Text
    key: Text


class LinkTraces(Message):
    """Traces that are tied to a run."""

    trace_ids: list[str]
    run_id: Text


class PromptVersion(Message):
    """A version of a prompt."""

    name: Text
    version: Text


class LinkPrompts(Message):
    """Versions of prompts that a trace is tied to."""

    trace_id: Text
    prompt_versions: list[PromptVersion]


class DeleteTraces(Message):
    """Traces that go: these, or the oldest until a time."""

    experiment_id: Text
    max_timestamp_millis: MaybeInt = UNSET
    max_traces: MaybeInt = UNSET
    request_ids: list[str] = []


class Assess(Message):
    """What somebody thinks of a trace."""

    trace_id: Text
    assessment: Plain


class AssessmentById(Message):
    """An assessment by its id."""

    trace_id: Text
    assessment_id: Text


class ChangeAssessment(AssessmentById):
    """What changes of an assessment: the fields that the mask names."""

    assessment: Plain
    update_mask: str = ""


def info_of(found: Trace) -> Plain:
    """A trace as it is sent, without its spans."""
    folder = f"mlflow-artifacts:/{found.experiment_id}/traces/{found.id}/artifacts"
    here = {"mlflow.trace.spansLocation": "TRACKING_STORE"} if found.spanned else {}
    made: Plain = {
        "trace_id": found.id,
        "client_request_id": found.client_id,
        "trace_location": {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": found.experiment_id}},
        "request_time": iso(found.started_at // 1000 * 1000).replace("+00:00", "Z"),
        "execution_duration": None if found.duration_us is None else f"{found.duration_us / 1_000_000:.6f}s",
        "state": found.state.upper(),
        "trace_metadata": dict(found.metadata),
        "assessments": [_said(found.id, entry) for entry in found.assessments],
        "tags": {"mlflow.artifactLocation": folder, **here, **found.tags},
        "request_preview": found.asked,
        "response_preview": found.answered,
    }
    return {name: value for name, value in made.items() if value not in (None, "", [])}


@call("POST", BASE, "runs:write", conflict="INVALID_PARAMETER_VALUE")
def start(ask: StartTrace, traces: Traces) -> Plain:
    """Keep what a client says of a trace."""
    said = ask.trace.trace_info
    began = micros(chosen(said.request_time, "1970-01-01T00:00:00Z"))
    length = None if said.execution_duration is UNSET else _length(chosen(said.execution_duration, "0s"))
    made = Trace(
        said.trace_id,
        said.trace_location.mlflow_experiment.experiment_id,
        said.tags.get(NAME, ""),
        said.state.lower(),
        began,
        duration_us=length,
        run_id=said.trace_metadata.get(RUN, ""),
        client_id=said.client_request_id,
        asked=said.request_preview[:MAX_PREVIEW],
        answered=said.response_preview[:MAX_PREVIEW],
        tags=said.tags,
        metadata=said.trace_metadata,
        assessments=tuple(_heard(entry) for entry in said.assessments),
    )
    if made.state not in ("state_unspecified", "ok", "error", "in_progress"):
        raise Invalid(f"Invalid value {said.state[:40]!r} for parameter 'state' supplied", where="state")
    return {"trace": {"trace_info": info_of(traces.start(made))}}


@call("GET", f"{BASE}/{{trace_id:str}}", "runs:read")
def get_info(ask: ById, traces: Traces) -> Plain:
    """A trace without its spans."""
    return {"trace": {"trace_info": info_of(traces.get(ask.trace_id))}}


@call("GET", f"{BASE}/get", "runs:read")
def get(ask: ById, traces: Traces) -> Plain:
    """A trace with its spans."""
    return {"trace": _whole([traces.get(ask.trace_id)], traces)[0]}


@call("GET", f"{BASE}/batchGet", "runs:read")
def batch_get(ask: ByIds, traces: Traces) -> Plain:
    """Those of some traces that there are, with their spans."""
    return {"traces": _whole(traces.some(ask.trace_ids), traces)}


@call("GET POST", f"{BASE}/batchGetInfos", "runs:read")
def batch_get_infos(ask: ByIds, traces: Traces) -> Plain:
    """Those of some traces that there are, without their spans."""
    return {"trace_infos": [info_of(found) for found in traces.some(ask.trace_ids)]}


@call("POST", f"{BASE}/search", "runs:read")
def search(ask: SearchTraces, traces: Traces) -> Plain:
    """Traces that a filter finds, without their spans."""
    places = [place.mlflow_experiment.experiment_id for place in ask.locations]
    page = traces.search(
        places, ask.filter, order_by=ask.order_by, limit=ask.max_results, page_token=ask.page_token, strict=True
    )
    found: Plain = {"traces": [info_of(one) for one in page.items]}
    return {**found, "next_page_token": page.next_token} if page.next_token else found


@call("PATCH", f"{OLD}/{{trace_id:str}}/tags", "runs:write")
def set_tag(ask: SetTag, traces: Traces) -> None:
    """Set a tag of a trace."""
    traces.set_tag(ask.trace_id, ask.key, ask.value)


@call("DELETE", f"{OLD}/{{trace_id:str}}/tags", "runs:write")
def delete_tag(ask: DeleteTag, traces: Traces) -> None:
    """Delete a tag of a trace."""
    traces.delete_tag(ask.trace_id, ask.key)


@call("POST", f"{OLD}/link-to-run", "runs:write")
def link_to_run(ask: LinkTraces, traces: Traces) -> None:
    """Tie traces to a run, beside the one they were made in."""
    traces.link_to_run(ask.trace_ids, ask.run_id)


@call("POST", f"{OLD}/link-prompts", "runs:write")
def link_prompts(ask: LinkPrompts, traces: Traces) -> None:
    """Tie a trace to versions of prompts."""
    traces.link_prompts(ask.trace_id, [f"{one.name}/{one.version}" for one in ask.prompt_versions])


@call("POST", f"{OLD}/delete-traces", "runs:write")
def delete(ask: DeleteTraces, traces: Traces) -> Plain:
    """Delete traces for good."""
    until = None if ask.max_timestamp_millis is UNSET else _until(chosen(ask.max_timestamp_millis, 0))
    limit = None if ask.max_traces is UNSET else chosen(ask.max_traces, 0)
    if limit is not None and limit < 1:
        raise Invalid("Invalid value for parameter 'max_traces' supplied: it must be positive", where="max_traces")
    return {"traces_deleted": traces.delete(ask.experiment_id, trace_ids=ask.request_ids, until=until, limit=limit)}


@call("POST", f"{BASE}/{{trace_id:str}}/assessments", "runs:write")
def assess(ask: Assess, traces: Traces) -> Plain:
    """Keep what somebody thinks of a trace; it may take the place of what was thought before."""
    made = _heard({"valid": True, **ask.assessment})
    before = str(made.content.get("overrides") or "")
    if before:
        old = traces.assessment(ask.trace_id, before)
        traces.assess(ask.trace_id, {**old.content, "valid": False}, name=old.name, assessment_id=old.id)
    kept = traces.assess(ask.trace_id, made.content, name=made.name, assessment_id=made.id)
    return {"assessment": _said(ask.trace_id, kept)}


@call("GET", f"{BASE}/{{trace_id:str}}/assessments/{{assessment_id:str}}", "runs:read")
def get_assessment(ask: AssessmentById, traces: Traces) -> Plain:
    """An assessment."""
    return {"assessment": _said(ask.trace_id, traces.assessment(ask.trace_id, ask.assessment_id))}


@call("PATCH", f"{BASE}/{{trace_id:str}}/assessments/{{assessment_id:str}}", "runs:write")
def change_assessment(ask: ChangeAssessment, traces: Traces) -> Plain:
    """Change the fields of an assessment that the mask names, or all that are given."""
    plain = {_snake(name): value for name, value in ask.assessment.items()}
    named = {_snake(name) for name in ask.update_mask.split(",") if name} or set(plain)
    given = {name: value for name, value in plain.items() if name in named}
    made = traces.revise(ask.trace_id, ask.assessment_id, given)
    return {"assessment": _said(ask.trace_id, made)}


@call("DELETE", f"{BASE}/{{trace_id:str}}/assessments/{{assessment_id:str}}", "runs:write")
def delete_assessment(ask: AssessmentById, traces: Traces) -> None:
    """Delete an assessment."""
    traces.delete_assessment(ask.trace_id, ask.assessment_id)


def _whole(found: Sequence[Trace], traces: Traces) -> list[Plain]:
    spans = traces.spans([one.id for one in found])
    return [
        {"trace_info": info_of(one), "spans": [msgspec.Raw(text.encode()) for text in spans[one.id]]} for one in found
    ]


def _heard(said: Mapping[str, object]) -> Assessment:
    """An assessment as it came, under the snake_case names of its fields."""
    plain = {_snake(name): value for name, value in said.items() if value is not None}
    name = plain.get("assessment_name", "")
    if not isinstance(name, str) or not name:
        missing = "Missing value for required parameter 'assessment_name'."
        raise Invalid(missing, where="assessment_name", hint="name the assessment")
    return Assessment(str(plain.get("assessment_id", "")), name, plain)


def _said(trace_id: str, found: Assessment) -> Plain:
    return {**found.content, "assessment_id": found.id, "assessment_name": found.name, "trace_id": trace_id}


def _snake(name: str) -> str:
    return re.sub(r"([A-Z])", lambda found: "_" + found[1].lower(), name.strip())


def _length(text: str) -> int:
    found = _LENGTH.fullmatch(text)
    if found is None or len(text) > 20:
        raise Invalid(f"Invalid value {text[:40]!r} for parameter 'execution_duration' supplied", where="trace_info")
    return max(0, round(float(found[1]) * 1_000_000))


def _until(milliseconds: int) -> int:
    """The last microsecond of a millisecond."""
    return micros_of(milliseconds, "max_timestamp_millis") + 999


_made = [
    start,
    get_info,
    get,
    batch_get,
    batch_get_infos,
    search,
    set_tag,
    delete_tag,
    link_to_run,
    link_prompts,
    delete,
    assess,
    get_assessment,
    change_assessment,
    delete_assessment,
]
calls = [*_made, *(replace(one, path=one.path.replace(OLD, BASE, 1)) for one in _made if one.path.startswith(OLD))]
"""Those of the old address are also at the new one."""
