"""One connection against a server that says whatever the test wants."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.errors import Invalid
from mainspring.serving.wire import Broken, Wire

OK = b"HTTP/1.1 200 OK\r\n"
WHOLE = OK + b"Content-Length: 2\r\nX-One: 1\r\n\r\nhi"


@contextmanager
def saying(*pieces: bytes, then_close: bool = False) -> Iterator[tuple[Wire, list[bytes]]]:
    """A connection to a server that answers each request with these pieces, and what it was asked."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as door:

        def serve() -> None:
            with door.accept()[0] as line:
                while data := line.recv(1 << 16):
                    asked.append(data)
                    for piece in pieces:
                        line.sendall(piece)
                    if then_close:
                        return

        thread = threading.Thread(target=serve)
        thread.start()
        wire = Wire("127.0.0.1", door.getsockname()[1], encrypted=False, timeout_s=30)
        try:
            yield wire, asked
        finally:
            wire.close()
            thread.join()


def soon() -> float:
    return time.monotonic() + 30


def test_a_request_goes_out_whole_and_the_connection_is_kept() -> None:
    with saying(WHOLE) as (wire, asked):
        for _ in range(2):
            answer = wire.ask("POST", "/v2?a=1", b"{}", {"x-caller": "zoë"}, soon())
            assert answer == (200, {"content-length": "2", "x-one": "1"}, b"hi")
            assert wire.is_usable
            assert wire.is_quiet()
    head, _, body = asked[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v2?a=1 HTTP/1.1\r\nhost: 127.0.0.1:")
    assert head.endswith("x-caller: zoë\r\ncontent-length: 2".encode("latin-1"))
    assert (body, len(asked)) == (b"{}", 2)


@given(cuts=st.lists(st.integers(0, 200), max_size=4))
def test_where_an_answer_is_cut_does_not_matter(cuts: list[int]) -> None:
    chunked = OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3\r\n you\r\n0\r\n\r\n".replace(b"3\r\n", b"4\r\n")
    text = b"HTTP/1.1 100 Continue\r\n\r\n" + chunked
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    with saying(*(text[a:b] for a, b in itertools.pairwise(edges) if a < b)) as (wire, _):
        assert wire.ask("GET", "/", None, {}, soon())[::2] == (200, b"hello you")
        assert wire.is_usable


def test_without_a_length_the_end_of_the_connection_is_the_end() -> None:
    with saying(OK + b"\r\nall of it", then_close=True) as (wire, _):
        assert wire.ask("GET", "/", None, {}, soon()).body == b"all of it"
        assert not wire.is_usable


@pytest.mark.parametrize("text", [b"", OK, OK + b"Content-Length: 9\r\n\r\nhalf", b"SSH-2.0-none\r\n\r\n"])
def test_half_an_answer_and_no_http_are_broken(text: bytes) -> None:
    with saying(text, then_close=True) as (wire, _), pytest.raises((Broken, OSError)):
        wire.ask("GET", "/", None, {}, soon())
    assert not wire.is_usable


def test_a_server_that_wants_to_hang_up_is_not_asked_again() -> None:
    with saying(OK + b"Connection: close\r\nContent-Length: 0\r\n\r\n", then_close=True) as (wire, _):
        assert wire.ask("GET", "/", None, {}, soon()).status == 200
        assert not wire.is_usable


def test_a_deadline_ends_the_wait() -> None:
    with saying(b"") as (wire, _), pytest.raises(TimeoutError):
        wire.ask("GET", "/", None, {}, time.monotonic() + 0.05)


@pytest.mark.parametrize("caller", ["a\r\nx-admin: 1", "a\nb", "a\0", "дом"])
def test_a_header_that_is_more_than_a_line_is_refused(caller: str) -> None:
    with saying(WHOLE) as (wire, asked):
        with pytest.raises(Invalid, match="can't be the head"):
            wire.ask("GET", "/", None, {"x-caller": caller}, soon())
        assert not asked
