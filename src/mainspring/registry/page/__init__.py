"""The screens of the registry."""

from __future__ import annotations

from litestar import get
from litestar.response import Template

from mainspring.registry.rules import missing
from mainspring.registry.service import Registry

_READ = {"permission": "models:read"}
_ROWS = 100


@get("/models", opt=_READ, sync_to_thread=True, include_in_schema=False)
def models_page(registry: Registry, after: str = "") -> Template:
    """Models and where their aliases point."""
    models = registry.models(limit=_ROWS, after=after)
    following = models[-1].name if len(models) == _ROWS else ""
    return Template("registry/page/list.html", context={"models": models, "following": following})


@get("/models/{name:str}", opt=_READ, sync_to_thread=True, include_in_schema=False)
def model_page(registry: Registry, name: str, before: int = 0) -> Template:
    """One model: its versions and the history of its aliases."""
    versions = registry.versions(name, limit=_ROWS, before=before)
    context = {
        "model": registry.model(name),
        "versions": versions,
        "metrics": sorted({metric for version in versions for metric in version.metrics})[:8],
        "changes": registry.alias_history(name, limit=20),
        "following": versions[-1].number if len(versions) == _ROWS else 0,
    }
    return Template("registry/page/model.html", context=context)


@get("/models/{name:str}/{version:str}", opt=_READ, sync_to_thread=True, include_in_schema=False)
def version_page(registry: Registry, name: str, version: str) -> Template:
    """One version: signature, example, lineage, digest."""
    found = registry.get(name, version)
    model = registry.model(name)
    aliases = [alias for alias, number in model.aliases.items() if number == found.number]
    context = {
        "version": found,
        "aliases": aliases,
        "files": registry.files(name, found.number),
        "missing": missing(found),
    }
    return Template("registry/page/version.html", context=context)


handlers = [models_page, model_page, version_page]
