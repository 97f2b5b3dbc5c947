"""What a pipeline costs when there is nothing to do: four cached steps, run again in this process."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from figure import Figure, wall
from place import folder, quantile

from mainspring.core.settings import load
from mainspring.pipelines.model import PipelineRun, StepState
from mainspring.pipelines.service import Pipelines
from mainspring.server.house import open_house

RUNS = 30
SOURCE = '''"""Four steps in a row."""
import mainspring as ms


@ms.step
def first(number: int) -> int:
    return number + 1


@ms.step
def second(number: int) -> int:
    return number + 2


@ms.step
def third(number: int) -> int:
    return number + 3


@ms.step
def fourth(number: int) -> int:
    return number + 4


@ms.pipeline
def chain(number: int = 0) -> int:
    return fourth(third(second(first(number))))
'''


def measure() -> Iterator[Figure]:
    with folder() as root:
        target = f"{root / 'chain.py'}:chain"
        (root / "chain.py").write_text(SOURCE)
        house = open_house(load(root))
        try:
            pipelines = house.get(Pipelines)
            numbers = iter(range(1, 10**6))
            fresh = wall(
                RUNS, lambda: _check(pipelines.run_inline(target, {"number": 100 * next(numbers)}), "finished")
            )
            pipelines.run_inline(target, {})
            cached = wall(RUNS, lambda: _check(pipelines.run_inline(target, {}), "cached"))
        finally:
            house.close()
    yield Figure("four no-op steps in process, run for the first time", 1000 * statistics.median(fresh), "ms")
    yield Figure("four cached steps in process, run again", 1000 * statistics.median(cached), "ms")
    yield Figure("four cached steps in process, run again: p90", 1000 * quantile(cached, 0.9), "ms")


def _check(run: PipelineRun, state: str) -> None:
    """A figure of a run that did something else would be a lie."""
    found = {StepState(step.state).value for step in run.steps}
    assert found == {state}, f"the steps are {found}, wanted {state}"
