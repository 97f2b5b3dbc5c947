"""The SDK: embedded and over HTTP, slow and absent servers, and clients that are killed."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import uvicorn
from tests.disks import full

from mainspring.core.clock import SystemClock
from mainspring.core.errors import Conflict, Invalid, NoRoom, NotFound, Overloaded, TooLarge, Unavailable
from mainspring.core.settings import load
from mainspring.core.wiring import Wiring
from mainspring.sdk import ActiveRun, Session, connect, current, run, seed
from mainspring.sdk import files as files_of
from mainspring.sdk.session import default_session
from mainspring.sdk.sinks import AbsentSink, EmbeddedSink, HttpSink
from mainspring.server.app import create_app
from mainspring.server.house import open_house
from mainspring.tracking import Files, Run, Search, Tracking
from mainspring.tracking.local import LocalTaker


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wiring]:
    """A data folder, opened; children of the test open the same one."""
    for name in [name for name in os.environ if name.startswith("MAINSPRING_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MAINSPRING_STORAGE_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    kept = dict(os.environ)
    wiring = open_house(load(flags={"storage.data": str(tmp_path / "data")}))
    yield wiring
    wiring.close()
    os.environ.clear()
    os.environ.update(kept)


@pytest.fixture
def tracking(house: Wiring) -> Tracking:
    return house.get(Tracking)


@pytest.fixture
def files(house: Wiring) -> Files:
    return house.get(Files)


@pytest.fixture
def url(house: Wiring) -> Iterator[str]:
    """A real server over the house, on a port of its own."""
    config = uvicorn.Config(lambda: None, host="127.0.0.1", port=0, log_level="error", lifespan="off")
    socket = config.bind_socket()
    port = int(socket.getsockname()[1])
    app = create_app(house, port=port, rooms=("tracking", "registry"))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]})
    thread.start()
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()
    socket.close()


@pytest.fixture(params=["embedded", "http"])
def session(request: pytest.FixtureRequest, tracking: Tracking, files: Files, tmp_path: Path) -> Iterator[Session]:
    """A session of each kind in turn."""
    if request.param == "embedded":
        made = Session(EmbeddedSink(tracking, files), tmp_path / "spool")
    else:
        made = Session(HttpSink(request.getfixturevalue("url")), tmp_path / "spool")
    yield made
    made.close()


def only(tracking: Tracking) -> Run:
    (run,) = every_run(tracking)
    return tracking.get(run.id)


def every_run(tracking: Tracking) -> list[Run]:
    """The newest first."""
    return list(Search(tables=tracking._tables, clock=SystemClock()).runs(None).items)


def wait_until(there: Callable[[], object], what: str, timeout_s: float = 30) -> None:
    end = time.monotonic() + timeout_s
    while not there():
        assert time.monotonic() < end, f"{what} did not happen"
        time.sleep(0.01)


def test_everything_logged_is_there_when_the_run_ends(
    session: Session, tracking: Tracking, files: Files, tmp_path: Path
) -> None:
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "a.svg").write_text("<svg/>")
    with session.run("first", experiment="flights", params={"depth": 6}, tags={"team": "ops"}, seed=7) as run:
        for step in range(2500):
            run.log({"loss": 1 / (step + 1), "val/auc": np.float32(0.5)}, step=step)
        run.log({"odd": math.nan}, step=0)
        run.log({"odd": -math.inf}, step=1)
        run.folder(tmp_path / "plots")
        run.input("datasets/flights/1")
    found = only(tracking)
    assert (found.name, found.experiment, found.status, found.seed) == ("first", "flights", "finished", 7)
    assert (found.params, found.tags) == ({"depth": "6"}, {"team": "ops"})
    assert [point.step for point in tracking.history(run.id, "loss")] == list(range(2500))
    assert [repr(point.value) for point in tracking.history(run.id, "odd")] == ["nan", "-inf"]
    assert files.read(f"{found.folder}plots/a.svg") == b"<svg/>"
    assert found.inputs[0].dataset == "datasets/flights/1"
    assert found.code is not None
    assert found.environment is not None
    assert "polars" in found.environment.packages
    assert list((tmp_path / "spool").iterdir()) == []


def test_an_error_in_the_block_is_a_failed_run_and_goes_on_up(session: Session, tracking: Tracking) -> None:
    with pytest.raises(ZeroDivisionError), session.run(capture=False) as run:
        run.log({"loss": 1 / 0})
    assert only(tracking).status == "failed"


def test_ctrl_c_in_the_block_is_a_killed_run(session: Session, tracking: Tracking) -> None:
    with pytest.raises(KeyboardInterrupt), session.run(capture=False):
        raise KeyboardInterrupt
    assert only(tracking).status == "killed"


def test_a_param_that_changes_is_refused_where_it_is_logged(session: Session) -> None:
    with session.run(capture=False) as run:
        run.params({"depth": 6})
        run.params({"depth": 6})
        with pytest.raises(Conflict, match="depth"):
            run.params({"depth": 7})


def test_a_name_or_value_that_cannot_be_logged_is_refused_at_once(session: Session) -> None:
    with session.run(capture=False) as run:
        with pytest.raises(Invalid, match="can't name a metric"):
            run.log({"../up": 1.0})
        with pytest.raises(Invalid, match="no number"):
            run.log({"loss": "high"})  # type: ignore[dict-item]  # what a careless caller does
    with pytest.raises(Conflict, match="ended"):
        run.log({"loss": 1.0})


@pytest.mark.parametrize(
    ("metrics", "step", "said"),
    [
        ({"a": 1.0}, 1.5, "a float is no step"),
        ({"a": 1.0}, "1", "a str is no step"),
        ({"a": 1.0}, 2**63, "out of range"),
        ({"a": 1.0, "b": "high"}, 1, "a str is no number"),
        ({"a": 1.0, "b": 10**400}, 1, "beyond what a float"),
        ({"a": 1.0, "b c\n": 1.0}, 1, "can't name a metric"),
        ([0.5], 1, "a list is no mapping"),
    ],
)
def test_a_call_of_log_that_makes_no_sense_is_refused_whole_and_spoils_no_other(
    tracking: Tracking, files: Files, tmp_path: Path, metrics: dict[str, float], step: int, said: str
) -> None:
    session = Session(EmbeddedSink(tracking, files), tmp_path / "spool")
    with session.run(capture=False) as run:
        run.log({"loss": 0.5, 7: 1.0}, step=np.int64(3))  # type: ignore[dict-item]  # a name that is no text
        with pytest.raises(Invalid, match=said):
            run.log(metrics, step=step)
        run.log({"loss": 0.25})
    assert [(p.step, p.value) for p in tracking.history(run.id, "loss")] == [(3, 0.5), (4, 0.25)]
    assert set(tracking.get(run.id).metrics) == {"loss", "7"}


def test_what_is_given_in_the_wrong_kind_is_told_at_once(session: Session, tracking: Tracking) -> None:
    for given in ({"params": ["lr"]}, {"tags": "blue"}):
        with pytest.raises(Invalid, match="no mapping of names"):
            session.run(**given)
    with session.run(capture=False) as run:
        for relative in ("much", -1.0, {"loss": float("nan")}):
            with pytest.raises(Invalid, match=r"is no (number|tolerance)"):
                run.tolerance(relative)  # type: ignore[arg-type]
        for dataset in ("", 5):
            with pytest.raises(Invalid, match="names no dataset"):
                run.input(dataset)  # type: ignore[arg-type]
    assert only(tracking).tags.get("mainspring.tolerance") is None


def test_offline_too_what_would_be_refused_later_is_refused_at_once(
    tracking: Tracking, files: Files, tmp_path: Path
) -> None:
    session = Session(AbsentSink(EmbeddedSink.target, "default"), tmp_path / "spool", offline="always")
    with session.run("away", params={"lr": 1}, capture=False) as run:
        run.params({"lr": "1"})
        with pytest.raises(Conflict, match="'lr' is '1' and can't become '2'"):
            run.params({"lr": 2})
        for act, given in ((run.params, {"a\nb": 1}), (run.tags, {"": 1})):
            with pytest.raises(Invalid, match="can't name a"):
                act(given)
        with pytest.raises(TooLarge, match="at most 6000"):
            run.params({"long": "x" * 6001})
        run.log({"loss": 0.5})
    Session(EmbeddedSink(tracking, files), tmp_path / "spool")
    found = only(tracking)
    assert (found.status, found.params, len(found.metrics)) == ("finished", {"lr": "1"}, 1)


def test_steps_count_up_when_none_are_given(session: Session, tracking: Tracking) -> None:
    with session.run(capture=False) as run:
        for value in (3.0, 2.0, 1.0):
            run.log({"loss": value})
    assert [(point.step, point.value) for point in tracking.history(run.id, "loss")] == [(0, 3.0), (1, 2.0), (2, 1.0)]


def test_threads_may_share_a_run(session: Session, tracking: Tracking) -> None:
    with session.run(capture=False) as run:

        def log(worker: int) -> None:
            for step in range(100):
                run.log({f"loss-{worker}": 1.0}, step=step)

        threads = [threading.Thread(target=log, args=(worker,)) for worker in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [len(tracking.history(run.id, f"loss-{worker}")) for worker in range(4)] == [100] * 4


class Slow(EmbeddedSink):
    """Takes nothing until it is let go; counts what it turned away."""

    def __init__(self, tracking: Tracking, files: Files) -> None:
        super().__init__(tracking, files)
        self.open = threading.Event()
        self.turned_away = 0

    def log(self, run_id: str, batch: bytes) -> None:
        if not self.open.is_set():
            self.turned_away += 1
            raise Overloaded("full")
        super().log(run_id, batch)


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


def test_runs_started_in_the_block_of_another_are_its_children(session: Session, tracking: Tracking) -> None:
    with session.run("outer", experiment="flights", capture=False) as outer:
        with session.run("inner", capture=False) as inner, session.run("innermost", capture=False) as innermost:
            assert current() is innermost
        stranger = session.run("stranger", capture=False, parent="")
        stranger.finish()
        assert current() is outer
    assert current() is None
    after = session.run("after", capture=False)
    after.finish()
    parents = {name: tracking.get(run.id).parent for name, run in {"inner": inner, "innermost": innermost}.items()}
    assert parents == {"inner": outer.id, "innermost": inner.id}
    assert {tracking.get(run.id).experiment for run in (outer, inner, innermost)} == {"flights"}
    assert {tracking.get(run.id).parent for run in (outer, stranger, after)} == {""}


def test_threads_have_blocks_of_their_own_and_may_name_a_parent(session: Session, tracking: Tracking) -> None:
    found: dict[int, tuple[str, str]] = {}
    barrier = threading.Barrier(4)

    def work(worker: int, outer: ActiveRun) -> None:
        with session.run(f"part {worker}", capture=False, parent=outer if worker % 2 else None) as part:
            barrier.wait(30)
            with session.run("leaf", capture=False) as leaf:
                barrier.wait(30)
                found[worker] = (tracking.get(part.id).parent, tracking.get(leaf.id).parent)
        assert found[worker][1] == part.id

    with session.run("outer", capture=False) as outer:
        threads = [threading.Thread(target=work, args=(worker, outer)) for worker in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [found[worker][0] for worker in range(4)] == ["", outer.id, "", outer.id]


def test_a_run_that_ended_goes_on_where_its_steps_were(session: Session, tracking: Tracking) -> None:
    with session.run("first", experiment="flights", params={"depth": 6}, capture=False) as run:
        for _ in range(3):
            run.log({"loss": 1.0})
    with session.run(resume=run.ref, tags={"again": "yes"}) as again:
        assert only(tracking).status == "running"
        assert (again.id, again.name, again.next_step) == (run.id, "first", 3)
        again.log({"loss": 0.5})
        again.params({"late": 1})
    found = only(tracking)
    assert [point.step for point in tracking.history(run.id, "loss")] == [0, 1, 2, 3]
    assert (found.status, found.params, found.tags) == ("finished", {"depth": "6", "late": "1"}, {"again": "yes"})


def test_a_run_that_is_not_there_does_not_go_on(session: Session, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no run"):
        session.run(resume="f" * 32)
    with pytest.raises(Invalid, match="no run id"):
        session.run(resume="mine")
    assert list((tmp_path / "spool").iterdir()) == []


def test_notes_tolerance_and_files_of_all_kinds_are_kept(session: Session, tracking: Tracking, files: Files) -> None:
    with session.run(capture=False) as run:
        run.note("# Why\nbecause")
        run.tolerance({"loss": 0.01})
        run.table("rows", [{"x": 1}])
        run.image("sample", np.zeros((2, 2), dtype=np.uint8), step=3)
        run.text("notes", "hello")
        run.json("facts", {"x": 1})
        run.file(b"\x00\x01", "raw.bin")
        with pytest.raises(Invalid, match="no name"):
            run.file(b"\x00")
        with pytest.raises(NotFound, match="no such file"):
            run.file("nowhere.txt")
        with pytest.raises(Invalid, match="can't be the path"):
            run.text("../up", "x")
    assert only(tracking).tags == {"mlflow.note.content": "# Why\nbecause", "mainspring.tolerance": '{"loss": 0.01}'}
    kept = {entry.path for entry in files.below(files.run_folder(run.id))}
    assert kept == {"rows.csv", "sample/00000003.png", "notes.txt", "facts.json", "raw.bin"}
    assert files.read(files.run_folder(run.id) + "raw.bin") == b"\x00\x01"


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


def test_a_forked_child_refuses_to_log_into_its_parents_run(tracking: Tracking, tmp_path: Path) -> None:
    code = """
import os, mainspring as ms
from mainspring.core.errors import Conflict
with ms.run("parent", capture=False) as run:
    run.log({"loss": 1.0})
    if not (child := os.fork()):
        try:
            run.log({"loss": 2.0})
        except Conflict as reason:
            os._exit(7 if "forked" in str(reason) else 1)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert ms.current() is run
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, cwd=tmp_path)
    assert only(tracking).status == "finished"
    assert len(tracking.history(only(tracking).id, "loss")) == 1


def test_a_seed_is_on_record_with_the_runs_that_follow_and_the_one_it_is_set_in(
    session: Session, tracking: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mainspring.sdk.seeds._last", None)
    seed(7)
    first = np.random.random()
    with session.run(capture=False) as run:
        seed(8)
    assert (only(tracking).seed, only(tracking).tags) == (7, {"mainspring.seed": "8"})
    seed(7)
    assert np.random.random() == first
    with pytest.raises(Invalid, match="can't be a seed"):
        seed(-1)
    assert run.ref


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
    assert client.wait() == -signal.SIGKILL
    client.stdout.close()
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


def test_connect_opens_a_data_folder_with_all_its_rooms(house: Wiring, tmp_path: Path) -> None:
    code = """
import mainspring as ms
from mainspring.registry import Registry
session = ms.connect("elsewhere")
assert session.get(Registry).models() == []
with ms.run("there"): pass
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
    assert (tmp_path / "elsewhere").is_dir()
    assert every_run(house.get(Tracking)) == []


def test_a_closed_session_is_opened_anew_where_it_was(house: Wiring, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mainspring.sdk.session._default", None)
    monkeypatch.setattr("mainspring.sdk.session._asked", connect)
    session = connect("elsewhere")
    try:
        with run("before") as before:
            before.text("notes", "kept")
        session.close()
        session.close()
        with run("after") as after:
            after.log({"loss": 1.0})
        again = default_session()
        assert {found.name for found in every_run(again.get(Tracking))} == {"before", "after"}
        assert files_of(before.id).read("notes.txt") == b"kept"
        again.close()
        assert [file.path for file in files_of(before.id).list()] == ["notes.txt"]
    finally:
        default_session().close()
    assert every_run(house.get(Tracking)) == []


def test_a_session_that_was_closed_says_so_and_what_to_do(tmp_path: Path) -> None:
    session = Session(AbsentSink("nowhere", "main"), tmp_path / "spool", offline="always")
    session.close()
    for act in (session.run, session.sync, lambda: session.files("f" * 32), lambda: session.get(Tracking)):
        with pytest.raises(Conflict, match=r"this session is closed\n.*\ntry: .*mainspring.connect"):
            act()


def test_an_address_of_another_kind_is_refused() -> None:
    with pytest.raises(Invalid, match="no address"):
        connect("ftp://example.org")


def test_the_sdk_loads_no_numpy_sql_or_web_framework() -> None:
    code = (
        "import sys; before = len(sys.modules); import mainspring; mainspring.run\n"
        "bad = {'numpy', 'sqlalchemy', 'litestar', 'polars', 'httpx'} & set(sys.modules)\n"
        "print(len(sys.modules) - before, sorted(bad))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    count, bad = out.strip().split(" ", 1)
    assert bad == "[]"
    assert int(count) < 150


def test_logging_a_point_takes_microseconds(tracking: Tracking, files: Files, tmp_path: Path) -> None:
    with Session(Slow(tracking, files), tmp_path / "spool", close_s=0.01).run(capture=False) as run:
        best = math.inf
        for _ in range(20):
            start = time.perf_counter()
            for step in range(200):
                run.log({"loss": 0.5}, step=step)
            best = min(best, (time.perf_counter() - start) / 200)
    assert best < 50e-6
