"""Clients that are killed, or forget to end their run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from tests.rooms.sdk.conftest import only, wait_until

from mainspring.core.wiring import Wiring
from mainspring.sdk import Session
from mainspring.sdk.sinks import EmbeddedSink, HttpSink
from mainspring.tracking import Files, Tracking
from mainspring.tracking.local import LocalTaker

CLIENT = """
import sys, time, mainspring as ms
with ms.run("doomed", experiment="flights") as run:
    run.log({"loss": 0.5}, step=0)
    step = 0
    while True:
        step += 1
        run.log({"loss": 1.0 / step}, step=step)
        print(step, time.monotonic(), flush=True)
        time.sleep(0.002)
"""


def doomed(tmp_path: Path, **environment: str) -> tuple[int, float, float]:
    """Run a client, kill it in the middle, and say: the last step it logged, when, and when it was killed."""
    client = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CLIENT)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, **environment},
    )
    assert client.stdout is not None
    steps: list[tuple[int, float]] = []
    for line in client.stdout:
        step, at = line.split()
        steps.append((int(step), float(at)))
        if len(steps) == 300:
            client.send_signal(signal.SIGKILL)
            killed = time.monotonic()
            break
    for line in client.stdout:
        if line.endswith("\n"):
            step, at = line.split()
            steps.append((int(step), float(at)))
    client.stdout.close()
    assert client.wait() == -signal.SIGKILL
    safe = max(step for step, at in steps if at <= killed - 0.2)
    return safe, steps[-1][0], killed


@pytest.mark.parametrize("mode", ["embedded", "http"])
def test_a_killed_client_loses_nothing_older_than_200_ms(
    mode: str, tracking: Tracking, files: Files, url: str, tmp_path: Path
) -> None:
    target = {"MAINSPRING_URL": url} if mode == "http" else {}
    safe, logged, _ = doomed(tmp_path, **target)
    assert only(tracking).status == "running"
    sink = HttpSink(url) if mode == "http" else EmbeddedSink(tracking, files)
    session = Session(sink, tmp_path / "data" / "spool" / "runs")
    run = only(tracking)
    assert session.recovered == [run.id]
    steps = [point.step for point in tracking.history(run.id, "loss")]
    assert steps == list(range(len(steps)))
    assert safe <= steps[-1] <= logged + 1
    assert run.status == "killed"
    session.close()


def test_a_client_killed_while_the_server_is_away_loses_nothing_either(
    tracking: Tracking, files: Files, tmp_path: Path, house: Wiring
) -> None:
    code = """
import sys, mainspring as ms
from mainspring.core.errors import Overloaded
from mainspring.sdk.sinks import EmbeddedSink
def full(self, run_id, batch): raise Overloaded("full")
EmbeddedSink.log = full
run = ms.run("doomed")
for step in range(5000): run.log({"loss": 1.0}, step=step)
while run._sender._rows: pass
print("logged", flush=True)
sys.stdin.read()
"""
    client = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stdin=subprocess.PIPE, cwd=tmp_path)
    assert client.stdout is not None
    assert client.stdin is not None
    assert client.stdout.readline() == b"logged\n"
    spool = tmp_path / "data" / "spool" / "runs"
    wait_until(lambda: b",4999," in next(iter(spool.glob("*.spool"))).read_bytes(), "the last point in the spool")
    client.kill()
    client.wait()
    client.stdout.close()
    client.stdin.close()
    assert LocalTaker(tracking, files).recover(spool) == [only(tracking).id]
    assert len(tracking.history(only(tracking).id, "loss")) == 5000


def test_a_program_that_forgets_to_end_its_run_ends_it_at_exit(tracking: Tracking, tmp_path: Path) -> None:
    code = 'import mainspring as ms; run = ms.run("forgetful"); run.log({"loss": 1.0})'
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
    assert only(tracking).status == "finished"
    assert len(tracking.history(only(tracking).id, "loss")) == 1
