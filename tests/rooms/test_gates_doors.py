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
from mainspring.core.errors import MainspringError
from mainspring.core.wiring import Wiring
from mainspring.gates import Gates, Verdict, parse_gate
from mainspring.gates.commands import group
from mainspring.registry import ModelVersion, Registry
from mainspring.server.app import create_app
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
    gates = Gates(tables=sqlite_tables, journal=journal, registry=registry, sections=SECTIONS, clock=clock)
    wiring = Wiring()
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
