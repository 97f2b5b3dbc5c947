"""What single runtimes cost: one row in process, the way from a package to the first correct answer, and memory.

A cold start is a model server process that is spawned over one package and asked until it answers; beside it stands a
process that only imports what the model needs. CPU seconds are compared, for they are the processes' own.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import psutil
from figure import Figure
from lightgbm import LGBMClassifier
from place import cpu_of, folder, quantile
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from mainspring.demo.server import free_ports
from mainspring.registry.manifests import Seal
from mainspring.registry.packages import Package, build, load_folder, write_folder
from mainspring.serving.modelserver.plan import write_plan
from mainspring.serving.standalone import plan_of

COLUMNS, STARTS, TIMES = 8, 5, 2000
NAMES = [f"x{i:02}" for i in range(COLUMNS)]
MODELSERVER = [sys.executable, "-m", "mainspring.serving.modelserver"]


@dataclass(frozen=True)
class Contestant:
    """A model, what its process has to import, and how long its start may take: seconds, or times the import."""

    name: str
    model: object
    imports: str
    most_s: float | None = None


def measure() -> Iterator[Figure]:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(5_000, COLUMNS)).astype(np.float32).astype(np.float64)
    label = (x[:, :5].sum(axis=1) + rng.normal(size=len(x)) > 0).astype(int)
    with folder() as root:
        packages = {}
        for one in _contestants(x, label):
            packages[one.name] = one, _written(root, one.name, build(one.model, pl.DataFrame(x[:5], schema=NAMES)))
        yield from _one_row(packages, x[:1])
        for one, place in packages.values():
            yield from _cold(one, place, x[:1])


def _contestants(x: np.ndarray, label: np.ndarray) -> Iterator[Contestant]:
    from skl2onnx import to_onnx

    logistic = LogisticRegression().fit(x, label)
    forest = RandomForestClassifier(100, max_depth=8, random_state=0).fit(x, label)
    trees = LGBMClassifier(n_estimators=200, num_threads=1, verbose=-1).fit(x, label)
    first = x[:1].astype(np.float32)
    of_onnx = {name: to_onnx(model, first, options={"zipmap": False}) for name, model in _both(logistic, forest)}
    runtime = "import numpy, onnx, onnxruntime"
    yield Contestant("logistic regression, ONNX", of_onnx["logistic"], runtime, 1.0)
    yield Contestant("forest, ONNX", of_onnx["forest"], runtime, 1.0)
    yield Contestant("logistic regression", logistic, "import numpy, scipy.special, skops.io, sklearn.linear_model")
    yield Contestant("forest", forest, "import numpy, skops.io, sklearn.ensemble, lightgbm")
    yield Contestant("LightGBM", trees, "import numpy, lightgbm")


def _both(logistic: object, forest: object) -> Iterator[tuple[str, Any]]:
    yield "logistic", logistic
    yield "forest", forest


def _written(root: Path, name: str, package: Package) -> Path:
    place = root / name.replace(" ", "-")
    return write_folder(place, package.manifest.to_bytes(), package.files, Seal("model", 1, package.digest, "", ""))


def _one_row(packages: dict[str, tuple[Contestant, Path]], row: np.ndarray) -> Iterator[Figure]:
    """A prediction from checked columns, in this process, beside the library's own call."""
    columns = [[float(value)] for value in row[0]]
    spent = {}
    for name, (_, place) in packages.items():
        loaded = load_folder(place, public_key=None)
        spent[name] = _cpu(partial(loaded.predict_checked, columns))
        yield Figure(f"one row, {name}: CPU", 1e6 * spent[name], "us")
    own: dict[str, Callable[[], object]] = {
        "LightGBM": lambda: packages["LightGBM"][0].model.booster_.predict(row, num_threads=1),  # type: ignore[attr-defined]
        "forest": lambda: packages["forest"][0].model.predict_proba(row),  # type: ignore[attr-defined]
        "logistic regression": lambda: packages["logistic regression"][0].model.predict_proba(row),  # type: ignore[attr-defined]
    }
    for name, ask in own.items():
        alone = _cpu(ask, TIMES // 10)
        yield Figure(f"one row, {name}: the library's own call", 1e6 * alone, "us")
        yield Figure(f"one row, {name}: own call / ours", alone / spent[name], "times", 1, True)


def _cpu(work: Callable[[], object], times: int = TIMES) -> float:
    for _ in range(10):
        work()
    started = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - started) / times


def _cold(one: Contestant, place: Path, row: np.ndarray) -> Iterator[Figure]:
    walls, spent, imports, memory = [], [], [], 0.0
    for _ in range(STARTS):  # in turn, so that what else the machine does falls on both
        imports.append(_imported(one.imports))
        wall, cpu, memory = _started(place, row)
        walls.append(wall)
        spent.append(cpu)
    wall, cpu, alone = (quantile(found, 0.5) for found in (walls, spent, imports))
    yield Figure(f"cold start, {one.name}: to the first correct answer", wall, "s")
    yield Figure(f"cold start, {one.name}: CPU", cpu, "s", one.most_s)
    yield Figure(f"cold start, {one.name}: CPU / its imports alone", cpu / alone, "times", None if one.most_s else 1.2)
    yield Figure(f"memory after the first answer, {one.name}", memory, "MB")


def _imported(line: str) -> float:
    """CPU seconds of a process that only imports."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", line], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def _started(place: Path, row: np.ndarray) -> tuple[float, float, float]:
    """Seconds from the spawn to the first correct answer, the CPU seconds until then, and the memory in MB."""
    expected = load_folder(place, public_key=None).predict(pl.DataFrame(row, schema=NAMES))["probability"]
    (port,) = free_ports(1, near=17900)
    plan = place.parent / "plan"
    write_plan(plan, plan_of(place, name="model"))
    body = {"inputs": [{"name": "rows", "shape": [1, COLUMNS], "datatype": "FP64", "data": row[0].tolist()}]}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v2/models/model/infer",
        json.dumps(body).encode(),
        {"content-type": "application/json"},
    )
    began = time.perf_counter()
    process = subprocess.Popen([*MODELSERVER, "--plan", str(plan), "--port", str(port), "--drain-s", "0"])
    try:
        answer = _asked(request, process)
        wall = time.perf_counter() - began
        (found,) = [entry["data"] for entry in answer["outputs"] if entry["name"] == "probability"]
        assert np.array_equal(found, expected), (found, expected)
        return wall, cpu_of(process.pid), psutil.Process(process.pid).memory_info().rss / 1e6
    finally:
        process.terminate()
        process.wait()


def _asked(request: urllib.request.Request, process: subprocess.Popen[bytes]) -> Any:
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(request, timeout=30) as reply:
                return json.load(reply)
        except urllib.error.HTTPError as reason:
            assert reason.code == 503, reason.read()
        except OSError:
            pass
        time.sleep(0.01)
    raise RuntimeError(f"the model server did not answer: {process.poll()}")
