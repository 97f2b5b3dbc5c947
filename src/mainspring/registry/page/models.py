"""The screens of models: all of them, and one with its versions and its history."""

from __future__ import annotations

from litestar import get
from litestar.response import Template

from mainspring.registry.service import Registry

READ = {"permission": "models:read"}
WRITE = {"permission": "models:write"}
_ROWS = 100
_CHANGES = 20
_METRICS = 8


@get("/models", opt=READ, sync_to_thread=True, include_in_schema=False)
def models_page(registry: Registry, after: str = "") -> Template:
    """Models, where their aliases point, and what is served."""
    models = registry.models(limit=_ROWS, after=after)
    following = models[-1].name if len(models) == _ROWS else ""
    return Template("registry/page/list.html", context={"models": models, "following": following})


@get("/models/{name:str}", opt=READ, sync_to_thread=True, include_in_schema=False)
def model_page(registry: Registry, name: str, before: int = 0) -> Template:
    """One model: its versions, and who moved its aliases and stages when and why."""
    versions = registry.versions(name, limit=_ROWS, before=before)
    metrics = sorted({metric for version in versions for metric in version.metrics})
    context = {
        "model": registry.model(name),
        "versions": versions,
        "metrics": metrics[:_METRICS],
        "users": registry.users(name),
        "changes": registry.alias_history(name, limit=_CHANGES),
        "moves": registry.stage_history(name, limit=_CHANGES),
        "following": versions[-1].number if len(versions) == _ROWS else 0,
    }
    return Template("registry/page/model.html", context=context)
