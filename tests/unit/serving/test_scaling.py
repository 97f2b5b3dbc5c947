"""How many workers there shall be: the rule, the counts it goes by, and a crew that keeps to it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mainspring.core.errors import Invalid
from mainspring.serving.modelserver.metrics import Counts
from mainspring.serving.modelserver.tally import path_of
from mainspring.serving.modelserver.watching import Change, Watch, changes_since, note_change
from mainspring.serving.rules.scaling import Load, Pace, Scaling, next_pace

CALM_S = 10.0
SPEC = Scaling(2, 8, calm_s=CALM_S)
DEMAND = st.floats(0, 20, allow_nan=False)


def settled(spec: Scaling, start: int, demand: float, looks: int = 150) -> list[int]:
    """The numbers of workers at a load that keeps `demand` workers busy, each at most all of the time."""
    pace, found = Pace(start), []
    for look in range(looks):
        busy = min(demand, float(pace.wanted))
        pace = next_pace(spec, pace, Load(pace.wanted, busy), float(look))
        found.append(pace.wanted)
    return found


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 8), DEMAND)
def test_at_a_constant_load_the_number_moves_one_way_and_then_stays(start: int, demand: float) -> None:
    found = [start, *settled(SPEC, start, demand)]
    assert found in (sorted(found), sorted(found, reverse=True))
    assert len(set(found[-20:])) == 1
    assert found[-1] == 8 or min(demand, 8.0) <= SPEC.busy * found[-1] + 1e-9


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 8), DEMAND, DEMAND)
def test_more_load_never_has_fewer_workers(start: int, one: float, other: float) -> None:
    low, high = (next_pace(SPEC, Pace(start, 0.0), Load(start, busy), CALM_S) for busy in sorted((one, other)))
    assert low.wanted <= high.wanted


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 8), DEMAND, st.floats(0, 10))
def test_nothing_grows_while_workers_still_start(wanted: int, busy: float, wait_s: float) -> None:
    assert next_pace(SPEC, Pace(wanted), Load(wanted - 1, busy, wait_s), 0.0).wanted == wanted


def test_a_burst_has_its_workers_at_once_and_rows_that_wait_have_one_more() -> None:
    assert next_pace(SPEC, Pace(4), Load(4, busy=4.0), 0.0).wanted == 6
    waiting = next_pace(SPEC, Pace(4), Load(4, busy=1.0, wait_s=0.2), 0.0)
    assert (waiting.wanted, waiting.reason) == (5, "requests waited 200 ms for the model")
    assert next_pace(SPEC, Pace(8), Load(8, busy=8.0), 0.0) == Pace(8), "the most there may be"


class AModelOfCalm(RuleBasedStateMachine):
    """One worker goes only after `CALM_S` without a look that was not calm, counted anew for each."""

    def __init__(self) -> None:
        super().__init__()
        self.pace, self.now, self.calm_for = Pace(8), 0.0, -1.0

    @rule(
        busy=st.floats(0, 8), wait_s=st.sampled_from([0.0, 0.0, 0.0, 0.1]), missing=st.booleans(), took=st.floats(0, 6)
    )
    def look(self, busy: float, wait_s: float, missing: bool, took: float) -> None:
        self.now += took
        before = self.pace.wanted
        there = before - 1 if missing and busy > 7 else before
        self.pace = next_pace(SPEC, self.pace, Load(there, busy, wait_s), self.now)
        calm = there == before and wait_s <= SPEC.wait_s and busy <= SPEC.calm * (before - 1) and before > SPEC.least
        self.calm_for = -1.0 if not calm else 0.0 if self.calm_for < 0 else self.calm_for + took
        if self.pace.wanted < before:
            assert before - self.pace.wanted == 1
            assert self.calm_for >= CALM_S - 1e-6
            self.calm_for = 0.0
        if self.pace.wanted != before:
            assert self.pace.reason

    @invariant()
    def keeps_to_what_is_declared(self) -> None:
        assert SPEC.least <= self.pace.wanted <= SPEC.most


TestAModelOfCalm = AModelOfCalm.TestCase
TestAModelOfCalm.settings = settings(max_examples=15, stateful_step_count=40, deadline=None)


def test_limits_that_make_no_sense_are_refused() -> None:
    for wrong in ({"least": 3, "most": 2}, {"most": 65}, {"calm": 0.8}, {"wait_s": 0.0}, {"calm_s": -1.0}):
        with pytest.raises(Invalid):
            Scaling(**wrong)


def told(folder: Path, pid: int, at: float, *, cpu: float = 0.0, model: float = 0.0, asked: int = 0) -> None:
    values = {"cpu_seconds": cpu, "model_seconds": model, "model_requests": asked, "waited_seconds": 0.1 * asked}
    counts = Counts(values={f"mainspring_{name}_total": value for name, value in values.items()})
    path_of(folder, pid).write_bytes(json.dumps({"values": counts.values}).encode())
    os.utime(path_of(folder, pid), (at, at))


def test_a_worker_is_as_busy_as_its_process_or_its_model(tmp_path: Path) -> None:
    watch, now = Watch(tmp_path), time.time()
    told(tmp_path, 1, now - 0.5)
    told(tmp_path, 2, now - 0.5)
    assert watch.look([1, 2, 3], 0.0) == Load(2), "the third does not answer yet"
    told(tmp_path, 1, now, cpu=0.5, model=0.1)
    told(tmp_path, 2, now, cpu=0.1, model=0.5, asked=5)
    assert watch.look([1, 2, 3], 0.2) is None, "it is too early for another answer"
    load = watch.look([1, 2, 3], 1.1)
    assert load is not None
    assert load.busy == pytest.approx(2 * 0.5), "half of what was new: one half second alone may be chance"
    assert load.wait_s == pytest.approx(0.05 / 2)


def test_a_worker_that_says_nothing_new_has_nothing_to_do(tmp_path: Path) -> None:
    watch, now = Watch(tmp_path), time.time() - 20
    told(tmp_path, 1, now)
    watch.look([1], 0.0)
    told(tmp_path, 1, now + 10, cpu=0.5)
    load = watch.look([1], 2.0)
    assert load is not None
    assert load == Load(1), "that was long ago"


def test_changes_are_kept_in_the_order_of_time_even_if_the_clock_goes_back(tmp_path: Path) -> None:
    assert changes_since(tmp_path, 0) == []
    ahead = 10**6 * (int(time.time()) + 3600)
    (tmp_path / "workers.jsonl").write_text(
        json.dumps({"before": 1, "after": 2, "reason": "", "busy": 1, "wait_ms": 0, "at": ahead}) + '\n{"torn\n'
    )
    note_change(tmp_path, Change(2, 1, "calm", 0.1, 0.0))
    assert [change.after for change in changes_since(tmp_path, 0)] == [2, 1]
    assert [change.after for change in changes_since(tmp_path, ahead)] == [1]


_CREW = """
import sys
from pathlib import Path
from mainspring.serving.modelserver.crew import Crew
from mainspring.serving.rules.scaling import Scaling
command = [sys.executable, "-S", "-c", sys.argv[2], sys.argv[1]]
sys.exit(Crew(command, 0, Path(sys.argv[1]), [[], []], Scaling(1, 2, calm_s=0.5)).run())
"""
_WORKER = """
import os, signal, sys, time
from pathlib import Path
folder, busy = Path(sys.argv[1]), 0.0
def end(*_):
    (folder / f"drained-{os.getpid()}").touch()
    os._exit(0)
signal.signal(signal.SIGTERM, end)
while True:
    busy += 0.1 if (folder / "load").exists() else 0.0
    part = folder / f"part-{os.getpid()}"
    part.write_text('{"values":{"mainspring_model_seconds_total":%.2f}}' % busy)
    os.replace(part, folder / f"tally-{os.getpid()}.json")
    time.sleep(0.1)
"""


def test_a_crew_grows_with_the_load_and_has_workers_drain_when_it_is_gone(tmp_path: Path) -> None:
    (tmp_path / "load").touch()
    crew = subprocess.Popen([sys.executable, "-c", _CREW, str(tmp_path), _WORKER])
    try:
        wait_for(lambda: [change.after for change in changes_since(tmp_path, 0)] == [2])
        (tmp_path / "load").unlink()
        wait_for(lambda: [change.after for change in changes_since(tmp_path, 0)] == [2, 1])
        wait_for(lambda: len(list(tmp_path.glob("drained-*"))) == 1)
    finally:
        crew.terminate()
        assert crew.wait(30) == 0
    assert len(list(tmp_path.glob("drained-*"))) == 2
    assert not (tmp_path / "deaths").exists(), "nobody died who was not asked to go"


def wait_for(what: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not what():
        assert time.monotonic() < until
        time.sleep(0.02)
