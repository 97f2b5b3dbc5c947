"""The registry over HTTP."""

from __future__ import annotations

from dataclasses import dataclass

from litestar import Response, get, put

from mainspring.core.clock import micros
from mainspring.registry.model import AliasChange, Model, ModelVersion
from mainspring.registry.service import Registry

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


@get("/api/v1/models", opt=_READ, sync_to_thread=True)
def list_models(registry: Registry, limit: int = 100, after: str = "") -> list[Model]:
    """Models by name, with where their aliases point."""
    return registry.models(limit=min(max(limit, 1), 1000), after=after)


@get("/api/v1/models/{name:str}", opt=_READ, sync_to_thread=True)
def show_model(registry: Registry, name: str) -> Model:
    """One model."""
    return registry.model(name)


@get("/api/v1/models/{name:str}/versions", opt=_READ, sync_to_thread=True)
def list_versions(registry: Registry, name: str, limit: int = 100, before: int = 0) -> list[ModelVersion]:
    """Versions of a model, newest first."""
    return registry.versions(name, limit=min(max(limit, 1), 1000), before=before)


@get("/api/v1/models/{name:str}/versions/{version:str}", opt=_READ, sync_to_thread=True)
def show_version(registry: Registry, name: str, version: str) -> ModelVersion:
    """One version, by number, alias or `latest`."""
    return registry.get(name, version)


@get("/api/v1/models/{name:str}/versions/{version:str}/files/{file:str}", opt=_READ, sync_to_thread=True)
def download_file(registry: Registry, name: str, version: str, file: str) -> Response[bytes]:
    """One file of a version's package, as an attachment."""
    data = registry.file(name, version, file)
    headers = {
        "Content-Disposition": f'attachment; filename="{file}"',
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "X-Content-Type-Options": "nosniff",
    }
    return Response(data, media_type="application/octet-stream", headers=headers)


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
def list_changes(registry: Registry, name: str, alias: str = "", limit: int = 100) -> list[AliasChange]:
    """Changes of one alias, or of all aliases of a model, newest first."""
    return registry.alias_history(name, alias, limit=min(max(limit, 1), 1000))


handlers = [
    list_models,
    show_model,
    list_versions,
    show_version,
    download_file,
    show_alias,
    set_alias,
    list_changes,
]
