"""What a page shows of a file."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.tracking.page.preview import SHOWN, preview

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)


@given(st.text(max_size=20), st.binary(max_size=200), st.integers(0, 300))
def test_any_bytes_under_any_name_have_a_preview(path: str, data: bytes, more: int) -> None:
    shown = preview(path, data, len(data) + more)
    assert shown.kind in ("text", "table", "image", "none")
    assert len(shown.rows) <= 100


def test_a_picture_is_told_by_its_bytes_and_not_by_its_name() -> None:
    assert preview("a.txt", PNG, len(PNG)).text == "data:image/png;base64," + base64.b64encode(PNG).decode()
    assert preview("a.png", b"<script>alert(1)</script>", 25).kind == "text"


def test_half_a_picture_is_not_shown() -> None:
    assert preview("a.png", PNG, len(PNG) + 1).kind == "none"


def test_a_text_that_is_cut_inside_a_character_is_still_text() -> None:
    head = ("x" * (SHOWN - 1) + "ü").encode()[:SHOWN]
    shown = preview("a.log", head, SHOWN + 10)
    assert (shown.kind, shown.cut) == ("text", True)


def test_a_long_table_shows_its_first_rows() -> None:
    data = b"a,b\n" + b"1,2\n" * 500
    shown = preview("a.csv", data, len(data))
    assert (shown.kind, len(shown.rows), shown.cut) == ("table", 100, True)


@pytest.mark.parametrize("data", [b'{"b": 1}', b"[" * 5000, b"{"])
def test_json_is_indented_when_it_is_json(data: bytes) -> None:
    shown = preview("a.json", data, len(data))
    assert shown.text == ('{\n  "b": 1\n}' if data == b'{"b": 1}' else data.decode())
