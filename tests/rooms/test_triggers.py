"""Triggers in a house: each occurrence is dealt with once, whatever is killed when, and it is written down why."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner
from litestar import Litestar
from litestar.testing import TestClient

from mainspring.core.caller import Caller, calling
from mainspring.core.clock import DAY_US, HOUR_US, SECOND_US, ManualClock
from mainspring.core.errors import NotFound, Overloaded, Unavailable
from mainspring.core.settings import load
from mainspring.core.wiring import Wiring
from mainspring.data import Data
from mainspring.loop import Loop
from mainspring.loop.trigger_commands import group
from mainspring.loop.triggers.model import Fire, trigger_of
from mainspring.loop.triggers.service import CONSUMER, Triggers
from mainspring.pipelines import Pipelines, RunState
from mainspring.server.app import create_app
from mainspring.server.house import open_house
from mainspring.server.house.floor import journal, tables
from mainspring.serving import Serving
from mainspring.testing.postgres import PostgresServer
from mainspring.tracking import Tracking
from mainspring.tracking.model import Metric
from mainspring.upkeep import Upkeep

PIPELINE = """
import mainspring as ms

@ms.step
def double(n: int) -> int:
    return 2 * n

@ms.pipeline
def train(n: int = 1, source: str = "") -> int:
    return double(n)
"""
SECRET = "a secret that is long enough"
ROWS = pl.DataFrame({"age": [20.0, 30.0]})
START = 1_800_000_000 * SECOND_US


def project(folder: Path) -> Path:
    (folder / "jobs.py").write_text(PIPELINE)
    return folder


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wiring]:
    made = open_house(load(project(tmp_path_factory.mktemp("house")), environ={}))
    yield made
    made.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


@pytest.fixture
def triggers(house: Wiring, clock: ManualClock, request: pytest.FixtureRequest) -> Iterator[Triggers]:
    """Triggers of a project of the test's own, which have looked at everything that others did."""
    made = triggers_of(house, clock)
    made.turn()
    with calling(Caller("ada", f"p{abs(hash(request.node.name)) % 10**8}")):
        yield made


def triggers_of(house: Wiring, clock: ManualClock) -> Triggers:
    secret: Callable[[str], str | None] = {"HOOK_SECRET": SECRET}.get
    parts = {"tables": tables(house), "journal": journal(house)}
    return Triggers(**parts, clock=clock, loop=house.get(Loop), secret=secret)  # type: ignore[arg-type]


def declare(house: Wiring, triggers: Triggers, **section: object) -> None:
    said = {"pipeline": "jobs.py:train", **section}
    with tables(house).write() as conn:
        triggers.declare(conn, trigger_of("t", said))


def told(triggers: Triggers) -> list[tuple[str, str, int]]:
    return [(each.outcome, each.code, each.times) for each in triggers.fires("t")]


def runs(house: Wiring) -> list[str]:
    return [run.id for run in house.get(Pipelines).runs()]


def test_a_new_version_of_a_dataset_starts_one_run_with_what_is_known_of_it(house: Wiring, triggers: Triggers) -> None:
    house.get(Data).ingest("people", ROWS)
    declare(house, triggers, on="data", dataset="people", params={"n": "$rows", "source": "$subject"})
    triggers.turn()
    assert told(triggers) == []  # what was there before it is none of its business
    house.get(Data).ingest("people", pl.concat([ROWS, ROWS]))
    house.get(Data).ingest("others", ROWS)
    triggers.turn()
    triggers.turn()
    (fire,) = triggers.fires("t")
    run = house.get(Pipelines).get(fire.started.removeprefix("pipeline-runs/"))
    assert (run.params, run.state) == ({"n": 4, "source": "datasets/people/2"}, RunState.QUEUED)
    assert fire.cause == "datasets/people/2 is there"


def test_a_turn_that_is_killed_leaves_nothing_and_the_next_server_fires_once(
    house: Wiring, triggers: Triggers, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare(house, triggers, on="data", dataset="people")
    house.get(Data).ingest("people", ROWS)

    def die(**_: object) -> None:
        raise SystemError("killed")

    with monkeypatch.context() as patched:  # after the run is on the queue and before the transaction ends
        patched.setattr("mainspring.loop.triggers.service.TriggerFired", die)
        with pytest.raises(SystemError):
            triggers.turn()
    assert runs(house) == []
    assert [fire.outcome for fire in triggers_of(house, clock).turn()] == ["fired"]
    assert triggers.turn() == []
    assert len(runs(house)) == 1


def test_an_event_that_another_server_dealt_with_is_left(house: Wiring, triggers: Triggers) -> None:
    declare(house, triggers, on="data", dataset="people")
    house.get(Data).ingest("people", ROWS)
    (event,) = journal(house).read(journal(house).offset(CONSUMER), kinds=["data.version_added"])
    assert len(triggers._look_at(event)) == 1
    assert triggers._look_at(event) == []
    assert len(runs(house)) == 1


def test_a_schedule_fires_at_its_times_and_catches_up_after_a_night(
    house: Wiring, triggers: Triggers, clock: ManualClock
) -> None:
    clock.advance(HOUR_US - clock.now() % HOUR_US)
    declare(house, triggers, on="cron", cron="0 * * * *", catch_up="latest", params={"source": "$at"})
    triggers.turn()
    assert told(triggers) == []
    clock.advance(HOUR_US + 2 * SECOND_US)
    assert [fire.outcome for fire in triggers.turn()] == ["fired"]
    assert triggers.turn() == []
    clock.advance(8 * HOUR_US)
    triggers.turn()
    assert told(triggers) == [("fired", "", 1), ("not_fired", "missed", 7), ("fired", "", 1)]
    assert len(triggers.view("t").next) == 5


def test_feedback_is_counted_and_waits_for_the_cool_down(
    house: Wiring, triggers: Triggers, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    came = 10
    monkeypatch.setattr(house.get(Serving), "feedback_count", lambda _: came)
    declare(house, triggers, on="feedback", deployment="churn", count=5, cool_down="1h")
    came = 14
    assert triggers.turn() == []
    came = 15
    assert [fire.cause for fire in triggers.turn()] == ["5 pieces of feedback for churn"]
    came = 21
    for _ in range(3):
        triggers.turn()
    assert told(triggers) == [("not_fired", "cool_down", 1), ("fired", "", 1)]
    clock.advance(HOUR_US)
    assert [fire.cause for fire in triggers.turn()] == ["6 pieces of feedback for churn"]


def test_a_metric_that_crosses_its_threshold_fires(house: Wiring, triggers: Triggers) -> None:
    tracking = house.get(Tracking)
    declare(house, triggers, on="metric", experiment="tests", metric="auc", below=0.7, params={"source": "$run"})
    for value, status in ((0.9, "finished"), (0.6, "failed"), (0.6, "finished")):
        run = tracking.create_run("tests").id
        tracking.log_batch(run, metrics=[Metric("auc", value, 0, START)])
        tracking.finish(run, status)
    triggers.turn()
    assert told(triggers) == [("fired", "", 1), ("not_fired", "filter", 2)]


def test_by_hand_it_obeys_pause_and_budget_unless_it_is_forced(
    house: Wiring, triggers: Triggers, clock: ManualClock
) -> None:
    declare(house, triggers, on="hand", most_a_day=1)
    first = triggers.fire("t", key="monday", reason="the data is mended")
    assert (first.outcome, triggers.fire("t", key="monday").id) == ("fired", first.id)
    assert triggers.fire("t").code == "budget"
    clock.advance(DAY_US)
    triggers.pause("t", reason="holidays")
    assert triggers.fire("t").reason == "ada paused it: holidays"
    assert triggers.fire("t", force=True).outcome == "fired"
    triggers.resume("t")
    assert triggers.test("t", deep=True).problem == ""
    assert len(runs(house)) == 2


def test_what_its_runs_took_counts_against_its_budget(
    house: Wiring, triggers: Triggers, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare(house, triggers, on="hand", cpu_hours_a_day=0.5)
    loop, run = house.get(Loop), house.get(Pipelines).run_inline("jobs.py:train")
    assert loop.cpu_seconds(run.ref) == sum(step.cpu_s for step in run.steps)
    assert triggers.fire("t").outcome == "fired"
    assert triggers.fire("t").outcome == "fired"  # the first has taken nothing yet
    monkeypatch.setattr(loop, "cpu_seconds", lambda _: 1000.0)
    assert triggers.fire("t").reason == "its runs took 0.56 CPU hours in 24 hours, and may take 0.5"


def test_the_kill_switch_and_dry_run_start_nothing(house: Wiring, triggers: Triggers) -> None:
    declare(house, triggers, on="hand", dry_run=True)
    assert triggers.fire("t").reason == "would start jobs.py:train"
    house.get(Loop).switch("*", enabled=False)
    assert triggers.fire("t").code == "off"
    house.get(Loop).switch("*", enabled=True)
    assert runs(house) == []


def test_what_is_not_there_any_more_is_written_down_and_holds_up_nobody(house: Wiring, triggers: Triggers) -> None:
    declare(house, triggers, on="hand", pipeline="gone.py:train")
    assert (triggers.fire("t").code, triggers.fire("t").reason) == ("error", "no file gone.py")
    assert triggers.test("t").problem == "no file gone.py"
    declare(house, triggers, on="hand", pipeline="jobs.py:train", params={"m": 1})
    assert triggers.test("t", deep=True).problem == "pipeline train has no parameter 'm'"
    with pytest.raises(NotFound, match="no trigger 'nightly'"):
        triggers.get("nightly")


def sign(body: bytes) -> dict[str, str]:
    return {"x-hub-signature-256": "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()}


def test_a_delivery_is_taken_once_and_its_push_fires(house: Wiring, triggers: Triggers) -> None:
    said = {"on": "webhook", "secret": "HOOK_SECRET", "format": "github", "branch": "main"}
    declare(house, triggers, **said, params={"source": "$commit"})
    body = json.dumps({"ref": "refs/heads/main", "after": "c0ffee"}).encode()
    first, again = triggers.receive("t", sign(body), body), triggers.receive("t", sign(body), body)
    assert (first.is_repeated, again.is_repeated, first.event) == (False, True, again.event)
    triggers.turn()
    (fire,) = triggers.fires("t")
    assert fire.cause == "push to main"
    assert house.get(Pipelines).get(fire.started.split("/")[1]).params["source"] == "c0ffee"
    for number in range(59):
        triggers.receive("t", sign(b'{"n":%d}' % number), b'{"n":%d}' % number)
    with pytest.raises(Overloaded):
        triggers.receive("t", sign(b"{}"), b"{}")
    declare(house, triggers, **(said | {"secret": "OTHER_SECRET"}))
    with pytest.raises(Unavailable, match="not set"):
        triggers.receive("t", sign(b"[]"), b"[]")
    declare(house, triggers, on="hand")
    with pytest.raises(NotFound, match="takes no deliveries"):
        triggers.receive("t", sign(body), body)


def test_deliveries_are_forgotten_after_the_retention_but_for_those_that_nothing_else_guards(
    house: Wiring, triggers: Triggers
) -> None:
    said, upkeep = {"on": "webhook", "secret": "HOOK_SECRET"}, house.get(Upkeep)
    with tables(house).write() as conn:
        conn.exec_driver_sql("DELETE FROM hook_delivery")
    declare(house, triggers, **said, format="github")
    triggers.receive("t", sign(b"{}"), b"{}")
    with tables(house).write() as conn:
        conn.exec_driver_sql("UPDATE hook_delivery SET at = 1")
    assert upkeep.run().removed["deliveries"] == 0
    declare(house, triggers, **said, format="gitlab")
    triggers.receive("t", {"x-gitlab-token": SECRET}, b'{"n":1}')
    assert upkeep.run(dry_run=True).removed["deliveries"] == 1
    assert [upkeep.run().removed["deliveries"] for _ in range(2)] == [1, 0]
    assert triggers.receive("t", {"x-gitlab-token": SECRET}, b'{"n":1}').is_repeated


def test_the_api_the_pages_and_the_commands_show_triggers(
    house: Wiring, triggers: Triggers, monkeypatch: pytest.MonkeyPatch
) -> None:
    with calling(Caller("ada", "default")), tables(house).write() as conn:
        said = {"pipeline": "jobs.py:train", "on": "cron", "cron": "@daily"}
        triggers.declare(conn, trigger_of("nightly", said))
        triggers.declare(conn, trigger_of("push", {**said, "on": "webhook", "secret": "HOOK_SECRET", "cron": ""}))
    with TestClient(create_app(house), base_url="http://127.0.0.1:7600") as client:
        _check_doors(client, monkeypatch)
    with calling(Caller("ada", "default")):
        assert "by hand" in commands(house, ["show", "nightly"])
        assert "fires again" in commands(house, ["resume", "nightly"])
        assert json.loads(commands(house, ["ls", "--json"]))[0]["name"] == "nightly"
        assert "would fire" in commands(house, ["test", "nightly"])


def commands(house: Wiring, args: list[str]) -> str:
    found = CliRunner().invoke(group, args, obj=lambda: house, catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return found.output


def _check_doors(client: TestClient[Litestar], monkeypatch: pytest.MonkeyPatch) -> None:
    assert [each["name"] for each in client.get("/api/v1/triggers").json()] == ["nightly", "push"]
    fired = client.post("/api/v1/triggers/nightly/fires", json={"reason": "by hand"})
    assert (fired.status_code, fired.json()["outcome"]) == (201, "fired")
    assert client.post("/api/v1/triggers/nightly/pause", json={"reason": "x"}).json()["paused_by"] == "owner"
    assert client.get("/api/v1/triggers/nightly/test").json()["reason"] == "owner paused it: x"
    assert len(client.get("/api/v1/triggers/nightly/fires").json()) == 1
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    refused = client.post("/api/v1/triggers/push/hook", content=b"{}", headers={"content-type": "application/json"})
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    large = client.post("/api/v1/triggers/push/hook", content=b"x" * (1024 * 1024 + 1))
    assert large.status_code == 413
    for page in ("/triggers", "/triggers/nightly"):
        found = client.get(page, headers={"accept": "text/html"})
        assert found.status_code == 200, found.text
        assert "paused" in found.text


@pytest.mark.postgres
def test_on_postgres_two_servers_fire_once(
    postgres_server: PostgresServer, postgres_template: str, tmp_path: Path
) -> None:
    database = postgres_server.make_database(postgres_template)
    settings = load(project(tmp_path), environ={}, flags={"storage.db": postgres_server.url(database)})
    one, two = open_house(settings), open_house(settings)
    try:
        clock = ManualClock(START)
        servers = triggers_of(one, clock), triggers_of(two, clock)
        declare(one, servers[0], on="data", dataset="people")
        one.get(Data).ingest("people", ROWS)
        done = _at_once(servers)
        assert [fire.outcome for fire in done] == ["fired"]
        declare(one, servers[0], on="cron", cron="0 * * * *")
        clock.advance(2 * HOUR_US)
        assert [fire.outcome for fire in _at_once(servers)] == ["not_fired", "fired"]
        assert len(runs(one)) == 2
    finally:
        one.close()
        two.close()
        postgres_server.drop_database(database)


def _at_once(servers: tuple[Triggers, ...]) -> list[Fire]:
    with ThreadPoolExecutor(len(servers)) as pool:
        return [fire for found in pool.map(lambda each: each.turn(), servers) for fire in found]
