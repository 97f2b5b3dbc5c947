"""Values of the room: what a step may be told, the graph of a pipeline, stored results, and runs as they stand."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field, replace
from enum import StrEnum
from types import FunctionType, ModuleType
from typing import Any, TypedDict, cast

from mainspring.core.canonical import canonical_json, digest
from mainspring.core.errors import Invalid
from mainspring.core.values import dataclass

KEY_VERSION = 1
"""Part of every cache key: a higher number makes all older results forgotten."""
Json = object
"""A plain JSON value."""


class Dataset(str):
    """Annotation of a parameter that names a dataset, with or without version: "flights" or "datasets/flights/3".

    Without a version the newest one is taken when the run starts, and stays for the whole run; the step gets the full
    reference, and the reference is part of its cache key.
    """

    __slots__ = ()

    @property
    def name(self) -> str:
        """The dataset's name, such as "flights"."""
        return self.split("/")[1] if "/" in self else str(self)

    @property
    def version(self) -> int | None:
        """The version, None when it is not said."""
        last = self.rpartition("/")[2]
        return int(last) if "/" in self and last.isdigit() else None


class RunState(StrEnum):
    """Where a pipeline run stands. `waiting` is for a person's answer; the last three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    PAUSED = "paused"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether nothing will change any more."""
        return self in (RunState.FINISHED, RunState.FAILED, RunState.CANCELLED)


class StepState(StrEnum):
    """Where a step stands in a run.

    `cached` is finished without having run here; `skipped` never had its turn; `asked` waits for a person's answer.
    """

    WAITING = "waiting"
    RUNNING = "running"
    ASKED = "asked"
    FINISHED = "finished"
    CACHED = "cached"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"

    @property
    def has_result(self) -> bool:
        """Whether there is a result that later steps can use."""
        return self in (StepState.FINISHED, StepState.CACHED)


class StepWords(TypedDict, total=False):
    """What `@step(...)` may be told, as it is written; `StepOptions` says what each word means."""

    cache: bool
    retries: int
    retry_in_s: float
    timeout_s: float | None
    side_effect: bool
    env: Sequence[str]
    files: Sequence[str]
    depends_on: Sequence[object]
    secrets: Sequence[str]
    cpu: float
    memory: str | int
    gpu: int
    process: bool
    here: bool


@dataclass(frozen=True, slots=True)
class Resources:
    """What a step takes of a machine, or what a machine has: cores, bytes of memory, graphics cards."""

    cpu: float = 0.0
    memory: int = 0
    gpu: int = 0

    def lacks(self, wanted: Resources) -> str:
        """What of `wanted` is more than this, in words; empty when nothing is."""
        missing = []
        if wanted.cpu > self.cpu:
            missing.append(f"{wanted.cpu:g} cores, there are {self.cpu:g}")
        if wanted.memory > self.memory:
            missing.append(f"{size_text(wanted.memory)} of memory, there are {size_text(self.memory)}")
        if wanted.gpu > self.gpu:
            missing.append(f"{wanted.gpu} graphics cards, there are {self.gpu}")
        return "; ".join(missing)

    def __add__(self, other: Resources) -> Resources:
        return Resources(self.cpu + other.cpu, self.memory + other.memory, self.gpu + other.gpu)

    def __sub__(self, other: Resources) -> Resources:
        return Resources(self.cpu - other.cpu, self.memory - other.memory, self.gpu - other.gpu)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one step of a run asked for, and what it took."""

    step: str
    asks: Resources
    seconds: float
    cpu_s: float
    memory: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """What a step asks for, the most it took, and what would do. `hint` is empty when nothing is off."""

    step: str
    runs: int
    asks: Resources
    took: Resources
    enough: Resources
    hint: str


_UNITS = {"": 1, "B": 1, "KB": 2**10, "MB": 2**20, "GB": 2**30, "TB": 2**40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?B?)", re.IGNORECASE)


def size_of(text: str | int) -> int:
    """Bytes that a text such as "2GB" or "512 MiB" means; a unit is 1024 of the one below.

    Raises:
        Invalid: It is no such text.

    >>> size_of("1.5GB")
    1610612736
    """
    found = _SIZE.fullmatch(str(text).strip())
    if found is None:
        raise Invalid(f"{text!r} is no size", where="step memory", hint='write it like "512MB" or "4GB"')
    return round(float(found[1]) * _UNITS[f"{found[2].upper()}B" if found[2] else ""])


def size_text(size: int) -> str:
    """Bytes in words.

    >>> size_text(1610612736)
    '1.5 GB'
    """
    unit = next((name for name in ("TB", "GB", "MB", "KB") if size >= _UNITS[name]), "B")
    return f"{size / _UNITS[unit]:.4g} {unit}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOptions:
    """How a step is run.

    Args:
        cache: Take a stored result when nothing that it depends on has changed.
        retries: How often it is tried again after an error.
        retry_in_s: Longest wait before the first new try; it doubles with every try, and up to half of it is left to
            chance, so that steps that failed together come back apart.
        timeout_s: Seconds it may take (in a process); None for no limit.
        side_effect: It changes the world outside: never taken from the cache, even when `cache` is set.
        env: Environment variables whose values are part of the cache key.
        files: Files, relative to the function's file, whose content is part of the cache key.
        depends_on: "module" or "module:function", for code that is reached by names made at run time.
        secrets: Names of secrets it may read by `context().secret(name)`.
        resources: What it takes of the machine. In a process of its own `memory` is also its limit.
        process: Run it in a process of its own.
        here: Run it beside the worker, where others run on nodes of a cluster.
    """

    cache: bool = True
    retries: int = 0
    retry_in_s: float = 1.0
    timeout_s: float | None = None
    side_effect: bool = False
    env: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    resources: Resources = Resources()
    process: bool = False
    here: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.retries <= 100:
            raise Invalid(f"{self.retries} retries asked for", where="step retries", hint="use 0 to 100")
        if self.timeout_s is not None and self.timeout_s <= 0:
            raise Invalid(f"a time limit of {self.timeout_s} s", where="step timeout_s", hint="use a number above 0")
        if self.retry_in_s < 0:
            raise Invalid(f"a new try in {self.retry_in_s} s", where="step retry_in_s", hint="use 0 or more")
        if min(self.resources.cpu, self.resources.memory, self.resources.gpu) < 0:
            raise Invalid("less than nothing asked for", where="step cpu, memory, gpu", hint="use 0 or more")

    @classmethod
    def of(cls, words: StepWords) -> StepOptions:
        """The options that these words of `@step(...)` mean."""
        given = cast("dict[str, Sequence[object]]", words)
        plain = {name: given[name] for name in _PLAIN if name in words}
        names = {name: tuple(map(str, given[name])) for name in ("env", "files", "secrets") if name in words}
        return cls(
            **cast("dict[str, Any]", plain | names),
            depends_on=tuple(_named_code(each) for each in words.get("depends_on", ())),
            resources=Resources(words.get("cpu", 0.0), size_of(words.get("memory", 0)), words.get("gpu", 0)),
        )

    @property
    def may_reuse(self) -> bool:
        """Whether a result of another run may be taken."""
        return self.cache and not self.side_effect


_PLAIN = ("cache", "retries", "retry_in_s", "timeout_s", "side_effect", "process", "here")


def _named_code(each: object) -> str:
    if isinstance(each, str):
        return each
    if isinstance(each, ModuleType):
        return each.__name__
    each = getattr(each, "function", each)
    if not isinstance(each, FunctionType):
        what = f"a {type(each).__name__} is no code"
        raise Invalid(what, where="step depends_on", hint='name a module, a function, or "module:function"')
    return f"{each.__module__}:{each.__qualname__}"


@dataclass(frozen=True, slots=True)
class Literal:
    """An argument that is known when the pipeline is drawn."""

    value: Json


@dataclass(frozen=True, slots=True)
class Result:
    """An argument that another step will give: its result, or the part of it at `path`."""

    step: str
    path: tuple[str | int, ...] = ()


@dataclass(frozen=True, slots=True)
class Items:
    """A list, tuple or dict of arguments. Keys of lists and tuples are "0", "1", ..."""

    kind: str
    entries: tuple[tuple[str, Argument], ...]


@dataclass(frozen=True, slots=True)
class Condition:
    """A question about results: `left op right`, where `op` is one of `<`, `<=`, `>`, `>=`, `==`, `!=`."""

    op: str
    left: Argument
    right: Argument


@dataclass(frozen=True, slots=True)
class Choice:
    """An argument that a condition decides between."""

    condition: Condition
    then: Argument
    otherwise: Argument


Argument = Literal | Result | Items | Choice


def results_in(argument: Argument) -> Iterator[Result]:
    """The results of other steps that an argument is made of, or may be made of."""
    if isinstance(argument, Result):
        yield argument
    elif isinstance(argument, Items):
        for _, entry in argument.entries:
            yield from results_in(entry)
    elif isinstance(argument, Choice):
        for each in (argument.condition.left, argument.condition.right, argument.then, argument.otherwise):
            yield from results_in(each)


@dataclass(frozen=True, slots=True)
class Guard:
    """A step has its turn only when the condition's answer is `wanted`."""

    condition: Condition
    wanted: bool


class Kind(StrEnum):
    """What a node of a graph is: a call, a call for each item of a list, or a question to a person."""

    CALL = "call"
    EACH = "each"
    ASK = "ask"


@dataclass(frozen=True, slots=True)
class Node:
    """A step in a graph. `function` is "module:name"; `arguments` are by parameter name.

    Args:
        id: Its name in the run.
        function: "module:name".
        options: How it is run.
        arguments: By parameter name.
        kind: What it is.
        item: For `each`: the parameter that takes an item; the argument of that name is the list.
        limit: For `each`: how many items at once; 0 for as many as there are processors.
        guards: The conditions it stands under, the outermost first.
        after: Approvals and gates that were called before it: it waits for them, though it takes nothing from them.
        group: The pipeline in the pipeline, or the round of the loop, that it belongs to.
    """

    id: str
    function: str
    options: StepOptions
    arguments: Mapping[str, Argument]
    kind: Kind = Kind.CALL
    item: str = ""
    limit: int = 0
    guards: tuple[Guard, ...] = ()
    group: str = ""
    after: tuple[str, ...] = ()

    @property
    def needs(self) -> tuple[str, ...]:
        """The steps it waits for, in the order of its arguments; those of its conditions last."""
        found = [r.step for a in self.arguments.values() for r in results_in(a)]
        for guard in self.guards:
            found += [r.step for side in (guard.condition.left, guard.condition.right) for r in results_in(side)]
        return tuple(dict.fromkeys([*found, *self.after]))


@dataclass(frozen=True, slots=True)
class Graph:
    """A pipeline with its parameters filled in: its steps, its result, and the datasets that parameters name.

    `on_failure` and `lastly` are nodes beside the others: the first runs when a step failed for good, the second at
    the end in any case.
    """

    pipeline: str
    params: Mapping[str, Json]
    nodes: tuple[Node, ...]
    result: Argument
    datasets: tuple[str, ...] = ()
    on_failure: Node | None = None
    lastly: Node | None = None

    @property
    def endings(self) -> tuple[Node, ...]:
        """The nodes that run when the others are done."""
        return tuple(node for node in (self.on_failure, self.lastly) if node is not None)


GROUPS = ("tuple", "list", "dict")
"""Codecs of artifacts that are made of others and have no bytes of their own."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """A stored value: the codec that reads it and the digest of its bytes, or a group of such values.

    A group has the codec "tuple", "list" or "dict", and the digest of its items. The bytes of a small value, when they
    are text, stand in `text`: it is stored with the step that made it, and there is no blob. None means there is one.
    """

    codec: str
    digest: str
    size_bytes: int
    items: tuple[tuple[str, Artifact], ...] = ()
    text: str | None = field(default=None, compare=False)

    @classmethod
    def group(cls, kind: str, items: tuple[tuple[str, Artifact], ...]) -> Artifact:
        """A group of stored values."""
        content = digest(canonical_json([kind, [[key, item.codec, item.digest] for key, item in items]]))
        return cls(kind, content, sum(item.size_bytes for _, item in items), items)

    def to_json(self) -> dict[str, Json]:
        """As a JSON object."""
        plain: dict[str, Json] = {"codec": self.codec, "digest": self.digest, "size_bytes": self.size_bytes}
        if self.items:
            plain["items"] = [[key, item.to_json()] for key, item in self.items]
        if self.text is not None:
            plain["text"] = self.text
        return plain

    @classmethod
    def from_json(cls, plain: Mapping[str, Json]) -> Artifact:
        """The artifact that `to_json` wrote."""
        items = cast("list[tuple[str, Mapping[str, Json]]]", plain.get("items", []))
        inner = tuple((key, cls.from_json(item)) for key, item in items)
        text = cast("str | None", plain.get("text"))
        return cls(sys.intern(str(plain["codec"])), str(plain["digest"]), cast(int, plain["size_bytes"]), inner, text)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyParts:
    """Everything a step's result depends on; its digest is the cache key. Values of `env` are digests, never plain.

    `code` has the digest of each definition and project module that the function reaches, `lock` the digest of the
    list of installed packages. `barrier` is not empty when the step cannot be cached, and says why.
    """

    function: str
    code: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, Json] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    datasets: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    lock: str = ""
    barrier: str = ""

    def to_json(self) -> dict[str, Json]:
        """As a JSON object, empty parts left out."""
        named = {name: getattr(self, name) for name in self.__slots__}
        return {name: dict(v) if isinstance(v, Mapping) else v for name, v in named.items() if v}

    @classmethod
    def from_json(cls, plain: Mapping[str, Json]) -> KeyParts:
        """The parts that `to_json` wrote."""
        return cls(**cast("dict[str, str]", dict(plain)))  # type: ignore[arg-type]

    def key(self) -> str:
        """The cache key: 64 hex digits."""
        return digest(canonical_json([KEY_VERSION, self.to_json()]))


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between two keys: the part ("code", "params", ...), the name in it, and both values."""

    part: str
    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Why:
    """Why a step ran, or why it did not. `compared_with` is the earlier run, empty when there was none."""

    step: str
    state: StepState
    compared_with: str
    changes: tuple[Change, ...]
    reason: str

    def lines(self) -> list[str]:
        """The answer in words: the reason, and one line for each difference."""
        changed = [f"  {c.part} {c.name}: {c.before} -> {c.after}".replace(" :", ":") for c in self.changes]
        return [f"{self.step}: {self.reason}", *changed]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A question to a person, and the answer once there is one (`approved` is not None, `by` says who, `at` when).

    Args:
        question: What is asked.
        about: What it is about: the digest of each result that was shown.
        until: When it counts as refused, microseconds; 0 for never.
        by_another: Whoever asked for the run may not answer.
        earlier: The same question as it was answered before the run was resumed, or about other results; oldest first.
    """

    question: str
    about: Mapping[str, str] = field(default_factory=dict)
    until: int = 0
    by_another: bool = False
    approved: bool | None = None
    by: str = ""
    at: int = 0
    comment: str = ""
    earlier: tuple[Decision, ...] = ()

    @property
    def answered(self) -> tuple[Decision, ...]:
        """All answers so far, this one too when it has one."""
        return self.earlier if self.approved is None else (*self.earlier, replace(self, earlier=()))

    def to_json(self) -> dict[str, Json]:
        """As a JSON object."""
        plain: dict[str, Json] = {name: getattr(self, name) for name in self.__slots__ if name != "earlier"}
        return plain | {"earlier": [each.to_json() for each in self.earlier]}

    @classmethod
    def from_json(cls, plain: Mapping[str, Json]) -> Decision:
        """The decision that `to_json` wrote."""
        earlier = cast("Sequence[Mapping[str, Json]]", plain.get("earlier", ()))
        return cls(**{**plain, "earlier": tuple(map(cls.from_json, earlier))})  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRun:
    """A step in a run. Times are microseconds UTC, 0 for never; `source` is the run a cached result is from.

    `parent` is the step whose item it is, `group` what it belongs to besides; `cpu_s` and `memory` are what it took.
    """

    id: str
    function: str
    needs: tuple[str, ...]
    state: StepState
    parent: str = ""
    group: str = ""
    kind: Kind = Kind.CALL
    attempt: int = 0
    key: str = ""
    parts: KeyParts | None = None
    output: Artifact | None = None
    error: str = ""
    error_code: str = ""
    log: str = ""
    source: str = ""
    started_at: int = 0
    finished_at: int = 0
    cpu_s: float = 0.0
    memory: int = 0
    decision: Decision | None = None

    @property
    def seconds(self) -> float | None:
        """How long it took, None while that is not known."""
        return (self.finished_at - self.started_at) / 1e6 if self.started_at and self.finished_at else None


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineRun:
    """One run of a pipeline. Its id is also the id of its tracked run, when there is one (`tracked`).

    `result` is the JSON value that the pipeline function returned; `attempt` counts the workers that had it.
    """

    id: str
    pipeline: str
    target: str
    params: Mapping[str, Json]
    state: RunState
    engine: str
    job_id: str = ""
    attempt: int = 0
    tracked: bool = False
    result: Json = None
    error: str = ""
    error_code: str = ""
    cache: bool = True
    priority: int = 0
    actor: str = ""
    created_at: int = 0
    started_at: int = 0
    finished_at: int = 0
    steps: tuple[StepRun, ...] = ()

    @property
    def ref(self) -> str:
        """The reference, such as `pipeline-runs/0199...`."""
        return f"pipeline-runs/{self.id}"

    @property
    def seconds(self) -> float | None:
        """How long it took, None while that is not known."""
        return (self.finished_at - self.started_at) / 1e6 if self.started_at and self.finished_at else None

    def step(self, step_id: str) -> StepRun | None:
        """One step, None when the run has no such step (yet)."""
        return next((step for step in self.steps if step.id == step_id), None)
