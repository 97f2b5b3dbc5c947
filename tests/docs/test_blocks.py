"""Every code block of README and docs runs as it stands; the few that cannot are parsed, named and counted."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]
from _pytest.mark.structures import ParameterSet
from tests.docs.pages import LANGUAGES, ONCE, PAGES, ROOT, STAYS, Block, blocks_of, name_of
from tests.docs.warm import warm
from tests.ports import own_ports
from tests.unit.serving.test_kserve import problems
from tests.warm import Seed

_LONG = """
alarms asking batch concepts drift features gates humility loop models moving performance pipelines processes registry
rollouts search tracking traffic training triggers
"""
LONG = {f"docs/{name}.md" for name in _LONG.split()}
"""Pages that take several seconds of a processor each, but for those that a reader begins with."""
PORTS = ("7600", "7601", "7602", "8080", "5000")
"""Those that the pages name: API, model server, gRPC, a container, an MLflow server. A test has others of its own."""
CUSTOMERS = "age,plan,spent,churned\n" + "".join(
    f"{20 + i % 50},{'basic' if i % 3 else 'full'},{(i * 37) % 101}.5,{int((i * 37) % 101 < 40 or i % 7 == 0)}\n"
    for i in range(600)
)


@pytest.fixture(scope="session")
def commands(tmp_path_factory: pytest.TempPathFactory, forks: Seed) -> Iterator[Path]:
    """A folder for the path, with `mainspring` in a warm process."""
    with warm(tmp_path_factory.mktemp("warm")) as folder:
        yield folder


@pytest.fixture(scope="session")
def flights(tmp_path_factory: pytest.TempPathFactory, commands: Path) -> Path:
    """The project that docs/flights.py makes, once for all workers of a run."""
    shared = tmp_path_factory.getbasetemp()
    shared = shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared
    made = shared / "flights-of-the-docs"
    with open(shared / "flights.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            folder = shared / "flights.new"
            folder.mkdir()
            script = Block(ROOT, "python", "", "", (ROOT / "docs" / "flights.py").read_text(encoding="utf-8"))
            done = Reading(folder, commands).run(script)
            assert "1 alarm" in done, done
            folder.rename(made)
    return made


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """What an MLflow server keeps: a database that the real client filled, and files."""
    (tmp_path / "mlartifacts").mkdir()
    filled = f"from tests.mlflow.test_moving import fill; fill('sqlite:///{tmp_path}/mlflow.db', 'flights', 'late')"
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}  # a process of its own: the client warns of what it does itself
    subprocess.run([sys.executable, "-c", filled], cwd=tmp_path, env=environ, check=True, capture_output=True)
    return tmp_path / "mlflow.db"


@pytest.fixture
def elsewhere(
    tmp_path_factory: pytest.TempPathFactory, commands: Path, request: pytest.FixtureRequest
) -> Iterator[int]:
    """The port of an MLflow server with something in it: another Mainspring, which speaks the protocol."""
    server = Reading(tmp_path_factory.mktemp("elsewhere"), commands)
    if "docs/moving.md" in request.node.name:
        filled = f"mainspring import mlflow {request.getfixturevalue('database')}"
        server.run(Block(ROOT, "bash", "", "", filled))
    else:
        lines = ("import mainspring as ms", "with ms.run('first') as run:", "    run.params({'depth': 3})")
        server.run(Block(ROOT, "python", "", "", "\n".join([*lines, "    run.log({'loss': 0.5})"])))
    server.leave(Block(ROOT, "bash", "", STAYS, "mainspring up"))
    yield server.ports["7600"]
    server.stop()


@dataclass
class Reading:
    """Somebody who follows a page in a folder."""

    folder: Path
    commands: Path
    ports: dict[str, int] = field(default_factory=dict)
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)
    seen: str = ""

    def __post_init__(self) -> None:
        self.ports = dict(zip(PORTS, own_ports(len(PORTS)), strict=True))

    def run(self, block: Block) -> str:
        """Run it and wait. Returns what it printed."""
        with self.start(block) as process:
            code = process.wait(300)
        self.seen = self.said(process)
        assert code == 0, f"{block.text}\nends with {code}\n{self.seen}"
        return self.seen

    def leave(self, block: Block) -> None:
        """Run it beside what follows, and wait until it says that it is ready."""
        process = self.start(block)
        self.running.append(process)
        deadline = time.monotonic() + 120
        while not ("ready" in self.said(process) if "mainspring up" in block.text else answers(self.ports["8080"])):
            assert process.poll() is None, f"{block.text}\nended\n{self.said(process)}"
            assert time.monotonic() < deadline, f"{block.text}\nis not ready\n{self.said(process)}"
            time.sleep(0.02)

    def start(self, block: Block) -> subprocess.Popen[bytes]:
        path = f"{self.commands}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environ = {**os.environ, "PATH": path, "MAINSPRING_SERVER_PORT": str(self.ports["7600"])}
        environ["MAINSPRING_SERVING_PORT"] = str(self.ports["7601"])
        text = re.sub(rf"(?<=[: ])({'|'.join(PORTS)})\b", lambda port: str(self.ports[port[1]]), block.text)
        (self.folder / ".block").write_text(text)
        command = ["bash", "-euo", "pipefail", ".block"] if block.language == "bash" else ["warm-python"]
        with open(self.folder / ".block") as source, open(self.folder / ".said", "wb") as said:
            process = subprocess.Popen(
                [shutil.which(command[0], path=path) or command[0], *command[1:]],
                cwd=self.folder,
                env=environ,
                stdin=source if block.language == "python" else subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        (self.folder / ".said").rename(self.folder / f".said-{process.pid}")
        return process

    def said(self, process: subprocess.Popen[bytes]) -> str:
        return (self.folder / f".said-{process.pid}").read_text()

    def stop(self) -> None:
        """End what runs beside."""
        for process in reversed(self.running):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait(60)
        self.running.clear()

    def follow(self, block: Block, flights: Path) -> None:
        """Do what a block says."""
        if block.mark == ONCE:
            self.stop()
            self.folder = Path(shutil.copytree(flights, self.folder / "flights"))
        elif block.why_not or block.language == "yaml" or block.lacks:
            return
        elif block.mark == STAYS:
            self.leave(block)
        elif block.language in ("bash", "python"):
            self.run(block)
        elif block.language == "toml":
            write_tables(self.folder / block.title, block.text)
            if block.title == "mainspring.toml":
                assert "ok     settings" in self.run(Block(block.page, "bash", "", "", "mainspring doctor || true"))
        elif block.title == "output":
            missing = [line for line in shape(block.text) if line not in shape(self.seen)]
            assert not missing, f"{missing} is not what the block before prints:\n{self.seen}"


def write_tables(path: Path, text: str) -> None:
    """Add tables to a file; those that are in it already are replaced."""
    path.parent.mkdir(exist_ok=True)
    kept = path.read_text() if path.exists() else ""
    for name in {line for line in text.splitlines() if re.fullmatch(r"\[[^\[\]]+\].*", line)}:
        kept = re.sub(rf"(?ms)^{re.escape(name.partition(']')[0])}\].*?(?=^\[|\Z)", "", kept)
    path.write_text(f"{kept}\n{text}")


def shape(text: str) -> list[str]:
    """Lines without what differs from run to run: ids, times and numbers; and without the width of columns."""
    plain = re.sub(r"\b[0-9a-f]{32,64}\b", "ID", text)
    plain = re.sub(r"[-+]?\d[\d.,:T]*(e[-+]\d+)?", "#", plain)
    return [" ".join(line.split()) for line in plain.splitlines() if line.strip()]


def answers(port: int) -> bool:
    with socket.socket() as link:
        link.settimeout(5)
        return link.connect_ex(("127.0.0.1", port)) == 0


def is_a_manifest(folder: Path) -> None:
    assert not problems(yaml.safe_load((folder / "flights.yaml").read_text()))


def is_a_config_of_ray(folder: Path) -> None:
    (application,) = yaml.safe_load((folder / "serve.yaml").read_text())["applications"]
    assert find_spec(application["import_path"].partition(":")[0])


MADE = {"docs/asking.md": is_a_manifest, "docs/processes.md": is_a_config_of_ray}
"""What is seen of a file that a page makes for a program that is not here."""


def named(page: Path) -> ParameterSet:
    return pytest.param(page, id=name_of(page), marks=[pytest.mark.long] * (name_of(page) in LONG))


@pytest.mark.slow
@pytest.mark.timeout(900)  # as many commands as a page has, beside whatever else the machine does
@pytest.mark.parametrize("page", [named(page) for page in PAGES if blocks_of(page)])
def test_every_block_of_a_page_runs(page: Path, tmp_path: Path, commands: Path, request: pytest.FixtureRequest) -> None:
    blocks = blocks_of(page)
    flights = request.getfixturevalue("flights") if any(block.mark == ONCE for block in blocks) else tmp_path
    (tmp_path / "customers.csv").write_text(CUSTOMERS)
    reading = Reading(tmp_path, commands)
    if any("mlflow http://127.0.0.1:5000" in block.text for block in blocks):
        reading.ports["5000"] = request.getfixturevalue("elsewhere")
    try:
        for block in blocks:
            assert block.language in LANGUAGES, block.text
            reading.follow(block, flights)
        MADE.get(name_of(page), lambda _: None)(reading.folder)
    finally:
        reading.stop()
