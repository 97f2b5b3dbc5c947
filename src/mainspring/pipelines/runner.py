"""Runs the steps of a pipeline in an order that their needs allow, and asks its ledger before and after each.

The runner knows no database: the ledger on the other side of `ask` (in this process or in the parent) says which
results are there already, and stores a new one before the next step of this process starts.
"""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import field, replace
from pathlib import Path
from typing import cast

from mainspring.core.errors import Invalid, MainspringError, NotFound
from mainspring.core.values import dataclass
from mainspring.core.wiring import Wiring
from mainspring.engines import Ask, Message, Wants
from mainspring.engines.port import unpack_error
from mainspring.pipelines import hints
from mainspring.pipelines.codecs import ROOM_BYTES, Shelf
from mainspring.pipelines.crew import Crew, Order
from mainspring.pipelines.decorators import AnyStep
from mainspring.pipelines.flow import Judge, check_gates
from mainspring.pipelines.hand import Hand, call_of, find_step
from mainspring.pipelines.keys import Code, code_of_pipeline, codes_of, key_parts
from mainspring.pipelines.model import (
    GROUPS,
    Argument,
    Artifact,
    Graph,
    Json,
    Kind,
    Literal,
    Node,
    Resources,
    results_in,
)
from mainspring.pipelines.planning import Agenda, ending_arguments, plan_of, plan_of_node
from mainspring.pipelines.resolving import Resolver, Skipped
from mainspring.pipelines.rules import check_nodes, pick
from mainspring.pipelines.secrets import Secrets
from mainspring.pipelines.targets import AnyPipeline
from mainspring.storage.ports import Blobs

RESULT_BYTES = 64 * 1024
"""The largest result a pipeline may return, as JSON."""
MOST_ITEMS = 10_000
"""The longest list that `map` goes through."""
FAN_ROOM_BYTES = 2 << 20
"""How much text the results of all items of a list may have that are stored without blobs: they make one result."""
_WAIT_S = 0.2
_PATIENCE_S = 3600.0
_NOTHING: Message = {"log": "", "cpu_s": 0.0, "memory": 0, "reads": {}, "inputs": []}


Drawn = tuple[Graph, dict[str, AnyStep]]
"""The graph of a pipeline, and its steps by id."""


@dataclass(slots=True)
class Work:
    """A call that is to be made: a node, or one item of a node that goes through a list. `goes` says elsewhere."""

    node: Node
    step: AnyStep
    fan: Fan | None = None
    attempt: int = 0
    goes: bool = False


@dataclass(slots=True)
class Fan:
    """A node that goes through a list of `count` items: what is left to start, and the results so far."""

    node: Node
    count: int
    left: deque[Work] = field(default_factory=deque)
    results: dict[str, Artifact] = field(default_factory=dict)
    at_work: int = 0


class StepFailed(Exception):
    """A step failed for good."""

    def __init__(self, step: str, error: MainspringError) -> None:
        super().__init__(error.what)
        self.step = step
        self.error = error


class Parked(Exception):
    """The run cannot go on now: it is paused, or waits for a person."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Runner:
    """One run of a pipeline, or what is left of it.

    Args:
        ask: The ledger.
        wiring: The house.
        run_id: The run.
        folder: Scratch space of the run.
        owns_process: Nothing else runs in this process, so all output belongs to the steps.
        secrets: Where secrets are read.
        crew: Makes the hands for steps with processes of their own; None when there are none.
        nodes: What the machines of a cluster have, whose hands do every step that they can find; None without one.
    """

    def __init__(
        self,
        ask: Ask,
        wiring: Wiring,
        *,
        run_id: str,
        folder: Path,
        owns_process: bool,
        secrets: Secrets,
        crew: Callable[[], Crew] | None = None,
        nodes: Callable[[], Sequence[Resources]] | None = None,
    ) -> None:
        self._ask = ask
        self._nodes = nodes
        self._wiring = wiring
        self._run_id = run_id
        self._folder = folder
        self._owns_process = owns_process
        self._secrets = secrets
        self._make_crew = crew
        self._crew: Crew | None = None
        self._blobs: Blobs = wiring.get(Blobs)  # type: ignore[type-abstract]
        self._shelf = Shelf(self._blobs, folder / "values")
        self._codes: dict[str, Code] = {}
        self._outputs: dict[str, Artifact] = {}
        self._skipped: set[str] = set()
        self._resolver = Resolver(self._shelf, self._outputs, self._skipped)
        self._pins: dict[str, str] = {}
        self._before: list[Message] = []
        self._here: deque[Work] = deque()
        self._there: deque[Work] = deque()
        self._later: list[tuple[float, int, Work]] = []
        self._running: dict[str, Work] = {}
        self._numbers = 0
        self._is_asking = False

    def run(
        self,
        pipeline: AnyPipeline,
        params: Mapping[str, Json],
        failed: Message | None = None,
        drawn: list[Drawn] | None = None,
    ) -> Message:
        """Draw the pipeline and run each step that has no result yet.

        Args:
            pipeline: The pipeline.
            params: Its parameters.
            failed: The run has failed already, with this error; only what comes at the end is left to do.
            drawn: Its drawing with these parameters, where there is one already; it is taken out.
        Returns: `result`, or `parked` with the reason.
        Raises:
            MainspringError: The pipeline cannot be drawn, or a step failed for good.
        """
        graph, steps = drawn.pop() if drawn else pipeline.draw(params)
        self._prepare(pipeline, graph, steps, steps.values())
        agenda = Agenda(graph.nodes)
        graph = replace(graph, nodes=())  # the agenda lets go of those that are done
        try:
            return self._to_the_end(graph, steps, agenda, failed)
        finally:
            if self._crew is not None:
                self._crew.close()

    def _prepare(
        self, pipeline: AnyPipeline, graph: Graph, steps: Mapping[str, AnyStep], at_hand: Iterable[AnyStep]
    ) -> None:
        """Show the ledger the plan, and make ready what steps are done with; those at hand need their secrets."""
        self._secrets.masks(name for step in at_hand for name in step.options.secrets)  # refuses what is missing
        self._codes = codes_of(steps.values())
        own = {f"{pipeline.function.__module__}:{pipeline.name}": code_of_pipeline(pipeline, self._codes)}
        check_gates(graph, lambda: self._wiring.get(Judge))  # type: ignore[type-abstract]
        self._check_nodes(graph)
        answer = self._tell(plan_of(graph, self._codes | own))
        if "error" in answer:
            raise unpack_error(cast("Mapping[str, object]", answer["error"]))
        self._pins = cast("dict[str, str]", answer["pins"])
        for listed in {code.lock: code.listed for code in self._codes.values()}.values():
            self._blobs.put(listed)  # what the lock in a key is the digest of
        self._hand = Hand(
            self._wiring,
            run_id=self._run_id,
            folder=self._folder,
            params=graph.params,
            secrets=self._secrets,
            owns_process=self._owns_process,
        )

    def _check_nodes(self, graph: Graph) -> None:
        """Refuse a cluster without our storage, and steps that none of its machines has room for, before any runs."""
        if self._nodes is not None and any(node.kind is not Kind.ASK and not node.options.here for node in graph.nodes):
            asked = {node.id: node.options.resources for node in graph.nodes}
            check_nodes({name: wanted for name, wanted in asked.items() if wanted != Resources()}, self._nodes())

    def _to_the_end(
        self, graph: Graph, steps: Mapping[str, AnyStep], agenda: Agenda, failed: Message | None
    ) -> Message:
        result: Json = None
        blame = StepFailed("", unpack_error(failed)) if failed else None
        try:
            if blame is None:
                self._walk(agenda, steps)
                result = self._result(graph)
        except Parked as reason:
            self._flush()
            return {"parked": reason.why}
        except StepFailed as reason:
            blame = reason
        if graph.on_failure is not None and blame is not None:
            self._end(graph.on_failure, steps[graph.on_failure.id], graph, blame)
        if graph.lastly is not None:
            last = self._end(graph.lastly, steps[graph.lastly.id], graph, blame)
            blame = blame or last
        self._flush()
        if blame is not None:
            raise blame.error
        return {"result": result}

    def _walk(self, agenda: Agenda, steps: Mapping[str, AnyStep]) -> None:
        try:
            while True:
                while agenda.ready:
                    self._open(agenda, agenda.ready.popleft(), steps)
                if not (self._here or self._there or self._running or self._later):
                    break
                self._turn(agenda)
            if self._is_asking:
                raise Parked("waiting")
        except (StepFailed, Parked):
            while self._running:  # what is being done elsewhere is worth keeping
                with suppress(StepFailed, Parked):
                    self._collect(agenda, _PATIENCE_S, may_retry=False)
            raise

    def _open(self, agenda: Agenda, node: Node, steps: Mapping[str, AnyStep]) -> None:
        """A node has its turn: make its work, or settle it at once."""
        try:
            if node.kind is Kind.EACH:
                self._open_fan(agenda, node, steps[node.id])
            elif node.kind is Kind.ASK:
                self._question(agenda, node)
            else:
                work = Work(replace(node, arguments=self._resolver.arguments(node)), steps[node.id])
                goes = node.options.process or self._must_go(node)
                (self._there if goes and self._may_go(work) else self._here).append(work)
        except Skipped:
            self._skipped.add(node.id)
            self._before.append({"ask": "skip", "step": node.id})
            agenda.done(node.id)
        except MainspringError as reason:
            raise StepFailed(node.id, reason) from None

    def _open_fan(self, agenda: Agenda, node: Node, step: AnyStep) -> None:
        fixed = self._resolver.arguments(replace(node, arguments=_without(node.arguments, node.item)))
        items = self._resolver.items(node.arguments[node.item])
        if len(items) > MOST_ITEMS:
            hint = "go through it in parts: let a step return a list of lists"
            raise Invalid(f"{len(items)} items are too many for map", where=f"step {node.id}", hint=hint)
        fan = Fan(node, len(items))
        for number, item in enumerate(items):
            arguments = {name: item if name == node.item else fixed[name] for name in node.arguments}
            name = f"{node.id}.{number}"
            inner = replace(node, id=name, kind=Kind.CALL, arguments=arguments, item="", guards=())
            fan.left.append(Work(inner, step, fan))
        plans = [plan_of_node(work.node, node.id) for work in fan.left]
        self._before.append({"ask": "expand", "step": node.id, "items": plans})
        self._fill(fan)
        self._gather(agenda, fan)

    def _fill(self, fan: Fan) -> None:
        """Let more items of a list have their turn, up to its limit."""
        limit = fan.node.limit or (self._make_crew is not None and fan.count) or 1
        while fan.left and fan.at_work < limit:
            work = fan.left.popleft()
            fan.at_work += 1
            goes = fan.node.limit != 1 or self._must_go(fan.node)
            (self._there if goes and self._may_go(work) else self._here).append(work)

    def _must_go(self, node: Node) -> bool:
        """Whether another process should do it: on a cluster, and where nobody could stop it at its time limit here."""
        return self._nodes is not None or (node.options.timeout_s is not None and not self._owns_process)

    def _may_go(self, work: Work) -> bool:
        """Whether another process could do it: it has to find the step by name."""
        if self._make_crew is None or (self._nodes is not None and work.node.options.here):
            return False
        try:
            return find_step(work.node.function) is work.step
        except NotFound:
            return False

    def _turn(self, agenda: Agenda) -> None:
        """Start what can be started, and do one step here or wait for one from elsewhere."""
        while self._later and self._later[0][0] <= time.monotonic():
            work = heapq.heappop(self._later)[2]
            (self._there if work.goes else self._here).appendleft(work)
        if self._there and self._crew is None and self._make_crew is not None:
            self._crew = self._make_crew()
        while self._there and self._crew is not None and self._crew.free:
            self._start(agenda, self._there.popleft())
        if self._here:
            self._do(agenda, self._here.popleft())
            return self._collect(agenda, 0.0)
        until = self._later[0][0] - time.monotonic() if self._later else _PATIENCE_S
        if self._running:
            return self._collect(agenda, max(until, 0.0))
        if self._later:
            self._flush()
            time.sleep(max(until, 0.0))
        return None

    def _begin(self, agenda: Agenda, work: Work, *, goes: bool) -> Message | None:
        """Ask whether a step should be done; None when it is settled already, or cannot begin now."""
        work.goes = goes
        parts = key_parts(work.node, work.step, self._codes[work.step.reference], self._outputs, self._pins)
        message: Message = {"ask": "begin", "step": work.node.id, "key": parts.key(), "parts": parts.to_json()}
        answer = self._tell(message | {"elsewhere": goes})
        match answer["do"]:
            case "reuse":
                self._settle(agenda, work, Artifact.from_json(cast("Mapping[str, Json]", answer["output"])))
            case "wait":
                self._postpone(work, _WAIT_S)
            case "stop":
                raise Parked("paused")
            case "failed":
                raise StepFailed(work.node.id, unpack_error(cast("Mapping[str, object]", answer["error"])))
            case _:
                until = cast("float", answer["until"])
                while time.monotonic() > until:  # whoever slept longer than the lease may have lost it
                    until = cast("float", self._tell({"ask": "still"})["until"])
                work.attempt = int(cast(int, answer["attempt"]))
                return answer
        return None

    def _do(self, agenda: Agenda, work: Work) -> None:
        answer = self._begin(agenda, work, goes=False)
        if answer is not None:
            self._told(agenda, work, self._hand.do(work.step, self._call(work)))

    def _start(self, agenda: Agenda, work: Work) -> None:
        answer = self._begin(agenda, work, goes=True)
        if answer is None or self._crew is None:
            return
        options, cards = work.node.options, cast("list[int]", answer.get("cards", []))
        env = {"CUDA_VISIBLE_DEVICES": ",".join(map(str, cards))} if cards else {}
        memory = options.resources.memory if options.process else 0
        order = Order(call=self._call(work), timeout_s=options.timeout_s, memory=memory, env=env)
        if self._nodes is not None:
            asked = options.resources
            secrets = {name: self._secrets.get(name) for name in options.secrets}
            order = replace(order, wants=Wants(asked.cpu, asked.memory, asked.gpu), secrets=secrets)
        self._running[work.node.id] = work
        self._crew.give(order)

    def _call(self, work: Work) -> Message:
        arguments = {name: self._pinned(work.step, name, each) for name, each in work.node.arguments.items()}
        room = min(ROOM_BYTES, FAN_ROOM_BYTES // work.fan.count) if work.fan else ROOM_BYTES
        code = self._codes[work.step.reference]
        expected = "" if code.barrier else code.digest
        call = call_of(work.node.id, work.attempt, work.node.function, arguments, self._outputs, room)
        return call | {"code": expected}

    def _pinned(self, step: AnyStep, name: str, argument: Argument) -> Argument:
        """A dataset that is named without a version, as the version that the whole run takes."""
        if isinstance(argument, Literal) and isinstance(argument.value, str) and hints.is_dataset(step.hints.get(name)):
            return Literal(self._pins.get(argument.value, argument.value))
        return argument

    def _collect(self, agenda: Agenda, wait_s: float, *, may_retry: bool = True) -> None:
        """Take what was done elsewhere, waiting for the first so long."""
        if self._crew is None:
            return
        if wait_s > 0:
            self._flush()
        found = self._crew.take(wait_s)
        while found is not None:
            self._told(agenda, self._running.pop(found[0]), found[1], may_retry=may_retry)
            found = self._crew.take(0.0)

    def _told(self, agenda: Agenda, work: Work, done: Message, *, may_retry: bool = True) -> None:
        """A hand has ended a step: note its result, or its failure and when it is tried again."""
        if "output" in done:
            self._before.append(done | {"ask": "finish", "step": work.node.id})
            self._settle(agenda, work, Artifact.from_json(cast("Mapping[str, Json]", done["output"])))
            return
        answer = self._tell(done | {"ask": "fail", "step": work.node.id})
        again = cast("float | None", answer["retry_in_s"])
        if again is None:
            raise StepFailed(work.node.id, unpack_error(cast("Mapping[str, object]", done["error"])))
        if may_retry:
            self._postpone(work, again)

    def _postpone(self, work: Work, wait_s: float) -> None:
        self._numbers += 1
        heapq.heappush(self._later, (time.monotonic() + wait_s, self._numbers, work))

    def _settle(self, agenda: Agenda, work: Work, output: Artifact) -> None:
        if work.fan is None:
            self._outputs[work.node.id] = output
            agenda.done(work.node.id)
            return
        work.fan.at_work -= 1
        work.fan.results[work.node.id] = output
        self._fill(work.fan)
        self._gather(agenda, work.fan)

    def _gather(self, agenda: Agenda, fan: Fan) -> None:
        """When every item has its result: the list of them is the result of the node."""
        if len(fan.results) < fan.count:
            return
        name = fan.node.id
        items = tuple((str(number), fan.results[f"{name}.{number}"]) for number in range(fan.count))
        self._outputs[name] = Artifact.group("list", items)
        self._before.append({"ask": "gather", "step": name, "output": self._outputs[name].to_json()})
        agenda.done(name)

    def _question(self, agenda: Agenda, node: Node) -> None:
        arguments = self._resolver.arguments(node)
        shown = results_in(arguments["about"])
        about = {each.step: pick(self._outputs[each.step], each.path, each.step).digest for each in shown}
        asked = {name: self._resolver.value(arguments[name]) for name in ("question", "within_s", "by_another")}
        answer = self._tell({"ask": "question", "step": node.id, "about": about, **asked})
        if answer["do"] == "wait":
            self._is_asking = True  # what does not need the answer goes on
            return
        if answer["do"] == "failed":
            raise StepFailed(node.id, unpack_error(cast("Mapping[str, object]", answer["error"])))
        self._outputs[node.id] = self._shelf.put(answer["answer"], f"answer to {node.id}")
        self._before.append({"ask": "finish", "step": node.id, "output": self._outputs[node.id].to_json(), **_NOTHING})
        agenda.done(node.id)

    def _end(self, node: Node, step: AnyStep, graph: Graph, blame: StepFailed | None) -> StepFailed | None:
        """Do a step that comes at the end; its own failure, if it fails."""
        error = str(blame.error) if blame else ""
        facts: dict[str, Json] = {"run": self._run_id, "pipeline": graph.pipeline, "error": error}
        facts |= {"state": "failed" if blame else "finished", "step": blame.step if blame else ""}
        agenda = Agenda([node])
        agenda.ready.clear()
        self._here.append(Work(replace(node, arguments=ending_arguments(node, facts)), step))
        try:
            while self._here or self._later:
                self._turn(agenda)
        except StepFailed as reason:
            return reason
        return None

    def _result(self, graph: Graph) -> Json:
        where, hint = f"result of pipeline {graph.pipeline}", "return small JSON; keep the rest in artifacts"
        try:
            found = self._resolver.resolve(graph.result)
            for result in results_in(found):
                artifact = pick(self._outputs[result.step], result.path, result.step)
                if artifact.codec not in ("json", "dataset", *GROUPS):
                    what = f"{result.step} gives {artifact.codec}, which is not JSON"
                    raise Invalid(what, where=where, hint=hint)
                if artifact.size_bytes > RESULT_BYTES:
                    raise Invalid(f"{artifact.size_bytes} bytes are too many", where=where, hint=hint)
            return hints.as_json(self._resolver.value(found))
        except Skipped:
            return None
        except MainspringError as reason:
            raise StepFailed("", reason) from None

    def _tell(self, message: Message) -> Message:
        """Ask the ledger, and hand in with the question what is to be stored before."""
        if self._before:
            message = message | {"before": self._before}
            self._before = []
        return self._ask(message)

    def _flush(self) -> None:
        if self._before:
            self._tell({"ask": "note"})


def _without(arguments: Mapping[str, Argument], name: str) -> dict[str, Argument]:
    return {key: each for key, each in arguments.items() if key != name}
