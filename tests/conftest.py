"""Databases for tests: a fresh one for each, copied from a template that is migrated once per session."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar, cast

import pytest
from hypothesis import HealthCheck, settings
from tests import warm

from mainspring.core.caller import Caller, adopt
from mainspring.core.ids import new_id
from mainspring.storage import FILE, open_tables
from mainspring.storage.ports import Tables
from mainspring.testing.postgres import NoPostgres, PostgresServer
from mainspring.testing.s3 import KEYS, NoS3, S3Server

pytest.register_assert_rewrite(
    *(f"mainspring.testing.{name}" for name in ("blobs", "delta", "journal", "queue", "tables"))
)

Database = Callable[[], Tables]
Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)
HEAVY = ("torch", "safetensors", "ray", "kserve", "kserve.models", "kubernetes.client", "mlserver", "mlserver.types")

# threads that spin while they wait for others cost many times what they win where several processes share the cores
for name, calm in (("OPENBLAS_NUM_THREADS", "1"), ("OMP_WAIT_POLICY", "passive")):
    os.environ.setdefault(name, calm)

# a collection looks through all that was imported since the last one, and finds next to nothing
gc.set_threshold(10_000, 20, 50)

# a test asserts what is true, not how fast a machine is that may be busy; each run draws other examples than the last
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=40)
settings.register_profile("thorough", settings.get_profile("house"), max_examples=150)  # `./ms check`
settings.load_profile("house")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--fuzz 200` makes so many requests of each kind to each route, instead of the few of an ordinary run."""
    parser.addoption("--fuzz", type=int, default=2, help="requests that are made of each kind to each route")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes() -> None:
    """The workers begin as forks of one process: each would import the same for five seconds of a processor, twice."""
    subprocess.Popen = warm.Warm  # type: ignore[misc]


def pytest_unconfigure() -> None:
    """What workers were forks of ends with them."""
    warm.SEED.end()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests first, shared out among the workers, so that none is left with one when the others are done.

    Tests that share something dear, such as a browser or a server, are one worker's. Each worker is given a run of
    neighbours of the list and steals from others' ends later; apart from this the order stays as it is.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    dear, quick = _apart(items)
    firsts: list[list[pytest.Item]] = [[] for _ in range(workers)]
    for number, share in enumerate(dear):
        firsts[number % workers] += share
    shares: list[pytest.Item] = []
    for number, first in enumerate(firsts):
        room = max(0, (len(items) - len(shares)) // (workers - number) - len(first))
        shares += [*first, *quick[:room]]
        del quick[:room]
    items[:] = shares


def _apart(items: list[pytest.Item]) -> tuple[list[list[pytest.Item]], list[pytest.Item]]:
    """What is slow or belongs together, as groups with the slow ones first, largest first; and all others."""
    groups: dict[str, list[pytest.Item]] = {}
    slow: set[str] = set()
    quick: list[pytest.Item] = []
    for item in items:
        is_slow, name = item.get_closest_marker("slow") is not None, _together(item)
        if not is_slow and not name:
            quick.append(item)
            continue
        key = name or item.nodeid
        if is_slow and key not in groups:
            slow.add(key)
        groups.setdefault(key, []).append(item)
    first = sorted((group for key, group in groups.items() if key in slow), key=len, reverse=True)
    return [*first, *(group for key, group in groups.items() if key not in slow)], quick


def _together(item: pytest.Item) -> str:
    """The name of what a test shares with others; "" where it shares nothing that is dear."""
    mark = item.get_closest_marker("xdist_group")
    return str(mark.args[0]) if mark else ""


def pytest_collection_finish() -> None:
    """What the collection left stays until the end: the garbage collector need not look at it again and again."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a test that lacks a package fails."""
    return _not_silent((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """In CI a file that lacks a package fails."""
    return _not_silent((yield))


def _not_silent(report: Report) -> Report:
    """A skip for want of a package is a failure in CI, but for those that take gigabytes and that nobody asked for."""
    why = str(report.longrepr)
    lacks = "could not import" in why and not any(f"could not import {name!r}" in why for name in HEAVY)
    if os.environ.get("CI") == "true" and report.outcome == "skipped" and lacks:
        report.outcome, report.longrepr = "failed", f"CI must have every package: {why}"
    return report


@pytest.fixture(autouse=True)
def _nobody_is_adopted() -> Iterator[None]:
    """A test that opened a house must not leave its project behind for the next one."""
    yield
    adopt(Caller())


@pytest.fixture(autouse=True)
def _the_path_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that runs a project's file must not leave its folder on the path for the next one."""
    monkeypatch.setattr(sys, "path", [*sys.path])


@pytest.fixture(scope="session")
def forks() -> Iterator[warm.Seed]:
    """What processes of a worker's tests are forks of, where a folder's `conftest` says so."""
    yield warm.SEED
    warm.SEED.end()


@pytest.fixture(scope="module")
def warm_programs(forks: warm.Seed) -> Iterator[None]:
    """Model servers, steps, commands and scripts that tests start as processes have their imports behind them.

    For tests of what a program does. What it takes to start one is proven where nothing is warm, as in `test_up`.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "Popen", warm.Warm)
        yield


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file that nobody has open."""
    folder = tmp_path_factory.mktemp("template")
    _migrate("", folder)
    return folder / FILE


@pytest.fixture
def sqlite_database(tmp_path: Path, sqlite_template: Path) -> Database:
    """Opens a fresh, migrated SQLite database; may be called again, and in other processes."""
    folder = tmp_path / "tables"
    folder.mkdir()
    shutil.copy(sqlite_template, folder / FILE)
    return partial(open_tables, "", folder)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One Postgres per session. Where there is none, tests are skipped; in CI that is a failure."""
    try:
        server = PostgresServer()
    except NoPostgres as reason:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI must have a Postgres: {reason}")
        pytest.skip(str(reason))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def postgres_template(postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a migrated database that nobody has open."""
    name = postgres_server.make_database()
    _migrate(postgres_server.url(name), tmp_path_factory.getbasetemp())
    return name


@pytest.fixture
def postgres_database(postgres_server: PostgresServer, postgres_template: str, tmp_path: Path) -> Iterator[Database]:
    """Opens a fresh, migrated Postgres database; may be called again, and in other processes."""
    name = postgres_server.make_database(postgres_template)
    yield partial(open_tables, postgres_server.url(name), tmp_path)
    postgres_server.drop_database(name)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database(request: pytest.FixtureRequest) -> Database:
    """Opens a fresh, migrated database of each kind in turn."""
    return cast(Database, request.getfixturevalue(f"{request.param}_database"))


@pytest.fixture
def sqlite_tables(sqlite_database: Database) -> Iterator[Tables]:
    """Fresh, migrated tables on SQLite."""
    yield from _opened(sqlite_database)


@pytest.fixture
def postgres_tables(postgres_database: Database) -> Iterator[Tables]:
    """Fresh, migrated tables on Postgres."""
    yield from _opened(postgres_database)


@pytest.fixture
def tables(database: Database) -> Iterator[Tables]:
    """Fresh, migrated tables on SQLite and on Postgres in turn."""
    yield from _opened(database)


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One S3 server per session. Where there is none, tests are skipped; in CI that is a failure."""
    try:
        server = S3Server(tmp_path_factory.mktemp("s3"))
    except NoS3 as reason:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI must have an S3 server: {reason}")
        pytest.skip(str(reason))
    yield server
    server.stop()


@pytest.fixture
def s3_url(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """A prefix nobody else uses, with the keys in the environment."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    return s3_server.url("mainspring-tests", new_id())


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """A cluster of Ray on this machine, with two cores. Where Ray is not installed, tests are skipped."""
    ray = pytest.importorskip("ray")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init("local", num_cpus=2, object_store_memory=80_000_000, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def _opened(database: Database) -> Iterator[Tables]:
    tables = database()
    yield tables
    tables.close()


def _migrate(url: str, folder: Path) -> None:
    tables = open_tables(url, folder)
    tables.migrate()
    tables.close()
