"""Datasets that runs read, and models that runs read."""

from __future__ import annotations

import json

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import LoggedModelInput
from tests.mlflow.http import Http, Json


def dataset(name: str = "train", digest: str = "1", **more: str) -> Json:
    return {"name": name, "digest": digest, "source_type": "local", "source": '{"uri": "x"}', **more}


def context(word: str) -> list[Json]:
    return [{"key": "mlflow.data.context", "value": word}]


def inputs(http: Http, run: str) -> list[Json]:
    found: list[Json] = http.get_run(run).get("inputs", {}).get("dataset_inputs", [])
    return found


def test_a_dataset_is_kept_with_everything_it_says(http: Http, run: str) -> None:
    full = dataset(schema='{"cols": []}', profile='{"num_rows": 3}')
    http.ok("POST", "runs/log-inputs", run_id=run, datasets=[{"dataset": full, "tags": context("training")}])
    assert [(i["dataset"], i["tags"]) for i in inputs(http, run)] == [(full, context("training"))]


def test_a_dataset_without_tags_is_kept(http: Http, run: str) -> None:
    http.ok("POST", "runs/log-inputs", run_id=run, datasets=[{"dataset": dataset()}])
    assert [i["dataset"]["name"] for i in inputs(http, run)] == ["train"]


def test_the_same_dataset_is_an_input_once(http: Http, run: str) -> None:
    for _ in range(3):
        http.ok("POST", "runs/log-inputs", run_id=run, datasets=[{"dataset": dataset(), "tags": context("training")}])
    assert len(inputs(http, run)) == 1


def test_another_digest_is_another_dataset(http: Http, run: str) -> None:
    for digest in ("1", "2"):
        http.ok("POST", "runs/log-inputs", run_id=run, datasets=[{"dataset": dataset(digest=digest)}])
    assert sorted(i["dataset"]["digest"] for i in inputs(http, run)) == ["1", "2"]


def test_a_dataset_may_be_an_input_of_many_runs(http: Http, experiment: str) -> None:
    runs = [http.new_run(experiment) for _ in range(2)]
    for run in runs:
        http.ok("POST", "runs/log-inputs", run_id=run, datasets=[{"dataset": dataset()}])
    assert [len(inputs(http, run)) for run in runs] == [1, 1]


@pytest.mark.parametrize("missing", ["name", "digest", "source_type", "source"])
def test_a_dataset_needs_these_fields(http: Http, run: str, missing: str) -> None:
    broken = dataset()
    del broken[missing]
    assert http.error("POST", "runs/log-inputs", run_id=run, datasets=[{"dataset": broken}])[0] == 400


def test_a_frame_is_logged_as_an_input(run: str) -> None:
    import pandas as pd

    frame = pd.DataFrame({"a": [1, 2, 3], "b": ["x", "y", "z"]})
    data = mlflow.data.from_pandas(frame, name="frame", source="https://example.com/f.csv", targets="b")
    with mlflow.start_run(run_id=run):
        mlflow.log_input(data, context="training", tags={"part": "first"})
    found = mlflow.get_run(run).inputs.dataset_inputs[0]
    assert (found.dataset.name, found.dataset.digest) == ("frame", data.digest)
    assert {t.key: t.value for t in found.tags} == {"mlflow.data.context": "training", "part": "first"}
    assert json.loads(found.dataset.profile)["num_rows"] == 3
    assert mlflow.data.get_source(found).url == "https://example.com/f.csv"


def test_an_array_is_logged_as_an_input(run: str) -> None:
    import numpy as np

    data = mlflow.data.from_numpy(np.arange(6).reshape(3, 2), name="array")
    with mlflow.start_run(run_id=run):
        mlflow.log_input(data, context="eval")
    assert mlflow.get_run(run).inputs.dataset_inputs[0].dataset.name == "array"


def test_a_model_is_an_input(http: Http, client: MlflowClient, experiment: str, run: str) -> None:
    model = http.ok("POST", "logged-models", experiment_id=experiment, name="m")["model"]["info"]["model_id"]
    client.log_inputs(run, models=[LoggedModelInput(model)])
    client.log_inputs(run, models=[LoggedModelInput(model)])
    assert [m.model_id for m in client.get_run(run).inputs.model_inputs] == [model]


def test_datasets_of_experiments_are_listed(http: Http, experiment: str, run: str) -> None:
    for digest, word in (("1", "training"), ("2", "eval")):
        http.ok(
            "POST", "runs/log-inputs", run_id=run, datasets=[{"dataset": dataset(digest=digest), "tags": context(word)}]
        )
    answer = http.send(
        "POST", "/ajax-api/2.0/mlflow/experiments/search-datasets", json={"experiment_ids": [experiment]}
    )
    assert answer.status_code == 200, answer.text[:400]
    found = answer.json()["dataset_summaries"]
    assert sorted((d["name"], d["digest"], d["context"]) for d in found) == [
        ("train", "1", "training"),
        ("train", "2", "eval"),
    ]
    assert {d["experiment_id"] for d in found} == {experiment}
