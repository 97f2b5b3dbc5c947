"""What the model server shall serve (`plan.json`), and what each worker says it serves (`applied-WORKER.json`).

Both files are replaced atomically. The plan is written by the serving room alone; a worker that has loaded and warmed
everything in it answers with the plan's generation.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import field, replace
from pathlib import Path
from typing import Literal, cast

import msgspec

from mainspring.core.errors import Corrupt, Invalid
from mainspring.core.settings import fill
from mainspring.core.values import dataclass
from mainspring.registry.apart import Own
from mainspring.serving.rules.conformal import Interval
from mainspring.serving.rules.humility import Rule, Seen

PLAN = "plan.json"
SPOOLS = "spool"
DEATHS = "deaths"
HEADER = "header"
"""The arm of a request that a header brought to a version."""
SHADOW = "shadow"
"""The arm of a version that is asked what others answered."""
_MAX_DEATHS_BYTES = 64 * 1024


def shadows_of(endpoint: str) -> str:
    """What the rows of an endpoint's shadows are called in the spools, and the Delta table they are moved to."""
    return f"shadows/{endpoint}"


class ArmPlan(msgspec.Struct, frozen=True, kw_only=True):
    """One version behind an endpoint. A share of 0 keeps it loaded for requests that name it.

    `grant` is the signed line that lets a pickle be loaded; empty for every other format. `seen` is what training saw
    of the inputs, for the rules of the endpoint; `half_width` is that of its intervals, `set_limit` how unlikely a
    class in its sets may be; `means` are those of training, and the shares of levels, for the reason codes of linear
    models.
    """

    name: str
    version: int
    share: float
    folder: str
    digest: str = ""
    grant: str = ""
    seen: dict[str, Seen] = {}
    half_width: float | None = None
    set_limit: float | None = None
    own: Own | None = None
    means: dict[str, float | dict[str, float]] = {}


@dataclass(frozen=True, slots=True)
class ViewUse:
    """A feature view that fills in what a request leaves out.

    Args:
        view: "NAME", which becomes the version that is newest when it is deployed, or "NAME/VERSION".
        otherwise: What happens where nothing is known of an entity, or nothing that still holds: "refuse" the request,
            take the inputs as missing ("null"), or take "default" values.
        defaults: Those, by input.
    """

    view: str
    otherwise: Literal["refuse", "null", "default"] = "refuse"
    defaults: dict[str, float | str | bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises: Invalid: No view, another fate, or defaults that are none."""
        if not self.view:
            raise Invalid("no feature view", where="features", hint='view = "NAME"')
        if self.otherwise not in ("refuse", "null", "default"):
            raise Invalid(f"otherwise {self.otherwise!r}", where=self.view, hint="use refuse, null or default")
        if (self.otherwise == "default") != bool(self.defaults):
            hint = 'otherwise = "default" and defaults = { INPUT = VALUE }'
            raise Invalid(f"otherwise {self.otherwise!r} with {len(self.defaults)} values", where=self.view, hint=hint)

    @classmethod
    def of(cls, text: str) -> ViewUse:
        """From "VIEW", "VIEW:null", or "VIEW:INPUT=VALUE,INPUT=VALUE".

        >>> ViewUse.of("carriers:delay=0").defaults
        {'delay': 0}
        """
        view, _, fate = text.partition(":")
        if "=" not in fate:
            return cls(view, cast("Literal['refuse', 'null']", fate or "refuse"))
        pairs = (pair.partition("=") for pair in fate.split(","))
        return cls(view, "default", {name.strip(): _value(value.strip()) for name, _, value in pairs})

    @property
    def text(self) -> str:
        """In words."""
        given = ", ".join(f"{name} {value}" for name, value in self.defaults.items())
        fates = {"refuse": "refused", "null": "taken as missing", "default": f"taken as {given}"}
        return f"what it does not know is {fates[self.otherwise]}"


def _value(text: str) -> float | str | bool:
    try:
        found = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
    return found if isinstance(found, (float, int, str, bool)) else text


@dataclass(frozen=True, slots=True)
class Options:
    """How an endpoint answers, whatever version is behind it.

    Args:
        deadline_ms: How long an answer may take where the client does not say; 0 leaves it to the server.
        on_log_failure: What happens to a prediction that can't be logged: "refuse" it with 503, or "answer" it and
            count it as lost.
        redact: Inputs that are never written: the log has them as missing.
        rules: What happens to rows on which the model should not be trusted alone.
        interval: Goes with every number that is predicted, as `low` and `high`.
        log_share: Part of the requests that are logged, by a hash of their ids: 1 all, 0 none. What is not logged takes
            no feedback, and monitors and rollouts don't see it.
        max_open_reviews: So many predictions wait for a person at most. While the queue is full, rows keep the answer
            that they got and are in the log with the rule that held, but are not put before anybody later either.
        idle_s: A worker that nobody asks for it so long unloads its models, until somebody does; 0 never.
        cold_ms: How long a request waits for models to be loaded again before it is refused with 503.
        process: Where models are: in the "server", or each in a process of its "own", which has the packages that the
            version was made with where those here are no substitute.
        threads: How many threads numeric libraries take in such a process; 0 as many as in the server.
        cores: Cores that such a process runs on; empty lets the system choose.
        features: Feature views that fill in inputs that requests leave out.
    """

    deadline_ms: int = 0
    on_log_failure: Literal["refuse", "answer"] = "refuse"
    redact: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()
    interval: Interval | None = None
    log_share: float = 1.0
    max_open_reviews: int = 1_000
    idle_s: int = 0
    cold_ms: int = 10_000
    process: Literal["server", "own"] = "server"
    threads: int = 0
    cores: tuple[int, ...] = ()
    features: tuple[ViewUse, ...] = ()

    def __post_init__(self) -> None:
        """Raises: Invalid: A time or queue out of range, a log failure with another fate, or a share that is none."""
        if not 0 <= self.max_open_reviews <= 1_000_000:
            said = f"a queue of {self.max_open_reviews}"
            raise Invalid(said, where="options", hint="use max_open_reviews from 0 to 1000000")
        if not 0 <= self.idle_s <= 31_536_000:
            raise Invalid(f"idle_s is {self.idle_s}", where="options", hint="use 1 to 31536000 seconds, or 0 for never")
        if not 1 <= self.cold_ms <= 3_600_000:
            raise Invalid(f"cold_ms is {self.cold_ms}", where="options", hint="use 1 to 3600000")
        if not 0.0 <= self.log_share <= 1.0:
            raise Invalid(f"a log of {self.log_share:g} of all requests", where="options", hint="use 0 to 1")
        if not 0 <= self.deadline_ms <= 3_600_000:
            raise Invalid(
                f"a deadline of {self.deadline_ms} ms", where="options", hint="use 1 to 3600000, or 0 for none"
            )
        if self.on_log_failure not in ("refuse", "answer"):
            raise Invalid(f"on_log_failure {self.on_log_failure!r}", where="options", hint="use refuse or answer")
        self._check_process()

    def _check_process(self) -> None:
        if self.process not in ("server", "own"):
            raise Invalid(f"process {self.process!r}", where="options", hint="use server or own")
        if not 0 <= self.threads <= 1024 or any(core < 0 for core in self.cores):
            raise Invalid(f"{self.threads} threads on cores {self.cores}", where="options", hint="use 0 or more")
        if (self.threads or self.cores) and self.process != "own":
            what = "threads and cores are those of a process of its own"
            raise Invalid(what, where="options", hint='process = "own"')


def options_of(section: object, where: str) -> Options:
    """Options as they are written in settings or a file; `model` and `version` say whose they are, and are passed over.

    Raises:
        Invalid: A name or value in it is not known or not right.
    """
    if not isinstance(section, Mapping):
        raise Invalid(f"{where} is a value", where=where, hint=f"write a section: [{where}]")
    given = {key: value for key, value in section.items() if key not in ("model", "version")}
    if "rules" in given:
        given["rules"] = rules_of(given["rules"], where)
    if isinstance(given.get("interval"), Mapping):
        given["interval"] = fill(Interval, cast("Mapping[str, object]", given["interval"]), where=f"{where}.interval")
    if "cores" in given:
        given["cores"] = _numbers(given["cores"], f"{where}.cores")
    if "features" in given:
        given["features"] = _uses(given["features"], f"{where}.features")
    if "redact" in given:
        given["redact"] = _texts(given["redact"], f"{where}.redact")
    try:
        return fill(Options, given, where=where)
    except Invalid as reason:  # a value knows what is wrong with it, and not where it was written
        raise Invalid(
            reason.what, where=where if reason.where == "options" else reason.where, hint=reason.hint
        ) from None


def rules_of(entries: object, where: str) -> tuple[Rule, ...]:
    """Rules as they are written in settings or a file.

    Raises:
        Invalid: A name or value in one of them is not known or not right.
    """
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise Invalid("rules are a list of tables", where=where, hint=f"write [[{where}.rules]] for each")
    there = f"{where}.rules"
    return tuple(
        fill(Rule, {**entry, "values": _texts(entry.get("values", []), f"{there}.values")}, where=there)
        for entry in entries
    )


def _uses(entries: object, where: str) -> tuple[ViewUse, ...]:
    """Feature views, each as `ViewUse.of` reads it or as a table."""
    if not isinstance(entries, (list, tuple)) or not all(isinstance(entry, (str, Mapping)) for entry in entries):
        raise Invalid(f"{entries!r} is no list of feature views", where=where, hint='write ["carriers"]')
    return tuple(ViewUse.of(one) if isinstance(one, str) else fill(ViewUse, one, where=where) for one in entries)


def _numbers(entry: object, where: str) -> tuple[int, ...]:
    if not isinstance(entry, (list, tuple)) or not all(type(one) is int for one in entry):
        raise Invalid(f"{entry!r} is no list of whole numbers", where=where, hint="write [0, 1]")
    return tuple(entry)


def _texts(entry: object, where: str) -> tuple[str, ...]:
    if not isinstance(entry, (list, tuple)) or not all(isinstance(text, str) for text in entry):
        raise Invalid(f"{entry!r} is no list of texts", where=where, hint='write ["a", "b"]')
    return tuple(entry)


class Input(msgspec.Struct, frozen=True, kw_only=True):
    """A column that a version takes, where the version itself is not loaded."""

    name: str
    dtype: str
    size: int = 1


class ShadowPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A version that is asked the same as those that answer, when they have. `arm.share` is the part it is asked."""

    arm: ArmPlan
    inputs: list[Input]


class RoutePlan(msgspec.Struct, frozen=True, kw_only=True):
    """Requests with a header of that value go to a version; None: to the one whose number the value is."""

    header: str
    value: str = ""
    version: int | None = None


class ViewPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A feature view that inputs are looked up in: where its file is, what it is looked up by, and what it has.

    `otherwise` and `defaults` say what happens to an entity that it knows nothing of, or only what is older than
    `ttl_us` (0: nothing is).
    """

    name: str
    number: int
    path: str
    keys: list[Input]
    names: list[str]
    ttl_us: int = 0
    otherwise: str = "refuse"
    defaults: dict[str, float | str | bool] = {}


class EndpointPlan(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint: its arms (champion first), the salt of its assignment, the rollout or bandit it is in, and its
    options. Where it is not `sticky`, each request is assigned by its id and not by its key.
    """

    name: str
    arms: list[ArmPlan]
    salt: str = ""
    rollout: str = ""
    sticky: bool = True
    options: Options = Options()
    shadows: list[ShadowPlan] = []
    routes: list[RoutePlan] = []
    views: list[ViewPlan] = []

    @property
    def versions(self) -> dict[int, ArmPlan]:
        """What the plan says of each version in it."""
        return {arm.version: arm for arm in [*(shadow.arm for shadow in self.shadows), *self.arms]}


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What each worker takes on before it refuses more.

    Args:
        deadline_ms: How long an answer may take, where neither the client nor the endpoint says.
        max_body_bytes: Of one request.
        max_held_bytes: Of all bodies that were read and are not answered yet.
        max_rows: Of one request.
        max_queued_rows: Rows that wait for a model, and rows that wait for the log.
        max_wait_ms: How long new rows would wait for a model, by its pace.
        max_connections: Open at once.
        read_s: Seconds a client has to send a request, and more for a long body that comes at `min_bytes_s` at least.
        min_bytes_s: Bytes of a body each second.
        write_s: Seconds a client may leave an answer unread.
    """

    deadline_ms: int = 30_000
    max_body_bytes: int = 16 * 1024 * 1024
    max_held_bytes: int = 128 * 1024 * 1024
    max_rows: int = 10_000
    max_queued_rows: int = 50_000
    max_wait_ms: int = 1_000
    max_connections: int = 2_000
    read_s: float = 10.0
    min_bytes_s: int = 64 * 1024
    write_s: float = 30.0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything one model server serves. `public_key` is hex; empty means that signatures are not asked for.

    Durability and limits count from the start of a worker.
    """

    generation: int = 0
    endpoints: list[EndpointPlan] = []
    durability: str = "fsync"
    public_key: str = ""
    limits: Limits = Limits()

    def options_of(self, wanted: EndpointPlan) -> Options:
        """The options of an endpoint, with the server's deadline where it leaves it to the server."""
        return replace(wanted.options, deadline_ms=wanted.options.deadline_ms or self.limits.deadline_ms)


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """What one worker serves: the generation it reached, where it listens, what it could not load, and what it unloaded
    because nobody asked."""

    generation: int
    worker: str
    pid: int
    port: int
    problems: dict[str, str] = {}
    asleep: list[str] = []


def read_plan(folder: Path) -> Plan:
    """The plan in `folder`; an empty one when none was written yet.

    Raises: Corrupt: The file is no plan.
    """
    try:
        raw = (folder / PLAN).read_bytes()
    except FileNotFoundError:
        return Plan()
    try:
        return msgspec.json.decode(raw, type=Plan)
    except msgspec.MsgspecError as reason:
        raise Corrupt(f"not a plan: {reason}", where=str(folder / PLAN), hint="deploy again to write it anew") from None


def write_plan(folder: Path, plan: Plan) -> None:
    """Replace the plan; readers see the old one or the new one, never half."""
    _replace(folder / PLAN, msgspec.json.encode(plan))


def read_applied(folder: Path) -> list[Applied]:
    """What every worker that left a file says, the dead ones included."""
    found = []
    for path in sorted(folder.glob("applied-*.json")):
        try:
            found.append(msgspec.json.decode(path.read_bytes(), type=Applied))
        except FileNotFoundError:
            continue
    return found


def write_applied(folder: Path, applied: Applied) -> None:
    """Say what this worker serves."""
    _replace(folder / f"applied-{applied.worker}.json", msgspec.json.encode(applied))


def note_death(folder: Path) -> None:
    """A worker died that nobody asked to end; `deaths_since` counts them."""
    path = folder / DEATHS
    if path.exists() and path.stat().st_size > _MAX_DEATHS_BYTES:
        path.unlink()
    with path.open("a", encoding="ascii") as file:
        file.write(f"{time.time_ns() // 1000}\n")


def deaths_since(folder: Path, at: int) -> int:
    """How many workers died since a time (microseconds) that nobody asked to end."""
    try:
        lines = (folder / DEATHS).read_text(encoding="ascii").split()
    except FileNotFoundError:
        return 0
    return sum(int(line) >= at for line in lines)


def forget_worker(folder: Path, pid: int) -> None:
    """Take away what a worker said that is dead."""
    for worker in read_applied(folder):
        if worker.pid == pid:
            (folder / f"applied-{worker.worker}.json").unlink(missing_ok=True)


def _replace(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
