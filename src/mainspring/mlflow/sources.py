"""Where the files of a version come from: what a client may name, and what that is here.

Source: the rules of `mlflow/server/handlers.py` 3.18 (`_validate_source_run`, `_validate_source_model`,
`_resolve_registered_model_source_lineage`): a client must not make the server hand out files it could not read itself.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from urllib.parse import SplitResult, unquote, unquote_plus, urlsplit

from mainspring.core.errors import Invalid, NotFound
from mainspring.core.values import dataclass
from mainspring.registry import ModelVersion, Origin, Registry
from mainspring.tracking import Artifact, Tracking
from mainspring.tracking.files import Files
from mainspring.tracking.logged_models import LoggedModels
from mainspring.tracking.model import PROXIED

PROMPT_SOURCES = ("dummy-source", "prompt-template")
"""What clients give as the source of a prompt."""
_PROXY = ("api", "2.0", "mlflow-artifacts", "artifacts")
_MODEL_ID = re.compile(r"m-[0-9a-zA-Z_-]+")
_LOCAL = ("", "file")


@dataclass(frozen=True, slots=True)
class Source:
    """What a source turned out to be: where the version comes from, and its files that are kept here."""

    origin: Origin
    files: Sequence[Artifact] = ()
    same_as: ModelVersion | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A source with the run and the logged model that it is said to belong to; None where the client said nothing."""

    source: str
    run_id: str | None
    model_id: str | None
    run_link: str = ""

    def refused(self, owner: str) -> Invalid:
        """The error for a source that does not belong to what it is said to belong to."""
        what = f"Invalid model version source: '{self.source[:300]}'. "
        return Invalid(f"{what}The {owner} request parameter must identify the resource that contains the source.")


class Sources:
    """Resolves sources.

    Args:
        registry: Knows versions.
        tracking: Knows runs.
        models: Knows logged models.
        files: Knows the files of both.
    """

    def __init__(self, *, registry: Registry, tracking: Tracking, models: LoggedModels, files: Files) -> None:
        self._registry = registry
        self._tracking = tracking
        self._models = models
        self._files = files

    def resolve(self, asked: Asked) -> Source:
        """What a source is.

        Raises:
            Invalid: It is a path of a machine, leaves its folder, or does not belong to its run or model.
            NotFound: It names a version that is not there.
        """
        parts = _split(asked.source)
        if parts.scheme in _LOCAL:
            raise Invalid(
                f"Invalid model version source: '{asked.source[:300]}'. A local path can't be a model version source "
                "here, as the files of runs and models are never read from the server's disk."
            )
        _check_plain(asked.source, parts)
        if parts.scheme == "models":
            return self._model(asked, parts)
        if parts.scheme == "runs":
            return self._run(asked, parts)
        if _is_proxied(parts):
            return self._proxied(asked, parts)
        return self._kept(asked, asked.source)

    def _model(self, asked: Asked, parts: SplitResult) -> Source:
        name, _, version = parts.path.strip("/").rpartition("/")
        if parts.netloc:
            raise asked.refused("model_id")
        if not name and _MODEL_ID.fullmatch(version):
            if asked.model_id != version:
                raise asked.refused("model_id")
            return self._logged(asked, version)
        if not name and "@" in version:
            name, _, version = version.partition("@")
        if not name or "/" in name:
            raise asked.refused("model_id")
        return self._version(asked, name, version)

    def _version(self, asked: Asked, name: str, version: str) -> Source:
        if self._registry.model(name).is_prompt:
            raise Invalid(
                f"Invalid model version source: '{asked.source[:300]}'. Prompt versions cannot be used as model "
                "version sources."
            )
        found = version_named(self._registry, name, version)
        if any(
            given not in (None, own) for given, own in ((asked.run_id, found.run_id), (asked.model_id, found.model_id))
        ):
            raise Invalid(
                f"Invalid model version source: '{asked.source[:300]}'. The run_id and model_id request parameters "
                "must match the referenced model version."
            )
        origin = Origin(
            source=f"models:/{found.model}/{found.number}",
            location=found.location or found.source,
            run_id=found.run_id,
            run_link=asked.run_link,
            model_id=found.model_id,
            datasets=found.datasets,
            reference=found.reference,
            metrics=found.metrics,
        )
        return Source(origin, same_as=found if found.digest else None)

    def _run(self, asked: Asked, parts: SplitResult) -> Source:
        run_id, _, path = parts.path.strip("/").partition("/")
        if parts.netloc or asked.model_id or asked.run_id != run_id:
            raise asked.refused("model_id" if asked.model_id else "run_id")
        folder = self._files.run_folder(run_id)
        return self._kept(asked, asked.source, self._below(folder, path))

    def _proxied(self, asked: Asked, parts: SplitResult) -> Source:
        path = _steps(parts.path)
        if parts.scheme != PROXIED:  # through the address of the proxy itself
            start = next(i for i in range(len(path)) if path[i : i + len(_PROXY)] == _PROXY)
            path = path[start + len(_PROXY) :]
        owner = "model_id" if asked.model_id else "run_id"
        try:
            if asked.model_id:
                folder = self._models.get(asked.model_id).folder
            else:
                folder = self._files.run_folder(asked.run_id or "")
        except NotFound:
            raise asked.refused(owner) from None
        root = _steps(folder)
        if not root or path[: len(root)] != root:
            raise asked.refused(owner)
        return self._kept(asked, asked.source, self._below(folder, "/".join(path[len(root) :])))

    def _logged(self, asked: Asked, model_id: str) -> Source:
        try:
            found = self._models.get(model_id)
        except NotFound:
            raise asked.refused("model_id") from None
        location = f"{found.location.rstrip('/')}/models/{found.id}/artifacts"
        return self._kept(asked, location, self._below(found.folder, ""))

    def _below(self, folder: str, path: str) -> list[Artifact]:
        return self._files.below(f"{folder}{path.strip('/')}/" if path.strip("/") else folder)

    def _kept(self, asked: Asked, location: str, files: Sequence[Artifact] = ()) -> Source:
        model_id, run_id = asked.model_id or "", asked.run_id or ""
        if model_id and not run_id:
            run_id = self._models.get(model_id).run_id
        origin = Origin(
            source=asked.source, location=location, run_id=run_id, run_link=asked.run_link, model_id=model_id
        )
        return Source(self._with_lineage(origin), files)

    def _with_lineage(self, origin: Origin) -> Origin:
        """The datasets that the run read, and what it measured last, belong to the version."""
        if not origin.run_id:
            return origin
        try:
            run = self._tracking.get(origin.run_id)
        except NotFound:
            return origin  # a run of another server: clients may name one
        metrics = {key: point.value for key, point in run.metrics.items() if abs(point.value) < float("inf")}
        datasets = tuple(dict.fromkeys(entry.dataset for entry in run.inputs))
        return Origin(**{name: getattr(origin, name) for name in _OWN}, datasets=datasets, metrics=metrics)


_OWN = ("source", "location", "run_id", "run_link", "model_id")


def version_named(registry: Registry, name: str, version: str) -> ModelVersion:
    """A version as clients name it: a number, `latest`, an alias, or a stage, which stands for its newest version.

    Raises:
        NotFound: There is none.
    """
    try:
        return registry.get(name, version)
    except NotFound:
        newest = [
            entry for entry in registry.newest_by_stage([name]).get(name, ()) if entry.stage.lower() == version.lower()
        ]
        if not newest:
            raise
        return newest[-1]


def _split(source: str) -> SplitResult:
    try:
        return urlsplit(source)
    except ValueError as reason:
        raise Invalid(f"Invalid model version source: '{source[:300]}': {reason}") from None


def _check_plain(source: str, parts: SplitResult) -> None:
    """No form of `..`, however often it is encoded; no doubled or trailing steps that mean another place."""
    plain = source
    while (once := unquote_plus(plain)) != plain:
        plain = once
    path = re.sub(r"/+", "/", urlsplit(plain).path.rstrip("/"))
    stepping = ".." in re.split(r"[/\\]", plain)
    if "\x00" in plain or stepping or (path.startswith("/") and posixpath.normpath(path) != path):
        raise Invalid(
            f"Invalid model version source: '{source[:300]}'. If supplying a source as an http, https, local file "
            "path, ftp, objectstore, or mlflow-artifacts uri, an absolute path must be provided without relative path "
            "references present. Please provide an absolute path."
        )


def _is_proxied(parts: SplitResult) -> bool:
    steps = _steps(parts.path)
    if parts.scheme == PROXIED:
        return True
    return parts.scheme in ("http", "https") and any(steps[i : i + 4] == _PROXY for i in range(len(steps)))


def _steps(path: str) -> tuple[str, ...]:
    plain = path
    while (once := unquote(plain)) != plain:
        plain = once
    return tuple(step for step in plain.split("/") if step)
