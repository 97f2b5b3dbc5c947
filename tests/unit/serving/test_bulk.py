"""Files of feedback, line by line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.errors import Invalid
from mainspring.serving.bulk import Rejected, read_feedback
from mainspring.serving.model import Feedback

DAY = 1_364_774_400_000_000


def test_csv_and_json_lines_say_the_same() -> None:
    text = b"prediction_id,value,kind,at\na,1,,\nb,late,label,2013-04-01\nc,0.5,rating,7\n"
    lines = b'{"prediction_id":"a","value":true}\n\n{"prediction_id":"b","value":"late","at":"2013-04-01"}\n'
    lines += b'{"prediction_id":"c","value":0.5,"kind":"rating","at":7}'
    expected = [Feedback("a", 1.0), Feedback("b", "late", "label", DAY), Feedback("c", 0.5, "rating", 7)]
    assert [item for _, item in read_feedback(text)] == expected
    assert [item for _, item in read_feedback(b"\xef\xbb\xbf" + text)] == expected
    assert [item for _, item in read_feedback(lines)] == expected


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("a,", "needs prediction_id and value"),
        (",1", "needs prediction_id and value"),
        ("a,nan", "not finite"),
        ("a,1e999", "not finite"),
        ("a,1,two words", "kind of feedback"),
        ("a,1,,soon", "not a time"),
        ("a,1,,99999999999999999999", "not a time"),
        ("a,1,,9223372036854775807", "out of range"),
        ("a" * 300 + ",1", "needs the id"),
    ],
)
def test_a_bad_line_is_put_aside_with_its_number_and_the_others_are_read(line: str, why: str) -> None:
    found = list(read_feedback(f"prediction_id,value,kind,at\nx,1\n{line}\ny,2\n".encode()))
    assert [item for number, item in found if number != 3] == [Feedback("x", 1.0), Feedback("y", 2.0)]
    (bad,) = [item for number, item in found if number == 3]
    assert isinstance(bad, Rejected)
    assert why in bad.reason


@pytest.mark.parametrize("data", [b"", b"id,label\na,1\n", b"\xff\xfe", b"prediction_id\n"])
def test_what_is_no_such_file_is_refused(data: bytes) -> None:
    with pytest.raises(Invalid):
        list(read_feedback(data))


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_are_read_or_refused(data: bytes) -> None:
    for prefix in (b"", b"prediction_id,value,at\n", b'{"prediction_id":"a","value":1}\n'):
        try:
            assert all(isinstance(item, Feedback | Rejected) for _, item in read_feedback(prefix + data))
        except Invalid:
            continue
