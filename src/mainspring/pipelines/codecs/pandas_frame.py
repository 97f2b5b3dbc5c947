"""pandas frames and series: Parquet for the columns, with their dtypes and names beside them in its metadata.

The columns go through NumPy and polars, so no pyarrow is needed. An index is kept as columns of its own.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from mainspring.core.errors import Invalid

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

NAME = "pandas"
_KEY = "mainspring"


def takes(value: object) -> bool:
    """Whether it is a DataFrame or Series of pandas."""
    kind = type(value)
    return kind.__module__.partition(".")[0] == "pandas" and kind.__name__ in ("DataFrame", "Series")


def write(value: object, path: Path) -> None:
    """Write Parquet.

    Raises:
        Invalid: A column holds values that Parquet has no type for, or the columns have several levels.
    """
    import pandas as pd
    import polars as pl

    is_series = isinstance(value, pd.Series)
    frame = cast("pd.Series[Any]", value).to_frame() if is_series else cast("pd.DataFrame", value)
    if frame.columns.nlevels > 1:
        raise Invalid("a pandas frame whose columns have several levels", hint="give the columns plain names")
    index = [] if _is_plain(frame.index) else [frame.index.get_level_values(n) for n in range(frame.index.nlevels)]
    columns = [_column(each.to_series(), f"i{n}") for n, each in enumerate(index)]
    columns += [_column(frame.iloc[:, n], f"c{n}") for n in range(frame.shape[1])]
    about = {
        "kind": "Series" if is_series else "DataFrame",
        "rows": len(frame),
        "index": [[each.name, _dtype(each.dtype)] for each in index],
        "columns": [[_label(name), _dtype(frame.dtypes.iloc[n])] for n, name in enumerate(frame.columns)],
    }
    pl.DataFrame(columns).write_parquet(path, metadata={_KEY: json.dumps(about)})


def read(path: Path) -> object:
    """The frame or series."""
    import pandas as pd
    import polars as pl

    about = json.loads(pl.read_parquet_metadata(path)[_KEY])
    table = pl.read_parquet(path, memory_map=False)
    levels = [_back(table[f"i{n}"], dtype) for n, (_, dtype) in enumerate(about["index"])]
    columns = {n: _back(table[f"c{n}"], dtype) for n, (_, dtype) in enumerate(about["columns"])}
    frame = pd.DataFrame(columns, index=pd.RangeIndex(about["rows"]))
    frame.columns = pd.Index([name for name, _ in about["columns"]])
    if len(levels) == 1:
        frame.index = pd.Index(levels[0], name=about["index"][0][0])
    elif levels:
        frame.index = pd.MultiIndex.from_arrays(levels, names=[name for name, _ in about["index"]])
    return frame.iloc[:, 0] if about["kind"] == "Series" else frame


def _is_plain(index: Any) -> bool:
    import pandas as pd

    return isinstance(index, pd.RangeIndex) and index.start == 0 and index.step == 1 and index.name is None


def _label(name: object) -> object:
    if name is None or isinstance(name, (str, int)):
        return name
    raise Invalid(f"a column named {name!r}", hint="use text or whole numbers for column names")


def _dtype(dtype: Any) -> object:
    import pandas as pd

    if isinstance(dtype, pd.CategoricalDtype):
        levels = dtype.categories
        return {"categories": levels.tolist(), "ordered": bool(dtype.ordered), "dtype": str(levels.dtype)}
    return str(dtype)


def _column(column: pd.Series[Any], name: str) -> pl.Series:
    import pandas as pd
    import polars as pl

    if isinstance(column.dtype, pd.CategoricalDtype):
        return pl.Series(name, column.cat.codes.to_numpy())
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        return pl.Series(name, column.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy())
    if column.dtype.kind in "biufmM" and not pd.api.types.is_extension_array_dtype(column.dtype):
        return pl.Series(name, column.to_numpy())
    values = [None if pd.isna(each) else each for each in column.tolist()]
    try:
        return pl.Series(name, values, strict=True)
    except TypeError as reason:
        raise Invalid(f"column {column.name!r}: {reason}", hint="give the column one type") from None


def _back(column: pl.Series, dtype: Any) -> Any:
    import pandas as pd

    if isinstance(dtype, dict):
        levels = pd.Index(dtype["categories"], dtype=dtype["dtype"])
        return pd.Categorical.from_codes(column.to_list(), categories=levels, ordered=dtype["ordered"])
    if dtype.startswith("datetime64") and "," in dtype:
        zone = dtype.partition(",")[2].strip(" ]")
        return pd.Series(column.to_numpy()).dt.tz_localize("UTC").dt.tz_convert(zone)
    simple = column.null_count() == 0 and column.dtype.is_numeric()
    values = column.to_numpy() if simple or dtype.startswith(("datetime64", "timedelta64")) else column.to_list()
    return pd.Series(values, dtype=dtype)
