"""Pipelines beside data and tracking: datasets in keys, the tracked twin, doors, and the cost of doing nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner
from litestar.testing import TestClient

from mainspring import context, pipeline, step
from mainspring.core.clock import SystemClock
from mainspring.core.errors import Invalid
from mainspring.core.wiring import Wiring
from mainspring.data import Data
from mainspring.pipelines import Dataset, PipelineRun, Pipelines, RunState, StepState
from mainspring.pipelines.codecs import ROOM_BYTES
from mainspring.pipelines.commands import group
from mainspring.pipelines.page.dag import MOST_DRAWN
from mainspring.server.app import create_app
from mainspring.storage.delta import DeltaTables, FilePlace
from mainspring.storage.files import FileBlobs
from mainspring.storage.journal import SqlJournal
from mainspring.storage.light import light_of
from mainspring.storage.ports import Blobs, Journal, Tables
from mainspring.storage.queue import SqlQueue
from mainspring.tracking import Tracking

FLOW = """
from mainspring import pipeline, step

@step
def add(left: int, right: int) -> int:
    print("adding")
    return left + right

@pipeline
def total(left: int, right: int = 2) -> int:
    return add(left, right)

@step
def fall(left: int) -> int:
    return left // 0

@pipeline
def falls(left: int = 1) -> int:
    return fall(left)
"""
FLIGHTS = Dataset("flights")
calls: list[str] = []


@step
def load(flights: Dataset) -> pl.DataFrame:
    calls.append(f"load {flights}")
    return context().data.frame(flights.name, flights.version).collect()


@step
def peek() -> int:
    calls.append("peek")
    return context().data.frame("flights").collect().height


@step
def train(frame: pl.DataFrame, weight: float) -> dict[str, float]:
    for number in range(3):
        context().log(at_step=number, loss=1.0 / (number + 1))
    context().log("trained", rows=frame.height)
    return {"mean": weight * float(frame["x"].to_numpy().mean())}


@step(side_effect=True)
def register(model: dict[str, float]) -> str:
    return context().key


@pipeline
def retrain(flights: Dataset = FLIGHTS, weight: float = 2.0) -> dict[str, object]:
    model = train(load(flights), weight)
    return {"key": register(model), "rows": peek()}


@step
def one(n: int) -> int:
    return n


@step
def two(n: int) -> dict[str, int]:
    return {"n": n} | {f"column {i}": i for i in range(3_000)}  # too much to be kept without a blob


@step
def three(first: int, second: dict[str, int]) -> list[int]:
    return [first, second["n"]]


@step
def four(numbers: list[int]) -> int:
    return sum(numbers)


@pipeline
def small(n: int = 1) -> int:
    first = one(n)
    return four(three(first, two(first)))


@pipeline
def in_a_row(count: int = 2) -> int:
    number = one(count)
    for _ in range(count):
        number = one(number)
    return number


@step
def tower() -> str:
    return "floor" * ROOM_BYTES


@step
def height(tower: str) -> int:
    return len(tower)


@pipeline
def tall() -> int:
    return height(tower())


@pytest.fixture
def wiring(sqlite_tables: Tables, tmp_path: Path) -> Iterator[Wiring]:
    journal, queue, blobs = SqlJournal(sqlite_tables), SqlQueue(sqlite_tables), FileBlobs(tmp_path / "blobs")
    clock = SystemClock()
    delta = DeltaTables(FilePlace(tmp_path / "delta"))
    wiring = Wiring()
    wiring.add(Blobs, lambda _: blobs)  # type: ignore[type-abstract]
    wiring.add(Journal, lambda _: journal)  # type: ignore[type-abstract]
    data = Data(tables=sqlite_tables, journal=journal, delta=delta, blobs=blobs, clock=clock)
    tracking = Tracking(tables=sqlite_tables, journal=journal, clock=clock)
    wiring.add(Data, lambda _: data)
    wiring.add(Tracking, lambda _: tracking)
    room = Pipelines(
        tables=sqlite_tables,
        journal=journal,
        queue=queue,
        blobs=blobs,
        scratch=tmp_path / "scratch",
        data=data,
        tracking=tracking,
        wiring=wiring,
        root=tmp_path,
    )
    wiring.add(Pipelines, lambda _: room)
    (tmp_path / "flow.py").write_text(FLOW)
    calls.clear()
    yield wiring
    wiring.close()


@pytest.fixture
def pipelines(wiring: Wiring) -> Pipelines:
    return wiring.get(Pipelines)


def states(run: PipelineRun) -> dict[str, StepState]:
    return {step.id: step.state for step in run.steps}


def ingest(wiring: Wiring, *rows: float) -> None:
    wiring.get(Data).ingest("flights", pl.DataFrame({"x": rows}))


def test_a_run_is_tracked_under_its_own_id_with_data_params_and_curves(wiring: Wiring, pipelines: Pipelines) -> None:
    ingest(wiring, 1.0, 2.0, 3.0)
    run = pipelines.run_inline(retrain, {"weight": 3.0})
    assert (run.state, run.error) == (RunState.FINISHED, "")
    assert run.result == {"key": f"{run.id}/register", "rows": 3}
    tracked = wiring.get(Tracking).get(run.id)
    assert (tracked.experiment, tracked.status) == ("retrain", "finished")
    assert dict(tracked.params) == {"flights": "flights", "weight": "3.0"}
    assert {entry.dataset for entry in tracked.inputs} == {"datasets/flights/1"}
    assert tracked.metrics["rows"].value == 3
    assert [p.value for p in wiring.get(Tracking).history(run.id, "loss")] == [1.0, 0.5, 1 / 3]
    assert tracked.environment is not None
    assert "polars" in tracked.environment.packages


def test_a_new_version_of_a_dataset_runs_the_steps_that_read_it(wiring: Wiring, pipelines: Pipelines) -> None:
    ingest(wiring, 1.0, 2.0)
    pipelines.run_inline(retrain)
    again = pipelines.run_inline(retrain)
    cached = {"load": "cached", "train": "cached", "register": "finished", "peek": "cached"}
    assert states(again) == cached
    ingest(wiring, 1.0, 2.0, 3.0)
    new = pipelines.run_inline(retrain)
    assert calls == ["load datasets/flights/1", "peek", "load datasets/flights/2", "peek"]
    assert new.result == {"key": f"{new.id}/register", "rows": 3}
    why = pipelines.why(new.id, "load")
    assert [(c.part, c.before, c.after) for c in why.changes] == [
        ("datasets", "datasets/flights/1", "datasets/flights/2")
    ]


def test_an_equal_input_made_again_stops_the_running(wiring: Wiring, pipelines: Pipelines) -> None:
    ingest(wiring, 1.0, 2.0)
    pipelines.run_inline(retrain)
    ingest(wiring, 1.0, 2.0)
    assert states(pipelines.run_inline(retrain))["train"] is StepState.CACHED


def test_a_lost_artifact_is_made_again(wiring: Wiring, pipelines: Pipelines) -> None:
    output = pipelines.run_inline(tall).step("tower").output  # type: ignore[union-attr]
    wiring.get(Blobs).delete(output.digest)  # type: ignore[union-attr, type-abstract]
    assert states(pipelines.run_inline(tall)) == {"tower": "finished", "height": "cached"}


def test_a_run_without_a_dataset_fails_in_three_lines(pipelines: Pipelines) -> None:
    run = pipelines.run_inline(retrain)
    assert run.state is RunState.FAILED
    assert len(run.error.splitlines()) == 3


def test_doing_nothing_takes_little_work(pipelines: Pipelines) -> None:
    pipelines.run_inline(small)
    pipelines.run_inline(small)
    costs = []
    for _ in range(5):
        start = time.process_time()
        run = pipelines.run_inline(small)
        costs.append(time.process_time() - start)
    assert set(states(run).values()) == {StepState.CACHED}
    print(f"a cached run of four steps: {1000 * min(costs):.0f} ms of CPU")
    assert min(costs) < 0.05


def test_steps_taken_from_the_cache_are_stored_together_with_their_events(
    wiring: Wiring, pipelines: Pipelines, sqlite_tables: Tables
) -> None:
    commits: list[int] = []

    def count(statement: str) -> None:
        commits[-1] += statement == "COMMIT"

    with sqlite_tables.write() as conn:
        writer = light_of(conn)
    assert writer is not None

    for count_of_steps in (2, 40):
        pipelines.run_inline(in_a_row, {"count": count_of_steps})
        before = wiring.get(Journal).last()  # type: ignore[type-abstract]
        commits.append(0)
        writer.driver.set_trace_callback(count)
        run = pipelines.run_inline(in_a_row, {"count": count_of_steps})
        writer.driver.set_trace_callback(None)
        assert set(states(run).values()) == {StepState.CACHED}
        told = wiring.get(Journal).read(before, kinds=["pipelines.step_finished"])  # type: ignore[type-abstract]
        assert [event.payload["state"] for event in told] == ["cached"] * (count_of_steps + 1)
        tracked = wiring.get(Tracking).get(run.id)
        assert (tracked.status, tracked.started_at) == ("finished", run.started_at)
        kinds = [event.kind for event in wiring.get(Journal).read(before, subject=tracked.ref)]  # type: ignore[type-abstract]
        assert kinds == ["tracking.run_started", "tracking.run_ended"]
    assert commits[0] == commits[1] == 6


def test_the_commands_run_list_show_explain_and_cancel(wiring: Wiring, tmp_path: Path) -> None:
    def call(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(group, list(arguments), obj=lambda: wiring)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done.exit_code, done.stdout

    code, text = call("run", f"{tmp_path}/flow.py:total", "-p", "left=40")
    assert (code, text.splitlines()[-1]) == (0, "result 42")
    run_id = text.split()[1]
    assert call("show", run_id, "--why", "add")[1].startswith("add: it ran for the first time")
    assert call("run", f"{tmp_path}/flow.py:total", "-p", "left=40")[1].count("cached") == 1
    code, text = call("run", f"{tmp_path}/flow.py:falls")
    assert code == 1
    assert "step fall raised ZeroDivisionError" in text
    assert "ZeroDivisionError" in call("show", text.split()[1], "--log", "fall")[1]
    with pytest.raises(AssertionError, match="an engine or a priority is for queued runs"):
        call("run", f"{tmp_path}/flow.py:total", "--engine", "ray")
    for wrong in (("flow.py:totals",), ("flow.py:total", "-p", "left=many"), ("flow.py:total", "-p", "lefft=1")):
        with pytest.raises(AssertionError):
            call("run", f"{tmp_path}/{wrong[0]}", *wrong[1:], "--queue")
    (tmp_path / "elsewhere.py").write_text("import a_package_of_the_workers_alone\n")
    code, text = call("run", f"{tmp_path}/elsewhere.py:total", "--queue")
    assert (code, call("cancel", text.split()[2].rstrip(";"))[0]) == (0, 0)
    code, text = call("run", f"{tmp_path}/flow.py:total", "-p", "left=1", "--queue", "--key", "k")
    queued = text.split()[2].rstrip(";")
    assert call("cancel", queued)[1] == f"run {queued} is now cancelled\n"
    assert call("cancel", queued)[1] == f"run {queued} is already cancelled\n"
    assert [line.split()[2] for line in call("ls")[1].splitlines()[1:]] == [
        "cancelled",
        "cancelled",
        "failed",
        "finished",
        "finished",
    ]
    assert call("show", run_id, "--json")[1].startswith('{"id": ')


def test_the_pages_show_runs_and_the_graph_of_one(wiring: Wiring, pipelines: Pipelines, tmp_path: Path) -> None:
    with TestClient(create_app(wiring, port=80, rooms=["pipelines"]), base_url="http://127.0.0.1") as client:
        assert "No pipeline runs yet" in client.get("/pipelines").text
        finished = pipelines.run_inline(small)
        failed = pipelines.run_inline(f"{tmp_path}/flow.py:falls")
        queued = pipelines.submit("flow.py:total", {"left": 1})
        listed = client.get("/pipelines").text
        assert all(run in listed for run in (finished.id, failed.id, queued))
        page = client.get(f"/pipeline-runs/{finished.id}").text
        assert page.count('<rect class="under"') == 4
        assert 'href="#step-three"' in page
        assert "ZeroDivisionError" in client.get(f"/pipeline-runs/{failed.id}").text
        assert "no worker has taken the run" in client.get(f"/pipeline-runs/{queued}").text
        assert client.get("/pipeline-runs/" + "0" * 32).status_code == 404


@step
def one_more(number: int) -> int:
    if number == 304:
        raise ValueError("enough")
    return number + 1


@step
def numbers() -> list[int]:
    return list(range(302))


@pipeline
def row() -> int:
    number = one_more(0)
    for _ in range(MOST_DRAWN + 4):
        number = one_more(number)
    return number


@pipeline
def wide() -> list[int]:
    return one_more.map(numbers())


def test_the_page_of_a_long_run_lists_its_steps(wiring: Wiring, pipelines: Pipelines) -> None:
    with TestClient(create_app(wiring, port=80, rooms=["pipelines"]), base_url="http://127.0.0.1") as client:
        run = pipelines.run_inline(row)
        page = client.get(f"/pipeline-runs/{run.id}").text
        assert len(page) < 60_000
        assert "304 finished" in page
        assert page.index("?step=one_more-305") < page.index("?step=one_more-2#")  # what failed comes first
        assert "ValueError: enough" in page
        following = client.get(f"/pipeline-runs/{run.id}?only=finished&first=300").text
        assert following.count("<tr><td>") == 4
        assert 'id="step-one_more-7"' in client.get(f"/pipeline-runs/{run.id}?step=one_more-7").text
        assert client.get(f"/pipeline-runs/{run.id}?first=-1&only=nothing").status_code == 200


def test_the_page_of_a_wide_run_counts_its_items(wiring: Wiring, pipelines: Pipelines) -> None:
    with TestClient(create_app(wiring, port=80, rooms=["pipelines"]), base_url="http://127.0.0.1") as client:
        run = pipelines.run_inline(wide)
        page = client.get(f"/pipeline-runs/{run.id}").text
        assert "302 items: 302 finished" in page
        assert "302 of 302" in page
        assert page.count("<tr><td>") == 100


def test_the_api_submits_shows_and_cancels(wiring: Wiring, pipelines: Pipelines, tmp_path: Path) -> None:
    with TestClient(create_app(wiring, port=80, rooms=["pipelines"]), base_url="http://127.0.0.1") as client:
        body = {"target": "flow.py:total", "params": {"left": 1}, "key": "k"}
        made = client.post("/api/v1/pipeline-runs", json=body)
        assert (made.status_code, made.json()["state"]) == (201, "queued")
        run_id = made.json()["id"]
        assert client.post("/api/v1/pipeline-runs", json=body).json()["id"] == run_id
        cancelled = client.post(f"/api/v1/pipeline-runs/{run_id}/cancel", json={"reason": "no"})
        assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")
        assert [run["id"] for run in client.get("/api/v1/pipeline-runs").json()] == [run_id]
        done = pipelines.run_inline(small)
        assert client.get(f"/api/v1/pipeline-runs/{done.id}").json()["result"] == 2
        why = client.get(f"/api/v1/pipeline-runs/{done.id}/steps/one/why").json()
        assert why["reason"] == "it ran for the first time"
        outside = client.post("/api/v1/pipeline-runs", json={"target": "/etc/../etc/x.py:total"})
        assert outside.json()["code"] == "refused"
        within = client.post("/api/v1/pipeline-runs", json={"target": "flow.py:total", "engine": "inline"})
        assert (within.status_code, within.json()["what"]) == (400, "a queued run has a process of its own")


def test_a_file_named_like_a_module_of_python_runs_and_is_cached(pipelines: Pipelines, tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text(FLOW)
    assert pipelines.run_inline("json.py:total", {"left": 1}).result == 3
    assert states(pipelines.run_inline("json.py:total", {"left": 1})) == {"add": StepState.CACHED}
    found = PathFinder.find_spec("json")
    assert found is not None and found.origin == json.__file__, "whoever imports json later gets Python's own"


def test_a_wrong_call_makes_no_run(pipelines: Pipelines) -> None:
    for target, params in [("flow.py:totals", {}), ("flow.py:total", {"left": "many"}), ("flow.py:total", {})]:
        with pytest.raises(Invalid):
            pipelines.run_inline(target, params)
    assert pipelines.runs() == []
