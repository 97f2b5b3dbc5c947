"""Batches that a server runs, through HTTP, pages and commands; the child that answers is a real one."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner
from litestar import Litestar
from litestar.testing import TestClient
from sklearn.linear_model import LogisticRegression

from mainspring.core.errors import Fenced, Invalid
from mainspring.core.settings import load
from mainspring.core.wiring import Wiring
from mainspring.data import Data
from mainspring.pipelines.worker import Worker
from mainspring.registry import Registry
from mainspring.server.app import create_app
from mainspring.server.house import open_house
from mainspring.serving import Serving
from mainspring.serving.batch.desk import KIND, QUEUE, BatchDesk, BatchOrder
from mainspring.serving.batch.work import BatchWork, _Watch
from mainspring.serving.batch_commands import group
from mainspring.storage.ports import Journal, Queue, QueueControl, Tables

ROWS = pl.DataFrame({"age": [20.0, 30.0, 40.0, 50.0], "visits": [1.0, 5.0, 2.0, 9.0]})
Http = TestClient[Litestar]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wiring]:
    made = open_house(load(tmp_path_factory.mktemp("house"), environ={}))
    reference = made.get(Data).ingest("people", ROWS).ref
    model = LogisticRegression().fit(ROWS.to_numpy(), [1, 1, 0, 0])
    made.get(Registry).register("churn", model, example=ROWS, reference=reference)
    made.get(Serving).deploy("churn", "churn", 1)
    yield made
    made.close()


@pytest.fixture(scope="module")
def http(house: Wiring) -> Iterator[Http]:
    app = create_app(house, rooms=("serving", "data"))
    with TestClient(app, base_url="http://127.0.0.1:7600", raise_server_exceptions=False) as made:
        yield made


def queue(house: Wiring) -> Queue:
    return house.get(Queue)  # type: ignore[type-abstract]


def worker(house: Wiring) -> Worker:
    tables = house.get(Tables)  # type: ignore[type-abstract]
    return Worker(tables, queue(house), {KIND: house.get(BatchWork)}, queues=(QUEUE,))


def started(http: Http, **more: object) -> str:
    answer = http.post("/api/v1/batches", json={"deployment": "churn", "dataset": "people", **more})
    assert answer.status_code == 201, answer.text
    found: str = answer.json()["id"]
    return found


def drop(house: Wiring) -> None:
    """Leave no batch of a test to the next one."""
    for batch in house.get(BatchDesk).list():
        if batch.state in ("queued", "running"):
            house.get(BatchDesk).cancel(batch.id)


def test_a_batch_is_cancelled_gone_on_with_answered_and_counted_by_monitors(house: Wiring, http: Http) -> None:
    batch = started(http, keep=["age"])
    at = f"/api/v1/batches/{batch}"
    assert http.get(at).json()["order"]["dataset"] == "datasets/people/1"
    assert http.get(f"{at}/answers").status_code == 404
    assert http.post(f"{at}/cancel").json()["state"] == http.post(f"{at}/cancel").json()["state"] == "cancelled"
    assert http.post(f"{at}/resume").json()["state"] == http.post(f"{at}/resume").json()["state"] == "queued"
    assert "It has not begun yet" in http.get(f"/batches/{batch}").text
    assert worker(house).run_one()
    found = http.get(at).json()
    assert (found["state"], found["rows"], found["answered"], found["model_version"]) == ("finished", 4, 4, 1)
    answer = http.get(f"{at}/answers")
    assert answer.headers["content-disposition"].startswith("attachment")
    answers = pl.read_parquet(io.BytesIO(answer.content))
    assert answers["age"].to_list() == ROWS["age"].to_list()
    assert answers["label"].to_list() == [1, 1, 0, 0]
    logged = house.get(Serving).predictions("churn").select("arm", "probability").collect()
    assert set(logged["arm"]) == {"batch"}
    assert sorted(logged["probability"]) == sorted(answers["probability"])
    assert "4 of 4 rows" in http.get(f"/batches/{batch}").text
    assert http.get(f"{at}/quarantine").status_code == 404
    assert http.post(f"{at}/resume").status_code == http.post(f"{at}/cancel").status_code == 409
    kinds = [event.kind for event in house.get(Journal).read(subject=f"batches/{batch}")]  # type: ignore[type-abstract]
    assert [kind.removeprefix("serving.batch_") for kind in kinds] == ["started", "cancelled", "resumed", "finished"]


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        ({"dataset": "nobody"}, 404),
        ({"dataset": "people/7"}, 404),
        ({"dataset": "/etc/secrets.parquet"}, 400),
        ({"dataset": "../people.csv"}, 400),
        ({"deployment": "nobody"}, 404),
        ({"version": 9}, 404),
        ({"processes": 100_000}, 400),
        ({"format": "pickle"}, 400),
    ],
)
def test_what_names_nothing_of_this_server_is_refused(http: Http, wrong: dict[str, object], status: int) -> None:
    answer = http.post("/api/v1/batches", json={"deployment": "churn", "dataset": "people", **wrong})
    assert answer.status_code == status, answer.text
    assert http.get("/api/v1/batches/nothing").status_code == 404


def test_a_batch_that_can_never_go_well_fails_at_once_and_a_cancelled_one_stops(house: Wiring) -> None:
    desk = house.get(BatchDesk)
    batch = desk.start(BatchOrder(deployment="churn", dataset="people"))
    lease = queue(house).lease("me", (QUEUE,))
    assert lease is not None
    watch = _Watch(queue(house), lease.job.id)
    assert watch.beat() is None
    house.get(BatchWork)._failed(lease, Invalid("column 'age' is missing"))
    failed = desk.get(batch.id)
    assert (failed.state, failed.error) == ("failed", "column 'age' is missing")
    assert desk.resume(batch.id).state == "queued"
    desk.cancel(batch.id)
    with pytest.raises(Fenced):
        watch.beat()


def test_the_form_and_the_commands_put_batches_on_the_queue(house: Wiring, http: Http) -> None:
    sent = http.post("/batches", data={"deployment": "churn", "dataset": "people"}, follow_redirects=False)
    assert sent.status_code == 303
    batch = sent.headers["location"].removeprefix("/batches/")
    assert not house.get(BatchDesk).get(batch).order.log
    stopped = http.post(f"/batches/{batch}", data={"verb": "cancel"}, follow_redirects=True)
    assert "Go on where it was" in stopped.text
    assert batch[:6] in http.get("/batches").text

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(group, arguments, obj=lambda: house, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    other = json.loads(run("start", "churn", "people/1", "--no-log", "--json"))["id"]
    assert other in run("ls")
    assert "cancelled" in run("cancel", other)
    assert "queued" in run("resume", other)
    drop(house)


def test_files_of_batches_that_the_queue_forgot_are_taken_away(house: Wiring, tmp_path: Path) -> None:
    desk = house.get(BatchDesk)
    batch = desk.start(BatchOrder(deployment="churn", dataset="people"))
    (place := desk._folder / batch.id).mkdir(parents=True)
    (place / "job").write_text(queue(house).find(queue=QUEUE)[0].id)
    assert desk.sweep() == 0
    desk.cancel(batch.id)
    control = queue(house)
    assert isinstance(control, QueueControl)
    control.prune(1 << 60)
    assert desk.sweep() >= 1
    assert not place.exists()
