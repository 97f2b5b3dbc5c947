"""Values of parts: what one is, how it ended, and how the nodes of a graph are grouped by their conditions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from enum import StrEnum
from itertools import groupby

from mainspring.core.canonical import canonical_json, digest
from mainspring.core.errors import Invalid, MainspringError, did_you_mean
from mainspring.core.values import dataclass
from mainspring.engines import Message
from mainspring.pipelines.model import Graph, Guard, Json, Kind, Node
from mainspring.pipelines.planning import plan_of_node

AGAIN = 75
"""Exit code of a part that may be tried again, as `EX_TEMPFAIL` of sysexits."""


class What(StrEnum):
    """What is done of a step.

    `open` fixes datasets and code of the run, `step` does a step, `list` counts the items of one that goes through a
    list, `item` does one of them, `gather` collects them, `decide` says whether a step and those that stand under the
    same condition have their turn, and `close` does what comes at the end and ends the run.
    """

    OPEN = "open"
    STEP = "step"
    LIST = "list"
    ITEM = "item"
    GATHER = "gather"
    DECIDE = "decide"
    CLOSE = "close"


_ALONE = (What.OPEN, What.CLOSE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of a run.

    Args:
        what: What is done.
        step: The step; of a condition, the first that stands under it. Empty for `open` and `close`.
        item: For `item`: which, from 0.
        depth: For `decide`: which of the step's conditions, the outermost is 0.
        shape: Digest of the graph that the platform goes by; empty does not compare.
    """

    what: What
    step: str = ""
    item: int = 0
    depth: int = 0
    shape: str = ""

    def __post_init__(self) -> None:
        if (not self.step) is not (self.what in _ALONE):
            hint = f"--step NAME for all but {' and '.join(_ALONE)}"
            raise Invalid(f"{self.what} of {self.step or 'no step'}", where="part", hint=hint)
        if self.item < 0 or self.depth < 0:
            raise Invalid("a number below 0", where="part", hint="count from 0")

    @property
    def row(self) -> str:
        """The step of the run that it is about."""
        return f"{self.step}.{self.item}" if self.what is What.ITEM else self.step

    @property
    def is_recorded(self) -> bool:
        """Whether the run remembers that it was done."""
        return self.what not in (What.LIST, What.DECIDE)

    def to_json(self) -> Message:
        """As plain JSON."""
        return {**asdict(self)}

    @classmethod
    def from_json(cls, plain: Message) -> Part:
        """The part that `to_json` wrote."""
        return cls(**{**plain, "what": What(str(plain["what"]))})  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True, kw_only=True)
class PartEnd:
    """How a part ended: with a `value` (a count or a decision), with an `error`, or so that it may be tried again."""

    value: Json = None
    error: MainspringError | None = None
    is_again: bool = False


@dataclass(frozen=True, slots=True)
class Branch:
    """Nodes that stand under one condition, one after the other in the order of the drawing."""

    guard: Guard
    depth: int
    inside: tuple[Node | Branch, ...]

    @property
    def nodes(self) -> Iterator[Node]:
        """All nodes in it, also under further conditions."""
        for each in self.inside:
            yield from each.nodes if isinstance(each, Branch) else (each,)

    @property
    def first(self) -> str:
        """The first of them, which it is known by."""
        return next(self.nodes).id


def branches(nodes: Sequence[Node], depth: int = 0) -> tuple[Node | Branch, ...]:
    """The nodes of a graph, those under a condition together.

    Nodes of one branch follow one another, so whatever needs one of them, and stands outside, comes after all of them.
    """
    found: list[Node | Branch] = []
    for guard, group in groupby(nodes, key=lambda node: node.guards[depth] if len(node.guards) > depth else None):
        members = list(group)
        found += members if guard is None else [Branch(guard, depth, branches(members, depth + 1))]
    return tuple(found)


def find_branch(graph: Graph, part: Part) -> Branch:
    """The branch that a part decides about.

    Raises:
        Invalid: There is none.
    """
    looked: list[Node | Branch] = [*branches(graph.nodes)]
    for each in looked:
        if isinstance(each, Branch):
            if each.depth == part.depth and each.first == part.step:
                return each
            looked += each.inside
    raise Invalid(f"no condition {part.depth} begins at {part.step!r}", where="part", hint="export the pipeline again")


def find_node(graph: Graph, part: Part) -> Node:
    """The node of a part.

    Raises:
        Invalid: There is none, or it is of another kind.
    """
    names = {node.id: node for node in graph.nodes}
    if part.step not in names:
        hint = did_you_mean(part.step, names) or f"it has {', '.join(names)}"
        raise Invalid(f"no step {part.step!r} in {graph.pipeline}", where="part", hint=hint)
    node = names[part.step]
    if (node.kind is Kind.EACH) is (part.what is What.STEP) or node.kind is Kind.ASK:
        hint = "list, item and gather are for steps that go through a list, step is for the others"
        raise Invalid(f"{part.what} of {part.step}, which is {node.kind}", where="part", hint=hint)
    return node


def shape_of(graph: Graph) -> str:
    """A digest of the steps of a graph, their needs, conditions and options: what a platform goes by.

    Modules do not count: where a file is imported from is not the same everywhere.
    """
    ends = [None if node is None else _plan(node) for node in (graph.on_failure, graph.lastly)]
    return digest(canonical_json([graph.pipeline, [_plan(node) for node in graph.nodes], ends]))[:32]


def _plan(node: Node) -> dict[str, Json]:
    plan, name = plan_of_node(node), node.function.rpartition(":")[2]
    return {**plan, "function": name, "limit": node.limit, "guards": repr(node.guards)}
