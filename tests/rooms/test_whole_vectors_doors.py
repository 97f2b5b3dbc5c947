"""Comparisons of vectors from a house of its own: by API and page, and done by its worker in another process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from litestar.testing import TestClient
from tests.rooms.test_monitoring import START, build
from tests.rooms.test_whole_vectors import days, watched

from mainspring.core.clock import DAY_US
from mainspring.core.settings import Settings, load
from mainspring.core.wiring import Wiring
from mainspring.monitoring import Monitoring
from mainspring.pipelines.worker import Worker
from mainspring.server.app import create_app
from mainspring.server.house import open_house
from mainspring.storage.ports import Queue, Tables


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Wiring]:
    """Whose deployment was asked like its training data for three days, and then for three about one topic."""
    (tmp_path / "mainspring.toml").write_text('[project]\nname = "default"\n')
    environ = {}
    if request.param == "postgres":
        server = request.getfixturevalue("postgres_server")
        environ["MAINSPRING_STORAGE_DB"] = server.url(server.make_database())
    made = open_house(load(tmp_path, environ=environ))
    rooms = build(made.get(Tables), made.get(Settings).data_dir)  # type: ignore[type-abstract]  # a port by its name
    watched(rooms)
    days(rooms, 0, 3)
    rooms.monitoring.evaluate("live")
    days(rooms, 3, 6, topic=3)
    yield made
    made.close()


@pytest.fixture
def client(house: Wiring) -> Iterator[TestClient[Any]]:
    with TestClient(create_app(house, port=80, rooms=["monitoring"]), base_url="http://127.0.0.1") as made:
        yield made


def test_an_alarm_is_compared_by_the_worker_and_shown_with_its_figures(house: Wiring, client: TestClient[Any]) -> None:
    worker, monitoring = house.get(Worker), house.get(Monitoring)
    assert client.get("/api/v1/monitors/live/vectors").json() == []
    page = client.get("/monitors/live").text
    assert "Not compared yet" in page
    assert "Compare the latest window" in page
    [alarm] = monitoring.evaluate("live")
    assert "Vectors, whole" not in client.get(f"/alarms/{alarm.id}").text
    assert "A comparison is on its way" in client.get("/monitors/live").text
    assert worker.run_one(), "in a process of its own"
    [job] = house.get(Queue).find(queue="monitoring")  # type: ignore[type-abstract]  # likewise
    assert (job.state, job.error) == ("finished", "")
    [found] = client.get("/api/v1/monitors/live/vectors").json()
    assert (found["alarm"], found["window_start"]) == (alarm.id, alarm.window_start)
    [figures] = found["vectors"]
    assert figures["classifier"]["low"] > 0.5
    shown = client.get(f"/alarms/{alarm.id}").text
    assert "Vectors, whole" in shown
    assert "Held-out AUC of embedding" in shown
    assert client.get(f"/api/v1/alarms/{alarm.id}").json()["evidence"]["vectors"]["vectors"] == [figures]


def test_whoever_asks_gets_the_latest_window_compared(house: Wiring, client: TestClient[Any]) -> None:
    house.get(Monitoring).evaluate("live")
    assert house.get(Worker).run_one(), "the alarm's"
    asked = client.post("/api/v1/monitors/live/vectors")
    assert (asked.status_code, asked.json()["state"]) == (202, "queued")
    again = client.post("/monitors/live/vectors", follow_redirects=False)
    assert (again.status_code, again.headers["location"]) == (303, "/monitors/live#vectors")
    assert house.get(Worker).run_one()
    assert not house.get(Worker).run_one(), "asked twice, it is done once"
    newest = client.get("/api/v1/monitors/live/vectors", params={"limit": 1}).json()[0]
    judged = house.get(Monitoring).windows("live", "drift")[-1]
    assert (newest["window_end"], newest["window_start"]) == (judged.window_end, judged.window_start)
    assert newest["window_end"] == START + 5 * DAY_US
    page = client.get("/monitors/live").text
    assert "Vectors, whole" in page
    assert "Held-out AUC of embedding" in page
    assert client.get("/api/v1/monitors/nobody/vectors").status_code == 404


def test_a_comparison_that_failed_says_so_on_the_page(house: Wiring, client: TestClient[Any]) -> None:
    queue, tables = house.get(Queue), house.get(Tables)  # type: ignore[type-abstract]  # likewise
    client.post("/api/v1/monitors/live/vectors")
    lease = queue.lease("somebody", ["monitoring"])
    assert lease is not None
    with tables.write() as conn:
        queue.fail(conn, lease, "the disk is full", retry_in_s=None)
    assert "The last comparison failed: the disk is full" in client.get("/monitors/live").text
    assert client.post("/api/v1/monitors/live/vectors").json()["state"] == "queued", "it can be asked for again"
