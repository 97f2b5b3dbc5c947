"""What goes to Kubeflow is what its compiler makes, and its containers, started in its order, do each step once.

`kfp` needs an older protobuf than other tests, so `kubeflow.yaml` is what it made of `drawn.py`: where `kfp` is
installed, it is compiled again and compared. `python -m tests.unit.pipelines.export.test_kubeflow` writes it anew.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import pytest
import yaml  # type: ignore[import-untyped]
from tests.unit.pipelines.export.drawn import PLACE, asked, graph, search
from tests.unit.pipelines.export.platform import Platform, TaskFailed

from mainspring.core.errors import Fenced, Invalid, Unavailable
from mainspring.core.settings import load
from mainspring.engines import InlineEngine
from mainspring.pipelines import Pipelines
from mainspring.pipelines.export import kubeflow
from mainspring.pipelines.model import RunState, StepState
from mainspring.pipelines.parts.commands import part as command_of_part
from mainspring.pipelines.parts.model import Branch, Part, What, branches, shape_of
from mainspring.server.house import open_house

HERE = Path(__file__).parent
COMPILED = HERE / "kubeflow.yaml"
TARGET = "drawn_flow.py:search"
HAS_KFP = find_spec("kfp") is not None and find_spec("kfp.kubernetes") is not None
needs_kfp = pytest.mark.skipif(not HAS_KFP, reason="kfp is not installed beside Mainspring")


def compiled() -> Any:
    """What was compiled, with the digest of the steps as it is now: where `kfp` is, that is compared as well."""
    text = re.sub(r"(?<=- --shape\n)(\s+- )\w+", rf"\g<1>{shape_of(graph())}", COMPILED.read_text())
    return next(yaml.load_all(text, Loader=yaml.CSafeLoader))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    shutil.copy(HERE / "drawn.py", tmp_path / "drawn_flow.py")
    (tmp_path / "mainspring.toml").write_text('[project]\nname = "exported"\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WAREHOUSE_TOKEN", "a-token-of-many-letters")
    monkeypatch.setenv("STAGE", "test")
    yield tmp_path
    sys.modules.pop("drawn_flow", None)


class InProcess:
    """Does what the containers' commands say in this process, and counts them."""

    def __init__(self, pipelines: Pipelines) -> None:
        self.pipelines, self.started = pipelines, Counter[str]()
        self.pipelines.parts._engine = InlineEngine()
        self.deaths: Counter[str] = Counter()

    def start(self, name: str, command: list[str]) -> int:
        self.started[name] += 1
        assert command[:3] == ["mainspring", "pipeline", "part"]
        words = command_of_part.make_context("part", command[3:]).params
        params = json.loads(words["whole"])
        run = self.pipelines.join(words["target"], params, key=words["key"])
        numbers = {name: words[name] for name in ("step", "item", "depth", "shape")}
        ended = self.pipelines.parts.do(run, Part(what=What(words["what"]), **numbers), threading.Event())
        if self.deaths[name]:
            self.deaths[name] -= 1
            return 137  # it was done, and nobody heard of it
        if ended.error is not None or ended.is_again:
            return 1
        if words["out"]:
            out = Path(words["out"])
            out.parent.mkdir(parents=True)
            value = cast(int, ended.value)
            out.write_text(json.dumps([*range(value)] if words["what"] == "list" else value))
        return 0


def test_its_containers_in_its_order_do_each_step_once(project: Path) -> None:
    house = open_house(load(project))
    here = InProcess(house.get(Pipelines))
    here.deaths.update({"step-best": 1, "item-fit": 1, "step-register": 2, "list-fit": 1})
    Platform(compiled(), "job-17", here.start, project / "out").run()
    (run,) = here.pipelines.runs()
    run = here.pipelines.get(run.id)
    assert (run.state, run.error) == (RunState.FINISHED, "")
    states = {step.id: (step.state, step.attempt) for step in run.steps}
    once = (StepState.FINISHED, 1)
    assert states == {
        **dict.fromkeys(("regions", "fit", "fit.0", "fit.1", "best", "refine", "refine-2", "register", "say"), once),
        "refine-3": (StepState.SKIPPED, 0),
    }
    assert run.result == "registered at 0.125"
    assert here.started["step-register"] == 3 and here.started["close-search"] == 1
    assert "step-refine-3" not in here.started, "a step that has no turn has no container"
    house.close()


def test_a_step_that_fails_for_good_ends_the_run_with_its_error(project: Path) -> None:
    flow = (project / "drawn_flow.py").read_text().replace("return min(losses)", 'raise ValueError("no loss")')
    (project / "drawn_flow.py").write_text(flow)
    house = open_house(load(project))
    here = InProcess(house.get(Pipelines))
    with pytest.raises(TaskFailed):
        Platform(compiled(), "job-18", here.start, project / "out").run()
    (run,) = here.pipelines.runs()
    run = here.pipelines.get(run.id)
    assert run.state is RunState.FAILED and "no loss" in run.error
    states = {step.id: step.state for step in run.steps}
    assert (states["best"], states["refine"], states["say"]) == (
        StepState.FAILED,
        StepState.SKIPPED,
        StepState.FINISHED,
    )
    house.close()


def test_another_pipeline_than_was_exported_is_refused(project: Path) -> None:
    flow = (
        (project / "drawn_flow.py")
        .read_text()
        .replace("@step(timeout_s=30)\ndef refine", "@step(retries=9)\ndef refine")
    )
    (project / "drawn_flow.py").write_text(flow)
    house = open_house(load(project))
    here = InProcess(house.get(Pipelines))
    with pytest.raises(TaskFailed):
        Platform(compiled(), "job-19", here.start, project / "out").run()
    (run,) = here.pipelines.runs()
    assert run.state is RunState.FAILED and "other steps here" in run.error
    house.close()


def test_parts_of_a_run_that_was_cancelled_are_refused(project: Path) -> None:
    house = open_house(load(project))
    here = InProcess(house.get(Pipelines))
    run = here.pipelines.join(TARGET, {}, key="job-21")
    stopping = threading.Event()
    assert here.pipelines.parts.do(run, Part(what=What.STEP, step="regions"), stopping).error is None
    early = here.pipelines.parts.do(run, Part(what=What.GATHER, step="best"), stopping).error
    assert early is not None and "gather of best" in early.what
    here.pipelines.cancel(run)
    with pytest.raises(Fenced):
        here.pipelines.parts.do(run, Part(what=What.LIST, step="fit"), stopping)
    house.close()


def test_steps_under_a_condition_are_together() -> None:
    shown = [each.first if isinstance(each, Branch) else each.id for each in branches(graph().nodes)]
    assert shown == ["regions", "fit", "best", "refine", "refine-2", "refine-3", "register"]
    assert shape_of(graph()) == shape_of(graph(note="other")) != shape_of(replace(graph(), pipeline="other"))


def test_what_kubeflow_cannot_say_is_refused_by_name() -> None:
    wrongs: list[tuple[dict[str, Any], str]] = [
        ({"cpu": 2.0}, "no place for it"),
        ({"namespace": "ml"}, "no place for it"),
        ({"deadline_s": 60}, "stops no run"),
        ({"secret": ""}, "where the secret"),
        ({"env": {"MAINSPRING_STORAGE_BLOBS": "s3://b"}}, "what STAGE is"),
    ]
    for change, says in wrongs:
        with pytest.raises(Invalid, match=says):
            kubeflow(graph(), TARGET, replace(PLACE, **change))
    with pytest.raises(Invalid, match="asks a person"):
        kubeflow(asked.draw({})[0], TARGET, PLACE)


@pytest.mark.skipif(HAS_KFP, reason="kfp is installed")
def test_without_kfp_it_is_said_what_to_install() -> None:
    with pytest.raises(Unavailable, match="mainspring\\[kfp\\]"):
        kubeflow(graph(), TARGET, PLACE)


def test_the_ir_says_what_the_pipeline_says() -> None:
    ir = compiled()
    executors = ir["deploymentSpec"]["executors"]
    fit = executors["exec-item-fit"]["container"]
    assert fit["resources"]["resourceMemoryLimit"] == "1536Mi"
    assert executors["exec-step-register"]["container"]["resources"]["accelerator"]["resourceCount"] == "1"
    inner = ir["components"]["comp-exit-handler-1"]["dag"]["tasks"]
    (loop,) = (task for task in inner.values() if "parameterIterator" in task)
    assert loop["iteratorPolicy"]["parallelismLimit"] == 2
    (tries,) = (c["dag"]["tasks"]["item-fit"]["retryPolicy"] for n, c in ir["components"].items() if "for-loop" in n)
    assert (tries["maxRetryCount"], tries["backoffDuration"], tries["backoffFactor"]) == (2, "4s", 2.0)
    dags = [each["dag"]["tasks"] for each in ir["components"].values() if "dag" in each]
    ways = [task["cachingOptions"] for tasks in dags for task in tasks.values() if "cachingOptions" in task]
    assert ways and all(way == {} for way in ways), "ours decides"
    assert json.loads(ir["root"]["inputDefinitions"]["parameters"]["params"]["defaultValue"]) == {
        "depth": 1,
        "note": "$(HOME)",
    }
    _, kubernetes = yaml.load_all(COMPILED.read_text(), Loader=yaml.CSafeLoader)
    tasks = kubernetes["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    secret = tasks["exec-item-fit"]["secretAsEnv"]
    assert {(each["secretName"], each["keyToEnv"][0]["envVar"]) for each in secret} == {
        ("mainspring", "MAINSPRING_STORAGE_DB"),
        ("tokens", "WAREHOUSE_TOKEN"),
    }
    assert "WAREHOUSE" not in json.dumps(tasks["exec-step-best"])


@needs_kfp
def test_their_compiler_makes_the_same_and_their_loader_and_protos_take_it() -> None:
    from google.protobuf import json_format
    from kfp import components
    from kfp.pipeline_spec import pipeline_spec_pb2

    made = kubeflow(search.draw({"note": "$(HOME)"})[0], TARGET, PLACE)
    assert made == [*yaml.safe_load_all(COMPILED.read_text())]
    loaded = components.load_component_from_text(COMPILED.read_text())
    assert loaded.name == "search" and [*loaded.component_spec.inputs] == ["params"]
    spec = json_format.ParseDict(made[0], pipeline_spec_pb2.PipelineSpec())
    assert json_format.MessageToDict(spec)["root"] == made[0]["root"]
    wrong = json.loads(json.dumps(made[0]))
    wrong["root"]["dag"]["mispelt"] = 1
    with pytest.raises(json_format.ParseError, match="mispelt"):
        json_format.ParseDict(wrong, pipeline_spec_pb2.PipelineSpec())


@pytest.mark.long
def test_its_commands_are_real_ones(project: Path) -> None:
    def start(name: str, command: list[str]) -> int:
        return subprocess.run([sys.executable, "-m", *command], cwd=project, env={**os.environ}, timeout=120).returncode

    Platform(compiled(), "job-20", start, project / "out").run()
    house = open_house(load(project))
    (run,) = house.get(Pipelines).runs()
    assert (run.state, run.result) == (RunState.FINISHED, "registered at 0.125")
    assert all(step.attempt <= 1 for step in house.get(Pipelines).get(run.id).steps)
    house.close()


if __name__ == "__main__":
    COMPILED.write_text(yaml.safe_dump_all(kubeflow(graph(), TARGET, PLACE), sort_keys=False, width=120))
