"""Clients are let in as quickly as they come, also by workers that have much to do, and by turns where many share."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Iterator
from typing import cast

import pytest
import uvloop

from mainspring.serving.modelserver.accepting import Entrance

CLIENTS = 200


class Hello(asyncio.Protocol):
    """Counts who was let in, says hello and hangs up."""

    def __init__(self, let_in: list[int], number: int = 0) -> None:
        self._let_in, self._number = let_in, number
        self.met = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.met = True
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(b"hello")
        self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._let_in.append(self._number)


@pytest.fixture
def door() -> Iterator[socket.socket]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(CLIENTS)
        yield sock


def clients(door: socket.socket, count: int) -> list[socket.socket]:
    """That are connected as far as they know: they wait at the socket."""
    return [socket.create_connection(door.getsockname(), timeout=20) for _ in range(count)]


def test_a_burst_is_let_in_within_a_few_turns_of_a_busy_loop(door: socket.socket) -> None:
    async def run() -> int:
        let_in: list[int] = []
        entrance = Entrance(door.dup(), lambda: Hello(let_in))
        entrance.open()
        turns = 0
        while len(let_in) < CLIENTS:
            time.sleep(0.02)  # what requests of others take, on the loop itself
            await asyncio.sleep(0)
            turns += 1
            assert turns < CLIENTS
        await entrance.close()
        return turns

    waiting = clients(door, CLIENTS)
    assert uvloop.run(run()) <= CLIENTS / 20 + 5, "twenty with each turn of twenty milliseconds, and a few to begin"
    for client in waiting:
        assert client.recv(5) == b"hello"
        client.close()


def test_workers_that_share_a_socket_and_are_idle_let_clients_in_by_turns(door: socket.socket) -> None:
    async def run() -> list[int]:
        let_in: list[int] = []
        entrances = [Entrance(door.dup(), lambda number=number: Hello(let_in, number)) for number in (0, 1)]  # type: ignore[misc]
        for entrance in entrances:
            entrance.open()
        while len(let_in) < CLIENTS:
            await asyncio.sleep(0)
        for entrance in entrances:
            await entrance.close()
        return let_in

    waiting = clients(door, CLIENTS)
    let_in = uvloop.run(run())
    assert CLIENTS / 4 < sum(let_in) < 3 * CLIENTS / 4, "neither has them all"
    for client in waiting:
        client.close()


def test_a_client_for_whom_no_file_is_left_is_let_in_when_there_is_one(door: socket.socket) -> None:
    async def run() -> None:
        let_in: list[int] = []
        entrance = Entrance(door.dup(), lambda: Hello(let_in))
        [client] = clients(door, 1)
        taken: list[int] = []
        with pytest.raises(OSError, match="Too many open files"):
            while True:
                taken.append(os.dup(0))
        entrance.open()
        await asyncio.sleep(0.05)
        assert let_in == []
        for number in taken:
            os.close(number)
        while not let_in:
            await asyncio.sleep(0.01)
        client.close()
        await entrance.close()

    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 1024), hard))
    try:
        uvloop.run(run())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_who_goes_away_before_being_let_in_is_no_trouble(door: socket.socket) -> None:
    async def run() -> None:
        let_in: list[int] = []
        made: list[Hello] = []

        def hello() -> Hello:
            made.append(Hello(let_in))
            return made[-1]

        for client in clients(door, 5):
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")  # a reset, no goodbye
            client.close()
        [patient] = clients(door, 1)
        entrance = Entrance(door.dup(), hello)
        entrance.open()
        assert await asyncio.to_thread(patient.recv, 5) == b"hello"
        patient.close()
        await entrance.close()
        while len(let_in) < sum(one.met for one in made):
            await asyncio.sleep(0.01)

    uvloop.run(run())
