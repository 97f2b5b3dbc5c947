"""Files and sudden ends: of the server in the middle of an upload, of a client, of the line between them."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import IncompleteRead
from pathlib import Path
from urllib.request import Request as UrlRequest
from urllib.request import urlopen

import pytest
from blake3 import blake3
from tests.ports import own_ports

from mainspring.core.errors import Corrupt
from mainspring.core.passing import MEET, MET, Meeting
from mainspring.demo.client import Api
from mainspring.demo.server import ServerProcess
from mainspring.sdk.transfers import Transfers

pytestmark = pytest.mark.usefixtures("warm_programs")

SIZE = 24 << 20
SENT = 10 << 20


def started(folder: Path) -> Iterator[ServerProcess]:
    port, serving_port = own_ports(2)
    made = ServerProcess(folder, port=port, serving_port=serving_port)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    """One that has nothing yet, and may be killed."""
    yield from started(tmp_path)


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One for all tests that neither kill it nor look at uploads on their way."""
    yield from started(tmp_path_factory.mktemp("site"))


@pytest.fixture
def source(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A file that no other test has."""
    path = tmp_path / "weights.bin"
    path.write_bytes(blake3(request.node.name.encode()).digest(length=SIZE))
    return path


def eventually(true: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end, f"{what} did not happen"
        time.sleep(0.02)


def new_run(server: ServerProcess) -> str:
    with closing(Api(server.address)) as api:
        made = api.post("/api/v1/runs", {"experiment": "files"})
    assert isinstance(made, dict)
    return f"/api/v1/runs/{made['id']}/artifacts"


def broken_off(server: ServerProcess, address: str, source: Path, headers: dict[str, str]) -> socket.socket:
    """A connection on which the first `SENT` bytes of a file were sent, and the rest never will."""
    line = socket.create_connection(("127.0.0.1", server.port))
    named = {"Host": f"127.0.0.1:{server.port}", "Content-Length": str(SIZE), **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    line.sendall(f"PUT {address} HTTP/1.1\r\n{head}\r\n".encode() + source.read_bytes()[:SENT])
    return line


def on_the_way(server: ServerProcess) -> int:
    """Bytes in the scratch folder of the server."""
    return sum(path.stat().st_size for path in (server.folder / ".mainspring" / "uploads").glob("*"))


def blobs(server: ServerProcess) -> list[Path]:
    return list((server.folder / ".mainspring" / "blobs").glob("[0-9a-f][0-9a-f]/*"))


def stored(server: ServerProcess, source: Path) -> Path:
    """Where a server keeps a file."""
    digest = blake3(source.read_bytes()).hexdigest()
    (found,) = (path for path in blobs(server) if path.parent.name + path.name == digest)
    return found


def test_a_client_that_goes_away_leaves_nothing(server: ServerProcess, source: Path) -> None:
    place = new_run(server)
    with broken_off(server, f"{place}/a.bin", source, {}):
        eventually(lambda: on_the_way(server) > 0, "the upload")
    eventually(lambda: on_the_way(server) == 0, "the end of the upload")
    assert listed(server, place) == []
    assert blobs(server) == []


def test_a_server_killed_in_the_middle_has_no_half_of_a_file(server: ServerProcess, source: Path) -> None:
    place = new_run(server)
    with broken_off(server, f"{place}/a.bin", source, {}):
        eventually(lambda: on_the_way(server) > SENT // 2, "half of the upload")
        server.kill()
    server.start()
    assert listed(server, place) == []
    assert blobs(server) == []
    Transfers(server.address).upload(f"{place}/a.bin", source)
    assert [kept["path"] for kept in listed(server, place)] == ["a.bin"]


def test_an_upload_goes_on_after_the_server_was_killed(server: ServerProcess, source: Path, tmp_path: Path) -> None:
    place, digest = new_run(server), blake3(source.read_bytes()).hexdigest()
    headers = {"X-Digest": digest, "Content-Range": f"bytes 0-{SIZE - 1}/{SIZE}"}
    with broken_off(server, f"{place}/a.bin", source, headers):
        eventually(lambda: on_the_way(server) > SENT // 2, "half of the upload")
        server.kill()
    server.start()
    kept = on_the_way(server)
    assert SENT // 2 < kept <= SENT
    Transfers(server.address, passes=False).upload(f"{place}/a.bin", source)
    assert on_the_way(server) == 0
    Transfers(server.address).download(f"{place}/a.bin", tmp_path / "out" / "a.bin")
    assert (tmp_path / "out" / "a.bin").read_bytes() == source.read_bytes()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.bin"]


def test_a_server_of_the_same_user_is_passed_the_open_file_and_passes_its_own(
    steady: ServerProcess, source: Path, tmp_path: Path
) -> None:
    address, digest = f"{new_run(steady)}/a.bin", blake3(source.read_bytes()).hexdigest()
    with Meeting() as meeting:
        headers = {"X-Digest": digest, "Content-Range": f"bytes */{SIZE}", MEET: meeting.name}
        line = Transfers(steady.address).ask("PUT", address, {"Content-Length": "0", **headers})
        with closing(line), source.open("rb") as file:
            meeting.give(file.fileno())
            assert line.getresponse().status == 201
    with Meeting() as meeting, closing(Transfers(steady.address).ask("GET", address, {MEET: meeting.name})) as line:
        answer = line.getresponse()
        assert (answer.status, answer.headers[MET], answer.headers["ETag"]) == (204, "1", f'"{digest}"')
        with open(meeting.take(), "rb") as passed:
            assert passed.read() == source.read_bytes()
            with pytest.raises(OSError):
                os.write(passed.fileno(), b"no")


def test_what_is_passed_under_the_digest_of_something_else_is_refused(steady: ServerProcess, source: Path) -> None:
    address = f"{new_run(steady)}/a.bin"
    for digest, size, status in (("1" * 64, SIZE, 400), (blake3(source.read_bytes()).hexdigest(), SIZE + 1, 400)):
        with Meeting() as meeting, source.open("rb") as file:
            headers = {"X-Digest": digest, "Content-Range": f"bytes */{size}", MEET: meeting.name}
            line = Transfers(steady.address).ask("PUT", address, {"Content-Length": "0", **headers})
            with closing(line):
                meeting.give(file.fileno())
                assert line.getresponse().status == status
    assert listed(steady, address.removesuffix("/a.bin")) == []


def test_a_file_the_project_has_is_not_sent_again(steady: ServerProcess, source: Path) -> None:
    place = new_run(steady)
    transfers = Transfers(steady.address)
    transfers.upload(f"{place}/a.bin", source)
    before = stored(steady, source).stat().st_mtime_ns
    transfers.upload(f"{new_run(steady)}/b.bin", source)
    assert stored(steady, source).stat().st_mtime_ns == before


@pytest.mark.parametrize("passes", [True, False], ids=["passed", "sent"])
def test_a_download_takes_up_the_part_that_is_left(
    steady: ServerProcess, source: Path, tmp_path: Path, passes: bool
) -> None:
    transfers = Transfers(steady.address, passes=passes)
    place, digest = new_run(steady), blake3(source.read_bytes()).hexdigest()
    transfers.upload(f"{place}/a.bin", source)
    out = tmp_path / "out" / "a.bin"
    out.parent.mkdir()
    (out.parent / f".a.bin.{digest}.part").write_bytes(source.read_bytes()[:SENT])
    (out.parent / f".a.bin.{'0' * 64}.part.txt").write_bytes(b"not ours")
    transfers.download(f"{place}/a.bin", out)
    assert out.read_bytes() == source.read_bytes()
    (out.parent / f".b.bin.{'0' * 64}.part").write_bytes(b"of a file that was replaced since")
    transfers.download(f"{place}/a.bin", out.with_name("b.bin"))
    assert out.with_name("b.bin").read_bytes() == source.read_bytes()


@pytest.mark.parametrize("passes", [True, False], ids=["passed", "sent"])
def test_a_file_that_changed_on_the_disk_never_arrives_whole(
    steady: ServerProcess, source: Path, tmp_path: Path, passes: bool
) -> None:
    transfers = Transfers(steady.address, passes=passes)
    address = f"{new_run(steady)}/a.bin"
    transfers.upload(address, source)
    kept = stored(steady, source)
    kept.chmod(0o600)
    with kept.open("r+b") as file:
        file.seek(SIZE // 2)
        file.write(b"other bytes")
    with pytest.raises(IncompleteRead), urlopen(steady.address + address) as answer:
        answer.read()
    with pytest.raises(Corrupt):
        transfers.download(address, tmp_path / "out" / "a.bin")
    assert list((tmp_path / "out").iterdir()) == []


def test_clients_that_leave_while_a_file_is_sent_take_nothing_from_others(
    steady: ServerProcess, source: Path, tmp_path: Path
) -> None:
    place = new_run(steady)
    Transfers(steady.address).upload(f"{place}/a.bin", source)
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", steady.port)) as line:
            head = f"GET {place}/a.bin HTTP/1.1\r\nHost: 127.0.0.1:{steady.port}\r\n\r\n"
            line.sendall(head.encode())
            assert line.recv(1000).startswith(b"HTTP/1.1 200")
    with urlopen(f"{steady.address}{place}/a.bin") as answer:
        assert answer.read() == source.read_bytes()
    ranged = UrlRequest(f"{steady.address}{place}/a.bin", headers={"Range": f"bytes=5-{SENT}"})
    with urlopen(ranged) as answer:
        assert answer.read() == source.read_bytes()[5 : SENT + 1]
    (tmp_path / "empty").touch()
    Transfers(steady.address).upload(f"{place}/empty", tmp_path / "empty")
    Transfers(steady.address).download(f"{place}/empty", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b""


def listed(server: ServerProcess, place: str) -> list[dict[str, object]]:
    with closing(Api(server.address)) as api:
        found = api.get(place)
    assert isinstance(found, list)
    return found
