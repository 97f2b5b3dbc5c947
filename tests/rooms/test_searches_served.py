"""Searches that a server drives: started, refused, stopped and gone on with by API, page and command."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from litestar.testing import TestClient

from mainspring.core.errors import Conflict, Invalid
from mainspring.core.settings import Settings, load
from mainspring.core.wiring import Wiring
from mainspring.pipelines import Pipelines
from mainspring.pipelines.desk import KIND
from mainspring.pipelines.desk import QUEUE as RUNS
from mainspring.pipelines.search import SearchState, Study, TrialState
from mainspring.pipelines.search.commands import group
from mainspring.pipelines.search.service import QUEUE, Searches
from mainspring.pipelines.worker import Worker
from mainspring.server.app import create_app
from mainspring.server.background import Background
from mainspring.server.house import open_house
from mainspring.storage.ports import Queue, Tables

pytest.importorskip("optuna")
PATIENCE_S = 60
HILL = """
import time
from pathlib import Path

from mainspring import pipeline, search, step


@step(cache=False)
def climb(x: float, stay: str) -> float:
    while stay and not Path(stay).exists():
        time.sleep(0.02)
    return -((x - 1) ** 2)


@search(space={"x": {"low": 0.0, "high": 2.0}}, objective={"score": "maximize"}, trials=3)
@pipeline
def hill(x: float = 0.0, stay: str = "") -> dict[str, float]:
    return {"score": climb(x, stay)}


@pipeline
def flat(x: float = 0.0) -> float:
    return climb(x, "")
"""
TOML = '[loop]\nlease_s = 1\n[search.deep]\npipeline = "hill.py:hill"\ntrials = 2\n'


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def house(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wiring]:
    folder = tmp_path_factory.mktemp("house")
    (folder / "mainspring.toml").write_text(TOML)
    (folder / "hill.py").write_text(HILL)
    (folder / "ends.py").write_text("print('on the way')\nraise SystemExit(3)\n")
    environ = {}
    if request.param == "postgres":
        server = request.getfixturevalue("postgres_server")
        environ["MAINSPRING_STORAGE_DB"] = server.url(server.make_database())
    made = open_house(load(folder, environ=environ))
    yield made
    made.close()


@pytest.fixture(scope="module")
def searches(house: Wiring) -> Searches:
    return house.get(Searches)


@pytest.fixture(scope="module")
def client(house: Wiring) -> Iterator[TestClient[Any]]:
    app = create_app(house, port=80, rooms=["pipelines"])
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as made:
        yield made


@contextmanager
def working(house: Wiring) -> Iterator[None]:
    """The workers of a server, of which one thread does the trials."""
    tables, queue = house.get(Tables), house.get(Queue)  # type: ignore[type-abstract]  # the wiring knows ports by name
    trials = Worker(tables, queue, {KIND: house.get(Pipelines).work_once}, queues=(RUNS,), poll_s=0.02)
    workers = [trials, Background(house).searcher()]
    for worker in workers:
        worker.start()
    try:
        yield
    finally:
        for worker in reversed(workers):
            worker.stop(PATIENCE_S)


def until(is_so: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def ended(house: Wiring, study_id: str) -> Study:
    """A search, once it and its job are over."""
    searches, queue = house.get(Searches), house.get(Queue)  # type: ignore[type-abstract]
    until(lambda: (now := searches.get(study_id)).state.is_final and queue.get(now.job_id).state.is_final)
    return searches.get(study_id)


def test_a_search_that_is_asked_for_over_http_is_driven_by_a_worker(
    searches: Searches, client: TestClient[Any], house: Wiring
) -> None:
    (house.get(Settings).root / "alone.py").write_text(HILL)
    asked = client.post("/api/v1/searches", json={"target": "alone.py:hill", "search": {"parallel": 2, "seed": 4}})
    assert (asked.status_code, asked.json()["state"]) == (201, "queued")
    study_id = asked.json()["id"]
    assert "it waits for a worker" in client.get(f"/searches/{study_id}").text
    with working(house):
        study = ended(house, study_id)
    assert study.state is SearchState.FINISHED, study.error
    assert [trial.state for trial in study.trials] == [TrialState.FINISHED] * 3
    (best,) = searches.best(study)
    assert best.values["score"] == max(trial.values["score"] for trial in study.trials)
    assert "3 of 3 trials have ended, 3 finished" in client.get(f"/searches/{study_id}").text
    assert not [name for name in sys.modules if name.startswith("alone")]  # the server ran nothing of the project
    more = client.post(f"/api/v1/searches/{study_id}/resume", json={"trials": 1})
    assert (more.status_code, more.json()["search"]["trials"]) == (200, 4)
    assert client.post(f"/api/v1/searches/{study_id}/resume", json={}).status_code == 409
    with working(house):
        assert len(ended(house, study_id).trials) == 4


def test_the_same_key_is_the_same_search_and_runs_once(
    searches: Searches, client: TestClient[Any], house: Wiring
) -> None:
    body = {"target": "hill.py:hill", "search": {"trials": 1}, "key": "nightly"}
    with ThreadPoolExecutor(4) as pool:
        asked = list(pool.map(lambda _: client.post("/api/v1/searches", json=body), range(4)))
    assert {each.status_code for each in asked} == {201}
    (study_id,) = {each.json()["id"] for each in asked}
    with working(house):
        assert len(ended(house, study_id).trials) == 1
    again = client.post("/api/v1/searches", json=body | {"target": "gone.py:hill"})  # asked after the file has moved
    assert (again.json()["id"], again.json()["state"]) == (study_id, "finished")
    other = client.post("/api/v1/searches", json=body | {"key": "weekly"}).json()["id"]
    assert other != study_id
    assert searches.cancel(other, reason="nothing is left on the queue for the next test")
    assert [study.id for study in searches.studies(limit=1000)].count(study_id) == 1


REFUSED: list[tuple[dict[str, object], int, str]] = [
    ({"target": "hill.py:hill", "search": {"trails": 3}}, 400, "unknown setting 'trails'"),
    ({"target": "hill.py:hill", "search": {"trials": "many"}}, 400, "is no int"),
    ({"target": "hill.py:hill", "search": {"prune": 3}}, 400, "is no str"),
    ({"target": "hill.py:hill", "search": {"winner": [1]}}, 400, "winner is no table"),
    ({"target": "hill.py:hill", "search": {"space": {"y": [1]}}}, 400, "no parameter 'y'"),
    (
        {"target": "hill.py:hill", "search": {"space": {"x": {"low": 0, "high": 10**30}}}},
        400,
        "a range has numbers",
    ),
    ({"target": "hill.py:hill", "search": {"seed": -1}}, 400, "-1 seed"),
    ({"target": "hill.py:hil"}, 400, "no pipeline 'hil'"),
    ({"target": "hill.py:flat"}, 400, "nothing is declared"),
    ({"target": "hil.py:hill"}, 404, "no file hil.py"),
    ({"target": "deap"}, 404, "no search 'deap'"),
    ({"target": "ends.py:hill"}, 400, "importing it ended its process: on the way"),
    ({"target": "../hill.py:hill"}, 409, "outside the project folder"),
]


@pytest.mark.parametrize(("body", "status", "says"), REFUSED, ids=[says for _, _, says in REFUSED])
def test_what_cannot_be_searched_is_refused_with_the_reason_and_nothing_is_noted(
    searches: Searches, client: TestClient[Any], body: dict[str, object], status: int, says: str
) -> None:
    before = len(searches.studies(limit=1000))
    answer = client.post("/api/v1/searches", json=body)
    assert answer.status_code == status, answer.text
    assert says in json.dumps(answer.json(), ensure_ascii=False)
    assert len(searches.studies(limit=1000)) == before


def test_a_section_that_was_written_after_the_server_began_is_known(
    client: TestClient[Any], searches: Searches, house: Wiring
) -> None:
    file = house.get(Settings).root / "mainspring.toml"
    file.write_text(TOML.replace("[search.deep]", "[search.later]"))
    try:
        assert '<option value="later">' in client.get("/searches").text
        study = client.post("/api/v1/searches", json={"target": "later", "search": {"trials": 9}}).json()
        assert (study["pipeline"], study["search"]["trials"]) == ("hill", 9)
        assert client.post("/api/v1/searches", json={"target": "deep"}).status_code == 404
        assert searches.cancel(study["id"])
    finally:
        file.write_text(TOML)


def test_one_call_stops_a_search_with_its_trials_and_another_has_them_go_on(
    client: TestClient[Any], searches: Searches, house: Wiring, tmp_path: Path
) -> None:
    params = {"stay": str(tmp_path / "go")}
    study_id = client.post("/api/v1/searches", json={"target": "hill.py:hill", "search": {"params": params}}).json()[
        "id"
    ]
    pipelines = house.get(Pipelines)
    with working(house):
        until(lambda: searches.get(study_id).trials and pipelines.get(searches.get(study_id).trials[0].run).steps)
        first = searches.get(study_id).trials[0]
        stopped = client.post(f"/api/v1/searches/{study_id}/cancel", json={"reason": "late"}).json()
        assert (stopped["state"], stopped["error"]) == ("cancelled", "late")
        assert pipelines.get(first.run).state == "cancelled"
        assert not searches.cancel(study_id)
        assert "0 of 3 trials have ended, 1 cut off" in client.get(f"/searches/{study_id}").text
        assert client.post(f"/searches/{study_id}", data={"do": "resume"}, follow_redirects=False).status_code == 303
        (tmp_path / "go").touch()
        study = ended(house, study_id)
    assert study.state is SearchState.FINISHED, study.error
    assert len(study.trials) == 3
    assert (study.trials[0].run, study.trials[0].tries, study.trials[0].params) == (first.run, 1, first.params)


def test_a_worker_that_is_stopped_leaves_the_search_to_the_next(
    client: TestClient[Any], searches: Searches, house: Wiring, tmp_path: Path
) -> None:
    study = searches.start("hill.py:hill", {"params": {"stay": str(tmp_path / "go")}}, queue=True)
    with working(house):
        until(lambda: searches.get(study.id).trials)
    assert searches.get(study.id).state is SearchState.QUEUED
    (tmp_path / "go").touch()
    with working(house):
        assert ended(house, study.id).state is SearchState.FINISHED


def test_who_lost_the_lease_stores_nothing(searches: Searches, house: Wiring) -> None:
    queue = house.get(Queue)  # type: ignore[type-abstract]
    study = searches.start("hill.py:hill", {}, queue=True)
    late = queue.lease("late", [QUEUE], lease_s=0.001)
    assert late is not None
    until(lambda: queue.lease("next", [QUEUE]))
    assert searches.drive(late.job.id, "late", late.attempt).trials == ()
    searches.cancel(study.id)
    again = searches.resume(study.id, queue=True)
    assert again.job_id != study.job_id
    assert searches.drive(late.job.id, "next", late.attempt + 1).trials == ()  # its job was another one
    with pytest.raises(Conflict, match="another process drives"):
        searches.run(study.id)
    searches.cancel(study.id)


def test_a_search_whose_process_is_gone_ends_and_can_go_on_with_a_worker(searches: Searches, house: Wiring) -> None:
    queue = house.get(Queue)  # type: ignore[type-abstract]
    study = searches.start("hill.py:hill", {})
    with pytest.raises(Conflict, match="it is queued already"):
        searches.resume(study.id)
    job = queue.get(study.job_id)
    assert queue.lease("killed", [job.queue], lease_s=0.001) is not None
    until(lambda: searches.settle())
    lost = searches.get(study.id)
    assert lost.state is SearchState.FAILED
    assert "the process that ran it is gone" in lost.error or "the worker was lost" in lost.error
    with working(house):
        searches.resume(study.id, queue=True)
        assert ended(house, study.id).state is SearchState.FINISHED


def test_a_search_that_cannot_go_on_says_why(searches: Searches, house: Wiring) -> None:
    root = house.get(Settings).root
    (root / "gone.py").write_text(HILL)
    study = searches.start("gone.py:hill", {}, queue=True)
    (root / "gone.py").unlink()
    with working(house):
        found = ended(house, study.id)
    assert found.state is SearchState.FAILED
    assert "no file" in found.error


def test_the_form_of_the_page_starts_a_search(client: TestClient[Any], searches: Searches) -> None:
    def post(**form: str) -> Any:
        return client.post("/searches", data=form, follow_redirects=False)

    sent = post(target="deep", trials="7", parallel="")
    assert sent.status_code == 303
    study = searches.get(sent.headers["location"].removeprefix("/searches/"))
    assert (study.search.trials, study.search.parallel, study.state) == (7, 1, SearchState.QUEUED)
    assert post(target="deep", trials="many").status_code == 400
    assert post(target="deep", trials="0").status_code == 400
    foreign = {"Origin": "https://evil.example"}
    assert client.post("/searches", data={"target": "deep"}, headers=foreign).status_code == 403
    searches.cancel(study.id)


def test_the_commands_leave_a_search_to_the_worker(
    house: Wiring, searches: Searches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(house.get(Settings).root)

    def call(*arguments: str) -> Any:
        done = CliRunner().invoke(group, [*arguments, "--json"], obj=lambda: house, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    with pytest.raises(Invalid, match="the server's worker runs the trials"):
        call("run", "hill.py:hill", "--queue", "--inline")
    with pytest.raises(Invalid, match="only a search of the server has a key"):
        call("run", "hill.py:hill", "--key", "by hand")
    study = call("run", "hill.py:hill", "--trials", "2", "--queue", "--key", "by hand")
    assert study["state"] == "queued"
    assert call("run", "hill.py:hill", "--trials", "2", "--queue", "--key", "by hand")["id"] == study["id"]
    with working(house):
        assert ended(house, study["id"]).state is SearchState.FINISHED
        assert call("resume", study["id"], "--trials", "1", "--queue")["search"]["trials"] == 3
        assert len(ended(house, study["id"]).trials) == 3
    shown = CliRunner().invoke(group, ["show", study["id"]], obj=lambda: house, catch_exceptions=False).output
    assert "3 of 3 trials have ended, 3 finished" in shown
