"""Polars frames, eager and lazy, and series, as Parquet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    import polars as pl

NAME = "polars"
_KEY = "mainspring"


def takes(value: object) -> bool:
    """Whether it is a DataFrame, LazyFrame or Series of polars."""
    kind = type(value)
    return kind.__module__.partition(".")[0] == "polars" and kind.__name__ in ("DataFrame", "LazyFrame", "Series")


def write(value: object, path: Path) -> None:
    """Write Parquet; its metadata says what kind of value it was."""
    kind = type(value).__name__
    metadata = {_KEY: kind}
    if kind == "LazyFrame":
        cast("pl.LazyFrame", value).sink_parquet(path, metadata=metadata)
    elif kind == "Series":
        cast("pl.Series", value).to_frame().write_parquet(path, metadata=metadata)
    else:
        cast("pl.DataFrame", value).write_parquet(path, metadata=metadata)


def read(path: Path) -> object:
    """The frame or series; a lazy frame reads from the copy."""
    import polars as pl

    kind = pl.read_parquet_metadata(path).get(_KEY)
    if kind == "LazyFrame":
        return pl.scan_parquet(path)
    frame = pl.read_parquet(path, memory_map=False)
    return frame.to_series() if kind == "Series" else frame
