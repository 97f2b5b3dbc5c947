"""What the quickstart does with a server: start, deploy, predict, stop, start again, and the mistakes people make."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import psutil
import pytest
from tests.ports import own_ports

from mainspring.core.errors import Failed
from mainspring.demo.client import Api
from mainspring.demo.server import ServerProcess, free_ports

ROWS = "age,plan,spent,churned\n" + "".join(
    f"{20 + i % 50},{'basic' if i % 3 else 'full'},{(i * 37) % 101}.5,{int((i * 37) % 101 < 40 or i % 7 == 0)}\n"
    for i in range(600)
)


def mainspring(folder: Path, *args: str, ports: tuple[int, int] | None = None) -> subprocess.CompletedProcess[str]:
    env = dict(os.environ)
    if ports:
        env |= {"MAINSPRING_SERVER_PORT": str(ports[0]), "MAINSPRING_SERVING_PORT": str(ports[1])}
    command = [sys.executable, "-W", "error", "-m", "mainspring", *args]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    (folder / "customers.csv").write_text(ROWS)
    done = mainspring(folder, "init", "--data", "customers.csv", "--target", "churned")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def server(project: Path) -> Iterator[ServerProcess]:
    port, serving_port = own_ports(2)
    made = ServerProcess(project, port=port, serving_port=serving_port)
    made.start()
    yield made
    made.kill()


def test_deploy_predict_and_label_as_the_quickstart_says(project: Path, server: ServerProcess) -> None:
    ports = (server.port, server.serving_port)
    done = mainspring(project, "deploy", "customers", "--version", "1", "--name", "customers", ports=ports)
    assert done.returncode == 0, done.stdout + done.stderr
    row = '{"age": 31, "plan": "basic", "spent": 12.5}'
    done = mainspring(project, "predict", "customers", row, ports=ports)
    assert done.returncode == 0, done.stdout + done.stderr
    assert server.stop() == 0
    server.start()
    again = mainspring(project, "predict", "customers", row, ports=ports)
    assert again.returncode == 0, again.stdout + again.stderr


def test_every_page_and_list_answers(server: ServerProcess) -> None:
    api = Api(server.address)
    assert api.get("/api/v1/cycles") == []
    assert api.get("/schema")
    api.close()


def test_a_second_server_on_the_folder_or_the_port_is_refused_in_three_lines(
    project: Path, server: ServerProcess, tmp_path: Path
) -> None:
    taken = mainspring(project, "up", "--port", str(server.port + 10))
    assert taken.returncode == 1
    assert "a server runs on this folder" in taken.stderr
    port = mainspring(tmp_path, "up", "--port", str(server.port))
    assert port.returncode == 1
    assert f"port {server.port} is taken" in port.stderr
    assert len(port.stderr.strip().splitlines()) == 3


def test_a_server_off_loopback_is_refused(tmp_path: Path) -> None:
    done = mainspring(tmp_path, "up", "--host", "0.0.0.0")
    assert done.returncode == 4
    assert "can be reached from other machines" in done.stderr


def test_an_unknown_setting_is_refused_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "mainspring.toml").write_text("[server]\nprot = 1\n")
    done = mainspring(tmp_path, "up")
    assert done.returncode == 2
    assert "line 2" in done.stderr
    assert 'did you mean "port"?' in done.stderr


def test_a_signal_ends_the_server_and_its_children(tmp_path: Path) -> None:
    port, serving_port = own_ports(2)
    made = ServerProcess(tmp_path, port=port, serving_port=serving_port)
    try:
        made.start()
        assert made.pid is not None
        os.kill(made.pid, signal.SIGINT)
        made.wait()
        assert made.stop() == 0
    finally:
        made.kill()
    assert free_ports(1, near=serving_port) == [serving_port]


def test_a_signal_while_it_starts_ends_the_server_and_its_model_server(tmp_path: Path) -> None:
    port, serving_port = own_ports(2)
    env = {**os.environ, "MAINSPRING_SERVER_PORT": str(port), "MAINSPRING_SERVING_PORT": str(serving_port)}
    with subprocess.Popen([sys.executable, "-m", "mainspring", "up"], cwd=tmp_path, env=env) as starting:
        try:
            seen = psutil.Process(starting.pid)
            while not (children := seen.children()):
                assert starting.poll() is None
                time.sleep(0.005)  # the model server is a second from being ready
            os.kill(starting.pid, signal.SIGTERM)
            assert starting.wait(60) == 0
        finally:
            starting.kill()
    assert not psutil.wait_procs(children, timeout=60)[1]


def test_a_server_whose_port_was_taken_meanwhile_starts_on_the_next_free_ones(tmp_path: Path) -> None:
    """Two demos that begin in the same moment find the same free ports."""
    port, serving_port = own_ports(4)[:2]
    made = ServerProcess(tmp_path, port=port, serving_port=serving_port)
    with socket.create_server(("127.0.0.1", port)):
        made.spawn()
        try:
            made.await_ready_somewhere()
            assert [made.port, made.serving_port] == [port + 2, port + 3]
            with urlopen(f"{made.address}/health", timeout=10) as answer:
                assert answer.status == 200
        finally:
            code = made.stop()
    assert code == 0


def test_a_server_that_cannot_start_at_all_is_not_tried_on_other_ports(tmp_path: Path) -> None:
    (tmp_path / "mainspring.toml").write_text("[servre]\nport = 1\n")
    port, serving_port = own_ports(2)
    made = ServerProcess(tmp_path, port=port, serving_port=serving_port)
    made.spawn()
    try:
        with pytest.raises(Failed, match="servre"):
            made.await_ready_somewhere()
    finally:
        made.kill()
    assert made.port == port
