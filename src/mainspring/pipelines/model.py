"""Values of the room: what a step may be told, the graph of a pipeline, stored results, and runs as they stand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import cast

from mainspring.core.canonical import canonical_json, digest
from mainspring.core.errors import Invalid

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
        """The dataset's name.

        >>> Dataset("datasets/flights/3").name
        'flights'
        """
        return self.split("/")[1] if "/" in self else str(self)

    @property
    def version(self) -> int | None:
        """The version, None when it is not said."""
        last = self.rpartition("/")[2]
        return int(last) if "/" in self and last.isdigit() else None


class RunState(StrEnum):
    """Where a pipeline run stands. The last three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether nothing will change any more."""
        return self not in (RunState.QUEUED, RunState.RUNNING)


class StepState(StrEnum):
    """Where a step stands in a run. `cached` is finished without having run here; `skipped` never had its turn."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"
    CACHED = "cached"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"

    @property
    def has_result(self) -> bool:
        """Whether there is a result that later steps can use."""
        return self in (StepState.FINISHED, StepState.CACHED)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOptions:
    """How a step is run.

    Args:
        cache: Take a stored result when nothing that it depends on has changed.
        retries: How often it is tried again after an error.
        retry_in_s: Seconds before the first new try; they double with every try.
        timeout_s: Seconds it may take (process engine); None for no limit.
        side_effect: It changes the world outside: never taken from the cache, even when `cache` is set.
        env: Environment variables whose values are part of the cache key.
        files: Files, relative to the function's file, whose content is part of the cache key.
    """

    cache: bool = True
    retries: int = 0
    retry_in_s: float = 1.0
    timeout_s: float | None = None
    side_effect: bool = False
    env: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.retries <= 100:
            raise Invalid(f"{self.retries} retries asked for", where="step retries", hint="use 0 to 100")
        if self.timeout_s is not None and self.timeout_s <= 0:
            raise Invalid(f"a time limit of {self.timeout_s} s", where="step timeout_s", hint="use a number above 0")
        if self.retry_in_s < 0:
            raise Invalid(f"a new try in {self.retry_in_s} s", where="step retry_in_s", hint="use 0 or more")

    @property
    def may_reuse(self) -> bool:
        """Whether a result of another run may be taken."""
        return self.cache and not self.side_effect


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


Argument = Literal | Result | Items


def results_in(argument: Argument) -> Iterator[Result]:
    """The results of other steps that an argument is made of."""
    if isinstance(argument, Result):
        yield argument
    elif isinstance(argument, Items):
        for _, entry in argument.entries:
            yield from results_in(entry)


@dataclass(frozen=True, slots=True)
class Node:
    """A step in a graph. `function` is "module:name"; `arguments` are by parameter name."""

    id: str
    function: str
    options: StepOptions
    arguments: Mapping[str, Argument]

    @property
    def needs(self) -> tuple[str, ...]:
        """The steps it waits for, in the order of its arguments."""
        return tuple(dict.fromkeys(r.step for a in self.arguments.values() for r in results_in(a)))


@dataclass(frozen=True, slots=True)
class Graph:
    """A pipeline with its parameters filled in: its steps, its result, and the datasets that parameters name."""

    pipeline: str
    params: Mapping[str, Json]
    nodes: tuple[Node, ...]
    result: Argument
    datasets: tuple[str, ...] = ()


GROUPS = ("tuple", "list", "dict")
"""Codecs of artifacts that are made of others and have no bytes of their own."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """A stored value: the codec that reads it and the digest of its bytes, or a group of such values.

    A group has the codec "tuple", "list" or "dict", and the digest of its items.
    """

    codec: str
    digest: str
    size_bytes: int
    items: tuple[tuple[str, Artifact], ...] = ()

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
        return plain

    @classmethod
    def from_json(cls, plain: Mapping[str, Json]) -> Artifact:
        """The artifact that `to_json` wrote."""
        items = cast("list[tuple[str, Mapping[str, Json]]]", plain.get("items", []))
        inner = tuple((key, cls.from_json(item)) for key, item in items)
        return cls(str(plain["codec"]), str(plain["digest"]), int(cast(int, plain["size_bytes"])), inner)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRun:
    """A step in a run. Times are microseconds UTC, 0 for never; `source` is the run a cached result is from."""

    id: str
    function: str
    needs: tuple[str, ...]
    state: StepState
    attempt: int = 0
    key: str = ""
    parts: KeyParts | None = None
    output: Artifact | None = None
    error: str = ""
    log: str = ""
    source: str = ""
    started_at: int = 0
    finished_at: int = 0

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
