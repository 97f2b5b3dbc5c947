"""Monitoring's API, pages and commands, over real alarms."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from litestar import Litestar
from litestar.testing import TestClient

from mainspring.core.errors import Invalid, NotFound
from mainspring.core.wiring import Wiring
from mainspring.monitoring import Monitoring
from mainspring.monitoring.commands import group
from mainspring.monitoring.performing import Performing
from mainspring.server.app import create_app
from mainspring.serving import Serving
from mainspring.storage import open_tables
from mainspring.storage.ports import Journal

sys.path.append(str(Path(__file__).parents[2]))

from tests.rooms.test_monitoring import House, build, day, watched

Client = TestClient[Litestar]


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a monitor that waits."""
    folder = tmp_path_factory.mktemp("quiet")
    with closing(open_tables("", folder)) as tables:
        tables.migrate()
        watched(build(tables, folder))
    return folder


@pytest.fixture(scope="module")
def moved(quiet: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder after days on which the inputs moved and the answers got worse."""
    folder = shutil.copytree(quiet, tmp_path_factory.mktemp("moved") / "house")
    with closing(open_tables("", folder)) as tables:
        house = build(tables, folder)
        for number in range(8):
            day(house, number, shift=8.0, brier=0.63, rows=220)
            house.monitoring.evaluate("live")
    return folder


@pytest.fixture
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[House]:
    """A monitor of its own: one with alarms where the test asks for `alarmed`."""
    kind = "moved" if "alarmed" in request.fixturenames else "quiet"
    folder = shutil.copytree(request.getfixturevalue(kind), tmp_path / "house")
    with closing(open_tables("", folder)) as tables:
        yield build(tables, folder)


@pytest.fixture
def alarmed(house: House) -> House:
    """The monitor after the days of `moved`."""
    return house


@pytest.fixture
def wiring(house: House) -> Wiring:
    wiring = Wiring()
    wiring.add(Monitoring, lambda _: house.monitoring)
    performing = Performing(tables=house.tables, monitoring=house.monitoring, serving=house.serving, data=house.data)
    wiring.add(Performing, lambda _: performing)
    wiring.add(Serving, lambda _: house.serving)
    wiring.add(Journal, lambda _: house.journal)  # type: ignore[type-abstract]  # the wiring knows ports by name
    return wiring


@pytest.fixture
def client(wiring: Wiring) -> Iterator[Client]:
    with TestClient(create_app(wiring, port=80, rooms=["monitoring"]), base_url="http://127.0.0.1") as client:
        yield client


def run(wiring: Wiring, arguments: Sequence[str]) -> Result:
    return CliRunner().invoke(group, list(arguments), obj=lambda: wiring)


def test_the_pages_of_a_monitor_that_waits_say_what_to_do(client: Client) -> None:
    assert "mainspring monitor status DEPLOYMENT" in client.get("/monitors").text
    page = client.get("/monitors/live").text
    assert "mainspring predict live" in page
    assert "mainspring feedback live" in page
    assert "nan" not in page.lower().replace("finance", "")


def test_the_pages_show_what_is_wrong(client: Client, alarmed: House) -> None:
    fleet = client.get("/monitors").text
    found = alarmed.monitoring.alarms("live")
    assert {alarm.cause for alarm in found} == {"drift", "performance"}
    for alarm in found:
        assert f"/alarms/{alarm.id}" in fleet
        assert alarm.evidence["alarm_level"]
    page = client.get("/monitors/live").text
    assert page.count("<svg class=") >= 3
    assert "hour" in page
    assert ">nan" not in page.lower()


def test_an_alarm_has_a_page_with_its_figures(client: Client, alarmed: House) -> None:
    for alarm in alarmed.monitoring.alarms("live"):
        page = client.get(f"/alarms/{alarm.id}").text
        assert alarm.cause in page
        assert "mainspring monitor ack" in page
        assert ("Drift alone never starts a training" in page) == (alarm.cause == "drift")


def test_an_alarm_is_handled_on_its_page_and_settings_are_tried(client: Client, alarmed: House) -> None:
    found = alarmed.monitoring.alarms("live")[0]
    sent = client.post(f"/alarms/{found.id}", data={"verb": "silence", "note": "storm", "span": "8h"})
    assert "Silenced until" in sent.text
    assert client.get("/monitors").text.count("storm") == 1
    assert "<dd>reopened" in client.post(f"/alarms/{found.id}", data={"verb": "unsilence"}).text
    assert "Seen by" in client.post(f"/alarms/{found.id}", data={"verb": "acknowledge", "note": "ok"}).text
    assert "over" in client.post(f"/alarms/{found.id}", data={"verb": "close", "note": "over"}).text
    assert client.post(f"/alarms/{found.id}", data={"verb": "dance"}).status_code == 400
    assert "False alarms a year" in client.get("/monitors/live/replay").text
    tried = client.post("/monitors/live/replay", data={"budget": "0.000001", "tolerance": "1"})
    assert " alarms in " in tried.text


def test_the_api_lists_shows_and_acknowledges(client: Client, alarmed: House) -> None:
    assert [monitor["deployment"] for monitor in client.get("/api/v1/monitors").json()] == ["live"]
    status = client.get("/api/v1/monitors/live").json()
    assert (status["state"], status["version"]) == ("alarm", 1)
    first = client.get("/api/v1/alarms?deployment=live&state=open").json()[0]
    seen = client.post(f"/api/v1/alarms/{first['id']}/acknowledge", json={"note": "known"}).json()
    assert (seen["state"], seen["note"]) == ("acknowledged", "known")
    assert client.get(f"/api/v1/alarms/{first['id']}").json() == seen
    metrics = client.get("/metrics/monitors").text
    assert 'mainspring_monitor_state{deployment="live",state="alarm"} 1' in metrics
    assert 'mainspring_alarms{deployment="live",cause="performance",state="' in metrics
    assert client.post("/api/v1/monitors/live/evaluate").json() == []
    assert client.post("/api/v1/monitors/live/watch").json()["deployment"] == "live"


def test_what_is_not_there_is_404(client: Client) -> None:
    for path in ("/api/v1/monitors/gone", "/api/v1/alarms/0192f3a4b5c67d8e9f00112233445566", "/monitors/gone"):
        assert client.get(path).status_code == 404


def test_the_commands_print_lines_and_json(wiring: Wiring, alarmed: House) -> None:
    status = run(wiring, ["status", "live"]).output
    assert status.startswith("ALARM  live, version 1")
    assert "realized over 30 days" in status
    assert json.loads(run(wiring, ["status", "live", "--json"]).output)["state"] == "alarm"
    assert "performance" in run(wiring, ["alarms"]).output
    listed = json.loads(run(wiring, ["alarms", "live", "--json"]).output)
    assert {alarm["cause"] for alarm in listed} == {"drift", "performance"}
    done = run(wiring, ["ack", listed[0]["id"][-8:], "--note", "known"])
    assert "is acknowledged" in done.output
    replayed = json.loads(run(wiring, ["replay", "live", "--policy", "budget=2", "--json"]).output)
    assert {alarm["cause"] for alarm in replayed["alarms"]} == {"drift", "performance"}
    assert replayed["spec"]["budget"] == 2
    assert isinstance(run(wiring, ["replay", "live", "--policy", "bugdet=2"]).exception, Invalid)
    assert "live" in run(wiring, ["ls"]).output


def test_a_monitor_that_waits_says_what_to_do(wiring: Wiring, house: House) -> None:
    assert "mainspring predict live" in run(wiring, ["status", "live"]).output
    assert run(wiring, ["alarms"]).output.strip() == "no alarms"
    assert isinstance(run(wiring, ["status", "gone"]).exception, NotFound)
