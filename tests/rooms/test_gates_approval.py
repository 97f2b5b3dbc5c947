"""Approvals, answers without a version, and reports, over real tables and the real doors."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result
from litestar.testing import TestClient
from sklearn.linear_model import LogisticRegression

from mainspring.core.caller import Caller, calling
from mainspring.core.clock import ManualClock
from mainspring.core.errors import Conflict, Invalid, NotFound, Refused
from mainspring.core.wiring import Wiring
from mainspring.gates import Gates, Verdict, parse_gate, report
from mainspring.gates.approving import read_approve
from mainspring.gates.commands import group
from mainspring.gates.given import Given
from mainspring.gates.step import judge_answers, judge_version
from mainspring.registry import Registry
from mainspring.server.app import create_app
from mainspring.storage.files import FileBlobs
from mainspring.storage.journal import SqlJournal
from mainspring.storage.ports import Journal, Tables

CHECKS = [{"metric": "accuracy", "floor": 0.6}, {"size_mb": 1}]
SECTIONS: dict[str, dict[str, object]] = {
    "promote": {"label": "late", "checks": CHECKS, "approve": {"role": "validator", "when": "production"}},
    "open": {"label": "late", "checks": CHECKS},
    "scores": {
        "undecided": "shadow",
        "checks": [
            {"metric": "roc_auc", "compare": "non_inferior", "margin": 0.05},
            {"metric": "accuracy", "floor": 0.6, "slices": ["region"]},
        ],
    },
}


def rows(n: int, seed: int) -> pl.DataFrame:
    generator = np.random.default_rng(seed)
    x = generator.normal(0, 1, n)
    late = generator.uniform(0, 1, n) < 1 / (1 + np.exp(-2 * x))
    return pl.DataFrame({"x": x, "late": late.astype(np.int64)})


def answers(n: int = 2000, *, noise: float = 0.1) -> pl.DataFrame:
    generator = np.random.default_rng(2)
    belief = generator.uniform(0.02, 0.98, n)
    return pl.DataFrame(
        {
            "late": generator.uniform(0, 1, n) < belief,
            "score": np.clip(belief + generator.normal(0, noise, n), 0, 1),
            "before": np.clip(belief + generator.normal(0, noise, n), 0, 1),
            "region": np.where(np.arange(n) % 2, "n", "s"),
        }
    )


@pytest.fixture
def wiring(sqlite_tables: Tables, tmp_path: Path) -> Iterator[Wiring]:
    journal, clock = SqlJournal(sqlite_tables), ManualClock(1_700_000_000_000_000)
    blobs = FileBlobs(tmp_path / "blobs")
    registry = Registry(tables=sqlite_tables, journal=journal, blobs=blobs, clock=clock, folder=tmp_path)
    gates = Gates(tables=sqlite_tables, journal=journal, registry=registry, sections=SECTIONS, clock=clock)
    wiring = Wiring()
    wiring.add(Gates, lambda _: gates)
    wiring.add(Registry, lambda _: registry)
    wiring.add(Tables, lambda _: sqlite_tables)  # type: ignore[type-abstract]  # the wiring knows ports by name
    wiring.add(Journal, lambda _: journal)  # type: ignore[type-abstract]  # the wiring knows ports by name
    yield wiring


@pytest.fixture
def gates(wiring: Wiring) -> Gates:
    return wiring.get(Gates)


@pytest.fixture
def passed(wiring: Wiring, gates: Gates) -> Verdict:
    """A version that the gate passed, and that waits for a validator."""
    frame = rows(500, 1)
    model = LogisticRegression().fit(frame.select("x").to_numpy(), frame["late"].to_numpy())
    version = wiring.get(Registry).register("late", model, example=frame.select("x").head(2))
    spec = gates.spec("promote")
    found = gates.evaluate(spec, candidate=version, champion=None, frame=rows(1000, 2), label="late", data_ref="d/1")
    assert found.outcome == "pass"
    return found


@pytest.fixture
def client(wiring: Wiring) -> Iterator[TestClient]:  # type: ignore[type-arg]  # over whatever app
    with TestClient(create_app(wiring, port=80, rooms=["gates"]), base_url="http://127.0.0.1") as client:
        yield client


def run(wiring: Wiring, *arguments: str) -> Result:
    return CliRunner().invoke(group, list(arguments), obj=lambda: wiring)


# approval


def test_a_pass_waits_for_production_until_somebody_approves_it(wiring: Wiring, gates: Gates, passed: Verdict) -> None:
    assert (gates.standing(passed.id), gates.standing(passed.id, target="staging")) == ("wait", "go")
    assert gates.waiting(gates.verdicts()) == {passed.id}
    assert gates.objections(["late"], 1) == [f"gate promote waits for a validator: mainspring gate show {passed.id}"]
    made = gates.decide(passed.id, "approved", reason=" read the card ")
    assert (made.actor, made.role, made.reason, made.digest) == (
        "owner",
        "validator",
        "read the card",
        passed.candidate_digest,
    )
    assert gates.standing(passed.id) == "go"
    assert (gates.objections(["late"], 1), gates.waiting(gates.verdicts())) == ([], set())
    (event,) = wiring.get(Journal).read(kinds=["gates.approval_decided"])  # type: ignore[type-abstract]
    assert (event.subject, event.payload["decision"], event.payload["version"]) == (passed.ref, "approved", 1)


def test_what_was_decided_outlives_the_process_that_kept_it(wiring: Wiring, gates: Gates, passed: Verdict) -> None:
    gates.decide(passed.id, "refused", reason="night flights are missing")
    tables = wiring.get(Tables)  # type: ignore[type-abstract]
    again = Gates(tables=tables, journal=SqlJournal(tables), registry=wiring.get(Registry), sections=SECTIONS)
    assert again.standing(passed.id) == "stop"
    assert [each.reason for each in again.approvals(passed.id)] == ["night flights are missing"]
    assert again.objections(["late"], 1) == [
        f"gate promote was refused by a validator: mainspring gate show {passed.id}"
    ]


def test_a_decision_is_taken_once_with_a_reason_and_by_somebody_else(gates: Gates, passed: Verdict) -> None:
    for decision, reason in (("approved", " "), ("approvd", "because")):
        with pytest.raises(Invalid):
            gates.decide(passed.id, decision, reason=reason)
    gates.decide(passed.id, "approved", reason="good")
    with pytest.raises(Conflict, match="owner approved it before: good"):
        gates.decide(passed.id, "refused", reason="bad")
    with pytest.raises(NotFound):
        gates.decide("0" * 32, "approved", reason="good")


def test_who_asked_for_a_verdict_does_not_approve_it(wiring: Wiring, gates: Gates, passed: Verdict) -> None:
    version = wiring.get(Registry).get("late", 1)
    with calling(Caller(actor="ada")):
        found = gates.evaluate(
            gates.spec("promote"),
            candidate=version,
            champion=None,
            frame=rows(1000, 2),
            label="late",
            data_ref="d/1",
        )
        with pytest.raises(Refused, match="does not approve it"):
            gates.decide(found.id, "approved", reason="mine")
    with calling(Caller(actor="grace")):
        assert gates.decide(found.id, "approved", reason="hers").actor == "grace"


def asking(wiring: Wiring, **terms: object) -> Verdict:
    """A pass of version 1 that grace asked for, at a gate with these terms."""
    gates = wiring.get(Gates)
    table = {"label": "late", "checks": CHECKS, "approve": {"role": "validator", **terms}}
    with calling(Caller(actor="grace")):
        return gates.evaluate(
            parse_gate("terms", table),
            candidate=wiring.get(Registry).get("late", 1),
            champion=None,
            frame=rows(1000, 2),
            label="late",
            data_ref="d/1",
        )


def say(gates: Gates, verdict: Verdict, actor: str, decision: str = "approved") -> str:
    with calling(Caller(actor=actor)):
        gates.decide(verdict.id, decision, reason=f"says {actor}")
    return gates.standing(verdict.id)


def test_a_gate_may_want_several_people_and_each_speaks_once(wiring: Wiring, gates: Gates, passed: Verdict) -> None:
    found = asking(wiring, people=2)
    assert say(gates, found, "ada") == "wait"
    assert "waits for 1 of 2 approvals as validator" in run(wiring, "show", found.id).output
    assert gates.waiting([found]) == {found.id}
    with pytest.raises(Conflict, match="ada approved it before") as spoke:
        say(gates, found, "ada")
    assert spoke.value.hint == "it waits for 1 of 2 approvals as validator"
    assert say(gates, found, "joan") == "go"
    with pytest.raises(Conflict, match="joan approved it before"):
        say(gates, found, "mary", "refused")
    events = wiring.get(Journal).read(kinds=["gates.approval_decided"])  # type: ignore[type-abstract]
    assert [(each.actor, each.payload["standing"]) for each in events] == [("ada", "wait"), ("joan", "go")]
    other = asking(wiring, people=2)
    say(gates, other, "ada")
    assert say(gates, other, "joan", "refused") == "stop"
    with pytest.raises(Conflict, match="joan refused it before"):
        say(gates, other, "mary")


def test_only_those_who_are_named_decide(wiring: Wiring, gates: Gates, passed: Verdict) -> None:
    found = asking(wiring, by=["ada", "joan"], people=2)
    with pytest.raises(Refused, match="owner is none of those who decide") as told:
        say(gates, found, "owner")
    assert told.value.hint == "ask ada or joan (a house without users knows only the owner)"
    assert (say(gates, found, "ada"), say(gates, found, "joan")) == ("wait", "go")


def test_four_eyes_keep_out_whoever_registered_the_version_or_asked(
    wiring: Wiring, gates: Gates, passed: Verdict
) -> None:
    found = asking(wiring, four_eyes=True)
    with pytest.raises(Refused, match="grace asked for the verdict, and the gate wants four eyes"):
        say(gates, found, "grace")
    with pytest.raises(Refused, match="owner registered the version, and the gate wants four eyes"):
        say(gates, found, "owner")
    assert say(gates, found, "ada") == "go"


def test_two_who_decide_at_once_are_heard_one_after_the_other(wiring: Wiring, gates: Gates, passed: Verdict) -> None:
    found, starts = asking(wiring), Barrier(4)

    def decide(number: int) -> str:
        starts.wait()
        try:
            return say(gates, found, f"person-{number}", "approved" if number % 2 else "refused")
        except Conflict as refused:
            return refused.code

    with ThreadPoolExecutor(4) as pool:
        came = sorted(pool.map(decide, range(4)))
    assert came.count("conflict") == 3
    assert len(gates.approvals(found.id)) == 1


def test_a_changed_verdict_voids_its_approval(wiring: Wiring, gates: Gates, passed: Verdict) -> None:
    gates.decide(passed.id, "approved", reason="good")
    with wiring.get(Tables).write() as conn:  # type: ignore[type-abstract]
        conn.execute(sa.text("update verdict set n = 9"))
    assert gates.standing(passed.id) == "wait"


def test_only_a_pass_of_a_gate_that_asks_can_be_approved(wiring: Wiring, gates: Gates, passed: Verdict) -> None:
    version = wiring.get(Registry).get("late", 1)
    given = {"candidate": version, "champion": None, "label": "late", "data_ref": "d/2"}
    failed = gates.evaluate(gates.spec("promote"), frame=rows(3, 1), **given)  # type: ignore[arg-type]
    plain = gates.evaluate(gates.spec("open"), frame=rows(1000, 1), **given)  # type: ignore[arg-type]
    assert (gates.standing(failed.id), gates.standing(plain.id)) == ("stop", "go")
    for found, what in ((failed, "only a pass"), (plain, "asks for no approval")):
        with pytest.raises(Refused, match=what):
            gates.decide(found.id, "approved", reason="good")


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ({"role": ""}, "who has to approve"),
        ({"role": "validator", "when": "prodution"}, "when is"),
        ({"rôle": "validator"}, "unknown setting"),
        ("validator", "not a table"),
        ({"role": "validator", "people": 0}, "0 people"),
        ({"role": "validator", "people": "two"}, "not a whole number"),
        ({"role": "validator", "by": ["ada"], "people": 2}, "2 people asked for"),
        ({"role": "validator", "by": ["ada", "ada"]}, "are no people"),
        ({"role": "validator", "by": "ada"}, "are no people"),
        ({"role": "validator", "four_eyes": 1}, "is not true or false"),
    ],
)
def test_approve_that_is_not_written_as_it_should_be_is_refused(value: object, what: str) -> None:
    with pytest.raises(Invalid, match=what):
        read_approve(value, "gate.g.approve")


def test_api_page_and_command_show_and_take_the_decision(
    wiring: Wiring,
    client: TestClient,  # type: ignore[type-arg]
    passed: Verdict,
) -> None:
    path = f"/api/v1/verdicts/{passed.id}/approval"
    assert client.get(path).json() == {"standing": "wait", "approvals": [], "waits_for": "a validator"}
    assert client.post(path, json={"decision": "maybe", "reason": "x"}).status_code == 400
    assert "waits for a validator" in client.get("/gates").text
    page = client.get(f"/verdicts/{passed.id}").text
    assert 'value="approved"' in page and "before the version goes to production" in page
    assert "approval: waits for a validator" in run(wiring, "show", passed.id).output
    form = {"decision": "approved", "reason": "by the page"}
    sent = client.post(f"/verdicts/{passed.id}", data=form, follow_redirects=False)
    assert (sent.status_code, sent.headers["location"]) == (303, f"/verdicts/{passed.id}")
    assert "by the page" in client.get(f"/verdicts/{passed.id}").text
    assert client.get(path).json()["standing"] == "go"
    again = client.post(path, json={"decision": "approved", "reason": "x"})
    assert (again.status_code, again.json()["code"]) == (409, "conflict")


def test_the_command_approves_and_refuses(wiring: Wiring, gates: Gates, passed: Verdict) -> None:
    assert run(wiring, "approve", passed.id).exit_code == 2
    done = run(wiring, "approve", passed.id, "--reason", "good")
    assert done.output == f"verdict {passed.id} is approved by owner as validator.\n"
    refused = run(wiring, "refuse", passed.id, "--reason", "late thought")
    assert isinstance(refused.exception, Conflict)


# answers without a version


def test_a_table_of_answers_is_judged_stored_and_counted(gates: Gates) -> None:
    said = judge_answers(
        gates, gate="scores", frame=answers(), label="late", baseline="before", data_ref="datasets/e/1"
    )
    assert (said["outcome"], said["standing"], said["version"], said["approval"]) == ("pass", "go", 0, "")
    found = gates.verdict(str(said["verdict"]))
    assert (found.n, found.use, found.model) == (2000, 1, "answers")
    assert found.candidate_digest and found.champion_digest and found.candidate_digest != found.champion_digest
    assert [part.name for part in found.checks[1].slices] == ["region=n", "region=s"]
    assert gates.uses("datasets/e/1") == 1
    same = judge_answers(gates, gate="scores", frame=answers(), label="late", key="k")
    assert judge_answers(gates, gate="scores", frame=answers(), label="late", key="k") == same
    assert gates.verdict(str(same["verdict"])).checks[0].outcome == "skipped"


def test_numbers_are_judged_too_and_checks_of_a_model_say_that_they_need_one(gates: Gates) -> None:
    from mainspring.gates import parse_gate

    truth = np.random.default_rng(1).normal(0, 1, 300)
    frame = pl.DataFrame({"minutes": truth, "said": truth + 0.1})
    checks = [
        {"metric": "mae", "ceiling": 0.2},
        *({key: 1} for key in ("size_mb", "latency_p95_ms")),
        {"leakage": True},
    ]
    found = gates.evaluate_answers(
        parse_gate("g", {"checks": checks}), frame=frame, given=Given(label="minutes", score="said")
    )
    assert [result.outcome for result in found.checks] == ["pass", "error", "error", "error"]
    assert all("only answers were given" in result.note for result in found.checks[1:])


@pytest.mark.parametrize(
    ("frame", "note"),
    [
        (answers(3), "3 rows are too few"),
        (answers().with_columns(late=pl.lit(True)), "all 2000 rows have the label True"),
        (answers().with_columns(late=pl.lit(None)), "2000 of 2000 rows have no label"),
        (answers().with_columns(score=pl.lit(None, dtype=pl.Float64)), "2000 of 2000 values of score are not finite"),
        (answers().with_columns(score=pl.lit("much")), "score is String, not a number"),
        (answers().with_columns(score=pl.lit(7.0)), "no probabilities"),
        (answers().drop("score"), "no column 'score'"),
        (answers().with_columns(late=pl.col("region") + pl.col("score").cast(str)), "late is String"),
    ],
)
def test_answers_that_cannot_be_judged_give_an_error_verdict(gates: Gates, frame: pl.DataFrame, note: str) -> None:
    said = judge_answers(gates, gate="scores", frame=frame, label="late")
    assert (said["outcome"], said["standing"]) == ("error", "stop")
    assert note in str(said["reason"])


def test_a_gate_or_a_label_that_is_not_there_is_said_before_anything_is_judged(gates: Gates) -> None:
    with pytest.raises(NotFound, match="no gate"):
        judge_answers(gates, gate="scors", frame=answers(), label="late")
    with pytest.raises(Invalid, match="no column 'lte'"):
        judge_answers(gates, gate="scores", frame=answers(), label="lte")
    with pytest.raises(NotFound):
        judge_version(gates, gate="scores", model="nothing")
    assert gates.verdicts() == []


def test_doubt_may_let_a_version_into_the_shadow(gates: Gates) -> None:
    said = judge_answers(gates, gate="scores", frame=answers(60, noise=0.4), label="late", baseline="before")
    assert (said["outcome"], said["standing"]) == ("undecided", "shadow")
    assert isinstance(said["rows_needed"], int | None)


# reports


def test_reports_carry_the_evidence(wiring: Wiring, client: TestClient, gates: Gates, passed: Verdict) -> None:  # type: ignore[type-arg]
    gates.decide(passed.id, "approved", reason="good")
    markdown = run(wiring, "show", passed.id, "--markdown").output
    assert "Gate promote: pass" in markdown and "approved by owner as validator" in markdown
    assert "| ✅ pass | accuracy at least 0.6 |" in markdown
    page = run(wiring, "show", passed.id, "--html").output
    assert page.startswith("<!doctype html>") and "<svg" in page and passed.candidate_digest in page
    assert "http" not in page and "<script" not in page
    assert json.loads(run(wiring, "show", passed.id, "--json").output)["use"] == 1
    for form, kind in (("html", "text/html"), ("markdown", "text/markdown"), ("junit", "application/xml")):
        sent = client.get(f"/api/v1/verdicts/{passed.id}/report?format={form}")
        assert (sent.status_code, sent.headers["content-type"].split(";")[0]) == (200, kind)
    assert client.get(f"/api/v1/verdicts/{passed.id}/report?format=pdf").status_code == 400
    assert client.get("/api/v1/verdict-uses?data_ref=d/1").json() == {"data_ref": "d/1", "uses": 1}


def outcomes(verdict: Verdict, *given: str) -> Verdict:
    kinds = [replace(verdict.checks[0], title=f"<{each}> & |", outcome=each) for each in given]  # type: ignore[arg-type]
    return replace(verdict, checks=tuple(kinds), reason="a | b <c>\x00")


def counts(text: str) -> Sequence[str | None]:
    suite = ElementTree.fromstring(text).find("testsuite")
    assert suite is not None
    return [suite.get(name) for name in ("tests", "failures", "errors", "skipped")]


def test_junit_counts_what_failed_and_doubt_as_the_gate_does(passed: Verdict) -> None:
    all_five = outcomes(passed, "pass", "fail", "error", "undecided", "skipped")
    assert counts(report.junit([all_five])) == ["5", "1", "1", "2"]
    assert counts(report.junit([replace(all_five, undecided="fail")])) == ["5", "2", "1", "1"]
    assert "\x00" not in report.junit([all_five])


def test_names_cannot_break_out_of_a_report(passed: Verdict) -> None:
    found = outcomes(passed, "fail")
    assert "<fail>" not in report.html(found) and "&lt;fail&gt;" in report.html(found)
    assert r"\<fail\> & \|" in report.markdown(found)
