"""Feature views over HTTP."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Annotated

from litestar import get, post
from litestar.params import Parameter

from mainspring.core.errors import Invalid
from mainspring.core.values import dataclass
from mainspring.data.features.model import FeatureView, Found, Materialization, ViewSpec
from mainspring.data.features.service import FeatureViews

if TYPE_CHECKING:
    import polars as pl

_READ = {"permission": "datasets:read"}
_WRITE = {"permission": "datasets:write"}
_MOST_ROWS = 100_000
Limit = Annotated[int, Parameter(ge=1, le=1000)]
Number = Annotated[int, Parameter(ge=0)]


@dataclass(frozen=True, slots=True)
class MaterializeRequest:
    """Which version of a view and of its dataset (0: the newest), and what was known when (null: now)."""

    number: int = 0
    dataset_version: int = 0
    as_of: int | None = None


@get("/api/v1/feature-views", opt=_READ, sync_to_thread=True)
def list_views(feature_views: FeatureViews, limit: Limit = 100, after: str = "") -> list[FeatureView]:
    """The newest version of each feature view by name."""
    return feature_views.views(limit=limit, after=after)


@get("/api/v1/feature-views/{name:str}", opt=_READ, sync_to_thread=True)
def list_view_versions(feature_views: FeatureViews, name: str) -> list[FeatureView]:
    """All versions of a feature view, newest first."""
    return feature_views.versions(name)


@post("/api/v1/feature-views/{name:str}", opt=_WRITE, sync_to_thread=True)
def add_view(feature_views: FeatureViews, name: str, data: ViewSpec) -> FeatureView:
    """Keep what a feature view says as its next version; what it says already gives the version it has."""
    return feature_views.add(name, data)


@get("/api/v1/feature-views/{name:str}/materializations", opt=_READ, sync_to_thread=True)
def list_materializations(feature_views: FeatureViews, name: str, limit: Limit = 20) -> list[Materialization]:
    """What was made of a feature view for lookups, newest first."""
    return feature_views.materializations(name, limit=limit)


@post("/api/v1/feature-views/{name:str}/materializations", opt=_WRITE, sync_to_thread=True)
def materialize(feature_views: FeatureViews, name: str, data: MaterializeRequest) -> Materialization:
    """Make the newest value of every entity ready for lookups."""
    wanted = data.dataset_version or None
    return feature_views.materialize(name, data.number or None, as_of=data.as_of, dataset_version=wanted)


@get("/api/v1/feature-views/{name:str}/lookup", opt=_READ, sync_to_thread=True)
def look_up(feature_views: FeatureViews, name: str, key: list[str], number: Number = 0) -> Found:
    """What is known of an entity now; `key` is given once for each of its columns."""
    return feature_views.lookup(name, key, number or None)


@post("/api/v1/feature-views/{name:str}/history", opt=_WRITE, sync_to_thread=True, status_code=200)
def join_history(feature_views: FeatureViews, name: str, body: bytes, on: str, number: Number = 0) -> bytes:
    """The body, a Parquet file of up to 100,000 rows, with what the view knew of each at the time in column `on`."""
    rows = _read(body)
    ref = f"{name}/{number}" if number else name
    made = io.BytesIO()
    feature_views.history(rows, [ref], on=on).write_parquet(made)
    return made.getvalue()


def _read(body: bytes) -> pl.DataFrame:
    import polars as pl

    try:
        if body[:4] != b"PAR1":
            raise ValueError("it does not begin like one")
        rows = pl.scan_parquet(io.BytesIO(body)).head(_MOST_ROWS + 1).collect()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError) as reason:
        raise Invalid(f"not Parquet: {str(reason)[:200]}", where="body", hint="send a Parquet file") from None
    if rows.height > _MOST_ROWS:
        raise Invalid(f"over {_MOST_ROWS} rows", where="body", hint="mainspring features history for larger tables")
    return rows


handlers = [list_views, list_view_versions, add_view, list_materializations, materialize, look_up, join_history]
