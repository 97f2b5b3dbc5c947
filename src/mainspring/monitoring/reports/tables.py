"""What can be compared, as columns that are read one at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from mainspring.core.errors import Invalid
from mainspring.core.values import dataclass
from mainspring.data.sketch.grid import kind_of
from mainspring.data.sources import read_source

if TYPE_CHECKING:
    from mainspring.data import Data

_FILES = (".csv", ".parquet", ".pq", ".tsv", ".txt")


@dataclass(frozen=True, slots=True)
class Table:
    """Columns by name.

    Attributes:
        columns: Their names, in order.
        rows: How many rows.
        name: A word on where they came from.
        kept: The rows, in memory or on disk.
    """

    columns: tuple[str, ...]
    rows: int
    name: str
    kept: pl.DataFrame | pl.LazyFrame

    def column(self, name: str) -> pl.Series:
        """One column; nulls in every row when there is none of that name."""
        if name not in self.columns:
            return pl.Series(name, [None] * self.rows, pl.Null)
        return self.kept[name] if isinstance(self.kept, pl.DataFrame) else self.kept.select(name).collect()[name]

    def levels(self, name: str) -> pl.LazyFrame | None:
        """A column of levels that lies on disk, to be counted without holding its rows; None when it is no such one."""
        if isinstance(self.kept, pl.DataFrame) or name not in self.columns:
            return None
        column = self.kept.select(name)
        return column if kind_of(column.collect_schema()[name]) == "categorical" else None

    def frame(self, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """All rows, of some columns or all; a column that is not there is left out."""
        names = [name for name in (columns or self.columns) if name in self.columns]
        chosen = self.kept.select(names)
        return chosen if isinstance(chosen, pl.DataFrame) else chosen.collect()


def open_table(source: object) -> Table:
    """A frame of polars or pandas, a file of CSV or Parquet, or a mapping of columns.

    Raises:
        NotFound: There is no such file.
        Invalid: It is no table, or a broken one.

    >>> open_table({"x": [1, 2]}).rows
    2
    """
    if isinstance(source, Table):
        return source
    if isinstance(source, (str, Path)) and Path(source).suffix in (".parquet", ".pq") and Path(source).is_file():
        return _parquet(Path(source))
    if isinstance(source, dict):
        source = _of_columns(source)
    frame, name = read_source(source)
    return Table(tuple(frame.columns), frame.height, name, frame)


def open_named(source: str, datasets: Callable[[], Data]) -> Table:
    """A file, or a version of a dataset: `flights`, `flights/3` or `datasets/flights/3`.

    Args:
        source: What has no ending of a file and is no file names a dataset.
        datasets: Gives the room of datasets, when it is needed.
    Raises:
        NotFound: There is no such file, dataset or version.
        Invalid: It is no table, or no name of a version.
    """
    if Path(source).suffix in _FILES or Path(source).is_file():
        return open_table(source)
    data = datasets()
    found = data.resolve(source)
    return scanned(data.frame(found.dataset, found.number), f"{found.dataset}/{found.number}")


def scanned(rows: pl.LazyFrame, name: str) -> Table:
    """Rows that lie on disk, such as those of a dataset version."""
    return Table(tuple(rows.collect_schema().names()), int(rows.select(pl.len()).collect().item()), name, rows)


def _parquet(path: Path) -> Table:
    try:
        return scanned(pl.scan_parquet(path, glob=False), path.name)
    except (pl.exceptions.PolarsError, OSError):
        read_source(path)  # says in three lines what is wrong with it
        raise


def _of_columns(source: dict[str, object]) -> pl.DataFrame:
    try:
        return pl.DataFrame(source, strict=False)
    except (TypeError, ValueError, pl.exceptions.PolarsError) as reason:
        raise Invalid(
            f"no table: {str(reason).splitlines()[0]}", where="source", hint="give each column as many values"
        ) from None
