"""The model server under load: killed, swapped, told to stop. What was answered is in the table, once."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from lightgbm import LGBMClassifier

from mainspring.core.errors import MainspringError, Unavailable
from mainspring.registry.packages import Seal, write_folder
from mainspring.registry.packages import build as package
from mainspring.registry.signing import Signer, key_id, statement
from mainspring.serving.client import Client
from mainspring.serving.log import Compactor, table_of
from mainspring.serving.modelserver.plan import SPOOLS, ArmPlan, EndpointPlan, Plan, read_applied, write_plan
from mainspring.serving.supervisor import ServerOptions, Supervisor
from mainspring.storage.open import open_delta
from mainspring.storage.ports import Delta

NAMES = ["a", "b", "c"]


@dataclass
class Site:
    folder: Path
    delta: Delta
    arms: list[ArmPlan]
    key: str
    compactor: Compactor = field(init=False)

    def __post_init__(self) -> None:
        self.compactor = Compactor(self.folder / SPOOLS, self.delta)

    def plan(self, generation: int, *versions: int) -> None:
        share = 1.0 / len(versions)
        arms = [
            ArmPlan(
                name=f"v{v}", version=v, share=share, folder=self.arms[v - 1].folder, digest=self.arms[v - 1].digest
            )
            for v in versions
        ]
        endpoints = [EndpointPlan(name="m", arms=arms, salt="s")]
        write_plan(self.folder, Plan(generation=generation, endpoints=endpoints, public_key=self.key))

    def logged(self) -> list[str]:
        return self.delta.scan(table_of("m")).select("id").collect()["id"].to_list()


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[ArmPlan], str]:
    folder = tmp_path_factory.mktemp("packages")
    signer, arms = Signer(folder), []
    for number in (1, 2):
        rng = np.random.default_rng(number)
        x = rng.normal(size=(300, 3))
        model = LGBMClassifier(n_estimators=5, num_threads=1, verbose=-1)
        model.fit(x, (x[:, 0] > 0).astype(int), feature_name=NAMES)
        made = package(model, pl.DataFrame(x[:3], schema=NAMES))
        seal = Seal("m", number, made.digest, key_id(signer.public), signer.sign(statement("m", number, made.digest)))
        place = write_folder(folder / str(number), made.manifest.to_bytes(), made.files, seal)
        arms.append(ArmPlan(name="", version=number, share=1.0, folder=str(place), digest=made.digest))
    return arms, signer.public.hex()


@pytest.fixture
def site(packages: tuple[list[ArmPlan], str], tmp_path: Path) -> Site:
    return Site(tmp_path / "serving", open_delta("", tmp_path), *packages)


@pytest.fixture
def server(site: Site) -> Iterator[Supervisor]:
    site.plan(1, 1)
    supervisor = Supervisor(site.folder, ServerOptions(drain_s=0.3))
    supervisor.start()
    yield supervisor
    supervisor.stop()


class Load:
    """Clients that ask until told to stop, and remember what was answered and what was refused."""

    def __init__(self, url: str, clients: int = 6) -> None:
        self.answered: list[tuple[str, str]] = []
        self.refused: list[MainspringError] = []
        self._stop = threading.Event()
        self._enough = threading.Condition()
        self._threads = [threading.Thread(target=self._run, args=(url, i)) for i in range(clients)]
        for thread in self._threads:
            thread.start()

    def _run(self, url: str, number: int) -> None:
        with Client(url, timeout_s=20) as client:
            count = 0
            while not self._stop.is_set():
                count += 1
                rows = 1 + count % 3
                try:
                    answer = client.predict("m", {n: [0.5] * rows for n in NAMES}, request_id=f"{number}-{count}")
                except MainspringError as error:
                    self.refused.append(error)
                    if isinstance(error, Unavailable):
                        self._stop.wait(0.02)
                    continue
                with self._enough:
                    self.answered += [(name, answer.version) for name in answer.ids]
                    self._enough.notify_all()

    def wait_for(self, more: int) -> None:
        goal = len(self.answered) + more
        with self._enough:
            assert self._enough.wait_for(lambda: len(self.answered) >= goal, timeout=60)

    def end(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def test_no_answered_row_is_lost_or_doubled_when_the_server_is_killed_again_and_again(
    site: Site, server: Supervisor
) -> None:
    load = Load(server.url)
    try:
        for _ in range(3):
            load.wait_for(150)
            site.compactor.run()
            assert server.pid is not None
            os.kill(server.pid, signal.SIGKILL)
            assert server.wait_ended()
            assert server.ensure()
            server.wait_applied(1, timeout_s=60, strict=True)
        load.wait_for(100)
    finally:
        load.end()
    server.stop()
    site.compactor.run()
    counts = Counter(site.logged())
    assert {name for name, _ in load.answered} <= set(counts)
    assert max(counts.values()) == 1
    assert not list((site.folder / SPOOLS).glob("*.sqlite*"))
    assert server.restarts == 3


_COMPACT = """
import sys
from pathlib import Path
from mainspring.serving.log import Compactor
from mainspring.storage.open import open_delta
compactor = Compactor(Path(sys.argv[1]), open_delta("", Path(sys.argv[2])))
print("ready", flush=True)
while True:
    compactor.run()
"""


def test_a_compactor_killed_in_the_middle_neither_loses_nor_doubles(
    site: Site, server: Supervisor, tmp_path: Path
) -> None:
    load = Load(server.url)
    try:
        for _ in range(3):
            command = [sys.executable, "-c", _COMPACT, str(site.folder / SPOOLS), str(tmp_path)]
            child = subprocess.Popen(command, stdout=subprocess.PIPE)
            assert child.stdout is not None
            assert child.stdout.readline() == b"ready\n"
            load.wait_for(120)
            child.kill()
            child.wait()
            child.stdout.close()
    finally:
        load.end()
    server.stop()
    site.compactor.run()
    counts = Counter(site.logged())
    assert set(counts) == {name for name, _ in load.answered}
    assert max(counts.values()) == 1


def test_a_swap_under_load_fails_no_request_and_each_answer_names_who_gave_it(site: Site, server: Supervisor) -> None:
    load = Load(server.url)
    try:
        for generation, versions in enumerate([(1, 2), (2,), (2, 1), (1,)], start=2):
            load.wait_for(60)
            site.plan(generation, *versions)
            server.apply(generation)
        load.wait_for(60)
    finally:
        load.end()
    assert load.refused == []
    site.compactor.run()
    logged = site.delta.scan(table_of("m")).select("id", "version").collect()
    assert {name: str(version) for name, version in logged.iter_rows()} == dict(load.answered)
    assert {version for _, version in load.answered} == {"1", "2"}


def test_told_to_stop_it_answers_what_is_in_flight_and_every_answer_is_in_the_log(
    site: Site, server: Supervisor
) -> None:
    load = Load(server.url)
    load.wait_for(100)
    assert server.stop() == 0
    load.end()
    assert all(isinstance(error, Unavailable) and "no answer" in error.what for error in load.refused), load.refused
    assert read_applied(site.folder) == []
    site.compactor.run()
    counts = Counter(site.logged())
    assert counts == Counter(name for name, _ in load.answered)


_PARENT = """
import sys, time
from pathlib import Path
from mainspring.serving.supervisor import Supervisor
server = Supervisor(Path(sys.argv[1]))
server.start()
print(server.pid, flush=True)
sys.stdin.read()
"""


def test_a_server_whose_parent_was_killed_ends_too(site: Site) -> None:
    site.plan(1, 1)
    command = [sys.executable, "-c", _PARENT, str(site.folder)]
    parent = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    assert parent.stdin is not None
    child = os.pidfd_open(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    parent.stdout.close()
    parent.stdin.close()
    ended, _, _ = select.select([child], [], [], 20)
    assert ended, "the model server outlived its parent"
    os.close(child)


def test_the_data_plane_imports_neither_sql_toolkit_nor_web_framework() -> None:
    code = (
        "import json, sys; import mainspring.serving.modelserver.worker, mainspring.registry.packages; "
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    loaded = set(json.loads(done.stdout))
    assert loaded & {"sqlalchemy", "litestar", "alembic", "deltalake", "jinja2", "sklearn", "lightgbm"} == set()
