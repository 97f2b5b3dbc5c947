"""Open files that processes of one user pass to each other."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mainspring.core import passing
from mainspring.core.passing import Meeting, copied, give, take, visit


def test_nobody_is_met_where_nobody_waits_or_under_a_name_that_is_none() -> None:
    with Meeting() as meeting:
        name = meeting.name
        other = visit(name)
        assert other is not None
        other.close()
    assert visit(name) is None
    assert visit("../etc") is None
    assert visit("") is None


def test_a_file_is_passed_in_both_directions(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"bytes")
    with Meeting() as meeting, path.open("rb") as file:
        other = visit(meeting.name)
        assert other is not None
        with other:
            meeting.give(file.fileno())
            with open(take(other), "rb") as passed:
                assert passed.read() == b"bytes"
    with Meeting() as meeting, path.open("rb") as file:
        other = visit(meeting.name)
        assert other is not None
        with other:
            give(other, file.fileno())
        with open(meeting.take(), "rb") as passed:
            assert not os.get_inheritable(passed.fileno())


def test_another_user_is_neither_given_nor_asked_for_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Meeting() as meeting, (tmp_path / "a").open("wb") as file:
        other = visit(meeting.name)
        assert other is not None
        monkeypatch.setattr(passing, "_is_own", lambda _: False)
        with other, pytest.raises(ConnectionAbortedError):
            meeting.give(file.fileno())
        assert visit(meeting.name) is None


def test_only_plain_files_are_taken() -> None:
    source, sink = os.pipe()
    with Meeting() as meeting, open(source, "rb"), open(sink, "wb"):
        other = visit(meeting.name)
        assert other is not None
        with other:
            give(other, source)
        with pytest.raises(ConnectionAbortedError, match="no plain file"):
            meeting.take()
    with Meeting() as meeting:
        other = visit(meeting.name)
        assert other is not None
        other.send(b"f")
        other.close()
        with pytest.raises(ConnectionAbortedError, match="no file"):
            meeting.take()


@pytest.mark.parametrize("alone", [True, False])
def test_a_part_of_a_file_is_copied_to_the_same_place(
    tmp_path: Path, alone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not alone:
        monkeypatch.setattr(os, "copy_file_range", _not_here)
    monkeypatch.setattr(passing, "PIECE", 7)
    content = bytes(range(100))
    (tmp_path / "a").write_bytes(content)
    (tmp_path / "b").write_bytes(content[:10])
    with (tmp_path / "a").open("rb") as source, (tmp_path / "b").open("r+b", buffering=0) as target:
        assert sum(copied(source.fileno(), target.fileno(), 10, 1000)) == 90
    assert (tmp_path / "b").read_bytes() == content


def _not_here(*_: object) -> int:
    raise OSError(18, "Invalid cross-device link")
