"""Paths of artifacts: what a client may send, and what never gets through."""

from __future__ import annotations

import posixpath
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.errors import Invalid
from mainspring.mlflow.paths import below, file_path, folder_path

_TEXTS = st.text(max_size=12) | st.lists(
    st.sampled_from(["..", ".", "/", "a", "%2e", "%2F", "%252e", "\\", "#", "C:", "file:", "~", " ", "ü"]), max_size=6
).map("".join)


@given(_TEXTS)
def test_what_gets_through_is_a_plain_relative_path(text: str) -> None:
    try:
        found = file_path(text)
    except Invalid:
        return
    assert found == posixpath.normpath(found)
    assert not found.startswith(("/", "~", "../"))
    assert not {"..", "."} & set(found.split("/"))
    assert not set("#\\") & set(found)
    assert unquote(found) == found or "%" not in quote(unquote(found), safe="/%")
    assert found.isprintable()


_NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="/\\#%~:", exclude_categories=("C", "Z")), min_size=1, max_size=8
).filter(lambda name: name not in (".", ".."))


@given(st.lists(_NAMES, min_size=1, max_size=4))
def test_every_plain_path_gets_through_once_it_is_decoded(parts: list[str]) -> None:
    path = "/".join(parts)
    assert file_path(unquote(quote(path))) == path


@pytest.mark.parametrize(
    "text",
    [
        "", "..", "../a", "a/../../b", "a/..", "/etc/passwd", "//a", "C:/windows", "c:\\x", "a\\b", "a#b", "%2e%2e/a",
        "a%2Fb", "%252e", "file:///etc/passwd", "s3://b/a", "~root", "a\nb", "a\x00b", ".", "x" * 1001,
    ],
)  # fmt: skip
def test_a_path_that_is_not_one_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        file_path(text)


@pytest.mark.parametrize(("text", "found"), [("", ""), (".", ""), ("a/", "a"), ("a//b", "a/b"), ("100%", "100%")])
def test_a_folder_may_end_with_a_slash_and_be_the_topmost(text: str, found: str) -> None:
    assert folder_path(text) == found


def test_what_lies_below_a_location_has_one_slash_between() -> None:
    assert below("s3://bucket/a/", "models", "m-1", "artifacts") == "s3://bucket/a/models/m-1/artifacts"
