"""What the model server uses of the machine: kept by workers, judged against the first hours or the settings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mainspring.core.clock import DAY_US, SECOND_US
from mainspring.core.errors import Invalid
from mainspring.monitoring.model import MonitorSpec
from mainspring.monitoring.rules.budget import SERVICE_US
from mainspring.monitoring.rules.figures import figures_of
from mainspring.monitoring.rules.resources import ResourceFinding, judge_resources, resource_drafts
from mainspring.monitoring.rules.usage import UsageWindow
from mainspring.serving.modelserver.usage import WINDOW_US, UsageLog, resident_mb, usages

SPEC = MonitorSpec()
START = 20_000 * DAY_US


def windows(
    cores: list[float], *, memory: float | list[float] = 200.0, first: int = 0, models: str = "a"
) -> list[UsageWindow]:
    held = memory if isinstance(memory, list) else [memory] * len(cores)
    return [
        UsageWindow(START + (first + i) * SERVICE_US, "w", 7, 300.0, used, held[i], models)
        for i, used in enumerate(cores)
    ]


def judged(used: list[UsageWindow], spec: MonitorSpec = SPEC) -> list[ResourceFinding]:
    return judge_resources({}, used, used[-1].start + SERVICE_US, spec)[1]


def alarms(found: list[ResourceFinding]) -> list[str]:
    return [draft.text for one in found for draft in resource_drafts(one)]


def test_a_worker_that_stays_full_raises_an_alarm_within_half_an_hour_and_once() -> None:
    found = judged(windows([*[0.3] * 60, *[0.99] * 30]))
    assert alarms(found) == ["worker 7 of the model server keeps 0.99 cores busy, 0.90 are accepted"]
    draft = next(draft for one in found for draft in resource_drafts(one))
    assert (draft.window_end - draft.window_start) // SERVICE_US <= 6
    assert draft.window_start == START + 60 * SERVICE_US
    assert figures_of("resources", draft.evidence)[0] == ("Cores", "0.99 cores by process 7")


def test_a_leak_is_found_and_a_model_that_always_used_many_cores_is_none() -> None:
    leak = [200.0] * 60 + [200.0 + 10 * i for i in range(60)]
    assert alarms(judged(windows([3.0] * 120, memory=leak)))[0].startswith("worker 7 of the model server holds")
    assert alarms(judged(windows([3.0] * 300))) == []


def test_other_models_in_memory_are_learnt_anew() -> None:
    more = windows([0.3] * 100, memory=900.0, first=100, models="a,b")
    assert alarms(judged([*windows([0.3] * 100), *more])) == []
    assert alarms(judged([*windows([0.3] * 100), *windows([0.3] * 100, memory=900.0, first=100)])) != []


def test_limits_of_the_settings_hold_from_the_first_window() -> None:
    assert alarms(judged(windows([0.3] * 8, memory=600.0), replace(SPEC, memory_mb=500)))
    assert alarms(judged(windows([0.99] * 8))) == []
    with pytest.raises(Invalid, match="limit of -1"):
        MonitorSpec(cores=-1)


def test_busy_minutes_now_and_then_are_silent() -> None:
    rng = np.random.default_rng(0)
    cores = np.where(rng.random(6_000) < 0.01, 0.99, 0.3)
    cores[:50] = 0.3
    assert alarms(judged(windows(cores.tolist()))) == []


def test_judging_in_two_parts_is_judging_at_once_and_what_starts_is_not_busy() -> None:
    used = windows([*[0.3] * 55, *[0.99] * 20])
    whole = judge_resources({}, used, START + DAY_US, SPEC)
    half, first = judge_resources({}, used[:57], START + DAY_US, SPEC)
    rest, second = judge_resources(half, used, START + DAY_US, SPEC)
    assert (rest, [*first, *second]) == (whole[0], whole[1])
    assert alarms(judged([*used[:55], *(replace(one, seconds=20.0) for one in used[55:])])) == []


def test_a_worker_keeps_its_windows_in_a_file_that_anybody_may_read(tmp_path: Path) -> None:
    log = UsageLog(tmp_path, "one")
    log.look(lambda: ["live/1"], 0.0)
    at = log._last[0] - log._last[0] % WINDOW_US + WINDOW_US
    log._last = (at, 10.0)
    for second in range(0, 310, 10):
        log.note(at + second * SECOND_US, 10.0 + second / 2, 100.0 + second, "x")
    log.look(lambda: ["live/1"], 5.0)  # too early: the file stays
    assert len(usages(tmp_path)[0].windows) == 1
    log.look(lambda: ["live/1"], 20.0)
    (found,) = usages(tmp_path)
    full = found.windows[1]
    assert (full.start, round(full.cores, 2), full.memory_mb) == (at, 0.5, 390.0)
    (tmp_path / "usage-torn.json").write_bytes(b"{")
    assert [one.worker for one in usages(tmp_path)] == ["one"]
    assert resident_mb(found.pid) > 1
    assert resident_mb(2**30) == 0
