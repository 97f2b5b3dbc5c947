"""A gate as a step of a pipeline, over versions that are really registered and really judged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression

from mainspring import pipeline, step
from mainspring.core.clock import SystemClock
from mainspring.core.wiring import Wiring
from mainspring.data import Data
from mainspring.gates import Gates
from mainspring.pipelines import PipelineRun, Pipelines, RunState, context, flow
from mainspring.pipelines.flow import Judge
from mainspring.registry import Registry
from mainspring.server.house.judge import HouseJudge
from mainspring.storage.delta import DeltaTables, FilePlace
from mainspring.storage.files import FileBlobs
from mainspring.storage.journal import SqlJournal
from mainspring.storage.ports import Blobs, Tables
from mainspring.storage.queue import SqlQueue

FLOOR = [{"metric": "accuracy", "floor": 0.6}]
SECTIONS: dict[str, dict[str, object]] = {
    "low": {"label": "late", "data": "judged", "checks": FLOOR},
    "high": {"label": "late", "data": "judged", "checks": [{"metric": "accuracy", "floor": 0.99}]},
    "few": {"label": "late", "data": "forty", "checks": [{"metric": "accuracy", "floor": 0.82}]},
    "signed": {
        "label": "late",
        "data": "judged",
        "checks": FLOOR,
        "approve": {"role": "validator", "when": "production"},
    },
}


def rows(n: int, seed: int) -> pl.DataFrame:
    generator = np.random.default_rng(seed)
    x = generator.normal(0, 1, n)
    late = generator.uniform(0, 1, n) < 1 / (1 + np.exp(-2 * x))
    return pl.DataFrame({"x": x, "late": late.astype(np.int64)})


@step(side_effect=True)
def register() -> int:
    frame = rows(500, 1)
    model = LogisticRegression().fit(frame.select("x").to_numpy(), frame["late"].to_numpy())
    return context().registry.register("late", model, example=frame.select("x").head(2), key=context().key).number


@step
def deploy(number: int) -> str:
    return f"deployed {number}"


@step
def wait(number: int) -> str:
    return f"kept {number}"


@pipeline
def released(gate: str) -> str:
    number = register()
    flow.gate(gate, model="late", version=number)
    return deploy(number)


@pipeline
def decided(gate: str) -> str | None:
    number = register()
    verdict = flow.gate(gate, model="late", version=number, must_pass=False)
    return flow.when(verdict["outcome"] == "pass", lambda: deploy(number), lambda: wait(number))


class House:
    """A room of pipelines with a registry, data and gates."""

    def __init__(self, tables: Tables, folder: Path) -> None:
        journal, blobs = SqlJournal(tables), FileBlobs(folder / "blobs")
        wiring = Wiring()
        registry = Registry(tables=tables, journal=journal, blobs=blobs, clock=SystemClock(), folder=folder)
        data = Data(
            tables=tables,
            journal=journal,
            delta=DeltaTables(FilePlace(folder / "delta")),
            blobs=blobs,
            clock=SystemClock(),
        )
        data.ingest("judged", rows(1000, 2))
        data.ingest("forty", rows(40, 3))
        self.gates = Gates(tables=tables, journal=journal, registry=registry, data=data, sections=SECTIONS)
        wiring.add(Blobs, lambda _: blobs)  # type: ignore[type-abstract]  # the wiring knows ports by name
        wiring.add(Registry, lambda _: registry)
        wiring.add(Judge, lambda _: HouseJudge(self.gates))  # type: ignore[type-abstract]
        self.pipelines = Pipelines(
            tables=tables,
            journal=journal,
            queue=SqlQueue(tables),
            blobs=blobs,
            scratch=folder / "scratch",
            wiring=wiring,
            root=folder,
        )


@pytest.fixture
def house(sqlite_tables: Tables, tmp_path: Path) -> House:
    return House(sqlite_tables, tmp_path)


def verdict_of(run: PipelineRun, house: House) -> dict[str, object]:
    output = next(each.output for each in run.steps if each.kind == "call" and each.function.endswith("flow:judge"))
    assert output is not None and output.text is not None
    found = json.loads(output.text)
    assert isinstance(found, dict)
    assert house.gates.verdict(str(found["verdict"])).version == 1, "the evidence is stored"
    return found


def test_after_a_gate_that_passes_the_pipeline_goes_on(house: House) -> None:
    run = house.pipelines.run_inline(released, {"gate": "low"})
    assert (run.state, run.result) == (RunState.FINISHED, "deployed 1"), run.error
    assert verdict_of(run, house)["outcome"] == "pass"


@pytest.mark.parametrize(("gate", "outcome"), [("high", "fail"), ("few", "undecided")])
def test_a_gate_that_does_not_pass_refuses_the_run_or_tells_the_verdict(house: House, gate: str, outcome: str) -> None:
    run = house.pipelines.run_inline(released, {"gate": gate})
    assert (run.state, run.error_code) == (RunState.FAILED, "refused")
    assert run.error.startswith(f"gate {gate} says {outcome}: ")
    assert {each.id: each.state for each in run.steps}["deploy"] == "skipped"
    run = house.pipelines.run_inline(decided, {"gate": gate})
    assert (run.state, run.result) == (RunState.FINISHED, "kept 2"), run.error


def test_a_pass_that_waits_for_its_approval_says_so(house: House) -> None:
    run = house.pipelines.run_inline(decided, {"gate": "signed"})
    assert (run.state, run.result) == (RunState.FINISHED, "deployed 1"), run.error
    found = verdict_of(run, house)
    assert (found["outcome"], found["standing"], found["approval"]) == ("pass", "wait", "waiting")


def test_a_gate_that_is_not_declared_is_named(house: House) -> None:
    run = house.pipelines.run_inline(released, {"gate": "hihg"})
    assert (run.state, run.steps) == (RunState.FAILED, ()), "no version is registered for a gate that is not there"
    assert "hihg" in run.error and "high" in run.error
