"""The conformance suite again with another release of the client than the one that is installed here.

`tests/mlflow` runs by itself with the installed release. MAINSPRING_MLFLOW_OTHER is the Python of an environment with
another one, with pytest and the libraries of `tests/mlflow/alone.txt`; CI makes it.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
from pathlib import Path

import pytest
from tests.ports import own_ports

from mainspring.demo.server import ServerProcess

ROOT = Path(__file__).resolve().parents[2]
OTHER = os.environ.get("MAINSPRING_MLFLOW_OTHER", "")


def missing(what: str) -> None:
    """Skip, or fail where nothing may be missing."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI must have {what}")
    pytest.skip(f"there is no {what}")


def test_the_suite_has_its_client() -> None:
    if importlib.util.find_spec("mlflow") is None:
        missing("MLflow: pip install mlflow")


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_other_release_of_the_client_finds_the_same_server(tmp_path: Path) -> None:
    if not OTHER:
        missing("other release of MLflow's client: set MAINSPRING_MLFLOW_OTHER to the Python that has it")
    port, serving_port = own_ports(2)
    server = ServerProcess(tmp_path, port=port, serving_port=serving_port)
    server.start()
    try:
        command = [OTHER, "-m", "pytest", "-c", "tests/mlflow/alone.ini", "--rootdir", ".", "-q", "tests/mlflow"]
        environ = {**os.environ, "MLFLOW_TRACKING_URI": server.address, "PYTEST_ADDOPTS": ""}
        done = subprocess.run(
            [*command, "--confcutdir", "tests/mlflow"],
            cwd=ROOT,
            env={key: value for key, value in environ.items() if not key.startswith(("PYTEST_XDIST", "PYTHONPATH"))},
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        server.kill()
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
