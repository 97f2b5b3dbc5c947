"""What a step says in a shared process is in its log, and whoever else speaks is left alone."""

from __future__ import annotations

import io
import sys
import tempfile
import threading
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.pipelines.listening import Listener, heard

SECRET = "s3cr3t-word"


def test_what_is_said_goes_on_and_is_written_down(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (sys.stdout, sys.stderr)
    path = tmp_path / "logs" / "train-1.txt"
    with heard(path):
        print("one")
        print("two", file=sys.stderr)
        sys.stdout.writelines(["three", "\n"])
        assert sys.stdout.encoding == before[0].encoding
    print("four")
    assert (sys.stdout, sys.stderr) == before
    assert path.read_text() == "one\ntwo\nthree\n"
    assert capsys.readouterr() == ("one\nthree\nfour\n", "two\n")


def test_the_words_of_other_threads_are_their_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both, before = threading.Barrier(2, timeout=10), sys.stdout

    def other() -> None:
        with heard(tmp_path / "other.txt"):
            both.wait()
            print("other\n", end="")
            both.wait()

    thread = threading.Thread(target=other)
    thread.start()
    with heard(tmp_path / "this.txt"):
        both.wait()
        print("this\n", end="")
    print("neither")
    both.wait()
    thread.join()
    assert (tmp_path / "this.txt").read_text() == "this\n"
    assert (tmp_path / "other.txt").read_text() == "other\n"
    assert sys.stdout is before
    assert sorted(capsys.readouterr().out.split()) == ["neither", "other", "this"]


def test_a_step_in_a_step_has_a_log_of_its_own(tmp_path: Path) -> None:
    with heard(tmp_path / "outer.txt"):
        print("before")
        with heard(tmp_path / "inner.txt"):
            print("within")
        print("after")
    assert (tmp_path / "outer.txt").read_text() == "before\nafter\n"
    assert (tmp_path / "inner.txt").read_text() == "within\n"


@given(st.lists(st.integers(0, 40), max_size=6), st.text(max_size=12))
def test_no_secret_gets_through_however_it_is_cut(cuts: list[int], around: str) -> None:
    said, passed = f"{around}{SECRET}{around}{SECRET[:4]}", io.StringIO()
    ends = sorted({0, len(said), *(cut for cut in cuts if cut < len(said))})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.txt"
        listener = Listener(path, [SECRET.encode()])
        for begin, end in pairwise(ends):
            listener.hear("stdout", passed, said[begin:end])
        listener.end()
        wanted = said.replace(SECRET, "***")
        assert path.read_bytes().decode() == wanted
        assert passed.getvalue() == wanted


def test_a_log_that_can_not_be_written_does_not_stop_the_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "logs").write_text("a file where the folder should be")
    with heard(tmp_path / "logs" / "train-1.txt"):
        print("on")
    assert capsys.readouterr().out == "on\n"
