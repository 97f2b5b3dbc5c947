"""The gates' API, pages and commands, over stored verdicts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner, Result
from litestar.testing import TestClient
from sklearn.linear_model import LogisticRegression

from mainspring.core.clock import ManualClock
from mainspring.core.errors import Invalid, MainspringError, NotFound, Refused
from mainspring.core.wiring import Wiring
from mainspring.data import Data
from mainspring.gates import Gates, Verdict, parse_gate
from mainspring.gates.commands import group
from mainspring.registry import ModelVersion, Registry
from mainspring.server.app import create_app
from mainspring.storage.delta import DeltaTables, FilePlace
from mainspring.storage.files import FileBlobs
from mainspring.storage.journal import SqlJournal
from mainspring.storage.ports import Journal, Tables

SECTIONS = {
    "promote": {
        "label": "late",
        "checks": [
            {"metric": "roc_auc", "compare": "non_inferior", "margin": 0.05},
            {"metric": "accuracy", "floor": 0.6, "slices": ["region"], "min_rows": 50},
            {"size_mb": 1},
        ],
    }
}


def rows(n: int, seed: int) -> pl.DataFrame:
    generator = np.random.default_rng(seed)
    x = generator.normal(0, 1, n)
    late = generator.uniform(0, 1, n) < 1 / (1 + np.exp(-2 * x))
    return pl.DataFrame({"x": x, "region": np.where(x > 1, "far", "near"), "late": late.astype(np.int64)})


@pytest.fixture
def wiring(sqlite_tables: Tables, tmp_path: Path) -> Iterator[Wiring]:
    journal, clock = SqlJournal(sqlite_tables), ManualClock(1_700_000_000_000_000)
    blobs = FileBlobs(tmp_path / "blobs")
    registry = Registry(tables=sqlite_tables, journal=journal, blobs=blobs, clock=clock, folder=tmp_path)
    delta = DeltaTables(FilePlace(tmp_path / "delta"))
    data = Data(tables=sqlite_tables, journal=journal, delta=delta, blobs=blobs, clock=clock)
    gates = Gates(tables=sqlite_tables, journal=journal, registry=registry, data=data, sections=SECTIONS, clock=clock)
    wiring = Wiring()
    wiring.add(Data, lambda _: data)
    wiring.add(Gates, lambda _: gates)
    wiring.add(Registry, lambda _: registry)
    wiring.add(Journal, lambda _: journal)  # type: ignore[type-abstract]  # the wiring knows ports by name
    yield wiring


def version(wiring: Wiring, seed: int) -> ModelVersion:
    frame = rows(500, seed)
    model = LogisticRegression().fit(frame.select("x").to_numpy(), frame["late"].to_numpy())
    return wiring.get(Registry).register("late", model, example=frame.select("x").head(2))


@pytest.fixture
def verdicts(wiring: Wiring) -> list[Verdict]:
    """One that passes, one that is undecided, one that is an error."""
    champion, candidate = version(wiring, 1), version(wiring, 2)
    gate = parse_gate("promote", SECTIONS["promote"])
    frames = (rows(4000, 3), rows(60, 4), rows(3, 5))
    return [
        wiring.get(Gates).evaluate(
            gate, candidate=candidate, champion=champion, frame=frame, label="late", data_ref=f"datasets/eval/{number}"
        )
        for number, frame in enumerate(frames, start=1)
    ]


@pytest.fixture
def client(wiring: Wiring) -> Iterator[TestClient]:  # type: ignore[type-arg]  # over whatever app
    with TestClient(create_app(wiring, port=80, rooms=["gates"]), base_url="http://127.0.0.1") as client:
        yield client


def run(wiring: Wiring, arguments: Sequence[str]) -> Result:
    return CliRunner().invoke(group, list(arguments), obj=lambda: wiring)


def test_the_three_outcomes_are_as_they_should_be(verdicts: list[Verdict]) -> None:
    assert [found.outcome for found in verdicts] == ["pass", "undecided", "error"]


def test_the_list_page_shows_gates_and_verdicts(client: TestClient, verdicts: list[Verdict]) -> None:  # type: ignore[type-arg]
    page = client.get("/gates").text
    assert "roc_auc non-inferior by 0.05" in page
    for found in verdicts:
        assert f"/verdicts/{found.id}" in page


def test_an_empty_list_shows_the_command_that_fills_it(client: TestClient) -> None:  # type: ignore[type-arg]
    assert "mainspring gate run GATE MODEL VERSION" in client.get("/gates").text
    assert "No verdict matches" in client.get("/gates?model=x").text


def test_the_verdict_page_draws_every_interval(client: TestClient, verdicts: list[Verdict]) -> None:  # type: ignore[type-arg]
    passed, undecided, error = (client.get(f"/verdicts/{found.id}").text for found in verdicts)
    assert passed.count("<svg class=") >= 4  # two checks and two slices
    assert "region=far" in passed
    assert "would decide" in undecided
    assert "3 rows are too few" in error


def test_a_verdict_that_is_not_there_is_404(client: TestClient) -> None:  # type: ignore[type-arg]
    answer = client.get("/api/v1/verdicts/0192f3a4b5c67d8e9f00112233445566")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_the_api_lists_and_shows(client: TestClient, verdicts: list[Verdict]) -> None:  # type: ignore[type-arg]
    listed = client.get("/api/v1/verdicts?model=late").json()
    assert [found["id"] for found in listed] == [found.id for found in reversed(verdicts)]
    one = client.get(f"/api/v1/verdicts/{verdicts[0].id}").json()
    assert one["checks"][0]["title"] == "roc_auc non-inferior by 0.05"
    assert client.get("/api/v1/gates").json()[0]["name"] == "promote"
    assert client.get("/api/v1/gates/promote").json()["alpha"] == 0.05
    assert client.get("/api/v1/gates/promot").status_code == 404


def test_running_without_data_is_refused_in_words(client: TestClient, verdicts: list[Verdict]) -> None:  # type: ignore[type-arg]
    answer = client.post("/api/v1/gates/promote/verdicts", json={"model": "late"})
    assert answer.status_code == 400
    assert "on which data" in answer.json()["what"]


def test_the_list_command_prints_a_table_and_json(wiring: Wiring, verdicts: list[Verdict]) -> None:
    table = run(wiring, ["ls", "--model", "late"])
    assert table.exit_code == 0
    assert "undecided" in table.output
    listed = json.loads(run(wiring, ["ls", "--json"]).output)
    assert [found["id"] for found in listed] == [found.id for found in reversed(verdicts)]


def test_the_show_command_prints_the_evidence(wiring: Wiring, verdicts: list[Verdict]) -> None:
    output = run(wiring, ["show", verdicts[0].id]).output
    assert output.startswith("PASS  gate promote: models/late/2 against models/late/1")
    assert "against -0.05" in output
    assert json.loads(run(wiring, ["show", verdicts[0].id, "--json"]).output)["outcome"] == "pass"


def test_a_run_without_data_is_an_error_with_a_hint(wiring: Wiring, verdicts: list[Verdict]) -> None:
    refused = run(wiring, ["run", "promote", "late"])
    assert isinstance(refused.exception, MainspringError)
    assert "--data" in refused.exception.hint


@pytest.fixture
def champion(wiring: Wiring) -> ModelVersion:
    """A champion trained on `trips/1`, and a later evaluation set."""
    wiring.get(Data).ingest("trips", rows(500, 1))
    wiring.get(Data).ingest("trips", rows(4000, 3))
    found = version(wiring, 1)
    wiring.get(Registry).set_alias("late", "champion", found.number, "first")
    return found


def test_a_run_judges_the_newest_data_against_the_champion(wiring: Wiring, champion: ModelVersion) -> None:
    candidate = version(wiring, 2)
    shown = run(wiring, ["run", "promote", "late", str(candidate.number), "--data", "trips"])
    assert shown.exit_code == 0, shown.output
    assert "PASS  gate promote: models/late/2 against models/late/1" in shown.output
    assert "4000 rows of datasets/trips/2 (use 1 of them)" in shown.output


def test_a_run_that_does_not_pass_is_refused_and_says_where_the_evidence_is(
    wiring: Wiring, champion: ModelVersion
) -> None:
    model = LogisticRegression().fit(rows(500, 2).select("x").to_numpy(), np.arange(500) % 2)
    wiring.get(Registry).register("late", model, example=rows(2, 2).select("x"))
    refused = run(wiring, ["run", "promote", "late", "--data", "trips/2"])
    assert isinstance(refused.exception, Refused)
    (found,) = wiring.get(Gates).verdicts("late")
    assert found.outcome == "fail"
    assert refused.exception.hint == f"mainspring gate show {found.id}"
    assert refused.output.startswith("FAIL")


def test_the_champion_itself_has_nobody_to_be_compared_with(wiring: Wiring, champion: ModelVersion) -> None:
    found = wiring.get(Gates).run("promote", "late", "champion", data="trips/2")
    assert (found.champion, found.checks[0].outcome) == (None, "skipped")


def test_leakage_looks_at_the_rows_the_version_was_trained_on(wiring: Wiring, champion: ModelVersion) -> None:
    model = LogisticRegression().fit(rows(500, 1).select("x").to_numpy(), rows(500, 1)["late"].to_numpy())
    wiring.get(Registry).register("late", model, example=rows(2, 1).select("x"), reference="datasets/trips/1")
    gate = parse_gate("clean", {"checks": [{"leakage": True}]})
    outcomes = []
    for number in (1, 2):
        frame = wiring.get(Data).frame("trips", number).collect()
        candidate = wiring.get(Registry).get("late", "latest")
        found = wiring.get(Gates).evaluate(
            gate, candidate=candidate, champion=None, frame=frame, label="late", data_ref=f"datasets/trips/{number}"
        )
        outcomes.append((found.outcome, found.checks[0].note))
    assert outcomes == [
        ("fail", "500 of 500 evaluation rows are training rows"),
        ("pass", "0 rows shared with the training set"),
    ]


def test_data_that_is_not_there_is_not_found(wiring: Wiring, champion: ModelVersion) -> None:
    with pytest.raises(NotFound):
        wiring.get(Gates).run("promote", "late", 1, data="tripz")
    with pytest.raises(NotFound, match="no dataset trips-newest"):
        wiring.get(Gates).run("promote", "late", 1, data="trips/newest")
    with pytest.raises(Invalid, match="names no dataset version"):
        wiring.get(Gates).run("promote", "late", 1, data="trips/a/b")


def test_a_part_is_the_dataset_of_that_name_and_its_version_is_recorded(wiring: Wiring, champion: ModelVersion) -> None:
    candidate = version(wiring, 2)
    wiring.get(Data).ingest("trips-eval", rows(1000, 8))
    found = wiring.get(Gates).run("promote", "late", candidate.number, data="trips/eval")
    assert (found.data_ref, found.n) == ("datasets/trips-eval/1", 1000)
