"""Sketches of tables in many files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mainspring.core.errors import Failed, Invalid, NotFound
from mainspring.data.sketch import Sketch, learn_grid, sketch
from mainspring.monitoring.partitions import partitions_of, sketch_partitions


def table(folder: Path) -> tuple[pl.DataFrame, list[str]]:
    rng = np.random.default_rng(7)
    levels = rng.choice(["a", "b", "c"], 2_000)
    frame = pl.DataFrame({"x": rng.normal(size=2_000) * 1e3, "level": levels, "flag": rng.random(2_000) < 0.3})
    folder.mkdir()
    for number, part in enumerate(frame.iter_slices(300)):
        part.write_parquet(folder / f"part-{number}.parquet")
    return frame, partitions_of(folder)


def test_a_table_in_many_files_counts_as_one(tmp_path: Path) -> None:
    frame, files = table(tmp_path / "table")
    grid = learn_grid(frame)
    assert len(files) == 7
    found, whole = sketch_partitions(files, grid), sketch(frame, grid)
    assert found.rows == whole.rows
    assert all((a.counts == b.counts).all() for a, b in zip(found.columns, whole.columns, strict=True))
    assert sketch_partitions([], grid).to_bytes() == Sketch.empty(grid).to_bytes()
    frame.write_delta(tmp_path / "delta")
    assert sketch_partitions(partitions_of(tmp_path / "delta"), grid).to_bytes() == whole.to_bytes()
    assert partitions_of(files[0]) == files[:1]
    with pytest.raises(NotFound):
        partitions_of(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(Invalid):
        partitions_of(tmp_path / "empty")


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_on_ray_a_table_has_the_same_sketch_to_the_byte(tmp_path: Path) -> None:
    frame, files = table(tmp_path / "table")
    grid = learn_grid(frame)
    assert sketch_partitions(files, grid, engine="ray").to_bytes() == sketch_partitions(files, grid).to_bytes()
    with pytest.raises(Failed, match="could not be counted"):
        sketch_partitions([*files, str(tmp_path / "nowhere.parquet")], grid, engine="ray")
