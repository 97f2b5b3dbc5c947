from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mainspring.core.errors import Fenced, Invalid, NoRoom, NotFound, Unavailable
from mainspring.engines import Engine, InlineEngine, Message, OutcomeState, ProcessEngine, RayEngine, Task, child, ray

ENTRIES = """
import os, signal, subprocess, sys, time

def double(payload, ask):
    print("working on", payload["n"])
    return {"n": 2 * payload["n"], "pid": os.getpid()}

def chat(payload, ask):
    heard = [ask({"say": word})["heard"] for word in payload["words"]]
    return {"heard": heard}

def break_own(payload, ask):
    from mainspring.core.errors import NotFound
    raise NotFound("no such star", where="sky", hint="look again at night")

def break_other(payload, ask):
    raise ZeroDivisionError("seven by none")

def leave(payload, ask):
    os._exit(3)

def leave_without_room(payload, ask):
    from mainspring.engines.port import NO_ROOM
    os._exit(NO_ROOM)

def shoot(payload, ask):
    os.kill(os.getpid(), signal.SIGKILL)

def part_slowly(payload, ask):
    import atexit, threading
    told = threading.Event()
    def tell():
        told.wait()
        print("the thread is done")
    threading.Thread(target=tell).start()
    threading._register_atexit(told.set)
    atexit.register(lambda: print("the hook is done", file=sys.stderr))
    return {"n": 1}

def linger(payload, ask):
    family = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    ask({"pids": [os.getpid(), os.getppid(), family.pid]})
    try:
        while True:
            time.sleep(600)
    finally:
        ask({"say": "tidied up"})

def deaf(payload, ask):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    ask({"pids": [os.getpid()]})
    while True:
        time.sleep(600)
"""


@dataclass
class Listener:
    """Notes what is said and answers in capitals; `stop_when` says when to raise."""

    said: list[Message] = field(default_factory=list)
    stop_when: Callable[[list[Message]], bool] = lambda said: False

    def answer(self, message: Message) -> Message:
        self.said.append(message)
        return {"heard": str(message.get("say", "")).upper()}

    def beat(self) -> float | None:
        if self.stop_when(self.said):
            raise Fenced("the lease is lost")
        return None


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Task]:
    (tmp_path / "entries_of_engines.py").write_text(ENTRIES)
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("entries_of_engines", None)

    def make(name: str, **payload: object) -> Task:
        env = {"PYTHONPATH": str(tmp_path)}
        return Task(entry=f"entries_of_engines:{name}", payload=payload, folder=tmp_path / name, env=env)

    return make


@pytest.fixture(params=[InlineEngine, ProcessEngine, pytest.param(RayEngine, marks=pytest.mark.ray)])
def engine(request: pytest.FixtureRequest) -> Engine:
    if request.param is RayEngine:
        request.getfixturevalue("ray_cluster")
    made: Engine = request.param()
    return made


def until_gone(pids: list[int], seconds: float = 10) -> list[int]:
    end = time.monotonic() + seconds
    while time.monotonic() < end and any(is_alive(pid) for pid in pids):
        time.sleep(0.02)
    return [pid for pid in pids if is_alive(pid)]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_every_engine_returns_the_result(engine: Engine, task: Callable[..., Task]) -> None:
    outcome = engine.run(task("double", n=21), Listener())
    assert (outcome.state, outcome.result["n"]) == (OutcomeState.FINISHED, 42)


def test_every_engine_carries_questions_and_answers(engine: Engine, task: Callable[..., Task]) -> None:
    listener = Listener()
    outcome = engine.run(task("chat", words=["a", "b", "line\nend"]), listener)
    assert outcome.result == {"heard": ["A", "B", "LINE\nEND"]}
    assert [message["say"] for message in listener.said] == ["a", "b", "line\nend"]


def test_every_engine_brings_back_an_error_with_its_kind_and_hint(engine: Engine, task: Callable[..., Task]) -> None:
    outcome = engine.run(task("break_own"), Listener())
    assert outcome.state is OutcomeState.FAILED
    assert isinstance(outcome.error, NotFound)
    assert str(outcome.error) == "no such star\nwhere: sky\ntry: look again at night"


def test_every_engine_names_the_kind_of_a_foreign_error(engine: Engine, task: Callable[..., Task]) -> None:
    outcome = engine.run(task("break_other"), Listener())
    assert outcome.error is not None
    assert outcome.error.what == "ZeroDivisionError: seven by none"


def test_every_engine_says_that_an_entry_does_not_exist(engine: Engine, task: Callable[..., Task]) -> None:
    outcome = engine.run(task("nothing_like_it"), Listener())
    assert isinstance(outcome.error, Invalid)


def test_every_engine_lets_the_watcher_refuse(engine: Engine, task: Callable[..., Task]) -> None:
    class Refusing(Listener):
        def answer(self, message: Message) -> Message:
            raise Fenced("the lease is lost")

    with pytest.raises(Fenced):
        engine.run(task("chat", words=["a"]), Refusing())


def test_a_process_writes_what_it_prints_to_its_log(task: Callable[..., Task]) -> None:
    outcome = ProcessEngine().run(task("double", n=1), Listener())
    assert outcome.log is not None
    assert outcome.log.read_text() == "working on 1\n"
    assert outcome.result["pid"] != os.getpid()


def test_a_process_ends_when_its_threads_and_exit_hooks_are_done(task: Callable[..., Task]) -> None:
    outcome = ProcessEngine().run(task("part_slowly"), Listener())
    assert (outcome.state, outcome.result, outcome.exit_code) == (OutcomeState.FINISHED, {"n": 1}, 0)
    assert outcome.log is not None
    assert outcome.log.read_text() == "the thread is done\nthe hook is done\n"


@pytest.mark.parametrize(("entry", "words"), [("leave", "exited with code 3"), ("shoot", "was killed by SIGKILL")])
def test_a_process_that_dies_without_a_word_is_described(task: Callable[..., Task], entry: str, words: str) -> None:
    outcome = ProcessEngine().run(task(entry), Listener())
    assert outcome.state is OutcomeState.DIED
    assert outcome.error is not None
    assert words in outcome.error.what


def test_a_process_whose_log_is_on_a_full_disk_says_what_its_work_said(task: Callable[..., Task]) -> None:
    broken = task("break_other")
    broken.folder.mkdir()
    (broken.folder / "log.txt").symlink_to("/dev/full")
    outcome = ProcessEngine().run(broken, Listener())
    assert outcome.state is OutcomeState.FAILED
    assert outcome.error is not None
    assert outcome.error.what == "ZeroDivisionError: seven by none"


def test_a_result_waits_for_room_on_a_full_disk(task: Callable[..., Task]) -> None:
    full = task("chat", words=["a"])
    full.folder.mkdir()
    (full.folder / "result.part").symlink_to("/dev/full")  # it goes with the first try
    outcome = ProcessEngine().run(full, Listener())
    assert (outcome.state, outcome.result) == (OutcomeState.FINISHED, {"heard": ["A"]})


def test_a_result_for_which_there_never_is_room_is_given_up_by_name(
    task: Callable[..., Task], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "_ROOM_S", -1.0)
    (tmp_path / "result.part").symlink_to("/dev/full")
    assert not child._write_when_there_is_room(tmp_path / "result.json", "{}")
    assert not [each for each in tmp_path.iterdir() if each.name.startswith("result")]
    assert child._write_when_there_is_room(tmp_path / "result.json", "{}")
    outcome = ProcessEngine().run(task("leave_without_room"), Listener())
    assert outcome.state is OutcomeState.DIED
    assert isinstance(outcome.error, NoRoom)


def test_a_stopped_process_may_tidy_up_and_leaves_no_family(task: Callable[..., Task]) -> None:
    listener = Listener(stop_when=lambda said: bool(said))
    with pytest.raises(Fenced):
        ProcessEngine(beat_s=0.05).run(task("linger"), listener)
    pids = listener.said[0]["pids"]
    assert isinstance(pids, list)
    assert until_gone(pids) == []


def test_a_process_deaf_to_sigterm_is_killed(task: Callable[..., Task]) -> None:
    listener = Listener(stop_when=lambda said: bool(said))
    with pytest.raises(Fenced):
        ProcessEngine(beat_s=0.05, grace_s=0.2).run(task("deaf"), listener)
    assert until_gone([listener.said[0]["pids"][0]]) == []  # type: ignore[index]


def test_a_process_out_of_time_is_stopped_and_says_so(task: Callable[..., Task]) -> None:
    outcome = ProcessEngine(grace_s=0.2).run(task("deaf"), Late())
    assert outcome.state is OutcomeState.TIMED_OUT
    assert outcome.error is not None
    assert outcome.error.code == "timeout"


class Late(Listener):
    """Gives no time once the task has said something."""

    def beat(self) -> float | None:
        return 0.0 if self.said else None


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_on_ray_a_task_is_stopped_timed_out_and_described_as_in_a_process_of_our_own(task: Callable[..., Task]) -> None:
    listener = Listener(stop_when=lambda said: bool(said))
    with pytest.raises(Fenced):
        RayEngine(beat_s=0.05).run(task("linger"), listener)
    pids = listener.said[0]["pids"]
    assert isinstance(pids, list)
    assert until_gone(pids) == []
    late = RayEngine(grace_s=0.2).run(task("deaf"), Late())
    assert late.state is OutcomeState.TIMED_OUT
    shot = RayEngine().run(task("shoot"), Listener())
    assert shot.state is OutcomeState.DIED
    assert shot.error is not None
    assert "was killed by SIGKILL" in shot.error.what


@pytest.mark.parametrize(("is_late", "state"), [(True, OutcomeState.TIMED_OUT), (False, None)])
def test_a_task_may_be_stopped_while_it_waits_for_an_answer(
    task: Callable[..., Task], is_late: bool, state: OutcomeState | None
) -> None:
    """What a node does with a stop that overtakes the answer; it needs no cluster."""
    runner = ray.Runner(0.2)
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(runner.run, task("chat", words=["a"]), ray._release())
        assert runner.exchange(None) == {"say": "a"}
        runner.stop(is_late=is_late)
        if state is None:
            with pytest.raises(Fenced):
                done.result()
        else:
            assert done.result().state is state
            assert "the time was up" in str(done.result().error)


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_a_task_whose_actor_of_ray_is_killed_has_died_and_takes_its_family_along(task: Callable[..., Task]) -> None:
    class Killing(Listener):
        def beat(self) -> float | None:
            if self.said:
                pid = self.said[0]["pids"][1]  # type: ignore[index]  # the guard, whose parent is the actor
                os.kill(int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]), signal.SIGKILL)
            return None

    listener = Killing()
    outcome = RayEngine(beat_s=0.05).run(task("linger"), listener)
    assert outcome.state is OutcomeState.DIED
    assert "actor is gone" in str(outcome.error)
    pids = listener.said[0]["pids"]
    assert isinstance(pids, list)
    assert until_gone(pids) == []


def test_without_ray_its_engine_says_what_to_install(
    task: Callable[..., Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mainspring.engines.ray.find_spec", lambda name: None)
    with pytest.raises(Unavailable, match="Ray is not installed"):
        RayEngine().run(task("double", n=1), Listener())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_child_and_its_family_die_with_a_killed_parent(
    task: Callable[..., Task], tmp_path: Path, number: signal.Signals
) -> None:
    task("linger")
    program = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from mainspring.engines import ProcessEngine, Task
        class Watch:
            def answer(self, message): print(*message["pids"], flush=True); return {}
            def beat(self): return None
        ProcessEngine().run(Task(entry="entries_of_engines:linger", payload={}, folder=Path("work")), Watch())
        """
    )
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=tmp_path, env=env, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) == 3
        parent.send_signal(number)
        parent.wait(60)
    assert until_gone(pids) == []
