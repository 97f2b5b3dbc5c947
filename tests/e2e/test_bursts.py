"""A burst of new clients at a real model server: each is answered, or hears at once that it shall come back."""

from __future__ import annotations

import json
import select
import socket
import time
from pathlib import Path

from tests.e2e.plansite import NAMES, Site, make_packages

from mainspring.serving.supervisor import ServerOptions, Supervisor
from mainspring.storage.open import open_delta

CLIENTS, ROWS = 400, 1000
LONGEST_S = 20.0
"""Of what is answered; many times what it takes, for machines that do other things beside."""


def request(rows: int) -> bytes:
    data = [0.5] * (rows * len(NAMES))
    tensor = {"name": "rows", "shape": [rows, len(NAMES)], "datatype": "FP64", "data": data}
    body = json.dumps({"inputs": [tensor]}).encode()
    return b"POST /v2/models/m/infer HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % len(body) + body


def ask(address: tuple[str, int], rows: int, count: int) -> list[tuple[int, bytes, float]]:
    """Status, head and seconds of as many requests at once, each on a connection of its own."""
    message, started = request(rows), time.monotonic()
    socks = [socket.create_connection(address) for _ in range(count)]
    for sock in socks:
        sock.sendall(message)
    open_, heads = {sock.fileno(): sock for sock in socks}, dict.fromkeys((s.fileno() for s in socks), b"")
    found = []
    poll = select.poll()
    for number in open_:
        poll.register(number, select.POLLIN)
    while open_:
        for number, _ in poll.poll(1000 * LONGEST_S):
            heads[number] += open_[number].recv(1 << 20)
            head, ended, body = heads[number].partition(b"\r\n\r\n")
            if ended and len(body) >= int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]):
                found.append((int(head[9:12]), head.lower(), time.monotonic() - started))
                poll.unregister(number)
                open_.pop(number).close()
        assert time.monotonic() - started < 2 * LONGEST_S
    return found


def test_a_burst_of_new_clients_is_answered_or_told_to_come_back_and_forgotten_soon(tmp_path: Path) -> None:
    site = Site(tmp_path / "serving", open_delta("", tmp_path), *make_packages(tmp_path / "packages"))
    site.plan(1, 1)
    server = Supervisor(site.folder, ServerOptions(drain_s=0.3))
    try:
        host, _, port = server.start().rpartition("//")[2].partition(":")
        address = host, int(port)
        [(status, _, _)] = ask(address, ROWS, 1)
        assert status == 200
        found = ask(address, ROWS, CLIENTS)
        statuses = [status for status, _, _ in found]
        assert len(found) == CLIENTS
        assert set(statuses) == {200, 429}, "more than is answered in a second, and nothing fails"
        assert all(b"\r\nretry-after: " in head for status, head, _ in found if status == 429)
        assert max(took for _, _, took in found) < LONGEST_S
        assert [status for status, _, _ in ask(address, 1, 8)] == [200] * 8, "as if nothing had been"
    finally:
        server.stop()
