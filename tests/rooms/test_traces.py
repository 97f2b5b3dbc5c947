"""Traces on real storage: spans and what clients say come in any order, twice, or in parts."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from mainspring.core.clock import ManualClock
from mainspring.core.errors import Conflict, Invalid, NotFound
from mainspring.storage.journal import SqlJournal
from mainspring.storage.ports import Tables
from mainspring.tracking.experiments import Experiments
from mainspring.tracking.model import Artifact, Span, Trace
from mainspring.tracking.records import files
from mainspring.tracking.records import traces as records
from mainspring.tracking.traces import Traces

NOW = 1_700_000_000_000_000


@pytest.fixture
def traces(tables: Tables) -> Traces:
    return Traces(tables=tables, journal=SqlJournal(tables), clock=ManualClock(NOW))


@pytest.fixture
def experiments(tables: Tables) -> Experiments:
    return Experiments(tables=tables, journal=SqlJournal(tables), clock=ManualClock(NOW))


@pytest.fixture
def place(experiments: Experiments) -> str:
    return experiments.create("first").id


def trace(place: str, trace_id: str = "tr-1", **more: object) -> Trace:
    made = Trace(trace_id, place, "work", "ok", NOW, duration_us=2_000, tags={"t": "1"}, metadata={"m": "2"})
    return replace(made, **more)  # type: ignore[arg-type]  # fields of the trace


def span(number: int, content: str = "{}") -> Span:
    return Span(f"{number:016x}", number, content)


def test_a_trace_comes_back_as_it_was_told(traces: Traces, place: str) -> None:
    assert traces.start(trace(place)) == trace(place)
    assert traces.get("tr-1") == trace(place)


def test_telling_of_a_trace_again_changes_what_is_said(traces: Traces, place: str) -> None:
    traces.start(trace(place, state="in_progress", duration_us=None))
    traces.start(trace(place, tags={"u": "3"}))
    found = traces.get("tr-1")
    assert (found.state, found.duration_us, found.tags) == ("ok", 2_000, {"t": "1", "u": "3"})


def test_what_a_client_says_stays_when_spans_come_later(traces: Traces, place: str) -> None:
    traces.start(trace(place, name="told", state="error"))
    traces.add_spans([(trace(place, name="read"), [span(1)])])
    found = traces.get("tr-1")
    assert (found.name, found.state, found.told, found.spanned) == ("told", "error", True, True)


def test_what_spans_say_gives_way_to_what_a_client_says(traces: Traces, place: str) -> None:
    traces.add_spans([(trace(place, name="read"), [span(1)])])
    assert (traces.get("tr-1").name, traces.get("tr-1").told) == ("read", False)
    traces.start(trace(place, name="told"))
    assert (traces.get("tr-1").name, traces.get("tr-1").told) == ("told", True)


def test_a_root_that_comes_last_says_what_the_trace_is(traces: Traces, place: str) -> None:
    traces.add_spans([(trace(place, name="", state="in_progress", duration_us=None), [span(2)])])
    assert traces.get("tr-1").state == "in_progress"
    traces.add_spans([(trace(place, name="root"), [span(1)])])
    assert (traces.get("tr-1").name, traces.get("tr-1").state) == ("root", "ok")


def test_spans_come_back_in_the_order_in_which_they_started(traces: Traces, place: str) -> None:
    traces.add_spans([(trace(place), [span(3, "c"), span(1, "a")])])
    traces.add_spans([(trace(place), [span(2, "b"), span(1, "again")])])
    assert traces.spans(["tr-1", "tr-2"]) == {"tr-1": ["again", "b", "c"], "tr-2": []}


def test_spans_of_two_traces_are_kept_together_or_not_at_all(traces: Traces, place: str) -> None:
    with pytest.raises(NotFound, match="No Experiment with id=99"):
        traces.add_spans([(trace(place), [span(1)]), (trace("99", "tr-2"), [span(1)])])
    with pytest.raises(NotFound, match="tr-1"):
        traces.get("tr-1")


def test_the_default_experiment_takes_traces_before_anything_else_is_in_it(traces: Traces) -> None:
    traces.add_spans([(trace("0"), [span(1)])])
    assert traces.get("tr-1").experiment_id == "0"


def test_a_deleted_experiment_takes_no_traces(traces: Traces, experiments: Experiments, place: str) -> None:
    experiments.delete(place)
    with pytest.raises(Conflict, match="was deleted"):
        traces.start(trace(place))


def test_deleted_traces_leave_nothing_behind(
    traces: Traces, place: str, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "_AT_ONCE", 1)
    with tables.write() as conn:
        for number in range(4):
            files.put(conn, "default", Artifact(f"{place}/traces/tr-{number}/artifacts/a", "0" * 64, 1, NOW))
    for number in range(4):
        made = trace(place, f"tr-{number}", started_at=NOW + number)
        traces.start(made)
        traces.add_spans([(made, [span(1)])])
        traces.assess(made.id, {"feedback": {"value": True}}, name="good")
    assert traces.delete(place, until=NOW + 2, limit=2) == 2
    assert traces.delete(place, trace_ids=["tr-2", "tr-9"]) == 1
    with tables.read() as conn:
        for name in ("trace", "span", "assessment", "trace_tag", "trace_metadata", "artifact"):
            (count,) = conn.exec_driver_sql(f"SELECT count(*) FROM {name}").one()
            assert count == 1, name
    assert [event.kind for event in SqlJournal(tables).read()][-1] == "tracking.traces_deleted"


def test_to_delete_traces_ids_or_a_time_is_needed(traces: Traces, place: str) -> None:
    for ids, until in (((), None), (("tr-1",), 5)):
        with pytest.raises(Invalid, match="either"):
            traces.delete(place, trace_ids=ids, until=until)


def test_an_assessment_is_revised_in_part(traces: Traces, place: str) -> None:
    traces.start(trace(place))
    made = traces.assess("tr-1", {"feedback": {"value": 1}, "rationale": "so"}, name="score")
    traces.revise("tr-1", made.id, {"feedback": {"value": 2}})
    found = traces.assessment("tr-1", made.id)
    assert (found.content["feedback"], found.content["rationale"]) == ({"value": 2}, "so")
    traces.delete_assessment("tr-1", made.id)
    with pytest.raises(NotFound, match="no assessment"):
        traces.assessment("tr-1", made.id)


def test_pages_of_a_search_are_the_whole_in_every_order(traces: Traces, place: str) -> None:
    for number in range(7):
        length = None if number == 3 else (number % 3) * 1_000
        traces.start(trace(place, f"tr-{number}", started_at=NOW + number // 2, duration_us=length))
    for order in ((), ("execution_time_ms DESC",), ("execution_time_ms",), ("name", "timestamp_ms"), ("status DESC",)):
        whole = [one.id for one in traces.search([place], order_by=order).items]
        found, token = [], ""
        while True:
            page = traces.search([place], order_by=order, limit=2, page_token=token)
            found += [one.id for one in page.items]
            token = page.next_token
            if not token:
                break
        assert found == whole
        assert sorted(whole) == [f"tr-{n}" for n in range(7)]


def test_a_search_looks_only_where_it_is_told(traces: Traces, experiments: Experiments, place: str) -> None:
    other = experiments.create("second").id
    traces.start(trace(place))
    traces.start(trace(other, "tr-2", name="other"))
    assert [one.id for one in traces.search([place]).items] == ["tr-1"]
    assert [one.id for one in traces.search([place, other], "name = 'other'").items] == ["tr-2"]
    assert traces.search([]).items == ()
    with pytest.raises(Invalid, match="501"):
        traces.search([place], limit=501)


def spans_of(*attributes: tuple[str, object]) -> str:
    return json.dumps({"attributes": [{"key": key, "value": value} for key, value in attributes]})


def test_comparisons_joined_by_and_are_about_one_span_and_others_about_any(traces: Traces, place: str) -> None:
    text, number = {"string_value": '"late"'}, {"int_value": 7}
    kept = [
        Span("0" * 16, 1, spans_of(("a key", text)), name="load", kind="TOOL", status="OK"),
        Span("1" * 16, 2, spans_of(("n", number), ("plain", {"string_value": "as it is"})), name="ask", status="ERROR"),
    ]
    traces.add_spans([(trace(place, "tr-1"), kept), (trace(place, "tr-2"), [span(1)])])

    def found(text: str) -> list[str]:
        return sorted(one.id for one in traces.search([place], text).items)

    for asked in (
        "spans.name = 'load' AND spans.status = 'OK'",
        "spans.name = 'load' OR spans.name = 'other'",
        "(spans.name = 'ask' AND spans.attributes.n = '7') AND trace_id = 'tr-1'",
        "spans.attributes.`a key` = 'late'",
        "spans.attributes.plain RLIKE '^as .. is$'",
        "spans.attributes.n IS NOT NULL",
        "NOT (spans.attributes.n IS NULL)",
        "NOT spans.name NOT RLIKE '.'",  # of the other trace the span has no name
    ):
        assert found(asked) == ["tr-1"], asked
    assert found("spans.name = 'load' AND spans.status = 'ERROR'") == []
    assert found("spans.attributes.n IS NULL") == ["tr-2"]
    assert found("NOT (spans.name = 'load' AND spans.type = 'x')") == ["tr-1", "tr-2"]


def test_opinions_are_text_or_numbers_and_one_that_was_replaced_counts_no_more(traces: Traces, place: str) -> None:
    traces.start(trace(place))
    traces.assess("tr-1", {"feedback": {"value": 0.75}}, name="score")
    traces.assess("tr-1", {"feedback": {"value": "good"}, "valid": False}, name="said")
    traces.assess("tr-1", {"expectation": {"serializedValue": {"value": '{"sum": 3}'}}}, name="sum")
    for asked, wanted in (
        ("feedback.score = 0.75", 1),
        ("feedback.score >= 1", 0),
        ("feedback.score = '0.75'", 1),
        ("feedback.said = 'good'", 0),
        ("feedback.said IS NULL", 1),
        ("expectation.sum LIKE '%3%'", 1),
    ):
        assert len(traces.search([place], asked).items) == wanted, asked


VALUES = ("late", "LATE", "late-12", "a b\nc", "x.y", "[x]", "", "über", "aaa", "a-b")
PATTERNS = (
    "^late(-[0-9]+)?$",
    "LATE|late$",
    r"\d{2,3}",
    r"^\w+$",
    "b.c",
    r"x\.y",
    r"\[x\]",
    "^$",
    "a{3}",
    "^a+?$",
    "[^a-z]",
    "[a-]b",
    r"[\d\s]",
    "(?:a|x)(.)",
    "ü",
    "^(a|)b?",
)


def test_patterns_mean_the_same_to_every_database(traces: Traces, place: str) -> None:
    for number, value in enumerate(VALUES):
        traces.start(trace(place, f"tr-{number}", tags={"t": value}))
    for pattern in PATTERNS:
        wanted = {f"tr-{n}" for n, value in enumerate(VALUES) if re.search(pattern, value, re.DOTALL)}
        got = {one.id for one in traces.search([place], f"tags.t RLIKE '{pattern}'").items}
        assert got == wanted, pattern


def test_traces_are_tied_to_runs_and_prompts_that_there_are(traces: Traces, place: str) -> None:
    traces.start(trace(place))
    with pytest.raises(NotFound, match="Run with id"):
        traces.link_to_run(["tr-1"], "0" * 32)
    with pytest.raises(Invalid, match="101 traces"):
        traces.link_to_run([f"tr-{n}" for n in range(101)], "0" * 32)
    with pytest.raises(NotFound, match="tr-2"):
        traces.link_prompts("tr-2", ["ask/1"])
    traces.link_prompts("tr-1", ["ask/1", "ask/1"])
    assert [one.id for one in traces.search([place], "prompt = 'ask/1'").items] == ["tr-1"]
