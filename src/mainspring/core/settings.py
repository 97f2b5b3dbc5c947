"""Settings: `mainspring.toml`, then the environment, then flags. Unknown keys are refused with place and near names."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field, fields, is_dataclass, replace
from pathlib import Path
from typing import TypeVar, get_type_hints

from mainspring.core.clock import HOUR_US, span_us
from mainspring.core.errors import Invalid, did_you_mean
from mainspring.core.ids import check_name
from mainspring.core.values import dataclass

FILE = "mainspring.toml"
AWAY = "away"
"""A file that says that a data folder is a node's stand-in for the project's: no keys are there, none may be made."""
_ENGINE = re.compile(r"process|ray|ray://[^\s/]+:\d{1,5}")
_SIZE = re.compile(r"\d+(\.\d+)?\s*[KMGT]?(i?B)?", re.IGNORECASE)
T = TypeVar("T")
Place = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class ProjectSettings:
    """`[project]`: whose work this is.

    Args:
        name: What the project is called.
        declarations: A Python file or module that declares gates, monitors, deployments, policies and triggers, such
            as "declared.py". Relative to the settings file.
    """

    name: str = "default"
    declarations: str = ""

    def __post_init__(self) -> None:
        check_name(self.name, "project")


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """`[server]`: where the API and the pages listen."""

    host: str = "127.0.0.1"
    port: int = 7600

    def __post_init__(self) -> None:
        _check_port(self.port, "server.port")


@dataclass(frozen=True, slots=True)
class StorageSettings:
    """`[storage]`: the data folder, the metadata database, the blobs (empty: SQLite and files in it), and the largest
    file that a run or model may keep, in MiB."""

    data: str = ".mainspring"
    db: str = ""
    blobs: str = ""
    max_file_mb: int = 65536

    def __post_init__(self) -> None:
        if not 1 <= self.max_file_mb <= 2**40:
            raise Invalid(f"files of {self.max_file_mb} MiB", where="storage.max_file_mb", hint="use 1 or more")
        if self.db and not self.db.startswith(("postgresql://", "sqlite:///")):
            raise Invalid(
                f"the database address starts with {self.db.split(':', 1)[0]!r}",
                where="storage.db",
                hint="use postgresql://user@host/name, sqlite:///path, or leave it empty for SQLite in the data folder",
            )
        if self.blobs and not self.blobs.startswith(("s3://", "file://")):
            raise Invalid(f"{self.blobs!r} is no place for blobs", where="storage.blobs", hint="use s3://bucket/prefix")


LIMITS = ("deadline_ms", "max_wait_ms", "max_queued_rows", "max_connections")
"""Settings of `[serving]` that say what each worker takes on."""


@dataclass(frozen=True, slots=True)
class ServingSettings:
    """`[serving]`: the model server. Port 0 means the port after the server's.

    Args:
        grpc_port: Port for gRPC; 0 is none. It needs the extra `grpc`.
        workers: Processes that share the port; the fewest, if there may be more.
        max_workers: Most of them: there are more as the load wants it; 0 keeps their number.
        calm_s: How long fewer workers would do before one of them goes.
        pin: Give each worker cores of its own.
        durability: What the log of predictions survives: "fsync" a power cut, "process" the death of the process.
        deadline_ms: How long an answer may take, where neither the client nor the deployment says.
        max_wait_ms: New requests are refused while others would have to wait longer than this.
        max_queued_rows: New requests are refused while so many rows wait, in each worker.
        max_connections: Open at once, in each worker.
    """

    port: int = 0
    grpc_port: int = 0
    workers: int = 1
    max_workers: int = 0
    calm_s: float = 60.0
    pin: bool = False
    durability: str = "fsync"
    deadline_ms: int = 30_000
    max_wait_ms: int = 1_000
    max_queued_rows: int = 50_000
    max_connections: int = 2_000

    def __post_init__(self) -> None:
        if self.port:
            _check_port(self.port, "serving.port")
        if self.grpc_port:
            _check_port(self.grpc_port, "serving.grpc_port")
        if not 1 <= self.workers <= 64:
            raise Invalid(f"{self.workers} workers asked for", where="serving.workers", hint="use 1 to 64")
        if self.max_workers and not self.workers <= self.max_workers <= 64:
            what = f"{self.workers} to {self.max_workers} workers"
            raise Invalid(what, where="serving.max_workers", hint="use workers to 64, or 0 for no more")
        if not 0 <= self.calm_s <= 86_400:
            raise Invalid(f"calm_s is {self.calm_s:g}", where="serving.calm_s", hint="use 0 to 86400 seconds")
        for name in LIMITS:
            if getattr(self, name) < 1:
                raise Invalid(f"{name} is {getattr(self, name)}", where=f"serving.{name}", hint="use 1 or more")
        if self.durability not in ("fsync", "process"):
            raise Invalid(
                f"unknown durability {self.durability!r}", where="serving.durability", hint="use fsync or process"
            )


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """`[loop]`: the kill switch and dry run of all policies, and how long a silent worker keeps its job."""

    enabled: bool = True
    dry_run: bool = False
    workers: int = 1
    lease_s: float = 10.0

    def __post_init__(self) -> None:
        if not 1 <= self.workers <= 64:
            raise Invalid(f"{self.workers} workers asked for", where="loop.workers", hint="use 1 to 64")
        if not 1 <= self.lease_s <= 3600:
            raise Invalid(f"a lease of {self.lease_s} s", where="loop.lease_s", hint="use 1 to 3600 seconds")


@dataclass(frozen=True, slots=True)
class PipelineSettings:
    """`[pipelines]`: where steps run, what they may take of this machine, and where their secrets are.

    Args:
        secrets: A file with lines `NAME=value` that only its owner may read, for secrets that are not in the
            environment. Relative to the settings file.
        cpu: Cores that steps share which ask for some; 0 for all.
        memory: Their memory, such as "16GB"; empty for all.
        gpu: Their graphics cards; -1 for all.
        engine: Where steps run: "process" beside the worker, "ray" on the cluster that RAY_ADDRESS names, or
            "ray://HOST:PORT" on that one.
    """

    secrets: str = ""
    cpu: float = 0.0
    memory: str = ""
    gpu: int = -1
    engine: str = "process"

    def __post_init__(self) -> None:
        if not _ENGINE.fullmatch(self.engine):
            hint = 'use "process", "ray" or "ray://HOST:10001"'
            raise Invalid(f"there is no engine {self.engine!r}", where="pipelines.engine", hint=hint)
        if self.cpu < 0:
            raise Invalid(f"{self.cpu:g} cores", where="pipelines.cpu", hint="use 0 for all")
        if self.memory and not _SIZE.fullmatch(self.memory):
            raise Invalid(f"{self.memory!r} is no size", where="pipelines.memory", hint='write it like "16GB"')


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """`[webhooks]`: where news is sent. Only https to public addresses, unless `allow_local` is set for a test."""

    allow_local: bool = False


@dataclass(frozen=True, slots=True)
class RetentionSettings:
    """`[retention]`: how long things stay that nobody needs. The server looks once a day, unless it is not `enabled`.

    Args:
        blobs: How long bytes that no row names stay, and then how long in the trash.
        deleted: How long deleted runs, experiments and models can be brought back.
        jobs: How long finished jobs stay in the queue's list, and deliveries that triggers took.
        tables: How long files of tables stay that no version needs.
    """

    enabled: bool = True
    blobs: str = "7d"
    deleted: str = "30d"
    jobs: str = "30d"
    tables: str = "7d"

    def __post_init__(self) -> None:
        for name in ("blobs", "deleted", "jobs", "tables"):
            check_grace(getattr(self, name), f"retention.{name}")


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings, and the tables of `mainspring.toml` that belong to rooms (`gate`, `policy`, ...), as read."""

    project: ProjectSettings = field(default_factory=ProjectSettings)
    server: ServerSettings = field(default_factory=ServerSettings)
    storage: StorageSettings = field(default_factory=StorageSettings)
    serving: ServingSettings = field(default_factory=ServingSettings)
    loop: LoopSettings = field(default_factory=LoopSettings)
    pipelines: PipelineSettings = field(default_factory=PipelineSettings)
    webhooks: WebhookSettings = field(default_factory=WebhookSettings)
    retention: RetentionSettings = field(default_factory=RetentionSettings)
    root: Path = field(default_factory=Path.cwd)
    tables: Mapping[str, object] = field(default_factory=dict)

    @property
    def data_dir(self) -> Path:
        """The data folder; relative paths start where the settings file is."""
        return (self.root / self.storage.data).absolute()

    def section(self, name: str) -> Mapping[str, object]:
        """A table of a room, as read; empty when there is none."""
        found = self.tables.get(name, {})
        return found if isinstance(found, Mapping) else {}

    @property
    def serving_port(self) -> int:
        """Port of the model server."""
        return self.serving.port or self.server.port + 1

    def environ(self) -> dict[str, str]:
        """Variables that give a child process, started in `root`, these very settings."""
        sections = {name: getattr(self, name) for name in SECTIONS}
        found = {
            f"MAINSPRING_{name}_{entry.name}".upper(): str(getattr(section, entry.name))
            for name, section in sections.items()
            for entry in fields(section)
        }
        return {**found, "MAINSPRING_STORAGE_DATA": str(self.data_dir)}


SECTIONS: dict[str, type] = {
    "project": ProjectSettings,
    "server": ServerSettings,
    "storage": StorageSettings,
    "serving": ServingSettings,
    "loop": LoopSettings,
    "pipelines": PipelineSettings,
    "webhooks": WebhookSettings,
    "retention": RetentionSettings,
}
ROOM_TABLES = ("gate", "search", "policy", "monitor", "notify", "otel", "deployment", "trigger", "ci")


def find_file(start: Path) -> Path | None:
    """The nearest `mainspring.toml` in `start` or above it."""
    for folder in (start, *start.parents):
        if (folder / FILE).is_file():
            return folder / FILE
    return None


def load(
    start: Path | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    flags: Mapping[str, object] | None = None,
) -> Settings:
    """Read the settings for work in folder `start` (default: here).

    The environment names a setting as `MAINSPRING_SECTION_KEY`, such as `MAINSPRING_SERVER_PORT`; `flags` as
    `"section.key"`. Flags that are None are left out.

    Raises:
        Invalid: The file is not TOML, or a name or value in file, environment or flags is not known or not right.
    """
    root = (start or Path.cwd()).absolute()
    path = find_file(root)
    text = path.read_text(encoding="utf-8") if path else ""
    document = _parse(text, path)
    values: dict[str, dict[str, object]] = {name: {} for name in SECTIONS}
    for name, entry in document.items():
        if name not in SECTIONS and name not in ROOM_TABLES:
            raise _unknown(name, [*SECTIONS, *ROOM_TABLES], _place(path, text, name), "section")
        if not isinstance(entry, dict):
            raise Invalid(f"{name} is a value", where=_place(path, text, name), hint=f"write a section: [{name}]")
        if name in SECTIONS:
            values[name].update(_checked(name, entry, lambda key: _place(path, text, key)))
    for name, given in _from_environ(environ).items():
        values[name].update(given)
    for dotted, value in (flags or {}).items():
        if value is not None:
            name, key = dotted.split(".")
            values[name].update(_checked(name, {key: value}, lambda key: f"flag --{key}"))
    built = {name: kind(**values[name]) for name, kind in SECTIONS.items()}
    tables = {name: document[name] for name in ROOM_TABLES if name in document}
    settings = replace(Settings(), **built, root=path.parent if path else root, tables=tables)
    if settings.data_dir.is_file():
        raise Invalid("the data folder is a file", where=str(settings.data_dir), hint="mainspring --data DIR ...")
    return settings


def fill(kind: type[T], values: Mapping[str, object], *, where: str) -> T:
    """Make the dataclass `kind` from plain values: unknown names refused with near ones, types checked.

    Raises:
        Invalid: A name is unknown, is missing, or has a value of the wrong type.
    """
    if not is_dataclass(kind):
        raise TypeError(f"{kind} is not a dataclass")
    hints = get_type_hints(kind)
    names = [entry.name for entry in fields(kind)]
    for key, value in values.items():
        if key not in names:
            raise _unknown(key, names, where, "setting")
        _check_type(value, hints[key], f"{where}.{key}")
    try:
        return kind(**values)
    except TypeError as reason:
        raise Invalid(str(reason).split("__init__() ")[-1], where=where, hint=f"give {', '.join(names)}") from None


def _checked(section: str, entry: Mapping[str, object], place: Place) -> dict[str, object]:
    kind = SECTIONS[section]
    hints = get_type_hints(kind)
    for key, value in entry.items():
        if key not in hints:
            raise _unknown(key, hints, place(key), "setting")
        _check_type(value, hints[key], f"{place(key)} ({section}.{key})")
    return dict(entry)


def _check_type(value: object, hint: object, where: str) -> None:
    if not isinstance(hint, type):
        return
    right = isinstance(value, hint) and (hint is bool or not isinstance(value, bool))
    if not right and not (hint is float and isinstance(value, int) and not isinstance(value, bool)):
        raise Invalid(f"{value!r} is not {_article(hint)}", where=where, hint=f"write {_article(hint)}")


def _article(kind: type) -> str:
    return {int: "a whole number", str: 'a text in quotes "..."', bool: "true or false", float: "a number"}.get(
        kind, f"a {kind.__name__}"
    )


def _from_environ(environ: Mapping[str, str]) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = {}
    known = {f"MAINSPRING_{s}_{k}".upper(): (s, k) for s, kind in SECTIONS.items() for k in get_type_hints(kind)}
    for name, text in environ.items():
        section = next((s for s in SECTIONS if name.startswith(f"MAINSPRING_{s.upper()}_")), None)
        if section is None:
            _refuse_near(name, known)
            continue
        if name not in known:
            raise _unknown(name, known, "environment", "variable")
        key = known[name][1]
        value = _from_text(text, get_type_hints(SECTIONS[section])[key], name)
        found.setdefault(section, {})[key] = value
    return found


def _refuse_near(name: str, known: Mapping[str, tuple[str, str]]) -> None:
    """Refuse a variable that was meant to be one of ours: a slip in the section, or no section at all.

    Others stay: secrets of webhooks and switches of the client have names that no section knows.
    """
    if not name.startswith("MAINSPRING_"):
        return
    meant = [variable for variable, (_, key) in known.items() if name == f"MAINSPRING_{key.upper()}"]
    if not meant:
        import difflib

        meant = difflib.get_close_matches(name, known, n=1, cutoff=0.9)
    if meant:
        raise _unknown(name, meant, "environment", "variable")


def _from_text(text: str, hint: object, name: str) -> object:
    if hint is bool:
        if text.lower() in ("1", "true", "yes", "on"):
            return True
        if text.lower() in ("0", "false", "no", "off"):
            return False
        raise Invalid(f"{text!r} is not true or false", where=name, hint=f"{name}=true")
    if hint in (int, float):
        try:
            return int(text) if hint is int else float(text)
        except ValueError:
            kind = "a whole number" if hint is int else "a number"
            raise Invalid(f"{text!r} is not {kind}", where=name, hint=f"{name}=1") from None
    return text


def _parse(text: str, path: Path | None) -> dict[str, object]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as reason:
        raise Invalid(f"not TOML: {reason}", where=str(path), hint="mend the line it names") from None


def _place(path: Path | None, text: str, key: str) -> str:
    pattern = re.compile(rf"^\s*\[*\s*\"?{re.escape(key)}\"?\s*[.\]=]")
    for number, line in enumerate(text.splitlines(), start=1):
        if pattern.match(line):
            return f"{path}, line {number}"
    return str(path)


def _unknown(name: str, known: Iterable[str], where: str, what: str) -> Invalid:
    names = sorted(known)
    near = did_you_mean(name, names)
    return Invalid(f"unknown {what} {name!r}", where=where, hint=near or "known are " + ", ".join(names))


def check_grace(text: str, where: str) -> int:
    """Microseconds of a grace, such as "7d".

    Raises:
        Invalid: It is no span of time, or so short that work which is under way could lose what it just stored.
    """
    grace = span_us(text, where)
    if grace < HOUR_US:
        raise Invalid(f"a grace of {text}", where=where, hint="use at least 1h: work under way needs what it stored")
    return grace


def _check_port(port: int, where: str) -> None:
    if not 1 <= port <= 65535:
        raise Invalid(f"port {port} is out of range", where=where, hint="use 1 to 65535")
