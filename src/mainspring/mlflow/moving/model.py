"""What MLflow keeps, as plain values: the same whether it was read from a server or from its database.

Times are milliseconds since 1970 and enums are words, as on the wire of MLflow.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field
from pathlib import Path
from typing import Protocol

from mainspring.core.values import dataclass

Texts = dict[str, str]


@dataclass(frozen=True, slots=True)
class SourceExperiment:
    """An experiment; `deleted` ones come along."""

    id: str
    name: str
    location: str
    created_ms: int
    updated_ms: int
    deleted: bool = False
    tags: Texts = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SourceDataset:
    """A dataset that a run read, with the tags of the reading."""

    name: str
    digest: str
    source_type: str
    source: str
    schema: str = ""
    profile: str = ""
    tags: Texts = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SourceRun:
    """A run without the history of its metrics, of which `metrics` has the names."""

    id: str
    experiment_id: str
    name: str
    user_id: str
    status: str
    started_ms: int
    ended_ms: int | None
    artifact_uri: str
    deleted: bool = False
    params: Texts = field(default_factory=dict)
    tags: Texts = field(default_factory=dict)
    metrics: tuple[str, ...] = ()
    datasets: tuple[SourceDataset, ...] = ()
    models_read: tuple[str, ...] = ()
    models_made: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True, order=True)
class SourcePoint:
    """One point of a metric."""

    key: str
    timestamp_ms: int
    step: int
    value: float


@dataclass(frozen=True, slots=True)
class SourceMeasure:
    """What a run measured of a logged model."""

    key: str
    value: float
    timestamp_ms: int
    step: int
    run_id: str
    dataset_name: str = ""
    dataset_digest: str = ""


@dataclass(frozen=True, slots=True)
class SourceModel:
    """A logged model."""

    id: str
    experiment_id: str
    name: str
    kind: str
    status: str
    run_id: str
    artifact_uri: str
    created_ms: int
    updated_ms: int
    params: Texts = field(default_factory=dict)
    tags: Texts = field(default_factory=dict)
    measures: tuple[SourceMeasure, ...] = ()


@dataclass(frozen=True, slots=True)
class SourceName:
    """A registered model."""

    name: str
    description: str
    created_ms: int
    updated_ms: int
    tags: Texts = field(default_factory=dict)
    aliases: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SourceVersion:
    """A version of a registered model."""

    name: str
    number: int
    source: str
    run_id: str
    run_link: str
    description: str
    user_id: str
    stage: str
    status: str
    status_message: str
    created_ms: int
    updated_ms: int
    model_id: str = ""
    tags: Texts = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file below an artifact address, by its path from there; the size is -1 where it is not known."""

    path: str
    size_bytes: int


class Source(Protocol):
    """Where an import reads from. Every iterator may be begun again; nothing is changed there."""

    @property
    def label(self) -> str:
        """The address without its secrets: by it an import that was broken off is known again."""
        ...

    def experiments(self) -> Iterator[SourceExperiment]:
        """All experiments, deleted ones too."""
        ...

    def runs(self, experiment_id: str) -> Iterator[SourceRun]:
        """All runs of an experiment, deleted ones too."""
        ...

    def points(self, run: SourceRun) -> Iterator[SourcePoint]:
        """Every point of every metric of a run, one metric after the other."""
        ...

    def models(self, experiment_id: str) -> Iterator[SourceModel]:
        """Logged models of an experiment that are not deleted; none from a release that had none."""
        ...

    def names(self) -> Iterator[SourceName]:
        """Registered models, prompts among them."""
        ...

    def versions(self, name: str) -> Iterator[SourceVersion]:
        """Versions of a registered model by number."""
        ...

    def files(self, uri: str) -> Iterator[SourceFile]:
        """Files below an artifact address.

        Raises:
            Unavailable: The address can't be read from here.
        """
        ...

    def fetch(self, uri: str, path: str, to: Path) -> None:
        """Write a file below an artifact address to `to`."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...
