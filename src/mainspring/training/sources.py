"""Rows that are no dataset yet become one, so that what was trained on is kept."""

from __future__ import annotations

import re
from pathlib import Path

from mainspring.data import Data


def ingested(data: Data, source: object, name: str = "") -> str:
    """Ingest a file or a frame, unless its rows are the newest version already; the reference of the version.

    Args:
        data: The data room.
        source: A CSV or Parquet file, or a Polars or pandas frame.
        name: Name of the dataset; that of the file by default.
    Raises:
        NotFound: There is no such file.
        Invalid: It is no table.
    """
    from mainspring.data.sources import read_source

    frame, came_from = read_source(source)
    name = name or (re.sub(r"[^A-Za-z0-9_.-]+", "-", Path(came_from).stem).strip("-._") or "data")
    before = {version.name: version.latest for version in data.datasets(limit=1000)}.get(name)
    if before is not None:
        kept = data.frame(name, before).collect()
        if kept.columns == frame.columns and kept.schema == frame.schema and kept.equals(frame):
            return data.get(name, before).ref
    return data.ingest(name, frame).ref
