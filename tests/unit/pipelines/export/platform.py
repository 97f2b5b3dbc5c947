"""Goes through a compiled pipeline as Kubeflow does: tasks after what they depend on, conditions, loops, the end."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Container = Mapping[str, Any]
Start = Callable[[str, list[str]], int]
"""Starts a container's command under the name of its executor; returns its exit code."""


class TaskFailed(Exception):
    """A task has used up its tries."""


class Platform:
    """Runs the root of an IR, one container after the other.

    Args:
        ir: The first document of what was compiled.
        job: Id of the run there.
        start: Starts a container.
        folder: Where output parameters are written.
    """

    def __init__(self, ir: Any, job: str, start: Start, folder: Path) -> None:
        self._ir, self._job, self._start, self._folder = ir, job, start, folder
        self._numbers = 0

    def run(self) -> None:
        """Run it all, with the parameters' defaults.

        Raises:
            TaskFailed: A task failed; what comes at the end has run all the same.
        """
        given = {
            name: each["defaultValue"] for name, each in self._ir["root"]["inputDefinitions"]["parameters"].items()
        }
        self._dag(self._ir["root"]["dag"], given)

    def _dag(self, dag: Any, given: Mapping[str, Any]) -> None:
        outputs: dict[str, dict[str, Any]] = {}
        left, failed = dict(dag["tasks"]), False
        while left:
            name = next(name for name, task in left.items() if not set(task.get("dependentTasks", ())) & set(left))
            task = left.pop(name)
            policy = task.get("triggerPolicy", {})
            if failed and policy.get("strategy") != "ALL_UPSTREAM_TASKS_COMPLETED":
                continue
            try:
                outputs[name] = self._task(task, given, outputs)
            except TaskFailed:
                failed = True
        if failed:
            raise TaskFailed

    def _task(self, task: Any, given: Mapping[str, Any], outputs: Mapping[str, Any]) -> dict[str, Any]:
        inputs = {
            name: self._value(each, given, outputs)
            for name, each in task.get("inputs", {}).get("parameters", {}).items()
        }
        condition = task.get("triggerPolicy", {}).get("condition")
        if condition is not None:
            found = re.fullmatch(r"inputs\.parameter_values\['(.+)'\] == '(.+)'", " ".join(condition.split()))
            assert found, condition
            if inputs[found[1]] != found[2]:
                return {}
        if "parameterIterator" not in task:
            return self._component(task, inputs)
        iterator = task["parameterIterator"]
        for item in inputs[iterator["items"]["inputParameter"]]:
            self._component(task, {**inputs, iterator["itemInput"]: item})
        return {}

    def _value(self, each: Any, given: Mapping[str, Any], outputs: Mapping[str, Any]) -> Any:
        if "componentInputParameter" in each:
            return given[each["componentInputParameter"]]
        if "taskOutputParameter" in each:
            found = each["taskOutputParameter"]
            return outputs[found["producerTask"]][found["outputParameterKey"]]
        constant = each["runtimeValue"]["constant"]
        return self._job if constant == "{{$.pipeline_job_uuid}}" else constant

    def _component(self, task: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
        component = self._ir["components"][task["componentRef"]["name"]]
        if "dag" in component:
            self._dag(component["dag"], inputs)
            return {}
        self._numbers += 1
        folder = self._folder / str(self._numbers)
        container = self._ir["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
        command = [_filled(each, inputs, folder) for each in (*container["command"], *container["args"])]
        tries = 1 + int(task.get("retryPolicy", {}).get("maxRetryCount", 0))
        for _ in range(tries):
            if self._start(component["executorLabel"].removeprefix("exec-"), command) == 0:
                return self._written(component, folder)
        raise TaskFailed(command)

    def _written(self, component: Any, folder: Path) -> dict[str, Any]:
        found = {}
        for name, each in component.get("outputDefinitions", {}).get("parameters", {}).items():
            text = (folder / name).read_text()
            found[name] = text if each["parameterType"] == "STRING" else json.loads(text)
        return found


def _filled(text: str, inputs: Mapping[str, Any], folder: Path) -> str:
    text = re.sub(r"\{\{\$\.inputs\.parameters\['(.+?)'\]\}\}", lambda found: str(inputs[found[1]]), text)
    return re.sub(
        r"\{\{\$\.outputs\.parameters\['(.+?)'\]\.output_file\}\}", lambda found: str(folder / found[1]), text
    )
