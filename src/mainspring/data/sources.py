"""From whatever the user has (CSV, Parquet, Polars, pandas) to a frame, with errors that name the line."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import TYPE_CHECKING

from mainspring.core.errors import Invalid, NotFound

if TYPE_CHECKING:
    import polars as pl

MISSING = ["", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "?"]


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
        frame = _read_file(Path(source))
        return frame, Path(source).name
    if type(source).__module__.split(".")[0] == "pandas":
        return _from_pandas(source), "frame"
    raise Invalid(
        f"{type(source).__name__} is no table",
        where="source",
        hint="give a CSV or Parquet file, a Polars or pandas frame",
    )


def _from_pandas(source: object) -> pl.DataFrame:
    import polars as pl

    names = [str(name) for name in source.columns]  # type: ignore[attr-defined]
    _refuse_twice(names, "pandas frame")
    data = {name: source.iloc[:, index].to_numpy() for index, name in enumerate(names)}  # type: ignore[attr-defined]
    return pl.DataFrame({name: pl.Series(name, values, strict=False) for name, values in data.items()})


def _read_file(path: Path) -> pl.DataFrame:
    if not path.is_file():
        raise NotFound(f"no file {path}", where=str(path.absolute()), hint="check the path")
    if path.stat().st_size == 0:
        raise Invalid("the file is empty", where=str(path))
    frame = _read_parquet(path) if path.suffix in (".parquet", ".pq") else _read_csv(path)
    if frame.width == 0 or frame.height == 0:
        raise Invalid(f"no rows: {frame.width} columns, {frame.height} rows", where=str(path), hint="is it whole?")
    return frame


def _read_parquet(path: Path) -> pl.DataFrame:
    import polars as pl

    try:
        return pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as reason:
        raise Invalid(f"not a Parquet file: {_first(reason)}", where=str(path), hint="is it whole?") from None


def _read_csv(path: Path) -> pl.DataFrame:
    import polars as pl

    separator = _look_at_lines(path)
    try:
        return pl.read_csv(
            path, separator=separator, null_values=MISSING, try_parse_dates=True, infer_schema_length=None
        )
    except (pl.exceptions.PolarsError, OSError) as reason:
        raise Invalid(
            f"not a CSV file: {_first(reason)}", where=str(path), hint="mend it, or save it as UTF-8"
        ) from None


def _look_at_lines(path: Path) -> str:
    """Check header and the number of cells of each line; the separator.

    Raises:
        Invalid: A name is missing or there twice, a line has more or fewer cells, or the text is not UTF-8.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        try:
            first = file.readline()
            separator = max(",;\t|", key=first.count)
            names = next(csv.reader([first], delimiter=separator), [])
            _refuse_twice(names, f"{path}, line 1")
            reader = csv.reader(file, delimiter=separator)
            for cells in reader:
                if cells and len(cells) != len(names):
                    raise Invalid(
                        f"{len(cells)} cells where the header has {len(names)}",
                        where=f"{path}, line {reader.line_num + 1}",
                        hint="mend this line, or quote cells that hold the separator",
                    )
        except UnicodeDecodeError as reason:
            raise Invalid(f"not UTF-8 text: {reason.reason}", where=str(path), hint="save it as UTF-8") from None
        except csv.Error as reason:
            raise Invalid(f"not a CSV file: {reason}", where=str(path)) from None
    return separator


def _refuse_twice(names: list[str], where: str) -> None:
    for name in names:
        if not name.strip():
            raise Invalid("a column without a name", where=where, hint="name every column")
        if names.count(name) > 1:
            raise Invalid(f"two columns are named {name!r}", where=where, hint="rename one of them")


def _first(reason: BaseException) -> str:
    return re.sub(r"\s+", " ", str(reason).strip().splitlines()[0])[:200]
