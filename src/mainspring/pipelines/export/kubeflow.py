"""A pipeline for Kubeflow Pipelines: its IR, as their own compiler makes it, with a container for each part of the run.

What passes from step to step stays in our store, so tasks are joined by order alone: a task does its part with
`mainspring pipeline part`, and the run's key is the id of theirs. A step that goes through a list is three tasks: one
counts the items, a loop does them, one collects. Steps under a condition are a pipeline of their own, which begins with
a task that decides; so whatever comes after them waits for them whether they had their turn or not.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from mainspring.core.errors import Invalid, Unavailable
from mainspring.pipelines.export.kubernetes import (
    Manifest,
    cores_text,
    memory_text,
    params_text,
    scratch_env,
    unexpanded,
)
from mainspring.pipelines.export.place import Place, label, name_of, nodes_of
from mainspring.pipelines.model import Graph, Kind, Node, results_in
from mainspring.pipelines.parts.model import Branch, What, branches, shape_of

MOST_RETRY_S = 300
_SCRATCH = "/tmp"  # noqa: S108 - an empty folder of the pod's own
_ACCELERATOR = "nvidia.com/gpu"


def kubeflow(graph: Graph, target: str, place: Place) -> list[Manifest]:
    """The IR of a pipeline, and behind it what Kubernetes has to know of its tasks.

    Args:
        graph: The pipeline, drawn with its parameters.
        target: What it is called in the image: "path/file.py:function" or "package.module:function".
        place: Where.
    Returns: The two documents of a compiled pipeline.
    Raises:
        Invalid: It asks a person, reads variables or secrets that nobody gave, or says what Kubeflow cannot.
        Unavailable: `kfp` is not installed.
    """
    nodes = nodes_of(graph)
    _check(graph, nodes, place)
    try:
        import kfp
        import kfp.kubernetes  # noqa: F401
    except ImportError as reason:
        hint = "pip install 'mainspring[kfp]', in an environment of its own if protobuf is too new here"
        raise Unavailable(f"{reason.name or 'kfp'} is not installed", where="--to kfp", hint=hint) from None
    return _Compilation(graph, target, place).documents()


def _check(graph: Graph, nodes: Sequence[Node], place: Place) -> None:
    place.check_keeps()
    if not graph.nodes:
        raise Invalid("a pipeline without steps", where=graph.pipeline, hint="call a step in it")
    for node in nodes:
        place.check_env(node)
        place.secrets_of(node)
    for given, where in ((place.cpu, "--cpu"), (place.memory, "--memory"), (place.namespace, "--namespace")):
        if given:
            hint = "leave it out: each step has a container with what it asks for, where Kubeflow runs"
            raise Invalid("Kubeflow has no place for it", where=where, hint=hint)
    if place.deadline_s:
        raise Invalid("Kubeflow stops no run", where="--deadline", hint="give each step a timeout_s")


class _Compilation:
    """One pipeline on its way through their compiler."""

    def __init__(self, graph: Graph, target: str, place: Place) -> None:
        self._graph, self._target, self._place, self._shape = graph, target, place, shape_of(graph)
        self._params = params_text(graph)
        self._branches: dict[tuple[str, int], Any] = {}

    def documents(self) -> list[Manifest]:
        """Compile, and have what was made read by their own loader."""
        import tempfile
        from pathlib import Path

        import yaml  # type: ignore[import-untyped]
        from kfp import compiler, components

        made = self._pipeline()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "pipeline.yaml"
            compiler.Compiler().compile(made, str(path))
            text = path.read_text()
        components.load_component_from_text(text)
        return list(yaml.safe_load_all(text))

    def _pipeline(self) -> Any:
        from kfp import dsl

        inside = branches(self._graph.nodes)
        self._make_branches(inside)

        def whole(params: Any) -> None:
            end = self._task(What.CLOSE, None, dsl.PIPELINE_JOB_ID_PLACEHOLDER, params, nodes=self._graph.endings)
            with dsl.ExitHandler(end, name="the run"):
                self._put(inside, dsl.PIPELINE_JOB_ID_PLACEHOLDER, params, {})

        values = inspect.Parameter("params", inspect.Parameter.KEYWORD_ONLY, annotation=str, default=self._params)
        name = name_of(self._graph, self._place)
        return dsl.pipeline(name=name)(_signed(whole, name, [values]))

    def _put(self, inside: Iterable[Node | Branch], key: Any, params: Any, before: Mapping[str, Any]) -> None:
        """Add the tasks of nodes and branches, each after the tasks of what it needs."""
        last: dict[str, Any] = dict(before)
        for each in inside:
            if isinstance(each, Branch):
                last |= self._branch(each, key, params, last)
            else:
                last[each.id] = self._node(each, key, params, _tasks(last, each.needs))

    def _make_branches(self, inside: Iterable[Node | Branch]) -> None:
        """The pipelines of branches, the innermost first: their compiler draws one at a time."""
        from kfp import dsl

        for each in inside:
            if not isinstance(each, Branch):
                continue
            self._make_branches(each.inside)
            name, words = f"when-{label(each.first)}-{each.depth}", [_input("key", str), _input("params", str)]
            self._branches[each.first, each.depth] = dsl.pipeline(name=name)(_signed(self._inside(each), name, words))

    def _inside(self, branch: Branch) -> Callable[[Any, Any], None]:
        from kfp import dsl

        def inner(key: Any, params: Any) -> None:
            decision = self._task(What.DECIDE, branch, key, params)
            with dsl.If(decision.output == "true", name=f"{branch.first} has its turn"):
                self._put(branch.inside, key, params, {})

        return inner

    def _branch(self, branch: Branch, key: Any, params: Any, last: Mapping[str, Any]) -> dict[str, Any]:
        names = [node.id for node in branch.nodes]
        sides = (branch.guard.condition.left, branch.guard.condition.right)
        asked = [result.step for side in sides for result in results_in(side)]
        needs = [need for need in (*asked, *(n for node in branch.nodes for n in node.needs)) if need not in names]
        task = self._branches[branch.first, branch.depth](key=key, params=params)
        self._after(task, _tasks(last, needs)).set_display_name(f"when: {branch.first}")
        task.set_caching_options(False)
        return dict.fromkeys(names, task)

    def _node(self, node: Node, key: Any, params: Any, needs: Sequence[Any]) -> Any:
        from kfp import dsl

        if node.kind is not Kind.EACH:
            return self._after(self._task(What.STEP, node, key, params, nodes=[node]), needs)
        counted = self._after(self._task(What.LIST, node, key, params), needs)
        with dsl.ParallelFor(counted.output, name=f"items of {node.id}", parallelism=node.limit or None) as item:
            done = self._task(What.ITEM, node, key, params, nodes=[node], item=item)
        return self._after(self._task(What.GATHER, node, key, params), [counted, done])

    def _after(self, task: Any, needs: Sequence[Any]) -> Any:
        return task.after(*needs) if needs else task

    def _task(
        self,
        what: What,
        about: Node | Branch | None,
        key: Any,
        params: Any,
        *,
        nodes: Sequence[Node] = (),
        item: Any = None,
    ) -> Any:
        """A task for a part: its container, what it may take, and how often it is tried."""
        named = about.first if isinstance(about, Branch) else about.id if about else ""
        component = self._component(what, named, about.depth if isinstance(about, Branch) else 0)
        task = component(key=key, params=params, **({"item": item} if what is What.ITEM else {}))
        task.set_caching_options(False)  # ours decides
        task.set_display_name(named if what in (What.STEP, What.ITEM) else f"{what}: {named or self._graph.pipeline}")
        for each in scratch_env(self._place):
            task.set_env_variable(str(each["name"]), str(each["value"]))
        for name, value in sorted(self._place.env.items()):
            task.set_env_variable(name, unexpanded(value))
        self._limit(task, nodes, is_end=what is What.CLOSE)
        self._mount(task, nodes)
        return task

    def _component(self, what: What, step: str, depth: int) -> Any:
        from kfp import dsl

        def run(key: Any, params: Any, item: Any = None, out: Any = None) -> Any:
            words = [
                "pipeline",
                "part",
                self._target,
                what.value,
                "--shape",
                self._shape,
                "--key",
                key,
                "--params",
                params,
            ]
            words += ["--step", step] if step else []
            words += ["--item", item] if item is not None else []
            words += ["--depth", str(depth), "--out", out] if out is not None else []
            return dsl.ContainerSpec(image=self._place.image, command=["mainspring"], args=words)

        inputs = [_input("key", str), _input("params", str)]
        if what is What.ITEM:
            inputs.append(_input("item", int))
        if what in (What.LIST, What.DECIDE):
            kind = dsl.OutputPath(list if what is What.LIST else str)
            made = _signed(lambda key, params, out: run(key, params, out=out), "", [*inputs, _input("out", kind)])
        else:
            made = _signed(run, "", inputs)
        made.__name__ = f"{what}_{label(step or self._graph.pipeline).replace('-', '_')}"
        made.__doc__ = None
        return dsl.container_component(made)

    def _limit(self, task: Any, nodes: Sequence[Node], *, is_end: bool) -> None:
        asks = [node.options.resources for node in nodes]
        cpu, memory = max((each.cpu for each in asks), default=0.0), max((each.memory for each in asks), default=0)
        gpu = max((each.gpu for each in asks), default=0)
        if cpu:
            task.set_cpu_request(cores_text(cpu))
        if memory:
            task.set_memory_request(memory_text(memory)).set_memory_limit(memory_text(memory))
        if gpu:
            task.set_accelerator_type(_ACCELERATOR).set_accelerator_limit(gpu)
        if is_end:
            return  # what comes at the end is tried again in its container
        options = nodes[0].options if nodes else None
        tries = options.retries if options and options.retries else self._place.retries
        wait_s = max(1, math.ceil(options.retry_in_s)) if options else 1
        task.set_retry(
            tries, backoff_duration=f"{wait_s}s", backoff_factor=2.0, backoff_max_duration=f"{MOST_RETRY_S}s"
        )

    def _mount(self, task: Any, nodes: Sequence[Node]) -> None:
        from kfp import kubernetes

        secrets = dict(self._place.secret_env)
        for node in nodes:
            secrets |= self._place.secrets_of(node)
        for variable, (secret, name) in sorted(secrets.items()):
            kubernetes.use_secret_as_env(task, secret_name=secret, secret_key_to_env={name: variable})
        kubernetes.set_security_context(task, run_as_non_root=True)
        kubernetes.empty_dir_mount(task, volume_name="scratch", mount_path=_SCRATCH)
        for claim, path in self._place.volumes.items():
            kubernetes.mount_pvc(task, pvc_name=claim, mount_path=path)


def _tasks(last: Mapping[str, Any], needs: Iterable[str]) -> list[Any]:
    return [*{id(last[need]): last[need] for need in needs if need in last}.values()]


def _input(name: str, kind: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=kind)


def _signed(function: Callable[..., Any], name: str, inputs: Sequence[inspect.Parameter]) -> Any:
    """A function with the signature that their compiler reads inputs from."""

    def made(*given: Any, **named: Any) -> Any:
        return function(*given, **named)

    signed: Any = made
    signed.__signature__ = inspect.Signature(inputs)
    signed.__annotations__ = {each.name: each.annotation for each in inputs}
    signed.__name__ = name
    return signed
