"""A server looks after the deployments of every project, and acts by policies in its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression

from mainspring.core.caller import Caller, calling
from mainspring.core.errors import Invalid, Refused
from mainspring.core.settings import load
from mainspring.core.wiring import Wiring
from mainspring.data import Data
from mainspring.loop import Loop, records
from mainspring.loop.model import Cycle, Policy
from mainspring.monitoring import Monitoring
from mainspring.pipelines.events import RunFailed
from mainspring.registry import Registry
from mainspring.server.background import Turner
from mainspring.server.house import open_house
from mainspring.server.house.floor import tables
from mainspring.serving import Serving
from mainspring.serving.supervisor import Supervisor
from mainspring.storage.ports import Journal

ROWS = pl.DataFrame({"age": [20.0, 30.0, 40.0, 50.0], "visits": [1.0, 5.0, 2.0, 9.0]})


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wiring]:
    made = open_house(load(tmp_path_factory.mktemp("house"), environ={}))
    with calling(Caller(project="other")):
        reference = made.get(Data).ingest("people", ROWS).ref
        model = LogisticRegression().fit(ROWS.to_numpy(), [1, 1, 0, 0])
        made.get(Registry).register("churn", model, example=ROWS, reference=reference)
        made.get(Serving).deploy("churn", "churn", 1)
    yield made
    made.close()


def turner(house: Wiring, every_s: float = 0.0) -> Turner:
    return Turner(house.get(Loop), house.get(Supervisor), project="default", every_s=every_s)


def until(condition: Callable[[], object], timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def test_deployments_of_every_project_are_watched(house: Wiring) -> None:
    assert house.get(Serving).projects() == ["other"]
    running = turner(house)
    running.start()
    try:
        with calling(Caller(project="other")):
            until(house.get(Monitoring).monitors)
            assert [monitor.deployment for monitor in house.get(Monitoring).monitors()] == ["churn"]
    finally:
        running.stop()


def test_what_the_loop_decides_on_is_not_kept_waiting_for_the_clock(house: Wiring) -> None:
    journal = house.get(Journal)  # type: ignore[type-abstract]
    running = turner(house, every_s=3600.0)
    running.start()
    try:
        for number in range(3):
            with tables(house).write() as conn:
                wanted = journal.append(
                    conn, RunFailed(subject=f"pipeline-runs/{number}", pipeline="p", step="", error="e")
                )
            until(lambda wanted=wanted: journal.offset("loop") >= wanted)  # type: ignore[misc]
    finally:
        running.stop()


def test_an_event_is_news_once(house: Wiring, monkeypatch: pytest.MonkeyPatch) -> None:
    loop, journal = house.get(Loop), house.get(Journal)  # type: ignore[type-abstract]
    with calling(Caller(project="default")):
        loop.turn()
    last = journal.last()
    assert loop.news(0) == (last, False)
    with tables(house).write() as conn:
        wanted = journal.append(conn, RunFailed(subject="pipeline-runs/9", pipeline="p", step="", error="e"))
    assert loop.news(last) == (wanted, True)
    assert loop.news(wanted) == (wanted, False)


def test_a_project_whose_turn_fails_keeps_no_other_one_waiting(
    house: Wiring, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise Invalid("what was declared is wrong")

    monkeypatch.setattr(house.get(Monitoring), "watch", fail)
    turner(house).turn("other")
    turner(house).turn("default")
    assert [record.getMessage().split()[1] for record in caplog.records] == ["project=other"]


def test_a_policy_that_is_switched_off_starts_nothing_and_its_canary_waits(
    house: Wiring, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, serving = house.get(Loop), house.get(Serving)
    monkeypatch.setitem(loop.policies, "keep", Policy("keep", "churn", "churn", "p.py:train", "good"))
    with calling(Caller(project="other")):
        house.get(Registry).register("churn", LogisticRegression().fit(ROWS.to_numpy(), [1, 0, 1, 0]), example=ROWS)
        rollout = serving.start_rollout("churn", 2, share=0.25)
        with tables(house).write() as conn:
            canary = Cycle("c1", "keep", "churn", "churn", "canary", "", 1, 1, 1, version=2, rollout=rollout.id)
            records.add_cycle(conn, canary)
        loop.switch("*", enabled=False)
        loop.turn()
        assert serving.rollout(rollout.id).state == "paused"
        with pytest.raises(
            Refused, match=r"the policy is switched off\nwhere: policy.keep\ntry: mainspring loop on keep"
        ):
            loop.start("keep", reason="by hand")
        loop.switch("*", enabled=True)
        loop.turn()
        assert serving.rollout(rollout.id).state == "running"
        serving.pause("churn", "by hand")
        loop.turn()
        assert serving.rollout(rollout.id).state == "paused"
