"""`mainspring serve`: a folder behind a model server, as platforms start containers."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.ports import own_ports
from tests.unit.serving.doors import MODEL, PLAIN, packages

from mainspring.core.errors import Corrupt, Invalid, MainspringError, NotFound
from mainspring.registry.manifests import Seal
from mainspring.registry.packages import Package, write_folder
from mainspring.registry.signing import Signer, key_id, statement
from mainspring.serving.standalone import place_of, plan_of, port_of

pytestmark = pytest.mark.usefixtures("warm_programs")


@pytest.fixture(scope="module")
def made() -> dict[str, Package]:
    return packages()


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return Signer(tmp_path_factory.mktemp("keys"))


def written(package: Package, folder: Path, signer: Signer, name: str = PLAIN) -> Path:
    seal = Seal(name, 3, package.digest, key_id(signer.public), signer.sign(statement(name, 3, package.digest)))
    return write_folder(folder, package.manifest.to_bytes(), package.files, seal)


def asked(port: int, method: str, path: str, body: str = "", kind: str = "") -> tuple[int, bytes]:
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        line.request(method, path, body or None, {"content-type": kind} if kind else {})
        answer = line.getresponse()
        return answer.status, answer.read()
    finally:
        line.close()


def until_ready(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if asked(port, "GET", "/ping")[0] == 200:
                return
        except OSError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"not ready, exit code {process.poll()}")


def test_a_container_of_sagemaker_answers_as_it_must(tmp_path: Path, made: dict[str, Package], signer: Signer) -> None:
    place = written(made[PLAIN], tmp_path / "model", signer)
    (port,) = own_ports(1)
    environ = {**os.environ, "SAGEMAKER_BIND_TO_PORT": str(port), "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "mainspring", "serve", str(place), "--key", signer.public.hex(), "--drain-s", "0"]
    process = subprocess.Popen(command, env=environ, cwd=tmp_path, stderr=subprocess.PIPE)
    try:
        until_ready(port, process)
        assert asked(port, "GET", "/version")[0] == 200
        status, body = asked(port, "POST", "/invocations", "a,b\n1,2\n3,4\n", "text/csv")
        assert (status, [round(value, 6) for value in json.loads(body)["predictions"]]) == (200, [5.0, 11.0])
        assert json.loads(asked(port, "GET", f"/v2/models/{PLAIN}")[1])["versions"] == ["3"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        assert process.stderr is not None
        said = process.stderr.read().decode()
        process.stderr.close()
    assert f"serving {PLAIN} on http://127.0.0.1:{port}" in said
    assert list(tmp_path.glob("mainspring-serve-*")) == []


def test_packages_in_subfolders_are_served_under_the_names_of_these(
    tmp_path: Path, made: dict[str, Package], signer: Signer
) -> None:
    for name in (MODEL, PLAIN):
        written(made[name], tmp_path / f"{name}-x", signer)
    assert [entry.name for entry in plan_of(tmp_path).endpoints] == [f"{MODEL}-x", f"{PLAIN}-x"]
    assert [entry.name for entry in plan_of(tmp_path / f"{PLAIN}-x").endpoints] == [PLAIN]
    assert plan_of(tmp_path / f"{PLAIN}-x", name="other").endpoints[0].name == "other"
    with pytest.raises(Invalid, match="2 packages"):
        plan_of(tmp_path, name="other")


def test_what_can_not_be_served_is_refused_before_anything_starts(
    tmp_path: Path, made: dict[str, Package], signer: Signer
) -> None:
    place = written(made[PLAIN], tmp_path / "model", signer)
    tries: list[tuple[Callable[[], object], type[MainspringError], str]] = [
        (lambda: plan_of(tmp_path / "nowhere"), NotFound, "no model package"),
        (lambda: plan_of(place, key="12"), Invalid, "64 hex digits"),
        (lambda: plan_of(place, key="0" * 64), Corrupt, "signature"),
        (lambda: plan_of(place, name="a b"), Invalid, "can't name"),
    ]
    for call, error, words in tries:
        with pytest.raises(error, match=words):
            call()
    (place / "example.json").write_text("{}")
    with pytest.raises(Corrupt, match="changed"):
        plan_of(place)


def test_the_place_and_the_port_are_those_of_the_platform(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    assert place_of([tmp_path / "a", tmp_path / "b"]) == tmp_path / "b"
    with pytest.raises(NotFound, match="models download"):
        place_of([tmp_path / "a"])
    assert port_of({}) == 8080
    assert port_of({"PORT": "81", "SAGEMAKER_BIND_TO_PORT": "82"}) == 82
    for text in ("x", "0", "65536", "-1"):
        with pytest.raises(Invalid, match="no port"):
            port_of({"PORT": text})
