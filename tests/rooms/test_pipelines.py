"""Pipelines on real storage with real processes, killed at every bad moment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar, cast

import pytest

from mainspring import step
from mainspring.core.errors import Conflict, Fenced, Invalid, NotFound, Unavailable
from mainspring.core.wiring import Wiring
from mainspring.engines import Engine, InlineEngine, ProcessEngine
from mainspring.pipelines import PipelineRun, Pipelines, RunState, StepState
from mainspring.pipelines.desk import KIND
from mainspring.pipelines.keys import check_code, codes_of
from mainspring.pipelines.worker import Worker
from mainspring.storage.files import FileBlobs
from mainspring.storage.jobs import Lease
from mainspring.storage.journal import SqlJournal
from mainspring.storage.ports import Blobs, Tables
from mainspring.storage.queue import SqlQueue

T = TypeVar("T")
PATIENCE_S = 30.0
FLOW = """
import os, time
from pathlib import Path
from mainspring import context, pipeline, step

HERE = Path(__file__).parent

def mark(word):
    with open(HERE / "marks.txt", "a") as file:
        file.write(f"{word} {os.getpid()}\\n")

def wait_for(name):
    while (HERE / "closed" / name).exists():
        time.sleep(0.01)

@step
def load(rows: int) -> list[int]:
    mark("load")
    print("loading", rows)
    return list(range(rows))

@step
def train(numbers: list[int], factor: int) -> dict[str, int]:
    print("training", flush=True)
    mark("train")
    wait_for("train")
    return {"weight": factor * sum(numbers)}

@step
def evaluate(model: dict[str, int], numbers: list[int]) -> float:
    mark("evaluate")
    wait_for("evaluate")
    return model["weight"] / len(numbers)

@step(side_effect=True)
def register(model: dict[str, int], score: float) -> dict[str, object]:
    mark("register")
    wait_for("register")
    return {"model": "flights", "version": 3, "score": score, "weight": model["weight"]}

@pipeline
def flights(rows: int = 4, factor: int = 2) -> dict[str, object]:
    numbers = load(rows)
    model = train(numbers, factor)
    return register(model, evaluate(model, numbers))

@step(retries=2, retry_in_s=0.0)
def shaky(good: int) -> int:
    mark("shaky")
    if context().attempt < good:
        raise ValueError(f"try {context().attempt} of {good}")
    return context().attempt

@pipeline
def patience(good: int = 3) -> int:
    return shaky(good)

@step(timeout_s=0.3, retries=1, retry_in_s=0.0)
def slow() -> int:
    mark("slow")
    print("thinking", flush=True)
    wait_for("slow")
    return 1

@pipeline
def slowly() -> int:
    return slow()

@step
def wrong() -> int:
    return "seven"

@pipeline
def wrongly() -> int:
    return wrong()

@step
def shy() -> object:
    return lambda: 1

@pipeline
def shyly() -> object:
    return shy()

@step
def twice(number: int) -> list[int]:
    return [2 * number, os.getpid()]

@step(process=True, memory="200MB")
def hungry(rows: int) -> int:
    if context().attempt == 1:
        os._exit(7)
    return len(bytearray(rows * 2**20).replace(b"x", b"y"))

@pipeline
def apart(rows: int = 1) -> list[list[int]]:
    hungry(rows)
    return twice.map(load(3))

@pipeline
def round_and_round() -> int:
    return round_and_round()
"""
HOUSE = """
import os
from pathlib import Path
from mainspring.core.wiring import Wiring
from mainspring.engines import ProcessEngine
from mainspring.pipelines import Pipelines
from mainspring.pipelines.worker import Worker
from mainspring.storage import open_tables
from mainspring.storage.files import FileBlobs
from mainspring.storage.journal import SqlJournal
from mainspring.storage.ports import Blobs
from mainspring.storage.queue import SqlQueue

HERE = Path(__file__).parent

def open_house():
    wiring = Wiring()
    wiring.add(Blobs, lambda _: FileBlobs(HERE / "blobs"))
    return wiring

def work():
    tables = open_tables(os.environ["TEST_URL"], HERE)
    queue, blobs = SqlQueue(tables), FileBlobs(HERE / "blobs")
    lease_s = float(os.environ["TEST_LEASE_S"])
    pipelines = Pipelines(tables=tables, journal=SqlJournal(tables), queue=queue, blobs=blobs, scratch=HERE / "scratch",
        house="house_of_flow:open_house", root=HERE, lease_s=lease_s, engines=[ProcessEngine(beat_s=0.05, grace_s=0.5)])
    worker = Worker(tables, queue, {"pipelines.run": pipelines.work_once}, lease_s=lease_s)
    print("ready", flush=True)
    while not worker.run_one():
        pass
    print("done", flush=True)

if __name__ == "__main__":
    work()
"""


@dataclass
class Site:
    """A project folder with its room, and what its steps have marked."""

    folder: Path
    tables: Tables
    url: str
    lease_s: float = 30.0
    pipelines: Pipelines = field(init=False)
    queue: SqlQueue = field(init=False)

    def __post_init__(self) -> None:
        (self.folder / "flow.py").write_text(FLOW)
        (self.folder / "house_of_flow.py").write_text(HOUSE)
        (self.folder / "closed").mkdir()
        self.queue = SqlQueue(self.tables)
        self.pipelines = self.room()

    def room(self, *engines: Engine) -> Pipelines:
        blobs, wiring = FileBlobs(self.folder / "blobs"), Wiring()
        wiring.add(Blobs, lambda _: blobs)  # type: ignore[type-abstract]  # the wiring knows ports by name
        return Pipelines(
            tables=self.tables,
            journal=SqlJournal(self.tables),
            queue=self.queue,
            blobs=blobs,
            scratch=self.folder / "scratch",
            wiring=wiring,
            house="house_of_flow:open_house",
            house_env={"PYTHONPATH": str(self.folder)},
            root=self.folder,
            lease_s=self.lease_s,
            engines=engines or [ProcessEngine(beat_s=0.05, grace_s=0.5)],
        )

    def marks(self, word: str = "") -> list[str]:
        path = self.folder / "marks.txt"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line.split()[0] for line in lines if line.startswith(word)]

    def pid_of(self, word: str) -> int:
        line = next(line for line in (self.folder / "marks.txt").read_text().splitlines() if line.startswith(word))
        return int(line.split()[1])

    def close(self, step: str) -> None:
        (self.folder / "closed" / step).touch()

    def open(self, step: str) -> None:
        (self.folder / "closed" / step).unlink()

    def lease(self) -> Lease:
        return until(lambda: self.queue.lease("test", ["pipelines"], lease_s=self.lease_s))

    def work(self) -> None:
        self.pipelines.work_once(self.lease())

    def run(self, target: str, **params: object) -> PipelineRun:
        run_id = self.pipelines.submit(target, params)
        self.work()
        return self.pipelines.get(run_id)

    def worker(self) -> subprocess.Popen[str]:
        env = {**os.environ, "PYTHONPATH": str(self.folder), "TEST_URL": self.url, "TEST_LEASE_S": str(self.lease_s)}
        command = [sys.executable, str(self.folder / "house_of_flow.py")]
        return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True, cwd=self.folder)

    def kinds(self) -> list[str]:
        return [event.kind.removeprefix("pipelines.") for event in SqlJournal(self.tables).read(limit=500)]


def until(ask: Callable[[], T | None]) -> T:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        found = ask()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError(f"did not happen within {PATIENCE_S} s")


@pytest.fixture
def site(tables: Tables, tmp_path: Path) -> Iterator[Site]:
    folder = tmp_path / "project"
    folder.mkdir()
    yield Site(folder, tables, url_of(tables))


@pytest.fixture
def local_site(sqlite_tables: Tables, tmp_path: Path) -> Site:
    """On SQLite only: for what does not depend on the database."""
    folder = tmp_path / "project"
    folder.mkdir()
    return Site(folder, sqlite_tables, url_of(sqlite_tables))


def url_of(tables: Tables) -> str:
    if tables.dialect == "sqlite":
        with tables.read() as conn:
            return f"sqlite:///{conn.exec_driver_sql('PRAGMA database_list').first()[2]}"  # type: ignore[index]
    with tables.read() as conn:
        return conn.engine.url.render_as_string(hide_password=False).replace("postgresql+psycopg", "postgresql")


def test_a_submitted_pipeline_runs_in_one_child_and_returns_its_value(site: Site) -> None:
    run = site.run("flow.py:flights", rows=5)
    assert (run.state, run.error) == (RunState.FINISHED, "")
    assert run.result == {"model": "flights", "version": 3, "score": 4.0, "weight": 20}
    assert [(step.id, step.state) for step in run.steps] == [
        (name, StepState.FINISHED) for name in ("load", "train", "evaluate", "register")
    ]
    assert len({site.pid_of(name) for name in ("load", "train", "evaluate", "register")}) == 1
    assert site.kinds() == ["run_requested", "run_started", *["step_finished"] * 4, "run_finished"]
    assert site.pipelines.log(run.id, "load") == "loading 5\n"
    assert not list((site.folder / "scratch" / "pipeline-runs").iterdir())


def test_a_second_run_takes_what_did_not_change_and_why_says_what_did(site: Site) -> None:
    site.run("flow.py:flights")
    run = site.run("flow.py:flights", factor=3)
    assert site.marks() == ["load", "train", "evaluate", "register", "train", "evaluate", "register"]
    assert run.step("load").state is StepState.CACHED  # type: ignore[union-attr]
    why = site.pipelines.why(run.id, "train")
    assert [(c.part, c.name, c.before, c.after) for c in why.changes] == [("params", "factor", "2", "3")]
    assert why.reason == "changed: params factor"
    assert site.pipelines.why(run.id, "register").reason.startswith("it always runs")
    assert "nothing it depends on changed" in site.pipelines.why(run.id, "load").reason


def test_changed_code_runs_again_with_what_follows_and_a_comment_does_not(local_site: Site) -> None:
    local_site.run("flow.py:flights")
    flow = local_site.folder / "flow.py"
    flow.write_text(FLOW.replace("return model[", "# the score\n    return 10 * model["))
    run = local_site.run("flow.py:flights")
    assert local_site.marks()[4:] == ["evaluate", "register"]
    assert [c.part for c in local_site.pipelines.why(run.id, "evaluate").changes] == ["code"]
    flow.write_text(flow.read_text().replace("# the score", "# the score, per row"))
    local_site.run("flow.py:flights")
    assert local_site.marks()[6:] == ["register"]


def test_items_and_steps_with_processes_of_their_own_run_there_and_keep_to_their_memory(local_site: Site) -> None:
    run = local_site.run("flow.py:apart")
    assert run.error == ""
    found = cast("list[list[int]]", run.result)
    assert [number for number, _ in found] == [0, 2, 4]
    assert local_site.pid_of("load") not in {pid for _, pid in found}
    assert [(s.attempt, s.memory > 0) for s in run.steps if s.id == "hungry"] == [(2, True)], "it died once"
    failed = local_site.run("flow.py:apart", rows=1000)
    assert failed.error.splitlines()[0] == "step hungry wanted more than its 200 MB of memory"


def test_the_same_key_is_the_same_run(site: Site) -> None:
    first = site.pipelines.submit("flow.py:flights", {}, key="nightly/1")
    site.work()
    assert site.pipelines.submit("flow.py:flights", {}, key="nightly/1") == first
    assert site.queue.lease("test", ["pipelines"]) is None
    assert len(site.pipelines.runs()) == 1


@pytest.mark.parametrize("victim", ["worker", "child"])
def test_a_run_goes_on_after_kill_9_with_the_finished_steps_kept(site: Site, victim: str) -> None:
    step = "train" if (victim == "worker") == (site.tables.dialect == "sqlite") else "evaluate"  # each with each once
    site.lease_s = 1.0
    site.pipelines = site.room()
    site.close(step)
    run_id = site.pipelines.submit("flow.py:flights", {})
    with site.worker() as worker:
        until(lambda: site.marks(step))
        os.kill(worker.pid if victim == "worker" else site.pid_of(step), signal.SIGKILL)
        worker.communicate(timeout=PATIENCE_S)
    until(lambda: not Path(f"/proc/{site.pid_of(step)}").exists())
    assert site.pipelines.get(run_id).step("load").state is StepState.FINISHED  # type: ignore[union-attr]
    site.open(step)
    site.work()
    run = site.pipelines.get(run_id)
    assert (run.state, run.attempt) == (RunState.FINISHED, 2)
    done = ["load", "train", "evaluate", "register"]
    assert sorted(site.marks()) == sorted([*done, step])
    assert site.kinds() == ["run_requested", "run_started", *["step_finished"] * 4, "run_finished"]


def test_a_worker_killed_between_two_steps_repeats_neither(site: Site) -> None:
    site.lease_s = 1.0
    site.pipelines = site.room()
    site.close("evaluate")
    run_id = site.pipelines.submit("flow.py:flights", {})
    with site.worker() as worker:
        until(lambda: (s := site.pipelines.get(run_id).step("train")) and s.state is StepState.FINISHED)
        worker.kill()
    until(lambda: not site.marks("evaluate") or not Path(f"/proc/{site.pid_of('evaluate')}").exists())
    site.open("evaluate")
    site.work()
    assert site.pipelines.get(run_id).state is RunState.FINISHED
    assert (len(site.marks("load")), len(site.marks("train"))) == (1, 1)


def test_a_worker_that_was_only_asleep_cannot_write_any_more(site: Site) -> None:
    site.lease_s = 1.0
    site.pipelines = site.room()
    site.close("train")
    run_id = site.pipelines.submit("flow.py:flights", {})
    with site.worker() as zombie:
        until(lambda: site.marks("train"))
        zombie.send_signal(signal.SIGSTOP)
        lease = site.lease()
        site.open("train")
        site.pipelines.work_once(lease)
        finished = site.pipelines.get(run_id)
        zombie.send_signal(signal.SIGCONT)
        zombie.communicate(timeout=PATIENCE_S)
    assert finished.state is RunState.FINISHED
    assert site.pipelines.get(run_id) == finished
    assert site.marks("evaluate") == ["evaluate"]
    assert site.kinds().count("step_finished") == 4


def test_cancel_stops_the_step_and_refuses_its_result(site: Site) -> None:
    site.close("train")
    run_id = site.pipelines.submit("flow.py:flights", {})
    lease = site.lease()
    failures: list[BaseException] = []

    def work() -> None:
        try:
            site.pipelines.work_once(lease)
        except Fenced as reason:
            failures.append(reason)

    thread = threading.Thread(target=work)
    thread.start()
    until(lambda: site.marks("train"))
    pid = site.pid_of("train")
    assert site.pipelines.cancel(run_id, reason="not today")
    thread.join(PATIENCE_S)
    assert len(failures) == 1
    until(lambda: not Path(f"/proc/{pid}").exists())
    run = site.pipelines.get(run_id)
    assert (run.state, run.error) == (RunState.CANCELLED, "not today")
    assert [step.state for step in run.steps] == ["finished", "cancelled", "skipped", "skipped"]
    assert site.pipelines.log(run_id, "train") == "training\n"
    assert not site.pipelines.cancel(run_id)
    assert site.kinds()[-1] == "run_cancelled"


def test_a_run_cancelled_in_the_queue_never_starts(site: Site) -> None:
    run_id = site.pipelines.submit("flow.py:flights", {})
    assert site.pipelines.cancel(run_id)
    assert site.queue.lease("test", ["pipelines"]) is None
    assert site.marks() == []


def test_a_step_is_tried_again_as_often_as_it_says(local_site: Site) -> None:
    assert local_site.run("flow.py:patience", good=3).result == 3
    run = local_site.run("flow.py:patience", good=9)
    assert (run.state, len(local_site.marks("shaky"))) == (RunState.FAILED, 6)
    assert run.error.splitlines()[0] == "step shaky raised ValueError: try 3 of 9"
    assert "flow.py, line" in run.error.splitlines()[1]
    assert "ValueError: try 3 of 9" in local_site.pipelines.log(run.id, "shaky")
    assert local_site.kinds()[-1] == "run_failed"


def test_a_step_over_its_time_is_stopped_tried_again_and_then_fails(site: Site) -> None:
    site.close("slow")
    run = site.run("flow.py:slowly")
    assert (run.state, len(site.marks("slow"))) == (RunState.FAILED, 2)
    assert run.error.splitlines()[0] == "step slow took longer than its 0.3 s"
    assert site.pipelines.log(run.id, "slow") == "thinking\n"


def test_a_run_in_the_caller_stops_its_steps_at_their_time_and_keeps_what_they_said(site: Site) -> None:
    site.close("slow")
    site.pipelines = site.room(InlineEngine(), ProcessEngine(beat_s=0.05, grace_s=0.5))
    run = site.pipelines.run_inline("flow.py:slowly")  # a name that another module of this process may have already
    assert (run.state, len(site.marks("slow"))) == (RunState.FAILED, 2), run.error
    assert run.error.splitlines()[0] == "step slow took longer than its 0.3 s"
    assert site.pipelines.log(run.id, "slow") == "thinking\n"


@pytest.mark.parametrize(
    ("target", "line"),
    [
        ("flow.py:wrongly", "step wrong returned a str, its annotation says int"),
        ("flow.py:shyly", "no codec stores a builtins.function"),
        ("flow.py:round_and_round", "the pipelines need each other: round_and_round -> round_and_round"),
        ("flow.py:flight", "no pipeline 'flight' in flow"),
        ("flow.py:load", "load is a step, not a pipeline"),
        ("no_such_module:flights", "no module named 'no_such_module'"),
    ],
)
def test_what_cannot_run_is_refused_in_three_lines(local_site: Site, target: str, line: str) -> None:
    run = local_site.run(target)
    assert run.state is RunState.FAILED
    lines = run.error.splitlines()
    assert lines[0] == line
    assert [text.partition(":")[0] for text in lines[1:]] == ["where", "try"]


def test_a_file_that_is_not_there_is_refused_when_submitted(local_site: Site) -> None:
    with pytest.raises(NotFound, match=r'no file flo.py\nwhere: .*\ntry: did you mean "flow.py"'):
        local_site.pipelines.submit("flo.py:flights", {})
    with pytest.raises(Invalid, match="names no pipeline"):
        local_site.pipelines.submit("flights", {})


ASKS = """
from mainspring import pipeline, step
from mainspring.pipelines import flow

@step
def load() -> int:
    return 1

@step(process=True)
def train(number: int) -> int:
    return number + 1

@pipeline
def asks() -> int:
    number = load()
    flow.approval("Go on?")
    return train(number)
"""


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [("number + 1", "number + 2", "train"), ("    number = load()", "    load()\n    number = load()", "asks")],
)
def test_a_run_whose_code_changes_under_it_is_refused_by_name(
    local_site: Site, before: str, after: str, named: str
) -> None:
    path = local_site.folder / "asks.py"
    path.write_text(ASKS)
    run = local_site.run("asks.py:asks")
    assert run.state is RunState.WAITING
    path.write_text(ASKS.replace(before, after))
    local_site.pipelines.steering.answer(run, approve=True)
    local_site.work()
    run = local_site.pipelines.get(run.id)
    assert (run.state, run.error_code) == (RunState.FAILED, "conflict")
    assert run.error.startswith(f"the code of {named} changed since the run began")


def test_a_step_of_another_process_has_the_code_of_its_run() -> None:
    check_code(doubled, codes_of([doubled])[doubled.reference].digest)
    check_code(doubled, "")
    with pytest.raises(Conflict, match="the code of doubled changed since the run began"):
        check_code(doubled, "another")


@step
def doubled(number: int) -> int:
    return 2 * number


def test_a_run_whose_job_is_dead_is_settled(site: Site) -> None:
    run_id = site.pipelines.submit("flow.py:flights", {})
    lease = site.lease()
    with site.tables.write() as conn:
        site.queue.fail(conn, lease, "the database was away", retry_in_s=None)
    assert site.pipelines.settle() == 1
    run = site.pipelines.get(run_id)
    assert (run.state, run.error) == (RunState.FAILED, "the database was away")
    assert site.pipelines.settle() == 0


def test_a_worker_that_is_stopped_gives_its_run_back(site: Site) -> None:
    site.close("train")
    run_id = site.pipelines.submit("flow.py:flights", {})
    worker = Worker(site.tables, site.queue, {KIND: site.pipelines.work_once}, poll_s=0.01)
    worker.start()
    until(lambda: site.marks("train"))
    worker.stop(PATIENCE_S)
    assert site.pipelines.get(run_id).state is RunState.QUEUED
    site.open("train")
    site.work()
    assert site.pipelines.get(run_id).state is RunState.FINISHED
    assert site.marks("load") == ["load"]


def test_a_run_with_a_key_is_gone_on_with_by_the_next_process(site: Site) -> None:
    site.close("train")
    stopping = threading.Event()
    with ThreadPoolExecutor(1) as side:
        call = partial(site.pipelines.run_on, "flow.py:flights", {"rows": 3}, key="job-1")
        first = side.submit(call, stopping=stopping)
        until(lambda: site.marks("train"))
        stopping.set()
        assert isinstance(first.exception(PATIENCE_S), Unavailable)
        site.open("train")
        run = side.submit(call).result(PATIENCE_S)
    assert run.state is RunState.FINISHED
    assert (site.marks("load"), site.marks("register")) == (["load"], ["register"])
    again = site.pipelines.run_on("flow.py:flights", {"rows": 3}, key="job-1")
    assert (again.id, site.marks("register")) == (run.id, ["register"])


def test_many_who_submit_the_same_key_at_once_get_one_run(site: Site) -> None:
    with ThreadPoolExecutor(6) as pool:
        ids = list(pool.map(lambda _: site.pipelines.submit("flow.py:flights", {}, key="k"), range(12)))
    assert len(set(ids)) == 1
    assert site.kinds() == ["run_requested"]
    assert len(site.queue.find()) == 1
