"""The values of tracking."""

from __future__ import annotations

from dataclasses import dataclass, field

STATUSES = ("running", "finished", "failed", "killed")


@dataclass(frozen=True, slots=True)
class Metric:
    """One point of a metric; `at` is microseconds UTC, 0 means now. The value may be NaN or infinite."""

    key: str
    value: float
    step: int = 0
    at: int = 0


@dataclass(frozen=True, slots=True)
class CodeState:
    """The code a run was started from: git commit, changes on top of it, and the entry point."""

    commit: str = ""
    branch: str = ""
    dirty: bool = False
    diff: str = ""
    diff_cut: bool = False
    entry: str = ""


@dataclass(frozen=True, slots=True)
class Environment:
    """Where a run ran: Python, platform, hardware, and the version of every installed package."""

    python: str = ""
    platform: str = ""
    cpus: int = 0
    memory_bytes: int = 0
    gpus: tuple[str, ...] = ()
    packages: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunInput:
    """A dataset version a run read, and what for ("training", "evaluation")."""

    dataset: str
    context: str = ""


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file of a run."""

    path: str
    digest: str
    size_bytes: int
    at: int


@dataclass(frozen=True, slots=True)
class Experiment:
    """A name under which runs are kept together."""

    name: str
    created_at: int
    runs: int = 0


@dataclass(frozen=True, slots=True)
class Run:
    """One execution. `metrics` holds the latest point of each; `status` is one of `STATUSES`."""

    id: str
    experiment: str
    name: str
    parent: str
    status: str
    started_at: int
    ended_at: int | None
    seed: int | None
    created_by: str
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, Metric] = field(default_factory=dict)
    inputs: tuple[RunInput, ...] = ()
    code: CodeState | None = None
    environment: Environment | None = None

    @property
    def ref(self) -> str:
        """Reference, `runs/ID`."""
        return f"runs/{self.id}"
