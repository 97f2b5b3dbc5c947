"""Traces: functions traced by the client, spans over OTLP, found again, tagged, assessed, deleted."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import SpanType
from mlflow.entities.model_registry import PromptVersion
from mlflow.entities.trace_status import TraceStatus
from tests.mlflow.http import GONE, Http


@pytest.fixture(autouse=True)
def _in_a_fresh_experiment(experiment: str, uri: str) -> None:
    mlflow.set_experiment(experiment_id=experiment)


@mlflow.trace(name="add", span_type=SpanType.TOOL, attributes={"kind": "sum"})  # type: ignore[untyped-decorator]
def add(a: int, b: int) -> int:
    return a + b


@mlflow.trace  # type: ignore[untyped-decorator]
def work(a: int) -> int:
    with mlflow.start_span("inner") as span:
        span.set_inputs({"a": a})
        span.set_attributes({"depth": 1, "words": ["x", "ü"]})
        found: int = add(a, 1) * 2
        span.set_outputs({"found": found})
    return found


@mlflow.trace  # type: ignore[untyped-decorator]
def fail() -> None:
    raise ValueError("on purpose")


def traced(function: Any, *args: object) -> str:
    """The id of the trace of one call, which has arrived at the server."""
    with suppress(ValueError):
        function(*args)
    mlflow.flush_trace_async_logging()
    return str(mlflow.get_last_active_trace_id())


def store_of(client: MlflowClient) -> Any:
    """What sends a client's questions about traces."""
    return client._tracing_client.store


def search(experiment: str, text: str = "", **more: Any) -> list[Any]:
    return list(MlflowClient().search_traces(locations=[experiment], filter_string=text or None, **more))


def test_a_traced_call_is_a_trace_with_its_spans(client: MlflowClient) -> None:
    trace = client.get_trace(traced(work, 3))
    assert [span.name for span in trace.data.spans] == ["work", "inner", "add"]
    root, inner, leaf = trace.data.spans
    assert root.parent_id is None
    assert (inner.parent_id, leaf.parent_id) == (root.span_id, inner.span_id)
    assert (root.inputs, root.outputs) == ({"a": 3}, 8)
    assert (inner.inputs, inner.outputs) == ({"a": 3}, {"found": 8})
    assert (inner.get_attribute("depth"), inner.get_attribute("words")) == (1, ["x", "ü"])
    assert (leaf.span_type, leaf.get_attribute("kind")) == ("TOOL", "sum")


def test_a_trace_knows_where_when_and_how(client: MlflowClient, experiment: str) -> None:
    info = client.get_trace(traced(work, 3)).info
    assert (info.experiment_id, str(info.state)) == (experiment, "TraceState.OK") or info.state == "OK"
    assert info.request_time > 1_600_000_000_000
    assert info.execution_duration >= 0
    assert "3" in info.request_preview
    assert "8" in info.response_preview
    assert info.tags["mlflow.traceName"] == "work"


def test_a_trace_of_a_failure_says_so(client: MlflowClient) -> None:
    trace = client.get_trace(traced(fail))
    assert str(trace.info.state) in ("TraceState.ERROR", "ERROR")
    assert trace.data.spans[0].status.status_code.value == "ERROR"
    assert any("on purpose" in str(event.attributes) for event in trace.data.spans[0].events)


def test_traces_are_found_in_their_experiment(experiment: str) -> None:
    made = [traced(work, i) for i in range(3)]
    assert [t.info.trace_id for t in search(experiment)] == made[::-1]


def test_found_traces_bring_their_spans_unless_told_not_to(experiment: str) -> None:
    traced(work, 1)
    assert [span.name for span in search(experiment)[0].data.spans] == ["work", "inner", "add"]
    assert search(experiment, include_spans=False)[0].data.spans == []


def test_traces_are_paged(experiment: str, client: MlflowClient) -> None:
    made = [traced(add, i, 0) for i in range(5)]
    found: list[str] = []
    token = None
    while True:
        page = client.search_traces(locations=[experiment], max_results=2, page_token=token)
        found += [t.info.trace_id for t in page]
        token = page.token
        if not token:
            break
    assert found == made[::-1]


def test_traces_are_ordered(experiment: str) -> None:
    made = [traced(add, i, 0) for i in range(3)]
    assert [t.info.trace_id for t in search(experiment, order_by=["timestamp_ms ASC"])] == made


FILTERS = [
    ("", "of"),
    ("trace.status = 'OK'", "o"),
    ("status = 'ERROR'", "f"),
    ("attributes.status != 'OK'", "f"),
    ("trace.name = 'work'", "o"),
    ("name = 'work'", "o"),
    ("tags.team = 'flights'", "o"),
    ("tag.team = 'trains'", "f"),
    ("tags.team != 'trains'", "o"),
    ("tags.none = 'x'", ""),
    ("timestamp_ms > 0", "of"),
    ("trace.timestamp_ms < 5", ""),
    ("execution_time_ms >= 0", "of"),
    ("status = 'OK' AND tags.team = 'flights'", "o"),
    ("tags.`mlflow.traceName` = 'work'", "o"),
    ("name RLIKE '^wo.k$'", "o"),
    ("trace.status RLIKE 'ERR|x'", "f"),
    ("tags.team RLIKE 'fl[a-i]ghts?'", "o"),
    ("tags.none RLIKE '.*'", ""),
    ("span.name = 'add'", "o"),
    ("span.name != 'add'", "of"),
    ("span.name IN ('add', 'fail')", "of"),
    ("span.name LIKE 'inn%'", "o"),
    ("span.name RLIKE '^(inner|outer)$'", "o"),
    ("span.type = 'TOOL'", "o"),
    ("span.status = 'ERROR'", "f"),
    ("span.name = 'add' AND span.type = 'TOOL' AND span.status = 'OK'", "o"),
    ("span.name = 'inner' AND span.type = 'TOOL'", ""),
    ("span.attributes.kind LIKE '%sum%'", "o"),
    ("span.attributes.kind RLIKE '^su'", "o"),
    ("span.attributes.none LIKE '%sum%'", ""),
    ("span.content LIKE '%on purpose%'", "f"),
    ("trace.text LIKE '%on purpose%' AND status = 'ERROR'", "f"),
    ("feedback.good = 'true'", "o"),
    ("feedback.good != 'true'", ""),
    ("feedback.good IS NOT NULL", "o"),
    ("feedback.good IS NULL", "f"),
    ("feedback.`my score` > 0.5", "o"),
    ("feedback.`my score` > 0.8", ""),
    ("expectation.wanted = 'eight'", "o"),
    ("expectation.wanted LIKE '%igh%'", "o"),
    ("prompt = 'ask/2'", "f"),
    ("prompt = 'ask/3'", ""),
]


@pytest.fixture
def two(experiment: str, client: MlflowClient) -> dict[str, str]:
    """Traces of one call that was fine and one that failed."""
    made = {"o": traced(work, 1), "f": traced(fail)}
    client.set_trace_tag(made["o"], "team", "flights")
    client.set_trace_tag(made["f"], "team", "trains")
    mlflow.log_feedback(trace_id=made["o"], name="good", value=True)
    mlflow.log_feedback(trace_id=made["o"], name="my score", value=0.75)
    mlflow.log_expectation(trace_id=made["o"], name="wanted", value="eight")
    client.link_prompt_versions_to_trace([PromptVersion("ask", 2, "?")], made["f"])
    return made


def test_traces_are_found_by_a_filter(experiment: str, two: dict[str, str]) -> None:
    back = {trace: letter for letter, trace in two.items()}
    for text, wanted in FILTERS:
        got = {back[t.info.trace_id] for t in search(experiment, text, include_spans=False)}
        assert got == set(wanted), text


NO_FILTERS = [
    "nothing = 'x'",
    "status > 'OK'",
    "tags.a",
    "status = 'OK' OR status = 'ERROR'",
    "span.nothing = 'x'",
    "span.name > 'x'",
    "span.content = 'x'",
    "feedback.good > 'x'",
    "feedback.good = 1",
    "timestamp_ms RLIKE '1'",
    "prompt LIKE 'x'",
]


def test_what_is_no_filter_of_traces_is_refused(experiment: str) -> None:
    for text in NO_FILTERS:
        with pytest.raises(mlflow.exceptions.MlflowException):
            search(experiment, text)


def test_traces_tied_to_a_run_are_found_by_it_beside_those_made_in_it(client: MlflowClient, experiment: str) -> None:
    with mlflow.start_run() as run:
        inside = traced(add, 1, 2)
    before, other = traced(add, 3, 4), traced(add, 5, 6)
    client.link_traces_to_run([before], run.info.run_id)
    client.link_traces_to_run([before], run.info.run_id)
    found = {t.info.trace_id for t in client.search_traces(locations=[experiment], run_id=run.info.run_id)}
    assert found == {inside, before}
    assert other not in found


def test_infos_of_some_traces_come_at_once(client: MlflowClient) -> None:
    made = [traced(add, i, 0) for i in range(2)]
    found = store_of(client).batch_get_trace_infos([*made, f"tr-{'0' * 32}"])
    assert sorted(info.trace_id for info in found) == sorted(made)


def test_a_trace_is_told_and_read_as_clients_before_3_did(http: Http, client: MlflowClient, experiment: str) -> None:
    store = store_of(client)
    begun = store.deprecated_start_trace_v2(experiment, 1_000, {"a": "1"}, {"mlflow.traceName": "old", "team": "x"})
    assert (str(begun.status), begun.timestamp_ms) in [("IN_PROGRESS", 1_000), ("TraceStatus.IN_PROGRESS", 1_000)]
    ended = store.deprecated_end_trace_v2(begun.request_id, 1_250, TraceStatus.OK, {"b": "2"}, {"team": "y"})
    assert (ended.execution_time_ms, ended.request_metadata["a"], ended.request_metadata["b"]) == (250, "1", "2")
    assert ended.tags["team"] == "y"
    info = http.ok("GET", f"traces/{begun.request_id}/info")["trace_info"]
    assert (info["status"], info["execution_time_ms"], info["experiment_id"]) == ("OK", 250, experiment)
    asked = {"experiment_ids": experiment, "filter": "tags.team = 'y'", "max_results": 5}
    assert [one["request_id"] for one in http.ok("GET", "traces", **asked)["traces"]] == [begun.request_id]
    assert client.search_traces(locations=[experiment], include_spans=False)[0].info.tags["mlflow.traceName"] == "old"


def test_a_table_of_traces_is_made(experiment: str) -> None:
    made = traced(work, 1)
    frame = mlflow.search_traces(locations=[experiment])
    assert frame["trace_id"].tolist() == [made]


def test_tags_of_a_trace_are_set_and_deleted(client: MlflowClient) -> None:
    made = traced(add, 1, 2)
    client.set_trace_tag(made, "a", "1")
    client.set_trace_tag(made, "a", "2")
    client.set_trace_tag(made, "b", "ü")
    client.delete_trace_tag(made, "a")
    tags = client.get_trace(made).info.tags
    assert tags["b"] == "ü"
    assert "a" not in tags


def test_traces_are_deleted_by_id(client: MlflowClient, experiment: str) -> None:
    made = [traced(add, i, 0) for i in range(3)]
    assert client.delete_traces(experiment, trace_ids=made[:2]) == 2
    assert [t.info.trace_id for t in search(experiment)] == made[2:]


def test_traces_are_deleted_by_age(client: MlflowClient, experiment: str) -> None:
    made = [traced(add, i, 0) for i in range(3)]
    last = client.get_trace(made[-1]).info.request_time
    assert client.delete_traces(experiment, max_timestamp_millis=last, max_traces=1) == 1
    assert client.delete_traces(experiment, max_timestamp_millis=last + 10_000) == 2
    assert search(experiment) == []


def test_an_unknown_trace_is_not_found(http: Http) -> None:
    assert http.error("GET", f"/api/3.0/mlflow/traces/tr-{'0' * 32}") == GONE


def test_a_trace_made_in_a_run_knows_the_run(experiment: str, client: MlflowClient) -> None:
    with mlflow.start_run() as run:
        made = traced(add, 1, 2)
    assert client.get_trace(made).info.trace_metadata["mlflow.sourceRun"] == run.info.run_id
    found = client.search_traces(locations=[experiment], run_id=run.info.run_id)
    assert [t.info.trace_id for t in found] == [made]


def test_metadata_of_a_trace_is_kept_and_searched(experiment: str, client: MlflowClient) -> None:
    @mlflow.trace  # type: ignore[untyped-decorator]
    def asked() -> str:
        mlflow.update_current_trace(
            tags={"t": "1"}, metadata={"mlflow.trace.session": "s-1", "mlflow.trace.user": "ann"}
        )
        return "x"

    made = traced(asked)
    assert client.get_trace(made).info.trace_metadata["mlflow.trace.session"] == "s-1"
    assert client.get_trace(made).info.tags["t"] == "1"
    assert [t.info.trace_id for t in search(experiment, "metadata.`mlflow.trace.session` = 's-1'")] == [made]


def test_a_trace_is_made_by_hand(client: MlflowClient, experiment: str) -> None:
    root = mlflow.start_span_no_context("by hand", inputs={"q": 1}, experiment_id=experiment)
    child = mlflow.start_span_no_context("child", parent_span=root)
    child.end()
    root.set_outputs("done")
    root.end()
    mlflow.flush_trace_async_logging()
    trace = client.get_trace(root.trace_id)
    assert [span.name for span in trace.data.spans] == ["by hand", "child"]


def test_feedback_and_expectations_stay_with_their_trace(client: MlflowClient) -> None:
    made = traced(add, 1, 2)
    given = mlflow.log_feedback(trace_id=made, name="good", value=True, rationale="it is three")
    mlflow.log_expectation(trace_id=made, name="wanted", value={"sum": 3})
    found = {a.name: a for a in client.get_trace(made).info.assessments}
    assert (found["good"].value, found["good"].rationale) == (True, "it is three")
    assert found["wanted"].value == {"sum": 3}
    mlflow.delete_assessment(trace_id=made, assessment_id=given.assessment_id)
    assert {a.name for a in client.get_trace(made).info.assessments} == {"wanted"}


def test_an_assessment_is_changed(client: MlflowClient) -> None:
    from mlflow.entities import Feedback

    made = traced(add, 1, 2)
    given = mlflow.log_feedback(trace_id=made, name="score", value=0.5)
    mlflow.update_assessment(made, given.assessment_id, Feedback(name="score", value=0.75))
    assert mlflow.get_assessment(made, given.assessment_id).value == 0.75


def test_spans_come_in_as_otlp(http: Http, experiment: str, client: MlflowClient) -> None:
    import os
    import time

    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    trace_id, now = os.urandom(16), time.time_ns()
    request = ExportTraceServiceRequest()
    spans = request.resource_spans.add().scope_spans.add().spans
    for number, name in enumerate(("outer", "inner")):
        span = spans.add(trace_id=trace_id, span_id=bytes([0] * 7 + [number + 1]), name=name)
        span.start_time_unix_nano, span.end_time_unix_nano = now, now + 5_000_000
        if number:
            span.parent_span_id = bytes([0] * 7 + [1])
        attribute = span.attributes.add(key="http.method")
        attribute.value.string_value = "GET"
    headers = {"Content-Type": "application/x-protobuf", "x-mlflow-experiment-id": experiment}
    answer = http.send("POST", "/v1/traces", data=request.SerializeToString(), headers=headers)
    assert answer.status_code == 200, answer.text[:400]
    trace = client.get_trace(f"tr-{trace_id.hex()}")
    assert sorted(span.name for span in trace.data.spans) == ["inner", "outer"]
    assert trace.data.spans[0].get_attribute("http.method") == "GET"


@pytest.mark.parametrize(("kind", "body"), [("text/plain", b"x"), ("application/x-protobuf", b"\xff\xff\xff")])
def test_what_is_no_otlp_is_refused(http: Http, experiment: str, kind: str, body: bytes) -> None:
    headers = {"Content-Type": kind, "x-mlflow-experiment-id": experiment}
    assert 400 <= http.send("POST", "/v1/traces", data=body, headers=headers).status_code < 500


def test_spans_without_an_experiment_are_refused(http: Http) -> None:
    headers = {"Content-Type": "application/x-protobuf"}
    assert 400 <= http.send("POST", "/v1/traces", data=b"", headers=headers).status_code < 500


def test_spans_of_the_client_come_as_otlp_and_not_as_a_file(client: MlflowClient, experiment: str) -> None:
    made = traced(add, 1, 2)
    tags = client.get_trace(made).info.tags
    assert tags["mlflow.trace.spansLocation"] == "TRACKING_STORE"
