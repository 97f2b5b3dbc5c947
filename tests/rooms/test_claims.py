"""Runs that begin together and want the same result: one makes it, the others wait for it and take it."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mainspring.core.caller import Caller, calling
from mainspring.core.settings import Settings, load
from mainspring.core.wiring import Wiring
from mainspring.pipelines import PipelineRun, Pipelines, RunState, StepState, claims, ledger, records
from mainspring.pipelines.desk import KIND, QUEUE, Desk
from mainspring.pipelines.worker import Worker
from mainspring.server.house import open_house
from mainspring.storage.ports import Queue, Tables

PATIENCE_S = 60
COMMON = """
import time
from pathlib import Path

from mainspring import pipeline, step

HERE = Path(__file__).parent


@step
def prefix(name: str) -> int:
    with open(HERE / "marks.txt", "a") as file:
        file.write(name + "\\n")
    while not (HERE / "go").exists():
        time.sleep(0.01)
    if (HERE / "fails").exists() and (HERE / "marks.txt").read_text().count(name) == 1:
        raise ValueError("the first one fails")
    return 7


@step
def own(common: int, x: int) -> int:
    return common + x


@pipeline
def trial(name: str, x: int) -> int:
    return own(prefix(name), x)
"""


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def house(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wiring]:
    folder, environ = tmp_path_factory.mktemp("house"), {}
    (folder / "common.py").write_text(COMMON)
    if request.param == "postgres":
        server = request.getfixturevalue("postgres_server")
        environ["MAINSPRING_STORAGE_DB"] = server.url(server.make_database())
    made = open_house(load(folder, environ=environ))
    yield made
    made.close()


@pytest.fixture
def folder(house: Wiring, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the pipeline and its marks are, as before it was ever run."""
    found = house.get(Settings).root
    for name in ("go", "fails", "marks.txt"):
        (found / name).unlink(missing_ok=True)
    yield found
    (found / "go").touch()


@contextmanager
def working(house: Wiring, threads: int) -> Iterator[None]:
    tables, queue = house.get(Tables), house.get(Queue)  # type: ignore[type-abstract]  # the wiring knows ports by name
    works = {KIND: house.get(Pipelines).work_once}
    worker = Worker(tables, queue, works, queues=(QUEUE,), poll_s=0.02, threads=threads)
    worker.start()
    try:
        yield
    finally:
        worker.stop(PATIENCE_S)


def until(is_so: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often a run was told that another one makes what it wants."""
    told: Counter[str] = Counter()
    real = claims.is_free

    def counted(desk: Desk, run_id: str, key: str, conn: object) -> bool:
        free = real(desk, run_id, key, conn)  # type: ignore[arg-type]  # as it was given
        if not free:
            told[run_id] += 1
        return free

    monkeypatch.setattr(ledger, "is_free", counted)
    return told


def ended(house: Wiring, ids: list[str]) -> list[PipelineRun]:
    pipelines = house.get(Pipelines)
    until(lambda: all(pipelines.glance(each).state.is_final for each in ids))
    return [pipelines.get(each) for each in ids]


def states(run: PipelineRun) -> dict[str, StepState]:
    return {step.id: step.state for step in run.steps}


def test_what_runs_that_begin_together_have_in_common_is_made_once(
    house: Wiring, folder: Path, refused: Counter[str]
) -> None:
    pipelines = house.get(Pipelines)
    ids = [pipelines.submit(f"{folder}/common.py:trial", {"name": "once", "x": x}) for x in range(3)]
    with working(house, threads=3):
        until(lambda: len(refused) == 2 and min(refused.values()) >= 2)
        assert (folder / "marks.txt").read_text() == "once\n"
        (folder / "go").touch()
        runs = ended(house, ids)
    assert (folder / "marks.txt").read_text() == "once\n"
    assert sorted(json.dumps(run.result) for run in runs) == ["7", "8", "9"]
    made = [states(run)["prefix"] for run in runs]
    assert sorted(made) == [StepState.CACHED, StepState.CACHED, StepState.FINISHED]
    maker = runs[made.index(StepState.FINISHED)].id
    taken = [step for run in runs for step in run.steps if step.id == "prefix" and step.state is StepState.CACHED]
    assert [step.source for step in taken] == [maker] * 2
    assert [step.attempt for step in taken] == [0, 0]


def test_when_the_one_that_makes_it_fails_another_one_makes_it(
    house: Wiring, folder: Path, refused: Counter[str]
) -> None:
    (folder / "fails").touch()
    pipelines = house.get(Pipelines)
    ids = [pipelines.submit(f"{folder}/common.py:trial", {"name": "fails", "x": x}) for x in range(3)]
    with working(house, threads=3):
        until(lambda: len(refused) == 2)
        (folder / "go").touch()
        runs = ended(house, ids)
    assert sorted(run.state for run in runs) == [RunState.FAILED, RunState.FINISHED, RunState.FINISHED]
    assert (folder / "marks.txt").read_text() == "fails\n" * 2


def test_a_run_that_nobody_holds_any_more_is_not_waited_for(house: Wiring, folder: Path) -> None:
    pipelines, tables = house.get(Pipelines), house.get(Tables)  # type: ignore[type-abstract]
    queue = house.get(Queue)  # type: ignore[type-abstract]
    run = pipelines.submit(f"{folder}/common.py:trial", {"name": "gone", "x": 1})
    lease = queue.lease("w", [QUEUE], lease_s=5.0)
    assert lease is not None
    with calling(Caller(lease.job.actor, lease.job.project)), tables.write() as conn:
        plans = [{"id": "prefix", "function": "prefix"}]
        records.plan_steps(conn, run, plans, parent="")
        records.change_step(conn, run, "prefix", {"state": StepState.RUNNING, "key": "k"})
        now = tables.now(conn)
        assert records.is_made_elsewhere(conn, "k", run_id="another", now=now)
        assert not records.is_made_elsewhere(conn, "other", run_id="another", now=now)
        assert not records.is_made_elsewhere(conn, "k", run_id=run, now=now)
        assert not records.is_made_elsewhere(conn, "k", run_id="another", now=now + 6_000_000)
    with calling(Caller(project="elsewhere")), tables.read() as conn:
        assert not records.is_made_elsewhere(conn, "k", run_id="another", now=now)
    with tables.write() as conn:
        queue.cancel(conn, lease.job.id)
