"""Brings everything of a source here, and compares what is here then with what is there."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, field, fields
from functools import partial
from itertools import islice
from pathlib import Path

from mainspring.core.canonical import canonical_json, digest
from mainspring.core.errors import Conflict, MainspringError
from mainspring.core.values import dataclass
from mainspring.mlflow.moving.model import (
    Source,
    SourceExperiment,
    SourceModel,
    SourcePoint,
    SourceRun,
    SourceVersion,
)
from mainspring.mlflow.run_tags import change_of
from mainspring.registry import Registry
from mainspring.registry.model import Origin
from mainspring.tracking import Files, Tracking
from mainspring.tracking.arrivals import Arrivals
from mainspring.tracking.model import (
    PROXIED,
    Experiment,
    InputDataset,
    LoggedModel,
    Metric,
    ModelMetric,
    Run,
    RunModel,
    folder_of,
    model_folder,
    run_folder,
)
from mainspring.tracking.names import name_for
from mainspring.tracking.rules import MAX_TAG, MAX_VALUE

POINTS = 10_000
"""How many points are stored in one transaction."""
_MS = 1000
_STATUSES = {"LOGGED_MODEL_PENDING": "pending", "LOGGED_MODEL_READY": "ready"}
Tell = Callable[[str], None]


@dataclass
class Report:
    """What an import found and did.

    `brought` and `there` count things by kind; `skipped` are those that had come whole before and look the same;
    `problems` says in words what could not be brought, and `differences` what is not the same here.
    """

    source: str
    brought: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)

    def count(self, kind: str, number: int = 1, *, skipped: bool = False) -> None:
        """Count things of a kind."""
        counts = self.skipped if skipped else self.brought
        counts[kind] = counts.get(kind, 0) + number

    @property
    def whole(self) -> bool:
        """Whether everything came and is the same."""
        return not self.problems and not self.differences


class Importer:
    """Brings what a source has into the caller's project.

    Args:
        with_files: Bring artifacts too; without, experiments keep the artifact location they had.
        tell: Is told every step in words.
    """

    def __init__(
        self,
        source: Source,
        *,
        arrivals: Arrivals,
        tracking: Tracking,
        files: Files,
        registry: Registry,
        with_files: bool = True,
        tell: Tell = lambda line: None,
    ) -> None:
        self._source = source
        self._arrivals = arrivals
        self._tracking = tracking
        self._files = files
        self._registry = registry
        self._with_files = with_files
        self._tell = tell
        self._moved: dict[str, str] = {}
        self.report = Report(source.label)

    def run(self, experiments: Iterable[str] = ()) -> Report:
        """Bring experiments with all that is in them (all of them when none is named), then the registry."""
        wanted = set(experiments)
        found = [entry for entry in self._source.experiments() if not wanted or entry.name in wanted]
        for missing in sorted(wanted - {entry.name for entry in found}):
            self.report.problems.append(f"the source has no experiment {missing!r}")
        for entry in found:
            self._experiment(entry)
        for name in self._source.names():
            self._name(name.name, name.description, name.tags, name.aliases)
        return self.report

    def _experiment(self, entry: SourceExperiment) -> None:
        kept = self._arrivals.experiment(self._as_experiment(entry))
        self.report.count("experiments")
        self._tell(f"experiment {entry.name}")
        for model in self._source.models(entry.id):
            self._moved[model.artifact_uri] = f"{PROXIED}:/" + model_folder(kept.location, kept.id, model.id)
        for run in self._source.runs(entry.id):
            self._moved[run.artifact_uri] = f"{PROXIED}:/" + run_folder(kept.location, kept.id, run.id)
            self._guarded(f"run {run.id}", partial(self._run, run, kept))
        for model in self._source.models(entry.id):
            self._guarded(f"model {model.id}", partial(self._model, model, kept))

    def _as_experiment(self, entry: SourceExperiment) -> Experiment:
        return Experiment(
            id=entry.id if entry.id.isdecimal() else "",
            name=entry.name,
            location=f"{PROXIED}:/{entry.id}" if self._with_files else entry.location,
            created_at=entry.created_ms * _MS,
            updated_at=entry.updated_ms * _MS,
            deleted_at=entry.updated_ms * _MS if entry.deleted else None,
            tags=entry.tags,
        )

    def _run(self, run: SourceRun, kept: Experiment) -> None:
        stamp = digest(canonical_json(plain_of(run)))
        if self._arrivals.came(self.report.source, f"runs/{run.id}") == stamp:
            self.report.count("runs", skipped=True)
            return
        made = as_run(run, kept)
        readings = [(_dataset(entry), entry.tags) for entry in run.datasets]
        models = [RunModel(model_id, "input") for model_id in run.models_read]
        models += [RunModel(model_id, "output", step) for model_id, step in run.models_made]
        self._arrivals.run(made, readings, models, source=self.report.source)
        there = Sum()
        for points in _chunks(self._source.points(run), POINTS):
            there.add(points)
            self._arrivals.points(run.id, [_metric(point) for point in points])
        brought = self._bring(run.artifact_uri, made.folder)
        self._compare(made, there)
        self._arrivals.note(self.report.source, f"runs/{run.id}", stamp)
        self.report.count("runs")
        self.report.count("points", there.count)
        self._tell(f"  run {run.name or run.id}: {there.count} points, {brought} files")

    def _compare(self, made: Run, there: Sum) -> None:
        """Note what is not the same here as there, over all that a run holds."""
        found = self._tracking.get(made.id)
        for what in ("params", "tags", "status", "started_at", "ended_at", "name", "parent", "deleted_at"):
            if getattr(found, what) != getattr(made, what):
                self.report.differences.append(f"runs/{made.id}: {what} differs")
        here = Sum()
        for key in found.metrics:
            here.add(_point(metric) for metric in self._tracking.history(made.id, key))
        if here.count != there.count or here.sum != there.sum:
            self.report.differences.append(f"runs/{made.id}: {here.count} points here, {there.count} there")

    def _model(self, model: SourceModel, kept: Experiment) -> None:
        stamp = digest(canonical_json(plain_of(model)))
        if self._arrivals.came(self.report.source, f"logged-models/{model.id}") == stamp:
            self.report.count("logged models", skipped=True)
            return
        made = _logged_model(model, kept)
        self._arrivals.model(made)
        self._bring(model.artifact_uri, made.folder)
        self._arrivals.note(self.report.source, f"logged-models/{model.id}", stamp)
        self.report.count("logged models")

    def _bring(self, uri: str, folder: str) -> int:
        """Bring the files below an artifact address; those that are here with the same size are left."""
        if not self._with_files:
            return 0
        known = {file.path: file.size_bytes for file in self._files.below(folder)}
        count = 0
        with tempfile.TemporaryDirectory(prefix="mainspring-import-") as place:
            for file in self._source.files(uri):
                if known.get(file.path) == file.size_bytes:
                    self.report.count("files", skipped=True)
                    continue
                arrived = Path(place) / "file"
                self._source.fetch(uri, file.path, arrived)
                if file.size_bytes not in (-1, arrived.stat().st_size):
                    found = f"{arrived.stat().st_size} bytes came, {file.size_bytes} were announced"
                    raise Conflict(found, where=f"{uri}/{file.path}", hint="run the import again")
                self._files.put_file(folder + file.path, arrived)
                count += 1
        self.report.count("files", count)
        return count

    def _name(self, name: str, description: str, tags: Mapping[str, str], aliases: Mapping[str, int]) -> None:
        try:
            self._registry.create_model(name, description=description, tags=tags)
        except Conflict:
            if tags:
                self._registry.tag_model(name, tags)
        self.report.count("registered models")
        for version in self._source.versions(name):
            self._guarded(f"version {name}/{version.number}", partial(self._version, version))
        for alias, number in sorted(aliases.items()):
            move = partial(self._registry.set_alias, name, alias, number, f"as at {self.report.source}")
            self._guarded(f"alias {name}@{alias}", move)
        self._tell(f"model {name}")

    def _version(self, version: SourceVersion) -> None:
        subject = f"models/{version.name}/{version.number}"
        stamp = digest(canonical_json(plain_of(version)))
        if self._arrivals.came(self.report.source, subject) == stamp:
            self.report.count("versions", skipped=True)
            return
        location = self._location(version)
        folder = folder_of(location, "") if location.startswith(f"{PROXIED}:") else ""
        origin = Origin(
            source=version.source if version.model_id or not location else location,
            location=location,
            run_id=version.run_id,
            run_link=version.run_link,
            model_id=version.model_id,
        )
        kept = self._registry.add_version(
            version.name,
            origin,
            files=self._files.below(folder) if folder else (),
            description=version.description,
            tags=version.tags,
            key=f"{self.report.source} {subject}",
            number=version.number,
        )
        if kept.number != version.number:
            self.report.differences.append(f"{subject} is number {kept.number} here")
        if version.stage not in ("None", kept.stage):
            self._registry.move_to_stage(version.name, kept.number, version.stage, reason=f"as at {self.report.source}")
        self._arrivals.note(self.report.source, subject, stamp)
        self.report.count("versions")

    def _location(self, version: SourceVersion) -> str:
        """Where the files of a version are here; the address they have there when they did not come."""
        if version.model_id:
            there = next((uri for uri in self._moved if f"/models/{version.model_id}/" in f"{uri}/"), "")
            return self._moved.get(there, "")
        for there, here in self._moved.items():
            if there and version.source.startswith(there):
                return here.rstrip("/") + version.source[len(there) :]
        return version.source

    def _guarded(self, what: str, work: Callable[[], object]) -> None:
        """Do the work; when it can't be done, note why and go on with the rest."""
        try:
            work()
        except MainspringError as reason:
            self.report.problems.append(f"{what}: {reason.what} ({reason.where})")
            self._tell(f"  {what}: {reason.what}")


class Sum:
    """A count and a digest of points that do not depend on their order: the sum of the digests of each."""

    def __init__(self) -> None:
        self.count = 0
        self.sum = 0

    def add(self, points: Iterable[SourcePoint]) -> None:
        """Add points."""
        for point in points:
            self.count += 1
            text = f"{point.key}\x00{point.timestamp_ms}\x00{point.step}\x00{point.value + 0.0!r}"
            self.sum = (self.sum + int(digest(text.encode())[:16], 16)) % 2**64


def as_run(run: SourceRun, kept: Experiment) -> Run:
    """A run of a source as we keep it in an experiment."""
    tags, change = change_of(run.tags)
    return Run(
        id=run.id,
        experiment=kept.name,
        experiment_id=kept.id,
        location=kept.location,
        name=run.name or name_for(run.id),
        parent=(change.parent if change else None) or "",
        status=run.status.lower(),
        started_at=run.started_ms * _MS,
        ended_at=None if run.ended_ms is None else run.ended_ms * _MS,
        seed=None,
        created_by=run.user_id or "import",
        user_id=run.user_id,
        deleted_at=(run.ended_ms or run.started_ms) * _MS if run.deleted else None,
        params={key: value[:MAX_VALUE] for key, value in run.params.items()},
        tags={key: value[:MAX_TAG] for key, value in tags.items()},
        code=change.code if change else None,
    )


def _logged_model(model: SourceModel, kept: Experiment) -> LoggedModel:
    return LoggedModel(
        id=model.id,
        experiment_id=kept.id,
        location=kept.location,
        name=model.name,
        kind=model.kind,
        status=_STATUSES.get(model.status, "failed"),
        run_id=model.run_id,
        created_at=model.created_ms * _MS,
        updated_at=model.updated_ms * _MS,
        params=model.params,
        tags=model.tags,
        metrics=tuple(
            ModelMetric(
                key=one.key,
                value=one.value,
                step=one.step,
                at=one.timestamp_ms * _MS,
                run_id=one.run_id,
                dataset_name=one.dataset_name,
                dataset_digest=one.dataset_digest,
            )
            for one in model.measures
        ),
    )


def _dataset(entry: object) -> InputDataset:
    return InputDataset(**{one.name: getattr(entry, one.name) for one in fields(InputDataset)})


def _metric(point: SourcePoint) -> Metric:
    return Metric(point.key, point.value, point.step, point.timestamp_ms * _MS)


def _point(metric: Metric) -> SourcePoint:
    return SourcePoint(metric.key, metric.at // _MS, metric.step, metric.value)


def plain_of(value: SourceRun | SourceModel | SourceVersion) -> object:
    """The value as JSON, in which NaN is a word."""
    plain = asdict(value)
    plain["measures"] = [repr(entry) for entry in plain.pop("measures", ())]
    return plain


def _chunks(points: Iterable[SourcePoint], size: int) -> Iterator[list[SourcePoint]]:
    rest = iter(points)
    while chunk := list(islice(rest, size)):
        yield chunk
