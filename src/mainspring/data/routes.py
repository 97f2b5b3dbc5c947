"""The data room over HTTP."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from litestar import get, post

from mainspring.core.ids import check_name
from mainspring.core.values import dataclass
from mainspring.data import feature_routes, split_routes
from mainspring.data.model import ColumnShape, Dataset, DatasetVersion, parse_checks
from mainspring.data.service import Data

if TYPE_CHECKING:
    import polars as pl

_READ = {"permission": "datasets:read"}
_WRITE = {"permission": "datasets:write"}
_MOST_ROWS = 1000
Cell = str | float | int | bool | None


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows of a table: column names, and the cells of each row. What JSON has no form for is text."""

    columns: list[str]
    rows: list[list[Cell]]


@get("/api/v1/datasets", opt=_READ, sync_to_thread=True)
def list_datasets(datasets: Data, limit: int = 100, after: str = "") -> list[Dataset]:
    """Datasets by name."""
    return datasets.datasets(limit=min(max(limit, 1), 1000), after=after)


@get("/api/v1/datasets/{name:str}/versions", opt=_READ, sync_to_thread=True)
def list_versions(datasets: Data, name: str, limit: int = 100, before: int = 0) -> list[DatasetVersion]:
    """Versions of a dataset, newest first."""
    return datasets.versions(name, limit=min(max(limit, 1), 1000), before=before)


@get("/api/v1/datasets/{name:str}/versions/{version:int}", opt=_READ, sync_to_thread=True)
def show_version(datasets: Data, name: str, version: int) -> DatasetVersion:
    """One version; 0 is the newest."""
    return datasets.get(name, version or None)


@get("/api/v1/datasets/{name:str}/versions/{version:int}/rows", opt=_READ, sync_to_thread=True)
def show_rows(datasets: Data, name: str, version: int, limit: int = 100, offset: int = 0) -> Rows:
    """Rows of a version in their order, at most 1,000."""
    frame = datasets.frame(name, version or None).slice(max(offset, 0), min(max(limit, 0), _MOST_ROWS)).collect()
    return _rows(frame)


@get("/api/v1/datasets/{name:str}/versions/{version:int}/quarantine", opt=_READ, sync_to_thread=True)
def show_quarantine(datasets: Data, name: str, version: int, limit: int = 100, offset: int = 0) -> Rows:
    """Rows that a version left out, each with its reason."""
    left_out = datasets.quarantined(name, version or None)
    return _rows(left_out.slice(max(offset, 0), min(max(limit, 0), _MOST_ROWS)))


@get("/api/v1/datasets/{name:str}/versions/{version:int}/profile", opt=_READ, sync_to_thread=True)
def show_profile(datasets: Data, name: str, version: int) -> list[ColumnShape]:
    """What every column of a version looks like."""
    from mainspring.data.charts import column_shapes

    found = datasets.get(name, version or None)
    return column_shapes(found.columns, datasets.profile(name, found.number))


@post("/api/v1/datasets/{name:str}/versions", opt=_WRITE, sync_to_thread=True)
def ingest(
    datasets: Data,
    name: str,
    body: bytes,
    form: Literal["csv", "parquet"] = "csv",
    checks: str = "",
    key: str = "",
    time_column: str = "",
    separate: str = "",
) -> DatasetVersion:
    """Keep the body, a CSV or Parquet file, as the next version. `checks` is a JSON list of checks, `separate` names
    numbered columns that are no vector, with commas between them."""
    check_name(name, "dataset")
    wanted, apart = parse_checks(checks), [entry.strip() for entry in separate.split(",") if entry.strip()]
    with tempfile.TemporaryDirectory(prefix="mainspring-") as folder:
        sent = Path(folder) / f"{name}.{form}"
        sent.write_bytes(body)
        return datasets.ingest(name, sent, checks=wanted, key=key, time_column=time_column, separate=apart)


def _rows(frame: pl.DataFrame) -> Rows:
    plain = [[_cell(value) for value in row] for row in frame.rows()]
    return Rows(frame.columns, plain)


def _cell(value: object) -> Cell:
    if isinstance(value, float) and value - value != 0:
        return str(value)  # an infinity; NaN is null in every table
    return value if value is None or isinstance(value, (str, float, int, bool)) else str(value)


handlers = [list_datasets, list_versions, show_version, show_rows, show_quarantine, show_profile, ingest]
handlers += feature_routes.handlers
handlers += split_routes.handlers
