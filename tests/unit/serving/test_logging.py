"""What is in the log of a prediction, what is kept out of it, and what happens when it can't be written."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest
from tests import spools
from tests.unit.serving.plane import Plane, Reply, plane

from mainspring.core.errors import Invalid
from mainspring.serving.modelserver.answering import Call, read_headers
from mainspring.serving.modelserver.batching import Line
from mainspring.serving.modelserver.plan import Options


def through(folder: Path, options: Options, act: Callable[[Plane], Coroutine[None, None, None]]) -> None:
    async def run() -> None:
        async with plane(folder, options=options) as made:
            await act(made)

    asyncio.run(run())


def rows(folder: Path) -> list[dict[str, object]]:
    return spools.read(folder / "spool.sqlite", "m")


def status_of(reply: Reply | None) -> int:
    assert reply is not None
    return reply.status


def test_a_row_says_who_asked_and_where_the_time_went(tmp_path: Path) -> None:
    async def act(made: Plane) -> None:
        made.scorer.door.clear()
        asked = asyncio.create_task(made.ask(headers={"x-caller": "billing"}))
        await asyncio.to_thread(made.scorer.reached.wait)
        await asyncio.sleep(0.02)
        made.scorer.door.set()
        assert status_of(await asked) == 200

    through(tmp_path, Options(), act)
    (row,) = rows(tmp_path)
    assert row["caller"] == "billing"
    wait_us, model_us, latency_us = row["wait_us"], row["model_us"], row["latency_us"]
    assert isinstance(wait_us, int)
    assert isinstance(model_us, int)
    assert isinstance(latency_us, int)
    assert model_us >= 20_000
    assert 0 <= wait_us + model_us <= latency_us


def test_redacted_inputs_reach_the_model_and_never_the_file(tmp_path: Path) -> None:
    async def act(made: Plane) -> None:
        assert status_of(await made.ask([4.0])) == 200
        assert status_of(await made.ask([13.0])) == 500
        assert made.scorer.calls[0] == [4.0]

    through(tmp_path, Options(redact=("name", "x")), act)
    assert [row["inputs"] for row in rows(tmp_path)] == [[None, None]] * 2
    assert rows(tmp_path)[1]["error"] == "the model raised ValueError"
    everything = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"anna" not in everything


def _full(made: Plane) -> None:
    """Make every further commit of the log fail, as a full disk does."""
    conn = sqlite3.connect(made.spool.path)
    for table in ("prediction", "signature"):
        conn.execute(
            f"create trigger no_{table} before insert on {table} begin select raise(abort, 'disk is full'); end"
        )
    conn.close()


def test_a_log_that_cannot_be_written_fails_the_request(tmp_path: Path) -> None:
    async def act(made: Plane) -> None:
        _full(made)
        reply = await made.ask()
        assert status_of(reply) == 503
        assert "log can't be written" in str(reply and reply.body["error"])
        assert "mainspring_log_failures_total 1" in made.app.metrics_text()
        assert 'status="503"} 1' in made.app.metrics_text()

    through(tmp_path, Options(), act)
    assert rows(tmp_path) == []


def test_columns_of_a_version_that_could_not_be_written_are_written_with_the_next_rows(tmp_path: Path) -> None:
    async def act(made: Plane) -> None:
        _full(made)
        made.spool.declare("m", 7, [("x", "number")])
        assert status_of(await made.ask()) == 503
        conn = sqlite3.connect(made.spool.path)
        assert conn.execute("select count(*) from signature where version = 7").fetchone() == (0,)
        conn.executescript("drop trigger no_prediction; drop trigger no_signature")
        assert status_of(await made.ask()) == 200
        assert conn.execute("select inputs from signature where version = 7").fetchall() == [('[["x","number"]]',)]
        conn.close()

    through(tmp_path, Options(), act)


def test_where_the_endpoint_says_so_it_is_answered_counted_and_complained_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def act(made: Plane) -> None:
        _full(made)
        with caplog.at_level(logging.ERROR):
            assert [status_of(await made.ask([1.0, 2.0])) for _ in range(3)] == [200] * 3
        assert "mainspring_unlogged_rows_total 6" in made.app.metrics_text()
        assert len([record for record in caplog.records if "not logged" in record.getMessage()]) == 1

    through(tmp_path, Options(on_log_failure="answer"), act)


def test_a_log_that_hangs_holds_up_no_answer_of_an_endpoint_that_may_do_without(tmp_path: Path) -> None:
    async def act(made: Plane) -> None:
        conn = sqlite3.connect(made.spool.path, isolation_level=None)
        conn.execute("begin immediate")  # as long as this is open nobody else can write
        assert status_of(await made.ask(timeout_ms=100)) == 200
        assert "mainspring_unlogged_rows_total 1" in made.app.metrics_text()
        conn.execute("rollback")
        conn.close()

    through(tmp_path, Options(on_log_failure="answer"), act)


@pytest.mark.parametrize("name", [b"a" * 201, b"two\nlines"])
def test_a_caller_has_a_printable_name(name: bytes) -> None:
    with pytest.raises(Invalid, match="x-caller"):
        read_headers(Call(Line()), {b"x-caller": name})


@pytest.mark.parametrize("wrong", [{"deadline_ms": -1}, {"on_log_failure": "ignore"}])
def test_options_that_mean_nothing_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(Invalid):
        Options(**wrong)  # type: ignore[arg-type]
