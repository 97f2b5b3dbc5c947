"""What is logged while nobody answers arrives later: whole, in order and once."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
from tests.disks import full
from tests.rooms.sdk.conftest import Slow, every_run, only, wait_until

from mainspring.core.errors import NoRoom, Unavailable
from mainspring.core.wiring import Wiring
from mainspring.sdk import ActiveRun, Session
from mainspring.sdk.sinks import AbsentSink, EmbeddedSink, HttpSink
from mainspring.tracking import Files, Tracking


def test_a_full_target_gets_everything_later(tracking: Tracking, files: Files, tmp_path: Path) -> None:
    sink = Slow(tracking, files)
    with Session(sink, tmp_path / "spool").run(capture=False) as run:
        for step in range(50):
            run.log({"loss": 1.0}, step=step)
        wait_until(lambda: sink.turned_away >= 2, "two attempts")
        assert tracking.history(run.id, "loss") == []
        sink.open.set()
    assert len(tracking.history(run.id, "loss")) == 50
    assert only(tracking).status == "finished"


def test_a_target_that_stays_away_gets_the_rest_from_the_next_session(
    tracking: Tracking, files: Files, tmp_path: Path
) -> None:
    with Session(Slow(tracking, files), tmp_path / "spool", close_s=0.2).run(capture=False) as run:
        for step in range(50):
            run.log({"loss": 1.0}, step=step)
    assert only(tracking).status == "running"
    assert Session(EmbeddedSink(tracking, files), tmp_path / "spool").recovered == [run.id]
    assert len(tracking.history(run.id, "loss")) == 50
    assert only(tracking).status == "finished"


def test_a_server_that_is_not_there_is_named_with_the_command_that_starts_it(tmp_path: Path) -> None:
    session = Session(HttpSink("http://127.0.0.1:9"), tmp_path / "spool")
    with pytest.raises(Unavailable, match="mainspring up"):
        session.run(capture=False)
    assert list((tmp_path / "spool").iterdir()) == []
    session.close()


def offline(target: str, spool: Path) -> ActiveRun:
    """A whole run with a child and every kind of entry, logged while nobody listens."""
    session = Session(AbsentSink(target, "default"), spool, offline="always")
    with session.run("outer", experiment="trains", params={"depth": 6}, tags={"a": 1}, seed=7) as run:
        run.log({"loss": 0.5}, step=1)
        run.text("notes", "hello")
        run.input("datasets/flights/1")
        with pytest.raises(ZeroDivisionError), session.run("inner", capture=False) as inner:
            inner.log({"loss": 1 / 0})
    assert run.offline
    session.close()
    return run


def test_a_run_that_was_logged_offline_arrives_whole_with_the_next_session(
    session: Session, tracking: Tracking, files: Files, tmp_path: Path
) -> None:
    before = time.time_ns() // 1000
    run = offline(session._sink.target, tmp_path / "spool")
    assert every_run(tracking) == []
    between = time.time_ns() // 1000
    assert len(session.sync()) == 2
    assert session.sync() == []
    inner, outer = every_run(tracking)
    found = tracking.get(run.id)
    assert (outer.id, inner.parent) == (run.id, run.id)
    assert (found.name, found.experiment, found.status, found.seed) == ("outer", "trains", "finished", 7)
    assert (found.params, found.tags, inner.status) == ({"depth": "6"}, {"a": "1"}, "failed")
    assert found.ended_at is not None
    assert before <= found.started_at <= found.ended_at <= between
    assert found.code is not None and found.environment is not None
    assert found.inputs[0].dataset == "datasets/flights/1"
    assert files.read(files.run_folder(run.id) + "notes.txt") == b"hello"
    assert tracking.history(run.id, "loss")[0].value == 0.5
    assert list((tmp_path / "spool").iterdir()) == []


def test_an_offline_run_goes_on_offline_and_its_steps_are_known(
    tracking: Tracking, files: Files, tmp_path: Path
) -> None:
    away = Session(AbsentSink("embedded", "default"), tmp_path / "spool", offline="always")
    with away.run("first", capture=False) as run:
        run.log({"loss": 1.0}, step=41)
    with away.run(resume=run.id) as again:
        assert (again.name, again.next_step) == ("first", 42)
        again.log({"loss": 0.5})
    Session(EmbeddedSink(tracking, files), tmp_path / "spool")
    assert [point.step for point in tracking.history(run.id, "loss")] == [41, 42]
    assert only(tracking).status == "finished"


def test_when_nobody_answers_a_run_starts_offline_only_if_it_was_asked_to(
    tracking: Tracking, files: Files, tmp_path: Path
) -> None:
    session = Session(HttpSink("http://127.0.0.1:9"), tmp_path / "spool", offline="auto")
    with session.run("alone", capture=False) as run:
        run.log({"loss": 1.0})
    assert run.offline
    session.close()
    sink = EmbeddedSink(tracking, files)
    assert Session(sink, tmp_path / "spool").recovered == []
    assert Session(sink, tmp_path / "spool").sync(any_target=True) == [run.id]
    assert only(tracking).name == "alone"


@pytest.mark.parametrize("answers", [True, False])
def test_points_that_find_no_room_in_the_spool_go_straight_to_the_target_or_their_loss_is_said(
    tracking: Tracking, files: Files, tmp_path: Path, answers: bool
) -> None:
    sink = Slow(tracking, files)
    run = Session(sink, tmp_path / "spool", close_s=0.2).run(capture=False)
    if answers:
        sink.open.set()
    with full(run._spool._fd):
        run.log({"loss": 1.0}, step=7)
        with nullcontext() if answers else pytest.raises(NoRoom, match="disk is full"):
            run.finish()
    assert [point.step for point in tracking.history(run.id, "loss")] == ([7] if answers else [])
    assert only(tracking).status == ("finished" if answers else "running")


class Deaf(EmbeddedSink):
    """Does not hear the first times that a run has ended."""

    def __init__(self, tracking: Tracking, files: Files, times: int) -> None:
        super().__init__(tracking, files)
        self.times = times

    def finish(self, run_id: str, status: str, ended_at: int = 0) -> None:
        self.times -= 1
        if self.times >= 0:
            raise Unavailable("down")
        super().finish(run_id, status, ended_at)


def test_the_end_of_a_run_is_told_again_until_it_is_heard(tracking: Tracking, files: Files, tmp_path: Path) -> None:
    with Session(Deaf(tracking, files, times=2), tmp_path / "spool").run(capture=False) as run:
        run.log({"loss": 1.0})
    assert only(tracking).status == "finished"
    assert list((tmp_path / "spool").iterdir()) == []


def test_an_end_that_nobody_heard_is_told_by_the_next_session(tracking: Tracking, files: Files, tmp_path: Path) -> None:
    with Session(Deaf(tracking, files, times=99), tmp_path / "spool", close_s=0.2).run(capture=False) as run:
        run.log({"loss": 1.0})
    assert only(tracking).status == "running"
    assert Session(EmbeddedSink(tracking, files), tmp_path / "spool").recovered == [run.id]
    assert only(tracking).status == "finished"


class Flaky(EmbeddedSink):
    """Answers nothing at all while it is down."""

    down = False

    def log(self, run_id: str, batch: bytes) -> None:
        self._check()
        super().log(run_id, batch)

    def artifact(self, run_id: str, path: str, content: bytes | Path) -> None:
        self._check()
        super().artifact(run_id, path, content)

    def _check(self) -> None:
        if self.down:
            raise Unavailable("down")


def test_tags_and_files_wait_in_order_while_the_target_is_down(
    tracking: Tracking, files: Files, tmp_path: Path
) -> None:
    sink = Flaky(tracking, files)
    with Session(sink, tmp_path / "spool").run(capture=False) as run:
        run.tags({"state": 1})
        sink.down = True
        run.tags({"state": 2})
        run.text("notes", "hello")
        run.params({"depth": 6})
        sink.down = False
        run.tags({"state": 3})
    found = only(tracking)
    assert (found.status, found.tags, found.params) == ("finished", {"state": "3"}, {"depth": "6"})
    assert files.read(files.run_folder(run.id) + "notes.txt") == b"hello"
    assert list((tmp_path / "spool").iterdir()) == []


def test_the_command_sends_what_was_logged_offline(house: Wiring, url: str, tracking: Tracking, tmp_path: Path) -> None:
    code = """
import mainspring as ms
with ms.run("first", experiment="trains") as run:
    run.log({"loss": 0.5})
    run.text("notes", "hello")
"""
    environ = {**os.environ, "MAINSPRING_OFFLINE": "1", "MAINSPRING_URL": url}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env=environ)
    assert every_run(tracking) == []
    command = [sys.executable, "-m", "mainspring", "sync"]
    asked = [[*command, "--to", url], [*command, "--to", url, "--json"], [*command, "--to", url]]
    done = [subprocess.run(words, check=True, cwd=tmp_path, capture_output=True, text=True).stdout for words in asked]
    assert "done" in done[0]
    assert (done[1].strip(), done[2].strip()) == ("[]", "nothing waits to be sent")
    assert only(tracking).name == "first"
