"""Other model servers, each from an environment of its own that a variable names; one that is not there is left out.

    MAINSPRING_MLSERVER   its Python, with mlserver, mlserver-sklearn and mlserver-lightgbm
    MAINSPRING_BENTOML    its Python, with bentoml and scikit-learn
    MAINSPRING_PEER       its Python, with mlflow and scikit-learn
    MAINSPRING_KSERVE     its Python, with kserve and scikit-learn
    MAINSPRING_RAY        its Python, with ray[serve] and scikit-learn

Each serves the same estimator of scikit-learn, fitted in its own environment on the same rows.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from mainspring.demo.server import free_ports

START_S = 240.0
FIT = """
import sys, numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.ensemble import RandomForestClassifier
x, y = np.load("x.npy"), np.load("y.npy")
logistic = LogisticRegression().fit(x, y)
forest = RandomForestClassifier(100, max_depth=8, random_state=0).fit(x, y)
"""
JOBLIB = (
    FIT
    + """
import joblib
joblib.dump(logistic, "logistic.joblib"); joblib.dump(forest, "forest.joblib")
"""
)
TREES = """
import numpy as np
from lightgbm import LGBMClassifier
model = LGBMClassifier(num_threads=1, verbose=-1).fit(np.load("x.npy"), np.load("y.npy"))
model.booster_.save_model("lightgbm.joblib")  # its own format, under the name that all models have here
"""
MLFLOW = (
    FIT
    + """
import mlflow, mlflow.sklearn, pandas
from mlflow.models import infer_signature
table = pandas.DataFrame(x, columns=[f"x{i:02}" for i in range(x.shape[1])])
mlflow.sklearn.save_model(logistic, "plain", serialization_format="cloudpickle")
mlflow.sklearn.save_model(logistic, "signed", signature=infer_signature(table, y), serialization_format="cloudpickle")
"""
)
BENTO = """
import bentoml, joblib, numpy as np

@bentoml.service(workers=1)
class Logistic:
    def __init__(self) -> None:
        self.model = joblib.load("logistic.joblib")

    @bentoml.api
    def predict(self, rows: np.ndarray) -> np.ndarray:
        return self.model.predict_proba(rows)
"""
# As KServe's server for scikit-learn does, which is in its repository and in no registry.
KSERVE = """
import sys, joblib, kserve
from kserve.utils.utils import get_predict_input, get_predict_response

class Logistic(kserve.Model):
    def load(self):
        self.model = joblib.load("logistic.joblib")
        self.ready = True
        return True

    def predict(self, payload, headers=None, response_headers=None):
        return get_predict_response(payload, self.model.predict_proba(get_predict_input(payload)), self.name)

model = Logistic("m")
model.load()
kserve.ModelServer(http_port=int(sys.argv[1]), enable_grpc=False, workers=1).start([model])
"""
RAY = """
import sys, time, joblib, numpy as np, ray
from ray import serve
from starlette.responses import JSONResponse

@serve.deployment(num_replicas=1, max_ongoing_requests=100)
class Logistic:
    def __init__(self, place):
        self.model = joblib.load(place)

    async def __call__(self, request):
        if request.method == "GET":
            return "ready"
        rows = np.array((await request.json())["rows"])
        return JSONResponse(self.model.predict_proba(rows).tolist())  # has a length; a plain list comes in chunks

ray.init(num_cpus=2, include_dashboard=False, object_store_memory=100_000_000)
serve.start(http_options={"port": int(sys.argv[1])})
serve.run(Logistic.bind(sys.argv[2]))
time.sleep(100_000)
"""


@dataclass(frozen=True)
class Rival:
    """A server that runs: where it is asked, with what body for a row, and its process."""

    address: str
    path: str
    pid: int
    started_s: float

    def family(self) -> list[psutil.Process]:
        """The server and all its children."""
        own = psutil.Process(self.pid)
        return [own, *own.children(recursive=True)]

    def cpu_s(self) -> float:
        """CPU seconds of all its processes so far."""
        return sum(sum(process.cpu_times()[:2]) for process in self.family())

    def memory_mb(self) -> float:
        """Memory of all its processes; pages they share are counted once."""
        return sum(float(process.memory_full_info().pss) for process in self.family()) / 1e6


def python_of(variable: str) -> str:
    """The Python that a variable names; "" where there is none."""
    found = os.environ.get(variable, "")
    return found if found and Path(found).exists() else ""


@contextmanager
def mlserver(root: Path, model: str, *, batched: bool = False) -> Iterator[Rival]:
    """MLServer over one model, without its worker processes: those cost it more, on one core."""
    python, trees = python_of("MAINSPRING_MLSERVER"), model == "lightgbm"
    subprocess.run([python, "-c", TREES if trees else JOBLIB], cwd=root, check=True)
    http, grpc, metrics = free_ports(3, near=18000)
    settings = {"http_port": http, "grpc_port": grpc, "metrics_port": metrics, "parallel_workers": 0, "debug": False}
    runtime = "mlserver_lightgbm.LightGBMModel" if trees else "mlserver_sklearn.SKLearnModel"
    about: dict[str, object] = {"name": "m", "implementation": runtime}
    about["parameters"] = {"uri": f"./{model}.joblib", "version": "1"}
    about |= {"max_batch_size": 64, "max_batch_time": 0.001} if batched else {}
    place = root / "mlserver"
    place.mkdir()
    (root / f"{model}.joblib").rename(place / f"{model}.joblib")
    (place / "settings.json").write_text(json.dumps(settings))
    (place / "model-settings.json").write_text(json.dumps(about))
    command = [python, "-c", "from mlserver.cli import main; main()", "start", "."]
    with _running(command, place, f"http://127.0.0.1:{http}", "/v2/models/m/ready", "/v2/models/m/infer") as made:
        yield made


@contextmanager
def bentoml(root: Path) -> Iterator[Rival]:
    """BentoML over the logistic regression, one worker."""
    python = python_of("MAINSPRING_BENTOML")
    subprocess.run([python, "-c", JOBLIB], cwd=root, check=True)
    (root / "service.py").write_text(BENTO)
    (port,) = free_ports(1, near=18100)
    command = [python, "-m", "bentoml", "serve", "service:Logistic", "--host", "127.0.0.1", "--port", str(port)]
    with _running(command, root, f"http://127.0.0.1:{port}", "/readyz", "/predict") as made:
        yield made


@contextmanager
def kserve(root: Path) -> Iterator[Rival]:
    """KServe's Python server over the logistic regression, one worker, without gRPC."""
    python = python_of("MAINSPRING_KSERVE")
    subprocess.run([python, "-c", JOBLIB], cwd=root, check=True)
    (port,) = free_ports(1, near=18300)
    command = [python, "-c", KSERVE, str(port)]
    with _running(command, root, f"http://127.0.0.1:{port}", "/v2/models/m/ready", "/v2/models/m/infer") as made:
        yield made


@contextmanager
def ray_serve(root: Path) -> Iterator[Rival]:
    """Ray Serve over the logistic regression, one replica; all of its processes count."""
    python = python_of("MAINSPRING_RAY")
    subprocess.run([python, "-c", JOBLIB], cwd=root, check=True)
    (port,) = free_ports(1, near=18400)
    command = [python, "-c", RAY, str(port), str(root / "logistic.joblib")]
    with _running(command, root, f"http://127.0.0.1:{port}", "/", "/") as made:
        yield made


@contextmanager
def mlflow(root: Path, *, signed: bool) -> Iterator[Rival]:
    """MLflow's scoring server over the logistic regression, one worker, with a signature or without."""
    python = python_of("MAINSPRING_PEER")
    subprocess.run([python, "-c", MLFLOW], cwd=root, check=True)
    (port,) = free_ports(1, near=18200)
    command = [python, "-m", "mlflow", "models", "serve", "--model-uri", str(root / ("signed" if signed else "plain"))]
    command += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    with _running(command, root, f"http://127.0.0.1:{port}", "/ping", "/invocations") as made:
        yield made


@contextmanager
def _running(command: list[str], place: Path, address: str, ready: str, path: str) -> Iterator[Rival]:
    bin_ = str(Path(command[0]).parent)
    quiet = {**os.environ, "DO_NOT_TRACK": "true", "BENTOML_DO_NOT_TRACK": "True", "MLFLOW_DISABLE_TELEMETRY": "true"}
    quiet["RAY_USAGE_STATS_ENABLED"] = "0"
    quiet["PATH"] = f"{bin_}:{quiet['PATH']}"
    quiet.pop("PYTHONPATH", None)
    began = time.perf_counter()
    with (place / "server.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=place, stdout=log, stderr=log, env=quiet)
    try:
        _wait(address + ready, process, place / "server.log")
        yield Rival(address, path, process.pid, time.perf_counter() - began)
    finally:
        family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.terminate()
        for child in psutil.wait_procs([psutil.Process(process.pid), *family], timeout=20)[1]:
            child.kill()
        process.wait()


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise RuntimeError(f"it did not start ({process.poll()}): {log.read_text(errors='replace')[-1500:]}")
