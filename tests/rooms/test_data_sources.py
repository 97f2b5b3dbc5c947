"""What users bring: files good and broken, frames of pandas and Polars."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

from mainspring.core.errors import MainspringError
from mainspring.data.sources import read_source


def csv(folder: Path, text: str | bytes) -> Path:
    path = folder / "table.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_a_csv_file_is_read_with_types(tmp_path: Path) -> None:
    text = 'id,zip,day,delay,note\n1,02139,2013-01-01,2.5,"a, b"\n2,94110,2013-01-02,NA,"two\nlines"\n'
    frame, came_from = read_source(csv(tmp_path, text))
    assert came_from == "table.csv"
    assert frame.rows() == [
        (1, "02139", date(2013, 1, 1), 2.5, "a, b"),
        (2, "94110", date(2013, 1, 2), None, "two\nlines"),
    ]


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_other_separators_and_a_byte_order_mark_are_understood(tmp_path: Path, separator: str) -> None:
    text = "\ufeff" + f"a{separator}b\r\n1{separator}x,y\r\n"
    assert read_source(csv(tmp_path, text))[0].rows() == [(1, "x,y")]


@pytest.mark.parametrize(
    ("text", "what", "where"),
    [
        ("a,b\n1,2\n3\n", "1 cell where the header has 2", "line 3"),
        ('a,b\n1,"x\ny"\n1,2,3\n', "3 cells where the header has 2", "line 4"),
        ("a,b,a\n1,2,3\n", "two columns are named 'a'", "line 1"),
        ("a,,c\n1,2,3\n", "a column without a name", "line 1"),
        ('a,b\n1,2\n3,"open\n4,5\n', "unexpected end of data", "line 3"),
        (b"a,b\n1,2\n" + b"\xff\xfe,3\n", "not UTF-8 text", "line 3"),
        ("a,b\n", "no rows", "table.csv"),
        ("", "the file is empty", "table.csv"),
    ],
)
def test_a_broken_file_is_named_with_its_line(tmp_path: Path, text: str | bytes, what: str, where: str) -> None:
    with pytest.raises(MainspringError) as caught:
        read_source(csv(tmp_path, text))
    assert what in caught.value.what
    assert caught.value.where.endswith(where)
    assert len(str(caught.value).splitlines()) == 3


def test_a_missing_file_and_what_is_no_table_are_named(tmp_path: Path) -> None:
    for source in (tmp_path / "nowhere.csv", 42, pd.Series([1])):
        with pytest.raises(MainspringError) as caught:
            read_source(source)
        assert len(str(caught.value).splitlines()) == 3


def test_a_parquet_file_is_read_and_half_of_one_is_refused(tmp_path: Path) -> None:
    whole = tmp_path / "table.parquet"
    pl.DataFrame({"x": range(1000)}).write_parquet(whole)
    assert read_source(whole)[0].height == 1000
    half = tmp_path / "half.parquet"
    half.write_bytes(whole.read_bytes()[:500])
    with pytest.raises(MainspringError, match="not a Parquet file") as caught:
        read_source(half)
    assert len(str(caught.value).splitlines()) == 3


def test_a_pandas_frame_keeps_its_types_and_every_kind_of_missing_is_null() -> None:
    frame = pd.DataFrame(
        {
            "i": [1, 2],
            "f": [1.5, np.nan],
            "s": ["a", None],
            "o": pd.Series(["q", np.nan], dtype=object),
            "c": pd.Categorical(["u", None]),
            "n": pd.array([1, None], dtype="Int64"),
            "b": pd.array([True, None], dtype="boolean"),
            "t": pd.to_datetime(["2020-01-01", None]),
            "z": pd.to_datetime(["2020-01-01", None]).tz_localize("America/New_York"),
            "d": [date(2020, 1, 1), None],
        }
    )
    found, _ = read_source(frame)
    first = (
        1,
        1.5,
        "a",
        "q",
        "u",
        1,
        True,
        datetime(2020, 1, 1),
        datetime(2020, 1, 1, 5, tzinfo=UTC),
        date(2020, 1, 1),
    )
    assert found.rows() == [first, (2, *[None] * 9)]


def test_a_pandas_column_of_mixed_values_is_named() -> None:
    with pytest.raises(MainspringError, match="column 'm' mixes int, str") as caught:
        read_source(pd.DataFrame({"m": [1, "a"]}))
    assert len(str(caught.value).splitlines()) == 3
    with pytest.raises(MainspringError, match="two columns are named 'x'"):
        read_source(pd.DataFrame([[1, 2]], columns=["x", "x"]))
