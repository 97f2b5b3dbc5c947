"""What the runner tells its ledger about a pipeline before anything runs, and which node has its turn when."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping

from mainspring.engines import Message
from mainspring.pipelines.keys import Code
from mainspring.pipelines.model import Argument, Graph, Json, Kind, Literal, Node


class Agenda:
    """Gives out nodes in an order in which each comes after all that it needs.

    Args:
        nodes: The nodes; their needs form no circle.
    """

    def __init__(self, nodes: Iterable[Node]) -> None:
        self._open: dict[str, int] = {}
        self._followers: defaultdict[str, list[Node]] = defaultdict(list)
        self.ready: deque[Node] = deque()
        for node in nodes:
            needs = node.needs
            self._open[node.id] = len(needs)
            for need in needs:
                self._followers[need].append(node)
            if not needs:
                self.ready.append(node)

    def done(self, name: str) -> None:
        """A node is settled, well or by being skipped: what waited for it alone has its turn.

        It is not kept any longer: of ten thousand steps only those that are to come take room.
        """
        self._open.pop(name, None)
        for node in self._followers.pop(name, ()):
            self._open[node.id] -= 1
            if not self._open[node.id]:
                self.ready.append(node)


def plan_of(graph: Graph, codes: Mapping[str, Code]) -> Message:
    """The whole pipeline, for the ledger.

    Args:
        graph: Its drawing.
        codes: The code of each step, and of the pipeline itself.
    """
    steps = [plan_of_node(node) for node in graph.nodes]
    steps += [plan_of_node(node) | {"ending": True} for node in graph.endings]
    return {
        "ask": "plan",
        "pipeline": graph.pipeline,
        "params": dict(graph.params),
        "steps": steps,
        "datasets": list(graph.datasets),
        "code": {name: code.digest for name, code in codes.items() if not code.barrier},
    }


def plan_of_node(node: Node, parent: str = "") -> dict[str, Json]:
    """What the ledger has to know of a node. What is as usual is left out: there may be ten thousand of them."""
    options = node.options
    said: dict[str, Json] = {
        "retries": options.retries,
        "retry_in_s": options.retry_in_s if options.retries else 0.0,
        "timeout_s": options.timeout_s,
        "cpu": options.resources.cpu,
        "memory": options.resources.memory,
        "gpu": options.resources.gpu,
        "kind": node.kind if node.kind is not Kind.CALL else "",
        "group": node.group,
        "parent": parent,
    }
    known = {"id": node.id, "function": node.function, "needs": list(node.needs), "may_reuse": options.may_reuse}
    return {**known, **{name: value for name, value in said.items() if value}}


def ending_arguments(node: Node, facts: Mapping[str, Json]) -> dict[str, Argument]:
    """The argument of a node that runs at the end: what became of the run."""
    return {name: Literal(dict(facts)) for name in node.arguments}
