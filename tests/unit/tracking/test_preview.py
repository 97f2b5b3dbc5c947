"""What a page shows of a file."""

from __future__ import annotations

import io
import json

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.tracking.page.parquet import rows_of
from mainspring.tracking.page.preview import preview

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)


@given(st.text(max_size=20), st.binary(max_size=200), st.integers(0, 300))
def test_any_bytes_under_any_name_have_a_preview(path: str, data: bytes, more: int) -> None:
    shown = preview(path, data, len(data) + more)
    assert shown.kind in ("text", "table", "image", "page", "none")
    assert len(shown.rows) <= 101


def test_a_picture_is_told_by_its_name_and_its_bytes() -> None:
    assert preview("a.png", PNG, len(PNG)).kind == "image"
    assert preview("a.txt", PNG, len(PNG)).kind == "none"
    assert preview("a.png", b"<script>alert(1)</script>", 25).kind == "text"


def test_a_text_that_is_cut_inside_a_character_is_still_text() -> None:
    shown = preview("a.log", "xü".encode()[:2], 100)
    assert (shown.kind, shown.cut) == ("text", True)


def test_a_long_table_shows_its_first_rows() -> None:
    data = b"a,b\n" + b"1,2\n" * 500
    shown = preview("a.csv", data, len(data))
    assert (shown.kind, len(shown.rows), shown.cut) == ("table", 101, True)


def test_a_table_of_long_cells_stays_small() -> None:
    data = b"a,b\n" + b"x" * 300 + b",2\n" * 1000
    shown = preview("a.csv", data, len(data))
    assert sum(len(cell) for row in shown.rows for cell in row) <= 50_200


def test_the_row_that_the_cut_goes_through_is_left_out() -> None:
    assert preview("a.csv", b"a,b\n1,2\n3", 20).rows == (("a", "b"), ("1", "2"))
    assert preview("a.csv", b"", 0).kind == "text"


def test_a_table_in_json_is_shown_as_one() -> None:
    data = json.dumps({"columns": ["a", "b"], "data": [[1, None], [0.5, "x"]]}).encode()
    assert preview("t.json", data, len(data)).rows == (("a", "b"), ("1", ""), ("0.5", "x"))


def test_rows_of_parquet_are_read_and_what_is_no_parquet_shows_nothing() -> None:
    file = io.BytesIO()
    pl.DataFrame({"a": [1, 2], "b": [[1], None]}).write_parquet(file)
    assert [row[0] for row in rows_of([file.getvalue()])] == ["a", 1, 2]
    assert rows_of([b"PAR1" + bytes(100) + b"PAR1"]) == []


@pytest.mark.parametrize("data", [b'{"b": 1}', b"[" * 5000, b"{"])
def test_json_is_indented_when_it_is_json(data: bytes) -> None:
    shown = preview("a.json", data, len(data))
    assert shown.text == ('{\n  "b": 1\n}' if data == b'{"b": 1}' else data.decode())
