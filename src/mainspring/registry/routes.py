"""The registry over HTTP."""

from __future__ import annotations

import asyncio
from dataclasses import field

from litestar import Response, delete, get, patch, post, put

from mainspring.core.clock import micros
from mainspring.core.errors import Invalid
from mainspring.core.values import dataclass
from mainspring.registry import conversion_routes, grant_routes, webhook_routes
from mainspring.registry.flavours.composed import Composition
from mainspring.registry.model import AliasChange, Model, ModelVersion, StageChange
from mainspring.registry.provenance import Difference, Kin, Provenance
from mainspring.registry.searching import ModelSearch
from mainspring.registry.service import Registry
from mainspring.tracking.files import Files
from mainspring.tracking.grammar import Page
from mainspring.tracking.model import Artifact
from mainspring.tracking.transfer import Ask, answer_with

_READ = {"permission": "models:read"}
_WRITE = {"permission": "models:write"}


@dataclass(frozen=True, slots=True)
class AliasRequest:
    """Where an alias should point (null: nowhere), and why."""

    version: int | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class AliasAnswer:
    """Where an alias points, or pointed at a time; `version` is null when nowhere."""

    model: str
    alias: str
    version: int | None


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """A name for versions."""

    name: str
    description: str = ""
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ChangeRequest:
    """What is to change of a model or a version; null and "" in `tags` take a tag away, absent fields stay."""

    description: str | None = None
    tags: dict[str, str | None] = field(default_factory=dict)
    name: str | None = None


@dataclass(frozen=True, slots=True)
class StageRequest:
    """The stage a version moves to, and why."""

    stage: str
    archive_others: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class PromoteRequest:
    """The alias a version gets, and why."""

    to: str = "champion"
    reason: str = ""


@dataclass(frozen=True, slots=True)
class CopyRequest:
    """Where a version is copied: another name, another project, or both."""

    to: str = ""
    project: str = ""
    reason: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class StageAnswer:
    """The versions that are in a stage, or were at a time."""

    model: str
    stage: str
    versions: list[int]


@get("/api/v1/models", opt=_READ, sync_to_thread=True)
def list_models(registry: Registry, limit: int = 100, after: str = "") -> list[Model]:
    """Models by name, with where their aliases point."""
    return registry.models(limit=min(max(limit, 1), 1000), after=after)


@get("/api/v1/models/{name:str}", opt=_READ, sync_to_thread=True)
def show_model(registry: Registry, name: str) -> Model:
    """One model."""
    return registry.model(name)


@post("/api/v1/models", opt=_WRITE, sync_to_thread=True)
def create_model(registry: Registry, data: ModelRequest) -> Model:
    """Make a name for versions."""
    return registry.create_model(data.name, description=data.description, tags=data.tags)


@patch("/api/v1/models/{name:str}", opt=_WRITE, sync_to_thread=True)
def change_model(registry: Registry, name: str, data: ChangeRequest) -> Model:
    """Describe, tag or rename a model. References by its old name still find it."""
    if data.description is not None:
        registry.describe(name, data.description)
    kept, gone = _tags(data.tags)
    if kept:
        registry.tag_model(name, kept)
    for key in gone:
        registry.untag_model(name, key)
    return registry.rename(name, data.name) if data.name is not None else registry.model(name)


@post("/api/v1/models/{name:str}/compositions", opt=_WRITE, sync_to_thread=True)
def compose(registry: Registry, name: str, data: Composition) -> ModelVersion:
    """Keep registered versions as one version of a model: an ensemble, with steps before and after."""
    return registry.compose(name, data)


@delete("/api/v1/models/{name:str}", opt=_WRITE, sync_to_thread=True)
def delete_model(registry: Registry, name: str) -> None:
    """Delete a model with its versions; refused while a deployment serves it."""
    registry.delete_model(name)


@get("/api/v1/search/models", opt=_READ, sync_to_thread=True)
def search_models(
    model_search: ModelSearch, filter: str = "", order_by: str = "", limit: int = 100, page_token: str = ""
) -> Page[Model]:
    """Models that a filter finds, such as `tags.team = 'growth'`."""
    order = [order_by] if order_by else []
    return model_search.models(filter, order_by=order, limit=limit, page_token=page_token)


@get("/api/v1/search/versions", opt=_READ, sync_to_thread=True)
def search_versions(
    model_search: ModelSearch, filter: str = "", order_by: str = "", limit: int = 100, page_token: str = ""
) -> Page[ModelVersion]:
    """Versions of all models that a filter finds, such as `stage = 'Production' AND created > 7d`."""
    order = [order_by] if order_by else []
    return model_search.versions(filter, order_by=order, limit=min(limit, 1000), page_token=page_token)


@get("/api/v1/models/{name:str}/versions", opt=_READ, sync_to_thread=True)
def list_versions(registry: Registry, name: str, limit: int = 100, before: int = 0) -> list[ModelVersion]:
    """Versions of a model, newest first."""
    return registry.versions(name, limit=min(max(limit, 1), 1000), before=before)


@get("/api/v1/models/{name:str}/versions/{version:str}", opt=_READ, sync_to_thread=True)
def show_version(registry: Registry, name: str, version: str) -> ModelVersion:
    """One version, by number, alias or `latest`."""
    return registry.get(name, version)


@patch("/api/v1/models/{name:str}/versions/{version:str}", opt=_WRITE, sync_to_thread=True)
def change_version(registry: Registry, name: str, version: str, data: ChangeRequest) -> ModelVersion:
    """Describe or tag a version."""
    if data.name is not None:
        raise Invalid("a version has a number and no name", where="name", hint="rename the model, or set an alias")
    number = registry.get(name, version).number
    if data.description is not None:
        registry.describe_version(name, number, data.description)
    kept, gone = _tags(data.tags)
    if kept:
        registry.tag_version(name, number, kept)
    for key in gone:
        registry.untag_version(name, number, key)
    return registry.get(name, number)


@delete("/api/v1/models/{name:str}/versions/{version:str}", opt=_WRITE, sync_to_thread=True)
def delete_version(registry: Registry, name: str, version: str) -> None:
    """Delete a version and the aliases that point to it; refused while a deployment serves it."""
    registry.delete_version(name, version)


@post("/api/v1/models/{name:str}/versions/{version:str}/stage", opt=_WRITE, sync_to_thread=True, status_code=200)
def move_to_stage(registry: Registry, name: str, version: str, data: StageRequest) -> ModelVersion:
    """Move a version to a stage."""
    return registry.move_to_stage(name, version, data.stage, archive_others=data.archive_others, reason=data.reason)


@post("/api/v1/models/{name:str}/versions/{version:str}/promote", opt=_WRITE, sync_to_thread=True, status_code=200)
def promote(registry: Registry, name: str, version: str, data: PromoteRequest) -> AliasChange:
    """Give a version an alias, once every gate that judges this model has passed it."""
    return registry.promote(name, version, to=data.to, reason=data.reason)


@post("/api/v1/models/{name:str}/versions/{version:str}/copy", opt=_WRITE, sync_to_thread=True)
def copy_version(registry: Registry, name: str, version: str, data: CopyRequest) -> ModelVersion:
    """Copy a version to another name or project; its bytes are kept once."""
    return registry.copy(name, version, to=data.to, project=data.project, reason=data.reason, key=data.key)


@get("/api/v1/models/{name:str}/diff", opt=_READ, sync_to_thread=True)
def diff(provenance: Provenance, name: str, before: str, after: str, other: str = "") -> Difference:
    """What differs between two versions of a model, or of two models."""
    return provenance.diff(name, before, after, other=other)


@get("/api/v1/lineage", opt=_READ, sync_to_thread=True)
def lineage(provenance: Provenance, ref: str) -> Kin:
    """What a version came from, or what came from a dataset version."""
    return provenance.lineage(ref)


@get("/api/v1/models/{name:str}/stages/{stage:str}", opt=_READ, sync_to_thread=True)
def show_stage(registry: Registry, name: str, stage: str, at: str = "") -> StageAnswer:
    """The versions that are in a stage or, with `at` (ISO 8601), that were in it then."""
    found = registry.in_stage_at(name, stage, micros(at) if at else 2**62)
    return StageAnswer(name, stage, found)


@get("/api/v1/models/{name:str}/stage-history", opt=_READ, sync_to_thread=True)
def list_stage_changes(registry: Registry, name: str, version: int = 0, limit: int = 100) -> list[StageChange]:
    """Moves of one version between stages, or of all versions of a model, newest first."""
    return registry.stage_history(name, version, limit=min(max(limit, 1), 1000))


@get("/api/v1/models/{name:str}/versions/{version:str}/files", opt=_READ, sync_to_thread=True)
def list_files(registry: Registry, name: str, version: str) -> list[Artifact]:
    """The files of a version's package, its manifest first."""
    return registry.files(name, version)


@get("/api/v1/models/{name:str}/versions/{version:str}/files/{file:path}", opt=_READ)
async def download_file(
    registry: Registry, files: Files, request: Ask, name: str, version: str, file: str
) -> Response[object]:
    """One file of a version's package, as an attachment that may run nothing; `Range` is understood."""
    kept = await asyncio.to_thread(registry.find_file, name, version, file.removeprefix("/"))
    return await answer_with(request, files, kept)


@get("/api/v1/models/{name:str}/aliases/{alias:str}", opt=_READ, sync_to_thread=True)
def show_alias(registry: Registry, name: str, alias: str, at: str = "") -> AliasAnswer:
    """Where an alias points, or with `at` (ISO 8601) where it pointed then."""
    if at:
        return AliasAnswer(name, alias, registry.alias_at(name, alias, micros(at)))
    return AliasAnswer(name, alias, registry.alias(name, alias))


@put("/api/v1/models/{name:str}/aliases/{alias:str}", opt=_WRITE, sync_to_thread=True)
def set_alias(registry: Registry, name: str, alias: str, data: AliasRequest) -> AliasChange:
    """Point an alias to a version, or with `version` null nowhere."""
    if data.version is None:
        return registry.remove_alias(name, alias, data.reason)
    return registry.set_alias(name, alias, data.version, data.reason)


@get("/api/v1/models/{name:str}/history", opt=_READ, sync_to_thread=True)
def list_changes(
    registry: Registry, name: str, alias: str = "", version: int = 0, limit: int = 100
) -> list[AliasChange]:
    """Changes of one alias or of all aliases of a model, newest first; with `version` those it was part of."""
    return registry.alias_history(name, alias, version=version, limit=min(max(limit, 1), 1000))


def _tags(tags: dict[str, str | None]) -> tuple[dict[str, str], list[str]]:
    """Tags to set, and the keys of those to take away."""
    return {key: value for key, value in tags.items() if value}, [key for key, value in tags.items() if not value]


handlers = [
    list_models,
    create_model,
    compose,
    show_model,
    change_model,
    delete_model,
    search_models,
    search_versions,
    change_version,
    delete_version,
    move_to_stage,
    promote,
    copy_version,
    diff,
    lineage,
    show_stage,
    list_stage_changes,
    list_versions,
    show_version,
    list_files,
    download_file,
    show_alias,
    set_alias,
    list_changes,
    *conversion_routes.handlers,
    *grant_routes.handlers,
    *webhook_routes.handlers,
]
