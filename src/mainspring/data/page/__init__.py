"""The screens of the data room."""

from __future__ import annotations

from litestar import get
from litestar.response import Template

from mainspring.data.page import features
from mainspring.data.service import Data

_READ = {"permission": "datasets:read"}
_ROWS = 100
_LOOK = 10


@get("/datasets", opt=_READ, sync_to_thread=True, include_in_schema=False)
def datasets_page(datasets: Data, after: str = "") -> Template:
    """Datasets by name."""
    found = datasets.datasets(limit=_ROWS, after=after)
    following = found[-1].name if len(found) == _ROWS else ""
    context = {"section": "datasets", "datasets": found, "following": following}
    return Template("data/page/list.html", context=context)


@get("/datasets/{name:str}", opt=_READ, sync_to_thread=True, include_in_schema=False)
def dataset_page(datasets: Data, name: str, before: int = 0) -> Template:
    """One dataset: its versions, and how many rows they have."""
    versions = datasets.versions(name, limit=_ROWS, before=before)
    context = {
        "section": "datasets",
        "name": name,
        "versions": versions,
        "sizes": [(float(version.number), float(version.rows)) for version in reversed(versions)],
        "following": versions[-1].number if len(versions) == _ROWS else 0,
    }
    return Template("data/page/dataset.html", context=context)


@get("/datasets/{name:str}/{version:int}", opt=_READ, sync_to_thread=True, include_in_schema=False)
def version_page(datasets: Data, name: str, version: int) -> Template:
    """One version: where it comes from, what its columns look like, its first rows, what was left out."""
    from mainspring.data.charts import column_shapes

    found = datasets.get(name, version)
    context = {
        "section": "datasets",
        "version": found,
        "shapes": column_shapes(found.columns, datasets.profile(name, version)),
        "first": datasets.frame(name, version).head(_LOOK).collect(),
        "left_out": datasets.quarantined(name, version).head(_LOOK) if found.quarantined else None,
    }
    return Template("data/page/version.html", context=context)


handlers = [datasets_page, dataset_page, version_page, *features.handlers]
