"""The SDK: embedded and over HTTP, and servers that are slow."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from tests.rooms.sdk.conftest import Slow, every_run, only

from mainspring.core.errors import Conflict, Invalid, NotFound, TooLarge
from mainspring.core.wiring import Wiring
from mainspring.sdk import ActiveRun, Session, connect, current, run, seed
from mainspring.sdk import files as files_of
from mainspring.sdk.session import default_session
from mainspring.sdk.sinks import AbsentSink, EmbeddedSink
from mainspring.tracking import Files, Tracking


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
