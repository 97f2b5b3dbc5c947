"""The server under test, and a fresh experiment, run or name for whoever asks.

With MLFLOW_TRACKING_URI set the tests talk to the server there, whosever it is, and need nothing of Mainspring;
without it they start Mainspring themselves, once per worker and kind of storage; most tests of a kind are one worker's.
`alone.ini` is the configuration for an environment that has nothing but a client and pytest.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from uuid import uuid4

import pytest
from tests.mlflow.differences import OURS_IS_BETTER
from tests.mlflow.http import Http

GIVEN = os.environ.get("MLFLOW_TRACKING_URI", "")
REFERENCE = (
    os.environ.get("MLFLOW_CONFORMANCE", "mainspring") == "mlflow"
)  # MLflow's own server: the suite proves itself
STORAGE = (
    [GIVEN] if GIVEN else ["sqlite-files", pytest.param("postgres-s3", marks=[pytest.mark.postgres, pytest.mark.s3])]
)
QUIET = {
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_REQUIREMENTS_INFERENCE_TIMEOUT": "0",  # what a model needs is the client's guess and takes it seconds
    "MLFLOW_ENABLE_ASYNC_TRACE_LOGGING": "false",  # waiting for its thread takes a second a trace
    "no_proxy": ",".join(  # else each request looks through all variables four times for proxies
        filter(None, ("127.0.0.1,localhost", os.environ.get("no_proxy") or os.environ.get("NO_PROXY")))
    ),
}
NOT_HERE = [name for name in ("dbruntime", "pyspark", "IPython") if find_spec(name) is None]
"""What the client looks for in every folder before each request; whoever is told that it is not there need not look."""
# what the client reads when it is imported
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")

HERE = Path(__file__).parent
collect_ignore = ["test_moving.py"] if GIVEN else []  # it is about our own import and export


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the client's own warnings pass, and expect of MLflow's server what the table of differences says of it."""
    for item in items:
        if item.path.parent != HERE:
            continue
        item.add_marker(pytest.mark.filterwarnings("ignore"))
        if isinstance(item, pytest.Function) and hasattr(item, "callspec") and "storage" in item.callspec.params:
            item.add_marker(pytest.mark.xdist_group(f"mlflow on {item.callspec.params['storage']}"))
        name = item.originalname if isinstance(item, pytest.Function) else item.name
        if REFERENCE and name in OURS_IS_BETTER:
            item.add_marker(pytest.mark.xfail(reason=OURS_IS_BETTER[name], strict=True))


@pytest.fixture(scope="package", params=STORAGE)
def storage(request: pytest.FixtureRequest) -> str:
    """Where the server keeps things: the address of a given server, or a pair of database and blob store."""
    return str(request.param)


@pytest.fixture(scope="package")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, object]]:
    """The servers of this worker, started when first asked for, and stopped after its last test that asks one."""
    started: dict[str, object] = {}
    yield started
    for server in reversed(started.values()):
        server.stop()  # type: ignore[attr-defined]  # a server process, Postgres or S3 server


@pytest.fixture(scope="package")
def uri(storage: str, servers: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of the server."""
    if GIVEN:
        return GIVEN.rstrip("/")
    from tests.mlflow.house import server  # only here: an older client's environment has no Mainspring

    return server(storage, servers, tmp_path_factory)


@pytest.fixture(autouse=True)
def _points_here(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The client's global state is this server's, and nothing of it is left behind."""
    import mlflow
    from mlflow.utils import import_hooks
    from mlflow.utils.autologging_utils import revert_patches

    before = {key: text for key, text in os.environ.items() if key.startswith("MLFLOW_")}
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_ID", raising=False)
    for variable, quiet in QUIET.items():
        monkeypatch.setenv(variable, quiet)
    for package in NOT_HERE:
        monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr("mlflow.tracking.fluent._active_experiment_id", None)
    if "uri" in request.fixturenames:
        address = request.getfixturevalue("uri")
        mlflow.set_tracking_uri(address)
        mlflow.set_registry_uri(address)
    yield
    while mlflow.active_run():
        mlflow.end_run()
    for integration in ("sklearn", "lightgbm", "xgboost"):  # switched off it still wraps what it watched
        revert_patches(integration)
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, import_hooks.ImportHookFinder)]
    import_hooks._import_hook_finder_init = False
    for key in [key for key in os.environ if key.startswith("MLFLOW_")]:
        del os.environ[key]
    os.environ.update(before)


@pytest.fixture(scope="package")
def client(uri: str) -> object:
    """The client of the tracking server and the registry."""
    from mlflow import MlflowClient

    return MlflowClient(uri, uri)


@pytest.fixture(scope="package")
def http(uri: str) -> Iterator[Http]:
    """Requests as they go over the wire."""
    with Http(uri) as made:
        yield made


@pytest.fixture
def name() -> str:
    """A name that nobody has used."""
    return f"n-{uuid4().hex[:12]}"


@pytest.fixture
def experiment(http: Http, name: str) -> str:
    """The id of a fresh experiment."""
    return str(http.ok("POST", "experiments/create", name=f"experiment {name}")["experiment_id"])


@pytest.fixture
def run(http: Http, experiment: str) -> str:
    """The id of a fresh, running run."""
    return http.new_run(experiment)
