"""Every model format through a real model server, many classes included, and golden requests to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LinearRegression
from tests.contract.test_flavours import FORMATS, SAMPLES, TASKS, Sample, truth

from mainspring.core.clock import SystemClock
from mainspring.core.errors import Failed, Invalid
from mainspring.gates import Gates, parse_gate
from mainspring.registry import Registry
from mainspring.registry.flavours.python import PythonFunction
from mainspring.serving.client import Asked, Client
from mainspring.serving.probe import Probe
from mainspring.serving.service import Serving
from mainspring.serving.supervisor import ServerOptions, Supervisor
from mainspring.storage.journal import SqlJournal
from mainspring.storage.open import open_blobs, open_delta
from mainspring.storage.ports import Tables

SLOW = b"import time\n\ndef predict(rows):\n    time.sleep(60 if rows['a'][0] > 5 else 0)\n    return rows['a']\n"
GREEDY = b"def predict(rows):\n    return [len(bytearray(2 ** 34))] if rows['a'][0] > 5 else rows['a']\n"
DEADLY = b"import os\n\ndef predict(rows):\n    os._exit(3) if rows['a'][0] > 5 else None\n    return rows['a']\n"
NOSY = (
    b"import os\n\ndef predict(rows):\n"
    b"    secret = 'MAINSPRING_TEST_SECRET' in os.environ\n    return [float(secret)] * rows.height\n"
)


@pytest.fixture
def registry(sqlite_tables: Tables, tmp_path: Path) -> Registry:
    return Registry(
        tables=sqlite_tables,
        journal=SqlJournal(sqlite_tables),
        blobs=open_blobs("", tmp_path),
        clock=SystemClock(),
        folder=tmp_path / "registry",
    )


@pytest.fixture
def serving(sqlite_tables: Tables, registry: Registry, tmp_path: Path) -> Serving:
    return Serving(
        tables=sqlite_tables,
        journal=SqlJournal(sqlite_tables),
        delta=open_delta("", tmp_path),
        registry=registry,
        clock=SystemClock(),
        folder=tmp_path / "serving",
    )


@pytest.fixture
def supervisor(serving: Serving) -> Iterator[Supervisor]:
    made = Supervisor(serving.folder, ServerOptions(drain_s=0.0), prepare=serving.write_plan)
    yield made
    made.stop()


def serve(serving: Serving, supervisor: Supervisor) -> Client:
    supervisor.start()
    supervisor.apply(serving.write_plan())
    return Client(supervisor.url)


def available() -> dict[tuple[str, str], Sample]:
    """A sample of every format and task; formats whose packages are not installed here are left out."""
    found: dict[tuple[str, str], Sample] = {}
    for name in FORMATS:
        try:
            found |= {(name, task): SAMPLES[name](task) for task in TASKS}
        except pytest.skip.Exception:
            continue
    return found


def test_a_model_server_answers_as_the_models_of_every_format_do(
    registry: Registry, serving: Serving, supervisor: Supervisor
) -> None:
    samples = available()
    assert len(samples) >= 18
    for (name, task), sample in samples.items():
        registry.register(f"{name}-{task}", sample.model, example=sample.rows)
        serving.deploy(f"{name}-{task}", f"{name}-{task}", 1)
    with serve(serving, supervisor) as client:
        for (name, task), sample in samples.items():
            outputs = client.predict(f"{name}-{task}", sample.rows.to_dict(as_series=False)).outputs
            scores = outputs["prediction" if task == "regression" else "probability"]
            np.testing.assert_array_equal(np.array(scores), sample.expected, err_msg=f"{name} {task}")
            if task == "multiclass":
                assert outputs["label"] == np.asarray(sample.expected).argmax(axis=1).tolist()
                assert_described(client.metadata(f"{name}-{task}"))
    assert serving.compact() == sum(sample.rows.height for sample in samples.values())
    logged = serving.predictions("xgboost-multiclass").collect()
    assert logged["probabilities"].list.len().to_list() == [3] * logged.height


def test_rows_that_came_as_one_matrix_are_in_the_log_as_those_that_came_as_columns(
    registry: Registry, serving: Serving, supervisor: Supervisor
) -> None:
    x = np.random.default_rng(5).normal(size=(40, 3))
    frame = pl.DataFrame(x, schema=["a", "b", "c"])
    registry.register("sums", LinearRegression().fit(x, x.sum(axis=1)), example=frame.head(3))
    serving.deploy("sums", "sums", 1)
    with serve(serving, supervisor) as client:
        client.predict_arrays("sums", x, Asked(request_id="matrix"))
        client.predict("sums", frame.to_dict(as_series=False), request_id="columns")
        given = {"name": "rows", "shape": [2, 3], "datatype": "FP64", "data": [1.0, 2.0, None, 4.0, 5.0, 6.0]}
        with pytest.raises(Invalid, match="'c' has a missing value"):
            client.call("POST", "/v2/models/sums/infer", {"inputs": [given]})
    assert serving.compact() == 80
    logged = serving.predictions("sums").collect().sort("seq")
    for name in ("matrix", "columns"):
        inputs = logged.filter(pl.col("request_id") == name)["inputs"].struct.unnest()
        assert inputs.equals(frame)


def assert_described(about: Mapping[str, object]) -> None:
    assert about["outputs"] == [
        {"name": "probability", "datatype": "FP64", "shape": [-1, 3]},
        {"name": "label", "datatype": "INT64", "shape": [-1]},
    ]
    assert about["parameters"] == {"content_type": "pd", "version": "1", "classes": [0, 1, 2]}


def test_golden_requests_agree_for_many_classes(registry: Registry, sqlite_tables: Tables) -> None:
    sample = SAMPLES["python"]("multiclass")
    version = registry.register("m", sample.model, example=sample.rows)
    gates = Gates(
        tables=sqlite_tables,
        journal=SqlJournal(sqlite_tables),
        registry=registry,
        clock=SystemClock(),
        probe=Probe(registry),
    )
    frame = sample.rows.with_columns(pl.Series("y", truth("multiclass").astype(int)))
    spec = parse_gate("g", {"checks": [{"golden": 20}, {"metric": "log_loss", "ceiling": 2.0}]})
    verdict = gates.evaluate(spec, candidate=version, champion=None, frame=frame, label="y", data_ref="datasets/m/1")
    assert verdict.outcome == "pass", verdict.checks


@pytest.mark.parametrize(
    ("source", "words", "deadline_s"),
    [(SLOW, "no answer within", 3.0), (GREEDY, "MemoryError", 60.0), (DEADLY, "ended with code 3", 60.0)],
    ids=["slow", "greedy", "deadly"],
)
def test_a_function_that_misbehaves_fails_its_request_and_the_next_one_is_answered(
    source: bytes, words: str, deadline_s: float, registry: Registry, serving: Serving, supervisor: Supervisor
) -> None:
    function = PythonFunction("score.py:predict", source={"score.py": source}, deadline_s=deadline_s, memory_mb=2048)
    registry.register("f", function, example=pl.DataFrame({"a": [0.5]}))
    predictor = registry.load("f")
    with pytest.raises(Exception, match=words):
        predictor.predict(pl.DataFrame({"a": [9.0]}))
    assert predictor.predict(pl.DataFrame({"a": [0.25]}))["prediction"].tolist() == [0.25]
    serving.deploy("f", "f", 1)
    with serve(serving, supervisor) as client:
        with pytest.raises(Failed):
            client.predict("f", {"a": [9.0]})
        assert client.predict("f", {"a": [0.25]}).outputs == {"prediction": [0.25]}


def test_a_function_does_not_see_the_environment_of_the_server(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAINSPRING_TEST_SECRET", "x")
    function = PythonFunction("score.py:predict", source={"score.py": NOSY})
    version = registry.register("f", function, example=pl.DataFrame({"a": [0.5]}))
    assert version.example.outputs == {"prediction": [0.0]}


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (b"def other(rows):\n    return 1\n", "no function 'predict'"),
        (b"def predict():\n    return 1\n", "takes 0 values"),
        (b"def predict(rows):\n    return [1.0, 2.0]\n", "1 rows were asked"),
        (b"raise RuntimeError('at import')\n", "RuntimeError: at import"),
        (b"import not_installed_here\n", "ModuleNotFoundError"),
    ],
)
def test_a_function_that_can_t_answer_the_example_is_not_registered(
    source: bytes, words: str, registry: Registry
) -> None:
    function = PythonFunction("score.py:predict", source={"score.py": source})
    with pytest.raises(Exception, match=words):
        registry.register("f", function, example=pl.DataFrame({"a": [0.5]}))
    assert registry.models() == []
