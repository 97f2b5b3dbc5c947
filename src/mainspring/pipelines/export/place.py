"""Where an exported pipeline is to run, and when."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field
from typing import Protocol

from mainspring.core.errors import Invalid
from mainspring.core.values import dataclass
from mainspring.pipelines.model import Graph, Json, Kind, Node, StepOptions

MOST_NAME = 52
"""Of a CronJob: what it starts gets eleven characters more, and 63 are allowed."""
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_KEY = re.compile(r"[A-Za-z0-9._-]{1,253}")
STORES = ("MAINSPRING_STORAGE_DB", "MAINSPRING_STORAGE_BLOBS")
DATA = "MAINSPRING_STORAGE_DATA"
"""Variables that say where a house keeps what it keeps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a pipeline is to run.

    Args:
        image: Container image with Mainspring and the project; its working directory is the project's folder.
        name: Of what is made; by default made of the pipeline's.
        namespace: Empty leaves it to `kubectl`.
        env: Variables by name.
        secret: The Secret that holds what steps read by `context().secret(name)`, by name.
        secret_env: Variables that are read from a Secret: its name and the key in it, by variable.
        volumes: Where claims of volumes are mounted: a path by the claim's name.
        cpu: Cores of a container that runs all steps; 0 for the most that a step asks for.
        memory: Bytes, likewise.
        retries: How often a container that died is started again.
        deadline_s: Seconds after which it is stopped; 0 is made of the time limits of the steps, where all have one.
        workers: Pods of a Ray cluster besides its head.
        ray_version: Of Ray in the image, for a Ray cluster.
    """

    image: str
    name: str = ""
    namespace: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    secret: str = ""
    secret_env: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    volumes: Mapping[str, str] = field(default_factory=dict)
    cpu: float = 0.0
    memory: int = 0
    retries: int = 3
    deadline_s: int = 0
    workers: int = 1
    ray_version: str = ""

    def __post_init__(self) -> None:
        """Raises: Invalid: No image, or a name, number or path that is none."""
        if not re.fullmatch(r"[^\s'\"]+", self.image):
            raise Invalid(f"{self.image[:60]!r} is no image", where="--image", hint="--image REGISTRY/project:TAG")
        for where, name in (("--name", self.name), ("--namespace", self.namespace), ("--secret", self.secret)):
            if name:
                check_label(name, where)
        for name in (*self.env, *self.secret_env):
            if not _VARIABLE.fullmatch(name):
                raise Invalid(f"{name[:60]!r} names no variable", where="--env", hint="--env NAME=VALUE")
        for name in sorted({*self.env} & {*self.secret_env}):
            raise Invalid(f"{name} is said twice", where="--env", hint="leave one of --env and --secret-env out")
        for variable, (secret, key) in self.secret_env.items():
            check_label(secret, "--secret-env")
            if not _KEY.fullmatch(key):
                hint = f"--secret-env {variable}=SECRET/KEY"
                raise Invalid(f"{key[:60]!r} is no key of a Secret", where="--secret-env", hint=hint)
        for claim, path in self.volumes.items():
            check_label(claim, "--volume")
            if not re.fullmatch(r"(/[^/:\s]+)+", path):
                raise Invalid(f"{path[:60]!r} is no path", where="--volume", hint=f"--volume {claim}:/srv/project")
        self._check_numbers()
        if re.match(r"\w+://[^/@]*:[^/@]*@", self.env.get(STORES[0], "")):
            hint = f"--secret-env {STORES[0]}=SECRET/KEY keeps it out of the file"
            raise Invalid("the address of the database has its password in it", where="--env", hint=hint)

    def _check_numbers(self) -> None:
        if not 0 <= self.cpu < 10_000 or not 0 <= self.memory < 2**60:
            raise Invalid("no pod has that much", where="--cpu, --memory", hint="--cpu 4 --memory 8GB")
        if not 0 <= self.retries <= 100:
            raise Invalid(f"{self.retries} retries", where="--retries", hint="use 0 to 100")
        if not 0 <= self.deadline_s < 2**31:
            raise Invalid(f"a deadline of {self.deadline_s} s", where="--deadline", hint="--deadline 2h")
        if not 0 <= self.workers <= 10_000:
            raise Invalid(f"{self.workers} workers", where="--workers", hint="use 0 or more")

    def check_keeps(self) -> None:
        """What runs there must keep its results where the next container finds them.

        Raises:
            Invalid: It would keep them in the container.
        """
        missing = [name for name in STORES if name not in self.env and name not in self.secret_env]
        folder = self.env.get(DATA, "")
        if missing and not any(f"{folder}/".startswith(f"{path}/") for path in self.volumes.values()):
            hint = (
                f"--secret-env {STORES[0]}=SECRET/KEY --env {STORES[1]}=s3://BUCKET, "
                f"or --volume CLAIM:/srv --env {DATA}=/srv/mainspring"
            )
            what = f"nobody says what {' and '.join(missing)} are there: results would go with the container"
            raise Invalid(what, where="--env", hint=hint)

    def secrets_of(self, node: Node) -> dict[str, tuple[str, str]]:
        """Variables of a step that are read from a Secret: its own secrets, and those of the house.

        Raises:
            Invalid: It reads a secret, and nobody says in which Secret that is.
        """
        found = dict(self.secret_env)
        for name in node.options.secrets:
            if name in found:
                continue
            if not self.secret:
                hint = f"--secret NAME of the Secret that has {name}"
                raise Invalid(f"nobody says where the secret {name} is", where=f"step {node.id}", hint=hint)
            found[name] = (self.secret, name)
        return found

    def check_env(self, node: Node) -> None:
        """A variable that a step declares is said by somebody.

        Raises:
            Invalid: It is not.
        """
        for name in node.options.env:
            if name not in self.env and name not in self.secret_env:
                hint = f"--env {name}=VALUE"
                raise Invalid(f"nobody says what {name} is there", where=f"step {node.id}", hint=hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When a pipeline is to run, as a trigger says it.

    Args:
        cron: Five fields, or a word such as `@daily`.
        zone: Time zone.
        catch_up: What is done about times that passed: `skip`, `latest` or `all`.
        pipeline: What the trigger runs; empty where it was given by hand.
        params: With which parameters.
    """

    cron: str
    zone: str = "UTC"
    catch_up: str = "latest"
    pipeline: str = ""
    params: Mapping[str, Json] = field(default_factory=dict)


class Schedules(Protocol):
    """Reads schedules; the house says who does it."""

    def of_trigger(self, name: str) -> Schedule:
        """The schedule of a declared trigger.

        Raises:
            NotFound: There is none of that name.
            Invalid: It has no schedule, or says what a CronJob cannot.
        """
        ...

    def of_text(self, cron: str, zone: str) -> Schedule:
        """A schedule that was given by hand.

        Raises:
            Invalid: It is none, or there is no such time zone.
        """
        ...


def check_label(name: str, where: str) -> str:
    """A name that Kubernetes takes.

    Raises:
        Invalid: It is none.
    """
    if len(name) > MOST_NAME or not _NAME.fullmatch(name):
        hint = f"use 1 to {MOST_NAME} small letters, digits and '-'"
        raise Invalid(f"{name[:60]!r} is no name in Kubernetes", where=where, hint=hint)
    return name


def label(text: str) -> str:
    """A text with nothing but what a name in Kubernetes may have.

    >>> label("My_Model.v2")
    'my-model-v2'
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def name_of(graph: Graph, place: Place) -> str:
    """What the thing that runs a pipeline is called.

    Raises:
        Invalid: The pipeline's own name makes none.
    """
    return place.name or check_label(label(graph.pipeline), "--name")


def nodes_of(graph: Graph) -> tuple[Node, ...]:
    """The nodes of a pipeline, those at its end included.

    Raises:
        Invalid: One of them asks a person.
    """
    for node in graph.nodes:
        if node.kind is Kind.ASK:
            hint = "leave it to `mainspring up`, which waits for days; or let a gate decide: flow.gate(...)"
            raise Invalid("it asks a person, for whom no container waits", where=f"step {node.id}", hint=hint)
    return (*graph.nodes, *graph.endings)


def deadline_of(nodes: tuple[Node, ...], place: Place) -> int:
    """Seconds after which all steps are over, one after the other with all their tries; 0 when one has no limit."""
    if place.deadline_s:
        return place.deadline_s
    if any(node.options.timeout_s is None or node.kind is Kind.EACH for node in nodes):
        return 0
    return round(sum(_longest(node.options) for node in nodes)) * (place.retries + 1)


def _longest(options: StepOptions) -> float:
    waits = sum(min(300.0, options.retry_in_s * 2.0**number) for number in range(options.retries))
    return (options.timeout_s or 0.0) * (options.retries + 1) + waits
