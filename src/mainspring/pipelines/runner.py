"""Runs the steps of a pipeline one after another, and asks its ledger before and after each.

The runner knows no database: the ledger on the other side of `ask` (in this process or in the parent) says which
results are there already and stores the new ones before the next step starts.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from mainspring.core.errors import Failed, Invalid, MainspringError
from mainspring.core.wiring import Wiring
from mainspring.engines import Ask, Message
from mainspring.engines.port import pack_error, unpack_error
from mainspring.pipelines import hints, logs
from mainspring.pipelines.codecs import Shelf
from mainspring.pipelines.context import StepContext, entered
from mainspring.pipelines.decorators import Step
from mainspring.pipelines.keys import key_parts
from mainspring.pipelines.model import GROUPS, Argument, Artifact, Graph, Items, Json, Literal, Node, Result
from mainspring.pipelines.rules import order, pick
from mainspring.pipelines.sources import packages
from mainspring.pipelines.targets import AnyPipeline
from mainspring.storage.ports import Blobs

RESULT_BYTES = 64 * 1024
"""The largest result a pipeline may return, as JSON."""


class Runner:
    """One run of a pipeline, or what is left of it.

    Args:
        ask: The ledger.
        wiring: The house.
        folder: Scratch space of the run.
        owns_process: Nothing else runs in this process, so all output belongs to the steps.
    """

    def __init__(self, ask: Ask, wiring: Wiring, *, run_id: str, folder: Path, owns_process: bool) -> None:
        self._ask = ask
        self._wiring = wiring
        self._run_id = run_id
        self._folder = folder
        self._owns_process = owns_process
        self._blobs: Blobs = wiring.get(Blobs)  # type: ignore[type-abstract]
        self._shelf = Shelf(self._blobs, folder / "values")
        self._outputs: dict[str, Artifact] = {}
        self._pins: dict[str, str] = {}

    def run(self, pipeline: AnyPipeline, params: Mapping[str, Json]) -> Json:
        """Draw the pipeline, run each step that has no result yet, and return what the pipeline returns.

        Raises:
            MainspringError: The pipeline cannot be drawn, or a step failed for good.
        """
        graph, steps = pipeline.draw(params)
        plan = self._ask(_plan(graph))
        if "error" in plan:
            raise unpack_error(cast("Mapping[str, object]", plan["error"]))
        self._pins = cast("dict[str, str]", plan["pins"])
        self._blobs.put("\n".join(packages()).encode())  # what the lock in every key is the digest of
        nodes = {node.id: node for node in graph.nodes}
        for step_id in order({node.id: node.needs for node in graph.nodes}):
            self._outputs[step_id] = self._settle(nodes[step_id], steps[step_id], graph.params)
        return self._result(graph)

    def _settle(self, node: Node, step: Step[..., object], params: Mapping[str, Json]) -> Artifact:
        parts = key_parts(node, step, self._outputs, self._pins)
        while True:
            begin: Message = {"ask": "begin", "step": node.id, "key": parts.key(), "parts": parts.to_json()}
            answer = self._ask(begin)
            if answer["do"] == "reuse":
                return Artifact.from_json(cast("Mapping[str, Json]", answer["output"]))
            try:
                return self._try(node, step, params, int(cast(int, answer["attempt"])))
            except _StepError as failed:
                if failed.retry_in_s is None:
                    raise failed.error from None
                time.sleep(failed.retry_in_s)

    def _try(self, node: Node, step: Step[..., object], params: Mapping[str, Json], attempt: int) -> Artifact:
        path = logs.log_path(self._folder, node.id, attempt)
        surroundings = StepContext(
            run_id=self._run_id,
            step=node.id,
            params=params,
            wiring=self._wiring,
            note=lambda line: logs.note(path, line),
            attempt=attempt,
        )
        try:
            with logs.captured(path, all_output=self._owns_process), entered(surroundings):
                output = self._call(node, step)
        except Exception as reason:  # noqa: BLE001 - the edge of a step: the reason goes into its log and its record
            error = _told(reason, node.id)
            logs.note(path, "".join(traceback.format_exception(reason)).rstrip())
            message: Message = {"ask": "fail", "step": node.id, "error": pack_error(error), "log": self._keep(path)}
            raise _StepError(error, cast("float | None", self._ask(message)["retry_in_s"])) from None
        done: Message = {"ask": "finish", "step": node.id, "output": output.to_json(), "log": self._keep(path)}
        self._ask(done | {"reads": dict(surroundings.reads), "inputs": list(surroundings.inputs)})
        return output

    def _call(self, node: Node, step: Step[..., object]) -> Artifact:
        values = {name: self._value(each, step.hints.get(name)) for name, each in node.arguments.items()}
        for name, value in values.items():
            _check(value, step.hints.get(name), f"step {node.id}, parameter {name}", "is given")
        result = step.function(**values)
        _check(result, step.hints.get("return"), f"step {node.id}", "returned")
        return self._shelf.put(result, f"result of step {node.id}")

    def _value(self, argument: Argument, hint: hints.Hint) -> object:
        if isinstance(argument, Result):
            return self._shelf.get(pick(self._outputs[argument.step], argument.path, argument.step))
        if isinstance(argument, Items):
            entries = {key: self._value(each, None) for key, each in argument.entries}
            if argument.kind == "dict":
                return entries
            return tuple(entries.values()) if argument.kind == "tuple" else list(entries.values())
        value = argument.value
        if isinstance(value, str) and hints.is_dataset(hint):
            value = self._pins.get(value, value)
        return value if hint is None else hints.as_hinted(value, hint)

    def _result(self, graph: Graph) -> Json:
        where, hint = f"result of pipeline {graph.pipeline}", "return small JSON; keep the rest in artifacts"
        for result in _results(graph.result):
            artifact = pick(self._outputs[result.step], result.path, result.step)
            if artifact.codec not in ("json", *GROUPS):
                raise Invalid(f"{result.step} gives {artifact.codec}, which is not JSON", where=where, hint=hint)
            if artifact.size_bytes > RESULT_BYTES:
                raise Invalid(f"{artifact.size_bytes} bytes are too many", where=where, hint=hint)
        return hints.as_json(self._value(graph.result, None))

    def _keep(self, path: Path) -> str:
        text = logs.tail(path)
        return self._blobs.put(text) if text else ""


class _StepError(Exception):
    """A try that failed, and when there is another."""

    def __init__(self, error: MainspringError, retry_in_s: float | None) -> None:
        super().__init__(str(error))
        self.error = error
        self.retry_in_s = retry_in_s


def _plan(graph: Graph) -> Message:
    steps = [
        {
            "id": node.id,
            "function": node.function,
            "needs": list(node.needs),
            "may_reuse": node.options.may_reuse,
            "retries": node.options.retries,
            "retry_in_s": node.options.retry_in_s,
            "timeout_s": node.options.timeout_s,
        }
        for node in graph.nodes
    ]
    return {
        "ask": "plan",
        "pipeline": graph.pipeline,
        "params": dict(graph.params),
        "steps": steps,
        "datasets": list(graph.datasets),
    }


def _results(argument: Argument) -> list[Result]:
    if isinstance(argument, Literal):
        return []
    if isinstance(argument, Result):
        return [argument]
    return [result for _, entry in argument.entries for result in _results(entry)]


def _check(value: object, hint: hints.Hint, where: str, verb: str) -> None:
    if hint is not None and not hints.fits(value, hint):
        kind = type(value)
        name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
        what = f"{where.partition(',')[0]} {verb} a {name}, its annotation says {hints.name_of(hint)}"
        raise Invalid(what, where=where, hint="change the value or the annotation")


def _told(reason: Exception, step: str) -> MainspringError:
    """The error of a step in three lines: what was raised, in which line of the project."""
    if isinstance(reason, MainspringError):
        return type(reason)(reason.what, where=reason.where or f"step {step}", hint=reason.hint)
    ours = str(Path(__file__).parent.parent)
    frames = [f for f in traceback.extract_tb(reason.__traceback__) if not f.filename.startswith(ours)]
    own = [f for f in frames if "site-packages" not in f.filename] or frames
    where = f"{own[-1].filename}, line {own[-1].lineno}, in {own[-1].name}" if own else f"step {step}"
    text = f"{type(reason).__name__}: {reason}" if str(reason) else type(reason).__name__
    return Failed(f"step {step} raised {text}", where=where, hint="the step's log has the whole trace")
