"""How a deployment answers and what the model server uses: counted, judged, shown, told."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from litestar import Litestar
from litestar.testing import TestClient

from mainspring.core.wiring import Wiring
from mainspring.monitoring import Monitoring, WatchedVersion, records
from mainspring.monitoring.performing import Performing
from mainspring.server.app import create_app
from mainspring.serving import Serving
from mainspring.serving.modelserver.usage import WINDOW_US, Usage, WorkerUsage
from mainspring.storage.ports import Tables

sys.path.append(str(Path(__file__).parents[2]))

from tests.rooms.test_monitoring import START, House, build, flights, log, watched

Client = TestClient[Litestar]


@pytest.fixture
def house(sqlite_tables: Tables, tmp_path: Path) -> House:
    return watched(build(sqlite_tables, tmp_path))


@pytest.fixture
def client(house: House) -> Iterator[Client]:
    wiring = Wiring()
    wiring.add(Monitoring, lambda _: house.monitoring)
    wiring.add(Serving, lambda _: house.serving)
    performing = Performing(tables=house.tables, monitoring=house.monitoring, serving=house.serving, data=house.data)
    wiring.add(Performing, lambda _: performing)
    with TestClient(create_app(wiring, port=80, rooms=["monitoring"]), base_url="http://127.0.0.1") as client:
        yield client


def use(house: House, cores: list[float], *, worker: str = "w1", pid: int = 7) -> None:
    """What a worker leaves in the plan folder; the last window is still open."""
    windows = [Usage(START + i * WINDOW_US, 300.0, 300 * used, 250.0, "m") for i, used in enumerate([*cores, 0.0])]
    path = house.serving.folder / f"usage-{worker}.json"
    path.write_bytes(msgspec.json.encode(WorkerUsage(worker, pid, windows)))


def test_a_full_worker_raises_an_alarm_that_is_shown_everywhere(house: House, client: Client) -> None:
    log(house, flights(50, 2), start=START)
    use(house, [0.2] * 60)
    use(house, [0.1] * 60, worker="w2", pid=8)
    for _ in range(2):  # what was counted stays as it is
        house.monitoring.observe("live")
        assert house.monitoring.evaluate("live") == []
    use(house, [*[0.2] * 60, *[0.97] * 10])
    house.monitoring.observe("live")
    (raised,) = house.monitoring.evaluate("live")
    assert (raised.cause, raised.version) == ("resources", 1)
    assert house.monitoring.evaluate("live") == []
    assert [alarm.cause for alarm in house.monitoring.replay("live", {}).alarms] == ["resources"]
    page = client.get(f"/alarms/{raised.id}").text
    assert "0.97 cores by process 7" in page
    assert "More of them" not in page and "mainspring workers" in page
    fleet = client.get("/monitors").text
    assert "Workers of the model server" in fleet
    monitor = client.get("/monitors/live").text
    assert "Cores of the busiest worker" in monitor and "Requests a second" in monitor
    assert ">nan" not in monitor.lower()
    assert 'mainspring_worker_cores{worker="7"} 0.97' in client.get("/metrics/monitors").text
    health = client.get("/api/v1/monitors/live/health").json()
    assert len(health["usage"]) == 130
    assert sum(point["requests"] for point in health["points"]) == 50


def test_a_server_that_many_deployments_share_is_told_of_once(house: House) -> None:
    house.serving.deploy("other", "late", 1)
    house.monitoring.watch("other")
    use(house, [0.2] * 60)
    log(house, flights(50, 2), start=START)
    with house.tables.write() as conn:
        records.put_version(conn, WatchedVersion("other", 1, "late", "binary"))
    house.monitoring.observe("live")
    use(house, [*[0.2] * 60, *[0.97] * 10])
    house.monitoring.observe("live")
    raised = [alarm.deployment for name in ("other", "live") for alarm in house.monitoring.evaluate(name)]
    assert raised == ["other"]
    assert house.monitoring.windows("live", "resources")[-1].state == "alarm"


def test_an_alarm_about_requests_has_its_figures_on_its_page(house: House, client: Client) -> None:
    log(house, flights(300, 2), start=START, at=START, status=503)
    log(house, flights(60, 2), start=START, at=START + WINDOW_US)
    house.monitoring.observe("live")
    house.monitoring.evaluate("live")
    (raised,) = house.monitoring.alarms("live")
    page = client.get(f"/alarms/{raised.id}").text
    assert raised.cause == "errors"
    assert "<dt>Failed</dt><dd>100.0 % (" in page
    assert "<dt>Accepted</dt><dd>1.0 %" in page
