"""Brings everything of a source to an MLflow server, through the protocol alone.

An MLflow server gives runs and logged models ids of its own; which is which is kept there, in tags. So an export that
was broken off goes on, and a later one brings what is new.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote, unquote, urlsplit

from mainspring.core.canonical import canonical_json, digest
from mainspring.core.errors import MainspringError, NotFound, Unavailable
from mainspring.mlflow.moving.arriving import Report, Tell, plain_of
from mainspring.mlflow.moving.model import (
    Source,
    SourceExperiment,
    SourceModel,
    SourceName,
    SourcePoint,
    SourceRun,
    SourceVersion,
)
from mainspring.mlflow.moving.server import PROMPTS, PROXY, Json, Server

T = TypeVar("T")
RUN_TAG = "mainspring.run_id"
MODEL_TAG = "mainspring.model_id"
VERSION_TAG = "mainspring.version"
STAMP_TAG = "mainspring.stamp"
"""What it looked like here when all of it had arrived there."""
_VERSIONS = ("/model-versions/search", "model_versions")
_PARENT = "mlflow.parentRunId"
_BATCH = 1000
_TEXTS = 100


class Exporter:
    """Brings what a source has to an MLflow server.

    Args:
        with_files: Bring artifacts too.
        tell: Is told every step in words.
    """

    def __init__(
        self, source: Source, target: Server, *, with_files: bool = True, tell: Tell = lambda line: None
    ) -> None:
        self._source = source
        self._target = target
        self._with_files = with_files
        self._tell = tell
        self._runs: dict[str, str] = {}
        self._models: dict[str, str] = {}
        self._places: dict[str, str] = {}
        self._wanted: set[str] = set()
        self._parts_of: dict[str, str] = {}
        self.report = Report(source.label)

    def run(self, experiments: Iterable[str] = ()) -> Report:
        """Bring experiments with all that is in them (all of them when none is named), then the registry.

        Of the registry, only versions are left out whose run or logged model is in none of the experiments that were
        named.
        """
        wanted = self._wanted = set(experiments)
        found = [entry for entry in self._source.experiments() if not wanted or entry.name in wanted]
        for missing in sorted(wanted - {entry.name for entry in found}):
            self.report.problems.append(f"there is no experiment {missing!r}")
        for entry in found:
            if not entry.deleted:
                self._experiment(entry)
        for name in self._source.names():
            self._guarded(f"model {name.name}", partial(self._name, name))
        return self.report

    def _experiment(self, entry: SourceExperiment) -> None:
        there = self._named(entry)
        self.report.count("experiments")
        self._tell(f"experiment {entry.name}")
        for model in self._source.models(entry.id):
            self._guarded(f"model {model.id}", partial(self._model, model, there))
        for run in self._source.runs(entry.id):
            if not run.deleted:
                self._guarded(f"run {run.id}", partial(self._run, run, there))
        for child, parent in self._parts_of.items():  # a parent may come after its parts
            body = {"run_id": child, "key": _PARENT, "value": self._runs.get(parent, parent)}
            self._guarded(f"parent of run {child}", partial(self._target.post, "/runs/set-tag", body))
        self._parts_of.clear()

    def _named(self, entry: SourceExperiment) -> str:
        try:
            found = self._target.get("/experiments/get-by-name", experiment_name=entry.name)
            return str(found["experiment"]["experiment_id"])
        except NotFound:
            made = self._target.post("/experiments/create", {"name": entry.name, "tags": _pairs(entry.tags)})
            return str(made["experiment_id"])

    def _run(self, run: SourceRun, experiment_id: str) -> None:
        stamp = digest(canonical_json(plain_of(run)))
        known = self._found("/runs/search", "runs", experiment_id, f"tags.`{RUN_TAG}` = '{run.id}'")
        tags = {} if known is None else _texts(known["data"])
        if known is not None:
            self._place(run.id, run.artifact_uri, known["info"])
            if tags.get(STAMP_TAG) == stamp:
                self.report.count("runs", skipped=True)
                return
        info = known["info"] if known is not None else self._new_run(run, experiment_id)
        run_id = self._place(run.id, run.artifact_uri, info)
        self._log(run, run_id)
        self._bring(run.artifact_uri, str(info["artifact_uri"]))
        ended: Json = {"end_time": run.ended_ms} if run.ended_ms else {}
        self._target.post("/runs/update", {"run_id": run_id, "status": run.status, **ended})
        self._target.post("/runs/set-tag", {"run_id": run_id, "key": STAMP_TAG, "value": stamp})
        self.report.count("runs")
        self._tell(f"  run {run.name or run.id}")

    def _new_run(self, run: SourceRun, experiment_id: str) -> Json:
        tags = {key: text for key, text in run.tags.items() if key not in ("mlflow.runName", _PARENT)}
        tags[RUN_TAG] = run.id
        body = {"experiment_id": experiment_id, "start_time": run.started_ms, "run_name": run.name}
        made = self._target.post("/runs/create", {**body, "user_id": run.user_id, "tags": _pairs(tags)})
        return dict(made["run"]["info"])

    def _place(self, here: str, uri: str, info: Json) -> str:
        self._runs[here] = str(info["run_id"])
        self._places[uri] = str(info["artifact_uri"])
        return self._runs[here]

    def _log(self, run: SourceRun, run_id: str) -> None:
        for part in _parts(_pairs(run.params), _TEXTS):
            self._target.post("/runs/log-batch", {"run_id": run_id, "params": part})
        tags = {key: text for key, text in run.tags.items() if key not in ("mlflow.runName", _PARENT)}
        if _PARENT in run.tags:
            self._parts_of[run_id] = run.tags[_PARENT]
        for part in _parts(_pairs(tags), _TEXTS):
            self._target.post("/runs/log-batch", {"run_id": run_id, "tags": part})
        for points in _parts(self._source.points(run), _BATCH):
            self._target.post("/runs/log-batch", {"run_id": run_id, "metrics": [_metric(p) for p in points]})
            self.report.count("points", len(points))
        datasets = [
            {"dataset": _dataset(entry), "tags": _pairs(entry.tags)} for entry in run.datasets if entry.source_type
        ]
        if datasets:
            self._target.post("/runs/log-inputs", {"run_id": run_id, "datasets": datasets})
        made = [{"model_id": self._models[m], "step": step} for m, step in run.models_made if m in self._models]
        if made:
            self._target.post("/runs/outputs", {"run_id": run_id, "models": made})

    def _model(self, model: SourceModel, experiment_id: str) -> None:
        known = self._found("/logged-models/search", "models", experiment_id, f"tags.`{MODEL_TAG}` = '{model.id}'")
        if known is None:
            tags = {**model.tags, MODEL_TAG: model.id}
            tags.pop("mlflow.modelVersions", None)
            body = {"experiment_id": experiment_id, "name": model.name, "model_type": model.kind, "tags": _pairs(tags)}
            made = self._target.post("/logged-models", {**body, "params": _pairs(model.params)})
            known = dict(made["model"])
        info = known["info"]
        self._models[model.id] = str(info["model_id"])
        self._places[model.artifact_uri] = str(info["artifact_uri"])
        if info.get("status") == "LOGGED_MODEL_READY":
            self.report.count("logged models", skipped=True)
            return
        self._bring(model.artifact_uri, str(info["artifact_uri"]))
        body = {"model_id": info["model_id"], "status": model.status}
        self._target.send("PATCH", f"/api/2.0/mlflow/logged-models/{info['model_id']}", json=body)
        self.report.count("logged models")

    def _found(self, path: str, field: str, experiment_id: str, wanted: str) -> Json | None:
        body = {"experiment_ids": [experiment_id], "filter": wanted, "max_results": 1}
        return next(iter(self._target.post(path, body).get(field, ())), None)

    def _bring(self, uri: str, there: str) -> None:
        """Bring the files below an artifact address to one there, through the server's proxy."""
        if not self._with_files:
            return
        place = _proxied(there)
        with tempfile.TemporaryDirectory(prefix="mainspring-export-") as scratch:
            for file in self._source.files(uri):
                arrived = Path(scratch) / "file"
                self._source.fetch(uri, file.path, arrived)
                with arrived.open("rb") as data:
                    self._target.send("PUT", f"{PROXY}/{quote(f'{place}/{file.path}')}", content=data)
                self.report.count("files")

    def _name(self, name: SourceName) -> None:
        versions = list(self._source.versions(name.name))
        wanted = [version for version in versions if self._is_wanted(version)]
        if versions and not wanted:
            return
        try:
            known = self._target.get("/registered-models/get", name=name.name)["registered_model"]
        except NotFound:
            body = {"name": name.name, "description": name.description, "tags": _pairs(name.tags)}
            known = self._target.post("/registered-models/create", body)["registered_model"]
        self.report.count("registered models")
        numbers: dict[int, int] = {}
        for version in wanted:
            numbers[version.number] = self._version(version)
        pointing = {entry["alias"]: int(entry["version"]) for entry in known.get("aliases", ())}
        for alias, number in sorted(name.aliases.items()):
            if number in numbers and pointing.get(alias) != numbers[number]:
                body = {"name": name.name, "alias": alias, "version": str(numbers[number])}
                self._target.post("/registered-models/alias", body)

    def _is_wanted(self, version: SourceVersion) -> bool:
        made_by = {version.run_id, version.model_id} - {""}
        return not (self._wanted and made_by) or bool(made_by & {*self._runs, *self._models})

    def _version(self, version: SourceVersion) -> int:
        mark = '"' if "'" in version.name else "'"
        wanted = f"name = {mark}{version.name}{mark} AND tags.`{VERSION_TAG}` = '{version.number}'"
        filters = (wanted, f"{wanted} AND {PROMPTS}")
        known = [one for text in filters for one in self._target.pages(*_VERSIONS, {"filter": text})]
        if known:
            self.report.count("versions", skipped=True)
            return int(known[0]["version"])
        tags = {**version.tags, VERSION_TAG: str(version.number)}
        body: Json = {"name": version.name, "source": self._there(version), "tags": _pairs(tags)}
        body |= {"description": version.description, "run_link": version.run_link}
        if version.run_id in self._runs:
            body["run_id"] = self._runs[version.run_id]
        if version.model_id in self._models:
            body["model_id"] = self._models[version.model_id]
        made = self._target.post("/model-versions/create", body)["model_version"]
        if version.stage not in ("", "None"):
            asked = {"name": version.name, "version": made["version"], "stage": version.stage}
            self._target.post("/model-versions/transition-stage", {**asked, "archive_existing_versions": False})
        self.report.count("versions")
        return int(made["version"])

    def _there(self, version: SourceVersion) -> str:
        """The source of a version, as it is addressed there."""
        if version.model_id in self._models:
            return f"models:/{self._models[version.model_id]}"
        for here, there in self._places.items():
            if here and version.source.startswith(here):
                return there + version.source[len(here) :]
        return version.source

    def _guarded(self, what: str, work: Callable[[], object]) -> None:
        try:
            work()
        except MainspringError as reason:
            self.report.problems.append(f"{what}: {reason.what} ({reason.where})")
            self._tell(f"  {what}: {reason.what}")


def _proxied(uri: str) -> str:
    parts = urlsplit(uri)
    if parts.scheme != "mlflow-artifacts":
        hint = "start it with --artifacts-destination, or go on with --no-artifacts"
        raise Unavailable(f"that server keeps files at {parts.scheme or 'its own disk'}", where=uri, hint=hint)
    return unquote(parts.path).strip("/")


def _pairs(texts: Mapping[str, str]) -> list[Json]:
    return [{"key": key, "value": value} for key, value in sorted(texts.items())]


def _texts(data: Json) -> dict[str, str]:
    return {entry["key"]: entry.get("value", "") for entry in data.get("tags", ())}


def _metric(point: SourcePoint) -> Json:
    value = point.value
    words = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
    plain = words.get(repr(value), value)
    return {"key": point.key, "value": plain, "timestamp": point.timestamp_ms, "step": point.step}


def _dataset(entry: object) -> Json:
    names = ("name", "digest", "source_type", "source", "schema", "profile")
    found = {name: getattr(entry, name) for name in names}
    return {name: text for name, text in found.items() if text or name in names[:4]}


def _parts(entries: Iterable[T], size: int) -> Iterator[list[T]]:
    rest = iter(entries)
    while part := list(islice(rest, size)):
        yield part
