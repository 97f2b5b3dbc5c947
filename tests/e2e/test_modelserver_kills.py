"""The model server under load: killed, swapped, told to stop. What was answered is in the table, once."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.plansite import Load, Site, make_packages

from mainspring.core.errors import Unavailable
from mainspring.serving.log import table_of
from mainspring.serving.modelserver.plan import SPOOLS, ArmPlan, read_applied
from mainspring.serving.supervisor import ServerOptions, Supervisor
from mainspring.storage.open import open_delta

pytestmark = pytest.mark.usefixtures("warm_programs")


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[ArmPlan], str]:
    return make_packages(tmp_path_factory.mktemp("packages"))


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


@pytest.mark.long
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
            with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
                try:
                    assert child.stdout is not None
                    assert child.stdout.readline() == b"ready\n"
                    load.wait_for(120)
                finally:
                    child.kill()
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
    gone = ("no answer", "can't be reached")
    assert all(isinstance(error, Unavailable) and error.what.startswith(gone) for error in load.refused), load.refused
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
    ended, _, _ = select.select([child], [], [], 60)
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
