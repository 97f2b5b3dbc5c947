"""What commands print for people."""

from __future__ import annotations

import pytest

from mainspring.core.console import show, table


def test_lists_and_mappings_are_shown_without_the_marks_of_python(capsys: pytest.CaptureFixture[str]) -> None:
    table(
        [{"aliases": ("champion", "b"), "metrics": {"auc": 0.81234567, "n": 3}, "none": ()}],
        ("aliases", "metrics", "none"),
    )
    assert capsys.readouterr().out.splitlines()[1] == "champion, b  auc 0.8123, n 3"


def test_a_name_cannot_rewrite_the_terminal_or_break_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    table([{"name": "a\x1b[2J\nb", "n": 1}, {"name": "ü", "n": 2}], ("name", "n"))
    show(None, "first\x1b]0;title\x07\nsecond")
    said = capsys.readouterr().out.splitlines()
    assert said == ["name           n", r"a\x1b[2J\x0ab  1", "ü              2", r"first\x1b]0;title\x07", "second"]
