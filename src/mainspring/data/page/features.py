"""The screens of feature views."""

from __future__ import annotations

from litestar import get
from litestar.response import Template

from mainspring.data.features.service import FeatureViews

_READ = {"permission": "datasets:read"}
_ROWS = 100


@get("/feature-views", opt=_READ, sync_to_thread=True, include_in_schema=False)
def views_page(feature_views: FeatureViews, after: str = "") -> Template:
    """Feature views by name."""
    found = feature_views.views(limit=_ROWS, after=after)
    following = found[-1].name if len(found) == _ROWS else ""
    made = {view.name: feature_views.materializations(view.name, limit=1) for view in found}
    return Template("data/page/views.html", context={"views": found, "made": made, "following": following})


@get("/feature-views/{name:str}/{number:int}", opt=_READ, sync_to_thread=True, include_in_schema=False)
def view_page(feature_views: FeatureViews, name: str, number: int) -> Template:
    """One version of a feature view: what it says, and what was made of it for lookups."""
    found = feature_views.get(name, number)
    context = {
        "view": found,
        "pairs": list(zip(found.spec.features, found.columns, strict=True)),
        "versions": feature_views.versions(name),
        "made": [entry for entry in feature_views.materializations(name) if entry.number == number],
    }
    return Template("data/page/view.html", context=context)


handlers = [views_page, view_page]
