"""Slow clients, half requests and floods, against real sockets: they cost their own places and nobody else's."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.unit.serving.plane import Plane, plane

from mainspring.serving.modelserver.connections import Connection, Crowd
from mainspring.serving.modelserver.plan import Limits

BODY = json.dumps(
    {
        "inputs": [
            {"name": "x", "shape": [1], "datatype": "FP64", "data": [4.0]},
            {"name": "name", "shape": [1], "datatype": "BYTES", "data": ["anna"]},
        ]
    }
).encode()
HEAD = b"POST /v2/models/m/infer HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(BODY)
HEALTH = b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n"
Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter


@dataclass
class Door:
    made: Plane
    crowd: Crowd
    port: int

    async def come(self, *parts: bytes) -> tuple[Reader, Writer]:
        """A client that connects and sends that."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        for part in parts:
            writer.write(part)
            await writer.drain()
        return reader, writer

    async def told(self, *parts: bytes) -> tuple[int, bytes]:
        """The status and body that a client is given which sends that."""
        reader, writer = await self.come(*parts)
        found = await answer(reader)
        writer.close()
        return found


async def answer(reader: Reader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return int(head[9:12]), await reader.readexactly(length)


@asynccontextmanager
async def door(folder: Path, limits: Limits) -> AsyncIterator[Door]:
    loop = asyncio.get_running_loop()
    async with plane(folder, limits) as made:
        crowd = Crowd(limits)
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        sock.bind(("127.0.0.1", 0))
        server = await loop.create_server(lambda: Connection(made.app.reply, crowd), sock=sock)
        sweeping = loop.create_task(crowd.sweep_on())
        try:
            yield Door(made, crowd, sock.getsockname()[1])
        finally:
            made.scorer.door.set()
            sweeping.cancel()
            server.close()
            await crowd.close(0.0)


def through(folder: Path, limits: Limits, act: Callable[[Door], Coroutine[None, None, None]]) -> None:
    async def run() -> None:
        async with door(folder, limits) as opened:
            await asyncio.wait_for(act(opened), 30)

    asyncio.run(run())


@pytest.mark.parametrize("part", [b"", HEAD[:20], HEAD + BODY[:9]])
def test_half_requests_in_all_places_do_not_keep_others_out(tmp_path: Path, part: bytes) -> None:
    async def act(opened: Door) -> None:
        slow = [await opened.come(part) for _ in range(16)]
        for _ in range(20):
            status, body = await opened.told(HEAD, BODY)
            assert (status, json.loads(body)["outputs"][0]["data"]) == (200, [8.0])
        assert opened.crowd.ended >= 1
        assert len(opened.crowd.connections) <= 16
        for _, writer in slow:
            writer.close()

    through(tmp_path, Limits(max_connections=16), act)


def test_when_everybody_in_a_place_waits_for_an_answer_one_more_is_told_to_come_back(tmp_path: Path) -> None:
    async def act(opened: Door) -> None:
        opened.made.scorer.door.clear()
        waiting = [await opened.come(HEAD, BODY) for _ in range(16)]
        await opened.made.until(16)
        reader, writer = await opened.come(HEAD, BODY)
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"429" in head.split(b"\r\n")[0]
        assert b"connection: close" in head
        assert b"retry-after: " in head
        opened.made.scorer.door.set()
        assert [(await answer(held))[0] for held, _ in waiting] == [200] * 16
        for one in (writer, *(other for _, other in waiting)):
            one.close()

    through(tmp_path, Limits(max_connections=16), act)


@pytest.mark.parametrize("part", [HEAD[:20], HEAD + BODY[:9]])
def test_a_request_that_does_not_come_in_time_is_answered_408(tmp_path: Path, part: bytes) -> None:
    async def act(opened: Door) -> None:
        status, body = await opened.told(part)
        assert (status, "0.2 s" in json.loads(body)["error"]) == (408, True)

    through(tmp_path, Limits(read_s=0.2), act)


def test_a_client_may_be_idle_between_two_requests_for_longer_than_a_request_may_take(tmp_path: Path) -> None:
    async def act(opened: Door) -> None:
        reader, writer = await opened.come(HEALTH)
        assert (await answer(reader))[0] == 200
        opened.crowd.sweep(asyncio.get_running_loop().time() + 60)
        writer.write(HEALTH)
        assert (await answer(reader))[0] == 200
        writer.close()

    through(tmp_path, Limits(read_s=0.1), act)


def test_a_long_body_that_keeps_coming_has_time(tmp_path: Path) -> None:
    async def act(opened: Door) -> None:
        spaces = b" " * 2_000
        head = HEAD.replace(b"%d" % len(BODY), b"%d" % (len(BODY) + 4 * len(spaces)))
        reader, writer = await opened.come(head)
        for part in (spaces, spaces, spaces, spaces, BODY):
            opened.crowd.sweep(asyncio.get_running_loop().time() + 1.0)
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.02)
        assert (await answer(reader))[0] == 200
        writer.close()

    through(tmp_path, Limits(read_s=1.5, min_bytes_s=1000), act)


def test_headers_without_end_are_refused(tmp_path: Path) -> None:
    async def act(opened: Door) -> None:
        status, body = await opened.told(HEAD[:-2], b"x-filler: " + b"a" * 70_000)
        assert (status, b"headers" in body) == (431, True)

    through(tmp_path, Limits(), act)


def test_what_is_no_http_is_refused_in_the_shape_of_the_protocol(tmp_path: Path) -> None:
    async def act(opened: Door) -> None:
        status, body = await opened.told(b"hello there\r\n\r\n")
        assert (status, list(json.loads(body))) == (400, ["error"])

    through(tmp_path, Limits(), act)


def test_a_client_that_does_not_read_its_answers_is_left(tmp_path: Path) -> None:
    async def act(opened: Door) -> None:
        mute = socket.socket()
        mute.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        mute.setblocking(False)
        await asyncio.get_running_loop().sock_connect(mute, ("127.0.0.1", opened.port))
        asks = HEALTH.replace(b"/v2/health/live", b"/metrics") * 500
        sending = asyncio.create_task(asyncio.get_running_loop().sock_sendall(mute, asks))
        while not opened.crowd.stuck:
            await asyncio.sleep(0.01)
        assert (await opened.told(HEAD, BODY))[0] == 200
        while opened.crowd.connections:
            await asyncio.sleep(0.05)
        assert opened.crowd.ended == 1
        sending.cancel()
        mute.close()

    through(tmp_path, Limits(write_s=0.2), act)


def test_a_client_that_hangs_up_while_it_waits_costs_no_prediction(tmp_path: Path) -> None:
    async def act(opened: Door) -> None:
        opened.made.scorer.door.clear()
        reader, writer = await opened.come(HEAD, BODY)
        await asyncio.to_thread(opened.made.scorer.reached.wait)
        _, lost = await opened.come(HEAD, BODY)
        await opened.made.until(2)
        lost.transport.abort()
        while len(opened.crowd.connections) > 1:
            await asyncio.sleep(0.01)
        opened.made.scorer.door.set()
        assert (await answer(reader))[0] == 200
        await opened.made.until(0)
        assert opened.made.scorer.calls == [[4.0]]
        writer.close()

    through(tmp_path, Limits(), act)


def test_requests_sent_at_once_are_answered_in_their_order(tmp_path: Path) -> None:
    async def act(opened: Door) -> None:
        bodies = [BODY.replace(b"4.0", b"%d.0" % number) for number in range(5)]
        reader, writer = await opened.come(b"".join(HEAD + body for body in bodies))
        found = [json.loads((await answer(reader))[1])["outputs"][0]["data"] for _ in bodies]
        assert found == [[2.0 * number] for number in range(5)]
        writer.close()

    through(tmp_path, Limits(), act)


def test_a_body_in_chunks_is_read_and_what_follows_it_is_no_header(tmp_path: Path) -> None:
    async def act(opened: Door) -> None:
        head = HEAD.replace(b"content-length: %d" % len(BODY), b"transfer-encoding: chunked")
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (BODY[:7], BODY[7:]))
        status, body = await opened.told(head, chunks, b"0\r\ncontent-type: text/plain\r\n\r\n")
        assert (status, json.loads(body)["outputs"][0]["data"]) == (200, [8.0])

    through(tmp_path, Limits(), act)


def test_a_client_that_waits_for_a_word_before_its_body_gets_it(tmp_path: Path) -> None:
    async def act(opened: Door) -> None:
        reader, writer = await opened.come(HEAD[:-2] + b"expect: 100-continue\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(BODY)
        assert (await answer(reader))[0] == 200
        writer.close()

    through(tmp_path, Limits(), act)


@pytest.mark.parametrize("line", [b"connection: close\r\n", b"connection: upgrade\r\nupgrade: h2c\r\n"])
def test_who_asks_for_an_end_or_for_another_protocol_is_answered_and_left(tmp_path: Path, line: bytes) -> None:
    async def act(opened: Door) -> None:
        reader, writer = await opened.come(HEALTH[:-2] + line + b"\r\n")
        assert (await answer(reader))[0] == 200
        assert await reader.read() == b""
        writer.close()

    through(tmp_path, Limits(), act)


def test_a_client_of_an_older_release_of_http_is_answered_and_left(tmp_path: Path) -> None:
    async def act(opened: Door) -> None:
        reader, writer = await opened.come(HEALTH.replace(b"1.1", b"1.0"))
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"connection: close" in head
        assert json.loads(await reader.read()) == {"live": True}
        writer.close()

    through(tmp_path, Limits(), act)


def test_a_head_is_answered_without_a_body_and_with_its_length(tmp_path: Path) -> None:
    async def act(opened: Door) -> None:
        reader, writer = await opened.come(HEALTH.replace(b"GET", b"HEAD"), HEALTH)
        assert b"content-length: 13" in await reader.readuntil(b"\r\n\r\n")
        assert await answer(reader) == (200, b'{"live":true}')
        writer.close()

    through(tmp_path, Limits(), act)


def test_a_body_beyond_the_limit_is_refused_by_its_length_or_when_it_comes(tmp_path: Path) -> None:
    async def act(opened: Door) -> None:
        told = HEAD.replace(b"%d" % len(BODY), b"2000")
        assert (await opened.told(told))[0] == 413
        chunked = HEAD.replace(b"content-length: %d" % len(BODY), b"transfer-encoding: chunked")
        assert (await opened.told(chunked, b"7d0\r\n" + b" " * 2000 + b"\r\n"))[0] == 413
        assert (await opened.told(HEAD, BODY))[0] == 200

    through(tmp_path, Limits(max_body_bytes=1000), act)
