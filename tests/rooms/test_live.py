"""Following a run: what moved is told once, also NaN, until the run ends."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from mainspring.core.clock import ManualClock
from mainspring.core.errors import NotFound
from mainspring.core.settings import load
from mainspring.core.wiring import Wiring
from mainspring.server.house import open_house
from mainspring.storage.journal import SqlJournal
from mainspring.storage.ports import Tables
from mainspring.tracking import Metric, Tracking
from mainspring.tracking.commands import track
from mainspring.tracking.live import Watch

SERVER = """
import sys
from pathlib import Path
from mainspring.core.settings import load
from mainspring.server.house import open_house
from mainspring.server.run import serve
serve(open_house(load(Path(sys.argv[1]), environ={})), port=0)
"""


@pytest.fixture
def tracking(tables: Tables) -> Tracking:
    clock = ManualClock(1_000)
    return Tracking(tables=tables, journal=SqlJournal(tables, clock), clock=clock)


def test_each_move_is_told_once_by_its_latest_point(tracking: Tracking) -> None:
    run = tracking.create_run("flights")
    watch = Watch(tracking, run.id)
    assert watch.news().points == ()
    tracking.log_batch(run.id, metrics=[Metric("loss", 1 / (step + 1), step) for step in range(10)])
    tracking.log_batch(run.id, metrics=[Metric("odd", math.nan)])
    loss, odd = watch.news().points
    assert (loss.key, loss.step, odd.key, math.isnan(odd.value)) == ("loss", 9, "odd", True)
    assert watch.news().points == (), "NaN that stays NaN is no news"
    tracking.finish(run.id)
    assert watch.news().over


def test_a_run_that_is_not_there_is_said(tracking: Tracking) -> None:
    with pytest.raises(NotFound):
        Watch(tracking, "0" * 32).news()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Wiring]:
    wiring = open_house(load(tmp_path, environ={}))
    yield wiring
    wiring.close()


@pytest.fixture
def address(house: Wiring, tmp_path: Path) -> Iterator[str]:
    """Where another process serves the same folder."""
    command = [sys.executable, "-c", SERVER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
        process.terminate()


def test_the_stream_tells_what_moves_and_ends_with_the_run(house: Wiring, address: str) -> None:
    tracking = house.get(Tracking)
    run = tracking.create_run("flights")
    tracking.log_batch(run.id, metrics=[Metric("loss", math.inf, 1)])
    with httpx.stream("GET", f"{address}/api/v1/runs/{run.id}/stream", timeout=60) as answer:
        lines = (line.removeprefix("data: ") for line in answer.iter_lines() if line.startswith("data: "))
        first = json.loads(next(lines))
        assert first["points"][0] | {"at": 0} == {"key": "loss", "value": "Infinity", "step": 1, "at": 0}
        tracking.log_batch(run.id, metrics=[Metric("loss", 0.25, 2)])
        assert json.loads(next(lines))["points"][0]["value"] == 0.25
        tracking.finish(run.id)
        assert json.loads(next(lines)) == {"status": "finished", "points": []}
        assert list(lines) == [], "the stream ends with the run"
    assert httpx.get(f"{address}/api/v1/runs/{'0' * 32}/stream").status_code == 404


def test_the_tail_prints_every_move_and_stops_with_the_run(house: Wiring) -> None:
    tracking = house.get(Tracking)
    run = tracking.create_run("flights")
    tracking.log_batch(run.id, metrics=[Metric("loss", 0.5, 3)])
    tracking.finish(run.id)
    found = CliRunner().invoke(track, [run.id], obj=lambda: house)
    assert found.output.splitlines()[0].endswith("step 3        loss = 0.5")
    assert found.output.splitlines()[-1] == "finished"
