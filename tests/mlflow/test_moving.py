"""Moving: from a database that the real client filled to here, and from here to a real MLflow server."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.mlflow.conftest import GIVEN

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.skipif(bool(GIVEN), reason="needs a server of ours")]


def fill(uri: str, experiment: str, model: str) -> None:
    """Two runs, one the part of the other, with a model of which two versions are registered and one is deleted."""
    import mlflow
    from mlflow import MlflowClient
    from sklearn.linear_model import LogisticRegression

    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    client = MlflowClient(uri, uri)
    made = client.create_experiment(experiment, tags={"team": "ops"})
    with mlflow.start_run(experiment_id=made, run_name="outer"):
        mlflow.log_params({"depth": 6, "text": "a'b\"ü"})
        for step in range(30):
            mlflow.log_metric("loss", 1 / (step + 1), step=step)
        mlflow.log_metric("odd", float("nan"), step=-3)
        mlflow.log_text("hello", "notes/ä b.txt")
        fitted = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
        info = mlflow.sklearn.log_model(fitted, name="model", input_example=[[0.5]], registered_model_name=model)
        mlflow.log_metric("auc", 0.7, model_id=info.model_id)
        with mlflow.start_run(experiment_id=made, run_name="inner", nested=True):
            mlflow.log_metric("loss", 3)
    for _ in range(2):
        client.create_model_version(model, info.model_uri, model_id=info.model_id)
    client.delete_model_version(model, "2")
    client.set_registered_model_alias(model, "champion", "3")
    client.set_model_version_tag(model, "3", "q", "1")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """An empty project of ours."""
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


def _mainspring(folder: Path, *arguments: str) -> dict[str, object]:
    command = [sys.executable, "-m", "mainspring", *arguments, "--json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def test_a_database_of_mlflow_comes_here_once_and_whole(tmp_path: Path, project: Path, name: str) -> None:
    database = tmp_path / "mlflow.db"
    fill(f"sqlite:///{database}", f"flights {name}", f"late {name}")
    first = _mainspring(project, "import", "mlflow", str(database))
    assert (first["problems"], first["differences"]) == ([], [])
    brought = first["brought"]
    assert isinstance(brought, dict)
    assert (brought["runs"], brought["points"], brought["logged models"], brought["versions"]) == (2, 33, 1, 2)
    assert brought["files"] > 3
    again = _mainspring(project, "import", "mlflow", str(database))
    assert again["skipped"] == {"runs": 2, "logged models": 1, "versions": 2}
    shown = _mainspring(project, "models", "show", f"late {name}")
    assert (shown["number"], shown["aliases"]) == (3, ["champion"])


@pytest.mark.parametrize("storage", ["sqlite-files"], indirect=True)  # what is moved does not know where it lies
def test_what_is_here_goes_to_a_server_of_mlflow_and_back(uri: str, peer: str, project: Path, name: str) -> None:
    from mlflow import MlflowClient

    experiment, model = f"flights {name}", f"late {name}"
    fill(uri, experiment, model)
    elsewhere = _version_of_another_experiment(uri, f"elsewhere {name}")
    there = _mainspring(project, "export", "mlflow", peer, "--from", uri, "--experiment", experiment)
    assert there["problems"] == []
    brought = there["brought"]
    assert isinstance(brought, dict)
    assert (brought["runs"], brought["points"], brought["logged models"]) == (2, 33, 1)
    there_now = {found.name for found in MlflowClient(peer, peer).search_registered_models(max_results=1000)}
    assert model in there_now
    assert elsewhere not in there_now
    again = _mainspring(project, "export", "mlflow", peer, "--from", uri, "--experiment", experiment)
    assert again["skipped"]["runs"] == 2  # type: ignore[index]
    back = _mainspring(project, "import", "mlflow", peer, "--experiment", experiment)
    assert (back["problems"], back["differences"]) == ([], [])
    assert back["brought"]["points"] == 33  # type: ignore[index]
    names = {run["name"]: run for run in json.loads(_runs(project))}
    assert set(names) == {"outer", "inner"}
    assert names["inner"]["parent"] == names["outer"]["id"]


def _version_of_another_experiment(uri: str, name: str) -> str:
    from mlflow import MlflowClient

    client = MlflowClient(uri, uri)
    run = client.create_run(client.create_experiment(name))
    client.create_registered_model(name)
    client.create_model_version(name, f"{run.info.artifact_uri}/model", run.info.run_id)
    return name


def _runs(project: Path) -> str:
    command = [sys.executable, "-m", "mainspring", "runs", "ls", "--json"]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=60, check=True).stdout


@pytest.fixture(scope="session")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real MLflow server, of the client's release."""
    folder = tmp_path_factory.mktemp("peer")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder / 'db'}", "--artifacts-destination", str(folder / "files")]
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # no job is asked for
    environ = {**os.environ, **quiet}
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=environ) as process,
    ):
        address, until = f"http://127.0.0.1:{port}", time.monotonic() + 120
        while True:
            try:
                if httpx.get(f"{address}/health", timeout=30).status_code == 200:
                    break
            except httpx.TransportError:
                assert process.poll() is None, (folder / "log").read_text()[-2000:]
                assert time.monotonic() < until, "MLflow did not start"
                time.sleep(0.1)
        yield address
        process.terminate()
