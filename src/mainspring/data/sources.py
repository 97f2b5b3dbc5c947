"""From whatever the user has (CSV, Parquet, Polars, pandas) to a frame, with errors that name the line."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mainspring.core.errors import Invalid, NotFound

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl


class _Reader(Protocol):
    @property
    def line_num(self) -> int: ...
    def __next__(self) -> list[str]: ...


def read_source(source: object) -> tuple[pl.DataFrame, str]:
    """The rows of a source, and a word on where they came from.

    Raises:
        NotFound: There is no such file.
        Invalid: It is no table, or a broken one.
    """
    import polars as pl

    if isinstance(source, pl.LazyFrame):
        return source.collect(), "frame"
    if isinstance(source, pl.DataFrame):
        return source, "frame"
    if isinstance(source, (str, Path)):
        return _read_file(Path(source)), Path(source).name
    if type(source).__module__.split(".")[0] == "pandas" and hasattr(source, "columns"):
        return _from_pandas(source), "frame"
    raise Invalid(
        f"{type(source).__name__} is no table",
        where="source",
        hint="give a CSV or Parquet file, a Polars or pandas frame",
    )


def _read_file(path: Path) -> pl.DataFrame:
    if not path.is_file():
        raise NotFound(f"no file {path}", where=str(path.absolute()), hint="check the path")
    if path.stat().st_size == 0:
        raise Invalid("the file is empty", where=str(path), hint="a CSV file starts with a line of column names")
    frame = _read_parquet(path) if path.suffix in (".parquet", ".pq") else _read_csv(path)
    if frame.width == 0 or frame.height == 0:
        raise Invalid(f"no rows: {frame.width} columns, {frame.height} rows", where=str(path), hint="is it whole?")
    return frame


def _read_parquet(path: Path) -> pl.DataFrame:
    import polars as pl

    try:
        return pl.read_parquet(path, glob=False)
    except (pl.exceptions.PolarsError, OSError) as reason:
        raise Invalid(f"not a Parquet file: {_first(reason)}", where=str(path), hint="is it whole?") from None


def _read_csv(path: Path) -> pl.DataFrame:
    """Read everything as text first, so that a type is decided by all values."""
    import polars as pl

    from mainspring.data.columns import typed

    separator = _look_at_lines(path)
    try:
        text = pl.read_csv(path, separator=separator, infer_schema=False, glob=False)
    except (pl.exceptions.PolarsError, OSError) as reason:
        raise Invalid(
            f"not a CSV file: {_first(reason)}", where=str(path), hint="mend it, or save it as UTF-8"
        ) from None
    return typed(text)


def _look_at_lines(path: Path) -> str:
    """Check header and the number of cells of each line; the separator.

    Raises:
        Invalid: A name is missing or there twice, a line has more or fewer cells, or the text is not UTF-8.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        try:
            first = file.readline()
            separator = max(",;\t|", key=first.count)
            file.seek(0)
            _check_rows(csv.reader(file, delimiter=separator, strict=True), path)
        except UnicodeDecodeError:
            raise Invalid(
                "not UTF-8 text", where=f"{path}, line {_first_undecodable(path)}", hint="save it as UTF-8"
            ) from None
    return separator


def _check_rows(reader: _Reader, path: Path) -> None:
    names: list[str] = []
    for start, cells in _numbered(reader, path):
        if not names:
            names = cells
            _refuse_twice(names, f"{path}, line {start}")
        elif len(cells) != len(names) and cells:
            plural = "cell" if len(cells) == 1 else "cells"
            raise Invalid(
                f"{len(cells)} {plural} where the header has {len(names)}",
                where=f"{path}, line {start}",
                hint="mend this line, or quote cells that hold the separator",
            )


def _numbered(reader: _Reader, path: Path) -> Iterator[tuple[int, list[str]]]:
    """Each row with the line it starts on."""
    while True:
        start = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as reason:
            hint = "is a quote left open here?"
            raise Invalid(f"not a CSV file: {reason}", where=f"{path}, line {start}", hint=hint) from None
        yield start, cells


def _first_undecodable(path: Path) -> int:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return 1


def _from_pandas(source: pd.DataFrame) -> pl.DataFrame:
    """Column by column and without pyarrow; a missing value of any kind is null. The index is left out."""
    import polars as pl

    names = [str(name) for name in source.columns]
    _refuse_twice(names, "pandas frame")
    return pl.DataFrame([_from_pandas_column(name, source.iloc[:, index]) for index, name in enumerate(names)])


def _from_pandas_column(name: str, column: pd.Series) -> pl.Series:
    import numpy as np
    import polars as pl

    dtype = column.dtype
    if isinstance(dtype, np.dtype) and dtype.kind in "biufM":
        return pl.Series(name, column.to_numpy(), nan_to_null=True)
    if getattr(dtype, "tz", None) is not None:
        naive = column.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy()
        return pl.Series(name, naive).dt.replace_time_zone("UTC")
    values = column.astype(object).where(column.notna(), None).tolist()
    try:
        return pl.Series(name, values, strict=True)
    except (TypeError, pl.exceptions.PolarsError):
        kinds = sorted({type(value).__name__ for value in values if value is not None})
        raise Invalid(
            f"column {name!r} mixes {', '.join(kinds)}", where=f"pandas column {name}", hint="cast it to one type"
        ) from None


def _refuse_twice(names: list[str], where: str) -> None:
    for name in names:
        if not name.strip():
            raise Invalid("a column without a name", where=where, hint="name every column")
        if names.count(name) > 1:
            raise Invalid(f"two columns are named {name!r}", where=where, hint="rename one of them")


def _first(reason: BaseException) -> str:
    return re.sub(r"\s+", " ", str(reason).strip().splitlines()[0])[:200]
