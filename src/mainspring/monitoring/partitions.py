"""Sketches of tables in many files: each file is counted by itself, here or on a cluster, and counts are added.

They are added in the order of the files wherever they were counted, so that the bytes of the sketch are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mainspring.core.errors import Failed, Invalid, NotFound
from mainspring.data.sketch import Sketch, sketch
from mainspring.engines.ray import connected

if TYPE_CHECKING:
    from mainspring.data.sketch import Grid

EngineName = Literal["process", "ray"]
_ROWS = 250_000


def partitions_of(table: str | Path) -> list[str]:
    """The Parquet files of a table, in the order of their names: a folder of them, one of them, or a Delta table.

    Raises:
        NotFound: There is nothing.
        Invalid: There is no Parquet file in it.
    """
    path = Path(table)
    if path.is_file():
        return [str(path)]
    if not path.is_dir():
        raise NotFound(f"no table {table}", where=str(table), hint="give a Parquet file, a folder of them, or a Delta")
    if (path / "_delta_log").is_dir():
        from deltalake import DeltaTable

        return sorted(DeltaTable(str(path)).file_uris())
    found = sorted(str(each) for each in path.glob("**/*.parquet"))
    if not found:
        raise Invalid("the folder has no Parquet files", where=str(table), hint="give one that has, or a Delta table")
    return found


def sketch_partitions(files: Sequence[str], grid: Grid, *, engine: EngineName = "process", cluster: str = "") -> Sketch:
    """Count the rows of many Parquet files in the cells of a grid, with as much memory as some rows of one take.

    Args:
        files: Their paths; with Ray they are the same on every node.
        grid: The cells.
        engine: In this process, or a task for each file on a cluster of Ray; a task whose node dies is done again.
        cluster: Address of the cluster; "" takes that of RAY_ADDRESS, one that runs here, or starts one.
    Raises:
        Unavailable: There is no Ray.
        Failed: A file can't be read on the cluster.
    """
    if engine == "process":
        return Sketch.total(grid, (_count(file, grid) for file in files))
    ray = connected(cluster)
    counted, shared = ray.remote(_count), ray.put(grid)
    try:
        return Sketch.total(grid, ray.get([counted.remote(file, shared) for file in files]))
    except ray.exceptions.RayError as reason:
        last = next((line for line in reversed(str(reason).splitlines()) if line.strip()), "it said nothing")
        hint = "the files must be at the same paths on every node"
        raise Failed(f"a file could not be counted: {last.strip()[:300]}", where="engine ray", hint=hint) from None


def _count(file: str, grid: Grid) -> Sketch:
    import polars as pl

    scan = pl.scan_parquet(file)
    rows = int(scan.select(pl.len()).collect().item())
    return Sketch.total(grid, (sketch(scan.slice(at, _ROWS).collect(), grid) for at in range(0, rows, _ROWS)))
