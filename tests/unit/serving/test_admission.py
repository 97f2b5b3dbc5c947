"""What the model server takes on, what it refuses at once, and what it drops because nobody waits for it any more."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from pathlib import Path

import pytest
from tests.unit.serving.plane import Plane, Reply, plane

from mainspring.core.errors import Invalid, Overloaded
from mainspring.serving.modelserver.answering import Call, read_headers
from mainspring.serving.modelserver.batching import Line
from mainspring.serving.modelserver.plan import Limits, Options
from mainspring.serving.modelserver.pressure import FEW, Pressure


async def _held(made: Plane) -> asyncio.Task[Reply | None]:
    """One request at the model, which is held up."""
    made.scorer.door.clear()
    first = asyncio.create_task(made.ask([0.0]))
    await made.until(1)
    await asyncio.to_thread(made.scorer.reached.wait)
    return first


def statuses(replies: list[Reply | None]) -> list[int]:
    return [0 if reply is None else reply.status for reply in replies]


def test_rows_beyond_the_queue_are_refused_with_a_time_to_come_back(tmp_path: Path) -> None:
    async def run() -> None:
        async with plane(tmp_path, Limits(max_queued_rows=3)) as made:
            first = await _held(made)
            second = asyncio.create_task(made.ask([1.0, 2.0]))
            await made.until(3)
            refused = await made.ask([3.0])
            assert refused is not None
            assert refused.status == 429
            assert int(refused.headers[b"retry-after"]) >= 1
            assert "3 rows wait" in str(refused.body["error"])
            made.scorer.door.set()
            assert statuses([await first, await second]) == [200, 200]
            assert statuses([await made.ask([3.0])]) == [200]

    asyncio.run(run())


def test_rows_that_would_wait_too_long_are_refused_by_the_pace_of_the_model(tmp_path: Path) -> None:
    async def run() -> None:
        async with plane(tmp_path, Limits(max_wait_ms=1000)) as made:
            model = made.app.served.table.find("m").arms[0].model
            model.row_s = 0.02
            first = await _held(made)
            waiting = [asyncio.create_task(made.ask([1.0] * 32)) for _ in range(2)]
            await made.until(65)
            assert made.batcher.wait_s == pytest.approx(1.3)
            refused = await made.ask()
            assert refused is not None
            assert (refused.status, refused.headers[b"retry-after"]) == (429, b"2")
            made.scorer.door.set()
            await asyncio.gather(first, *waiting)
            assert made.batcher.wait_s == 0.0
            assert statuses([await made.ask()]) == [200]

    asyncio.run(run())


def test_a_few_rows_wait_for_a_slow_model_unless_their_deadline_would_pass(tmp_path: Path) -> None:
    async def run() -> None:
        async with plane(tmp_path, Limits(max_wait_ms=10)) as made:
            made.app.served.table.find("m").arms[0].model.row_s = 1.0
            first = await _held(made)
            patient = asyncio.create_task(made.ask())
            await made.until(2)
            assert statuses([await made.ask(headers={"request-timeout": "0.5"})]) == [429]
            made.scorer.door.set()
            assert statuses([await first, await patient]) == [200, 200]

    asyncio.run(run())


def test_long_bodies_beyond_what_may_be_held_are_refused_and_short_ones_are_not(tmp_path: Path) -> None:
    async def run() -> None:
        async with plane(tmp_path, Limits(max_held_bytes=300)) as made:
            first = await _held(made)
            assert statuses([await made.ask(body=b" " * 70_000), await made.ask(body=b" ")]) == [429, 400]
            made.scorer.door.set()
            assert statuses([await first, await made.ask([1.0] * 50)]) == [200, 200]
            assert "mainspring_held_bytes 0" in made.app.metrics_text()

    asyncio.run(run())


@pytest.mark.parametrize("header", ["request-timeout", "x-request-timeout"])
def test_a_deadline_that_passes_is_answered_504_and_its_rows_never_reach_the_model(tmp_path: Path, header: str) -> None:
    async def run() -> None:
        async with plane(tmp_path) as made:
            first = await _held(made)
            late = await made.ask([7.0], headers={header: "0.05"})
            assert statuses([late]) == [504]
            made.scorer.door.set()
            assert statuses([await first, await made.ask([8.0])]) == [200, 200]
            assert [7.0] not in made.scorer.calls
            assert made.batcher.dropped_rows == 1

    asyncio.run(run())


def test_without_a_header_the_body_and_then_the_deployment_say_how_long(tmp_path: Path) -> None:
    async def run() -> None:
        async with plane(tmp_path, options=Options(deadline_ms=40)) as made:
            first = await _held(made)
            assert statuses([await made.ask(timeout_ms=20), await made.ask(), await first]) == [504, 504, 504]
            made.scorer.door.set()

    asyncio.run(run())


def test_rows_of_a_client_that_hung_up_are_dropped_and_neither_answered_nor_logged(tmp_path: Path) -> None:
    async def run() -> None:
        async with plane(tmp_path) as made:
            first, line = await _held(made), Line()
            lost = asyncio.create_task(made.ask([7.0], line=line))
            await made.until(2)
            line.gone = True
            made.scorer.door.set()
            assert statuses([await first, await lost]) == [200, 0]
            assert made.scorer.calls == [[0.0]]
            assert 'status="499"} 1' in made.app.metrics_text()

    asyncio.run(run())
    with sqlite3.connect(tmp_path / "spool.sqlite") as conn:
        assert conn.execute("select count(*) from prediction").fetchone() == (1,)
    conn.close()


@pytest.mark.parametrize("text", ["soon", "0", "-1", "nan", "1e9"])
def test_a_timeout_that_is_no_number_of_seconds_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="seconds"):
        read_headers(Call(Line()), {b"request-timeout": text.encode()})


def test_what_would_take_too_long_by_those_under_way_is_refused_unless_they_are_few() -> None:
    pressure = Pressure(max_wait_s=1.0)
    entered = [pressure.enter() for _ in range(FEW)]
    pressure.each_s = 0.1
    with pytest.raises(Overloaded, match=r"would take 6\.4 s"):
        pressure.enter()
    pressure.leave(entered.pop())
    pressure.enter()
    pressure.each_s = 0.001
    for _ in range(900):
        pressure.enter()
    assert pressure.wait_s < 1.0


def test_the_time_between_ends_is_that_of_the_server_and_not_of_those_who_wait_for_each_other() -> None:
    pressure = Pressure(max_wait_s=1.0)
    entered = [pressure.enter() for _ in range(50)]
    for at in entered:
        time.sleep(0.001)
        pressure.leave(at)
    assert pressure.under_way == 0
    assert pressure.each_s >= 0.001
    assert pressure.each_s < 2 * (time.perf_counter() - entered[0]) / 50


def test_a_request_is_under_way_from_its_last_byte_until_its_answer(tmp_path: Path) -> None:
    async def scene() -> None:
        async with plane(tmp_path) as here:
            here.scorer.door.clear()
            asked = asyncio.create_task(here.ask())
            await here.until(1)
            assert here.app.pressure.under_way == 1
            assert (await here.call("GET", "/v2/health/ready")) is not None
            here.scorer.door.set()
            await asked
            assert here.app.pressure.under_way == 0

    asyncio.run(scene())


def test_those_that_end_together_share_the_time_that_they_took(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("mainspring.serving.modelserver.pressure.time.perf_counter", lambda: now[0])
    pressure = Pressure(max_wait_s=1.0)
    for _ in range(3):
        entered = [pressure.enter() for _ in range(50)]
        now[0] += 5.0
        for at in entered:
            pressure.leave(at)
    assert pressure.each_s == pytest.approx(5.0 / 50, rel=0.1)
