"""Does one part of a run, in a process of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from mainspring.core.errors import Conflict, Failed
from mainspring.engines import Message
from mainspring.engines.port import unpack_error
from mainspring.pipelines.decorators import AnyStep
from mainspring.pipelines.model import Artifact, Graph, Json, Node, results_in
from mainspring.pipelines.parts.model import Part, What, find_branch, find_node, shape_of
from mainspring.pipelines.planning import Agenda
from mainspring.pipelines.resolving import Skipped
from mainspring.pipelines.runner import Fan, Parked, Runner, StepFailed, Work
from mainspring.pipelines.targets import AnyPipeline


class PartRunner(Runner):
    """Goes over the pipeline as `Runner` does, but does one part of it: what is before it, the ledger knows."""

    _is_closing = False
    _fan: Fan | None = None
    _failed: Message | None = None
    _count = 0

    def run_part(self, pipeline: AnyPipeline, params: Mapping[str, Json], part: Part) -> Message:
        """Draw the pipeline and do the part.

        Returns: `value`, or `again` when the part may be tried again, or `parked`; for the end of a run its `result`.
        Raises:
            MainspringError: The pipeline cannot be drawn, is another than was exported, or a step failed for good.
        """
        graph, steps = pipeline.draw(params)
        if part.shape and shape_of(graph) != part.shape:
            what = f"{graph.pipeline} has other steps here than where it was exported"
            raise Conflict(what, where="part", hint="export it again, from the same code and with the same parameters")
        self._prepare(pipeline, graph, steps, _at_hand(graph, steps, part))
        try:
            return self._part(graph, steps, part)
        except StepFailed as reason:
            self._flush()
            raise reason.error from None
        finally:
            if self._crew is not None:
                self._crew.close()

    def _part(self, graph: Graph, steps: Mapping[str, AnyStep], part: Part) -> Message:
        if part.what is What.OPEN:
            return {"value": None}
        self._load(part)
        if part.what is What.CLOSE:
            self._is_closing = True
            return self._to_the_end(graph, steps, Agenda(()), None)
        if part.what is What.DECIDE:
            return self._decide(graph, part)
        node = find_node(graph, part)
        if node.id in self._skipped:
            return {"value": 0 if part.what is What.LIST else None}
        self._check(node.needs, node.id)
        if part.what is What.GATHER:
            return self._collect_items(node)
        try:
            return self._do_step(node, steps, part)
        except Parked as reason:
            self._flush()
            return {"parked": reason.why}

    def _do_step(self, node: Node, steps: Mapping[str, AnyStep], part: Part) -> Message:
        agenda = Agenda([node])
        self._open(agenda, node, steps)
        if self._fan is not None:
            if part.what is What.LIST:
                self._flush()
                return {"value": self._fan.count}
            self._before.clear()  # that was planned when the items were counted
            if part.item >= self._fan.count:
                raise Failed(f"{node.id} has {self._fan.count} items, not {part.item + 1}", where=f"step {node.id}")
            work = self._fan.left[part.item]
            self._here.append(Work(work.node, work.step))
        while self._here or self._there or self._running or self._later:
            self._turn(agenda)
        self._flush()
        if part.row in self._outputs or node.id in self._skipped:
            return {"value": 0 if part.what is What.LIST else None}
        return {"again": True}

    def _decide(self, graph: Graph, part: Part) -> Message:
        branch = find_branch(graph, part)
        sides = (branch.guard.condition.left, branch.guard.condition.right)
        self._check([result.step for side in sides for result in results_in(side)], part.step)
        try:
            goes = self._resolver.holds(branch.guard.condition) is branch.guard.wanted
        except Skipped:
            goes = False
        if not goes:
            self._before += [{"ask": "skip", "step": node.id} for node in branch.nodes]
            self._flush()
        return {"value": goes}

    def _collect_items(self, node: Node) -> Message:
        found = {name: output for name, output in self._outputs.items() if name.startswith(f"{node.id}.")}
        numbers = sorted(int(name.rpartition(".")[2]) for name in found)
        missing = [number for number in range(self._count) if number not in numbers]
        if missing:
            what = f"item {missing[0]} of {node.id} has no result"
            raise StepFailed(node.id, Failed(what, where=f"step {node.id}", hint="look at the item's own container"))
        items = tuple((str(number), found[f"{node.id}.{number}"]) for number in numbers)
        output = Artifact.group("list", items).to_json()
        self._before.append({"ask": "gather", "step": node.id, "output": output})
        self._flush()
        return {"value": None}

    def _load(self, part: Part) -> None:
        """What is known of the steps before."""
        standing = self._tell({"ask": "standing", "step": part.step if part.what is What.GATHER else ""})
        for name, plain in cast("Mapping[str, Mapping[str, Json]]", standing["outputs"]).items():
            self._outputs[name] = Artifact.from_json(plain)
        self._skipped.update(cast("list[str]", standing["skipped"]))
        self._count = int(cast(int, standing["items"]))
        self._failed = cast("Message | None", standing["failed"])

    def _check(self, needs: Sequence[str], step: str) -> None:
        for need in needs:
            if need not in self._outputs and need not in self._skipped:
                hint = "let the platform start it after what it needs"
                raise StepFailed(step, Failed(f"step {need} has no result yet", where=f"step {step}", hint=hint))

    # what a part does otherwise than a whole run

    def _walk(self, agenda: Agenda, steps: Mapping[str, AnyStep]) -> None:
        """Everything was done by other parts, or it is said what was not."""
        if self._failed is not None:
            error = unpack_error(cast("Mapping[str, object]", self._failed["error"]))
            raise StepFailed(str(self._failed["step"]), error)

    def _fill(self, fan: Fan) -> None:
        self._fan = fan

    def _gather(self, agenda: Agenda, fan: Fan) -> None:
        """Items are parts of their own."""

    def _told(self, agenda: Agenda, work: Work, done: Message, *, may_retry: bool = True) -> None:
        super()._told(agenda, work, done, may_retry=may_retry and self._is_closing)


def _at_hand(graph: Graph, steps: Mapping[str, AnyStep], part: Part) -> list[AnyStep]:
    """The steps that are done here: only their secrets are there."""
    if part.what is What.CLOSE:
        return [steps[node.id] for node in graph.endings]
    return [steps[part.step]] if part.what in (What.STEP, What.ITEM) and part.step in steps else []
