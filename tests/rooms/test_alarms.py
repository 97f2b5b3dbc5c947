"""What becomes of alarms: acknowledged, silenced, escalated, closed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from litestar import Litestar
from litestar.testing import TestClient

from mainspring.core.clock import DAY_US, HOUR_US, ManualClock
from mainspring.core.errors import Invalid, NotFound
from mainspring.core.ids import new_id
from mainspring.core.wiring import Wiring
from mainspring.monitoring import Monitoring, records
from mainspring.monitoring.commands import group
from mainspring.monitoring.model import Alarm
from mainspring.server.app import create_app
from mainspring.storage.ports import Journal, Tables

sys.path.append(str(Path(__file__).parents[2]))

from tests.rooms.test_monitoring import START, House, build


@pytest.fixture
def house(sqlite_tables: Tables, tmp_path: Path) -> House:
    return build(sqlite_tables, tmp_path)


def clock_of(house: House) -> ManualClock:
    clock = house.monitoring.desk._clock
    assert isinstance(clock, ManualClock)
    return clock


def alarm(house: House, cause: str = "drift", *, columns: tuple[str, ...] = ("hour",), deployment: str = "live") -> str:
    """An alarm as the evaluator raises it."""
    entries = [{"column": name, "d": 0.2, "text": "moved"} for name in columns]
    made = Alarm(new_id(), deployment, 1, cause, "open", "moved", {"columns": entries}, START, START + DAY_US, START)
    with house.tables.write() as conn:
        records.add_alarm(conn, made)
    return made.id


def kinds(house: House) -> list[str]:
    return [event.kind.removeprefix("monitoring.") for event in house.journal.read()]


def test_an_alarm_that_is_closed_says_who_and_why_and_stays_closed(house: House) -> None:
    made = alarm(house)
    closed = house.monitoring.desk.close(made[-8:], "fixed upstream")
    assert (closed.state, closed.note, closed.closed_at) == ("closed", "fixed upstream", START)
    assert house.monitoring.desk.close(made, "again").note == "fixed upstream"
    assert house.monitoring.acknowledge(made).state == "closed"
    assert kinds(house) == ["alarm_closed", "alarm_acknowledged"]


def test_a_silence_covers_what_it_names_and_nothing_else(house: House) -> None:
    desk, mine, other = house.monitoring.desk, alarm(house), alarm(house, deployment="other")
    errors = alarm(house, "errors", columns=())
    made = desk.silence(until=START + DAY_US, why="new timetable", deployment="live", cause="drift")
    assert [house.monitoring.alarm(one).state for one in (mine, other, errors)] == ["silenced", "open", "open"]
    assert [entry.id for entry in desk.silences()] == [made.id]
    assert kinds(house) == ["silence_added", "alarm_silenced"]


def test_a_silence_of_a_column_does_not_cover_an_alarm_with_one_more(house: House) -> None:
    one, two = alarm(house), alarm(house, "missing", columns=("hour", "carrier"))
    house.monitoring.desk.silence(until=START + DAY_US, why="known", column="hour")
    assert [house.monitoring.alarm(name).state for name in (one, two)] == ["silenced", "open"]
    house.monitoring.desk.silence(until=START + DAY_US, why="known", column="carrier")
    house.monitoring.desk.mind()
    assert house.monitoring.alarm(one).state == "silenced"


def test_a_silence_that_is_over_opens_its_alarms_again(house: House) -> None:
    desk, made = house.monitoring.desk, alarm(house)
    desk.silence(until=START + HOUR_US, why="known")
    clock_of(house).advance(HOUR_US)
    assert desk.mind() == 1
    assert desk.mind() == 0
    assert house.monitoring.alarm(made).state == "open"
    second = desk.silence(until=START + 9 * HOUR_US, why="known")
    ended = desk.unsilence(second.id[-8:])
    assert ended.ended_at
    assert desk.unsilence(second.id) == ended
    assert house.monitoring.alarm(made).state == "open"
    assert [step.what for step in desk.history(made)] == ["silenced", "reopened", "silenced", "reopened"]


def test_an_alarm_that_nobody_looks_at_is_escalated_once(house: House) -> None:
    desk, made, seen = house.monitoring.desk, alarm(house), alarm(house, "missing")
    house.monitoring.acknowledge(seen)
    clock_of(house).advance(25 * HOUR_US)
    assert [desk.mind(), desk.mind()] == [1, 0]
    assert house.monitoring.alarm(made).state == "escalated"
    assert house.monitoring.alarm(seen).state == "acknowledged"
    assert house.monitoring.acknowledge(made).state == "acknowledged"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"until": START}, "within a year"),
        ({"until": START + 400 * DAY_US}, "within a year"),
        ({"why": " "}, "without a reason"),
        ({"cause": "moon"}, "no cause"),
    ],
)
def test_a_silence_that_makes_no_sense_is_refused(house: House, changes: dict[str, object], said: str) -> None:
    with pytest.raises(Invalid, match=said):
        house.monitoring.desk.silence(**{"until": START + DAY_US, "why": "x", **changes})  # type: ignore[arg-type]


def test_what_is_not_there_is_not_found(house: House) -> None:
    for verb in (house.monitoring.desk.close, house.monitoring.desk.unsilence, house.monitoring.desk.history):
        with pytest.raises(NotFound):
            verb("0192f3a4b5c67d8e9f00112233445566")


@pytest.fixture
def wiring(house: House) -> Wiring:
    wiring = Wiring()
    wiring.add(Monitoring, lambda _: house.monitoring)
    wiring.add(Journal, lambda _: house.journal)  # type: ignore[type-abstract]  # the wiring knows ports by name
    return wiring


@pytest.fixture
def client(wiring: Wiring) -> Iterator[TestClient[Litestar]]:
    with TestClient(create_app(wiring, port=80, rooms=["monitoring"]), base_url="http://127.0.0.1") as client:
        yield client


def test_the_api_silences_closes_and_tells_the_history(client: TestClient[Litestar], house: House) -> None:
    made = alarm(house)
    answer = client.post("/api/v1/silences", json={"span": "8h", "why": "storm", "deployment": "live"})
    assert answer.status_code == 201
    assert answer.json()["until"] == START + 8 * HOUR_US
    assert client.get(f"/api/v1/alarms/{made}").json()["state"] == "silenced"
    assert client.post(f"/api/v1/silences/{answer.json()['id']}/end").json()["ended_by"]
    assert client.get("/api/v1/silences").json() == []
    assert len(client.get("/api/v1/silences?ended=true").json()) == 1
    assert client.post(f"/api/v1/alarms/{made}/close", json={"note": "over"}).json()["state"] == "closed"
    said = client.get(f"/api/v1/alarms/{made}/history").json()
    assert [step["what"] for step in said] == ["silenced", "reopened", "closed"]
    assert client.post("/api/v1/silences", json={"span": "long", "why": "x"}).status_code == 400


def test_the_commands_do_the_same(wiring: Wiring, house: House) -> None:
    def run(*arguments: str) -> str:
        found = CliRunner().invoke(group, list(arguments), obj=lambda: wiring)
        assert found.exception is None, found.exception
        return found.output

    made = alarm(house)
    assert run("silences").strip() == "nothing is silenced"
    added = json.loads(run("silence", "live", "--for", "8h", "--why", "storm", "--json"))
    assert "storm" in run("silences")
    assert json.loads(run("silences", "--json"))[0]["id"] == added["id"]
    assert "is over" in run("unsilence", added["id"][-8:])
    assert "over" in run("silences", "--ended")
    assert "is closed" in run("close", made[-8:])
