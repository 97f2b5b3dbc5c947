"""What pipelines can say besides calling steps: lists, conditions, loops, questions, endings, secrets, resources."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from litestar.testing import TestClient

from mainspring import pipeline, step
from mainspring.core.caller import Caller, calling
from mainspring.core.clock import SECOND_US, ManualClock
from mainspring.core.errors import Conflict, Fenced, Forbidden, Invalid, NoRoom, NotFound, Refused
from mainspring.core.wiring import Wiring
from mainspring.engines import InlineEngine, Message, Outcome, Task
from mainspring.engines.port import Watch
from mainspring.pipelines import PipelineRun, Pipelines, RunState, StepState, context, flow
from mainspring.pipelines.machine import Machine
from mainspring.pipelines.model import Resources, StepOptions
from mainspring.pipelines.queues import Queues
from mainspring.server.app import create_app
from mainspring.storage.files import FileBlobs
from mainspring.storage.jobs import Lease, NewJob, WorkerStatus
from mainspring.storage.journal import SqlJournal
from mainspring.storage.ports import Journal, Tables
from mainspring.storage.queue import SqlQueue
from mainspring.storage.workers import SqlWorkers

calls: list[str] = []


@step
def numbers(count: int) -> list[int]:
    return list(range(count))


@step
def double(number: int, by: int = 2) -> int:
    calls.append(f"double {number}")
    return by * number


@step
def total(values: list[int]) -> int:
    return sum(values)


@pipeline
def fan(count: int = 3, by: int = 2) -> int:
    return total(double.map(numbers(count), by=by, limit=1))


@step
def report(score: float) -> dict[str, float]:
    calls.append("report")
    return {"auc": score, "rows": 10}


@step
def release(score: float) -> str:
    calls.append("release")
    return f"released at {score}"


@step
def keep() -> str:
    calls.append("keep")
    return "kept"


@step
def after(word: str) -> str:
    return f"{word}!"


@pipeline
def decides(score: float = 0.9) -> str | None:
    found = report(score)
    return flow.when(found["auc"] > 0.8, lambda: after(release(found["auc"])), keep)


@step
def improve(loss: float) -> float:
    calls.append("improve")
    return loss / 2


@pipeline
def loops(loss: float = 1.0, most: int = 5) -> float:
    return flow.repeat(improve, loss, until=lambda now: now < 0.3, most=most)


@step
def train(rows: int) -> dict[str, int]:
    calls.append("train")
    return {"rows": rows}


@step(side_effect=True)
def deploy(model: dict[str, int], answer: dict[str, object]) -> str:
    calls.append("deploy")
    return f"{model['rows']} rows, said {answer['by']}"


@pipeline
def asks(rows: int = 3) -> str:
    model = train(rows)
    answer = flow.approval("Deploy it?", about=model, within="1d", by_another=True)
    return deploy(model, answer)  # type: ignore[arg-type]


@step
def fails(word: str) -> str:
    raise ValueError(word)


told: list[object] = []


@step
def tell(what: dict[str, object]) -> None:
    told.append(what)


@step
def clean_up() -> None:
    told.append("clean")


@pipeline(on_failure=tell, lastly=clean_up)
def ends(word: str = "") -> str:
    return fails(word) if word else keep()


@step(secrets=["TOKEN_OF_TEST"])
def uses_secret(leak: bool) -> str:
    token = context().secret("TOKEN_OF_TEST")
    print("said:", token)
    context().log(f"the token is {token}")
    if leak:
        return f"x{token}y"
    raise ValueError(f"refused {token}")


@pipeline
def secretly(leak: bool = False) -> str:
    return uses_secret(leak)


@step(cpu=3, memory="1GB")
def large() -> int:
    return 1


@pipeline
def largely() -> int:
    return total([keep_number(), large()])


@step
def keep_number() -> int:
    calls.append("keep_number")
    return 1


@step
def half(number: float) -> float:
    return number / 2


@pipeline
def halves(number: int = 3) -> float:
    return half(total([number]))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1000 * SECOND_US)


@pytest.fixture
def room(sqlite_tables: Tables, tmp_path: Path, clock: ManualClock) -> Iterator[Callable[..., Pipelines]]:
    calls.clear()
    told.clear()

    def make(**more: object) -> Pipelines:
        return Pipelines(
            tables=sqlite_tables,
            journal=SqlJournal(sqlite_tables),
            queue=SqlQueue(sqlite_tables),
            blobs=FileBlobs(tmp_path / "blobs"),
            scratch=tmp_path / "scratch",
            clock=clock,
            root=tmp_path,
            **more,  # type: ignore[arg-type]
        )

    yield make


@pytest.fixture
def pipelines(room: Callable[..., Pipelines]) -> Pipelines:
    return room()


def states(run: PipelineRun) -> dict[str, str]:
    return {each.id: each.state.value for each in run.steps}


def work(pipelines: Pipelines, tables: Tables, *, run_id: str) -> PipelineRun:
    """Do in this process what a worker would do."""
    lease = SqlQueue(tables).lease("test", ["pipelines"])
    assert lease is not None
    with calling(Caller(lease.job.actor, lease.job.project)):
        pipelines.work_once(lease)
    return pipelines.get(run_id)


def test_a_step_goes_through_the_list_that_an_earlier_step_made(pipelines: Pipelines) -> None:
    run = pipelines.run_inline(fan)
    assert (run.state, run.result) == (RunState.FINISHED, 6)
    assert [each.id for each in run.steps] == ["numbers", "double", "double.0", "double.1", "double.2", "total"]
    assert {each.parent for each in run.steps if each.id.startswith("double.")} == {"double"}
    assert fan.function(3) == 6


def test_only_new_items_of_a_list_are_done_again(pipelines: Pipelines) -> None:
    pipelines.run_inline(fan)
    run = pipelines.run_inline(fan, {"count": 4})
    assert calls == ["double 0", "double 1", "double 2", "double 3"]
    assert states(run)["double.1"] == "cached"
    assert pipelines.run_inline(fan, {"count": 0}).result == 0
    assert states(pipelines.run_inline(fan, {"count": 4}))["double"] == "cached"


def test_without_the_cache_every_step_runs(pipelines: Pipelines) -> None:
    pipelines.run_inline(fan)
    run = pipelines.run_inline(fan, cache=False)
    assert set(states(run).values()) == {"finished"}
    assert len(calls) == 6


@pytest.mark.parametrize(
    ("score", "result", "skipped"), [(0.9, "released at 0.9!", ["keep"]), (0.5, "kept", ["release", "after"])]
)
def test_a_condition_on_a_result_decides_which_steps_run(
    pipelines: Pipelines, score: float, result: str, skipped: list[str]
) -> None:
    run = pipelines.run_inline(decides, {"score": score})
    assert run.result == result
    assert [each.id for each in run.steps if each.state is StepState.SKIPPED] == skipped
    assert decides.function(score) == result


def test_a_loop_ends_when_its_condition_holds_or_its_rounds_are_over(pipelines: Pipelines) -> None:
    run = pipelines.run_inline(loops)
    assert (run.result, calls.count("improve")) == (0.25, 2)
    assert list(states(run).values()) == ["finished", "finished", "skipped", "skipped", "skipped"]
    assert pipelines.run_inline(loops, {"most": 1}).result == 0.5
    assert pipelines.run_inline(loops, {"loss": 8.0}).result == 0.25
    assert loops.function() == 0.25


def test_a_run_waits_for_a_person_without_a_job_and_goes_on_after_a_yes(
    pipelines: Pipelines, room: Callable[..., Pipelines], sqlite_tables: Tables
) -> None:
    with calling(Caller("ada", "default")):
        run = pipelines.run_inline(asks)
    assert (run.state, states(run)) == (
        RunState.WAITING,
        {"train": "finished", "approval": "asked", "deploy": "waiting"},
    )
    assert SqlQueue(sqlite_tables).lease("test", ["pipelines"]) is None
    with calling(Caller("ada", "default")), pytest.raises(Forbidden, match="ada asked for this run"):
        pipelines.steering.answer(run, approve=True)
    with calling(Caller("bob", "default")):
        later = room(engines=[_Here()], engine="process")
        later.steering.answer(run, approve=True, comment="fine")
    with pytest.raises(Conflict, match="answered already"):
        later.steering.answer(run, approve=False)
    done = work(later, sqlite_tables, run_id=run.id)
    assert (done.state, done.result) == (RunState.FINISHED, "3 rows, said bob")
    assert calls == ["train", "deploy"]


@pipeline
def asks_first(rows: int = 3) -> dict[str, int]:
    flow.approval("Begin?")
    return train(rows)


def test_what_is_written_after_a_question_waits_for_its_answer(pipelines: Pipelines) -> None:
    run = pipelines.run_inline(asks_first)
    assert states(run) == {"approval": "asked", "train": "waiting"}
    assert calls == []


def test_a_no_fails_the_run_and_so_does_silence(
    pipelines: Pipelines, room: Callable[..., Pipelines], sqlite_tables: Tables, clock: ManualClock
) -> None:
    with calling(Caller("ada", "default")):
        first, second = pipelines.run_inline(asks), pipelines.run_inline(asks)
    later = room(engines=[_Here()], engine="process")
    with calling(Caller("bob", "default")):
        later.steering.answer(first, "approval", approve=False, comment="too few rows")
    refused = work(later, sqlite_tables, run_id=first.id)
    assert (refused.state, refused.error_code) == (RunState.FAILED, "refused")
    assert "bob said no to: Deploy it?" in refused.error and "too few rows" in refused.error
    assert later.settle() == 0
    clock.advance(25 * 3600 * SECOND_US)
    assert later.settle() == 1
    assert "clock said no" in work(later, sqlite_tables, run_id=second.id).error
    assert "deploy" not in calls


def test_a_run_that_was_refused_asks_again_when_it_is_resumed_and_keeps_what_was_said(
    pipelines: Pipelines, room: Callable[..., Pipelines], sqlite_tables: Tables
) -> None:
    with calling(Caller("ada", "default")):
        run = pipelines.run_inline(asks)
    later = room(engines=[_Here()], engine="process")
    for comment in ("too few rows", "still too few"):
        with calling(Caller("bob", "default")):
            later.steering.answer(later.get(run.id), approve=False, comment=comment)
        assert work(later, sqlite_tables, run_id=run.id).error_code == "refused"
        assert later.steering.resume(later.get(run.id))
        asked = work(later, sqlite_tables, run_id=run.id)
        assert (asked.state, states(asked)["approval"]) == (RunState.WAITING, "asked")
        decision = asked.step("approval").decision  # type: ignore[union-attr]
        assert decision is not None and decision.approved is None
    with calling(Caller("eve", "default")):
        later.steering.answer(asked, approve=True)
    done = work(later, sqlite_tables, run_id=run.id)
    assert (done.state, done.result) == (RunState.FINISHED, "3 rows, said eve")
    decision = done.step("approval").decision  # type: ignore[union-attr]
    assert decision is not None
    said = [(each.by, each.approved, each.comment) for each in decision.answered]
    assert said == [("bob", False, "too few rows"), ("bob", False, "still too few"), ("eve", True, "")]
    assert calls == ["train", "deploy"]


def test_a_step_that_was_noted_does_not_begin_when_its_worker_slept_and_lost_the_run(
    pipelines: Pipelines, room: Callable[..., Pipelines], sqlite_tables: Tables
) -> None:
    run, other = pipelines.run_inline(asks_first), SqlQueue(sqlite_tables)
    sleeper = _Sleeper(lambda: other.lease("another", ["pipelines"]))
    slow = room(engines=[sleeper], engine="process", lease_s=0.1)
    slow.steering.answer(run, approve=True)
    lease = other.lease("test", ["pipelines"], lease_s=0.1)
    assert lease is not None
    with pytest.raises(Fenced):
        slow.work_once(lease)
    assert (calls, states(slow.get(run.id))["train"]) == ([], "running")
    assert sleeper.other is not None
    room(engines=[_Here()], engine="process").work_once(sleeper.other)
    assert (calls, slow.get(run.id).state) == (["train"], RunState.FINISHED)


def test_what_comes_at_the_end_runs_in_any_case_and_hears_what_failed(pipelines: Pipelines) -> None:
    assert pipelines.run_inline(ends).result == "kept"
    assert told == ["clean"]
    run = pipelines.run_inline(ends, {"word": "oh"})
    assert run.state is RunState.FAILED
    heard, last = told[1:]
    assert isinstance(heard, dict) and heard["step"] == "fails" and "ValueError: oh" in str(heard["error"])
    assert last == "clean"
    assert states(run) == {"fails": "failed", "tell": "finished", "clean_up": "finished"}


def test_a_secret_is_in_no_log_no_error_no_result_and_no_key(
    pipelines: Pipelines, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TOKEN_OF_TEST", "hunter22-hunter22")
    for leak in (False, True):
        run = pipelines.run_inline(secretly, {"leak": leak})
        assert run.state is RunState.FAILED
        assert "the token is ***" in (log := pipelines.log(run.id, "uses_secret"))
        assert "said: ***" in log
        assert capsys.readouterr().out == "said: ***\n"
    assert "one of its secrets" in run.error
    for path in (each for each in tmp_path.rglob("*") if each.is_file()):
        assert b"hunter22" not in path.read_bytes(), path


def test_a_missing_secret_and_impossible_resources_are_refused_before_anything_runs(
    room: Callable[..., Pipelines], tmp_path: Path
) -> None:
    small = room(machine=Machine(Resources(2.0, 2**40, 0)))
    run = small.run_inline(largely)
    assert (run.error_code, run.error.splitlines()[0]) == (NoRoom.code, "step large asks for 3 cores, there are 2")
    run = small.run_inline(secretly)
    assert run.error_code == NotFound.code and "no secret 'TOKEN_OF_TEST'" in run.error
    file = tmp_path / "secrets.env"
    file.write_text("TOKEN_OF_TEST=hunter22-hunter22\n")
    file.chmod(0o644)
    assert room(secrets=file).run_inline(secretly).error_code == Refused.code
    file.chmod(0o600)
    assert "ValueError: refused ***" in room(secrets=file).run_inline(secretly).error
    assert calls == []
    assert room(machine=Machine(Resources(3.0, 2**40, 0))).run_inline(largely).result == 2


def test_a_step_waits_for_what_others_have_taken() -> None:
    machine = Machine(Resources(4.0, 8, 2))
    assert machine.take("r", "a", Resources(3.0, 4, 1)) == [0]
    assert machine.take("r", "b", Resources(3.0)) is None
    assert machine.take("q", "b", Resources(1.0, 0, 1)) == [1]
    machine.free("r")
    assert machine.take("r", "b", Resources(3.0, 8, 1)) == [0]


def test_a_run_that_failed_goes_on_where_it_stopped(
    pipelines: Pipelines, room: Callable[..., Pipelines], sqlite_tables: Tables
) -> None:
    run = pipelines.run_inline(ends, {"word": "oh"})
    later = room(engines=[_Here()], engine="process")
    assert later.steering.resume(run)
    assert later.get(run.id).state is RunState.QUEUED
    assert not later.steering.resume(run)
    assert later.steering.pause(run)
    assert later.get(run.id).state is RunState.PAUSED
    assert SqlQueue(sqlite_tables).lease("test", ["pipelines"]) is None
    assert later.steering.resume(run)
    assert work(later, sqlite_tables, run_id=run.id).state is RunState.FAILED


def test_an_int_goes_where_a_float_is_asked(pipelines: Pipelines) -> None:
    assert pipelines.run_inline(halves).result == 1.5


@step
def gives_function() -> Callable[[], int]:
    return lambda: 1


@pipeline
def fleeting() -> object:
    return gives_function()


@pipeline
def compares() -> str:
    return "a" if report(1.0)["auc"] > 0.5 else "b"


@pipeline
def goes_through_text() -> object:
    return double.map("abc")


@pipeline
def goes_through_wrong() -> object:
    return double.map(["a", "b"])


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (fleeting, "which no codec stores"),
        (compares, "a comparison of results that are not there yet"),
        (goes_through_text, "a str to go through"),
        (goes_through_wrong, "'a' \\(str\\) is not int"),
    ],
)
def test_what_cannot_work_is_refused_while_the_pipeline_is_drawn(
    pipelines: Pipelines, wrong: object, words: str
) -> None:
    with pytest.raises(Invalid, match=words):
        pipelines.run_inline(wrong)  # type: ignore[arg-type]
    assert pipelines.runs() == []


@pytest.mark.parametrize("words", [{"memory": "many"}, {"cpu": -1}, {"depends_on": [3]}, {"retries": 101}])
def test_options_that_mean_nothing_are_refused(words: dict[str, object]) -> None:
    with pytest.raises(Invalid):
        StepOptions.of(words)  # type: ignore[arg-type]


def test_an_unknown_option_names_its_neighbour() -> None:
    with pytest.raises(Invalid, match="did you mean"):
        step(retrys=3)  # type: ignore[call-overload]


@pytest.fixture
def wiring(pipelines: Pipelines, sqlite_tables: Tables) -> Wiring:
    wiring, queue = Wiring(), SqlQueue(sqlite_tables)
    wiring.add(Pipelines, lambda _: pipelines)
    wiring.add(Queues, lambda _: Queues(queue, queue, SqlWorkers(sqlite_tables)))
    wiring.add(Journal, lambda _: SqlJournal(sqlite_tables))  # type: ignore[type-abstract]
    return wiring


def test_a_question_is_answered_on_the_page_and_by_the_api(pipelines: Pipelines, wiring: Wiring) -> None:
    with calling(Caller("ada", "default")):
        first, second = pipelines.run_inline(asks), pipelines.run_inline(asks)
    with TestClient(create_app(wiring, port=80, rooms=["pipelines"]), base_url="http://127.0.0.1") as client:
        page = client.get(f"/pipeline-runs/{first.id}").text
        assert "Deploy it?" in page and 'value="approve"' in page
        said = {"do": "approve", "step": "approval", "comment": "fine"}
        answered = client.post(f"/pipeline-runs/{first.id}/answer", data=said, follow_redirects=False)
        assert answered.status_code == 303
        assert "by owner" in client.get(f"/pipeline-runs/{first.id}").text
        refused = client.post(f"/api/v1/pipeline-runs/{second.id}/answer", json={"approve": False})
        assert (refused.status_code, refused.json()["state"]) == (200, "queued")
        assert client.post(f"/api/v1/pipeline-runs/{second.id}/answer", json={"approve": False}).status_code == 409
        assert client.post(f"/pipeline-runs/{first.id}", data={"do": "pause"}).status_code == 200
        assert client.post(f"/pipeline-runs/{first.id}", data={"do": "jump"}).status_code == 400
        paused = client.post(f"/api/v1/pipeline-runs/{first.id}/resume").json()
        assert paused["state"] == "queued"


def test_items_of_a_list_are_folded_on_the_page(pipelines: Pipelines, wiring: Wiring) -> None:
    run = pipelines.run_inline(fan, {"count": 60})
    with TestClient(create_app(wiring, port=80, rooms=["pipelines"]), base_url="http://127.0.0.1") as client:
        page = client.get(f"/pipeline-runs/{run.id}").text
        assert page.count('<rect class="under"') == 3
        assert "60 of 60" in page and "60 items" in page
        assert 'id="step-double.7"' in client.get(f"/pipeline-runs/{run.id}?step=double.7").text
        assert "Took at most" in client.get("/pipelines?pipeline=fan").text


def test_queues_are_stopped_limited_and_shown(pipelines: Pipelines, wiring: Wiring, sqlite_tables: Tables) -> None:
    pipelines_queue = SqlQueue(sqlite_tables)
    SqlWorkers(sqlite_tables).hear(
        WorkerStatus(name="w", host="h", queues=("pipelines",), threads=1, has={}, started_at=0, seen_at=0)
    )
    (Path(pipelines._root) / "flow.py").write_text("")
    run = pipelines.submit("flow.py:any")
    with TestClient(create_app(wiring, port=80, rooms=["pipelines"]), base_url="http://127.0.0.1") as client:
        assert client.post("/api/v1/queues/pipelines", json={"mode": "paused"}).json()["status"]["mode"] == "paused"
        assert pipelines_queue.lease("w", ["pipelines"]) is None
        assert client.post("/api/v1/queues/elsewhere", json={"mode": "paused"}).status_code == 404
        assert client.post("/api/v1/queues/pipelines", json={"mode": "shut"}).status_code == 400
        client.post("/queues/pipelines", data={"mode": "open"})
        lease = pipelines_queue.lease("w", ["pipelines"])
        assert lease is not None
        with sqlite_tables.write() as conn:
            pipelines_queue.fail(conn, lease, "it broke", retry_in_s=None)
        page = client.get("/queues").text
        assert "it broke" in page and "<code>w</code>" in page
        assert client.post(f"/api/v1/jobs/{lease.job.id}/revive").json() == {"job": lease.job.id, "revived": True}
        assert [each["name"] for each in client.get("/api/v1/jobs/workers").json()] == ["w"]
    assert pipelines.get(run).state is RunState.QUEUED


def test_a_quota_keeps_a_project_from_taking_all_workers(sqlite_tables: Tables) -> None:
    queue = SqlQueue(sqlite_tables)
    for project in ("greedy", "greedy", "modest"):
        with calling(Caller("ada", project)), sqlite_tables.write() as conn:
            queue.put(conn, NewJob(queue="q", kind="k"))
    queue.set_quota("q", "greedy", 1)
    taken = [lease.job.project for lease in iter(lambda: queue.lease("w", ["q"]), None) if lease]
    assert sorted(taken) == ["greedy", "modest"]
    queue.set_quota("q", "greedy", 0)
    assert queue.quotas("q") == {}
    assert queue.lease("w", ["q"]) is not None


class _Here:
    """An engine that calls itself `process` and runs here: the steps of this module are found."""

    name = "process"

    def run(self, task: Task, watch: Watch) -> Outcome:
        from mainspring.pipelines import child
        from mainspring.storage.ports import Blobs

        wiring = Wiring()
        blobs = FileBlobs(Path(str(task.payload["root"])) / "blobs")
        wiring.add(Blobs, lambda _: blobs)  # type: ignore[type-abstract]
        found = {"asks": asks, "asks_first": asks_first, "ends": ends}[task.payload["target"].rpartition(":")[2]]  # type: ignore[attr-defined]
        with child.holding(child.Held(wiring, found)):  # type: ignore[arg-type]
            return InlineEngine().run(task, watch)


class _Sleeper(_Here):
    """Falls asleep when it was told that a step begins, until another worker has the run."""

    def __init__(self, lease: Callable[[], Lease | None]) -> None:
        self.other: Lease | None = None
        self._lease = lease

    def run(self, task: Task, watch: Watch) -> Outcome:
        asleep = self

        class Late:
            def answer(self, message: Message) -> Message:
                reply = watch.answer(message)
                while reply.get("do") == "run" and asleep.other is None:
                    asleep.other = asleep._lease()
                return reply

            def beat(self) -> float | None:
                return watch.beat()

        return super().run(task, Late())
