"""What must be true when a schedule of faults is over, whatever it was."""

from __future__ import annotations

import os
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from tests.e2e.faults.schedule import Life
from tests.e2e.faults.site import LEASE_S, Opened

from mainspring.core.canonical import digest
from mainspring.core.events import Event
from mainspring.pipelines import PipelineRun, StepState
from mainspring.pipelines.model import Artifact

SLACK_S = 2.0
EXPECTED = ("load", "double", "double.0", "double.1", "double.2", "weigh", "pay", "tell")


def judge(life: Life, run_id: str) -> None:
    """Look at all that is left, and note what should not be so. Nothing of it is running any more."""
    with life.site.open() as opened:
        run = opened.pipelines.get(run_id)
        life.found.attempts = run.attempt
        events = [event for event in opened.journal.read(limit=500) if event.subject == run.ref]
        troubles = [*_run(run), *_events(run, events), *_marks(life, run, events), *_outside(life, run)]
        troubles += [*_blobs(opened, run), *_queue(opened), *_zombies(life), *_orphans(life.site.notes)]
    life.found.slots_s = list(_slots(life))
    troubles += [f"the slot was free after {each:.1f} s" for each in life.found.slots_s if each > LEASE_S + SLACK_S]
    life.found.troubles += troubles


def may_fail(run: PipelineRun) -> bool:
    """Whether the run ended as it may: a step on a full disk fails, and a process that dies thrice is given up."""
    causes = ("the disk is full", "No space left", "was killed by SIGKILL", "its lease ran out")
    return any(cause in run.error for cause in causes)


def _run(run: PipelineRun) -> Iterator[str]:
    states = {step.id: step.state for step in run.steps}
    if run.state == "finished":
        if tuple(states) != EXPECTED or set(states.values()) != {StepState.FINISHED}:
            yield f"the steps are {states}"
        if run.result != sum(2 * (int(str(run.params["seed"])) + n) for n in range(3)):
            yield f"the result is {run.result}"
    elif run.state != "failed" or not may_fail(run):
        yield f"the run is {run.state}: {run.error}"
    yield from (f"step {name} is {state}" for name, state in states.items() if state in ("running", "waiting"))


def _events(run: PipelineRun, events: list[Event]) -> Iterator[str]:
    kinds = [event.kind.removeprefix("pipelines.") for event in events]
    for kind in ("run_requested", "run_started"):
        if kinds.count(kind) != 1:
            yield f"{kinds.count(kind)} events {kind}"
    if kinds[:2] != ["run_requested", "run_started"] or kinds[-1] != f"run_{run.state}":
        yield f"the events are {kinds}"
    ended = Counter(str(event.payload["step"]) for event in events if event.kind == "pipelines.step_finished")
    done = {step.id for step in run.steps if step.state == "finished" and step.id != "double"}
    if ended != Counter(done):
        yield f"finished are {sorted(done)}, and there are events of {dict(ended)}"


def _marks(life: Life, run: PipelineRun, events: list[Event]) -> Iterator[str]:
    """A step that was finished never began again, and no try began that was not noted before."""
    path = life.site.notes / "marks.txt"
    began: dict[str, list[tuple[int, int]]] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        at, name, _, attempt = line.split()
        began.setdefault(name, []).append((int(at), int(attempt)))
    ended = {str(e.payload["step"]): e.at for e in events if e.kind == "pipelines.step_finished"}
    for step in run.steps:
        tries = began.get(step.id, [])
        if len(tries) > step.attempt or len({attempt for _, attempt in tries}) < len(tries):
            yield f"step {step.id} began {len(tries)} times, {step.attempt} were noted"
        if any(at > ended.get(step.id, at) for at, _ in tries):
            yield f"step {step.id} began again after it was finished"


def _outside(life: Life, run: PipelineRun) -> Iterator[str]:
    with closing(sqlite3.connect(life.site.elsewhere)) as conn:
        paid = conn.execute("SELECT key, amount FROM paid").fetchall()
    if run.state == "finished" and paid != [(f"{run.id}/pay", run.result)]:
        yield f"outside there is {paid}"


def _blobs(opened: Opened, run: PipelineRun) -> Iterator[str]:
    """All that can be seen is whole, and what the steps say they made is there."""
    for name in opened.blobs.digests():
        if digest(opened.blobs.get(name)) != name:
            yield f"blob {name} is not whole"
    for step in run.steps:
        yield from (f"{step.id}: no blob {each}" for each in _digests(step.output) if not opened.blobs.has(each))
    scratch = opened.site.folder / "scratch" / "pipeline-runs"
    if list(scratch.glob(f"{run.id}-*")):
        time.sleep(LEASE_S)
        opened.pipelines.settle()  # as any worker does now and then
    if left := list(scratch.glob(f"{run.id}-*")):
        yield f"scratch files are left: {sorted(str(p.relative_to(scratch)) for each in left for p in each.rglob('*'))}"


def _digests(made: Artifact | None) -> Iterator[str]:
    for _, item in made.items if made else ():
        yield from _digests(item)
    if made and not made.items and made.text is None:
        yield made.digest


def _queue(opened: Opened) -> Iterator[str]:
    status = opened.queue.status("pipelines")
    if status.queued or status.running:
        yield f"the queue has {status.queued} queued and {status.running} running jobs"


def _leases(life: Life) -> list[tuple[float, str, int, int]]:
    path = life.site.notes / "leases.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(int(at) / 1e6, word, int(attempt), int(pid)) for at, word, attempt, pid in map(str.split, lines)]


def _taken_over(life: Life) -> Iterator[tuple[int, float, float]]:
    """Who was hit while it had the run: its process, when, and when another had it."""
    leases = _leases(life)
    for pid, at, _ in life.losses:
        before = [each for each in leases if each[0] <= at]
        after = [each for each in leases if each[0] > at and each[1] == "leased"]
        if before and after and before[-1][1] == "leased" and before[-1][3] == pid:
            yield pid, at, after[0][0]


def _slots(life: Life) -> Iterator[float]:
    return (again - at for _, at, again in _taken_over(life) if life.is_quiet(at, again))


def _zombies(life: Life) -> Iterator[str]:
    """Who slept too long was refused when it woke up."""
    log = (life.site.notes / "workers.log").read_text()
    woken = {pid: back for pid, _, back in life.losses if back != float("inf")}
    for pid, _, again in _taken_over(life):
        if (
            again < woken.get(pid, 0.0)
            and f"{pid} worker.fenced" not in log
            and (pid, float("inf")) not in {(each, back) for each, _, back in life.losses}
        ):
            yield f"worker {pid} slept through its lease and was not refused"


def _orphans(notes: Path) -> Iterator[str]:
    """No process of it is left: each has the folder in its environment."""
    until = time.time() + 5.0
    while found := [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _is_of(pid, notes)]:
        if time.time() > until:
            yield f"processes {found} are left"
            return
        time.sleep(0.1)


def _is_of(pid: int, notes: Path) -> bool:
    try:
        return f"FAULTS_NOTES={notes}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
