"""Workers of one port: how their counts add up, which cores they get, and when starting them again is given up."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.serving.modelserver import tally, worker
from mainspring.serving.modelserver.crew import cores_of
from mainspring.serving.modelserver.metrics import Counts, Metrics, summed, text
from mainspring.serving.modelserver.plan import Applied, Plan, write_plan

ANSWERS = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([200, 429, 504]), st.floats(0, 20)), max_size=20)


def counted(answers: list[tuple[str, int, float]], **values: float) -> Counts:
    metrics = Metrics()
    for name, status, seconds in answers:
        metrics.observe((name, "1", "champion"), status, seconds)
    return metrics.counts(values)


@given(ANSWERS, ANSWERS, ANSWERS)
def test_the_sum_over_workers_is_what_one_worker_would_have_counted(
    a: list[tuple[str, int, float]], b: list[tuple[str, int, float]], c: list[tuple[str, int, float]]
) -> None:
    apart, together = summed([counted(a), counted(b), counted(c)]), summed([counted(a + b + c)])
    assert apart.requests == together.requests
    assert [part[:4] for part in apart.latencies] == [part[:4] for part in together.latencies]
    assert summed([summed([counted(a), counted(b)]), counted(c)]).requests == apart.requests


def test_single_values_are_added_but_the_plan_is_as_far_as_the_last_worker_is() -> None:
    parts = [counted([], mainspring_plan_generation=g, mainspring_queued_rows=5, big_total=6e6 + g) for g in (3, 2)]
    said = text(summed(parts))
    assert "mainspring_plan_generation 2\n" in said
    assert "mainspring_queued_rows 10\n" in said
    assert "big_total 12000005\n" in said


def test_what_a_dead_worker_counted_stays_and_what_it_held_does_not(tmp_path: Path) -> None:
    tally.leave(tmp_path, counted([("a", 200, 0.1)], mainspring_queued_rows=7, rows_total=1))
    assert tally.others(tmp_path) == []
    before = tally.text_of(tmp_path)
    tally.bury(tmp_path, os.getpid())
    after = tally.text_of(tmp_path)
    assert [line for line in before.splitlines() if "queued" not in line] == after.splitlines()
    tally.leave(tmp_path, counted([("a", 200, 0.1)], rows_total=1))
    assert "rows_total 2" in tally.text_of(tmp_path)
    tally.clear(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_cores_are_shared_out_evenly_and_never_twice() -> None:
    mine = len(os.sched_getaffinity(0))
    assert cores_of(3, pin=False) == [[], [], []]
    assert cores_of(mine + 1, pin=True) == [[]] * (mine + 1)
    alone = cores_of(mine, pin=True)
    assert sorted(core for part in alone for core in part) == sorted(os.sched_getaffinity(0))


_CREW = """
import sys
from collections.abc import Callable
from pathlib import Path
from mainspring.serving.modelserver.crew import Crew
sys.exit(Crew([sys.executable, "-S", "-c", "raise SystemExit(3)"], 0, Path(sys.argv[1]), [[]]).run())
"""


def test_workers_that_die_as_fast_as_they_start_end_the_crew(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", _CREW, str(tmp_path)], timeout=60, check=False)
    assert done.returncode == 3
    assert json.loads((tmp_path / "tally-past.json").read_bytes())["requests"] == []


def test_a_plan_that_is_taken_away_leaves_what_is_served_and_failing_once_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_AGAIN_S", 0.0)
    monkeypatch.setattr(worker, "_WATCH_S", 0.0)
    write_plan(tmp_path, Plan(generation=3))
    told: list[Applied] = []

    def tell(_folder: Path, applied: Applied) -> None:
        told.append(applied)
        if len(told) == 1:
            raise OSError("no space left")

    monkeypatch.setattr(worker, "write_applied", tell)

    async def follow() -> None:
        loop = asyncio.get_running_loop()
        made = worker.Worker(worker.WorkerOptions(tmp_path, os.getppid()), Plan(generation=2), loop, port=1)
        watch = loop.create_task(worker._keep_on(lambda: made.watch(None)))  # type: ignore[arg-type]
        await _until(lambda: len(told) == 2)
        (tmp_path / "plan.json").unlink()
        await _until(lambda: len(told) == 3)
        write_plan(tmp_path, Plan(generation=4))
        await _until(lambda: len(told) == 4)
        watch.cancel()
        made.close()

    asyncio.run(follow())
    said = [(applied.generation, dict(applied.problems)) for applied in told]
    assert said == [(3, {}), (3, {}), (3, {"": "plan.json is gone"}), (4, {})]


async def _until(is_so: Callable[[], bool]) -> None:
    while not is_so():
        await asyncio.sleep(0.001)
